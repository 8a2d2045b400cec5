//! What stands around an attempt in the walk: its journal, its host and agent, its timers, and what it has asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use self::orders::Chunk;
pub(super) use self::orders::Event;
use super::agent::Agent;
use crate::agent_host::protocol::{AgentExit, FromHost, ToHost};
use crate::attempt::state::{Link, State};
use crate::attempt::{
    Assignment, Attempt, AttemptInput, AttemptReport, AttemptSettings, AttemptTimer, Command, Moment,
};
use crate::session::id::{Attempt as Number, QuestionId, SessionId};
use crate::session::journal::{AttemptEnd, Entry};
use crate::session::request::Request;
use crate::session::samples::{attempt_started, created, state_changed};
use crate::session::stall::StallTimeouts;
use crate::session::state::StateName;
use crate::session::summary::Summary;
use crate::store::SpoolSpan;

mod deeds;
mod orders;

const SIGKILL: i32 = 9;

/// A link to the host, as the host has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// What is to be sent of the spool, from here to there.
    reading: Option<(u64, u64)>,
    /// Lines that it is to write.
    pub stdin: VecDeque<(u64, String)>,
    /// What it has said, and nobody has heard.
    says: VecDeque<FromHost>,
    has_told_exit: bool,
    /// It closes the link.
    is_leaving: bool,
    /// It says, hears and does nothing any more.
    is_still: bool,
    /// Messages and answers that were told on this link.
    pub told: BTreeSet<String>,
}

impl Host {
    fn can_write(&self) -> bool {
        !self.is_still && !self.stdin.is_empty()
    }

    fn can_say(&self) -> bool {
        !self.is_still && !self.says.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub attempt: Attempt,
    task: Assignment,
    /// The journal.
    pub summary: Arc<Summary>,
    pub entries: Arc<Vec<Entry>>,
    /// Differs where these differ.
    journal: u64,
    /// Handed to the store and not on disk.
    pub queue: VecDeque<(Option<SpoolSpan>, Vec<Entry>)>,
    /// On disk, and the attempt has not heard of it.
    pub acknowledgements: VecDeque<Arc<Summary>>,
    /// The newest state of the journal that the attempt was told.
    pub heard: Arc<Summary>,
    news: Option<Arc<Summary>>,
    pub agent: Agent,
    pub host: Option<Host>,
    asked_for: VecDeque<Command>,
    timers: BTreeMap<AttemptTimer, Duration>,
    running: Duration,
    has_begun: bool,
    is_stopped: bool,
    /// Nothing else was to end the agent when it was stopped.
    pub is_to_stop: bool,
    /// The attempt was told that the agent has ended.
    pub knows_of_exit: bool,
    /// Through which byte the attempt has read.
    pub position: u64,
    /// Through which byte any host has sent the spool.
    sent: u64,
    last_bytes: Option<(u64, u64)>,
    last_message: Option<FromHost>,
    pub write_ids: BTreeSet<u64>,
    /// How many daemons there were.
    pub daemons: u32,
    /// Answers that were told to the agent on any link, by any daemon, and that it may have.
    pub answers_told: BTreeSet<QuestionId>,
    /// How often one was told.
    pub tellings: u32,
    pub end: Option<AttemptEnd>,
    pub has_left: bool,
    /// Messages of which partial text was shown.
    pub shown: BTreeSet<String>,
    events: Vec<Event>,
}

fn settings() -> AttemptSettings {
    let minute = Duration::from_secs(60);
    AttemptSettings {
        stop_grace: Duration::from_secs(10),
        term_grace: Duration::from_secs(5),
        stall: StallTimeouts {
            first_message: minute,
            headers: minute,
            stream: minute,
            tool: minute,
            mcp_tool: minute,
        },
        quota_hold: minute,
        api_hold: minute,
        login_hold: SignedDuration::from_mins(5),
        checkpoint_interval: Duration::MAX,
        background_grace: minute,
        timers_max: SignedDuration::from_hours(1),
    }
}

fn at(running: Duration) -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time") + running
}

