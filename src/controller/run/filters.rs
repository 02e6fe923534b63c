//! The filters that are new: each is compiled before its request is in force.

use std::time::Instant;

use super::Controller;
use crate::{core::desired::NextFilter, process::compiler::Progress};

impl Controller {
    /// Has the filters compiled that are new, one at a time. Returns when to look again at the latest.
    pub(super) fn compile_filters(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            match self.compiler.poll(now) {
                Progress::Busy { until } => return Some(until),
                Progress::Verdict { job, verdict } => self.desired.resolve(&job, &verdict, now),
                Progress::Interrupted { job } => {
                    log::warn!(
                        "a filter could not be compiled in time on this machine; trying again stem={}",
                        job.stem
                    );
                    self.desired.postpone(&job, now);
                }
                Progress::Idle if self.shutdown.is_asked() => return None,
                Progress::Idle => match self.desired.next_filter(now) {
                    NextFilter::Job(job) => self.compiler.compile(job, now),
                    NextFilter::NotBefore(at) => return Some(at),
                    NextFilter::None => return None,
                },
            }
        }
    }
}
