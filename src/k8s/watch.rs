//! The watch on this node's pods: how it is opened, bounded in time, and opened anew after an error.
//!
//! One rule for every error: the stream is dropped, and after a wait of our own a new one lists all pods again. It replaces
//! kube's retries, both shapes of 410 (kube never lists again after the one that answers the watch request) and half-finished lists.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Client,
    runtime::watcher::{self, Event, watcher},
};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    core::{desired::WatchEvent, limits::Limits},
    k8s::pod::{self, Pod},
    text::format::with_causes,
};

/// How long one watch request lasts, in seconds, before it is made anew. kube gives up a connection on which nothing came for 5 s
/// longer, so a dead one is noticed sooner than with the default of 290 s.
const WATCH_S: u32 = 120;

/// The client's own read timeout: more than a watch may be silent, so that it only ends what hangs.
pub const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_S as u64 + 30);

/// How long a list may make no progress: counted anew for each of its pods, so that many pages may take longer.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Pods in one page of a list. The largest pod is 9.4 MB of JSON: etcd takes 1.5 MiB for one object, and the API server writes each
/// `<` as six characters. kube holds a page's text three times at its peak, and an event's of a watch four times, so either takes
/// some 35 MB of the 64 MiB that 16 captures leave of the container's limit; a page of two would take 58 MB (measured by
/// `tests/it/hostile.rs`). A page that comes after its token expired (410) means a new list, as every error does.
pub const PAGE_SIZE: u32 = 1;

/// How long a watch may go without a word. Bookmarks do not reach us, so a quiet node and a deaf connection look the same, and kube
/// makes a silent watch anew without an error: only a list tells them apart.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// The wait after a first error; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait after an error.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// After a watch that went on for as long as this, the next error counts as the first.
const CALM: Duration = Duration::from_secs(60);

/// The stream of words about the pods of one node.
pub struct Watch {
    client: Client,
    node: String,
    limits: Limits,
    state: State,
    failures: u32,
}

enum State {
    Closed { open_at: Instant },
    Listing { stream: Stream, give_up_at: Instant },
    Watching { stream: Stream, since: Instant, list_at: Instant },
}

type Stream = BoxStream<'static, watcher::Result<Event<Pod>>>;

/// Why there is no word for a while.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: String,
    /// What to do about it, where that is known.
    pub hint: Option<&'static str>,
    /// Failures in a row, this one included.
    pub failures: u32,
    /// When it is tried again.
    pub retry_in: Duration,
}

impl Watch {
    /// A watch on the pods of `node`, not opened yet.
    #[must_use]
    pub fn new(client: Client, node: &str, limits: &Limits) -> Self {
        let state = State::Closed { open_at: Instant::now() };
        Self { client, node: node.to_owned(), limits: limits.clone(), state, failures: 0 }
    }

    /// The next word. May be dropped and called again without losing one.
    ///
    /// # Errors
    /// What made the stream end. The next call opens a new one, after a wait.
    pub async fn next(&mut self) -> Result<WatchEvent, Failure> {
        loop {
            let event = match &mut self.state {
                State::Closed { open_at } => {
                    sleep_until(*open_at).await;
                    self.state = State::Listing { stream: self.open(), give_up_at: Instant::now() + LIST_TIMEOUT };
                    continue;
                }
                State::Listing { stream, give_up_at } => match timeout_at(*give_up_at, stream.next()).await {
                    Ok(event) => {
                        *give_up_at = Instant::now() + LIST_TIMEOUT;
                        event
                    }
                    Err(_) => {
                        let error = format!("the list of pods made no progress for {} s", LIST_TIMEOUT.as_secs());
                        return Err(self.close(error, None));
                    }
                },
                State::Watching { stream, list_at, .. } => match timeout_at(*list_at, stream.next()).await {
                    Ok(event) => {
                        *list_at = Instant::now() + jittered(QUIET_MAX);
                        event
                    }
                    Err(_) => {
                        self.state = State::Closed { open_at: Instant::now() };
                        continue;
                    }
                },
            };
            match event {
                Some(Ok(event)) => {
                    if let Some(event) = self.event(event) {
                        return Ok(event);
                    }
                }
                Some(Err(error)) => return Err(self.close(describe(&error), hint(&error))),
                None => return Err(self.close("the stream ended".into(), None)),
            }
        }
    }

    fn open(&self) -> Stream {
        // A list is a consistent read by default, and must stay one: an older state from a cache would delete what was
        // annotated a second ago.
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        watcher(Api::<Pod>::all(self.client.clone()), config.timeout(WATCH_S).page_size(PAGE_SIZE)).boxed()
    }

    fn event(&mut self, event: Event<Pod>) -> Option<WatchEvent> {
        let observed = |pod: &Pod| pod::observed(pod, &self.limits);
        match event {
            Event::Init => Some(WatchEvent::ListStarted),
            Event::InitApply(pod) => observed(&pod).map(WatchEvent::ListItem),
            Event::InitDone => {
                let closed = State::Closed { open_at: Instant::now() };
                self.state = match std::mem::replace(&mut self.state, closed) {
                    State::Listing { stream, .. } | State::Watching { stream, .. } => {
                        let now = Instant::now();
                        State::Watching { stream, since: now, list_at: now + jittered(QUIET_MAX) }
                    }
                    closed @ State::Closed { .. } => closed,
                };
                Some(WatchEvent::ListDone)
            }
            Event::Apply(pod) => observed(&pod).map(WatchEvent::Applied),
            Event::Delete(pod) => observed(&pod).map(WatchEvent::Deleted),
        }
    }

    fn close(&mut self, error: String, hint: Option<&'static str>) -> Failure {
        let calm = matches!(&self.state, State::Watching { since, .. } if since.elapsed() >= CALM);
        self.failures = if calm { 1 } else { self.failures.saturating_add(1) };
        let retry_in = backoff(self.failures);
        self.state = State::Closed { open_at: Instant::now() + retry_in };
        Failure { error, hint, failures: self.failures, retry_in }
    }
}

/// 1, 2, 4 … seconds up to the maximum, give or take a quarter.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    jittered(BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX))
}

/// Give or take a quarter: the nodes of a cluster must not all come at the same time.
fn jittered(wait: Duration) -> Duration {
    let permille = RandomState::new().hash_one(0) % 1000;
    wait.mul_f64(0.75 + 0.0005 * permille as f64)
}

/// kube reads an object that it cannot parse in a watch as an empty error.
fn describe(error: &watcher::Error) -> String {
    match status(error) {
        Some(status) if status.message.is_empty() && status.code == 0 => "an object could not be read".to_owned(),
        Some(status) => format!("{} ({} {})", status.message, status.code, status.reason),
        None => with_causes(error),
    }
}

fn hint(error: &watcher::Error) -> Option<&'static str> {
    match status(error)?.code {
        401 => Some("the service account's token was not accepted; is it mounted, and of this cluster?"),
        403 => Some("apply the ClusterRole and its binding in daemonset.yaml"),
        _ => None,
    }
}

fn status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::WatchError(status) => Some(status),
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_1_s_to_30_s_give_or_take_a_quarter() {
        for (failures, wait_s) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (6, 30.0), (100, 30.0)] {
            for _ in 0..100 {
                let wait = backoff(failures).as_secs_f64();
                assert!((wait_s * 0.75..=wait_s * 1.25).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}
