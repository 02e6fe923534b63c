//! A capture's records on their way from a ring to an output.

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    CopyRequest, Remark,
    condition::{CaptureCondition, SETTLED_AFTER},
};
use crate::{
    files::pcap::{LINUX_SLL2, Record},
    reading::{
        error::Error,
        interfaces, messages,
        output::Output,
        ring_reader::{Losses, RingReader},
        selection::{Emit, Extent, Selection},
        warning::{self, Warning},
    },
};

/// How often a ring is read that gave no record: tcpdump may empty the only file of a ring on a busy link in each pass.
const PASSES_MAX: usize = 8;
/// The time between two of these passes: emptying a file of 1 MB can take a millisecond or two.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How often a followed ring is read.
const PASS_INTERVAL: Duration = Duration::from_millis(200);
/// A pass that gave this many bytes is followed by the next one at once: a fast ring must not get ahead.
const BUSY_BYTES: u64 = 256 << 10;
/// How often losses are told at most, while a capture is followed.
const LOSSES_INTERVAL: Duration = Duration::from_secs(10);

/// Copies one capture.
pub(super) struct Copier<'a> {
    pub output: Output,
    selection: Selection,
    say: &'a mut dyn FnMut(Remark),
    /// The link type of the header, once it is known.
    link_type: Option<u32>,
    /// The warnings so far, but for losses.
    warnings: Vec<Warning>,
    losses_told: Losses,
    losses_told_at: Option<Instant>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(output: Output, request: &CopyRequest, say: &'a mut dyn FnMut(Remark)) -> Self {
        let selection = match (request.all, request.follow) {
            (true, _) => Selection::all(),
            (false, false) => Selection::once(Extent::Kept, interfaces::kind),
            (false, true) => Selection::once(Extent::Growing, interfaces::kind),
        };
        let (losses_told, losses_told_at) = (Losses::default(), None);
        Self { output, selection, say, link_type: None, warnings: Vec::new(), losses_told, losses_told_at }
    }

    pub(super) fn note(&mut self, text: Option<String>) {
        text.map(Remark::Note).into_iter().for_each(&mut *self.say);
    }

    fn warn(&mut self, warning: Warning) {
        (self.say)(Remark::Warning(messages::warning(&warning)));
        self.warnings.push(warning);
    }

    /// Shows all copies from here on, and says why.
    pub(super) fn show_all(&mut self, why: Warning) {
        self.selection.show_all();
        self.warn(why);
    }

    /// All warnings of the copy, as data.
    pub(super) fn warnings(&self, reader: &RingReader) -> Vec<Warning> {
        [self.warnings.clone(), warning::of_losses(&reader.losses)].concat()
    }

    /// Writes the header before there is a packet. Where there is no file yet, later files are `assumed` to be of this link type; a
    /// file that is not will be left out, with a warning.
    pub(super) fn begin(&mut self, reader: &mut RingReader, assumed: Option<u32>) -> Result<(), Error> {
        reader.look().map_err(Error::Unreadable)?;
        if let Some(link_type) = reader.link_type().or(assumed) {
            self.link_type = Some(link_type);
            self.output.begin(link_type)?;
            self.output.flush()?;
        }
        Ok(())
    }

    /// Reads the ring once to find the pod's own interface, and has the reader start over.
    pub(super) fn survey(
        &mut self,
        reader: &mut RingReader,
        request: &CopyRequest,
        addresses: Vec<IpAddr>,
    ) -> Result<(), Error> {
        self.selection.add_addresses(addresses);
        let (mut bytes, mut oldest_us) = (0, u64::MAX);
        reader.expect(self.link_type);
        for _ in 0..PASSES_MAX {
            let files = reader.look().map_err(Error::Unreadable)?;
            bytes += reader.read(&files, &mut |record| {
                oldest_us = oldest_us.min(record.time_us());
                self.selection.survey(record);
                Ok(())
            })?;
            if bytes > 0 || files.is_empty() || request.follow {
                break;
            }
            self.output.pause(AGAIN_AFTER)?;
        }
        reader.start_over();
        if let Some(link_type) = reader.link_type().filter(|link_type| *link_type != LINUX_SLL2) {
            self.show_all(Warning::InterfaceNotNamed { link_type });
        } else if Some(oldest_us) < interfaces::boot_time_us() {
            self.show_all(Warning::NodeRestarted);
        } else if let Some(warning) = self.selection.conclude() {
            self.warn(warning);
        }
        Ok(())
    }

    /// Copies the records that there are.
    pub(super) fn get(&mut self, reader: &mut RingReader, condition: &mut CaptureCondition) -> Result<(), Error> {
        for _ in 0..PASSES_MAX {
            if self.pass(reader)? > 0 {
                break;
            }
            self.output.pause(AGAIN_AFTER)?;
        }
        if reader.is_torn() && condition.is_idle() {
            self.output.pause(SETTLED_AFTER)?;
            reader.set_finished(condition.refresh(Instant::now()).settled);
            self.pass(reader)?;
        }
        if reader.is_torn() && condition.entry.is_none() {
            self.warn(Warning::EndsWithinPacket);
        }
        Ok(self.recheck(true)?)
    }

    /// Copies the records that there are and those to come, until the capture is over.
    ///
    /// # Errors
    /// `ReaderGone` is the usual end.
    pub(super) fn follow(&mut self, reader: &mut RingReader, condition: &mut CaptureCondition) -> Result<(), Error> {
        loop {
            // Before the pass: if the capture is over now, the pass finds its last record.
            let progress = condition.refresh(Instant::now());
            // The capture may have come to the node's network only now.
            if condition.is_at_node() {
                return Err(Error::NodeNetwork);
            }
            self.note(progress.note);
            self.selection.add_addresses(progress.addresses);
            reader.set_finished(progress.over || progress.settled);
            let bytes = self.pass(reader)?;
            self.recheck(progress.over)?;
            self.output.flush()?;
            if progress.over {
                return Ok(());
            }
            if self.losses_told_at.is_none_or(|told_at| told_at.elapsed() >= LOSSES_INTERVAL) {
                self.tell_losses(reader);
            }
            // Also where there is more already: `pause` finds out whether the reader has gone.
            self.output.pause(if bytes < BUSY_BYTES { PASS_INTERVAL } else { Duration::ZERO })?;
        }
    }

    /// Copies the records that are new. Returns the number of bytes that were read.
    fn pass(&mut self, reader: &mut RingReader) -> Result<u64, Error> {
        reader.expect(self.link_type);
        let files = reader.look().map_err(Error::Unreadable)?;
        if let Some(link_type) = reader.link_type() {
            self.link_type = Some(link_type);
            self.output.begin(link_type)?;
        }
        let now = Instant::now();
        let bytes = reader.read(&files, &mut |record| {
            let emit = self.selection.offer(record, now);
            self.emit(emit, Some(record))
        })?;
        self.output.flush()?;
        Ok(bytes)
    }

    fn recheck(&mut self, is_last: bool) -> io::Result<()> {
        let emit = self.selection.recheck(Instant::now(), is_last);
        self.emit(emit, None)
    }

    fn emit(&mut self, emit: Emit, offered: Option<Record>) -> io::Result<()> {
        for record in emit.released() {
            self.output.packet(record)?;
        }
        if let Some(record) = offered.filter(|_| emit.offered) {
            self.output.packet(record)?;
        }
        emit.warning.into_iter().for_each(|warning| self.warn(warning));
        Ok(())
    }

    /// Tells the losses that were not told yet.
    pub(super) fn tell_losses(&mut self, reader: &RingReader) {
        let new = warning::of_losses(&reader.losses.since(&self.losses_told));
        if !new.is_empty() {
            new.iter().map(messages::warning).map(Remark::Warning).for_each(&mut *self.say);
            (self.losses_told, self.losses_told_at) = (reader.losses.clone(), Some(Instant::now()));
        }
    }

    /// Completes a copy: an empty one has a header, too.
    pub(super) fn finish(&mut self, reader: &RingReader) -> Result<(), Error> {
        self.output.begin(reader.link_type().unwrap_or(LINUX_SLL2))?;
        self.output.flush()?;
        self.tell_losses(reader);
        if let Some(warning) = self.selection.seen_elsewhere(reader.losses != Losses::default()) {
            self.warn(warning);
        }
        Ok(())
    }
}
