//! The node's own addresses, which no pod may be captured at.

use std::time::{Duration, Instant};

use super::Controller;
use crate::{
    core::{
        name::Stem,
        request::{Invocation, Target},
    },
    kernel::netlink,
};

/// When the node's addresses were last read, and how that went.
#[derive(Debug, Default)]
pub(super) struct NodeAddresses {
    read_at: Option<Instant>,
    /// How often in a row they could not be read.
    failures: u32,
}

impl Controller {
    /// Reads the node's addresses from the kernel, unless they were read less than `interval` ago. It is one request to the kernel.
    pub(super) fn look_at_addresses(&mut self, interval: Duration) {
        if self.node_addresses.read_at.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.node_addresses.read_at = Some(Instant::now());
        match netlink::addresses() {
            Ok(addresses) => {
                self.node_addresses.failures = 0;
                let count = addresses.len();
                if self.desired.node_has(addresses) {
                    log::debug!("the node's addresses have changed count={count}");
                }
            }
            Err(error) => {
                self.node_addresses.failures = self.node_addresses.failures.saturating_add(1);
                if self.node_addresses.failures.is_power_of_two() {
                    log::warn!(
                        "cannot read the node's own addresses; a pod that reports a new address of the node is not refused \
                         error={error}"
                    );
                }
            }
        }
    }

    /// Whether a pod still has the addresses at which it is about to be captured, after the node's addresses are read again.
    pub(super) fn is_still_at(&mut self, stem: &Stem, run: &Invocation) -> bool {
        self.look_at_addresses(Duration::ZERO);
        self.desired.request_of(stem).is_some_and(|pod| matches!(&pod.target, Target::At(ips) if *ips == run.ips))
    }
}
