//! Standard output as a stream of packets that somebody reads, or does not any more, and what is said beside it.
//!
//! An exec'd process outlives its client (kubernetes#89031), and a pipe that nobody reads blocks for ever. So no write waits in the
//! kernel ([`Sink`]); each waits here until there is room, for a bounded time; and with `kubectl exec -i` standard input ends when
//! the client goes.

mod sink;

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use self::sink::Sink;
use self::sink::is_memory_device;
use crate::files::pcap::{self, Record};

/// How much is collected before it is written, in bytes: half of what a pipe holds.
const COLLECTED_BYTES: usize = 32 << 10;
/// How long a reader may stand still: a client that has gone without a word, such as that of a laptop that was closed, looks like one
/// that stands still. It is also how long `follow` goes on where standard input is closed, and can tell nothing of the client. With
/// what Kubernetes needs, nothing outlives its client by more than a minute.
pub const STALL_AFTER_STDIN_CLOSED: Duration = Duration::from_secs(50);
/// How long a line on standard error may wait for somebody to read it: without a reader, it is better lost than waited for.
const WORDS_MAX: Duration = Duration::from_secs(5);
/// After how long a write is tried again that was not taken although it should have been.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Standard output, and the standard input that tells when nobody reads it any more.
#[derive(Debug)]
pub struct Output {
    out: Sink,
    reader: Option<File>,
    ends_with_reader: bool,
    /// When it ends, where nothing could tell that its reader has gone.
    until: Option<Instant>,
    collected: Vec<u8>,
    /// How many packets there were.
    pub packets: u64,
    /// How many bytes there were.
    pub bytes: u64,
}

/// Whether standard output is a terminal: that changes what is written to it.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

impl Output {
    /// Standard output. With `ends_with_reader`, the end of standard input is the end of its reader, and where there never was one,
    /// this ends after a time; without, such a reader may stand still for a shorter time.
    ///
    /// # Errors
    /// If one of them is closed.
    pub fn standard(ends_with_reader: bool) -> io::Result<Self> {
        let out = Sink::of(io::stdout().as_fd())?;
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let reader = (!is_memory_device(&input)?).then_some(input);
        let until = (ends_with_reader && reader.is_none()).then(|| Instant::now() + STALL_AFTER_STDIN_CLOSED);
        let collected = Vec::with_capacity(COLLECTED_BYTES);
        Ok(Self { out, reader, ends_with_reader, until, collected, packets: 0, bytes: 0 })
    }

    /// Whether it ends after a time, since nothing could tell that its reader has gone.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.until.is_some()
    }

    /// Begins a pcap file, once.
    ///
    /// # Errors
    /// As of [`Self::flush`].
    pub fn begin(&mut self, link_type: u32) -> io::Result<()> {
        if self.bytes == 0 { self.collect(&pcap::header(link_type)) } else { Ok(()) }
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// As of [`Self::flush`].
    pub fn packet(&mut self, record: Record) -> io::Result<()> {
        self.packets += 1;
        self.collect(record.bytes())
    }

    fn collect(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.collected.extend_from_slice(bytes);
        if self.collected.len() >= COLLECTED_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// `BrokenPipe` if nobody reads it any more, `TimedOut` if nobody has for too long.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.write_collected();
        // If it failed, what has come through is not known, and nothing must come twice.
        self.collected.clear();
        // A packet may be much longer than most.
        self.collected.shrink_to(COLLECTED_BYTES);
        written
    }

    fn write_collected(&mut self) -> io::Result<()> {
        let (mut written, mut since) = (0, Instant::now());
        while written < self.collected.len() {
            if !self.wait(PollFlags::OUT, since, None)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.out.write(&self.collected[written..]) {
                Ok(length) => (written, since) = (written + length, Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN_AFTER),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for a time, or until nobody reads any more.
    ///
    /// # Errors
    /// `BrokenPipe` if nobody does, `TimedOut` if it is not to be known for any longer.
    pub fn pause(&mut self, time: Duration) -> io::Result<()> {
        self.wait(PollFlags::empty(), Instant::now(), Some(time))?;
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Waits for output to be as wanted, for a time or as long as a reader may stand still. False: the time is over.
    fn wait(&mut self, wanted: PollFlags, since: Instant, time: Option<Duration>) -> io::Result<bool> {
        loop {
            let end = since + time.unwrap_or(STALL_AFTER_STDIN_CLOSED);
            let end = self.until.map_or(end, |until| until.min(end));
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            let mut polled = vec![PollFd::new(&self.out, wanted)];
            polled.extend(self.reader.as_ref().map(|reader| PollFd::new(reader, PollFlags::IN)));
            match poll(&mut polled, Some(&left)) {
                Ok(0) => return Ok(false),
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            let (out, reader) = (polled[0].revents(), polled.get(1).map(PollFd::revents));
            // A pipe says ERR, a socket or a terminal HUP.
            if out.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if reader.is_some_and(|reader| !reader.is_empty()) {
                self.drain()?;
            }
            if out.intersects(PollFlags::OUT) {
                return Ok(true);
            }
            // Input without end is no reason to wait without end.
            if Instant::now() >= end {
                return Ok(false);
            }
        }
    }

    /// What comes from the reader means nothing, its end does.
    fn drain(&mut self) -> io::Result<()> {
        match self.reader.as_mut().map(|reader| reader.read(&mut [0; 4096])) {
            Some(Ok(0)) if self.ends_with_reader => Err(io::ErrorKind::BrokenPipe.into()),
            Some(Ok(0)) => {
                self.reader = None;
                Ok(())
            }
            Some(Err(error)) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}

/// Writes a text to standard output.
///
/// # Errors
/// `BrokenPipe` if nobody reads it any more, `TimedOut` if nobody has for too long.
pub fn print(text: &str) -> io::Result<()> {
    put(&Sink::of(io::stdout().as_fd())?, text, STALL_AFTER_STDIN_CLOSED)
}

/// Writes a line to standard error. One that nobody reads is lost.
pub fn say(line: &str) {
    let _ = Sink::of(io::stderr().as_fd()).and_then(|sink| put(&sink, &format!("{line}\n"), WORDS_MAX));
}

fn put(sink: &Sink, text: &str, stalled_max: Duration) -> io::Result<()> {
    let (mut rest, mut since) = (text.as_bytes(), Instant::now());
    while !rest.is_empty() {
        if !sink.is_ready((since + stalled_max).saturating_duration_since(Instant::now()))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match sink.write(rest) {
            Ok(length) => (rest, since) = (&rest[length..], Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            // Its time must pass, also where it says again and again that it takes something.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < stalled_max => {
                thread::sleep(AGAIN_AFTER);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
