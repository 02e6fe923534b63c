//! Standard output as a stream of packets that somebody reads, or does not any more.
//!
//! An exec'd process outlives its client (kubernetes#89031), and a pipe that nobody reads blocks for ever. So each write waits
//! until there is room, for a bounded time; and with `kubectl exec -i` standard input ends when the client goes.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::major,
};

use crate::pcap::{self, Record};

/// How much is collected before it is written, in bytes.
const COLLECTED_BYTES: usize = 64 << 10;
/// What a pipe takes without blocking once it says that it takes anything (`PIPE_BUF`), in bytes.
const WRITE_BYTES: usize = 4096;
/// How long a reader may stand still. A person may look at something else for a while; nobody does for this long.
const STALLED_MAX: Duration = Duration::from_secs(600);
/// The same once standard input has ended: the client has gone, or had nothing to say from the start.
const STALLED_ALONE_MAX: Duration = Duration::from_secs(60);
/// The major number of memory devices, `/dev/null` among them: what standard input is where there is none.
const MEMORY_DEVICES: u32 = 1;

/// Standard output, and the standard input that tells when nobody reads it any more.
#[derive(Debug)]
pub struct Output {
    out: File,
    reader: Option<File>,
    ends_with_reader: bool,
    stalled_max: Duration,
    collected: Vec<u8>,
    /// How many packets there were.
    pub packets: u64,
    /// How many bytes there were.
    pub bytes: u64,
}

impl Output {
    /// Standard output. With `ends_with_reader`, the end of standard input is the end of its reader, unless there never was one;
    /// without, such a reader may stand still for a shorter time.
    ///
    /// # Errors
    /// If one of them is closed.
    pub fn standard(ends_with_reader: bool) -> io::Result<Self> {
        let owned = |fd: &dyn Fn() -> io::Result<OwnedFd>| Ok::<_, io::Error>(File::from(fd()?));
        let out = owned(&|| io::stdout().as_fd().try_clone_to_owned())?;
        let input = owned(&|| io::stdin().as_fd().try_clone_to_owned())?;
        let status = input.metadata()?;
        let null = status.file_type().is_char_device() && major(status.rdev()) == MEMORY_DEVICES;
        let reader = (!null).then_some(input);
        let (stalled_max, collected) = (STALLED_MAX, Vec::with_capacity(COLLECTED_BYTES));
        Ok(Self { out, reader, ends_with_reader, stalled_max, collected, packets: 0, bytes: 0 })
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
        written
    }

    fn write_collected(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.collected.len() {
            if !self.wait(PollFlags::OUT, self.stalled_max)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let end = self.collected.len().min(written + WRITE_BYTES);
            written += self.out.write(&self.collected[written..end])?;
        }
        Ok(())
    }

    /// Waits for a time, or until nobody reads any more.
    ///
    /// # Errors
    /// `BrokenPipe` if nobody does.
    pub fn pause(&mut self, time: Duration) -> io::Result<()> {
        self.wait(PollFlags::empty(), time).map(drop)
    }

    /// Waits for output to be as wanted. False: the time is over.
    fn wait(&mut self, wanted: PollFlags, time: Duration) -> io::Result<bool> {
        let mut end = Instant::now() + time;
        loop {
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
                end = end.min(Instant::now() + self.stalled_max);
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
                (self.reader, self.stalled_max) = (None, STALLED_ALONE_MAX);
                Ok(())
            }
            Some(Err(error)) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}
