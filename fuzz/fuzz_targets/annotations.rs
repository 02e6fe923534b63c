//! Annotations ask for what their text says, for nothing else, and in one way of writing only.
//!
//! What is expected is worked out backwards: a number is legal if it is written as it would be printed.
//!
//! An input is a byte that chooses the limits, and then annotations, ended by 0xff each: a byte for the key, and the value.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use packet_capture::core::{annotations::{ANNOTATION, Annotations, PACKETS_MAX, SNAPLEN_MAX, SNAPLEN_MIN, parse, is_ours}, recorder::StopOn, request::{Parsed, CaptureSpec, Request}, filter, limits::Limits};

const KEYS: [&str; 13] = [
    "", "/filter", "/duration", "/packets", "/snaplen", "/stop-on", "/pause", "", "/fliter", "/", "x", "/Pause", "/filter/",
];
const VALUES: [&str; 18] = [
    "5",
    "100",
    "1000",
    "05",
    "+5",
    " 5",
    "30s",
    "5m",
    "24h",
    "1441m",
    "60",
    "262144",
    "1000000000",
    "true",
    "udp",
    "port 80",
    "restart",
    "restart,unready",
];

fuzz_target!(|input: &[u8]| {
    let Some((&which, rest)) = input.split_first() else { return };
    let limits = match which % 4 {
        0 => Limits { files_max: 1000, duration_max: None, ..Limits::default() },
        1 => Limits { snaplen_max: Some(128), duration_max: Some(Duration::from_secs(60)), ..Limits::default() },
        _ => Limits::default(),
    };
    let annotations: Annotations = rest
        .split(|&b| b == 0xff)
        .filter_map(|annotation| annotation.split_first())
        .map(|(&key, value)| {
            let known = value.len() == 1 && value[0] >= 0x80;
            let value = if known { VALUES[usize::from(value[0]) % VALUES.len()].into() } else { String::from_utf8_lossy(value) };
            (format!("{ANNOTATION}{}", KEYS[usize::from(key) % KEYS.len()]), value.into_owned())
        })
        // As the pod's are read, and the state file's: other people's are never seen.
        .filter(|(key, _)| is_ours(key))
        .collect();
    let asked_for = parse(&annotations, &limits);
    assert_eq!(asked_for, parse(&annotations, &limits), "not the same when asked twice");
    match (&asked_for, annotations.contains_key(ANNOTATION), expected(&annotations, &limits)) {
        (Parsed::None, false, _) => (),
        (Parsed::Valid(request), true, Some(expected)) => assert_eq!(*request, expected, "{annotations:?}"),
        (Parsed::Invalid(_), true, None) => (),
        (_, _, expected) => panic!("{annotations:?}: {asked_for:?} and not {expected:?}"),
    }
});

fn expected(annotations: &Annotations, limits: &Limits) -> Option<Request> {
    let mut request = Request {
        spec: CaptureSpec { files: 0, filter: None, packets: None, snaplen: limits.snaplen_max },
        duration: limits.duration_max,
        stop_on: StopOn::NOTHING,
        paused: false,
    };
    for (key, value) in annotations {
        match &key[ANNOTATION.len()..] {
            "" => request.spec.files = (1..=limits.files_max).find(|n| n.to_string() == *value)?,
            "/filter" => request.spec.filter = filter::check(value).is_ok().then(|| Some(value.clone()))?,
            "/packets" => request.spec.packets = Some(printed(value, 1, PACKETS_MAX)?),
            "/snaplen" => {
                let asked = printed(value, SNAPLEN_MIN, SNAPLEN_MAX)?;
                request.spec.snaplen = Some(asked.min(limits.snaplen_max.unwrap_or(asked)));
            }
            "/duration" => {
                let seconds = [('s', 1_u64), ('m', 60), ('h', 3600)].into_iter().find_map(|(unit, seconds)| {
                    let digits = value.strip_suffix(unit)?;
                    Some(u64::from(printed(digits, 1, u32::MAX)?) * seconds)
                })?;
                let fits = seconds <= limits.duration_max.map_or(u32::MAX.into(), |max| max.as_secs());
                request.duration = fits.then(|| Some(Duration::from_secs(seconds)))?;
            }
            "/stop-on" => {
                let words = ["restart", "unready"];
                let spellings = ["restart", "unready", "restart,unready", "unready,restart"];
                let [restart, unready] = words.map(|word| value.contains(word));
                request.stop_on = spellings.contains(&value.as_str()).then_some(StopOn { restart, unready })?;
            }
            "/pause" => request.paused = (value == "true").then_some(true)?,
            _ => return None,
        }
    }
    Some(request)
}

/// The number that is printed like this.
fn printed(text: &str, min: u32, max: u32) -> Option<u32> {
    text.parse::<u32>().ok().filter(|n| n.to_string() == text && (min..=max).contains(n))
}
