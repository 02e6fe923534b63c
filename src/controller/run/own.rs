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

/// The looks at the node's addresses.
#[derive(Debug, Default)]
pub(super) struct Own {
    looked_at: Option<Instant>,
    /// How often in a row they could not be read.
    failures: u32,
}

impl Controller {
    /// Looks at the node's addresses, unless the last look was less than so long ago. It is one question to the kernel.
    pub(super) fn look_at_addresses(&mut self, interval: Duration) {
        if self.own.looked_at.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        self.own.looked_at = Some(Instant::now());
        match netlink::addresses() {
            Ok(addresses) => {
                self.own.failures = 0;
                let count = addresses.len();
                if self.desired.node_has(addresses) {
                    log::debug!("the node's addresses have changed count={count}");
                }
            }
            Err(error) => {
                self.own.failures = self.own.failures.saturating_add(1);
                if self.own.failures.is_power_of_two() {
                    log::warn!(
                        "cannot read the node's own addresses; a pod that reports a new address of the node is not refused \
                         error={error}"
                    );
                }
            }
        }
    }

    /// Whether a pod is where it is about to be captured, now that the node's addresses have been looked at again.
    pub(super) fn is_still_at(&mut self, stem: &Stem, run: &Invocation) -> bool {
        self.look_at_addresses(Duration::ZERO);
        self.desired.request_of(stem).is_some_and(|pod| matches!(&pod.target, Target::At(ips) if *ips == run.ips))
    }
}
