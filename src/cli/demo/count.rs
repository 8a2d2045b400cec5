//! Counting: what the agent says that it wrote, against what was seen of it.
//!
//! The agent's own ledger names every line by its uuid. Lines that are messages have a record each, which carries the
//! same uuid; lines that are partial text or signals between agent and daemon have none.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::exit::Failure;

/// Types of lines that are messages. Of `system` lines only the one that begins a turn is.
const MESSAGE_TYPES: [&str; 3] = ["assistant", "user", "result"];

/// What was seen of some messages, against what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// How many were seen, each counted once.
    pub(super) seen: usize,
    /// How many were written and not seen.
    pub(super) lost: usize,
    /// How many times one was seen again.
    pub(super) doubled: usize,
    /// How many were seen that nobody wrote.
    pub(super) foreign: usize,
    /// How many were seen behind one that was written later.
    pub(super) out_of_order: usize,
}

impl Tally {
    /// Each once and in order, and nothing else.
    pub(super) fn is_whole(&self) -> bool {
        (self.lost, self.doubled, self.foreign, self.out_of_order) == (0, 0, 0, 0)
    }
}

/// Holds what was seen against what was written.
pub(super) fn compare<T: Eq + std::hash::Hash>(written: &[T], seen: &[T]) -> Tally {
    let place: HashMap<&T, usize> = written.iter().enumerate().map(|(at, name)| (name, at)).collect();
    let mut result = Tally::default();
    let mut found = HashSet::new();
    let mut furthest = None;
    for name in seen {
        let Some(at) = place.get(name).copied() else {
            result.foreign += 1;
            continue;
        };
        if !found.insert(at) {
            result.doubled += 1;
        } else if furthest.is_some_and(|furthest| at < furthest) {
            result.out_of_order += 1;
        }
        furthest = furthest.max(Some(at));
    }
    result.seen = found.len();
    result.lost = written.len() - found.len();
    result
}

/// How many records a stream has left out, repeated or given in another order: they are numbered from 1 without gaps.
pub(super) fn misnumbered(seqs: &[u64]) -> usize {
    seqs.iter()
        .zip(1..)
        .filter(|(seq, expected)| **seq != *expected)
        .count()
}

/// The lines that a ledger says are out: those up to the last `written` of their process.
pub(super) fn read_ledger(ledger: &str) -> Result<Vec<String>, Failure> {
    let torn = || Failure::Failed("the agent's ledger cannot be read".to_owned());
    let mut begun: Vec<(u32, u64, &str)> = Vec::new();
    let mut through: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in ledger.lines() {
        let words: Vec<&str> = entry.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).ok_or_else(torn);
        let pid = u32::try_from(number(1)?).map_err(|_| torn())?;
        match words.first() {
            Some(&"begin") => begun.push((pid, number(2)?, words.get(3).ok_or_else(torn)?)),
            Some(&"written") => drop(through.insert(pid, number(2)?)),
            _ => return Err(torn()),
        }
    }
    let is_out = |(pid, line, _): &&(u32, u64, &str)| through.get(pid).is_some_and(|last| line <= last);
    Ok(begun
        .iter()
        .filter(is_out)
        .map(|(_, _, name)| (*name).to_owned())
        .collect())
}

/// The lines of the agent's output that have a uuid, each with whether it is a message: told by its type alone, so
/// that the daemon's own decoder has no say in it.
pub(super) fn read_spool(spool: &str) -> Result<Vec<(Uuid, bool)>, Failure> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        subtype: String,
        #[serde(default)]
        uuid: Option<Uuid>,
    }
    let mut lines = Vec::new();
    for line in spool.lines() {
        let line: Line = serde_json::from_str(line)
            .map_err(|error| Failure::Failed(format!("a line of the agent is not JSON: {error}")))?;
        let begins_turn = line.kind == "system" && line.subtype == "init";
        let is_message = begins_turn || MESSAGE_TYPES.contains(&line.kind.as_str());
        lines.extend(line.uuid.map(|uuid| (uuid, is_message)));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: [u8; 5] = [1, 2, 3, 4, 5];

    fn seen(seen: &[u8]) -> Tally {
        compare(&WRITTEN, seen)
    }

    #[test]
    fn each_once_and_in_order_is_whole() {
        assert!(seen(&WRITTEN).is_whole());
        assert_eq!(seen(&WRITTEN).seen, 5);
    }

    #[test]
    fn a_lost_line_is_found() {
        let count = seen(&[1, 2, 4, 5]);
        assert_eq!((count.seen, count.lost, count.doubled), (4, 1, 0));
        assert!(!count.is_whole());
        assert_eq!(seen(&[]).lost, 5);
    }

    #[test]
    fn a_doubled_line_is_found() {
        let count = seen(&[1, 2, 3, 3, 4, 5]);
        assert_eq!((count.seen, count.lost, count.doubled), (5, 0, 1));
        assert!(!count.is_whole());
        assert_eq!(seen(&[1, 2, 3, 4, 5, 2]).doubled, 1, "however late it comes again");
    }

    #[test]
    fn a_line_nobody_wrote_and_one_out_of_order_are_found() {
        assert_eq!(seen(&[1, 2, 9, 3, 4, 5]).foreign, 1);
        assert_eq!(seen(&[1, 3, 2, 4, 5]).out_of_order, 1);
    }

    #[test]
    fn records_are_numbered_without_gaps() {
        assert_eq!(misnumbered(&[1, 2, 3]), 0);
        assert_eq!(misnumbered(&[1, 3]), 1);
        assert_eq!(misnumbered(&[1, 1, 2]), 2);
    }

    #[test]
    fn a_ledger_counts_what_is_out_of_every_process() {
        let ledger =
            "begin 7 1 a 10\nbegin 7 2 fnv1a:00 10\nwritten 7 2\nbegin 7 3 lost 10\nbegin 8 1 b 5\nwritten 8 1\n";
        assert_eq!(read_ledger(ledger).unwrap(), ["a", "fnv1a:00", "b"]);
        assert!(read_ledger("begin 7 1").is_err());
    }

    #[test]
    fn messages_are_told_from_signals_by_their_type() {
        let id = |n| Uuid::from_u128(n);
        let line = |kind: &str, n| format!("{{\"type\":{kind},\"uuid\":\"{}\"}}\n", id(n));
        let spool = line("\"system\",\"subtype\":\"init\"", 1)
            + &line("\"stream_event\"", 2)
            + &line("\"system\",\"subtype\":\"status\"", 3)
            + &line("\"assistant\"", 4)
            + &line("\"result\",\"subtype\":\"success\"", 5);
        let expected = [
            (id(1), true),
            (id(2), false),
            (id(3), false),
            (id(4), true),
            (id(5), true),
        ];
        assert_eq!(read_spool(&spool).unwrap(), expected);
    }
}
