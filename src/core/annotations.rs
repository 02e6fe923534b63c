//! The annotations: their keys, and what their values ask for. Pure. Only the wording of Events names the keys, too.
//!
//! How to add one: docs/maintainers.md.
//!
//! Each value can be written in one way only. One annotation that cannot be read refuses the whole request: it may have been meant
//! to narrow the capture, and a capture must not have more than the user asked for.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use crate::core::{
    filter,
    limits::Limits,
    recorder::StopOn,
    refusal::Refusal,
    request::{CaptureSpec, Parsed, Request},
};

/// The annotation that asks for a capture; its value is the number of files.
pub const ANNOTATION: &str = "tcpdump.antrea.io";

/// The highest value of the annotation `packets`. A higher one would hardly ever end the capture, and tcpdump counts in an `int`.
pub const PACKETS_MAX: u32 = 1_000_000_000;

/// The lowest value of the annotation `snaplen`, in bytes: IPv6's header (40) and TCP's with all its options (60), as an
/// acknowledgement of lost packets has them (time stamps, and three blocks of SACK). The link type's header is not counted.
pub const SNAPLEN_MIN: u32 = 100;

/// The highest value of the annotation `snaplen`, in bytes: the most that libpcap takes (`MAXIMUM_SNAPLEN`), and tcpdump's own default.
pub const SNAPLEN_MAX: u32 = 262_144;

/// The most characters that are kept of a value that cannot be read: more than a message shows. An annotation may have 256 KiB.
const VALUE_CHARS_MAX: usize = 64;

/// The annotations of ours that a pod carries, by key.
pub type Annotations = BTreeMap<String, String>;

/// A valid request, and the annotations that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidRequest {
    /// The annotations, word for word.
    pub annotations: Annotations,
    /// What the annotations ask.
    pub request: Request,
}

/// Whether a key is one of ours, known or not.
#[must_use]
pub fn is_ours(key: &str) -> bool {
    key.strip_prefix(ANNOTATION).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads a request from annotations of ours: those of a pod, or those that the state file remembers.
#[must_use]
pub fn parse(annotations: &Annotations, limits: &Limits) -> Parsed {
    match annotations.get(ANNOTATION) {
        Some(files) => request(files, annotations, limits).map_or_else(Parsed::Invalid, Parsed::Valid),
        None => Parsed::None,
    }
}

fn request(files: &str, annotations: &Annotations, limits: &Limits) -> Result<Request, Refusal> {
    let max = limits.files_max;
    let files = number(files, 1..=max.into()).and_then(|files| files.try_into().ok());
    let files = files.ok_or_else(|| Refusal::FileCount { value: shown(&annotations[ANNOTATION]), max })?;
    let mut request = Request {
        spec: CaptureSpec { files, filter: None, packets: None, snaplen: limits.snaplen_max },
        duration: limits.duration_max,
        stop_on: StopOn::NOTHING,
        paused: false,
    };
    for (key, value) in annotations {
        match key.strip_prefix(ANNOTATION).unwrap_or(key) {
            "" => (),
            "/filter" => {
                filter::check(value).map_err(Refusal::Filter)?;
                request.spec.filter = Some(value.clone());
            }
            "/duration" => {
                let max = limits.duration_max;
                let fits = |duration: &Duration| !duration.is_zero() && max.is_none_or(|max| *duration <= max);
                let duration = duration(value).filter(fits);
                request.duration = Some(duration.ok_or_else(|| Refusal::Duration { value: shown(value), max })?);
            }
            "/packets" => {
                let max = PACKETS_MAX;
                let packets = number(value, 1..=max);
                request.spec.packets = Some(packets.ok_or_else(|| Refusal::Packets { value: shown(value), max })?);
            }
            "/snaplen" => {
                let (min, max) = (SNAPLEN_MIN, SNAPLEN_MAX);
                let snaplen =
                    number(value, min..=max).ok_or_else(|| Refusal::Snaplen { value: shown(value), min, max })?;
                request.spec.snaplen = Some(limits.snaplen_max.map_or(snaplen, |max| snaplen.min(max)));
            }
            "/stop-on" => {
                request.stop_on = stop_on(value).ok_or_else(|| Refusal::StopOn { value: shown(value) })?;
            }
            "/pause" if value == "true" => request.paused = true,
            "/pause" => return Err(Refusal::Pause { value: shown(value) }),
            _ => return Err(Refusal::UnknownKey { key: shown(key) }),
        }
    }
    Ok(request)
}

/// A number within `range`, in digits only and without a leading zero: there is one way to write each number.
fn number(text: &str, range: RangeInclusive<u32>) -> Option<u32> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|number| canonical && range.contains(number))
}

