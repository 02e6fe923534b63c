//! What pods ask, and where they are.

use packet_capture::core::{
    annotations::{ANNOTATION, Annotations},
    refusal::Refusal,
    request::Target,
};

use crate::server::Random;

/// `asking("5", &[("/packets", "9")])`
pub fn asking(files: &str, others: &[(&str, &str)]) -> Annotations {
    let others = others.iter().map(|(key, value)| (format!("{ANNOTATION}{key}"), (*value).to_owned()));
    others.chain([(ANNOTATION.to_owned(), files.to_owned())]).collect()
}

pub fn at(ip: &str) -> Target {
    Target::At(vec![ip.parse().unwrap()])
}

/// Any annotations, readable or not.
pub fn annotations(random: &mut Random) -> Annotations {
    let files = match random.below(12) {
        0 => return Annotations::new(),
        1 => return asking("x", &[("/filter", "tcp")]).into_iter().filter(|(key, _)| key != ANNOTATION).collect(),
        2 => "x",
        3 => "0",
        _ => random.pick(&["1", "2", "3", "4", "5", "7"]),
    };
    let mut others = Vec::new();
    let mut sometimes = |key, values: &[&'static str]| {
        if random.one_in(5) {
            others.push((key, random.pick(values)));
        }
    };
    sometimes("/filter", &["tcp", "udp port 53", "arp", "host example.org"]);
    sometimes("/duration", &["1s", "5s", "30s", "1m", "5"]);
    sometimes("/packets", &["2", "5", "9", "0"]);
    sometimes("/snaplen", &["112", "128"]);
    sometimes("/pause", &["true", "true", "yes"]);
    if random.one_in(3) {
        others.push(("/stop-on", random.pick(&["restart", "restart", "unready", "restart,unready", "crash"])));
    }
    if random.one_in(20) {
        others.push(("/fliter", "tcp"));
    }
    asking(files, &others)
}

/// Any place.
pub fn target(random: &mut Random) -> Target {
    match random.below(16) {
        0..=2 => Target::NoAddress,
        3 => Target::Forbidden(Refusal::HostNetwork),
        4 => Target::Finished,
        5..=7 => at("10.0.0.2"),
        8 => Target::At(["10.0.0.1", "fd00::1"].map(|ip| ip.parse().unwrap()).into()),
        _ => at("10.0.0.1"),
    }
}
