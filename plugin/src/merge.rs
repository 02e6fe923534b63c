//! Packets of several sources in the order of their times. Pure.
//!
//! A source delivers its own packets in order, at its own pace: fast, slowly, or not at all, because its pod is quiet or its connection hangs.
//! A packet may go as soon as each source that can still deliver an older one has shown its next packet. A source is silent once it was
//! waited for as long as [`Merge::new`] says; nothing waits for it from then on until it delivers again. What it delivers then may be
//! *late*: older than a packet that has gone. A late packet goes at once, and is counted.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::pcap::Packet;

/// How long packets that are shown while they are captured wait for a source without packets. It delays what a person watches, and most pods
/// are quiet for longer.
pub const LIVE_SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long packets that are copied from files wait for a source. Nobody watches them, and a connection may well stall for some seconds.
pub const COPY_SILENCE_MAX: Duration = Duration::from_secs(10);
/// How many bytes of packets of all sources are kept while they wait: some seconds of a busy node, and little on a laptop. A source without a
/// packet may always deliver one, since the others may wait for that one.
pub const BYTES_MAX: usize = 64 << 20;
/// What a packet costs besides its bytes: an empty one must not be free.
const PACKET_COST_BYTES: usize = size_of::<Packet>() + size_of::<usize>();

/// The packets that wait for their turn.
#[derive(Debug)]
pub struct Merge {
    silence_max: Duration,
    bytes_max: usize,
    sources: Vec<Source>,
    /// The cost of all packets that wait, in bytes.
    bytes: usize,
    /// The latest time of a packet that has gone.
    latest_ns: u64,
}

/// A source of packets of one merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

/// A packet whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Where it comes from.
    pub source: SourceId,
    /// The packet, with its time by the clock that all sources share.
    pub packet: Packet,
    /// Whether a packet with a later time has gone before.
    pub is_late: bool,
}

/// There is no room for this packet: the source's reader must stop reading, and deliver the packet again after one has gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Full(pub Packet);

#[derive(Debug)]
struct Source {
    clock_offset_ns: i64,
    waiting: VecDeque<Packet>,
    /// Since when the source has had no packet here, or has had room to deliver one.
    empty_since: Instant,
    has_ended: bool,
    late: u64,
}

impl Merge {
    /// A merge that waits at most for this time for a source without packets.
    #[must_use]
    pub fn new(silence_max: Duration) -> Self {
        Self::with_bytes_max(silence_max, BYTES_MAX)
    }

    fn with_bytes_max(silence_max: Duration, bytes_max: usize) -> Self {
        Self { silence_max, bytes_max, sources: Vec::new(), bytes: 0, latest_ns: 0 }
    }

    /// Adds a source, at any time. `clock_offset_ns` is added to the times of its packets.
    pub fn add(&mut self, clock_offset_ns: i64, now: Instant) -> SourceId {
        let waiting = VecDeque::new();
        self.sources.push(Source { clock_offset_ns, waiting, empty_since: now, has_ended: false, late: 0 });
        SourceId(self.sources.len() - 1)
    }

    /// Takes a packet of a source that has not ended.
    ///
    /// # Errors
    /// [`Full`] if there is no room for the packet.
    pub fn push(&mut self, source: SourceId, mut packet: Packet) -> Result<(), Full> {
        let source = &mut self.sources[source.0];
        debug_assert!(!source.has_ended, "a packet after the end of its source");
        let cost = cost(&packet);
        if self.bytes + cost > self.bytes_max && !source.waiting.is_empty() {
            return Err(Full(packet));
        }
        packet.time_ns = packet.time_ns.saturating_add_signed(source.clock_offset_ns);
        self.bytes += cost;
        source.waiting.push_back(packet);
        Ok(())
    }

    /// The source has no more packets.
    pub fn end(&mut self, source: SourceId) {
        self.sources[source.0].has_ended = true;
    }

    /// Takes out the next packet whose turn has come. `None`: there is none before another call of [`Self::push`] or [`Self::end`], or before
    /// [`Self::wake_at`].
    pub fn tick(&mut self, now: Instant) -> Option<Merged> {
        if self.sources.iter().any(|source| source.silent_at(self.silence_max).is_some_and(|at| now < at)) {
            return None;
        }
        // Of equal times the first source's comes first.
        let times =
            self.sources.iter().enumerate().filter_map(|(id, source)| Some((source.waiting.front()?.time_ns, id)));
        let (_, id) = times.min()?;
        let source = &mut self.sources[id];
        let packet = source.waiting.pop_front()?;
        if source.waiting.is_empty() {
            source.empty_since = now;
        }
        self.bytes -= cost(&packet);
        let is_late = packet.time_ns < self.latest_ns;
        source.late += u64::from(is_late);
        self.latest_ns = self.latest_ns.max(packet.time_ns);
        Some(Merged { source: SourceId(id), packet, is_late })
    }

    /// When [`Self::tick`] will have a packet though nothing is delivered. `None`: never.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.sources.iter().find(|source| !source.waiting.is_empty())?;
        // A packet that could go now goes at a time that has passed.
        let silent_at = self.sources.iter().filter_map(|source| source.silent_at(self.silence_max)).max();
        silent_at.or_else(|| self.sources.iter().map(|source| source.empty_since).min())
    }

    /// Whether each source has ended and each packet has gone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.sources.iter().all(|source| source.has_ended && source.waiting.is_empty())
    }

    /// How many packets of a source were late.
    #[must_use]
    pub fn late(&self, source: SourceId) -> u64 {
        self.sources[source.0].late
    }
}

impl Source {
    /// From when on nothing waits for the source; `None` if nothing has to wait for it.
    fn silent_at(&self, silence_max: Duration) -> Option<Instant> {
        (self.waiting.is_empty() && !self.has_ended).then(|| self.empty_since + silence_max)
    }
}

fn cost(packet: &Packet) -> usize {
    PACKET_COST_BYTES + packet.bytes.len()
}
