//! What a repository could have git run is not run: what the daemon starts is not held by the agent's permissions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// A repository that brings a program for everything that git can run.
struct Trap {
    work: PathBuf,
    program: PathBuf,
    /// Each program that is run writes its name here.
    ran: PathBuf,
}

impl Trap {
    fn new(daemon: &TestDaemon) -> Self {
        let (program, ran) = (daemon.root().join("program"), daemon.root().join("ran"));
        fs::write(&program, format!("#!/bin/sh\necho \"$1\" >> {}\ncat\n", ran.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let work = daemon.work();
        Self { work, program, ran }
    }

    fn git(&self, at: &Path, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.current_dir(at).env("HOME", &self.work);
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
        let output = git
            .args(["-c", "protocol.file.allow=always"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn set(&self, at: &Path, name: &str) {
        self.git(at, &["config", name, &format!("{} {name}", self.program.display())]);
    }

    fn commit(&self, at: &Path, name: &str, text: &str) {
        fs::write(at.join(name), text).unwrap();
        self.git(at, &["add", "."]);
        self.git(at, &["commit", "-q", "-m", name]);
    }

    /// Plants the programs behind the commits, whose making would run them.
    fn plant(&self) {
        let inner = self.work.with_file_name("inner");
        fs::create_dir(&inner).unwrap();
        self.git(&inner, &["init", "-q"]);
        self.commit(&inner, "file", "inner\n");
        self.git(&self.work, &["init", "-q"]);
        self.git(
            &self.work,
            &["submodule", "add", "-q", &inner.display().to_string(), "sub"],
        );
        let attributes = "* filter=planted diff=planted merge=planted\n";
        fs::write(self.work.join(".gitattributes"), attributes).unwrap();
        self.commit(&self.work, "file", "text\n");
        let sub = self.work.join("sub");
        fs::write(sub.join(".gitattributes"), attributes).unwrap();
        for at in [&self.work, &sub] {
            for name in [
                "core.fsmonitor",
                "core.sshCommand",
                "core.pager",
                "core.askPass",
                "filter.planted.clean",
                "filter.planted.smudge",
                "diff.planted.textconv",
                "diff.planted.command",
                "diff.external",
                "merge.planted.driver",
                "alias.status",
            ] {
                self.set(at, name);
            }
        }
        self.set(&self.work, "filter.planted.process");
        for hook in [
            "post-index-change",
            "pre-auto-gc",
            "reference-transaction",
            "post-checkout",
        ] {
            let path = self.work.join(".git/hooks").join(hook);
            fs::write(&path, format!("#!/bin/sh\nexec {} {hook}\n", self.program.display())).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // What differs from the index has to be read.
        fs::write(self.work.join("file"), "else\n").unwrap();
        fs::write(sub.join("file"), "other\n").unwrap();
    }
}

fn git_of(daemon: &TestDaemon, id: &str) -> Option<Value> {
    let checkpoints = daemon.records_of(id, "checkpoint");
    checkpoints
        .iter()
        .rev()
        .find_map(|checkpoint| checkpoint["data"]["git"].as_object().cloned().map(Value::Object))
}

#[test]
fn a_checkpoint_names_the_commit_and_runs_no_program_of_the_repository() {
    let daemon = TestDaemon::start();
    let trap = Trap::new(&daemon);
    trap.plant();
    let gate = |step: usize| daemon.root().join(format!("gate-{step}"));
    let steps = (0..50).map(|step| format!("wait-file {} ;; bash true", gate(step).display()));
    let task = steps.collect::<Vec<_>>().join(" ;; ");
    let id = daemon.create_with(json!({"task": task, "checkpoint_interval_seconds": 1}));
    let mut step = 0;
    let git = until("a checkpoint with the commit", || {
        fs::write(gate(step), "").unwrap();
        step += 1;
        git_of(&daemon, &id)
    });
    assert_eq!(git["dirty"], true, "{git}");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert_eq!(fs::read_to_string(&trap.ran).unwrap_or_default(), "");

    // The programs are planted well: git itself runs them.
    let look = Command::new("git").current_dir(&trap.work).args(["status"]).output();
    assert!(look.is_ok());
    let ran = fs::read_to_string(&trap.ran).unwrap();
    assert!(ran.contains("core.fsmonitor"), "{ran}");
}
