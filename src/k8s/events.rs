//! Publishes notices as Events: a bound for each pod, a bounded queue, and one task that creates the Events.
//!
//! kube's `Recorder` is not used: it takes two notices that differ only in their text for one, and repeats the first.

use std::{
    collections::{HashMap, VecDeque},
    time::{self, Duration},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::watch::backoff;
use crate::{core::name::PodUid, text::notice::PodEvent};

/// Events that one pod may get in a burst.
const BURST: u32 = 10;
/// How often a pod that has had its burst may get one more Event.
const REFILL: Duration = Duration::from_secs(30);
/// Notices that may wait for the API server. Further notices are only logged.
const QUEUE_MAX: usize = 256;
/// Pods whose allowance is remembered: more than a node has.
const PODS_MAX: usize = 1024;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests for one Event that the API server may answer with a failure of its own, such as 429 or 500.
const ANSWERS_MAX: u32 = 4;
/// The age at which a notice is given up if the API server does not answer at all: it no longer describes the present.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// The longest message that the API server takes, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;
/// The longest name of an object, in bytes.
const NAME_BYTES_MAX: usize = 253;

const COMPONENT: &str = "packet-capture";

/// Publishes notices to the owners of pods, as log lines and Events.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Queued>,
    task: JoinHandle<()>,
    allowances: HashMap<PodUid, Allowance>,
    /// The pods of `allowances`, the oldest first.
    by_age: VecDeque<PodUid>,
}

#[derive(Debug)]
struct Queued {
    notice: PodEvent,
    published: Timestamp,
    give_up_at: Instant,
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    refilled_at: Instant,
}

fn log_notice(notice: &PodEvent) {
    let level = if notice.reason.is_warning() { log::Level::Warn } else { log::Level::Info };
    let PodEvent { pod, uid, reason, text } = notice;
    log::log!(level, "{} pod={pod} uid={uid} note={text:?}", reason.sentence());
}

