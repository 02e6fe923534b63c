//! The two outputs of a process, read by threads into bounded buffers.

use std::{
    io::{ErrorKind, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How much of the end of the standard error is kept: the line of JSON that a copy ends with is shorter.
pub(super) const STDERR_BYTES_MAX: usize = 64 << 10;

/// What was read until now.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// How many outputs are not at their end.
    pub open: usize,
    /// The standard output is longer than allowed.
    pub too_long: bool,
    /// An output could not be read.
    pub error: Option<String>,
}

/// The buffers, shared with the threads that fill them. A thread may outlive its process: a process that kubectl left behind can hold
/// the output open.
#[derive(Clone, Debug, Default)]
pub(super) struct Output(Arc<(Mutex<Buffers>, Condvar)>);

impl Output {
    pub(super) fn collect_stdout(&self, from: impl Read + Send + 'static, bytes_max: usize) {
        self.collect(from, move |buffers, bytes| {
            buffers.stdout.extend_from_slice(bytes);
            buffers.too_long = buffers.stdout.len() > bytes_max;
            !buffers.too_long
        });
    }

    pub(super) fn collect_stderr(&self, from: impl Read + Send + 'static) {
        self.collect(from, |buffers, bytes| {
            buffers.stderr.extend_from_slice(bytes);
            let surplus = buffers.stderr.len().saturating_sub(STDERR_BYTES_MAX);
            buffers.stderr.drain(..surplus);
            true
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an output ends or is too long, for `time` at most.
    pub(super) fn wait(&self, time: Duration) -> MutexGuard<'_, Buffers> {
        let buffers = self.lock();
        if buffers.open == 0 || buffers.too_long {
            return buffers;
        }
        self.0.1.wait_timeout(buffers, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// `keep` says whether to read on.
    fn collect(
        &self,
        mut from: impl Read + Send + 'static,
        mut keep: impl FnMut(&mut Buffers, &[u8]) -> bool + Send + 'static,
    ) {
        self.lock().open += 1;
        let output = self.clone();
        thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                match from.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(count) => {
                        if !keep(&mut output.lock(), &chunk[..count]) {
                            break;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => (),
                    Err(error) => {
                        output.lock().error = Some(error.to_string());
                        break;
                    }
                }
            }
            output.lock().open -= 1;
            output.0.1.notify_all();
        });
    }
}
