//! What can be wrong with a copy, as data: `messages` words it for people, the last line of a copy has it as JSON.

use serde::Serialize;

use crate::reading::ring_reader::{Damage, Losses};

/// A warning of `get` or `follow`. In JSON, `kind` is the variant's name in snake case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// tcpdump overwrote files before they were read to their end.
    Overwritten {
        /// How many.
        files: usize,
    },
    /// Files were removed before they were read to their end.
    Removed {
        /// How many.
        files: usize,
    },
    /// Files break off within a packet, or hold bytes that tcpdump cannot have written.
    Damaged {
        /// How many.
        files: usize,
        /// The bytes that were not copied.
        bytes: u64,
        /// The last of these files.
        file: String,
        /// The first byte of that file that was not copied.
        offset: u64,
    },
    /// Files are not of the link type of the others, or are no pcap files.
    Foreign {
        /// How many.
        files: usize,
    },
    /// Files could not be opened or read.
    Unreadable {
        /// How many.
        files: usize,
    },
    /// The newest file ends within a packet, and it is not known whether a tcpdump still writes to it.
    EndsWithinPacket,
    /// All copies are shown: the state file does not name the pod's addresses.
    AddressesUnknown {
        /// Why not.
        reason: String,
    },
    /// All copies are shown: none of the interfaces can be told to be the pod's.
    InterfaceUnknown,
    /// All copies are shown: the pod's packets bypass the interface that seems to be its own.
    InterfaceBypassed {
        /// At least how many.
        packets: u64,
    },
    /// All copies are shown: packets of this link type do not name an interface.
    InterfaceNotNamed {
        /// The link type.
        link_type: u32,
    },
    /// All copies are shown: some packets are older than the node's last start, which gave its interfaces other numbers.
    NodeRestarted,
    /// Packets that were seen only on other interfaces are not shown.
    SeenElsewhere {
        /// At least how many.
        packets: u64,
    },
}

/// A warning for each kind of loss.
#[must_use]
pub fn of_losses(losses: &Losses) -> Vec<Warning> {
    let Losses { overwritten, removed, broken, broken_bytes, broken_at, foreign, unreadable } = losses.clone();
    let Damage { file, offset } = broken_at.unwrap_or_default();
    let all = [
        (overwritten, Warning::Overwritten { files: overwritten }),
        (removed, Warning::Removed { files: removed }),
        (broken, Warning::Damaged { files: broken, bytes: broken_bytes, file, offset }),
        (foreign, Warning::Foreign { files: foreign }),
        (unreadable, Warning::Unreadable { files: unreadable }),
    ];
    all.into_iter().filter(|(files, _)| *files > 0).map(|(_, warning)| warning).collect()
}
