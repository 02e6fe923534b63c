//! The lock that allows one controller per node. The lock is a name in the kernel: one controller holds it, and so does each tcpdump
//! that this controller started.
//!
//! The name is that of an abstract Unix socket, so no lock file can be stale. The kernel frees the name when the last process with a
//! copy of the socket ends, so the next controller waits for every tcpdump that still writes.

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

/// How often a waiting controller tries again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The longest part of a node's name that is used, in bytes: the name of a socket has room for 107.
const NODE_BYTES_MAX: usize = 80;

/// Waits until no other controller of the node and no tcpdump of another controller is left, for `timeout` at most, and holds the
/// name of the node's controller. The lock is released when the last copy of the returned descriptor is closed.
///
/// # Errors
/// If another process still holds the name after `timeout`, or if the kernel refuses the name: a sentence that says so.
pub async fn acquire(node: &str, timeout: Duration) -> Result<OwnedFd, String> {
    let give_up_at = Instant::now() + timeout;
    let mut logged = false;
    loop {
        match try_acquire(node) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                return Err(format!("cannot make the socket that stands for the controller of node {node}: {error}"));
            }
            Err(_) if Instant::now() >= give_up_at => {
                return Err(format!(
                    "another controller of node {node}, or a tcpdump that one left, is still there after {} s; \
                     `ss -xap | grep packet-capture/` names it; nothing was touched",
                    timeout.as_secs()
                ));
            }
            Err(_) if !logged => {
                log::warn!(
                    "waiting for another controller of this node, or a tcpdump that one left, to end node={node}"
                );
                logged = true;
            }
            Err(_) => (),
        }
        sleep(RETRY_INTERVAL).await;
    }
}

fn try_acquire(node: &str) -> io::Result<OwnedFd> {
    let node = &node[..node.floor_char_boundary(NODE_BYTES_MAX)];
    let address = SocketAddr::from_abstract_name(format!("packet-capture/{node}"))?;
    Ok(UnixDatagram::bind_addr(&address)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_lock;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_node_lock_is_free_when_the_last_copy_of_its_socket_is_closed_and_given_up_after_the_timeout() {
        let _lock = test_lock::acquire();
        let node = format!("{}-{}", "n".repeat(250), std::process::id());
        let _other = acquire("another-node", TIMEOUT).await.unwrap();
        let first = acquire(&node, TIMEOUT).await.unwrap();
        let copy = first.try_clone().unwrap();
        drop(first);
        let started = Instant::now();
        let error = acquire(&node, TIMEOUT).await.unwrap_err();
        assert_eq!(started.elapsed().as_secs(), 60);
        assert!(error.contains(&format!("another controller of node {node}, or a tcpdump that one left")), "{error}");
        assert!(error.contains("still there after 60 s") && error.contains("nothing was touched"), "{error}");
        drop(copy);
        acquire(&node, TIMEOUT).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_controller_gets_the_node_lock_once_it_is_released() {
        let _lock = test_lock::acquire();
        let node = format!("released-{}", std::process::id());
        let first = acquire(&node, TIMEOUT).await.unwrap();
        let (second, ()) = tokio::join!(acquire(&node, TIMEOUT), async {
            sleep(TIMEOUT / 2).await;
            drop(first);
        });
        second.unwrap();
    }
}
