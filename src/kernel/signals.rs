//! Signals as pipes: SIGCHLD when a child has ended, SIGTERM and SIGINT when this process must end.

use std::{io, os::unix::net::UnixStream as StdUnixStream};

use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    low_level::pipe,
};
use tokio::net::UnixStream;

/// A pipe that gets one byte for each arrived signal.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
}

impl Signals {
    /// SIGCHLD: a child has ended.
    ///
    /// # Errors
    /// If the pipe cannot be created.
    pub fn children() -> io::Result<Self> {
        Self::of(&[SIGCHLD])
    }

    /// SIGTERM and SIGINT: this process must end.
    ///
    /// # Errors
    /// If the pipe cannot be created.
    pub fn end() -> io::Result<Self> {
        Self::of(&[SIGTERM, SIGINT])
    }

    fn of(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = StdUnixStream::pair()?;
        for signal in signals {
            pipe::register(*signal, write.try_clone()?)?;
        }
        read.set_nonblocking(true)?;
        Ok(Self { pipe: UnixStream::from_std(read)? })
    }

    /// Waits until at least one signal has arrived since the last call. Returns the number of signals; for SIGCHLD it does not count
    /// children, as several can end with one signal. The future may be dropped and the method called again: no signal is lost.
    pub async fn arrived(&self) -> usize {
        let mut buffer = [0; 256];
        loop {
            // Waiting and reading cannot fail: this process has both ends of the pipe and keeps them open.
            if self.pipe.readable().await.is_err() {
                std::future::pending::<()>().await;
            }
            match self.pipe.try_read(&mut buffer) {
                Ok(0) => std::future::pending().await,
                Ok(signals) => return signals,
                Err(_) => (),
            }
        }
    }
}
