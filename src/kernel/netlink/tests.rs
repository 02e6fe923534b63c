//! rtnetlink's answers: as the kernel sends them, cut short, and with wrong lengths.

use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(MESSAGE_HEADER_BYTES + body.len()).unwrap();
    let mut bytes = Vec::from(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn link_body(index: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0; LINK_HEADER_BYTES];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body.extend(attributes.concat());
    body
}

/// As the kernel describes an internal port of Open vSwitch (`rtnl_link_ops` of net/openvswitch/vport-internal_dev.c): a name, its
/// kind, and neither a device nor another index that would tell it from a veth.
fn internal_port() -> Vec<u8> {
    let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"openvswitch\0"));
    link_body(7, &[attribute(3, b"antrea-gw0\0"), info])
}

fn addresses_in(datagram: &[u8]) -> (Vec<String>, bool) {
    let mut found = BTreeSet::new();
    let done = read_addresses(datagram, &mut found).unwrap();
    (found.iter().map(ToString::to_string).collect(), done)
}

fn address(attributes: &[Vec<u8>]) -> Vec<u8> {
    message(RTM_NEWADDR, &[vec![0; ADDRESS_HEADER_BYTES], attributes.concat()].concat())
}

#[test]
fn an_internal_port_of_open_vswitch_is_told_from_a_veth() {
    let link = |kind: &str, leads_elsewhere| Link { kind: kind.to_owned(), leads_elsewhere };
    assert_eq!(read_link(&internal_port()), Some((7, link("openvswitch", false))));
    let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0"));
    let veth = [attribute(5, &7_u32.to_ne_bytes()), info.clone(), attribute(IFLA_LINK_NETNSID, &0_u32.to_ne_bytes())];
    assert_eq!(read_link(&link_body(7, &veth)), Some((7, link("veth", true))));
    // The flag of a nested attribute is no part of its type.
    let nested = attribute(IFLA_LINKINFO | 0x8000, &attribute(IFLA_INFO_KIND, b"veth"));
    assert_eq!(read_link(&link_body(7, &[nested])), Some((7, link("veth", false))));
    assert_eq!(read_link(&link_body(2, &[attribute(3, b"eth0\0")])), Some((2, link("", false))));
}

#[test]
fn an_address_is_the_interfaces_own_also_where_the_other_ends_is_named() {
    let datagram = [
        address(&[attribute(IFA_ADDRESS, &[192, 0, 2, 1]), attribute(IFA_LOCAL, &[192, 0, 2, 9])]),
        address(&[attribute(IFA_ADDRESS, &"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets())]),
        address(&[attribute(IFA_ADDRESS, &"::ffff:192.0.2.3".parse::<std::net::Ipv6Addr>().unwrap().octets())]),
        address(&[attribute(IFA_ADDRESS, &[192, 0, 2])]),
        address(&[]),
        message(RTM_NEWLINK, &internal_port()),
    ];
    let expected = ["192.0.2.3", "192.0.2.9", "2001:db8::1"].map(String::from).to_vec();
    assert_eq!(addresses_in(&datagram.concat()), (expected.clone(), false));
    let done = [datagram.concat(), message(NLMSG_DONE, &[0; 4])].concat();
    assert_eq!(addresses_in(&done), (expected, true));
    let refused = message(NLMSG_ERROR, &(-13_i32).to_ne_bytes());
    assert_eq!(read_addresses(&refused, &mut BTreeSet::new()).unwrap_err().raw_os_error(), Some(13));
}

#[test]
fn a_netlink_answer_that_is_cut_short_or_has_wrong_lengths_is_read_as_far_as_it_goes() {
    let whole = [message(RTM_NEWLINK, &internal_port()), address(&[attribute(IFA_LOCAL, &[192, 0, 2, 9])])].concat();
    for length in 0..whole.len() {
        let (found, done) = addresses_in(&whole[..length]);
        assert!(found.is_empty() && !done, "{length}");
        for Message { body, .. } in messages(&whole[..length]) {
            let _ = read_link(body);
        }
    }
    // Each byte in turn gets values that make a length 0, tiny or huge: the parser neither panics nor loops for ever.
    for at in 0..whole.len() {
        for value in [0, 1, 3, 5, 15, 0x7f, 0x80, 0xff] {
            let mut hostile = whole.clone();
            hostile[at] = value;
            assert!(messages(&hostile).count() <= 2);
            let _ = read_addresses(&hostile, &mut BTreeSet::new());
            for Message { body, .. } in messages(&hostile) {
                let _ = (read_link(body), read_address(body), error(body));
            }
        }
    }
    assert_eq!(messages(&[0; 64]).count(), 0, "a message shorter than its header");
    assert_eq!(attributes(&[0; 64]).count(), 0, "an attribute shorter than its header");
    assert_eq!((error(&[0; 4]), error(&[0; 3]), error(&i32::MIN.to_ne_bytes())), (None, None, None));
}

#[test]
fn the_kernel_is_asked_for_the_loopback_device_and_its_address() {
    // In every network namespace the loopback device has this index, and no kind.
    assert_eq!(link(1).unwrap(), Some(Link { kind: String::new(), leads_elsewhere: false }));
    assert_eq!(link(i32::MAX.cast_unsigned()).unwrap(), None);
    addresses().unwrap();
}

#[test]
fn addresses_that_changed_while_they_were_listed_are_not_taken_for_all() {
    let mut datagram = address(&[attribute(IFA_LOCAL, &[192, 0, 2, 3])]);
    datagram.extend(message(NLMSG_DONE, &[0; 4]));
    assert!(read_addresses(&datagram, &mut BTreeSet::new()).unwrap());
    datagram[6..8].copy_from_slice(&(2 | NLM_F_DUMP_INTR).to_ne_bytes());
    let error = read_addresses(&datagram, &mut BTreeSet::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    let mut many = (0..ADDRESSES_MAX as u32).map(|n| IpAddr::from(n.to_be_bytes())).collect();
    assert!(read_addresses(&address(&[attribute(IFA_LOCAL, &[192, 0, 2, 3])]), &mut many).is_err());
}
