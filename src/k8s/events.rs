//! The way of a note to the API server: a bound on how many one pod gets, a bounded queue, and one task that creates Events.
//!
//! Not kube's `Recorder`: it takes two notes that differ only in their text for one, and repeats the first.

use std::{
    collections::{HashMap, VecDeque},
    time::{self, Duration},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{core::name::PodUid, text::notice::PodEvent};

/// Events that one pod may get at once.
const BURST: u32 = 10;
/// How often a pod that has had its burst may get one more.
const REFILL: Duration = Duration::from_secs(30);
/// Notes that wait for the API server; more are only logged.
const QUEUE_MAX: usize = 256;
/// Pods whose rate is remembered: more than a node has.
const PODS_MAX: usize = 1024;
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a note is tried that the API server answers with a failure of its own, such as 429 or 500.
const ANSWERED_MAX: u32 = 4;
/// How old a note may get while the API server does not answer at all: so old that it says nothing of now.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(1);
/// The wait before a note is tried again; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The longest note that the API server takes, in bytes.
const NOTE_BYTES_MAX: usize = 1024;
/// The longest name of an object.
const NAME_BYTES_MAX: usize = 253;

const COMPONENT: &str = "packet-capture";

/// Tells pods' owners, by log line and Event.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<(PodEvent, Timestamp)>,
    task: JoinHandle<()>,
    allowances: HashMap<PodUid, Allowance>,
    forgettable: VecDeque<PodUid>,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled_at: Instant,
}

fn log_note(note: &PodEvent) {
    let level = if note.reason.is_warning() { log::Level::Warn } else { log::Level::Info };
    let PodEvent { pod, uid, reason, text } = note;
    log::log!(level, "{} pod={pod} uid={uid} note={text:?}", reason.sentence());
}

impl Events {
    /// Starts the task that creates Events in the name of this node's controller.
    #[must_use]
    pub fn new(client: Client, node: &str) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(create_all(client, node.to_owned(), notes));
        Self { queue, task, allowances: HashMap::new(), forgettable: VecDeque::new() }
    }

    /// Logs a note, and queues it for the API server if its pod has not had too many and the queue has room. Where it was only
    /// logged: returns when it could be queued.
    pub fn publish(&mut self, note: PodEvent) -> Option<time::Instant> {
        log_note(&note);
        let again_at = time::Instant::now() + REFILL;
        if !self.allow(&note.uid) {
            log::debug!("no event: the pod has had too many pod={}", note.pod);
            return Some(again_at);
        }
        let queued = self.queue.try_send((note, Timestamp::now()));
        queued.err().map(|error| {
            log::warn!("no event: too many wait for the API server error={error}");
            again_at
        })
    }

    /// Waits until all notes are out, until `deadline` at the latest.
    pub async fn flush(self, deadline: Instant) {
        drop(self.queue);
        if timeout_at(deadline, self.task).await.is_err() {
            log::warn!("some events did not reach the API server");
        }
    }

    fn allow(&mut self, uid: &PodUid) -> bool {
        let now = Instant::now();
        if !self.allowances.contains_key(uid) {
            if self.forgettable.len() >= PODS_MAX
                && let Some(oldest) = self.forgettable.pop_front()
            {
                self.allowances.remove(&oldest);
            }
            self.forgettable.push_back(uid.clone());
        }
        let allowance = self.allowances.entry(uid.clone()).or_insert(Allowance { left: BURST, refilled_at: now });
        let refills = now.duration_since(allowance.refilled_at).as_secs() / REFILL.as_secs();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(BURST);
            allowance.left = allowance.left.saturating_add(refills).min(BURST);
            allowance.refilled_at += REFILL * refills;
        }
        let allowed = allowance.left > 0;
        allowance.left = allowance.left.saturating_sub(1);
        allowed
    }
}

async fn create_all(client: Client, node: String, mut notes: mpsc::Receiver<(PodEvent, Timestamp)>) {
    while let Some((note, told_at)) = notes.recv().await {
        let api = Api::<Event>::namespaced(client.clone(), &note.pod.namespace);
        if let Err(error) = create(&api, &event(&note, &node, told_at), told_at).await {
            log::warn!("no event pod={} reason={} error={error:?}", note.pod, note.reason.name());
        }
    }
}

/// Notes go one by one: while the API server does not answer the others wait too, and it answers all of them or none.
async fn create(api: &Api<Event>, event: &Event, told_at: Timestamp) -> Result<(), String> {
    let (mut answers, mut wait) = (0, RETRY_MIN);
    loop {
        let error = match timeout(ATTEMPT_TIMEOUT, api.create(&PostParams::default(), event)).await {
            Ok(Ok(_)) => return Ok(()),
            // An earlier attempt came through, although its answer did not.
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => return Ok(()),
            Ok(Err(kube::Error::Api(status))) => {
                answers += 1;
                if is_final(status.code) || answers >= ANSWERED_MAX {
                    // A namespace that is about to go answers so, too, and nothing is wrong then.
                    let unbound = status.code == 403 && !status.message.contains("being terminated");
                    let hint = if unbound { "; hint: apply the ClusterRole in daemonset.yaml" } else { "" };
                    return Err(format!("{}{hint}", status.message));
                }
                status.message
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()),
        };
        if Timestamp::now().duration_since(told_at) >= AGE_MAX {
            return Err(error);
        }
        sleep(wait).await;
        wait = RETRY_MAX.min(wait * 2);
    }
}

/// Whether the API server's answer will be the same next time: no such namespace, not allowed, no such Event possible.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && code != 429
}

fn event(note: &PodEvent, node: &str, now: Timestamp) -> Event {
    // Named as other components name theirs, so that a list shows them in the order of their making.
    let suffix = format!(".{:x}", now.as_nanosecond());
    let name = &note.pod.name[..note.pod.name.floor_char_boundary(NAME_BYTES_MAX - suffix.len())];
    let name = format!("{}{suffix}", name.trim_end_matches(['.', '-']));
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(note.pod.namespace.clone()), ..ObjectMeta::default() },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(note.pod.namespace.clone()),
            name: Some(note.pod.name.clone()),
            uid: Some(note.uid.0.clone()),
            ..ObjectReference::default()
        },
        type_: Some(if note.reason.is_warning() { "Warning" } else { "Normal" }.into()),
        reason: Some(note.reason.name().into()),
        message: Some(cut(&note.text).to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(NOTE_BYTES_MAX)]
}
