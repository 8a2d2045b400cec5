//! The cgroup of an attempt, where systemd has given the daemon a part of the tree of its own (`Delegate=yes`): what an
//! agent starts stays in it, whatever it does to its environment and its parents.
//!
//! ```text
//!   <unit>/                            delegated to the daemon
//!     daemon/                          the daemon and its hosts (`DelegateSubgroup=daemon`), needed for bounds
//!     attempts/<session>.<attempt>/    an agent and all that it starts
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::proc;
use crate::session::id::{Attempt, SessionId};

/// Where the tree of cgroups is mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The attribute by which systemd marks the cgroup of a unit that it delegates.
const DELEGATED: &str = "user.delegate";

/// The directory of all attempts' cgroups, and that of the daemon's own processes.
const ATTEMPTS: &str = "attempts";
const DAEMON: &str = "daemon";

/// Files of a cgroup.
const PROCESSES: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";
const CONTROLLERS: &str = "cgroup.subtree_control";
const PIDS_MAX: &str = "pids.max";
const MEMORY_MAX: &str = "memory.max";

/// Bounds of all that one agent starts, itself included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CgroupBounds {
    /// Maximum number of processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u64>,
    /// Maximum memory in bytes; what goes beyond is killed by the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
}

/// The cgroup of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    path: PathBuf,
    #[serde(default)]
    bounds: CgroupBounds,
}

/// The part of the tree that is the daemon's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where the whole tree is mounted.
    mount: PathBuf,
    /// The cgroup of the daemon's unit.
    unit: PathBuf,
    /// The daemon itself is in a cgroup below, so that the unit may share out what is bounded.
    is_below: bool,
}

impl Tree {
    /// The part that was delegated to this process; none if there is none.
    pub fn of_this_process() -> Option<Self> {
        let is_delegated = |path: &Path| {
            let mut value = [0; 1];
            rustix::fs::getxattr(path, DELEGATED, &mut value).is_ok_and(|length| value[..length] == *b"1")
        };
        let own = own_cgroup(Path::new(MOUNT)).ok()?;
        Self::above(Path::new(MOUNT), &own, is_delegated)
    }

    /// The nearest cgroup at or above `own` that is delegated.
    fn above(mount: &Path, own: &Path, is_delegated: impl Fn(&Path) -> bool) -> Option<Self> {
        let above = own.ancestors().take_while(|path| path.starts_with(mount));
        let unit = above.into_iter().find(|path| is_delegated(path))?;
        // What an agent starts stays in the agent's own, a daemon too.
        if own.starts_with(unit.join(ATTEMPTS)) {
            return None;
        }
        Some(Self {
            mount: mount.to_owned(),
            is_below: unit != own,
            unit: unit.to_owned(),
        })
    }

