//! The kill loop: random parts of many sessions are killed again and again; afterwards the journal is held against what
//! the agents really wrote, line for line.
//!
//! By default it is short. `CC_EXECUTOR_SOAK_KILLS=200 CC_EXECUTOR_SOAK_SESSIONS=20 CC_EXECUTOR_SOAK_LINES=2000 cargo test
//! --test soak` is the long one; `CC_EXECUTOR_SOAK_SEED` repeats the choices of an earlier run, which it prints.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;

use support::chance::{Choices, number};
use support::daemon::TestDaemon;
use support::spool::{compare_with_spools, messages_in_spool};
use support::victim::Victim;
use support::wait::until;

/// How often something is killed, in how many sessions of how many lines.
struct Extent {
    kills: u64,
    sessions: u64,
    lines: u64,
}

impl Extent {
    fn from_environment() -> Self {
        Self {
            kills: number("CC_EXECUTOR_SOAK_KILLS", 40),
            sessions: number("CC_EXECUTOR_SOAK_SESSIONS", 8),
            lines: number("CC_EXECUTOR_SOAK_LINES", 1500),
        }
    }
}

/// Files that the agents wait for: the work is in parts, one for each kill, so that none of it is done before the last.
struct Gates {
    folder: PathBuf,
    kills: u64,
}

impl Gates {
    fn beside(daemon: &TestDaemon, kills: u64) -> Self {
        let folder = daemon.root().join("gates");
        fs::create_dir(&folder).expect("a folder of its own");
        Self { folder, kills }
    }

    fn gate(&self, part: u64) -> PathBuf {
        self.folder.join(part.to_string())
    }

    fn task(&self, lines: u64) -> String {
        let each = lines.div_ceil(self.kills + 1);
        let part = |part| format!("wait-file {} ;; flood {each} ;; ", self.gate(part).display());
        let parts: String = (0..=self.kills).map(part).collect();
        format!("slow 2 ;; {parts}say the end")
    }

    fn open(&self, part: u64) {
        fs::write(self.gate(part), "").expect("a writable folder");
    }
}

#[test]
fn random_kills_lose_and_double_nothing() {
    let extent = Extent::from_environment();
    let mut choices = Choices::from_environment();
    let mut daemon = TestDaemon::start_with(&[
        // Restarts that are long past make the next one no later.
        ("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "100000"),
        ("CC_EXECUTOR__SUPERVISION__RESTART_PERIOD_SECONDS", "1"),
        ("CC_EXECUTOR__SUPERVISION__RESTARTS_TOTAL_MAX", "100000"),
        ("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "100"),
    ]);
    let gates = Gates::beside(&daemon, extent.kills);
    let ids: Vec<_> = (0..extent.sessions)
        .map(|_| daemon.create(&gates.task(extent.lines)))
        .collect();
    for part in 0..extent.kills {
        let before = written(&daemon, &ids);
        gates.open(part);
        let id = any_running(&daemon, &ids, &mut choices);
        choices.one_of(&Victim::ALL).kill(&mut daemon, &id);
        until("progress, so that the next kill strikes somewhere else", || {
            (written(&daemon, &ids) >= before + 2 * extent.sessions).then_some(())
        });
    }
    gates.open(extent.kills);
    for id in &ids {
        daemon.wait_for(id, "completed");
        compare_with_spools(&daemon, id);
    }
}

/// Some session that has an agent at work; a kill may have left none of them one for a moment.
fn any_running(daemon: &TestDaemon, ids: &[String], choices: &mut Choices) -> String {
    until("an agent at work", || {
        let running: Vec<_> = ids.iter().filter(|id| daemon.view(id)["state"] == "running").collect();
        let at = choices.below(running.len().max(1) as u64);
        running
            .get(usize::try_from(at).expect("a small one"))
            .map(|id| (*id).clone())
    })
}

/// How many records all sessions have together.
fn written(daemon: &TestDaemon, ids: &[String]) -> u64 {
    let head = |id: &String| daemon.view(id)["head"].as_u64().expect("a head");
    ids.iter().map(head).sum()
}

#[test]
fn a_lost_and_a_doubled_line_would_be_seen() {
    let line = |uuid: &str| format!(r#"{{"type":"assistant","uuid":"{uuid}"}}"#);
    let spool = [
        line("a"),
        line("b"),
        r#"{"type":"stream_event","uuid":"c"}"#.to_owned(),
        r#"{"type":"assi"#.to_owned(),
    ];
    assert_eq!(messages_in_spool(&spool.join("\n")), ["a", "b"]);
}
