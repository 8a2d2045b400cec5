//! The kill loop with the real CLI: random parts of sessions are killed at random moments between two tool calls, again
//! and again; afterwards all of the work is done, and everything is in the journal once.
//!
//! By default it is short. `CC_EXECUTOR_SOAK_CLAUDE_KILLS=100 cargo test --test claude random_kills` is a long one;
//! `CC_EXECUTOR_SOAK_SEED` repeats the choices of an earlier run, which it prints.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::main_job::with_claude_and;
use super::matrix::attempts_alive;
use crate::support::chance::{Choices, number};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;
use crate::support::spool::compare_with_spools;
use crate::support::victim::Victim;
use crate::support::wait::{shell_until_exists, until};

const SESSIONS: u64 = 2;

/// When it is killed, counted from the moment at which a tool call may end.
#[derive(Clone, Copy, Debug)]
enum Moment {
    AtOnce,
    /// The tool has had its effect; neither transcript nor journal need know it.
    Effect,
    /// Something more is in the journal.
    Record,
    /// The next tool runs.
    NextCall,
}

const MOMENTS: [Moment; 4] = [Moment::AtOnce, Moment::Effect, Moment::Record, Moment::NextCall];

/// A session whose work is tool calls, each of which waits at a gate of its own and writes down when it begins and ends.
struct Work {
    id: String,
    folder: PathBuf,
    parts: u64,
    /// Parts that may have been cut: done twice, or not at all.
    struck: BTreeSet<u64>,
}

impl Work {
    fn begin(daemon: &TestDaemon, name: u64, parts: u64) -> Self {
        let folder = daemon.root().join(format!("work-{name}"));
        std::fs::create_dir(&folder).expect("a folder of its own");
        let call = |part: u64| {
            let wait = shell_until_exists(&folder.join(part.to_string()));
            let (begun, done) = (folder.join("begun").display().to_string(), folder.join("done"));
            format!(
                "bash echo {part} >> {begun}; {wait}; echo {part} >> {} ;; ",
                done.display()
            )
        };
        let calls: String = (0..parts).map(call).collect();
        let task = format!("FAKE: {calls}say the end");
        let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
        Self {
            id,
            folder,
            parts,
            struck: BTreeSet::new(),
        }
    }

    /// The numbers of the parts in this file, in the order they were written down in.
    fn list(&self, file: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a number")).collect()
    }

    fn begun(&self) -> Option<u64> {
        self.list("begun").into_iter().max()
    }

    fn wait_for_part(&self, daemon: &TestDaemon, part: u64) {
        let wait = || until("the part", || (self.begun()? >= part).then_some(()));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait)).unwrap_or_else(|_| {
            let records: Vec<_> = daemon.records(&self.id).iter().map(Value::to_string).collect();
            let (view, log) = (daemon.view(&self.id), daemon.log());
            panic!("part {part} of {} never began: {view:#}\n{records:#?}\n{log}", self.id)
        });
    }

    fn open(&self, part: u64) {
        std::fs::write(self.folder.join(part.to_string()), "").expect("a writable folder");
    }

    fn strike(&mut self, daemon: &mut TestDaemon, victim: Victim, moment: Moment) {
        let part = until("a part", || self.begun());
        let head = |daemon: &TestDaemon| daemon.view(&self.id)["head"].as_u64();
        let before = head(daemon);
        self.open(part);
        match moment {
            Moment::AtOnce => {}
            Moment::Effect => until("the effect", || self.list("done").contains(&part).then_some(())),
            Moment::Record => until("a record", || (head(daemon) > before).then_some(())),
            Moment::NextCall => self.wait_for_part(daemon, part + 1),
        }
        victim.kill(daemon, &self.id);
        if victim.has_agent() || victim == Victim::BashChild {
            self.struck.extend([part, part + 1]);
        }
        // On to another call: an agent that dies twice at the same one is not started again.
        self.wait_for_part(daemon, part + 1);
        self.open(part + 1);
        self.wait_for_part(daemon, part + 2);
        let alive = attempts_alive(daemon, &self.id);
        assert!(alive.len() <= 1, "{alive:?} live at once");
    }

    fn end(&self, daemon: &TestDaemon) {
        (0..self.parts).for_each(|part| self.open(part));
        let view = daemon.wait_for(&self.id, "completed");
        assert_eq!(view["result"], "the end", "{view}");
        compare_with_spools(daemon, &self.id);
        assert_eq!(daemon.records_of(&self.id, "agent.unknown"), Vec::<Value>::new());
        assert_eq!(daemon.records_of(&self.id, "context.rebuilt"), Vec::<Value>::new());
        let done = self.list("done");
        for part in (0..self.parts).filter(|part| !self.struck.contains(part)) {
            let times = done.iter().filter(|one| **one == part).count();
            assert_eq!(times, 1, "part {part} of {}: {done:?}", self.id);
        }
        assert!(done.is_sorted(), "{done:?}");
    }
}

#[test]
fn random_kills_between_tool_calls_cost_no_work() {
    let kills = number("CC_EXECUTOR_SOAK_CLAUDE_KILLS", 8);
    let mut choices = Choices::from_environment();
    let api = MessagesApi::start();
    let mut daemon = with_claude_and(
        &api,
        &[
            // Restarts that are long past make the next one no later.
            ("CC_EXECUTOR__SUPERVISION__RESTART_PERIOD_SECONDS", "1"),
            ("CC_EXECUTOR__SUPERVISION__RESTARTS_TOTAL_MAX", "100000"),
        ],
    );
    // A kill moves a session on by two parts, or three where a part that was cut is not done again.
    let parts = 3 * kills.div_ceil(SESSIONS) + 1;
    let mut works: Vec<_> = (0..SESSIONS).map(|name| Work::begin(&daemon, name, parts)).collect();
    for kill in 0..kills {
        let work = &mut works[usize::try_from(kill % SESSIONS).expect("a small one")];
        let (victim, moment) = (choices.one_of(&Victim::with_bash_child()), choices.one_of(&MOMENTS));
        println!("{victim:?} {moment:?} in {}", work.id);
        work.strike(&mut daemon, victim, moment);
    }
    works.iter().for_each(|work| work.end(&daemon));
}
