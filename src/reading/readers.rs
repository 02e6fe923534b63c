//! How many readers (`get`, `follow`) may run at once: each holds a lock, which the kernel takes back when its process ends, however
//! that ends.
//!
//! `RUN_DIR` has a file for each reader that there may be. One that is locked is in use, and says in which namespace. So that two do not
//! count at once, who counts holds one more lock meanwhile.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

/// Readers on one node. The container's memory limit has 10 MiB for all that is run in it beside the captures: one that nobody reads takes
/// less than half of one.
pub const NODE_MAX: usize = 16;

/// Readers of one namespace on one node: half of them, so that no namespace can keep out all others.
pub const NAMESPACE_MAX: usize = 8;

/// The longest name of a namespace, in bytes (RFC 1123).
const NAME_BYTES_MAX: u64 = 63;

/// How long another one may take to count. It takes a millisecond.
const COUNT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether it has.
const COUNT_INTERVAL: Duration = Duration::from_millis(10);

/// The right to read, for as long as this lives.
#[derive(Debug)]
pub struct Admission(#[expect(dead_code, reason = "its lock ends with it")] File);

/// Why there is none.
#[derive(Debug)]
pub enum Error {
    /// So many readers of this namespace, or of the node, run already.
    TooMany {
        /// How many run.
        running: usize,
        /// Of this namespace; of all, if there is none.
        namespace: Option<String>,
    },
    /// It cannot be found out.
    Unknown(io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { running, namespace: Some(namespace) } => write!(
                f,
                "{running} readers (get, follow) of captures in namespace {namespace} run on this node, and no more than {NAMESPACE_MAX} \
                 may; hint: end one of them, or try again later"
            ),
            Self::TooMany { running, namespace: None } => write!(
                f,
                "{running} readers (get, follow) of captures run on this node, and no more than {NODE_MAX} may; hint: end one of them, or \
                 try again later"
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

/// Lets a reader of this namespace in, if there is room.
///
/// # Errors
/// If there is none, or that cannot be found out in `dir`.
pub fn admit(dir: &Path, namespace: &str) -> Result<Admission, Error> {
    fs::create_dir_all(dir)?;
    let _counting = counting(dir)?;
    let (mut free, mut running, mut of_namespace) = (None, 0, 0);
    for index in 0..NODE_MAX {
        let file = open(&dir.join(format!("reader.{index}")))?;
        match file.try_lock() {
            // The lock of one that is not kept ends here.
            Ok(()) => free = free.or(Some(file)),
            Err(TryLockError::WouldBlock) => {
                running += 1;
                of_namespace += usize::from(holder(&file)? == namespace);
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    if of_namespace >= NAMESPACE_MAX {
        return Err(Error::TooMany { running: of_namespace, namespace: Some(namespace.to_owned()) });
    }
    let mut file = free.ok_or(Error::TooMany { running, namespace: None })?;
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

    #[test]
    fn a_namespace_has_half_of_the_readers_and_a_place_is_free_at_once() {
        let dir = std::env::temp_dir().join(format!("packet-capture-readers-{}", std::process::id()));
        let many = |namespace: &str, count: usize| -> Vec<Admission> {
            (0..count).map(|_| admit(&dir, namespace).unwrap()).collect()
        };
        let refused = |namespace: &str| admit(&dir, namespace).unwrap_err().to_string();
        let mut one = many("one", NAMESPACE_MAX);
        let said = refused("one");
        assert!(said.starts_with("8 readers (get, follow) of captures in namespace one run on this node"), "{said}");
        let two = many("two", NODE_MAX - NAMESPACE_MAX);
        let said = refused("three");
        assert!(said.starts_with("16 readers (get, follow) of captures run on this node"), "{said}");
        one.pop();
        let three = admit(&dir, "three").unwrap();
        // What it says of the one before is not taken for this one.
        assert!(matches!(admit(&dir, "one"), Err(Error::TooMany { namespace: None, .. })));
        drop((one, two, three));
        assert_eq!(many("one", NAMESPACE_MAX).len(), 8);
        fs::remove_dir_all(&dir).unwrap();
        fs::write(&dir, "").unwrap();
        assert!(refused("one").starts_with("cannot count the readers of this node: "));
        fs::remove_file(&dir).unwrap();
    }
}