impl Events {
    /// Starts the task that creates Events. They name `node` as the host that reported them.
    pub fn new(client: Client, node: &str) -> Self {
        let (queue, notices) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(create_all(client, node.to_owned(), notices));
        Self { queue, task, allowances: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Logs a notice, and queues it for the API server unless its pod has used up its allowance or the queue is full. Returns
    /// `None` if the notice was queued, and otherwise when the caller may try again.
    pub fn publish(&mut self, notice: PodEvent) -> Option<time::Instant> {
        log_notice(&notice);
        let now = Instant::now();
        let again_at = (now + REFILL).into_std();
        if !self.allow(&notice.uid) {
            log::debug!("no event: the pod has had too many pod={}", notice.pod);
            return Some(again_at);
        }
        let queued = Queued { notice, published: Timestamp::now(), give_up_at: now + AGE_MAX };
        self.queue.try_send(queued).err().map(|error| {
            log::warn!("no event: too many wait for the API server error={error}");
            again_at
        })
    }

    /// Waits until all notices have reached the API server, until `deadline` at the latest.
    pub async fn flush(self, deadline: Instant) {
        drop(self.queue);
        if timeout_at(deadline, self.task).await.is_err() {
            log::warn!("some events did not reach the API server");
        }
    }

    fn allow(&mut self, uid: &PodUid) -> bool {
        let now = Instant::now();
        if !self.allowances.contains_key(uid) {
            if self.by_age.len() >= PODS_MAX
                && let Some(oldest) = self.by_age.pop_front()
            {
                self.allowances.remove(&oldest);
            }
            self.by_age.push_back(uid.clone());
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

async fn create_all(client: Client, node: String, mut notices: mpsc::Receiver<Queued>) {
    while let Some(Queued { notice, published, give_up_at }) = notices.recv().await {
        let api = Api::<Event>::namespaced(client.clone(), &notice.pod.namespace);
        let event = event(&notice, &node, published);
        let post = || async { api.create(&PostParams::default(), &event).await };
        if let Err(error) = create(post, give_up_at).await {
            log::warn!("no event pod={} reason={} error={error:?}", notice.pod, notice.reason.name());
        }
    }
}

/// Creates one Event: calls `post` until the API server has the Event, refuses it, or `give_up_at` has passed. Further Events wait for
/// this Event: an API server that does not answer one request answers none.
async fn create<F: Future<Output = kube::Result<Event>>>(
    post: impl Fn() -> F,
    give_up_at: Instant,
) -> Result<(), String> {
    let (mut requests, mut answers) = (0, 0);
    loop {
        let error = match timeout(REQUEST_TIMEOUT, post()).await {
            Ok(Ok(_)) => return Ok(()),
            // An earlier request was carried out, although its answer was lost.
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => return Ok(()),
            Ok(Err(kube::Error::Api(status))) => {
                answers += 1;
                if is_final(status.code) || answers >= ANSWERS_MAX {
                    // A namespace that is being deleted answers 403 too, and then nothing is wrong.
                    let unbound = status.code == 403 && !status.message.contains("being terminated");
                    let hint = if unbound { "; hint: apply the ClusterRole in daemonset.yaml" } else { "" };
                    return Err(format!("{}{hint}", status.message));
                }
                status.message
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()),
        };
        if Instant::now() >= give_up_at {
            return Err(error);
        }
        requests += 1;
        sleep(backoff(requests)).await;
    }
}

/// Whether another request would get the same answer: no such namespace, not allowed, not a valid Event.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && code != 429
}

fn event(notice: &PodEvent, node: &str, published: Timestamp) -> Event {
    // The name ends with the time, as other components' Events do, so that a list shows Events in the order of their creation.
    let suffix = format!(".{:x}", published.as_nanosecond());
    let name = &notice.pod.name[..notice.pod.name.floor_char_boundary(NAME_BYTES_MAX - suffix.len())];
    let name = format!("{}{suffix}", name.trim_end_matches(['.', '-']));
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(notice.pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(notice.pod.namespace.clone()),
            name: Some(notice.pod.name.clone()),
            uid: Some(notice.uid.0.clone()),
            ..ObjectReference::default()
        },
        type_: Some(if notice.reason.is_warning() { "Warning" } else { "Normal" }.into()),
        reason: Some(notice.reason.name().into()),
        message: Some(cut(&notice.text).to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        count: Some(1),
        first_timestamp: Some(Time(published)),
        last_timestamp: Some(Time(published)),
        ..Event::default()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{core::name::PodName, text::notice::Reason};

    fn answer(code: u16, reason: &str) -> kube::Result<Event> {
        let status = serde_json::json!({"status": "Failure", "message": "no", "reason": reason, "code": code});
        Err(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
    }

    /// Creates an Event against a scripted answer to the n-th request, counted from 1: the result, the requests and the seconds.
    async fn requests(answer: impl Fn(u32) -> Option<kube::Result<Event>>) -> (Result<(), String>, u32, u64) {
        let (requests, started) = (Cell::new(0), Instant::now());
        let post = || async {
            requests.set(requests.get() + 1);
            match answer(requests.get()) {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        let result = create(post, started + AGE_MAX).await;
        (result, requests.get(), started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_given_up_after_four_failures_of_the_api_server() {
        for code in [429, 500, 503] {
            let (result, requests, seconds) = requests(|_| Some(answer(code, "Busy"))).await;
            assert_eq!((result, requests), (Err("no".to_owned()), 4), "{code}");
            assert!((5..=8).contains(&seconds), "1 + 2 + 4 s with jitter: {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_refused_for_good_is_requested_once() {
        for (code, hint) in [(403, "; hint: apply the ClusterRole in daemonset.yaml"), (404, ""), (422, "")] {
            let refused = requests(|_| Some(answer(code, "Refused"))).await;
            assert_eq!(refused, (Err(format!("no{hint}")), 1, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_without_an_answer_is_requested_again_for_an_hour() {
        let (result, sent, seconds) = requests(|n| (n == 2).then(|| answer(409, "AlreadyExists"))).await;
        assert_eq!((result, sent), (Ok(()), 2), "the first request was carried out");
        assert!((10..=12).contains(&seconds), "{seconds}");
        let (result, _, seconds) = requests(|_| None).await;
        assert_eq!(result, Err("no answer within 10 s".to_owned()));
        assert!((3600..3660).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_gets_ten_events_in_a_burst_then_one_in_30_s_while_the_queue_has_room() {
        let (queue, mut queued) = mpsc::channel(QUEUE_MAX);
        let mut events =
            Events { queue, task: tokio::spawn(async {}), allowances: HashMap::new(), by_age: VecDeque::new() };
        let mut publish = |uid: &str| {
            let pod = PodName { namespace: "default".into(), name: "web".into() };
            let notice = PodEvent { pod, uid: PodUid(uid.into()), reason: Reason::Refused, text: String::new() };
            events.publish(notice).map(|at| at - Instant::now().into_std())
        };
        assert!((0..10).all(|_| publish("a").is_none()));
        assert_eq!(publish("a"), Some(REFILL));
        assert_eq!(publish("b"), None, "each pod has an allowance of its own");
        sleep(REFILL).await;
        assert_eq!((publish("a"), publish("a")), (None, Some(REFILL)));
        for pod in 0..QUEUE_MAX - 12 {
            assert_eq!(publish(&pod.to_string()), None);
        }
        assert_eq!(publish("c"), Some(REFILL), "the queue is full");
        queued.recv().await.unwrap();
        assert_eq!(publish("d"), None);
    }
}
