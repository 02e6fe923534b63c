//! The watch on this node's pods: how the stream is opened, bounded in time, and opened again after an error.
//!
//! One rule holds for every error: the watch drops the stream, waits, and opens a new stream, which lists all pods again. The rule
//! replaces kube's own retries and covers both shapes of 410 (kube never lists again after the 410 that answers the watch request)
//! and half-finished lists.

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

use crate::{k8s::pod::Pod, text::format::with_causes};

/// The duration of one watch request, in seconds. kube gives up a connection on which nothing came for 5 s longer, so it notices a
/// dead connection sooner than with its default of 290 s.
const WATCH_S: u32 = 120;

/// The client's own read timeout. It is longer than a healthy watch may be silent, so it only ends a connection that hangs.
pub const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_S as u64 + 30);

/// How long a list may make no progress. Each pod of the list starts the time again, so a list of many pages may take longer.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Pods in one page of a list. The largest pod is 9.4 MB of JSON: etcd takes 1.5 MiB for one object, and the API server writes each
/// `<` as six characters. At its peak kube holds the text of a page three times and the text of a watch event four times, so either
/// takes some 35 MB of the 64 MiB that 16 captures leave of the container's limit; a page of two pods would take 58 MB (measured by
/// `tests/it/controller/hostile.rs`). A page whose token expired (410) leads to a new list, as every error does.
pub const PAGE_SIZE: u32 = 1;

/// How long a watch may be silent before the pods are listed again. kube passes no bookmarks on, and opens a silent watch again
/// without an error, so a quiet node and a dead connection look the same. Only a list tells them apart.
const SILENT_MAX: Duration = Duration::from_secs(300);

/// The wait after the first failure. It doubles with each further failure.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest wait after a failure, before jitter.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A watch that lasted this long was healthy: the next failure counts as the first. The time runs from the end of the list, so
/// lists that time out stay failures in a row (kube's `ResetTimerBackoff` counts from failure to failure, and would start again).
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// The stream of watch events about the pods of one node.
pub(crate) struct Watch {
    open: Box<dyn Fn() -> Stream>,
    state: State,
    failures: u32,
}

enum State {
    Closed { open_at: Instant },
    Listing { stream: Stream, give_up_at: Instant },
    Watching { stream: Stream, since: Instant, list_at: Instant },
}

type Stream = BoxStream<'static, watcher::Result<Event<Pod>>>;

/// Why the stream ended.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong, for the log.
    pub error: String,
    /// What the operator can do about the error, if that is known.
    pub advice: Option<&'static str>,
    /// The number of failures in a row, including this failure.
    pub failures: u32,
    /// The wait before the stream is opened again.
    pub retry_in: Duration,
}

impl Watch {
    /// A watch on the pods of `node`. The first call of `next` opens the stream.
    pub fn new(client: Client, node: &str) -> Self {
        let node = format!("spec.nodeName={node}");
        Self::with_opener(move || {
            // A list is a consistent read by default, and must stay one: an older state from a cache would delete the files of
            // a pod that was annotated a second ago.
            let config = watcher::Config::default().fields(&node).timeout(WATCH_S).page_size(PAGE_SIZE);
            watcher(Api::<Pod>::all(client.clone()), config).boxed()
        })
    }

    fn with_opener(open: impl Fn() -> Stream + 'static) -> Self {
        Self { open: Box::new(open), state: State::Closed { open_at: Instant::now() }, failures: 0 }
    }

    /// The next event. The future may be dropped and `next` called again: no event is lost.
    ///
    /// # Errors
    /// If the stream ended: why. The next call waits for `retry_in` and opens a new stream.
    pub async fn next(&mut self) -> Result<Event<Pod>, Failure> {
        loop {
            let event = match &mut self.state {
                State::Closed { open_at } => {
                    sleep_until(*open_at).await;
                    self.state = State::Listing { stream: (self.open)(), give_up_at: Instant::now() + LIST_TIMEOUT };
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
                        *list_at = Instant::now() + jittered(SILENT_MAX);
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
                    if let Event::InitDone = event {
                        self.list_done();
                    }
                    return Ok(event);
                }
                Some(Err(error)) => return Err(self.close(describe(&error), advice(&error))),
                None => return Err(self.close("the stream ended".into(), None)),
            }
        }
    }

    fn list_done(&mut self) {
        let now = Instant::now();
        let closed = State::Closed { open_at: now };
        self.state = match std::mem::replace(&mut self.state, closed) {
            State::Listing { stream, .. } | State::Watching { stream, .. } => {
                State::Watching { stream, since: now, list_at: now + jittered(SILENT_MAX) }
            }
            closed @ State::Closed { .. } => closed,
        };
    }

    fn close(&mut self, error: String, advice: Option<&'static str>) -> Failure {
        let healthy = matches!(&self.state, State::Watching { since, .. } if since.elapsed() >= HEALTHY_AFTER);
        self.failures = if healthy { 1 } else { self.failures.saturating_add(1) };
        let retry_in = backoff(self.failures);
        self.state = State::Closed { open_at: Instant::now() + retry_in };
        Failure { error, advice, failures: self.failures, retry_in }
    }
}

