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
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How long a second controller waits for the first one to go.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often it looks meanwhile.
const INTERVAL: Duration = Duration::from_millis(500);

/// As much of a node's name as the name of a socket (107 bytes) has room for.
const NODE_BYTES_MAX: usize = 80;

/// Takes the name of a node's controller, as soon as no other controller and no tcpdump of one is left.
///
/// # Errors
/// If one is still there after a minute, or there can be no such name: a sentence that says so.
pub async fn acquire(node: &str) -> Result<OwnedFd, String> {
    let give_up_at = Instant::now() + TIMEOUT;
    let mut told = false;
    loop {
        match try_claim(node) {
            Ok(claim) => return Ok(claim),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                return Err(format!("cannot make the socket that stands for the controller of node {node}: {error}"));
            }
            Err(_) if Instant::now() >= give_up_at => {
                return Err(format!(
                    "another controller of node {node}, or a tcpdump that one left, is still there after {} s; \
                     `ss -xap | grep packet-capture/` names it; nothing was touched",
                    TIMEOUT.as_secs()
                ));
            }
            Err(_) if !told => {
                log::warn!(
                    "waiting for another controller of this node, or a tcpdump that one left, to end node={node}"
                );
                told = true;
            }
            Err(_) => (),
        }
        sleep(INTERVAL).await;
    }
}

fn try_claim(node: &str) -> io::Result<OwnedFd> {
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
        let other = try_claim("another-node").unwrap();
        let first = try_claim(&node).unwrap();
        let copy = first.try_clone().unwrap();
        assert_eq!(try_claim(&node).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert_eq!(try_claim(&node).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((copy, other));
        try_claim(&node).unwrap();
    }
}
