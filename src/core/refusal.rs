//! Why something is not done as it was asked for. The wording is `report`'s.

use std::time::Duration;

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterFault {
    /// The word that is not let through; empty where it is the filter as a whole.
    pub word: String,
    /// Where it begins: the first character is 1.
    pub position: usize,
    /// What is wrong with it, as the rest of a sentence, such as `is not a word of the filter language that is allowed here`.
    pub problem: &'static str,
}

/// Why a capture is not made as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The annotation's value is not a number of files from 1 to the maximum.
    FileCount {
        /// The value as it stands there.
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
        /// The value as it stands there.
        value: String,
        /// The longest allowed on this node, if there is such a limit.
        max: Option<Duration>,
    },
    /// The number of packets is not one from 1 to the maximum.
    Packets {
        /// The value as it stands there.
        value: String,
        /// The highest number.
        max: u32,
    },
    /// The length of each packet is not a number of bytes that tcpdump takes.
    Snaplen {
        /// The value as it stands there.
        value: String,
        /// The least that holds the headers of IPv6 and TCP, with all options.
        min: u32,
        /// The highest number.
        max: u32,
    },
    /// The annotation can only be `true`.
    Pause {
        /// The value as it stands there.
        value: String,
    },
    /// A filter that is not let through to tcpdump.
    Filter(FilterFault),
    /// A filter that tcpdump does not compile.
    FilterRejected {
        /// What tcpdump said.
        said: String,
    },
    /// A filter that tcpdump did not compile in time.
    FilterTooCostly {
        /// How long it had, in seconds.
        limit_s: u64,
    },
    /// A filter that the kernel does not take, so that every packet of the node would be copied to tcpdump.
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
        /// What it is instead, such as `a loopback address`.
        what: &'static str,
    },
    /// The pod, or its node, reports more addresses than any has.
    TooManyAddresses {
        /// How many it may have: one of each family.
        max: usize,
    },
    /// The pod's files would have names longer than the file system takes.
    NameTooLong {
        /// Bytes in the longest of them.
        bytes: usize,
        /// Bytes that the file system takes.
        max: usize,
    },
}

/// What the node has no room for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// As many captures of the pod's namespace go on as may.
    NamespaceCaptures {
        /// The namespace.
        namespace: String,
        /// How many of its captures go on.
        captures: u64,
        /// How many may.
        max: u16,
    },
    /// The files of all captures of the pod's namespace together would be larger than its share.
    NamespaceBudget {
        /// The namespace.
        namespace: String,
        /// What this one needs, in megabytes.
        needs_mb: u64,
        /// What the others of the namespace take.
        used_mb: u64,
        /// What one namespace may take.
        share_mb: u32,
    },
    /// The controller has as many pods in its books as it can remember.
    Pods {
        /// The namespace whose share of them is used up; `None`: all are.
        namespace: Option<String>,
        /// How many pods.
        max: usize,
    },
    /// As many captures go on as may.
    Captures {
        /// How many go on.
        captures: u64,
        /// How many may.
        max: u16,
    },
    /// The files of all captures together would be too large.
    Budget {
        /// What this one needs, in megabytes.
        needs_mb: u64,
        /// What the others take.
        used_mb: u64,
        /// What there is for all.
        budget_mb: u32,
    },
    /// The file system would have too little free space.
    Disk {
        /// What this one needs, in megabytes.
        needs_mb: u64,
        /// What is free.
        free_mb: u64,
        /// What must stay free, or be free before anything is captured again.
        low_watermark_mb: u64,
    },
}

impl Shortage {
    /// Whether it is the same news as `other`: the sums change all the time.
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
