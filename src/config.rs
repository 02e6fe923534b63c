//! The configuration: environment variables, checked when the controller starts. Each error says what to set.

use std::{fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use crate::core::{annotations, limits::Limits, name};

/// `MAX_FILES` may be at most this: file names have room for three digits.
const FILES_MAX: u32 = 1000;

/// What `TCPDUMP_OPTIONS` is by default: each packet is written at once, and the kernel holds 16 MiB for each capture. Measured
/// with 100,000 packets of 1,200 bytes a second: tcpdump's own 2 MiB lost 3.3 %, this nothing.
const TCPDUMP_OPTIONS: &str = "-U -B 16384";

/// What `CAPTURE_DIR` is by default.
pub const CAPTURE_DIR: &str = "/captures";

/// What `RUN_DIR` is by default.
pub const RUN_DIR: &str = "/run/packet-capture";

/// The configuration of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `NODE_NAME`: the node whose pods are watched.
    pub node: String,
    /// `CAPTURE_DIR`: the directory of the captures' files.
    pub capture_dir: PathBuf,
    /// `RUN_DIR`: the directory of the files that show that this process is alive and ready.
    pub run_dir: PathBuf,
    /// `TCPDUMP_OPTIONS`: what each tcpdump gets before its other arguments.
    pub tcpdump_options: String,
    /// `MAX_FILES`, `NODE_BUDGET_MB`, `MAX_CAPTURES`, `NAMESPACE_BUDGET_MB`, `MAX_CAPTURES_PER_NAMESPACE`, `MAX_DURATION`,
    /// `MAX_SNAPLEN`, `MIN_FREE_MB`, `MIN_FREE_PERCENT`, `MAX_STALE`, `KEEP_AFTER_POD`, `HOST_NETWORK_NAMESPACES`.
    pub limits: Limits,
}

/// A variable that is missing or has an invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    name: &'static str,
    value: Option<String>,
    expected: &'static str,
}

impl Config {
    /// Reads the configuration from the environment.
    ///
    /// # Errors
    /// If a variable has an invalid value, or `NODE_NAME`, which has no default, is missing.
    pub fn read(env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let or = |name, default: &str| env(name).unwrap_or_else(|| default.to_owned());
        let error = |name, expected| Error { name, value: env(name), expected };
        let node_expected =
            "the name of this node, as `kubectl get nodes` shows it (in a DaemonSet set it by fieldRef)";
        let node =
            env("NODE_NAME").filter(|node| name::is_object_name(node)).ok_or(error("NODE_NAME", node_expected))?;
        let tcpdump_options = or("TCPDUMP_OPTIONS", TCPDUMP_OPTIONS);
        if !are_options(&tcpdump_options) {
            let expected = "a list of allowed options: -U -n -p -q -v --immediate-mode, -B KIB, -y TYPE, -Z USER (in place of -s \
                            set MAX_SNAPLEN)";
            return Err(error("TCPDUMP_OPTIONS", expected));
        }
        let path = |name, default| {
            let path = PathBuf::from(or(name, default));
            if path.is_absolute() { Ok(path) } else { Err(error(name, "the absolute path of a directory")) }
        };
        Ok(Self {
            node,
            capture_dir: path("CAPTURE_DIR", CAPTURE_DIR)?,
            run_dir: path("RUN_DIR", RUN_DIR)?,
            tcpdump_options,
            limits: limits(&env)?,
        })
    }
}

