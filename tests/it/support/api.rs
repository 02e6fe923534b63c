//! A scripted API server: plain HTTP/1.1 on loopback, one thread for each connection. It serves lists and watches of pods, takes
//! Events, records every request, and fails in the way that a test asks for.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    http::{Bulky, read_request, respond, respond_with, status},
    pod::Pod,
};

/// The kinds of request. A test can make each kind fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The first page of a list.
    List,
    /// A further page.
    Page,
    /// A watch.
    Watch,
    /// A list of the pods of one name in one namespace.
    Find,
    /// The creation of an Event.
    Event,
    /// Any other request: no test expects one.
    Other,
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The normal answer, for use between scripted answers.
    Truth,
    /// An HTTP status, with its `Status` object as the body.
    Status(u16),
    /// 200 with this body, or this line of a watch that then goes on.
    Raw(String),
    /// No answer, until the client or the test gives up.
    Hang,
    /// 200 with a body that breaks off.
    Cut,
}

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Request {
    pub kind: Kind,
    /// Path and query.
    pub target: String,
}

/// The server. It ends when it is dropped.
pub struct Api {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Value>,
    /// The lines for the open watches, each with its resource version.
    news: Vec<(u64, String)>,
    version: u64,
    page_size: usize,
    bulk: Arc<str>,
    once: BTreeMap<Kind, VecDeque<Answer>>,
    always: BTreeMap<Kind, Answer>,
    requests: Vec<Request>,
    events: Vec<Value>,
    /// New connections are closed at once.
    down: bool,
    /// Connections of an earlier generation are closed.
    generation: u64,
    /// Watches that began when the number was smaller end as they do after their timeout.
    watches_ended: u64,
    over: bool,
}

