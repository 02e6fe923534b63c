//! A descriptor that can be written to without waiting in the kernel: a pipe, a socket, a terminal or a file.
//!
//! Other processes may hold the same open file (a runtime's pipe, a shell's terminal), and would notice if it was made non-blocking. So a
//! pipe or a device is opened a second time, and each write to a socket asks not to wait. A regular file, a disk and a memory device
//! such as `/dev/null` never wait for a reader.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, major},
    io::Errno,
    net::{SendFlags, send},
};

/// What a pipe takes without blocking once it says that it takes anything (`PIPE_BUF`), in bytes.
const PIPE_BYTES: usize = 4096;
/// The major number of memory devices, `/dev/null` among them.
const MEMORY_DEVICES: u32 = 1;

/// A descriptor to write to.
#[derive(Debug)]
pub struct Sink {
    file: File,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An open file of our own, which does not block.
    Own,
    /// A pipe that cannot be opened again: one write is no longer than what the pipe takes at once.
    Pipe,
    Socket,
    /// A file or device that does not wait for a reader.
    Storage,
}

impl Sink {
    /// A sink for the same file as this descriptor.
    ///
    /// # Errors
    /// If it is closed.
    pub fn of(fd: BorrowedFd) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let status = file.metadata()?;
        let kind = status.file_type();
        if kind.is_socket() {
            return Ok(Self { file, kind: Kind::Socket });
        }
        if !kind.is_fifo() && !kind.is_char_device() || is_memory_device(&file)? {
            return Ok(Self { file, kind: Kind::Storage });
        }
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            // What is opened by the name of a pseudo-terminal's master is another one.
            Ok(again) if again.metadata().is_ok_and(|found| same(&found, &status)) => {
                Ok(Self { file: again, kind: Kind::Own })
            }
            Ok(_) | Err(_) => Ok(Self { file, kind: Kind::Pipe }),
        }
    }

    /// Writes some of the bytes without waiting. To be called when `poll` has promised room. Returns the number of bytes written.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room now, `BrokenPipe` if the reader has gone.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Own | Kind::Storage => (&self.file).write(bytes),
            Kind::Pipe => (&self.file).write(&bytes[..bytes.len().min(PIPE_BYTES)]),
            Kind::Socket => Ok(send(&self.file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?),
        }
    }

    /// Waits for room, for the end of the reader, or for this time. Returns whether there is room, or the reader has gone.
    pub(super) fn is_ready(&self, time: Duration) -> io::Result<bool> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&time)) {
            Err(Errno::INTR) => Ok(true),
            polled => Ok(polled? > 0),
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether this is a memory device: a process without standard input has `/dev/null` there.
pub(super) fn is_memory_device(file: &File) -> io::Result<bool> {
    let status = file.metadata()?;
    Ok(status.file_type().is_char_device() && major(status.rdev()) == MEMORY_DEVICES)
}

fn same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    (a.dev(), a.ino(), a.rdev()) == (b.dev(), b.ino(), b.rdev())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::OwnedFd, os::unix::net::UnixStream};

    use rustix::{
        fs::fcntl_getfl,
        pipe::pipe,
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    };

    use super::*;
    use crate::test_lock;

    /// Writes until no more is taken. Returns how many bytes were.
    fn fill(sink: Sink) -> (usize, Sink) {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut written = 0;
            while sink.is_ready(Duration::ZERO).unwrap() {
                match sink.write(&[7; 40_000]) {
                    Ok(length) => written += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            sender.send((written, sink)).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(30)).expect("no write that waits")
    }

    fn is_blocking(fd: &impl AsFd) -> bool {
        !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_pipe_without_a_reader_does_not_block_and_its_other_holders_see_no_change() {
        let _lock = test_lock::acquire();
        let (read, write): (OwnedFd, OwnedFd) = pipe().unwrap();
        let sink = Sink::of(write.as_fd()).unwrap();
        assert_eq!((sink.kind, is_blocking(&write)), (Kind::Own, true));
        let (written, sink) = fill(sink);
        assert!(written > 60_000, "{written}"); // a page may not be filled to its end
        drop(read);
        assert_eq!(sink.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_again_does_not_block() {
        let (_read, write): (OwnedFd, OwnedFd) = pipe().unwrap();
        assert!(fill(Sink { file: File::from(write), kind: Kind::Pipe }).0 > 60_000);
    }

    #[test]
    fn a_socket_without_a_reader_does_not_block() {
        let _lock = test_lock::acquire();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sink = Sink::of(ours.as_fd()).unwrap();
        assert_eq!((sink.kind, is_blocking(&ours)), (Kind::Socket, true));
        let (written, sink) = fill(sink);
        assert!(written > 0);
        drop(theirs);
        assert_eq!(sink.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_terminal_nobody_reads_does_not_hold_up() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let slave = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();
        let sink = Sink::of(slave.as_fd()).unwrap();
        assert_eq!((sink.kind, is_blocking(&slave)), (Kind::Own, true));
        assert!(fill(sink).0 > 0);
    }

    #[test]
    fn files_and_memory_devices_are_written_to_as_they_are() {
        let path = std::env::temp_dir().join(format!("packet-capture-sink-{}", std::process::id()));
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).unwrap();
        let sink = Sink::of(file.as_fd()).unwrap();
        assert_eq!((sink.kind, sink.write(b"one").unwrap(), sink.write(b"two").unwrap()), (Kind::Storage, 3, 3));
        let mut text = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "onetwo");
        std::fs::remove_file(path).unwrap();
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert_eq!(Sink::of(null.as_fd()).unwrap().kind, Kind::Storage);
    }
}
