//! What the operator of the node allows. Pure.

use std::{collections::BTreeSet, time::Duration};

/// A megabyte as tcpdump counts it, in bytes: the size of a file with `-C 1`.
pub const MB: u64 = 1_000_000;

/// What the operator of the node allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most files that one capture may ask for.
    pub files_max: u16,
    /// The most megabytes that all captures together may take.
    pub budget_mb: u32,
    /// The most captures at once. The container's memory limit must have room for that number.
    pub captures_max: u16,
    /// The most captures of one namespace at once.
    pub captures_max_per_namespace: u16,
    /// The most megabytes that the captures of one namespace together may take.
    pub budget_mb_per_namespace: u32,
    /// The longest duration of a capture, also of a capture that asks for none; `None`: no limit.
    pub duration_max: Option<Duration>,
    /// The most bytes of each packet that are kept, whatever the pod asks; `None`: no limit.
    pub snaplen_max: Option<u32>,
    /// The least free space, in megabytes.
    pub free_mb_min: u32,
    /// The least free space, in percent of the file system.
    pub free_percent_min: u8,
    /// How long captures continue while the API server does not answer. After that time another pod may have the address.
    pub stale_max: Duration,
    /// How long the files of a deleted pod are kept.
    pub keep_after_pod: Duration,
    /// Namespaces whose pods on the node's network may be captured, although such a capture shows all packets of the node.
    pub host_network_namespaces: BTreeSet<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files_max: 100,
            budget_mb: 1000,
            captures_max: 16,
            captures_max_per_namespace: 8,
            budget_mb_per_namespace: 500,
            duration_max: Some(Duration::from_secs(24 * 3600)),
            snaplen_max: None,
            free_mb_min: 200,
            // Below this the kubelet begins to evict pods (its `nodefs.available`).
            free_percent_min: 10,
            stale_max: Duration::from_secs(600),
            keep_after_pod: Duration::ZERO,
            host_network_namespaces: BTreeSet::new(),
        }
    }
}
