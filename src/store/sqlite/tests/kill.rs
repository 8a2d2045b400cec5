//! Acknowledged is on disk: a child process appends and notes what was acknowledged, is killed, and all of it is there.
//!
//! The child is this test binary, run anew with one of these tests.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// Where the child works.
const DIRECTORY: &str = "CC_EXECUTOR_TEST_KILL_DIRECTORY";

/// Set where the child is to note appends before they are acknowledged.
const TOO_EARLY: &str = "CC_EXECUTOR_TEST_KILL_TOO_EARLY";

/// How many sessions the child writes at a time, each on a thread of its own.
const SESSIONS: usize = 4;

/// How long a child may take until it has written what it is killed after.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of what was acknowledged.
#[derive(Debug, Default, PartialEq, Eq)]
struct Losses {
    lost: usize,
    gaps: usize,
    doubled: usize,
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    // This test is its own child: the same binary, started with the folder to write to.
    if let Some(directory) = env::var_os(DIRECTORY) {
        be_the_child(Path::new(&directory));
    }
    let directory = Directory::default();
    for round in 1..=5 {
        kill_after(round * 400, &directory, start_child(&directory, None));
        assert_eq!(losses(&directory), Losses::default(), "after kill {round}");
    }
}

/// The control: who calls it acknowledged before it is committed does lose it, and the test above would tell.
#[test]
fn what_was_not_acknowledged_may_be_lost() {
    let directory = Directory::default();
    kill_after(40, &directory, start_child(&directory, Some(TOO_EARLY)));
    assert!(losses(&directory).lost > 0);
}

/// The child of the tests here: it appends until it is killed.
fn be_the_child(directory: &Path) -> ! {
    let too_early = env::var_os(TOO_EARLY).is_some();
    let observer: Arc<dyn Observer> = if too_early { Arc::new(Stuck) } else { Arc::new(()) };
    let store = SqliteStore::open(&directory.join("journal.sqlite3"), observer).unwrap();
    let noted = OpenOptions::new()
        .append(true)
        .create(true)
        .open(directory.join("noted"))
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| {
                if too_early {
                    note_early(&store, &noted)
                } else {
                    note_acknowledged(&store, &noted)
                }
            });
        }
    });
    unreachable!("its threads go on until they are killed")
}

/// An observer that never returns: after the first commit there is no other.
struct Stuck;

/// It has come to that.
static IS_STUCK: AtomicBool = AtomicBool::new(false);

impl Observer for Stuck {
    fn committed(&self, _: &crate::store::Commit) {
        IS_STUCK.store(true, Ordering::SeqCst);
        loop {
            thread::park();
        }
    }
}

fn note_acknowledged(store: &SqliteStore, noted: &File) {
    let id = new_session(store);
    loop {
        let entries = vec![said("hello"), said("world")];
        let commit = write(store, append(id, 0, None, entries));
        note(noted, id, commit.summary.head.0);
    }
}

fn note_early(store: &SqliteStore, noted: &File) {
    let id = SessionId::new();
    let _unanswered = store.create(id, created(), at());
    while !IS_STUCK.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    for seq in 2..100 {
        let _unanswered = store.append(notice(id, "hello"));
        note(noted, id, seq);
    }
    loop {
        thread::park();
    }
}

/// One short write to a file opened for appending: it is whole or not there, whoever is killed.
fn note(mut noted: &File, id: SessionId, seq: u64) {
    noted.write_all(format!("{id} {seq}\n").as_bytes()).unwrap();
}

fn start_child(directory: &Directory, further: Option<&str>) -> Child {
    let path = module_path!();
    let (_crate, module) = path.split_once("::").unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "--quiet"])
        .arg(format!("{module}::what_was_acknowledged_survives_a_kill"))
        .env(DIRECTORY, directory.0.path())
        .envs(further.map(|name| (name, "1")))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until so many appends were noted in all, then kills the child in whatever it does.
fn kill_after(lines: usize, directory: &Directory, mut child: Child) {
    let patient_until = Instant::now() + PATIENCE;
    while noted(directory).len() < lines {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        assert!(Instant::now() < patient_until, "the child is too slow");
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the child noted: session and number.
fn noted(directory: &Directory) -> Vec<(SessionId, u64)> {
    let text = fs::read_to_string(directory.0.path().join("noted")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(id, seq)| (id.parse().unwrap(), seq.parse().unwrap()))
        .collect()
}

fn losses(directory: &Directory) -> Losses {
    let store = directory.store();
    let mut heads = BTreeMap::new();
    for (id, seq) in noted(directory) {
        let head = heads.entry(id).or_insert(seq);
        *head = seq.max(*head);
    }
    let mut losses = Losses::default();
    for (id, head) in heads {
        let found = seqs(&journal(&store, id));
        losses.lost += (1..=head).filter(|seq| !found.contains(seq)).count();
        losses.gaps += found.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
        losses.doubled += found.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        let in_step = store.summary(id).unwrap().map(|summary| summary.head.0);
        assert_eq!(in_step, found.last().copied(), "the row is in step with the records");
    }
    losses
}