impl World {
    pub(super) fn new() -> Self {
        let created = created("tidy up");
        let session_id: SessionId = "00000000-0000-7000-8000-000000000001".parse().expect("an id");
        let mut summary = Summary::new(session_id, &created, at(Duration::ZERO));
        let request = Arc::new(Request::clone(&created.request));
        let begins = [
            Entry::SessionCreated(Box::new(created)),
            attempt_started(1),
            state_changed(StateName::Queued, StateName::Starting),
        ];
        begins.iter().for_each(|entry| summary.apply(entry, at(Duration::ZERO)));
        let summary = Arc::new(summary);
        let task = Assignment {
            session_id,
            attempt: Number(1),
            request,
            summary: Arc::clone(&summary),
            end_with: None,
        };
        let now = Moment {
            wall: at(Duration::ZERO),
            running: Duration::ZERO,
            fresh: Uuid::nil(),
        };
        Self {
            attempt: Attempt::new(task.clone(), settings(), now),
            task,
            heard: Arc::clone(&summary),
            summary,
            entries: Arc::default(),
            journal: 0,
            queue: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            news: None,
            agent: Agent::default(),
            host: None,
            asked_for: VecDeque::new(),
            timers: BTreeMap::new(),
            running: Duration::ZERO,
            has_begun: false,
            is_stopped: false,
            is_to_stop: false,
            knows_of_exit: false,
            position: 0,
            sent: 0,
            last_bytes: None,
            last_message: None,
            write_ids: BTreeSet::new(),
            daemons: 1,
            answers_told: BTreeSet::new(),
            tellings: 0,
            end: None,
            has_left: false,
            shown: BTreeSet::new(),
            events: Vec::new(),
        }
    }

    /// Differs where anything differs on which the rest of a run depends.
    pub(super) fn fingerprint(&self) -> u64 {
        let attempt = &self.attempt;
        let (parts, counts) = (
            (&attempt.state, &attempt.intake, &attempt.outbox, &attempt.clocks),
            (
                attempt.appends,
                attempt.host_asked,
                &attempt.checkpoints,
                &attempt.meter,
            ),
        );
        let place = |summary: &Arc<Summary>| (summary.head, summary.through_offset);
        let told: Vec<_> = self.acknowledgements.iter().chain(&self.news).map(place).collect();
        let disk = (place(&attempt.summary), place(&self.heard), told, &self.queue);
        let around = (&self.host, &self.asked_for, &self.timers, &self.end, &self.answers_told);
        let flags = (self.has_begun, self.has_left, self.daemons, self.tellings);
        let ends = (
            self.is_stopped,
            self.is_to_stop,
            self.knows_of_exit,
            self.agent.is_deaf,
            &self.shown,
        );
        let agent = (
            &self.agent.exit,
            self.agent.spool.len(),
            &self.last_bytes,
            &self.last_message,
        );
        let mut hasher = DefaultHasher::new();
        self.journal.hash(&mut hasher);
        (self.position, self.sent, self.running).hash(&mut hasher);
        format!("{parts:?} {counts:?} {disk:?} {around:?} {flags:?} {ends:?} {agent:?}").hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn state(&self) -> &'static str {
        match self.attempt.state {
            State::Open(Link::Reaching(_)) => "Reaching",
            State::Open(Link::Greeting(_)) => "Greeting",
            State::Open(Link::Talking(_)) => "Working",
            State::Closing(..) => "Closing",
            State::Released => "Released",
        }
    }

    /// What has happened so far, for a person.
    pub(super) fn story(&self) -> String {
        format!("{:?}\n{:?}", self.events, self.attempt.state)
    }

