//! Pod UIDs, pod names, and the grammar of a capture's file names. Pure.

use std::fmt;

/// The longest file name that Linux takes, in bytes (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

/// The widest index that tcpdump writes for at most 1000 files (0 to 999), in digits.
const INDEX_DIGITS_MAX: usize = 3;

const PREFIX: &str = "captres-";
const SUFFIX: &str = ".pcap";

/// A pod's UID. It distinguishes a pod from a later pod of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pod by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name within it.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Whether the API server takes `text` as the name of a pod or a node (RFC 1123: labels with dots between them).
#[must_use]
pub fn is_object_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether the API server takes `text` as the name of a namespace or a container (RFC 1123: one label).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// What all file names of one capture begin with: `captres-<pod>` in namespace `default`, `captres-<pod>_<namespace>` elsewhere.
///
/// `_` is legal in neither name, so no two pods share a stem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stem(String);

impl Stem {
    /// The stem of a pod's files.
    #[must_use]
    pub fn of(pod: &PodName) -> Self {
        match pod.namespace.as_str() {
            "default" => Self(format!("{PREFIX}{}", pod.name)),
            namespace => Self(format!("{PREFIX}{}_{namespace}", pod.name)),
        }
    }

    /// Splits a file name into its stem and its digits; `None` if no capture can have a file of this name.
    #[must_use]
    pub fn of_file(file: &str) -> Option<(Self, &str)> {
        let (stem, digits) = file.rsplit_once(SUFFIX)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.len() > INDEX_DIGITS_MAX {
            return None;
        }
        let (name, namespace) = match stem.strip_prefix(PREFIX)?.split_once('_') {
            Some((_, "default")) => return None,
            Some((name, namespace)) => (name, namespace),
            None => (stem.strip_prefix(PREFIX)?, "default"),
        };
        (is_object_name(name) && is_dns_label(namespace)).then(|| (Self(stem.to_owned()), digits))
    }

    /// The namespace of the pod whose stem this is.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('_').map_or("default", |(_, namespace)| namespace)
    }

    /// The pod whose stem this is.
    #[must_use]
    pub fn pod(&self) -> PodName {
        let rest = self.0.strip_prefix(PREFIX).unwrap_or(&self.0);
        let (name, namespace) = rest.split_once('_').unwrap_or((rest, "default"));
        PodName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The file name that tcpdump gets with `-w`. tcpdump appends an index.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}{SUFFIX}", self.0)
    }

    /// The name of file `index` in a ring of `files` files, as tcpdump makes it: as many digits as its highest index needs,
    /// none at all for a single file (tcpdump.c, `getWflagChars`).
    #[must_use]
    pub fn file(&self, index: u16, files: u16) -> String {
        match files {
            0 | 1 => self.base(),
            _ => format!("{}{index:0width$}", self.base(), width = (files - 1).to_string().len()),
        }
    }

    /// Whether the longest file name of the stem is short enough for the file system.
    #[must_use]
    pub fn fits(&self) -> bool {
        let (bytes, max) = self.file_name_bytes();
        bytes <= max
    }

    /// The length of the stem's longest file name and the longest that the file system allows, both in bytes.
    #[must_use]
    pub fn file_name_bytes(&self) -> (usize, usize) {
        (self.base().len() + INDEX_DIGITS_MAX, NAME_BYTES_MAX)
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem(namespace: &str, name: &str) -> Stem {
        Stem::of(&PodName { namespace: namespace.into(), name: name.into() })
    }

    #[test]
    fn file_names_are_those_of_tcpdump() {
        let web = stem("default", "web");
        assert_eq!(web.file(0, 1), "captres-web.pcap");
        assert_eq!(web.file(9, 10), "captres-web.pcap9");
        assert_eq!(web.file(9, 11), "captres-web.pcap09");
        assert_eq!(web.file(99, 100), "captres-web.pcap99");
        assert_eq!(web.file(7, 101), "captres-web.pcap007");
        assert_eq!(web.file(999, 1000), "captres-web.pcap999");
        assert_eq!(stem("prod", "web").file(0, 2), "captres-web_prod.pcap0");
    }

    #[test]
    fn a_file_belongs_to_one_stem_only() {
        for (namespace, name) in
            [("default", "web"), ("default", "web.pcap1"), ("default", "web-2"), ("prod", "web"), ("p", "x.pcap")]
        {
            let stem = stem(namespace, name);
            assert_eq!(stem.pod().to_string(), format!("{namespace}/{name}"));
            for (index, files, digits) in [(0, 1, ""), (3, 10, "3"), (3, 100, "03"), (3, 1000, "003")] {
                assert_eq!(Stem::of_file(&stem.file(index, files)), Some((stem.clone(), digits)));
            }
        }
    }

    #[test]
    fn object_names_and_namespaces_are_those_of_rfc_1123() {
        for name in ["a", "0", "web-1", "a.b", "web-1.prod.2", &"a".repeat(253)] {
            assert!(is_object_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a..b", ".a", "a.", "a.-b", "a/b", "ä", &"a".repeat(254)] {
            assert!(!is_object_name(name) && !is_dns_label(name), "{name}");
        }
        assert!(is_dns_label(&"n".repeat(63)) && !is_dns_label(&"n".repeat(64)) && !is_dns_label("a.b"));
    }

    #[test]
    fn files_that_belong_to_no_capture_have_no_stem() {
        for file in [
            ".state.json",
            "captres-web",
            "captres-web.pcapng",
            "captres-web.pcap0000",
            "captres-web.pcap0.gz",
            "captres-web.pcap+1",
            "captres-.pcap0",
            "captres-web_.pcap0",
            "captres-web_default.pcap0",
            "captres-web_a_b.pcap0",
            "captres-WEB.pcap0",
            "captres-../x.pcap0",
            "web.pcap0",
            "captres-web_pr.od.pcap0",
            "captres--web.pcap0",
            "captres-web..1.pcap0",
        ] {
            assert_eq!(Stem::of_file(file), None, "{file}");
        }
    }

    #[test]
    fn a_file_name_fits_up_to_255_bytes_with_its_index() {
        assert!(stem("default", &"a".repeat(255 - 8 - 5 - 3)).fits());
        assert!(!stem("default", &"a".repeat(255 - 8 - 5 - 3 + 1)).fits());
        assert!(!stem(&"n".repeat(63), &"a".repeat(253)).fits());
    }
}