impl Failure {
    /// Whether the failure deserves a line in the log: the first, the second, the fourth, the eighth … in a row.
    pub fn is_logged(&self) -> bool {
        self.failures.is_power_of_two()
    }
}

/// The wait after `failures` failures in a row: 1, 2, 4 … seconds up to the maximum, with jitter.
pub(super) fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    jittered(BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX))
}

/// `wait`, up to a quarter shorter or longer, so that the nodes of a cluster do not ask the API server at the same time.
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

fn advice(error: &watcher::Error) -> Option<&'static str> {
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
    use std::{cell::RefCell, rc::Rc};

    use futures::stream;

    use super::*;

    /// One step of a scripted stream.
    enum Step {
        ListStarts,
        ListEnds,
        Fails,
        WaitsSeconds(u64),
        Hangs,
    }
    use Step::{Fails, Hangs, ListEnds, ListStarts, WaitsSeconds};

    type Opened = Rc<RefCell<Vec<Instant>>>;

    /// A watch whose streams all follow `script`, and when each of them was opened.
    fn scripted(script: fn() -> Vec<Step>) -> (Watch, Opened) {
        let opened = Opened::default();
        let times = opened.clone();
        let watch = Watch::with_opener(move || {
            times.borrow_mut().push(Instant::now());
            stream::iter(script()).filter_map(play).boxed()
        });
        (watch, opened)
    }

    async fn play(step: Step) -> Option<watcher::Result<Event<Pod>>> {
        match step {
            ListStarts => Some(Ok(Event::Init)),
            ListEnds => Some(Ok(Event::InitDone)),
            Fails => Some(Err(forbidden())),
            WaitsSeconds(s) => {
                tokio::time::sleep(Duration::from_secs(s)).await;
                None
            }
            Hangs => std::future::pending().await,
        }
    }

    fn forbidden() -> watcher::Error {
        let status = serde_json::json!({"status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
        watcher::Error::WatchError(Box::new(serde_json::from_value(status).unwrap()))
    }

    /// The next `n` failures; events are passed over.
    async fn failures(watch: &mut Watch, n: usize) -> Vec<Failure> {
        let mut failures = Vec::new();
        while failures.len() < n {
            failures.extend(watch.next().await.err());
        }
        failures
    }

    fn seconds_between(opened: &Opened) -> Vec<f64> {
        opened.borrow().windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    #[test]
    fn the_backoff_doubles_from_1_s_to_30_s_with_a_quarter_of_jitter() {
        for (failures, wait_s) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (6, 30.0), (100, 30.0)] {
            for _ in 0..100 {
                let wait = backoff(failures).as_secs_f64();
                assert!((wait_s * 0.75..=wait_s * 1.25).contains(&wait), "{failures}: {wait}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_fail_before_or_after_the_list_are_failures_in_a_row_and_opened_ever_later() {
        for script in [|| vec![Fails], || vec![ListStarts, ListEnds, Fails]] {
            let (mut watch, opened) = scripted(script);
            let failures = failures(&mut watch, 5).await;
            assert_eq!(failures.iter().map(|failure| failure.failures).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
            assert_eq!(failures.iter().map(Failure::is_logged).collect::<Vec<_>>(), [true, true, false, true, false]);
            assert_eq!(failures[0].error, "no (403 Forbidden)");
            assert!(failures[0].advice.unwrap().contains("ClusterRole"));
            for (failure, waited_s) in failures.iter().zip(seconds_between(&opened)) {
                assert!((failure.retry_in.as_secs_f64() - waited_s).abs() < 0.01, "{failure:?} {waited_s}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_after_a_healthy_watch_counts_as_the_first() {
        let healthy = || vec![ListEnds, WaitsSeconds(60), Fails];
        let short = || vec![ListEnds, WaitsSeconds(59), Fails];
        for (script, expected) in [(healthy as fn() -> Vec<Step>, 1), (short, 3)] {
            assert_eq!(failures(&mut scripted(script).0, 3).await[2].failures, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_progress_is_given_up_after_60_s_and_fails_again_in_a_row() {
        let (mut watch, opened) = scripted(|| vec![ListStarts, WaitsSeconds(59), ListStarts, Hangs]);
        let failures = failures(&mut watch, 2).await;
        assert_eq!(failures[0].error, "the list of pods made no progress for 60 s");
        assert_eq!(failures[1].failures, 2);
        let waited_s = seconds_between(&opened)[0] - failures[0].retry_in.as_secs_f64();
        assert!((119.0..119.1).contains(&waited_s), "progress starts the time again: {waited_s}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_watch_lists_again_without_a_failure() {
        let (mut watch, opened) = scripted(|| vec![ListEnds, Hangs]);
        for _ in 0..3 {
            assert!(matches!(watch.next().await, Ok(Event::InitDone)));
        }
        let waits = seconds_between(&opened);
        assert!(waits.len() == 2 && waits.iter().all(|wait_s| (225.0..=375.0).contains(wait_s)), "{waits:?}");
    }
}
