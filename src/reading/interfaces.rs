//! The node's network interfaces: which of them may be a pod's own.

use std::fs;

use crate::kernel::netlink::{self, Link};

/// Whether an interface belongs to one pod or is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One end of a pair whose other end is in another network namespace: this is how a pod is connected.
    Pair,
    /// A bridge, a tunnel or a network card: packets of many pods pass it.
    Shared,
    /// The kernel does not say.
    Unclear,
    /// No interface has this index any more.
    Gone,
}

/// The kinds of interfaces that are made in pairs, of which one end is moved into a pod (Cilium uses `netkit`).
const PAIRS: [&str; 2] = ["veth", "netkit"];

/// When the node was started, in microseconds since 1970. Before that, other interfaces had the same indices.
#[must_use]
pub fn boot_time_us() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
    seconds.checked_mul(1_000_000)
}

/// The kind of the interface with this index.
#[must_use]
pub fn kind(index: u32) -> Kind {
    match netlink::link(index) {
        Ok(Some(link)) => kind_of(&link),
        Ok(None) => Kind::Gone,
        Err(_) => Kind::Unclear,
    }
}

/// Only the kind that the kernel names is certain: in sysfs an internal port of Open vSwitch looks like a veth whose two ends happen to
/// have the same index. A pair with both ends on the node, such as Cilium's `cilium_host`, leads to no pod.
fn kind_of(link: &Link) -> Kind {
    if PAIRS.contains(&link.kind.as_str()) && link.leads_elsewhere { Kind::Pair } else { Kind::Shared }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_end_of_a_pair_that_leads_elsewhere_is_a_pods_and_nothing_else_is() {
        let kind = |kind: &str, leads_elsewhere| kind_of(&Link { kind: kind.to_owned(), leads_elsewhere });
        for pair in PAIRS {
            assert_eq!((kind(pair, true), kind(pair, false)), (Kind::Pair, Kind::Shared), "{pair}");
        }
        // An empty one is a network card's.
        let shared =
            ["", "openvswitch", "tun", "bridge", "vxlan", "geneve", "vlan", "bond", "dummy", "macvlan", "wireguard"];
        for shared in shared {
            for leads_elsewhere in [true, false] {
                assert_eq!(kind(shared, leads_elsewhere), Kind::Shared, "{shared}");
            }
        }
    }

    #[test]
    fn the_loopback_device_is_shared_and_an_index_that_no_interface_has_is_gone() {
        // In every network namespace the loopback device has this index.
        assert_eq!((kind(1), kind(i32::MAX.cast_unsigned())), (Kind::Shared, Kind::Gone));
    }
}