fn limits(env: &impl Fn(&str) -> Option<String>) -> Result<Limits, Error> {
    let default = Limits::default();
    let error = |name, expected| Error { name, value: env(name), expected };
    let number = |name, default, expected, range: RangeInclusive<u32>| match env(name) {
        None => Ok(default),
        Some(text) => text.parse().ok().filter(|n| range.contains(n)).ok_or(error(name, expected)),
    };
    let time = |name, default, expected, zero: bool| match env(name) {
        None => Ok(default),
        Some(text) if zero && text == "0" => Ok(Duration::ZERO),
        Some(text) => annotations::duration(&text).ok_or(error(name, expected)),
    };
    let small = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let time_or_none = "a time such as 90s, 10m or 1h, or 0 for none";
    let snaplen = "a number from 100 to 262144 (fewer bytes would cut TCP's header)";
    let duration_max = time("MAX_DURATION", default.duration_max.unwrap_or_default(), time_or_none, true)?;
    let host_network_namespaces = env("HOST_NETWORK_NAMESPACES").unwrap_or_default();
    let host_network_namespaces = host_network_namespaces.split([',', ' ']).filter(|name| !name.is_empty());
    if !host_network_namespaces.clone().all(name::is_dns_label) {
        return Err(error("HOST_NETWORK_NAMESPACES", "a list of namespaces, separated by commas"));
    }
    let budget_mb = number("NODE_BUDGET_MB", default.budget_mb, "a number from 1 to 1000000", 1..=1_000_000)?;
    let captures_max = number("MAX_CAPTURES", default.captures_max.into(), "a number from 1 to 1000", 1..=1000)?;
    // By default half of the node's value, rounded up: it is never 0, and two namespaces always have room.
    let share = |name, of: u32, expected, range| number(name, of.div_ceil(2), expected, range);
    let captures_expected = "a number of captures from 1 to 1000 (default: half of MAX_CAPTURES)";
    let budget_expected = "a number of megabytes from 1 to 1000000 (default: half of NODE_BUDGET_MB)";
    Ok(Limits {
        files_max: small(number("MAX_FILES", default.files_max.into(), "a number from 1 to 1000", 1..=FILES_MAX)?),
        budget_mb,
        captures_max: small(captures_max),
        captures_max_per_namespace: small(share(
            "MAX_CAPTURES_PER_NAMESPACE",
            captures_max,
            captures_expected,
            1..=1000,
        )?),
        budget_mb_per_namespace: share("NAMESPACE_BUDGET_MB", budget_mb, budget_expected, 1..=1_000_000)?,
        duration_max: Some(duration_max).filter(|max| !max.is_zero()),
        snaplen_max: match env("MAX_SNAPLEN") {
            None => None,
            Some(_) => Some(number("MAX_SNAPLEN", 0, snaplen, annotations::SNAPLEN_MIN..=annotations::SNAPLEN_MAX)?),
        },
        free_mb_min: number("MIN_FREE_MB", default.free_mb_min, "a number from 0 to 100000000", 0..=100_000_000)?,
        free_percent_min: number("MIN_FREE_PERCENT", default.free_percent_min.into(), "a number from 0 to 49", 0..=49)?
            .try_into()
            .unwrap_or(u8::MAX),
        stale_max: time("MAX_STALE", default.stale_max, "a time such as 90s, 10m or 1h", false)?,
        keep_after_pod: time("KEEP_AFTER_POD", default.keep_after_pod, time_or_none, true)?,
        host_network_namespaces: host_network_namespaces.map(str::to_owned).collect(),
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "environment variable {}={value:?} is not {}", self.name, self.expected),
            None => write!(f, "environment variable {} is not set; set it to {}", self.name, self.expected),
        }
    }
}

