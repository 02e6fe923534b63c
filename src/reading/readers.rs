//! How many readers (`get`, `follow`) and how many `status` may run at once. Each holds a lock, which the kernel releases when the process
//! ends in whatever way.
//!
//! `RUN_DIR` has a file for each process that may run. A locked file is in use, and holds the name of the reader's namespace. A process
//! that counts the locked files holds one more lock, so that no two processes count at once.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

/// Processes of one kind that share a bound. One namespace may have half of them, so that it cannot keep out all others.
#[derive(Debug, PartialEq, Eq)]
pub struct Pool {
    /// The beginning of the names of its files.
    file: &'static str,
    /// The name of its processes in messages.
    what: &'static str,
    /// How many may run on one node.
    node_max: usize,
    /// How many may run for captures of one namespace.
    namespace_max: usize,
    /// How long a process waits until it may run.
    patience: Duration,
}

/// `get` and `follow`. The container's memory limit has 24 MiB for all of them: a reader takes at most 1.5 MiB.
pub const READERS: Pool = Pool {
    file: "reader",
    what: "readers (get, follow) of captures",
    node_max: 16,
    namespace_max: 8,
    patience: Duration::ZERO,
};

/// `status`: it reads the whole state file, which users can make a few megabytes long, and ends within a second.
pub const STATUS: Pool =
    Pool { file: "status", what: "status commands", node_max: 4, namespace_max: 2, patience: Duration::from_secs(5) };

/// Stands for all namespaces. No namespace has this name.
pub const ALL_NAMESPACES: &str = "*";

/// The longest name of a namespace, in bytes (RFC 1123).
const NAME_BYTES_MAX: u64 = 63;

/// How long to wait for another process that counts. Counting takes a millisecond.
const COUNT_MAX: Duration = Duration::from_secs(5);
/// How often a process that waits tries again.
const COUNT_INTERVAL: Duration = Duration::from_millis(10);

/// The right to run, until this is dropped.
#[derive(Debug)]
pub struct Admission(#[expect(dead_code, reason = "the lock ends with the file")] File);

/// Why a process may not run.
#[derive(Debug)]
pub enum Error {
    /// As many run as may.
    TooMany {
        /// The kind of process.
        pool: &'static Pool,
        /// How many run.
        running: usize,
        /// The namespace whose bound is reached; `None` for the bound of the node.
        namespace: Option<String>,
    },
    /// The running processes cannot be counted.
    Unknown(io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { pool: Pool { what, namespace_max, .. }, running, namespace: Some(namespace) } => write!(
                f,
                "{running} {what} in namespace {namespace} already run on this node, of at most {namespace_max}; hint: end one of them, \
                 or try again later"
            ),
            Self::TooMany { pool: Pool { what, node_max, .. }, running, namespace: None } => write!(
                f,
                "{running} {what} already run on this node, of at most {node_max}; hint: end one of them, or try again later"
            ),
            Self::Unknown(error) => {
                write!(
                    f,
                    "cannot count the readers of this node: {error}; hint: RUN_DIR must be a directory that can be written"
                )
            }
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Unknown(error)
    }
}

/// Admits a process that reads captures of this namespace, once there is room.
///
/// # Errors
/// If there is no room for as long as the pool waits, or the processes cannot be counted in `dir`.
pub fn admit(dir: &Path, pool: &'static Pool, namespace: &str) -> Result<Admission, Error> {
    fs::create_dir_all(dir)?;
    let give_up_at = Instant::now() + pool.patience;
    loop {
        match try_admit(dir, pool, namespace) {
            Err(Error::TooMany { .. }) if Instant::now() < give_up_at => thread::sleep(COUNT_INTERVAL),
            admitted => return admitted,
        }
    }
}

fn try_admit(dir: &Path, pool: &'static Pool, namespace: &str) -> Result<Admission, Error> {
    let _counting = counting(dir)?;
    let (mut free, mut running, mut of_namespace) = (None, 0, 0);
    for index in 0..pool.node_max {
        let file = open(&dir.join(format!("{}.{index}", pool.file)))?;
        match file.try_lock() {
            // The lock of a file that is not kept ends here.
            Ok(()) => free = free.or(Some(file)),
            Err(TryLockError::WouldBlock) => {
                running += 1;
                of_namespace += usize::from(holder(&file)? == namespace);
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    if of_namespace >= pool.namespace_max {
        return Err(Error::TooMany { pool, running: of_namespace, namespace: Some(namespace.to_owned()) });
    }
    let mut file = free.ok_or(Error::TooMany { pool, running, namespace: None })?;
    file.set_len(0)?;
    file.write_all(namespace.as_bytes())?;
    Ok(Admission(file))
}

fn counting(dir: &Path) -> io::Result<File> {
    let (file, give_up_at) = (open(&dir.join("readers.lock"))?, Instant::now() + COUNT_MAX);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up_at => thread::sleep(COUNT_INTERVAL),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)
}

fn holder(file: &File) -> io::Result<String> {
    let mut name = Vec::new();
    file.take(NAME_BYTES_MAX).read_to_end(&mut name)?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_lock;

    #[test]
    fn a_namespace_has_half_of_the_readers_and_a_released_lock_is_free_at_once() {
        let _lock = test_lock::acquire();
        let dir = std::env::temp_dir().join(format!("packet-capture-readers-{}", std::process::id()));
        let many = |namespace: &str, count: usize| -> Vec<Admission> {
            (0..count).map(|_| admit(&dir, &READERS, namespace).unwrap()).collect()
        };
        let refused = |namespace: &str| admit(&dir, &READERS, namespace).unwrap_err().to_string();
        let mut one = many("one", 8);
        let said = refused("one");
        assert!(
            said.starts_with("8 readers (get, follow) of captures in namespace one already run on this node"),
            "{said}"
        );
        let two = many("two", 8);
        let said = refused("three");
        assert!(said.starts_with("16 readers (get, follow) of captures already run on this node"), "{said}");
        one.pop();
        let three = admit(&dir, &READERS, "three").unwrap();
        // The namespace that an earlier reader left in the file does not count.
        assert!(matches!(admit(&dir, &READERS, "one"), Err(Error::TooMany { namespace: None, .. })));
        // `status` has a pool of its own, and waits.
        const HASTY: Pool = Pool { patience: Duration::ZERO, ..STATUS };
        let status: Vec<Admission> = (0..2).map(|_| admit(&dir, &HASTY, ALL_NAMESPACES).unwrap()).collect();
        let said = admit(&dir, &HASTY, ALL_NAMESPACES).unwrap_err().to_string();
        assert!(said.starts_with("2 status commands in namespace * already run on this node, of at most 2"), "{said}");
        let waits = thread::scope(|scope| {
            let waits = scope.spawn(|| admit(&dir, &STATUS, ALL_NAMESPACES).is_ok());
            drop(status);
            waits.join().unwrap()
        });
        assert!(waits);
        drop((one, two, three));
        assert_eq!(many("one", 8).len(), 8);
        fs::remove_dir_all(&dir).unwrap();
        fs::write(&dir, "").unwrap();
        assert!(refused("one").starts_with("cannot count the readers of this node: "));
        fs::remove_file(&dir).unwrap();
    }
}
