//! Streams under load: a burst, slow readers, readers that come and go.

use std::fs;

use serde_json::json;

use crate::checks::{assert_each_once, assert_flood_is_journalled, ids, whole_journal};
use crate::support::daemon::TestDaemon;
use crate::support::events::Event;

/// Records of the burst.
const BURST: u64 = 20_000;

/// A small generator of numbers, so that a run can be repeated: xorshift with the shifts 13, 7, 17.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Reads a stream to the end of a session, hanging up every now and then.
fn read_with_breaks(daemon: &TestDaemon, path: &str, seed: u64) -> (Vec<u64>, u32) {
    let mut random = Random(seed);
    let (mut seen, mut connections) = (Vec::new(), 0);
    loop {
        connections += 1;
        let breath = 1 + random.below(4000) as usize;
        let cursor = seen.last().copied();
        let mut events = Vec::new();
        for event in daemon.stream(path, cursor).take(breath) {
            // The stream of all sessions goes on after it.
            let is_end = event.event == "session.ended";
            events.push(event);
            if is_end {
                break;
            }
        }
        assert_eq!(
            events.first().map(|hello| &hello.data["resume"]),
            Some(&json!("ok")),
            "seed {seed}"
        );
        seen.extend(ids(&events));
        if events.last().is_some_and(|event| event.event == "session.ended") {
            return (seen, connections);
        }
    }
}

#[test]
fn in_a_burst_every_reader_gets_every_record_once_and_in_order() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("wait-file {} ;; flood {BURST} 300", gate.display()));
    let path = format!("/execution/{id}/stream");
    // There is one session: where its records stand among all is where they stand in it.
    let all = "/events?after=0";
    let mut slow = [&path, all].map(|path| daemon.stream(path, None));
    let begun = slow.each_mut().map(|stream| stream.take(2).collect::<Vec<Event>>());
    std::thread::scope(|scope| {
        let readers: Vec<_> = [(&*path, 3), (&path, 17), (all, 4242)]
            .map(|(path, seed)| {
                let daemon = &daemon;
                scope.spawn(move || read_with_breaks(daemon, path, seed))
            })
            .into();
        fs::write(&gate, "").unwrap();
        let head = daemon.wait_for(&id, "completed")["head"].as_u64().unwrap();
        assert!(head > BURST);
        for reader in readers {
            let (seen, connections) = reader.join().unwrap();
            assert_each_once(&seen, head);
            assert!(connections > 1, "it did hang up");
        }
        // The slow ones have read nothing of the burst until now.
        for (stream, begun) in slow.into_iter().zip(&begun) {
            let begun = ids(begun);
            let rest = stream.filter_map(|event| event.id).take(head as usize - begun.len());
            assert_each_once(&begun.into_iter().chain(rest).collect::<Vec<u64>>(), head);
        }
    });
    assert_flood_is_journalled(&daemon, &whole_journal(&daemon, &id), 300);
}

#[test]
fn readers_that_stand_still_cost_no_memory() {
    const LINES: u64 = 15_000;
    const LINE_BYTES: u64 = 2048;
    const READERS: u64 = 4;
    let daemon = TestDaemon::start();
    let run = |readers: u64| {
        let gate = daemon.root().join(format!("gate-{readers}"));
        let id = daemon.create(&format!("wait-file {} ;; flood {LINES} {LINE_BYTES}", gate.display()));
        let path = format!("/execution/{id}/stream");
        let stalled: Vec<_> = (0..readers)
            .map(|_| {
                let mut reader = daemon.stream(&path, None);
                assert_eq!(reader.next().unwrap().event, "hello");
                reader
            })
            .collect();
        fs::write(gate, "").unwrap();
        let head = daemon.wait_for(&id, "completed")["head"].as_u64().unwrap();
        (stalled, head)
    };
    // What a flood leaves behind in allocators and caches is there before it is measured.
    run(0);
    let before = daemon.memory();
    let (stalled, head) = run(READERS);
    let grown = daemon.memory().saturating_sub(before);
    let owed = READERS * LINES * LINE_BYTES;
    assert!(
        grown < owed / 4,
        "{grown} bytes more for readers that are owed {owed}: what they have not read is kept for them"
    );
    for reader in stalled {
        let seen: Vec<u64> = reader.filter_map(|event| event.id).collect();
        assert_each_once(&seen, head);
    }
}
