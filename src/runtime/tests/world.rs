//! A daemon in simulated time, and what its tests ask of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actix::Arbiter;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::agent::Script;
use super::host::{Machine, SimulatedHosts};
use crate::agent::launch;
use crate::runtime::handle::Handle;
use crate::runtime::new_session::{EnvironmentBase, NewSession};
use crate::runtime::outside::{Clock, Outside, Threads};
use crate::runtime::refusal::CallError;
use crate::runtime::settings::RuntimeSettings;
use crate::runtime::{Publisher, Runtime};
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::journal::{AttemptEnd, Entry, RetryScheduled, Text};
use crate::session::message::Message;
use crate::session::outcome::Outcome;
use crate::session::request::Request;
use crate::session::summary::Summary;
use crate::store::memory::{Fault, MemoryStore};
use crate::store::{Append, Catalogue, Commit, Filter, Journal, Observer, PAGE_RECORDS_MAX, SpoolSpan, Store};

/// The wall clock when a world begins, in seconds.
const BEGINNING: i64 = 1_800_000_000;

/// How long, in simulated time, anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(10 * 24 * 3600);

/// How soon a daemon's death is noticed.
const DEATH_LOOK: Duration = Duration::from_millis(200);

pub(super) const SECOND: SignedDuration = SignedDuration::from_secs(1);
pub(super) const MINUTE: SignedDuration = SignedDuration::from_mins(1);
pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Runs a test in simulated time: everything on one thread, whose clock moves on when nobody has anything to do.
pub(super) fn simulate(test: impl Future<Output = ()>) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime starts")
    };
    actix::System::with_tokio_rt(runtime).block_on(test);
}

/// Lets simulated time pass.
pub(super) async fn pass(time: SignedDuration) {
    tokio::time::sleep(Duration::try_from(time).expect("a positive time")).await;
}

/// A machine with a daemon on it.
pub(super) struct World {
    pub(super) machine: Arc<Machine>,
    pub(super) settings: RuntimeSettings,
    clock: Clock,
    /// How far the wall clock was set ahead, in milliseconds.
    ahead_ms: Arc<AtomicI64>,
    daemon: Daemon,
    /// Reads what is on disk, whatever has become of the daemon's own store.
    disk: MemoryStore,
    directory: TempDir,
}

/// One life of the daemon.
struct Daemon {
    runtime: Runtime,
    store: Arc<MemoryStore>,
    commits: watch::Receiver<u64>,
    died: watch::Sender<bool>,
}

/// Counts the commits, after the runtime was told of each.
struct Eyes {
    publisher: Publisher,
    commits: watch::Sender<u64>,
}

impl Observer for Eyes {
    fn committed(&self, commit: &Commit) {
        self.publisher.committed(commit);
        self.commits.send_modify(|commits| *commits += 1);
    }
}

/// Observes nothing.
struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _: &Commit) {}
}

impl World {
    /// The hosts that serve a link stand still from now on.
    pub(super) fn stops_hosts(&self) {
        self.machine.stops_hosts();
    }

    /// The hosts that are reached from now on are those of a newer daemon.
    pub(super) fn upgrades_hosts(&self) {
        self.machine.upgrades_hosts();
    }

    /// A world with the default settings, in which every agent plays this script.
    pub(super) fn new(script: Script) -> Self {
        Self::with(script, |_| {})
    }

    pub(super) fn with(script: Script, change: impl FnOnce(&mut RuntimeSettings)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let transcripts = directory.path().join("home/.claude/projects/p");
        std::fs::create_dir_all(&transcripts).expect("a home");
        let (clock, ahead_ms) = wall_clock();
        let mut settings = settings(directory.path().to_owned());
        change(&mut settings);
        let disk = MemoryStore::new(Arc::new(Nobody));
        let seen = disk.reopen(Arc::new(Nobody));
        let machine = Arc::new(Machine::new(script, clock.clone(), seen, transcripts));
        let daemon = Daemon::start(&disk, &machine, &settings, &clock);
        Self {
            machine,
            settings,
            clock,
            ahead_ms,
            daemon,
            disk,
            directory,
        }
    }