    /// Makes room for the cgroups of attempts.
    ///
    /// With bounds the unit must have no process of its own. What an older daemon has left there is moved aside. Errors if
    /// systemd starts the daemon itself there: it could not do so again.
    pub fn prepare(&self, bounds: CgroupBounds) -> io::Result<()> {
        let attempts = self.unit.join(ATTEMPTS);
        fs::create_dir_all(&attempts)?;
        for left in fs::read_dir(&attempts)?.flatten() {
            // The kernel keeps those that have processes.
            let _ = fs::remove_dir(left.path());
        }
        let wanted: Vec<_> = [
            bounds.pids_max.map(|_| "+pids"),
            bounds.memory_bytes_max.map(|_| "+memory"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if !self.is_below {
            return Err(io::Error::other(
                "the daemon's unit has no DelegateSubgroup=daemon: install config/cc-executor.service again (systemd 254 or \
                 later)",
            ));
        }
        let aside = self.unit.join(DAEMON);
        fs::create_dir_all(&aside)?;
        for pid in processes_in(&self.unit)? {
            // One that has ended meanwhile is in nobody's way.
            let _ = write(&aside.join(PROCESSES), &pid.to_string());
        }
        for cgroup in [&self.unit, &attempts] {
            write(&cgroup.join(CONTROLLERS), &wanted.join(" "))?;
        }
        Ok(())
    }

    /// The cgroup of an attempt.
    pub fn of_attempt(&self, session: SessionId, attempt: Attempt, bounds: CgroupBounds) -> Cgroup {
        let path = self.unit.join(ATTEMPTS).join(format!("{session}.{attempt}"));
        Cgroup { path, bounds }
    }

    /// The attempt in whose cgroup a process is.
    pub(crate) fn attempt_of(&self, pid: i32) -> io::Result<Option<(SessionId, Attempt)>> {
        let path = cgroup_of(&self.mount, &fs::read_to_string(proc::place(pid, "cgroup"))?)?;
        Ok(self.attempt_at(&path))
    }

    fn attempt_at(&self, path: &Path) -> Option<(SessionId, Attempt)> {
        let below = path.strip_prefix(self.unit.join(ATTEMPTS)).ok()?;
        let (session, attempt) = below.components().next()?.as_os_str().to_str()?.split_once('.')?;
        Some((session.parse().ok()?, Attempt(attempt.parse().ok()?)))
    }
}

impl Cgroup {
    /// Has this process enter it, so that what it starts is in it from its first moment. Returns the cgroup that it was
    /// in before.
    pub(super) fn enter(&self) -> io::Result<PathBuf> {
        self.make()?;
        let before = own_cgroup(Path::new(MOUNT))?;
        move_to(&self.path)?;
        Ok(before)
    }

    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let bounds = [
            (PIDS_MAX, self.bounds.pids_max),
            (MEMORY_MAX, self.bounds.memory_bytes_max),
        ];
        let set = bounds.into_iter().filter_map(|(file, most)| Some((file, most?)));
        set.into_iter()
            .try_for_each(|(file, most)| write(&self.path.join(file), &most.to_string()))
    }

    /// True if an agent must not start outside of it.
    pub(super) fn is_bound(&self) -> bool {
        self.bounds != CgroupBounds::default()
    }

    /// All processes in it and below. One that was never made, or is gone, has none.
    pub(super) fn processes(&self) -> Vec<i32> {
        let each = self.with_all_below().into_iter();
        each.flat_map(|path| processes_in(&path).unwrap_or_default()).collect()
    }

    /// Kills all processes in it at once, those too that are just being started.
    pub(super) fn kill(&self) -> io::Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        write(&self.path.join(KILL), "1")
    }

    /// Removes it. The kernel keeps one that has processes.
    pub(super) fn remove(&self) {
        for path in self.with_all_below().iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }

    /// Its directory and those of all cgroups below, each before its own.
    fn with_all_below(&self) -> Vec<PathBuf> {
        let mut found = vec![self.path.clone()];
        let mut at = 0;
        while at < found.len() {
            let entries = fs::read_dir(&found[at]).into_iter().flatten().flatten();
            let is_cgroup = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
            let below: Vec<_> = entries.filter(is_cgroup).map(|entry| entry.path()).collect();
            found.extend(below);
            at += 1;
        }
        found
    }
}

/// Moves this process to a cgroup.
pub(super) fn move_to(cgroup: &Path) -> io::Result<()> {
    write(&cgroup.join(PROCESSES), &std::process::id().to_string())
}

fn own_cgroup(mount: &Path) -> io::Result<PathBuf> {
    cgroup_of(mount, &fs::read_to_string("/proc/self/cgroup")?)
}

/// The cgroup that `/proc/<pid>/cgroup` names; only the unified tree (`0::`) counts.
fn cgroup_of(mount: &Path, text: &str) -> io::Result<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| io::Error::other("this machine has no unified tree of cgroups"))?;
    Ok(mount.join(path.strip_suffix(" (deleted)").unwrap_or(path)))
}

