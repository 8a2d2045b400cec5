//! Tests that mount: the test binary runs one test again in a mount namespace of its own, which needs no rights where
//! users may have namespaces, and root where they may not.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the environment of a test that runs in its own namespace.
const INSIDE: &str = "CC_EXECUTOR_TEST_NAMESPACE";

/// Ways into a namespace in which this process may mount: of a user's own, and of root.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];

/// Runs `body` in a mount namespace, by running the test `name` (its path in this binary) there.
pub(crate) fn in_own_namespace(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let way = WAYS.iter().find(|way| may_mount(way)).unwrap_or_else(|| {
        panic!(
            "this test mounts a small file system: allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0) or run it as root"
        )
    });
    let output = Command::new("unshare")
        .args(*way)
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{name} in its namespace: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn may_mount(way: &[&str]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tried = Command::new("unshare");
    tried
        .args(way)
        .args(["mount", "-t", "tmpfs", "tmpfs"])
        .arg(folder.path());
    tried.output().is_ok_and(|output| output.status.success())
}

/// A file system in memory, mounted for as long as this lives.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many MiB at `place`, which is made.
    pub(crate) fn mount(place: &Path, mib: u32) -> Self {
        std::fs::create_dir_all(place).expect("a place to mount");
        let options = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(place)
            .status();
        assert!(
            mounted.expect("mount runs").success(),
            "no tmpfs at {}",
            place.display()
        );
        Self(place.to_owned())
    }

    /// Fills it with a file, to the last byte.
    pub(crate) fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        let file = std::fs::File::options().create(true).append(true).open(&path);
        let mut file = file.expect("a file");
        for part in [1 << 20, 4096, 1] {
            let bytes = vec![b'x'; part];
            while file.write_all(&bytes).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Where a test has failed its processes may be there still; the namespace takes it all away.
        let _ = Command::new("umount").arg(&self.0).output();
    }
}
