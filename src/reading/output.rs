//! Standard output as a stream of packets with a reader that may go or stop reading, and lines on standard error.
//!
//! A process that `kubectl exec` started outlives its client (kubernetes#89031), and a pipe that nobody reads blocks for ever. So no write
//! waits in the kernel ([`Sink`]): each waits here until there is room, for a bounded time. With `kubectl exec -i` standard input ends
//! when the client goes.

mod sink;

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use self::sink::Sink;
use self::sink::is_memory_device;
use crate::files::pcap::{self, Record};

/// How much is collected before it is written, in bytes: half of what a pipe holds.
const COLLECTED_BYTES: usize = 32 << 10;
/// How long a reader may stop reading: a client that vanished, such as a laptop that was closed, looks like one that only stopped. It is
/// also how long `follow` runs where standard input is closed, so that nothing tells when the client goes. With the time that
/// Kubernetes needs, no copy outlives its client by more than a minute.
pub const STALL_AFTER_STDIN_CLOSED: Duration = Duration::from_secs(50);
/// How long a line on standard error may wait for a reader. After that the line is lost.
const LINE_WAIT_MAX: Duration = Duration::from_secs(5);
/// After how long a write is tried again if `poll` promised room for it and there was none.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A stream of packets, and the input whose end may tell that its reader has gone.
#[derive(Debug)]
pub struct Output {
    out: Sink,
    /// The input; `None` if there is none, or it has ended.
    input: Option<File>,
    at_input_end: AtInputEnd,
    stall_max: Duration,
    /// When the output ends because nothing tells whether its reader has gone.
    until: Option<Instant>,
    collected: Vec<u8>,
    /// The number of packets that were added.
    pub packets: u64,
    /// The number of bytes that were added, with the header.
    pub bytes: u64,
}

/// What the end of the input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtInputEnd {
    /// Nothing (`get`).
    GoOn,
    /// The reader has gone (`follow`). Where there is no input at all, the output ends after the time that a reader may stall.
    End,
}

/// Whether standard output is a terminal: that changes what is written to it.
#[must_use]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

impl Output {
    /// Standard output and standard input.
    ///
    /// # Errors
    /// If one of them is closed.
    pub fn standard(at_input_end: AtInputEnd) -> io::Result<Self> {
        Self::new(io::stdout().as_fd(), io::stdin().as_fd(), at_input_end, STALL_AFTER_STDIN_CLOSED)
    }

    /// An output whose reader may stop reading for `stall_max`.
    ///
    /// # Errors
    /// If one of the descriptors is closed.
    pub fn new(out: BorrowedFd, input: BorrowedFd, at_input_end: AtInputEnd, stall_max: Duration) -> io::Result<Self> {
        let out = Sink::of(out)?;
        let input = File::from(input.try_clone_to_owned()?);
        let input = (!is_memory_device(&input)?).then_some(input);
        let until = (at_input_end == AtInputEnd::End && input.is_none()).then(|| Instant::now() + stall_max);
        let collected = Vec::with_capacity(COLLECTED_BYTES);
        Ok(Self { out, input, at_input_end, stall_max, until, collected, packets: 0, bytes: 0 })
    }

    /// After how long the output ends because nothing tells whether its reader has gone; `None` if something does.
    #[must_use]
    pub fn ends_after(&self) -> Option<Duration> {
        self.until.map(|_| self.stall_max)
    }

    /// How long its reader may stop reading.
    #[must_use]
    pub fn stall_max(&self) -> Duration {
        self.stall_max
    }

    /// Adds the header of a pcap file, once.
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
    /// `BrokenPipe` if the reader has gone, `TimedOut` if it has not read for too long.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.write_collected();
        // After an error it is not known how much has arrived, and no byte may arrive twice.
        self.collected.clear();
        // One long packet must not keep its memory.
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

