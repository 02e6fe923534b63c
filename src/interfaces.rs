//! The node's network interfaces, as the kernel lists them in sysfs: which of them may be a pod's own.

use std::{fs, path::Path};

/// Where the kernel lists them; those of the network namespace that sysfs was mounted in, here the host's.
const LIST: &str = "/sys/class/net";

/// The type of a loopback device (`ARPHRD_LOOPBACK`): what pods of the node's network say to one another passes it.
const LOOPBACK: u32 = 772;

/// What an interface is, as far as the question goes whose packets pass it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One end of a pair, the other end being elsewhere: this is how a pod is connected.
    Pair,
    /// A bridge, a tunnel, a network card: many pods' packets pass it.
    Shared,
    /// One that could be either.
    Unclear,
    /// There is none of that index any more.
    Gone,
}

/// When the node was started, in microseconds since 1970: before that, the indices were those of other interfaces.
#[must_use]
pub fn numbered_since_us() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
    seconds.checked_mul(1_000_000)
}

/// What the interface of this index is; unclear where there is no list of them.
#[must_use]
pub fn kind(index: u32) -> Kind {
    kind_in(Path::new(LIST), index)
}

fn kind_in(list: &Path, index: u32) -> Kind {
    let Ok(entries) = fs::read_dir(list) else { return Kind::Unclear };
    let looks = entries.filter_map(|entry| look(&entry.ok()?.path()));
    looks.into_iter().find(|(found, _)| *found == index).map_or(Kind::Gone, |(_, kind)| kind)
}

/// The index and the kind of the interface with this folder; `None` for what is none, or has just gone.
fn look(dir: &Path) -> Option<(u32, Kind)> {
    let number = |name: &str| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u32>().ok();
    let (index, peer) = (number("ifindex")?, number("iflink")?);
    // A veth says nothing more of its type; what does is a bridge, a VLAN, a tunnel. A card has a device.
    let says_type = fs::read_to_string(dir.join("uevent")).is_ok_and(|said| said.contains("DEVTYPE="));
    let shared = says_type
        || number("type") == Some(LOOPBACK)
        || ["bridge", "device", "tun_flags"].iter().any(|name| dir.join(name).exists());
    let kind = match (shared, peer == index || peer == 0) {
        (true, _) => Kind::Shared,
        (false, false) => Kind::Pair,
        // Indices are counted apart in each namespace, so the two ends of a pair may have the same.
        (false, true) => Kind::Unclear,
    };
    Some((index, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_told_by_its_peer_and_its_type() {
        let dir = std::env::temp_dir().join(format!("packet-capture-interfaces-{}", std::process::id()));
        for (name, index, peer, uevent) in [
            ("eth0", 2, 2, "INTERFACE=eth0\nIFINDEX=2\n"),
            ("veth1", 5, 2, "INTERFACE=veth1\nIFINDEX=5\n"),
            ("veth2", 6, 6, "INTERFACE=veth2\nIFINDEX=6\n"),
            ("cni0", 7, 7, "DEVTYPE=bridge\nINTERFACE=cni0\nIFINDEX=7\n"),
            ("vlan8", 8, 2, "DEVTYPE=vlan\nINTERFACE=vlan8\nIFINDEX=8\n"),
        ] {
            let folder = dir.join(name);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in
                [("ifindex", index.to_string()), ("iflink", peer.to_string()), ("uevent", uevent.into())]
            {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        fs::create_dir(dir.join("eth0/device")).unwrap();
        fs::write(dir.join("bonding_masters"), "").unwrap();
        let kinds = [2, 5, 6, 7, 8, 9].map(|index| kind_in(&dir, index));
        assert_eq!(kinds, [Kind::Shared, Kind::Pair, Kind::Unclear, Kind::Shared, Kind::Shared, Kind::Gone]);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(kind_in(&dir, 2), Kind::Unclear);
        // In every network namespace the loopback device has this index.
        assert_eq!(kind(1), Kind::Shared);
    }
}
