//! Real interfaces of every kind that can be made without a card, in network namespaces that go with the test's process.

use std::{env, fs, net::UdpSocket, process::Command};

use packet_capture::{
    kernel::netlink,
    reading::interfaces::{Kind, kind},
};
use rustix::net::netdevice::name_to_index;

/// What makes the interfaces; not every kernel has all that follow `set +e`. The other end of `pod0` is in another namespace, under the same index, and so is that of `kit0`.
const SETUP: &str = "
    unshare --net sh -c 'echo $$; exec sleep 600' > \"$IT_PEER\" & peer=$!
    trap 'kill $peer' EXIT
    until [ -s \"$IT_PEER\" ]; do :; done
    ip link add pod0 index 50 type veth peer name eth0 index 50 netns $peer
    ip link add here0 type veth peer name here1
    ip link add bridge0 type bridge
    ip tuntap add tap0 mode tap
    ip address add 192.0.2.77/24 dev bridge0 && ip link set bridge0 up && ip address add 2001:db8::77/64 dev bridge0
    set +e
    ip link add dummy0 type dummy
    ip link add link bridge0 name vlan0 type vlan id 8
    ip link add link bridge0 name macvlan0 type macvlan
    ip link add vxlan0 type vxlan id 9 dstport 4789
    ip link add geneve0 type geneve id 9 remote 192.0.2.78
    ip link add kit0 type netkit peer name eth1 netns $peer
    \"$0\" --exact readers::interfaces::a_pods_interface_is_told_from_all_others_by_the_kernels_word --ignored --nocapture";

#[test]
#[ignore = "needs root and iproute2"]
fn a_pods_interface_is_told_from_all_others_by_the_kernels_word() {
    if env::var_os("IT_NAMESPACE").is_none() {
        let peer = env::temp_dir().join(format!("packet-capture-it-interfaces-{}", std::process::id()));
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-ec", SETUP]).arg(env::current_exe().unwrap());
        let output = command.env("IT_NAMESPACE", "1").env("IT_PEER", &peer).output().unwrap();
        let _ = fs::remove_file(&peer);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success() && out.contains(" 1 passed"), "{out}{error}");
        return;
    }
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let kind_of = |name: &str| name_to_index(&socket, name).map(kind);
    // Of `here0` both ends are on the node: it is no pod's.
    for (name, expected) in [
        ("lo", Kind::Shared),
        ("pod0", Kind::Pair),
        ("here0", Kind::Shared),
        ("here1", Kind::Shared),
        ("bridge0", Kind::Shared),
        ("tap0", Kind::Shared),
    ] {
        assert_eq!(kind_of(name).unwrap(), expected, "{name}");
    }
    for name in ["dummy0", "vlan0", "macvlan0", "vxlan0", "geneve0"] {
        assert_eq!(kind_of(name).unwrap_or(Kind::Shared), Kind::Shared, "{name}");
    }
    assert_eq!(kind_of("kit0").unwrap_or(Kind::Pair), Kind::Pair);
    assert_eq!(kind(4711), Kind::Gone);
    let addresses = netlink::addresses().unwrap();
    assert!(["192.0.2.77", "2001:db8::77"].iter().all(|ip| addresses.contains(&ip.parse().unwrap())), "{addresses:?}");
}
