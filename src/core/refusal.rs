//! Why a request is not carried out, as data. The sentences are in `text::refusal`.

use std::time::Duration;

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFault {
    /// The word that is not allowed; empty if the problem is the filter as a whole.
    pub word: String,
    /// The character at which the word begins; the first character of the filter is 1.
    pub position: usize,
    /// The problem, as the rest of a sentence that begins with the word: `closes a bracket that was never opened`.
    pub problem: &'static str,
}

/// Why a request cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The annotation's value is not a number of files from 1 to the maximum.
    FileCount {
        /// The value of the annotation.
        value: String,
        /// The highest number allowed on this node.
        max: u16,
    },
    /// An annotation of ours that does not exist, such as a misspelt one.
    UnknownKey {
        /// The whole key.
        key: String,
    },
    /// The duration is not a time from 1 s to the maximum.
    Duration {
        /// The value of the annotation.
        value: String,
        /// The longest duration allowed on this node; `None`: no limit.
        max: Option<Duration>,
    },
    /// The annotation `packets` is not a number from 1 to the maximum.
    Packets {
        /// The value of the annotation.
        value: String,
        /// The highest number.
        max: u32,
    },
    /// The annotation `snaplen` is not a number from the minimum to the maximum.
    Snaplen {
        /// The value of the annotation.
        value: String,
        /// The lowest number, in bytes: the headers of IPv6 and TCP with all options.
        min: u32,
        /// The highest number.
        max: u32,
    },
    /// The annotation `stop-on` does not name incidents.
    StopOn {
        /// The value of the annotation.
        value: String,
    },
    /// The annotation `stop-on` is on a pod with more containers than can be watched.
    TooManyContainers {
        /// The highest number.
        max: usize,
    },
    /// The annotation `pause` is not `true`.
    Pause {
        /// The value of the annotation.
        value: String,
    },
    /// The filter has a word that is not allowed.
    Filter(FilterFault),
    /// tcpdump does not compile the filter.
    FilterRejected {
        /// What tcpdump said.
        said: String,
    },
    /// tcpdump did not compile the filter in time.
    FilterTooCostly {
        /// The time that tcpdump had, in seconds of CPU time.
        limit_s: u64,
    },
    /// The kernel does not accept the filter, so every packet of the node would be copied to tcpdump.
    FilterNotInKernel {
        /// What libpcap said.
        said: String,
    },
    /// The pod uses the node's network.
    HostNetwork,
    /// The pod reports an address that is not its own.
    ForeignAddress {
        /// The address as reported.
        address: String,
        /// What the address is instead, such as `a loopback address`.
        what: &'static str,
    },
    /// The pod's status has more addresses than a pod or a node can have.
    TooManyAddresses {
        /// The most addresses that a pod can have: one of each family.
        max: usize,
    },
    /// The pod's files would have names that are too long for the file system.
    NameTooLong {
        /// The length of the longest file name, in bytes.
        bytes: usize,
        /// The longest that the file system allows, in bytes.
        max: usize,
    },
}

/// What the node has too little of at present to carry out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The pod's namespace already runs its highest number of captures.
    NamespaceCaptures {
        /// The namespace.
        namespace: String,
        /// How many captures of the namespace run.
        captures: u64,
        /// The most that may run.
        max: u16,
    },
    /// The files of all captures of the pod's namespace would exceed its share of the budget.
    NamespaceBudget {
        /// The namespace.
        namespace: String,
        /// What this capture needs, in megabytes.
        needs_mb: u64,
        /// What the other captures of the namespace use, in megabytes.
        used_mb: u64,
        /// The share of one namespace, in megabytes.
        share_mb: u32,
    },
    /// The controller already remembers as many pods as it can.
    Pods {
        /// The namespace whose share of the pods is used up; `None`: the whole number is used up.
        namespace: Option<String>,
        /// The most pods that are remembered.
        max: usize,
    },
    /// The node already runs its highest number of captures.
    Captures {
        /// How many captures run.
        captures: u64,
        /// The most that may run.
        max: u16,
    },
    /// The files of all captures of the node would exceed its budget.
    Budget {
        /// What this capture needs, in megabytes.
        needs_mb: u64,
        /// What the other captures use, in megabytes.
        used_mb: u64,
        /// The budget of the node, in megabytes.
        budget_mb: u32,
    },
    /// The file system would have too little free space.
    Disk {
        /// What this capture needs, in megabytes.
        needs_mb: u64,
        /// Free space, in megabytes.
        free_mb: u64,
        /// What must stay free, in megabytes: the low watermark, or the high watermark while captures are stopped for lack of space.
        low_watermark_mb: u64,
    },
}

impl Shortage {
    /// Whether a notice about `other` also covers this shortage. The used and free megabytes may differ: they change all the time.
    #[must_use]
    pub fn is_same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Budget { needs_mb, .. }, Self::Budget { needs_mb: other, .. }) => needs_mb == other,
            (Self::NamespaceBudget { needs_mb, .. }, Self::NamespaceBudget { needs_mb: other, .. }) => {
                needs_mb == other
            }
            (Self::Captures { .. }, Self::Captures { .. })
            | (Self::NamespaceCaptures { .. }, Self::NamespaceCaptures { .. })
            | (Self::Pods { .. }, Self::Pods { .. })
            | (Self::Disk { .. }, Self::Disk { .. }) => true,
            (
                Self::Captures { .. }
                | Self::Budget { .. }
                | Self::Disk { .. }
                | Self::NamespaceCaptures { .. }
                | Self::NamespaceBudget { .. }
                | Self::Pods { .. },
                _,
            ) => false,
        }
    }
}
