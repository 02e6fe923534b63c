//! Planning again and again until nothing is left to do, and remembering it; and not at all where nothing has changed.

use std::{
    io,
    time::{Duration, Instant},
};

use super::Controller;
use crate::{core::plan, text::status::status_of};

/// Passes of the planner in one turn. A stem needs at most seven: mark for removal, remove, open, admit, learn, start, notify.
const PASSES_MAX: usize = 16;

impl Controller {
    /// Plans and carries out until nothing is left to do, if anything can be. Returns when time alone makes something due.
    pub(super) fn settle(&mut self) -> Option<Instant> {
        let is_due = |at: Instant| at <= Instant::now();
        if let Some((revision, wake_at)) = self.settled
            && revision == self.world().revision()
            && self.save_failures == 0
            && !wake_at.is_some_and(is_due)
        {
            return wake_at;
        }
        self.settled = None;
        for _ in 0..PASSES_MAX {
            let plan = plan::plan(&self.world());
            for (stem, action) in &plan.actions {
                log::debug!("{action:?} {stem}");
                self.carry_out(stem, action);
            }
            self.assessments = plan.assessments;
            self.save_or_log();
            if plan.actions.is_empty() {
                self.settled = Some((self.world().revision(), plan.wake_at));
                return plan.wake_at;
            }
        }
        log::error!("the plan is not complete after {PASSES_MAX} passes");
        Some(Instant::now() + Duration::from_secs(1))
    }

    fn save_or_log(&mut self) {
        match self.save() {
            Ok(()) => self.save_failures = 0,
            Err(error) => {
                self.save_failures = self.save_failures.saturating_add(1);
                if self.save_failures.is_power_of_two() {
                    log::error!(
                        "cannot write the state file; after a restart the controller would use an older one error={error}"
                    );
                }
            }
        }
    }

    /// Before the first complete list the state file says more than this process knows.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.desired.has_listed() { self.state.save(&self.captures, &self.assessments, status_of) } else { Ok(()) }
    }
}