/// A whole number of seconds, minutes or hours, above zero: `30s`, `5m`, `1h`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let (digits, seconds) = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    Some(Duration::from_secs(number(digits, 1..=u32::MAX)?.checked_mul(seconds)?.into()))
}

/// Incidents, in any order and each once.
fn stop_on(text: &str) -> Option<StopOn> {
    let mut stop_on = StopOn::NOTHING;
    for word in text.split(',') {
        let incident = match word {
            "restart" => &mut stop_on.restart,
            "unready" => &mut stop_on.unready,
            _ => return None,
        };
        if std::mem::replace(incident, true) {
            return None;
        }
    }
    Some(stop_on)
}

fn shown(text: &str) -> String {
    text.chars().take(VALUE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(others: &[(&str, &str)]) -> Annotations {
        let others = others.iter().map(|(key, value)| (format!("{ANNOTATION}{key}"), (*value).to_owned()));
        others.chain([(ANNOTATION.to_owned(), "5".to_owned())]).collect()
    }

    fn readable(others: &[(&str, &str)]) -> Request {
        match parse(&with(others), &Limits::default()) {
            Parsed::Valid(request) => request,
            other => panic!("{others:?}: {other:?}"),
        }
    }

    fn refusal(others: &[(&str, &str)]) -> Refusal {
        match parse(&with(others), &Limits::default()) {
            Parsed::Invalid(refusal) => refusal,
            other => panic!("{others:?}: {other:?}"),
        }
    }

    #[test]
    fn the_number_of_files_is_written_in_one_way_only() {
        let asked = |value: &str| parse(&[(ANNOTATION.to_owned(), value.to_owned())].into(), &Limits::default());
        for (value, files) in [("1", 1), ("5", 5), ("100", 100)] {
            assert!(matches!(asked(value), Parsed::Valid(request) if request.spec.files == files), "{value:?}");
        }
        let bad = "|0|-1|+5|05|5x| 5 |5 |101|abc|5.0|1e1|٥|５|99999999999999999999|5\n|−5|0x5|65541|5\0";
        for value in bad.split('|') {
            let refusal = Refusal::FileCount { value: value.into(), max: 100 };
            assert_eq!(asked(value), Parsed::Invalid(refusal), "{value:?}");
        }
        let long = asked(&"٥".repeat(100_000));
        assert!(matches!(long, Parsed::Invalid(Refusal::FileCount { value, .. }) if value.chars().count() == 64));
    }

    #[test]
    fn each_annotation_sets_its_part_of_the_request() {
        let plain = CaptureSpec { files: 5, filter: None, packets: None, snaplen: None };
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(
            readable(&[]),
            Request { spec: plain.clone(), duration: day, stop_on: StopOn::NOTHING, paused: false }
        );
        let spec = CaptureSpec { packets: Some(1_000_000_000), snaplen: Some(100), ..plain };
        let duration = Some(Duration::from_secs(300));
        let all = [
            ("/duration", "5m"),
            ("/packets", "1000000000"),
            ("/snaplen", "100"),
            ("/stop-on", "restart"),
            ("/pause", "true"),
        ];
        let stop_on = StopOn { restart: true, unready: false };
        assert_eq!(readable(&all), Request { spec, duration, stop_on, paused: true });
        assert_eq!(readable(&[("/stop-on", "unready")]).stop_on, StopOn { restart: false, unready: true });
        for both in ["restart,unready", "unready,restart"] {
            assert_eq!(readable(&[("/stop-on", both)]).stop_on, StopOn { restart: true, unready: true });
        }
        assert_eq!(readable(&[("/filter", "tcp port 443")]).spec.filter.unwrap(), "tcp port 443");
        assert_eq!(readable(&[("/duration", "24h")]).duration, day);
        assert_eq!(readable(&[("/snaplen", "262144")]).spec.snaplen, Some(262_144));
    }

    #[test]
    fn one_annotation_that_cannot_be_read_refuses_the_request() {
        for value in "|0s|00s|01s|30|s|1d|1.5h|-1s|+1s|30s |86401s|1441m|25h|99999999h|４s|1h30m".split('|') {
            let max = Some(Duration::from_secs(86_400));
            assert_eq!(refusal(&[("/duration", value)]), Refusal::Duration { value: value.into(), max });
        }
        for value in "|0|-1|1000000001|1e3|01|all".split('|') {
            assert_eq!(refusal(&[("/packets", value)]), Refusal::Packets { value: value.into(), max: PACKETS_MAX });
        }
        for value in "|0|64|99|262145|0100|-s".split('|') {
            let (min, max) = (SNAPLEN_MIN, SNAPLEN_MAX);
            assert_eq!(refusal(&[("/snaplen", value)]), Refusal::Snaplen { value: value.into(), min, max });
        }
        for value in "|crash|Restart|restart |restart, unready|restart,|,|restart,restart|restart;unready".split('|') {
            assert_eq!(refusal(&[("/stop-on", value)]), Refusal::StopOn { value: value.into() });
        }
        for value in "|false|True|true |1|yes".split('|') {
            assert_eq!(refusal(&[("/pause", value)]), Refusal::Pause { value: value.into() });
        }
        assert!(matches!(refusal(&[("/filter", "port 80) or (port 443")]), Refusal::Filter(_)));
        assert!(matches!(refusal(&[("/filter", "")]), Refusal::Filter(_)));
        for key in ["/", "/fliter", "/Filter", "/filter/x", "/pause "] {
            assert_eq!(refusal(&[(key, "x")]), Refusal::UnknownKey { key: format!("{ANNOTATION}{key}") });
        }
    }

    #[test]
    fn the_operators_maxima_also_hold_for_a_request_without_these_annotations() {
        let limits = Limits {
            snaplen_max: Some(128),
            duration_max: Some(Duration::from_secs(60)),
            files_max: 1000,
            ..Limits::default()
        };
        let asked = |others: &[(&str, &str)]| match parse(&with(others), &limits) {
            Parsed::Valid(request) => Some((request.spec.snaplen.unwrap(), request.duration.unwrap().as_secs())),
            Parsed::None | Parsed::Invalid(_) => None,
        };
        assert_eq!(asked(&[]), Some((128, 60)));
        assert_eq!(asked(&[("/snaplen", "262144"), ("/duration", "1m")]), Some((128, 60)));
        assert_eq!(asked(&[("/snaplen", "100"), ("/duration", "1s")]), Some((100, 1)));
        assert_eq!(asked(&[("/duration", "61s")]), None);
    }

    #[test]
    fn without_the_main_key_nothing_is_asked_and_other_peoples_keys_are_not_ours() {
        let alone = [(format!("{ANNOTATION}/filter"), "x".to_owned())];
        assert_eq!(parse(&alone.into(), &Limits::default()), Parsed::None);
        assert!(is_ours(ANNOTATION) && is_ours("tcpdump.antrea.io/x") && is_ours("tcpdump.antrea.io/"));
        assert!(!["tcpdump.antrea.iox", "a/tcpdump.antrea.io", "tcpdump.antrea", ""].iter().any(|key| is_ours(key)));
    }
}
