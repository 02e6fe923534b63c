//! The filters that are new: tcpdump compiles them and has the kernel take them, one at a time, before they count as readable.

use std::{
    io,
    time::{Duration, Instant},
};

use super::Controller;
use crate::{
    core::{
        desired::{FilterJob, NextFilter},
        refusal::Refusal,
        request::Invocation,
    },
    process::tcpdump::{COMPILE_CPU_S, Compiled, Trial},
};

/// The wait before a filter is tried again that tcpdump could not be started for.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

impl Controller {
    /// Has tcpdump compile the filters that are new, one at a time. Returns when to look again at the latest.
    pub(super) fn check_filters(&mut self) -> Option<Instant> {
        loop {
            if let Some(check) = self.checking.take() {
                let verdict = match self.tcpdumps.compiled() {
                    Ok(Err(look_at)) => {
                        self.checking = Some(check);
                        return look_at;
                    }
                    Ok(Ok(Compiled::All)) => Ok(()),
                    Ok(Ok(Compiled::Rejected(said))) => Err(Refusal::FilterRejected { said }),
                    Ok(Ok(Compiled::NotInKernel(said))) => Err(Refusal::FilterNotInKernel { said }),
                    Ok(Ok(Compiled::TooCostly)) => Err(Refusal::FilterTooCostly { limit_s: COMPILE_CPU_S }),
                    Ok(Ok(Compiled::Interrupted)) => {
                        log::warn!(
                            "a filter could not be compiled in time on this machine; trying again stem={}",
                            check.stem
                        );
                        self.desired.postpone(&check, Instant::now());
                        continue;
                    }
                    Err(error) => return Some(self.check_later(&error)),
                };
                self.desired.resolve(&check, &verdict, Instant::now());
            }
            if self.shutdown.is_asked() || self.check_after.is_some_and(|after| after > Instant::now()) {
                return self.check_after;
            }
            self.check_after = None;
            // As long as nothing else is asked, there is nothing to look for before that.
            let (changes, at) = self.next_check;
            if changes == self.desired.changes() && at.is_none_or(|at| at > Instant::now()) {
                return at;
            }
            let at = match self.desired.next_filter(Instant::now()) {
                NextFilter::Job(job) => {
                    if !self.compile(job) {
                        return self.check_after;
                    }
                    continue;
                }
                NextFilter::NotBefore(at) => Some(at),
                NextFilter::None => None,
            };
            self.next_check = (self.desired.changes(), at);
            return at;
        }
    }

    fn compile(&mut self, job: FilterJob) -> bool {
        let run = Invocation { spec: job.valid.request.spec.clone(), ips: job.ips.clone() };
        let alone = run.spec.filter.clone().unwrap_or_default();
        let trials = [Trial::Compile(alone), Trial::Compile(run.expression()), Trial::Attach(run.expression())];
        if let Err(error) = self.tcpdumps.compile(trials.into()) {
            self.check_later(&error);
            return false;
        }
        self.checking = Some(job);
        true
    }

    /// That tcpdump could not be started says nothing about a filter: it waits.
    fn check_later(&mut self, error: &io::Error) -> Instant {
        log::warn!("cannot have a filter compiled; trying again in {} s error={error}", CHECK_INTERVAL.as_secs());
        *self.check_after.insert(Instant::now() + CHECK_INTERVAL)
    }
}