fn processes_in(cgroup: &Path) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(cgroup.join(PROCESSES))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// The files of a cgroup take one value by one write.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: CgroupBounds = CgroupBounds {
        pids_max: Some(512),
        memory_bytes_max: Some(1 << 30),
    };

    fn tree() -> (tempfile::TempDir, Tree) {
        let mount = tempfile::tempdir().unwrap();
        let own = mount.path().join("user.slice/app.slice/cc-executor.service");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join(PROCESSES), "7\n8\n").unwrap();
        let is_delegated = |path: &Path| path.ends_with("cc-executor.service");
        let tree = Tree::above(mount.path(), &own.join("daemon"), is_delegated).unwrap();
        assert_eq!(tree.unit, own);
        (mount, tree)
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn only_what_is_delegated_is_used() {
        let own = Path::new("/sys/fs/cgroup/user.slice/session-1.scope");
        assert_eq!(Tree::above(Path::new(MOUNT), own, |_| false), None);
        let outside = |path: &Path| path == Path::new("/");
        assert_eq!(Tree::above(Path::new(MOUNT), own, outside), None);
    }

    #[test]
    fn bounds_are_written_where_the_kernel_reads_them() {
        let (_mount, tree) = tree();
        tree.prepare(BOUNDS).unwrap();
        assert_eq!(
            read(tree.unit.join("daemon/cgroup.procs")),
            "8",
            "each process is moved by a write of its own"
        );
        for cgroup in [tree.unit.clone(), tree.unit.join("attempts")] {
            assert_eq!(read(cgroup.join(CONTROLLERS)), "+pids +memory");
        }
        let session = SessionId::new();
        let cgroup = tree.of_attempt(session, Attempt(3), BOUNDS);
        cgroup.make().unwrap();
        let file = |name: &str| read(tree.unit.join(format!("attempts/{session}.3/{name}")));
        assert_eq!(
            (file(PIDS_MAX).as_str(), file(MEMORY_MAX).as_str()),
            ("512", "1073741824")
        );
        cgroup.kill().unwrap();
        assert_eq!(file(KILL), "1");
    }

    #[test]
    fn a_daemon_that_is_in_its_units_own_cgroup_sets_no_bounds() {
        let (mount, tree) = tree();
        let tree = Tree::above(mount.path(), &tree.unit, |path| path == tree.unit).unwrap();
        let told = tree.prepare(BOUNDS).unwrap_err().to_string();
        assert!(told.contains("DelegateSubgroup=daemon"), "{told}");
        assert!(!tree.unit.join(CONTROLLERS).exists());
        tree.prepare(CgroupBounds::default()).unwrap();
    }

    #[test]
    fn without_bounds_no_controller_is_needed_and_nothing_is_moved() {
        let (_mount, tree) = tree();
        tree.prepare(CgroupBounds::default()).unwrap();
        assert!(!tree.unit.join(DAEMON).exists() && !tree.unit.join(CONTROLLERS).exists());
        let cgroup = tree.of_attempt(SessionId::new(), Attempt(1), CgroupBounds::default());
        assert!(
            cgroup.processes().is_empty() && cgroup.kill().is_ok(),
            "it was never made"
        );
        cgroup.make().unwrap();
        assert!(!cgroup.is_bound() && fs::read_dir(&cgroup.path).unwrap().next().is_none());
        let inner = cgroup.path.join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join(PROCESSES), "12\n").unwrap();
        assert_eq!(cgroup.processes(), [12]);
        fs::remove_file(inner.join(PROCESSES)).unwrap();
        cgroup.remove();
        assert!(!cgroup.path.exists());
    }

    #[test]
    fn the_attempt_of_a_process_is_told_by_its_cgroup() {
        let (mount, tree) = tree();
        let session = SessionId::new();
        let below = tree
            .of_attempt(session, Attempt(2), CgroupBounds::default())
            .path
            .join("deeper");
        let line = format!(
            "1:name=systemd:/x\n0::/{}\n",
            below.strip_prefix(mount.path()).unwrap().display()
        );
        let path = cgroup_of(mount.path(), &line).unwrap();
        assert_eq!(tree.attempt_at(&path), Some((session, Attempt(2))));
        assert_eq!(tree.attempt_at(&tree.unit.join(DAEMON)), None);
        assert_eq!(tree.attempt_at(&tree.unit.join("attempts/none.x")), None);
        assert!(cgroup_of(mount.path(), "1:name=systemd:/x\n").is_err());
    }
}
