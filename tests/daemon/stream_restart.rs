//! Streams over restarts of the daemon: readers come back where they were, of one session and of all.

use std::fs;

use serde_json::Value;

use crate::checks::whole_journal;
use crate::stream_load::Random;
use crate::support::daemon::TestDaemon;
use crate::support::events::{Event, Events};

/// How often the daemon is killed under its readers.
const KILLS: usize = 3;

/// Records between two kills, of each session.
const FLOOD: u64 = 800;

/// One who reads, and comes back with the last id that it has seen.
struct Reader {
    path: String,
    /// Whose records it looks for.
    sessions: Vec<String>,
    seen: Vec<(u64, Value)>,
    /// The journal that its ids belong to.
    epoch: Option<Value>,
}

impl Reader {
    fn new(path: String, sessions: &[&str]) -> Self {
        Self {
            path,
            sessions: sessions.iter().map(|id| (*id).to_owned()).collect(),
            seen: Vec::new(),
            epoch: None,
        }
    }

    /// Goes on where it was.
    fn connect(&mut self, daemon: &TestDaemon) -> Events {
        let mut events = daemon.stream(&self.path, self.seen.last().map(|(id, _)| *id));
        let hello = events.next().expect("a stream begins");
        assert_eq!((&*hello.event, &hello.data["resume"]), ("hello", &Value::from("ok")));
        let epoch = self.epoch.get_or_insert_with(|| hello.data["epoch"].clone());
        assert_eq!(*epoch, hello.data["epoch"], "it is the same journal");
        events
    }

    fn take(&mut self, events: impl Iterator<Item = Event>) {
        self.seen
            .extend(events.filter_map(|event| event.id.map(|id| (id, event.data))));
    }

    /// Reads until all its sessions have ended.
    fn read_to_the_end(&mut self, daemon: &TestDaemon) {
        let mut events = self.connect(daemon);
        while self.ended() < self.sessions.len() {
            let event = events.next().expect("it goes on until the end");
            self.take([event].into_iter());
        }
    }

    fn ended(&self) -> usize {
        let ends = self.seen.iter().filter(|(_, record)| record["kind"] == "session.ended");
        ends.count()
    }

    /// It has seen each record of its sessions once and in order, as they are kept.
    fn assert_whole(&self, daemon: &TestDaemon) {
        assert!(
            self.seen.is_sorted_by(|(one, _), (next, _)| one < next),
            "{}",
            self.path
        );
        for id in &self.sessions {
            let seen = self.seen.iter().map(|(_, record)| record);
            let seen = seen.filter(|record| record["session_id"] == **id);
            assert!(seen.eq(whole_journal(daemon, id).iter()), "{} of {id}", self.path);
        }
    }
}

#[test]
fn readers_go_on_over_deaths_of_the_daemon_without_gap_or_double() {
    let mut daemon = TestDaemon::start();
    let mut random = Random(20_270_131);
    let gate = |n: usize| daemon.root().join(format!("gate-{n}"));
    let gates: Vec<_> = (0..KILLS).map(gate).collect();
    let parts = gates
        .iter()
        .map(|gate| format!("flood {FLOOD} ;; wait-file {} ;; ", gate.display()));
    let task = parts.collect::<String>() + "say done";
    let sessions = [daemon.create(&task), daemon.create(&task)];
    let [one, other] = [&*sessions[0], &*sessions[1]];
    let of_session = |id: &str| format!("/execution/{id}/stream");
    let all = || "/events?after=0".to_owned();
    let mut readers = [
        Reader::new(of_session(one), &[one]),
        Reader::new(of_session(other), &[other]),
        Reader::new(all(), &[one, other]),
        Reader::new(all(), &[one, other]),
    ];
    for gate in &gates {
        let open: Vec<Events> = readers
            .iter_mut()
            .map(|reader| {
                let mut events = reader.connect(&daemon);
                let breath = 1 + random.below(FLOOD / 2) as usize;
                reader.take(events.by_ref().take(breath));
                events
            })
            .collect();
        daemon.kill();
        // What was under way when the daemon died counts as seen.
        for (reader, events) in readers.iter_mut().zip(open) {
            reader.take(events);
        }
        daemon.launch();
        fs::write(gate, "").expect("a gate opens");
    }
    for reader in &mut readers {
        reader.read_to_the_end(&daemon);
    }
    for id in &sessions {
        daemon.wait_for(id, "completed");
    }
    for reader in &readers {
        reader.assert_whole(&daemon);
    }
}
