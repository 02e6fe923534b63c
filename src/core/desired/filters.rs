//! Which filter tcpdump is to compile next, and what comes of its verdict.
//!
//! A request with a filter counts as readable only when tcpdump has compiled it: until then the one before it stands.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::Desired;
use crate::core::{annotations::ValidRequest, name::Stem, refusal::Refusal, request::Target};

/// The shortest time between two compilations for one pod: who changes a filter again and again is not to keep a core busy. The
/// first filter is compiled at once, and of those that come meanwhile the last one.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How long it is remembered that a namespace had its turn: longer than a queue of filters that are costly, and not for ever.
const SERVED_FOR: Duration = Duration::from_secs(300);

/// A filter for tcpdump to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whose it is.
    pub stem: Stem,
    /// The request that it belongs to.
    pub valid: ValidRequest,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
}

impl Desired {
    /// The filter to be compiled next: of the namespace whose last turn was longest ago, so that no namespace keeps the others
    /// waiting, the one that has waited longest. One of a pod without an address waits for that, too: whether a filter
    /// can match anything at all depends on it. One of a pod that had its turn just now waits, and nobody waits behind it.
    ///
    /// # Errors
    /// If there is none to be compiled now: when there will be one, if any waits.
    pub fn next_check(&self, now: Instant) -> Result<Check, Option<Instant>> {
        let waiting = self.requests().filter_map(|(stem, pod)| match (&pod.unchecked, &pod.target) {
            (Some((valid, since)), Target::At(ips)) => Some((since, stem, valid, ips)),
            (Some(_) | None, _) => None,
        });
        let waiting = waiting.map(|waiting| (self.checked.get(waiting.1).map(|at| *at + CHECK_INTERVAL), waiting));
        let (later, due): (Vec<_>, Vec<_>) = waiting.partition(|(at, _)| at.is_some_and(|at| at > now));
        let (_, (_, stem, valid, ips)) = due
            .into_iter()
            .min_by_key(|(_, (since, stem, ..))| (self.served.get(stem.namespace()), **since))
            .ok_or_else(|| later.into_iter().filter_map(|(at, _)| at).min())?;
        Ok(Check { stem: stem.clone(), valid: valid.clone(), ips: ips.clone() })
    }

    /// tcpdump did not come to say anything of a filter: it waits behind all others.
    pub fn postpone(&mut self, check: &Check, now: Instant) {
        self.serve(&check.stem, now);
        let lists = [Some(&mut self.pods), self.list.as_mut()];
        for pod in lists.into_iter().flatten().filter_map(|pods| pods.requests.get_mut(&check.stem)) {
            pod.postpone(now);
        }
    }

    /// A pod had its turn, and its namespace.
    fn serve(&mut self, stem: &Stem, now: Instant) {
        self.changes += 1;
        self.checked.retain(|_, at| *at + CHECK_INTERVAL > now);
        self.checked.insert(stem.clone(), now);
        self.served.retain(|_, at| *at + SERVED_FOR > now);
        self.served.insert(stem.namespace().to_owned(), now);
    }