/// Whether these are options that cannot change what is captured, where it goes, or how often there is a new file: an option
/// that swallowed the next argument, or named a file or a program, would break each promise.
fn are_options(text: &str) -> bool {
    let mut words = text.split_whitespace();
    while let Some(option) = words.next() {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let fits = match option {
            "-U" | "-n" | "-p" | "-q" | "-v" | "--immediate-mode" => true,
            "-B" => words.next().is_some_and(number),
            "-y" | "-Z" => words.next().is_some_and(word),
            _ => false,
        };
        if !fits {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)]) -> Result<Config, String> {
        let find = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::read(find).map_err(|error| error.to_string())
    }

    #[test]
    fn only_node_name_has_no_default() {
        let config = read(&[("NODE_NAME", "kind-worker")]).unwrap();
        assert_eq!(config.capture_dir, PathBuf::from("/captures"));
        assert_eq!(config.tcpdump_options, "-U -B 16384");
        assert_eq!(config.limits, Limits::default());
        let error = read(&[]).unwrap_err();
        assert!(
            error.starts_with("environment variable NODE_NAME is not set; set it to the name of this node"),
            "{error}"
        );
    }

    #[test]
    fn an_invalid_value_is_named_with_its_variable() {
        for (name, value) in [
            ("NODE_NAME", ""),
            ("NODE_NAME", "a,spec.nodeName!=b"),
            ("MAX_FILES", "0"),
            ("MAX_FILES", "1001"),
            ("MAX_FILES", "many"),
            ("NODE_BUDGET_MB", "0"),
            ("MAX_CAPTURES", "-1"),
            ("MAX_CAPTURES_PER_NAMESPACE", "0"),
            ("MAX_CAPTURES_PER_NAMESPACE", "half"),
            ("NAMESPACE_BUDGET_MB", "0"),
            ("NAMESPACE_BUDGET_MB", "50%"),
            ("MAX_DURATION", "1d"),
            ("MAX_DURATION", ""),
            ("MAX_SNAPLEN", "99"),
            ("MIN_FREE_MB", "5%"),
            ("MIN_FREE_PERCENT", "50"),
            ("KEEP_AFTER_POD", "5"),
            ("MAX_STALE", "0"),
            ("MAX_STALE", "10"),
            ("MAX_STALE", "0s"),
            ("MAX_STALE", "-1s"),
            ("MAX_STALE", "99999999999h"),
            ("HOST_NETWORK_NAMESPACES", "kube-system,A"),
            ("TCPDUMP_OPTIONS", "-B"),
            ("TCPDUMP_OPTIONS", "-s 128"),
            ("TCPDUMP_OPTIONS", "-U -w /tmp/x"),
            ("TCPDUMP_OPTIONS", "-z/bin/sh"),
            ("TCPDUMP_OPTIONS", "port 80"),
            ("CAPTURE_DIR", "captures"),
            ("RUN_DIR", ""),
        ] {
            let error = read(&[(name, value), ("NODE_NAME", "n")]).unwrap_err();
            assert!(error.starts_with(&format!("environment variable {name}={value:?} is not ")), "{error}");
        }
    }

    #[test]
    fn each_variable_sets_its_value() {
        let real = "-Z root -U -B 16384";
        assert_eq!(read(&[("NODE_NAME", "n"), ("TCPDUMP_OPTIONS", real)]).unwrap().tcpdump_options, real);
        let env = [
            ("NODE_NAME", "n"),
            ("TCPDUMP_OPTIONS", ""),
            ("MAX_FILES", "1000"),
            ("NODE_BUDGET_MB", "50"),
            ("MAX_CAPTURES", "3"),
            ("MAX_DURATION", "0"),
            ("MAX_SNAPLEN", "128"),
            ("MIN_FREE_MB", "0"),
            ("MIN_FREE_PERCENT", "0"),
            ("MAX_STALE", "1h"),
            ("KEEP_AFTER_POD", "5m"),
            ("HOST_NETWORK_NAMESPACES", "a, b,"),
        ];
        let config = read(&env).unwrap();
        assert_eq!(config.tcpdump_options, "");
        let expected = Limits {
            files_max: 1000,
            budget_mb: 50,
            captures_max: 3,
            captures_max_per_namespace: 2,
            budget_mb_per_namespace: 25,
            duration_max: None,
            snaplen_max: Some(128),
            free_mb_min: 0,
            free_percent_min: 0,
            stale_max: Duration::from_secs(3600),
            keep_after_pod: Duration::from_secs(300),
            host_network_namespaces: ["a".to_owned(), "b".to_owned()].into(),
        };
        assert_eq!(config.limits, expected);
    }

    #[test]
    fn the_share_of_a_namespace_is_half_of_the_node_rounded_up_by_default() {
        let share = |env: &[(&str, &str)]| {
            let limits = read(&[env, &[("NODE_NAME", "n")]].concat()).unwrap().limits;
            (limits.captures_max_per_namespace, limits.budget_mb_per_namespace)
        };
        assert_eq!(share(&[]), (8, 500));
        assert_eq!(share(&[("MAX_CAPTURES", "1"), ("NODE_BUDGET_MB", "1")]), (1, 1));
        assert_eq!(share(&[("MAX_CAPTURES", "3"), ("NODE_BUDGET_MB", "25")]), (2, 13));
        // More than the node has is as good as no share.
        assert_eq!(share(&[("MAX_CAPTURES_PER_NAMESPACE", "99"), ("NAMESPACE_BUDGET_MB", "5000")]), (99, 5000));
        assert_eq!(share(&[("MAX_CAPTURES", "40"), ("MAX_CAPTURES_PER_NAMESPACE", "3")]), (3, 500));
    }
}