    pub(super) fn take(&mut self, event: Event) {
        self.events.push(event.clone());
        match event {
            Event::Begin => {
                self.has_begun = true;
                self.step(AttemptInput::Begin);
            }
            Event::Commit => self.commit(),
            Event::Acknowledge { is_last } => {
                let acknowledgements = &mut self.acknowledgements;
                let heard = if is_last {
                    acknowledgements.pop_back()
                } else {
                    acknowledgements.pop_front()
                };
                let heard = heard.expect("there is one");
                self.hears_of(&heard);
                self.step(AttemptInput::Committed(heard));
            }
            Event::News => {
                let news = self.news.take().expect("there are some");
                self.hears_of(&news);
                self.step(AttemptInput::Journal(news));
            }
            Event::OldNews => self.step(AttemptInput::Journal(Arc::clone(&self.task.summary))),
            Event::Write => {
                let (id, line) = self.host_mut().stdin.pop_front().expect("there is one");
                self.host_mut().says.push_back(FromHost::Written { id });
                self.agent.hear(&line);
                self.tell_exit();
            }
            Event::Refuse => self.refuse(),
            Event::Say => self.say(),
            Event::Freeze => self.host_mut().is_still = true,
            Event::SayAgain => {
                let again = self.last_message.clone().expect("there is one");
                self.step(AttemptInput::Host(again));
            }
            Event::Bytes(chunk) => self.send_bytes(chunk),
            Event::Done => self.does(true),
            Event::DoneOtherwise => self.does(false),
            Event::Answer => self.answer(),
            Event::Tick(timer) => {
                if let Some(at) = self.timers.remove(&timer) {
                    self.running = self.running.max(at);
                }
                self.step(AttemptInput::Tick(timer));
            }
            Event::LoseLink => {
                (self.host, self.last_message, self.last_bytes) = (None, None, None);
                self.step(AttemptInput::LinkLost);
            }
            Event::Kill => {
                self.agent.dies_after(self.sent);
                self.tell_exit();
            }
            Event::Deafen => self.agent.is_deaf = true,
            Event::Die => self.die(),
            Event::Stop => {
                self.is_stopped = true;
                self.is_to_stop |= !matches!(self.attempt.state, State::Closing(..) | State::Released);
                self.step(AttemptInput::Stop);
            }
        }
    }

    fn step(&mut self, input: AttemptInput<'_>) {
        let told = self.entries.len() + self.queue.len();
        let now = Moment {
            wall: at(self.running),
            running: self.running,
            fresh: Uuid::from_u128(100 + told as u128),
        };
        let head = self.attempt.summary.head;
        let commands = self.attempt.step(input, now);
        assert!(
            self.attempt.summary.head >= head,
            "it never goes back to an older state: {}",
            self.story()
        );
        for command in commands {
            self.check(&command);
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Append { span, entries } => self.queue.push_back((span, entries)),
            Command::Tell(message) => self.host_hears(message),
            Command::Read { from, through } => self.host_mut().reading = Some((from, through)),
            Command::Arm(timer, after) => drop(self.timers.insert(timer, self.running + after)),
            Command::Disarm(timer) => drop(self.timers.remove(&timer)),
            Command::KillHosts => {
                if let Some(host) = &mut self.host {
                    host.is_leaving = true;
                }
            }
            Command::Ping if self.host.as_ref().is_some_and(|host| !host.is_still) => self.step(AttemptInput::Heard),
            Command::Report(AttemptReport::Over(end)) => self.end = Some(end),
            Command::Report(AttemptReport::Up) => {
                let entry = state_changed(StateName::Starting, StateName::Running);
                self.write(None, vec![entry]);
            }
            Command::Leave => self.has_left = true,
            Command::Connect
            | Command::Look(_)
            | Command::EndEverything
            | Command::AskAwaited(_)
            | Command::LookAtGit
            | Command::KeepInFile { .. } => self.asked_for.push_back(command),
            Command::Show { .. } | Command::Log(_) | Command::Ping | Command::Report(AttemptReport::Found { .. }) => {}
        }
    }

