//! Liveness and readiness as two files in RUN_DIR: each turn of the loop touches `alive`, and the first complete list creates `ready`.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// A loop without a turn for this long hangs. It turns at least every 10 s.
const ALIVE_AGE_MAX: Duration = Duration::from_secs(60);

/// The shortest time between two touches of `alive`.
const TOUCH_INTERVAL: Duration = Duration::from_secs(1);

/// The two files, written by the controller.
#[derive(Debug)]
pub(crate) struct Health {
    dir: PathBuf,
    touched_at: Option<Instant>,
    ready: bool,
    failing: bool,
}

impl Health {
    /// Removes the files of an earlier process: the controller is neither alive nor ready yet.
    ///
    /// # Errors
    /// If the directory cannot be created, or a file of an earlier process cannot be removed.
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

    /// Touches `alive`, and creates `ready` if the controller has seen a complete list. A failure is logged, and the kubelet's probe
    /// then fails.
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

/// The probes: whether the controller's loop turns, and, if `ready`, whether the controller has seen a complete list.
///
/// # Errors
/// If not: the reason, as a sentence.
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
    fn health_is_alive_for_a_minute_after_a_turn_and_ready_after_a_list() {
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