    /// Takes in what tcpdump says of a filter, also for a list that is not complete yet. Says nothing of a pod that asks for
    /// something else by now.
    pub fn checked(&mut self, check: &Check, verdict: &Result<(), Refusal>, now: Instant) {
        self.serve(&check.stem, now);
        let Some(pod) = self.pods.requests.get_mut(&check.stem) else { return };
        let before = pod.valid.clone();
        pod.judge(&check.valid, verdict, now);
        let listed = self.list.as_mut().and_then(|list| list.requests.get_mut(&check.stem));
        if let Some(listed) = listed.filter(|listed| listed.uid == pod.uid) {
            listed.judge(&check.valid, verdict, now);
            // What stands until the newer annotations of the list can be read has changed meanwhile.
            if listed.valid == before && !listed.is_in_force() {
                listed.valid.clone_from(&pod.valid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{
        annotations,
        desired::{
            WatchEvent,
            tests::{after, files, observed},
        },
        limits::Limits,
        observed_pod::ObservedPod,
        request::Parsed,
    };

    const FILTER: &str = "tcpdump.antrea.io/filter";

    fn filtering(name: &str, files: &str, filter: &str) -> ObservedPod {
        let mut observed = observed(name, name, Some(files));
        observed.annotations.insert(FILTER.into(), filter.into());
        observed.parsed = annotations::parse(&observed.annotations, &Limits::default());
        observed.target = Target::At(vec![IpAddr::from([10, 0, 0, name.as_bytes()[0]])]);
        observed.claims = vec![IpAddr::from([10, 0, 0, name.as_bytes()[0]])];
        observed
    }

    /// The next one, however long each pod has to wait for its turn.
    fn next(desired: &Desired) -> Option<Check> {
        desired.next_check(Instant::now() + Duration::from_secs(3600)).ok()
    }

    fn reject(desired: &mut Desired) {
        let check = next(desired).unwrap();
        desired.checked(&check, &Err(Refusal::FilterRejected { said: "no".into() }), Instant::now());
    }

    fn is_refused(desired: &Desired) -> bool {
        matches!(desired.requests().next().unwrap().1.parsed, Parsed::Invalid(Refusal::FilterRejected { .. }))
    }

    #[test]
    fn a_filter_counts_when_tcpdump_has_compiled_it_and_the_request_before_it_stands_until_then() {
        let change = |files, filter| WatchEvent::Applied(filtering("a", files, filter));
        let mut desired = after([WatchEvent::Applied(observed("a", "a", Some("5"))), change("6", "tcp")]);
        assert_eq!(files(&desired, "a"), Some(5));
        let check = next(&desired).unwrap();
        desired.checked(&check, &Ok(()), Instant::now());
        assert_eq!((files(&desired, "a"), next(&desired)), (Some(6), None));
        // what is proven is not asked again
        desired.observe(change("7", "tcp"), Instant::now());
        assert_eq!((files(&desired, "a"), next(&desired)), (Some(7), None));
        desired.observe(change("8", "udp"), Instant::now());
        reject(&mut desired);
        assert_eq!((files(&desired, "a"), is_refused(&desired)), (Some(7), true));
        // nor is what was rejected, also by a list
        for event in [WatchEvent::ListStarted, WatchEvent::ListItem(filtering("a", "8", "udp")), WatchEvent::ListDone] {
            desired.observe(event, Instant::now());
        }
        assert_eq!((next(&desired), is_refused(&desired)), (None, true));
        desired.observe(change("8", "arp"), Instant::now());
        assert!(next(&desired).is_some() && !is_refused(&desired));
    }

    #[test]
    fn a_verdict_that_comes_amid_a_list_outlives_it() {
        let mut desired = after([WatchEvent::Applied(filtering("a", "5", "tcp")), WatchEvent::ListStarted]);
        desired.observe(WatchEvent::ListItem(filtering("a", "5", "tcp")), Instant::now());
        let check = next(&desired).unwrap();
        desired.checked(&check, &Ok(()), Instant::now());
        desired.observe(WatchEvent::ListDone, Instant::now());
        assert_eq!((files(&desired, "a"), next(&desired)), (Some(5), None));
    }

    #[test]
    fn a_verdict_that_comes_amid_a_list_stands_until_what_is_listed_can_be_read() {
        for listed in [filtering("a", "5", "arp"), observed("a", "a", Some("x"))] {
            let mut desired = after([
                WatchEvent::Applied(observed("a", "a", Some("3"))),
                WatchEvent::Applied(filtering("a", "4", "tcp")),
            ]);
            let check = next(&desired).unwrap();
            [WatchEvent::ListStarted, WatchEvent::ListItem(listed)]
                .into_iter()
                .for_each(|event| desired.observe(event, Instant::now()));
            desired.checked(&check, &Ok(()), Instant::now());
            desired.observe(WatchEvent::ListDone, Instant::now());
            assert_eq!(files(&desired, "a"), Some(4));
        }
        let mut desired = after([
            WatchEvent::Applied(observed("a", "a", Some("3"))),
            WatchEvent::Applied(filtering("a", "4", "tcp")),
        ]);
        let check = next(&desired).unwrap();
        let listed = [WatchEvent::ListStarted, WatchEvent::ListItem(observed("a", "a", Some("3")))];
        listed.into_iter().for_each(|event| desired.observe(event, Instant::now()));
        desired.checked(&check, &Ok(()), Instant::now());
        desired.observe(WatchEvent::ListDone, Instant::now());
        assert_eq!(files(&desired, "a"), Some(3), "what is listed can be read");
    }

    #[test]
    fn a_verdict_on_what_is_no_longer_asked_changes_nothing() {
        let mut desired = after([WatchEvent::Applied(filtering("a", "5", "tcp"))]);
        let check = next(&desired).unwrap();
        desired.observe(WatchEvent::Applied(filtering("a", "5", "udp")), Instant::now());
        desired.checked(&check, &Ok(()), Instant::now());
        assert_eq!(files(&desired, "a"), None);
        desired.observe(WatchEvent::Deleted(filtering("a", "5", "udp")), Instant::now());
        desired.checked(&check, &Ok(()), Instant::now());
        assert!(desired.requests().next().is_none());
    }

    #[test]
    fn filters_are_compiled_in_the_order_of_their_coming_and_only_where_there_is_an_address() {
        let (start, mut desired) = (Instant::now(), Desired::default());
        let mut homeless = filtering("a", "5", "tcp");
        homeless.target = Target::NoAddress;
        for (after_s, observed) in [(0, homeless), (1, filtering("c", "5", "tcp")), (2, filtering("b", "5", "tcp"))] {
            desired.observe(WatchEvent::Applied(observed), start + Duration::from_secs(after_s));
        }
        // one that changes again keeps its place
        desired.observe(WatchEvent::Applied(filtering("c", "6", "udp")), start + Duration::from_secs(3));
        let mut order = Vec::new();
        while let Some(check) = next(&desired) {
            order.push(check.stem.pod().name);
            desired.checked(&check, &Ok(()), Instant::now());
        }
        assert_eq!(order, ["c", "b"]);
        // and one that changes while it is being compiled waits behind the others
        for (after_s, name) in [(4, "c"), (5, "b")] {
            desired.observe(WatchEvent::Applied(filtering(name, "5", "arp")), start + Duration::from_secs(after_s));
        }
        let check = next(&desired).unwrap();
        desired.observe(WatchEvent::Applied(filtering("c", "5", "sctp")), start + Duration::from_secs(6));
        desired.checked(&check, &Ok(()), start + Duration::from_secs(7));
        assert_eq!(next(&desired).unwrap().stem.pod().name, "b");
        desired.observe(WatchEvent::Applied(filtering("a", "5", "tcp")), start);
        assert_eq!(next(&desired).unwrap().stem.pod().name, "a");
    }

    #[test]
    fn one_pod_has_a_filter_compiled_every_2_s_at_most_and_nobody_waits_behind_it() {
        let (start, mut desired) = (Instant::now(), Desired::default());
        let at = |ms| start + Duration::from_millis(ms);
        let mut compiled = Vec::new();
        for tick in 0..100 {
            let now = at(tick * 100);
            desired.observe(WatchEvent::Applied(filtering("a", "5", &format!("tcp port {}", tick + 1))), now);
            if let Ok(check) = desired.next_check(now) {
                compiled.push((tick * 100, check.valid.request.spec.filter.clone().unwrap()));
                desired.checked(&check, &Ok(()), now);
            }
        }
        let expected = [0, 2000, 4000, 6000, 8000].map(|ms: u64| (ms, format!("tcp port {}", ms / 100 + 1)));
        assert_eq!(compiled, expected, "the last wish of those that came meanwhile");
        assert_eq!(desired.next_check(at(9999)), Err(Some(at(10_000))));
        desired.observe(WatchEvent::Applied(filtering("b", "5", "udp")), at(9999));
        assert_eq!(desired.next_check(at(9999)).unwrap().stem.pod().name, "b");
        // Nor does it help to take the annotation away, or the pod, and to ask anew.
        for event in [WatchEvent::Applied(observed("a", "a", None)), WatchEvent::Applied(filtering("a", "5", "arp"))] {
            desired.observe(event, at(9000));
        }
        let check = desired.next_check(at(9999)).unwrap();
        desired.checked(&check, &Ok(()), at(9999));
        assert_eq!(desired.next_check(at(9999)), Err(Some(at(10_000))));
        assert_eq!(desired.next_check(at(10_000)).unwrap().stem.pod().name, "a");
    }

    #[test]
    fn a_namespace_with_many_filters_delays_the_one_of_another_by_one_turn() {
        let start = Instant::now();
        let mut desired = Desired::default();
        for n in 0..10 {
            let mut observed = filtering(&char::from(b'a' + n).to_string(), "5", "tcp");
            observed.name.namespace = "greedy".into();
            desired.observe(WatchEvent::Applied(observed), start);
        }
        let check = desired.next_check(start).unwrap();
        desired.observe(WatchEvent::Applied(filtering("web", "5", "udp")), start + Duration::from_millis(1));
        desired.checked(&check, &Ok(()), start);
        let check = desired.next_check(start).unwrap();
        assert_eq!(check.stem.pod().name, "web");
        // One that came to nothing waits behind all others, and is not refused.
        desired.postpone(&check, start);
        assert_eq!(desired.next_check(start).unwrap().stem.namespace(), "greedy");
        let after = start + SERVED_FOR;
        let order: Vec<_> = std::iter::from_fn(|| {
            let check = desired.next_check(after).ok()?;
            desired.checked(&check, &Ok(()), after);
            Some(check.stem.pod().name)
        })
        .collect();
        assert_eq!((order.len(), files(&desired, "web")), (10, Some(5)));
    }
}