    pub(super) fn handle(&self) -> Handle {
        self.daemon.runtime.handle()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Kills every agent.
    pub(super) fn kill_agents(&self) {
        self.machine.kill_agents();
    }

    /// From now on no agent's stdin takes a longer line.
    pub(super) fn keeps_pipes_small(&self, bytes: usize) {
        self.machine.keeps_pipes_small(bytes);
    }

    /// From now on executions panic when they reach for a host, or do so no more.
    pub(super) fn makes_hosts_deadly(&self, deadly: bool) {
        self.machine.makes_hosts_deadly(deadly);
    }

    /// From now on no agent host can be had, nor reached.
    pub(super) fn loses_hosts(&self) {
        self.machine.loses_hosts();
    }

    /// Agent hosts can be had again; how often one was asked for in vain.
    pub(super) fn has_hosts_again(&self) -> u32 {
        self.machine.has_hosts_again()
    }

    /// Somebody else journals all that the agent of the first attempt has written so far, as one notice.
    pub(super) async fn is_overtaken(&self, id: SessionId) {
        let attempt = Attempt(1);
        let span = SpoolSpan {
            from: self.summary(id).through_offset,
            through: self.machine.spool_bytes((id, attempt)),
        };
        let text = "written by another".to_owned();
        let append = Append {
            session_id: id,
            attempt,
            span: Some(span),
            at: self.now(),
            entries: vec![Entry::Notice(Text { text })],
        };
        let written = self.daemon.store.append(append).await;
        written.expect("the store answers").expect("it is not refused");
    }

    /// What the journal has of one kind.
    pub(super) fn told<T>(&self, id: SessionId, pick: impl Fn(Entry) -> Option<T>) -> Vec<T> {
        let journal = self.journal(id).into_iter();
        journal.filter_map(|(_, entry)| pick(entry)).collect()
    }

    /// What the journal tells a person.
    pub(super) fn notices(&self, id: SessionId) -> Vec<String> {
        self.told(id, |entry| match entry {
            Entry::Notice(notice) => Some(notice.text),
            _ => None,
        })
    }

    /// The machine sleeps: its wall clock goes on, its monotonic one does not. Less than no time sets the clock back.
    pub(super) fn sleeps(&self, time: SignedDuration) {
        let ms = i64::try_from(time.as_millis()).expect("a short sleep");
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Asks for a session.
    pub(super) async fn create(&self, change: impl FnOnce(&mut Request)) -> SessionId {
        let created = self.try_create(change).await;
        created.expect("the session is accepted").session_id
    }

    pub(super) async fn try_create(&self, change: impl FnOnce(&mut Request)) -> Result<Arc<Summary>, CallError> {
        self.handle().create(self.new_session(change)).await
    }

    pub(super) fn new_session(&self, change: impl FnOnce(&mut Request)) -> NewSession {
        let mut request = Request {
            task: "Say some lines.".into(),
            cwd: self.directory.path().into(),
            ..Request::default()
        };
        change(&mut request);
        NewSession {
            request,
            env: Some(BTreeMap::new()),
            base: EnvironmentBase::Nothing,
            by: "a test".to_owned(),
            claim: None,
            asker: None,
        }
    }

    /// Lets the n-th commit of this daemon from now go wrong.
    pub(super) fn fail_at(&self, nth: u64, fault: Fault) {
        self.daemon.store.fail_at(nth, fault);
    }

    /// Gives the acknowledgements that a fault has held back.
    pub(super) fn acknowledge(&self) {
        self.daemon.store.acknowledge();
    }

    /// The id of a conversation that was begun outside.
    pub(super) fn conversation_from_outside(&self) -> Uuid {
        self.machine.begins_conversation()
    }

    /// The daemon dies, if it has not yet, and another one takes over.
    pub(super) fn restart(&mut self) {
        self.daemon.store.close();
        self.daemon.died.send_replace(true);
        self.daemon = Daemon::start(&self.disk, &self.machine, &self.settings, &self.clock);
    }

    /// What the next daemon is set to.
    pub(super) fn sets(&mut self, change: impl FnOnce(&mut RuntimeSettings)) {
        change(&mut self.settings);
    }

    /// The machine is off for so long: nothing on it lives, and a daemon starts with it.
    pub(super) async fn is_off_for(&mut self, time: SignedDuration) {
        self.machine.kill_agents();
        self.is_without_daemon_for(time).await;
    }

    /// The daemon dies, and another one takes over after so long.
    pub(super) async fn is_without_daemon_for(&mut self, time: SignedDuration) {
        self.daemon.store.close();
        self.daemon.died.send_replace(true);
        pass(time).await;
        self.daemon = Daemon::start(&self.disk, &self.machine, &self.settings, &self.clock);
    }

    /// The session on this machine, if there is one.
    pub(super) fn only_session(&self) -> Option<SessionId> {
        let sessions = self.disk.find(&Filter::default(), None, 2).expect("it is readable");
        assert!(sessions.len() < 2, "one session was asked for: {sessions:?}");
        sessions.first().map(|summary| summary.session_id)
    }

    pub(super) fn summary(&self, id: SessionId) -> Summary {
        let summary = self.disk.summary(id).expect("the disk is readable");
        summary.expect("the session is on disk")
    }

    /// Waits until the session looks like this on disk.
    pub(super) async fn until(&self, id: SessionId, look: impl Fn(&Summary) -> bool) -> Summary {
        let mut commits = self.daemon.commits.clone();
        let looking = async {
            loop {
                let summary = self.summary(id);
                if look(&summary) {
                    return summary;
                }
                // A store that failed commits nothing any more; then the time runs out.
                if commits.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, looking).await;
        waited.unwrap_or_else(|_| panic!("waited in vain:\n{}", self.story(id)))
    }

    /// Waits until the session is shown in this state.
    pub(super) async fn shown(&self, id: SessionId, state: &str) -> Summary {
        self.until(id, |summary| summary.shown_state().name() == state).await
    }

    /// Waits until the session has ended, and holds what it says against what its agents have said: every line once
    /// and in order.
    pub(super) async fn ended(&self, id: SessionId) -> (Outcome, Summary) {
        let summary = self
            .until(id, |summary| summary.lifecycle.state.outcome().is_some())
            .await;
        let outcome = summary.lifecycle.state.outcome().expect("it was waited for");
        let lines = self.lines(id);
        let expected: Vec<_> = (1..=lines.len()).map(|line| format!("line {line}")).collect();
        assert_eq!(lines, expected, "{}", self.story(id));
        (outcome, summary)
    }

    /// Waits for the end of the session, or of the daemon by a fault; whether it was the session's. Nobody is told of a
    /// death of the process, so that is looked for.
    pub(super) async fn ended_before_fault(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            if self.daemon.store.last_id().is_err() {
                return false;
            }
            let outcome = self
                .only_session()
                .and_then(|id| self.summary(id).lifecycle.state.outcome());
            if outcome.is_some() {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain");
            tokio::select! {
                _ = self.daemon.runtime.failed() => return false,
                () = tokio::time::sleep(DEATH_LOOK) => {}
            }
        }
    }

    /// How the agent of an attempt was started.
    pub(super) fn argv(&self, id: SessionId, attempt: u32) -> Vec<String> {
        let plan = launch::plan(&self.settings.attempt_directory(id, Attempt(attempt)));
        plan.expect("the plan is readable")
            .expect("the attempt was prepared")
            .argv
    }

    /// The session's records: when, and what.
    pub(super) fn journal(&self, id: SessionId) -> Vec<(Timestamp, Entry)> {
        let mut journal = Vec::new();
        let mut last = Seq::default();
        loop {
            let page = self
                .disk
                .records(id, last, PAGE_RECORDS_MAX)
                .expect("the disk is readable");
            let Some(end) = page.last() else { return journal };
            last = end.seq;
            let read = page
                .iter()
                .map(|record| (record.at, record.entry().expect("a readable record").clone()));
            journal.extend(read);
        }
    }

    /// The texts that the journal has of its agents.
    pub(super) fn lines(&self, id: SessionId) -> Vec<String> {
        self.told(id, |entry| match entry {
            Entry::AgentMessage(said) => match said.message {
                Message::Text { text, .. } => Some(text),
                _ => None,
            },
            _ => None,
        })
    }

    /// How its attempts ended, by the endings' names.
    pub(super) fn endings(&self, id: SessionId) -> Vec<&'static str> {
        self.ends(id).iter().map(|end| end.ending.name()).collect()
    }

    pub(super) fn ends(&self, id: SessionId) -> Vec<AttemptEnd> {
        self.told(id, |entry| match entry {
            Entry::AttemptEnded(end) => Some(end),
            _ => None,
        })
    }

    /// How long it was told to wait before each next attempt.
    pub(super) fn delays(&self, id: SessionId) -> Vec<SignedDuration> {
        let delay = |(now, entry)| match entry {
            Entry::RetryScheduled(RetryScheduled { at, .. }) => Some(at.duration_since(now)),
            _ => None,
        };
        self.journal(id).into_iter().filter_map(delay).collect()
    }

    /// The end of the journal, for a person.
    fn story(&self, id: SessionId) -> String {
        let journal = self.journal(id);
        let last = journal.iter().rev().take(30).rev();
        last.map(|(at, entry)| format!("{at} {entry:?}\n")).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (complaints, alive) = (self.machine.complaints(), self.machine.alive());
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert!(alive.is_empty(), "still alive: {alive:?}");
    }
}

impl Daemon {
    fn start(disk: &MemoryStore, machine: &Arc<Machine>, settings: &RuntimeSettings, clock: &Clock) -> Self {
        let (publisher, (sender, commits)) = (Publisher::default(), watch::channel(0));
        let eyes = Arc::new(Eyes {
            publisher,
            commits: sender,
        });
        let store = Arc::new(disk.reopen(Arc::<Eyes>::clone(&eyes)));
        let (died, has_died) = watch::channel(false);
        let hosts = SimulatedHosts {
            machine: Arc::clone(machine),
            died: has_died,
        };
        let outside = Outside {
            clock: clock.clone(),
            hosts: Arc::new(hosts),
        };
        let threads = Threads {
            own: Arbiter::current(),
            executions: vec![Arbiter::current()],
        };
        let known: Arc<dyn Store> = Arc::<MemoryStore>::clone(&store);
        let started = Runtime::start_on(threads, settings.clone(), outside, known, &eyes.publisher);
        Self {
            runtime: started.expect("the store is readable"),
            store,
            commits,
            died,
        }
    }
}

/// A wall clock that goes with tokio's, and how far it is ahead.
fn wall_clock() -> (Clock, Arc<AtomicI64>) {
    let beginning = Timestamp::from_second(BEGINNING).expect("a time");
    let (started, ahead_ms) = (Instant::now(), Arc::new(AtomicI64::new(0)));
    let ahead = Arc::clone(&ahead_ms);
    let clock = Clock::reading(move || {
        let elapsed = SignedDuration::try_from(started.elapsed()).expect("a few days");
        beginning + elapsed + SignedDuration::from_millis(ahead.load(Ordering::Relaxed))
    });
    (clock, ahead_ms)
}

/// What is on by default, but for checkpoints: a look at the directory's git repository starts a process, which is
/// real time.
fn settings(state: PathBuf) -> RuntimeSettings {
    let home = state.join("home").to_string_lossy().into_owned();
    RuntimeSettings {
        state: state.clone(),
        sessions: state.join("sessions"),
        sockets: state.join("sockets"),
        locks: state.join("locks"),
        agent_command: vec!["2.1.330".to_owned()],
        agent_env: [("HOME".to_owned(), home)].into(),
        attempt: super::silence::attempt_settings(),
        live_agents_max: 4,
        queued_sessions_max: 100,
        ..RuntimeSettings::for_tests()
    }
}
