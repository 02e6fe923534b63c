//! Signals as pipes: a child has ended, or this process is asked to.

use std::{io, os::unix::net::UnixStream as StdUnixStream};

use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    low_level::pipe,
};
use tokio::net::UnixStream;

/// The pipe of one or more signals.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
}

impl Signals {
    /// Tells when a child has ended.
    ///
    /// # Errors
    /// If the pipe cannot be made.
    pub fn children() -> io::Result<Self> {
        Self::of(&[SIGCHLD])
    }

    /// Tells when this process is asked to end.
    ///
    /// # Errors
    /// If the pipe cannot be made.
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

    /// Waits until at least one signal has come since the last call. Returns how many, which for SIGCHLD means nothing: several
    /// children can end in one. May be dropped and called again without losing one.
    pub async fn arrived(&self) -> usize {
        let mut buffer = [0; 256];
        loop {
            // Neither can fail: both ends are this process's own, and stay open.
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
