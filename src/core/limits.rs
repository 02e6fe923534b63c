//! What the operator of the node allows. Pure.

use std::{collections::BTreeSet, time::Duration};

/// A megabyte as tcpdump counts: a file of `-C 1`.
pub const MB: u64 = 1_000_000;

/// What the operator of the node allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most files that one capture may ask for.
    pub files_max: u16,
    /// The most megabytes that all captures together may take.
    pub budget_mb: u32,
    /// The most captures at once: so many that the container's memory holds them.
    pub captures_max: u16,
    /// The most captures of one namespace at once.
    pub captures_max_per_namespace: u16,
    /// The most megabytes that the captures of one namespace together may take.
    pub budget_mb_per_namespace: u32,
    /// The longest that a capture goes on, also one that asks for no end; `None`: for ever.
    pub duration_max: Option<Duration>,
    /// How much of each packet is kept at the most, in bytes, also where all of it is asked for.
    pub snaplen_max: Option<u32>,
    /// The least free space, in megabytes.
    pub free_mb_min: u32,
    /// The least free space, in hundredths of the file system.
    pub free_percent_min: u8,
    /// How long captures go on without word from the API server: meanwhile an address may have become another pod's.
    pub stale_max: Duration,
    /// How long the files of a deleted pod are kept.
    pub keep_after_pod: Duration,
    /// Namespaces whose pods on the host's network may be captured, although that shows the whole node's traffic.
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