    /// Waits for a time, or until the reader has gone.
    ///
    /// # Errors
    /// `BrokenPipe` if the reader has gone, `TimedOut` if nothing tells that, and the time for this case is over.
    pub fn pause(&mut self, time: Duration) -> io::Result<()> {
        self.wait(PollFlags::empty(), Instant::now(), Some(time))?;
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Waits for the output to be as wanted, for a time or as long as a reader may stop reading. False: the time is over.
    fn wait(&mut self, wanted: PollFlags, since: Instant, time: Option<Duration>) -> io::Result<bool> {
        loop {
            let end = since + time.unwrap_or(self.stall_max);
            let end = self.until.map_or(end, |until| until.min(end));
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            let mut polled = vec![PollFd::new(&self.out, wanted)];
            polled.extend(self.input.as_ref().map(|input| PollFd::new(input, PollFlags::IN)));
            match poll(&mut polled, Some(&left)) {
                Ok(0) => return Ok(false),
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            let (out, input) = (polled[0].revents(), polled.get(1).map(PollFd::revents));
            // A pipe says ERR, a socket or a terminal HUP.
            if out.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if input.is_some_and(|input| !input.is_empty()) {
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

    /// What the input holds means nothing; its end does.
    fn drain(&mut self) -> io::Result<()> {
        match self.input.as_mut().map(|input| input.read(&mut [0; 4096])) {
            Some(Ok(0)) if self.at_input_end == AtInputEnd::End => Err(io::ErrorKind::BrokenPipe.into()),
            Some(Ok(0)) => {
                self.input = None;
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
/// `BrokenPipe` if the reader has gone, `TimedOut` if it has not read for too long.
pub fn print(text: &str) -> io::Result<()> {
    put(&Sink::of(io::stdout().as_fd())?, text, STALL_AFTER_STDIN_CLOSED)
}

/// Writes a line to standard error. A line that nobody reads is lost.
pub fn say(line: &str) {
    let _ = Sink::of(io::stderr().as_fd()).and_then(|sink| put(&sink, &format!("{line}\n"), LINE_WAIT_MAX));
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
            // The time must run out even where `poll` promises room again and again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < stalled_max => {
                thread::sleep(AGAIN_AFTER);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::pipe, os::unix::net::UnixStream};

    use super::*;

    const STALL: Duration = Duration::from_millis(50);
    /// Less than the machine needs to notice that the bound is not kept.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn file(path: &str) -> File {
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    /// Adds packets until that fails. Returns the error, which must come after the time that a reader may stall.
    fn fill(mut output: Output) -> io::ErrorKind {
        let began = Instant::now();
        let record = [[1_u32, 0, 50_000, 50_000].map(u32::to_ne_bytes).concat(), vec![0; 50_000]].concat();
        let pcap::Next::Record(record) = pcap::next(&record) else { panic!() };
        let error = (0..100).find_map(|_| output.packet(record).err()).expect("a full pipe");
        assert!((STALL..PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
        error.kind()
    }

    #[test]
    fn an_output_that_nobody_reads_ends_after_the_time_that_a_reader_may_stall() {
        let (_unread, out) = pipe().unwrap();
        let (_unread, socket) = UnixStream::pair().unwrap();
        let ((input, _open), (ended, closed)) = (pipe().unwrap(), pipe().unwrap());
        drop(closed);
        for at_input_end in [AtInputEnd::GoOn, AtInputEnd::End] {
            for out in [out.as_fd(), socket.as_fd()] {
                let output = Output::new(out, input.as_fd(), at_input_end, STALL).unwrap();
                assert_eq!(fill(output), io::ErrorKind::TimedOut);
            }
        }
        // An input that has ended does not end `get`.
        let output = Output::new(out.as_fd(), ended.as_fd(), AtInputEnd::GoOn, STALL).unwrap();
        assert_eq!(fill(output), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_follower_without_an_input_ends_after_a_time_whatever_its_output_is() {
        let (_unread, pipe) = pipe().unwrap();
        let (_unread, socket) = UnixStream::pair().unwrap();
        let null = file("/dev/null");
        for out in [pipe.as_fd(), socket.as_fd(), null.as_fd()] {
            let mut output = Output::new(out, null.as_fd(), AtInputEnd::End, STALL).unwrap();
            assert_eq!(output.ends_after(), Some(STALL));
            let began = Instant::now();
            let error = std::iter::repeat_with(|| output.pause(Duration::from_millis(1))).find_map(Result::err);
            assert_eq!(error.unwrap().kind(), io::ErrorKind::TimedOut);
            assert!((STALL..PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
        }
        let output = Output::new(null.as_fd(), null.as_fd(), AtInputEnd::GoOn, STALL).unwrap();
        assert_eq!(output.ends_after(), None);
    }
}
