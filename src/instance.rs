//! One controller per node: a name in the kernel that only one can hold, and every tcpdump of its own holds with it.
//!
//! The name is that of an abstract unix socket, so no file can be stale. It is free again when the last process with a copy of the
//! socket is gone: not before the last writer of an earlier controller.

use std::{
    io,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// As much of a node's name as the name of a socket (107 bytes) has room for.
const NODE_BYTES_MAX: usize = 80;

/// Takes the name of a node's controller.
///
/// # Errors
/// `AddrInUse` if another process holds it.
pub fn claim(node: &str) -> io::Result<OwnedFd> {
    let node = &node[..node.floor_char_boundary(NODE_BYTES_MAX)];
    let address = SocketAddr::from_abstract_name(format!("packet-capture/{node}"))?;
    Ok(UnixDatagram::bind_addr(&address)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_when_the_last_copy_of_its_socket_is_closed() {
        let node = format!("{}-{}", "n".repeat(250), std::process::id());
        let other = claim("another-node").unwrap();
        let first = claim(&node).unwrap();
        let copy = first.try_clone().unwrap();
        assert_eq!(claim(&node).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(claim(&node).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((copy, other));
        claim(&node).unwrap();
    }
}
