//! Interfaces and addresses of this network namespace, read from the kernel over rtnetlink. Only this file knows the format.
//!
//! Reading needs no capability. The parser does not trust the answer: an attribute or message with a wrong length is left out.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::SocketAddrNetlink,
        recvfrom, sendto, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// The most that the kernel puts into one datagram of a dump (`NLMSG_GOODSIZE` and, since Linux 4.4, 32 KiB at the most).
const DATAGRAM_BYTES_MAX: usize = 32_768;

/// How often the addresses are listed if they change during the listing.
const DUMPS_MAX: usize = 5;

/// How long one answer may take in total. The kernel answers during the call that asks, so the timeout only ends a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The most addresses that are read: a node with IPVS has one for each Service, some ten thousand at the most.
const ADDRESSES_MAX: usize = 100_000;

/// How deep the two headers of a message are (`nlmsghdr`), and of what follows it (`ifinfomsg`, `ifaddrmsg`).
const MESSAGE_HEADER_BYTES: usize = 16;
const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

// linux/netlink.h and linux/rtnetlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// The two high bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

// linux/if_link.h and linux/if_addr.h
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An interface: the part that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kind of the interface, such as `veth` or `openvswitch`. Empty for a network card and for the loopback device.
    pub kind: String,
    /// The other end, or the lower device, is in another network namespace.
    pub leads_elsewhere: bool,
}

/// The interface with this index. `None` if there is none.
///
/// # Errors
/// If the kernel could not be asked, or its answer could not be understood.
pub fn link(index: u32) -> io::Result<Option<Link>> {
    let mut body = [0; LINK_HEADER_BYTES];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let socket = ask(RTM_GETLINK, 0, &body)?;
    let answer = receive(&socket, Instant::now() + ANSWER_TIMEOUT)?;
    for message in messages(&answer) {
        match message {
            Message { kind: RTM_NEWLINK, body, .. } => {
                if let Some((found, link)) = read_link(body)
                    && found == index
                {
                    return Ok(Some(link));
                }
            }
            Message { kind: NLMSG_ERROR, body, .. } => {
                return match error(body) {
                    Some(Errno::NODEV) => Ok(None),
                    Some(error) => Err(error.into()),
                    None => Err(unreadable()),
                };
            }
            Message { .. } => (),
        }
    }
    Err(unreadable())
}

/// All addresses of this network namespace.
///
/// # Errors
/// If the kernel could not be asked, or its answer is incomplete.
pub fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut result = try_addresses();
    for _ in 1..DUMPS_MAX {
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => result = try_addresses(),
            Ok(_) | Err(_) => break,
        }
    }
    result
}

fn try_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let socket = ask(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_HEADER_BYTES])?;
    let give_up_at = Instant::now() + ANSWER_TIMEOUT;
    let mut found = BTreeSet::new();
    loop {
        if read_addresses(&receive(&socket, give_up_at)?, &mut found)? {
            return Ok(found);
        }
    }
}

/// Adds the addresses of one datagram. Returns whether the datagram was the last one.
fn read_addresses(datagram: &[u8], found: &mut BTreeSet<IpAddr>) -> io::Result<bool> {
    for Message { kind, is_interrupted, body } in messages(datagram) {
        if is_interrupted {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the addresses changed while they were listed"));
        }
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(error(body).map_or_else(unreadable, Into::into)),
            RTM_NEWADDR if found.len() >= ADDRESSES_MAX => {
                return Err(io::Error::other(format!("there are more than {ADDRESSES_MAX} addresses")));
            }
            RTM_NEWADDR => found.extend(read_address(body)),
            _ => (),
        }
    }
    Ok(false)
}

fn read_link(body: &[u8]) -> Option<(u32, Link)> {
    let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let mut link = Link { kind: String::new(), leads_elsewhere: false };
    for (kind, value) in attributes(body.get(LINK_HEADER_BYTES..)?) {
        match kind {
            IFLA_LINKINFO => {
                let name = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                let name = name.map(|(_, name)| name.split(|byte| *byte == 0).next().unwrap_or_default());
                link.kind = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            }
            IFLA_LINK_NETNSID => link.leads_elsewhere = true,
            _ => (),
        }
    }
    Some((index, link))
}

/// The interface's own address. On a point-to-point interface `IFA_ADDRESS` is the address of the other end.
fn read_address(body: &[u8]) -> Option<IpAddr> {
    let of = |wanted| attributes(body.get(ADDRESS_HEADER_BYTES..)?).find(|(kind, _)| *kind == wanted);
    let (_, address) = of(IFA_LOCAL).or_else(|| of(IFA_ADDRESS))?;
    let ip = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some(ip.to_canonical())
}

struct Message<'a> {
    kind: u16,
    /// The listed objects changed during the listing, so some may be missing (`NLM_F_DUMP_INTR`).
    is_interrupted: bool,
    body: &'a [u8],
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let is_interrupted = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?) & NLM_F_DUMP_INTR != 0;
        let body = bytes.get(MESSAGE_HEADER_BYTES..length)?;
        bytes = bytes.get(aligned(length)?..).unwrap_or_default();
        Some(Message { kind, is_interrupted, body })
    })
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(aligned(length)?..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Rounds up to a multiple of four: every message and attribute begins at one.
fn aligned(length: usize) -> Option<usize> {
    length.checked_next_multiple_of(4)
}

fn error(body: &[u8]) -> Option<Errno> {
    let number = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    Some(Errno::from_raw_os_error(number.checked_neg().filter(|number| (1..4096).contains(number))?))
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be understood")
}

fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<OwnedFd> {
    // Without a protocol the socket speaks NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    let length = u32::try_from(MESSAGE_HEADER_BYTES + body.len()).map_err(io::Error::other)?;
    let mut request = Vec::from(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and sender's port: a socket for one question needs neither.
    request.extend([0; 8]);
    request.extend(body);
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// One datagram of the answer. Datagrams from other processes are ignored: any process may send to the socket.
fn receive(socket: &OwnedFd, give_up_at: Instant) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while Instant::now() < give_up_at {
        let (_, bytes, from) = recvfrom(socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
        let is_kernel =
            from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_some_and(|from| from.pid() == 0);
        match (is_kernel, bytes > buffer.len()) {
            (true, false) => {
                buffer.truncate(bytes);
                return Ok(buffer);
            }
            (true, true) => return Err(unreadable()),
            (false, _) => (),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests;