impl Api {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("its number").port();
        let shared = Arc::<Shared>::default();
        shared.state().page_size = usize::MAX;
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                // The second of two writes would wait for the client to acknowledge the first, up to 40 ms for each answer.
                let _ = connection.set_nodelay(true);
                let shared = Arc::clone(&accepting);
                let state = shared.state();
                let generation = state.generation;
                match (state.over, state.down) {
                    (true, _) => return,
                    (false, true) => (),
                    (false, false) => {
                        drop(state);
                        // An error means that the client or the test closed the connection.
                        thread::spawn(move || shared.serve(generation, connection));
                    }
                }
            }
        });
        Self { port, shared }
    }

    /// Creates or changes a pod.
    pub fn put(&self, pod: &Pod) {
        self.shared.change(|state| {
            let old = state.pods.insert(pod.key(), pod.0.clone());
            state.tell(if old.is_none() { "ADDED" } else { "MODIFIED" }, &pod.key());
        });
    }

    /// Deletes a pod.
    pub fn delete(&self, pod: &Pod) {
        self.shared.change(|state| {
            state.tell("DELETED", &pod.key());
            state.pods.remove(&pod.key());
        });
    }

    /// Deletes a pod without an event to the watches: the pod is missing from the next list.
    pub fn forget(&self, pod: &Pod) {
        self.shared.change(|state| state.pods.remove(&pod.key()));
    }

    /// Sends a line to the open watches.
    pub fn send(&self, line: &str) {
        self.shared.change(|state| {
            state.version += 1;
            state.news.push((state.version, line.to_owned()));
        });
    }

    /// Sends an error to the open watches, as the API server does in the middle of a watch.
    pub fn send_error(&self, code: u16) {
        self.send(&json!({"type": "ERROR", "object": status(code)}).to_string());
    }

    /// Answers the next requests of a kind with these, one each.
    pub fn once(&self, kind: Kind, answers: impl IntoIterator<Item = Answer>) {
        self.shared.change(|state| state.once.entry(kind).or_default().extend(answers));
    }

    /// Answers all requests of a kind with this, from now on.
    pub fn always(&self, kind: Kind, answer: Answer) {
        self.shared.change(|state| state.always.insert(kind, answer));
    }

    /// Answers normally from now on, and closes all connections.
    pub fn recover(&self) {
        self.shared.change(|state| {
            state.always.clear();
            state.once.clear();
            state.down = false;
        });
        self.disconnect();
    }

    /// Closes all connections, and accepts none until `recover` is called.
    pub fn die(&self) {
        self.shared.change(|state| state.down = true);
        self.disconnect();
    }

    /// Ends the open watches, as the API server does after the timeout of the request.
    pub fn end_watches(&self) {
        self.shared.change(|state| state.watches_ended += 1);
    }

    /// Closes all connections.
    pub fn disconnect(&self) {
        self.shared.change(|state| state.generation += 1);
    }

    /// The text that replaces [`BULK`](crate::support::http::BULK) in each pod.
    pub fn bulk(&self, text: &str) {
        self.shared.change(|state| state.bulk = text.into());
    }

    /// The largest number of pods in one page of a list, whatever the client asks for.
    pub fn page_size(&self, pods: usize) {
        self.shared.change(|state| state.page_size = pods);
    }

    /// The requests of a kind, in the order of arrival.
    pub fn requests(&self, kind: Kind) -> Vec<Request> {
        self.shared.state().requests.iter().filter(|request| request.kind == kind).cloned().collect()
    }

    /// The number of requests of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.requests(kind).len()
    }

    /// The Events about a pod in the order of arrival, including those that were refused.
    pub fn events(&self, pod: &str) -> Vec<Value> {
        let of_pod = |event: &&Value| event.pointer("/involvedObject/name").and_then(Value::as_str) == Some(pod);
        self.shared.state().events.iter().filter(of_pod).cloned().collect()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.change(|state| state.over = true);
        self.disconnect();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl State {
    fn tell(&mut self, what: &str, key: &str) {
        self.version += 1;
        let Some(pod) = self.pods.get_mut(key) else { return };
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        // The type comes first, as the API server writes it: kube reads an object that comes first twice.
        self.news.push((self.version, format!(r#"{{"type":"{what}","object":{pod}}}"#)));
    }

    fn answer(&mut self, kind: Kind) -> Answer {
        let once = self.once.get_mut(&kind).and_then(VecDeque::pop_front);
        once.or_else(|| self.always.get(&kind).cloned()).unwrap_or(Answer::Truth)
    }

    fn list(&self, from: usize, limit: usize) -> Value {
        let items: Vec<&Value> = self.pods.values().skip(from).take(limit.min(self.page_size)).collect();
        let next = from + items.len();
        let more = if next < self.pods.len() { next.to_string() } else { String::new() };
        let meta = json!({"resourceVersion": self.version.to_string(), "continue": more});
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items})
    }
}

impl State {
    fn find(&self, target: &str) -> Value {
        let between = |before: &str, after: [char; 2]| target.split_once(before)?.1.split(after).next();
        let namespace = between("/namespaces/", ['/', '?']).unwrap_or_default();
        let name = between("fieldSelector=metadata.name%3D", ['&', ' ']).unwrap_or_default();
        let items = Vec::from_iter(self.pods.get(&format!("{namespace}/{name}")));
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn truth(&self, tell: impl FnOnce(&State) -> Value) -> (Value, Arc<str>) {
        let state = self.state();
        (tell(&state), Arc::clone(&state.bulk))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Serves one connection until the client closes it. A second thread closes the connection when the test asks for it.
    fn serve(self: Arc<Self>, generation: u64, connection: TcpStream) -> io::Result<()> {
        let (closing, shared) = (connection.try_clone()?, Arc::clone(&self));
        thread::spawn(move || {
            drop(shared.changed.wait_while(shared.state(), |state| state.generation == generation));
            closing.shutdown(Shutdown::Both)
        });
        let mut reader = BufReader::new(connection.try_clone()?);
        loop {
            let (method, target, body) = read_request(&mut reader)?;
            let kind = kind(&method, &target);
            let answer = {
                let mut state = self.state();
                state.requests.push(Request { kind, target: target.clone() });
                if kind == Kind::Event {
                    state.events.push(serde_json::from_slice(&body).unwrap_or_default());
                }
                state.answer(kind)
            };
            let number = |name| target.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok());
            let version = number("resourceVersion=").unwrap_or_default();
            match (answer, kind) {
                (Answer::Status(code), _) => respond(&connection, code, &status(code).to_string())?,
                (Answer::Raw(line), Kind::Watch) => self.watch(generation, &connection, version, Some(line))?,
                (Answer::Raw(body), _) => respond(&connection, 200, &body)?,
                (Answer::Cut, _) => {
                    (&connection).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"kind\": \"PodLi")?;
                    return connection.shutdown(Shutdown::Both);
                }
                (Answer::Hang, _) => {
                    drop(self.changed.wait_while(self.state(), |state| state.generation == generation));
                    return Ok(());
                }
                (Answer::Truth, Kind::Watch) => self.watch(generation, &connection, version, None)?,
                (Answer::Truth, Kind::List | Kind::Page) => {
                    let count = |name| number(name).and_then(|number| usize::try_from(number).ok());
                    let (from, limit) = (count("continue=").unwrap_or_default(), count("limit=").unwrap_or(usize::MAX));
                    let (list, bulk) = self.truth(|state| state.list(from, limit));
                    respond_with(&connection, 200, &Bulky { text: &list.to_string(), bulk: &bulk })?;
                }
                (Answer::Truth, Kind::Find) => {
                    let (found, bulk) = self.truth(|state| state.find(&target));
                    respond_with(&connection, 200, &Bulky { text: &found.to_string(), bulk: &bulk })?;
                }
                (Answer::Truth, Kind::Event) => respond(&connection, 201, &String::from_utf8_lossy(&body))?,
                (Answer::Truth, Kind::Other) => respond(&connection, 404, &status(404).to_string())?,
            }
        }
    }

    fn watch(
        &self,
        generation: u64,
        mut connection: &TcpStream,
        mut from: u64,
        first: Option<String>,
    ) -> io::Result<()> {
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let (mut lines, ended) = (Vec::from_iter(first), self.state().watches_ended);
        loop {
            let bulk = Arc::clone(&self.state().bulk);
            for line in lines {
                let line = Bulky { text: &line, bulk: &bulk };
                write!(connection, "{:x}\r\n", line.len() + 1)?;
                line.write_to(connection)?;
                connection.write_all(b"\n\r\n")?;
            }
            let idle = |state: &mut State| {
                state.generation == generation
                    && state.watches_ended == ended
                    && state.news.last().is_none_or(|(version, _)| *version <= from)
            };
            let state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
            if state.generation != generation || state.watches_ended != ended {
                drop(state);
                return connection.write_all(b"0\r\n\r\n");
            }
            lines = state.news.iter().filter(|(version, _)| *version > from).map(|(_, line)| line.clone()).collect();
            from = state.version;
        }
    }
}

fn kind(method: &str, target: &str) -> Kind {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asks = |what| query.split('&').any(|part| part.starts_with(what));
    match (method, path) {
        ("GET", "/api/v1/pods") if asks("watch=true") => Kind::Watch,
        ("GET", "/api/v1/pods") if asks("continue=") => Kind::Page,
        ("GET", "/api/v1/pods") => Kind::List,
        ("GET", path) if path.starts_with("/api/v1/namespaces/") && path.ends_with("/pods") => Kind::Find,
        ("POST", path) if path.starts_with("/api/v1/namespaces/") && path.ends_with("/events") => Kind::Event,
        _ => Kind::Other,
    }
}
