//! Alive and ready, as two files: `alive` is touched by every turn of the loop, `ready` is made at the first complete list.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// A loop that has not turned for as long as this hangs. It turns every 10 s at least.
const ALIVE_AGE_MAX: Duration = Duration::from_secs(60);

/// How often `alive` is touched at the most.
const TOUCH_INTERVAL: Duration = Duration::from_secs(1);

/// The two files, as the controller keeps them.
#[derive(Debug)]
pub struct Health {
    dir: PathBuf,
    touched_at: Option<Instant>,
    ready: bool,
    failing: bool,
}

impl Health {
    /// Neither alive nor ready, whatever an earlier process left.
    ///
    /// # Errors
    /// If the directory cannot be made, or a file of an earlier process cannot be removed.
    pub fn begin(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for name in ["alive", "ready"] {
            match fs::remove_file(dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(Self { dir: dir.to_owned(), touched_at: None, ready: false, failing: false })
    }

    /// Says that the loop turns, and whether a complete list was seen. A failure to say so is what the probe will notice.
    pub fn touch(&mut self, ready: bool) {
        if self.touched_at.is_none_or(|touched_at| touched_at.elapsed() >= TOUCH_INTERVAL) {
            self.write("alive");
            self.touched_at = Some(Instant::now());
        }
        if ready && !self.ready {
            self.ready = self.write("ready");
        }
    }

    fn write(&mut self, name: &str) -> bool {
        let touched = File::create(self.dir.join(name)).and_then(|file| file.set_modified(SystemTime::now()));
        if let (Err(error), false) = (&touched, self.failing) {
            log::error!("cannot touch a file in RUN_DIR, so the liveness probe will fail file={name} error={error}");
        }
        self.failing = touched.is_err();
        touched.is_ok()
    }
}

/// What the probes ask: whether the controller's loop turns, and, if that is asked too, whether it has seen a complete list.
///
/// # Errors
/// If it is not so: the reason.
pub fn check(dir: &Path, ready: bool) -> Result<(), String> {
    let alive = fs::metadata(dir.join("alive")).and_then(|file| file.modified());
    let modified = alive.map_err(|error| format!("not alive: {}: {error}", dir.join("alive").display()))?;
    let age = modified.elapsed().unwrap_or_default();
    if age >= ALIVE_AGE_MAX {
        return Err(format!("not alive: the last turn of the loop was {} s ago", age.as_secs()));
    }
    if ready && !dir.join("ready").exists() {
        return Err("not ready: the pods of this node have not been listed yet; the log says why".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alive_is_a_loop_that_turned_within_a_minute_and_ready_one_that_saw_a_list() {
        let dir = std::env::temp_dir().join(format!("packet-capture-health-{}", std::process::id()));
        let mut health = Health::begin(&dir).unwrap();
        assert!(check(&dir, false).is_err());
        health.touch(false);
        assert_eq!(check(&dir, false), Ok(()));
        assert!(check(&dir, true).unwrap_err().starts_with("not ready"));
        health.touch(true);
        assert_eq!(check(&dir, true), Ok(()));
        let old = SystemTime::now() - ALIVE_AGE_MAX;
        File::open(dir.join("alive")).unwrap().set_modified(old).unwrap();
        assert!(check(&dir, true).unwrap_err().starts_with("not alive"));
        Health::begin(&dir).unwrap();
        assert!(!dir.join("alive").exists() && !dir.join("ready").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
