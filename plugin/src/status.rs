//! `status`: the captures of all nodes, from all packet-capture pods at once.

mod table;

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use crate::{
    agents::{self, Agent, Agents, CONTAINER, Readiness},
    entry,
    kubectl::{Failure, Kubectl, words},
};

/// How many packet-capture pods are asked at once: each question is a kubectl with some 50 MB of memory.
const AT_ONCE: usize = 16;

/// How captures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// An object on a line for each capture.
    Json,
}

/// The captures of all nodes that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The table or the lines, in printable ASCII.
    pub text: String,
    /// Whether there is no capture.
    pub is_empty: bool,
    /// What nodes said that answered.
    pub notes: Vec<String>,
    /// Which nodes did not answer, and why.
    pub failures: Vec<String>,
}

/// What a packet-capture pod answered.
struct Answered<'a> {
    agent: &'a Agent,
    result: Result<Said, String>,
}

struct Said {
    lines: Vec<String>,
    note: String,
}

/// Asks all packet-capture pods for the captures of a namespace, or of all.
#[must_use]
pub fn of_all(kubectl: &Kubectl, agents: &Agents, namespace: Option<&str>, format: Format) -> Report {
    let mut words = vec!["packet-capture", "status"];
    words.extend(namespace.into_iter().flat_map(|name| ["-n", name]));
    words.extend(match format {
        Format::Table => &[][..],
        Format::Wide => &["-o", "wide"],
        Format::Json => &["-o", "json"],
    });
    let questions = Mutex::new(agents.by_node.values());
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..agents.by_node.len().min(AT_ONCE) {
            scope.spawn(|| {
                loop {
                    // A statement of its own: the lock must not be held while the question is asked.
                    let agent = questions.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(agent) = agent else { break };
                    let answered = Answered { agent, result: ask(kubectl, agents, agent, &words, format) };
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.sort_by(|a, b| a.agent.node.cmp(&b.agent.node));
    report(answers, format)
}

fn report(answers: Vec<Answered>, format: Format) -> Report {
    let mut report = Report::default();
    let (mut header, mut rows) = (None, Vec::new());
    for Answered { agent: Agent { node, .. }, result } in answers {
        match result {
            Err(why) => report.failures.push(why),
            Ok(Said { lines, note }) => {
                if !note.is_empty() {
                    report.notes.push(format!("node {node}: {note}"));
                }
                let mut lines = lines.into_iter();
                if format != Format::Json
                    && let Some(first) = lines.next()
                {
                    header.get_or_insert(first);
                }
                rows.extend(lines);
            }
        }
    }
    report.is_empty = rows.is_empty();
    report.text = match format {
        Format::Json => rows.iter().map(|line| table::ascii_json(line) + "\n").collect(),
        Format::Table | Format::Wide => table::aligned(header.into_iter().chain(rows)),
    };
    report
}

/// The lines of an answer, or why there is none.
fn ask(kubectl: &Kubectl, agents: &Agents, agent: &Agent, said: &[&str], format: Format) -> Result<Said, String> {
    let Agent { namespace, name, node, readiness } = agent;
    // A node that is gone would hold the question until its time is over.
    match readiness {
        Readiness::Ready => (),
        Readiness::Unready(_) | Readiness::NotRunning(_) => {
            if let Some(why) = agents::node_trouble(kubectl, node) {
                return Err(format!("no answer from {name} on node {node}: {why}; hint: kubectl describe node {node}"));
            }
            agents.on(node).map_err(|error| error.to_string())?;
        }
    }
    let namespace = format!("--namespace={namespace}");
    let mut call = vec!["exec", name, &namespace, "--container", CONTAINER, "--"];
    call.extend(said);
    let no_answer = |failure: Failure| {
        let why = agents::node_trouble(kubectl, node).unwrap_or_else(|| failure.to_string());
        format!("no answer from {name} on node {node}: {why}")
    };
    let answer = kubectl.answer(&call).and_then(|answer| answer.succeeded(&call)).map_err(no_answer)?;
    if format == Format::Json {
        entry::captures(&answer.stdout)
            .map_err(|error| format!("cannot read the answer of {name} on node {node}: {error}"))?;
    }
    Ok(Said { lines: answer.stdout.lines().map(ToOwned::to_owned).collect(), note: words(&answer.stderr) })
}