    fn host_hears(&mut self, message: ToHost) {
        if self.host_mut().is_still {
            return;
        }
        match message {
            ToHost::Write { id, line } => self.host_mut().stdin.push_back((id, line)),
            ToHost::Window { through } => {
                if let Some((_, limit)) = &mut self.host_mut().reading {
                    *limit = through;
                }
            }
            ToHost::Signal { signal } => {
                if signal == SIGKILL || !self.agent.is_deaf {
                    self.agent.exit.get_or_insert(AgentExit::Signal { signal });
                    self.tell_exit();
                }
            }
            ToHost::CountChildren => {
                let (count, youngest_ms) = (0, None);
                self.host_mut()
                    .says
                    .push_back(FromHost::Children { count, youngest_ms });
            }
            ToHost::EndLeftovers => {
                let processes = Vec::new();
                self.host_mut().says.push_back(FromHost::LeftoversEnded { processes });
            }
            ToHost::Release => self.host_mut().is_leaving = true,
            ToHost::Read { .. } | ToHost::Nudge => {}
        }
    }

    fn host_mut(&mut self) -> &mut Host {
        self.host.as_mut().expect("there is a link")
    }

    /// A host says that its agent has ended, once on each link that it serves.
    fn tell_exit(&mut self) {
        let spool_bytes = self.agent.spool.len() as u64;
        let Some(exit) = self.agent.exit.clone() else { return };
        if let Some(host) = &mut self.host
            && !std::mem::replace(&mut host.has_told_exit, true)
        {
            host.says.push_back(FromHost::Exited {
                exit,
                spool_bytes,
                stderr_tail: String::new(),
            });
        }
    }

    fn commit(&mut self) {
        let (span, entries) = self.queue.pop_front().expect("there is an append");
        self.write(span, entries);
        self.acknowledgements.push_back(Arc::clone(&self.summary));
    }

    fn write(&mut self, span: Option<SpoolSpan>, entries: Vec<Entry>) {
        let mut summary = Summary::clone(&self.summary);
        if let Some(span) = span {
            assert_eq!(
                span.from,
                summary.through_offset,
                "no byte is lost or doubled: {}",
                self.story()
            );
            summary.through_offset = span.through;
        }
        entries.iter().for_each(|entry| summary.apply(entry, at(self.running)));
        let mut hasher = DefaultHasher::new();
        format!("{} {entries:?}", self.journal).hash(&mut hasher);
        self.journal = hasher.finish();
        Arc::make_mut(&mut self.entries).extend(entries);
        self.summary = Arc::new(summary);
    }

    fn hears_of(&mut self, summary: &Arc<Summary>) {
        if summary.head > self.heard.head {
            self.heard = Arc::clone(summary);
        }
    }

    fn next_bytes(&self, chunk: Chunk) -> Option<(u64, u64)> {
        let host = self
            .host
            .as_ref()
            .filter(|host| !host.is_still || chunk == Chunk::Again);
        let (from, through) = host?.reading?;
        let most = through.min(self.agent.spool.len() as u64);
        if from >= most {
            return None;
        }
        let rest = &self.agent.spool[from as usize..most as usize];
        let line = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        let length = match chunk {
            Chunk::Line => line,
            Chunk::Half => line.div_ceil(2),
            Chunk::More => rest.len().min(line + 10),
            Chunk::All => rest.len(),
            Chunk::Again => return self.last_bytes,
        };
        Some((from, from + length as u64))
    }

    fn send_bytes(&mut self, chunk: Chunk) {
        let (from, through) = self.next_bytes(chunk).or(self.last_bytes).expect("there are some");
        let bytes = self.agent.spool[from as usize..through as usize].to_vec();
        if chunk != Chunk::Again
            && let Some((sent, _)) = &mut self.host_mut().reading
        {
            *sent = through;
        }
        (self.last_bytes, self.sent) = (Some((from, through)), self.sent.max(through));
        if from == self.position {
            self.position = through;
        }
        let (offset, bytes) = (from, &bytes[..]);
        self.step(AttemptInput::Bytes { offset, bytes });
    }
}
