//! The way to the agent's host: one is found or started, and its link kept.
//!
//! An agent goes on where no host can be had for it, say because no process can be started just now. Then it is reached
//! for again and again, ever more slowly; the attempt fails only once nothing of the agent is alive. Where it is to
//! end meanwhile, it is ended by the mark on its processes.

use std::time::Duration;

use super::outbox::WANT_PAUSE;
use super::state::{HostReach, Link, ReachStep, Stage, State, Talk};
use super::{Attempt, AttemptReport, AttemptTimer, Command, LifeCheck, Unreachable};
use crate::agent_host::protocol::{AgentExit, FromHost, PROTOCOL_VERSION, ToHost, WINDOW_BYTES};
use crate::session::opening::Groundwork;
use crate::session::outcome::Ending;

/// The longest wait before the host is reached for again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How often a lost link is opened again without a word from the host in between.
const LINKS_LOST_MAX: u32 = 5;

/// How often a host is asked for a sign of life.
const HOST_LOOK_PERIOD: Duration = Duration::from_secs(8);

/// How often in a row it may be asked in vain while its agent is to end. More than once, for a daemon that stood still
/// itself finds its time over before it has read what the host said meanwhile.
const HOST_SILENT_LOOKS_MAX: u32 = 2;

/// The same while the agent works, which loses nothing meanwhile: its output is in its spool.
const HOST_SILENT_LOOKS_AT_WORK_MAX: u32 = 4;

impl HostReach {
    /// 1, 2, 4, 8, 16, 32 and from then on 60 seconds.
    fn pause(&self) -> Duration {
        let doubled = 2u64.saturating_pow(self.failed.saturating_sub(1));
        Duration::from_secs(doubled).min(PAUSE_MAX)
    }
}

impl Attempt {
    /// Goes on to the next step of the way if this one is what was waited for.
    fn reach_from(&mut self, awaited: ReachStep, next: ReachStep) -> bool {
        let reach = self.state.reach_mut().filter(|reach| reach.step == awaited);
        reach.map(|reach| reach.step = next).is_some()
    }

    pub(super) fn linked(&mut self, groundwork: Groundwork) {
        let reach = self
            .state
            .reach_mut()
            .filter(|reach| reach.step == ReachStep::Connecting);
        if let Some(reach) = reach.map(std::mem::take) {
            self.groundwork = groundwork;
            self.state.set_link(Link::Greeting(reach));
            self.watch_host();
        }
    }

    pub(super) fn unreachable(&mut self, unreachable: Unreachable) {
        let Unreachable { ending, why, may_pass } = unreachable;
        if !may_pass || self.is_closing() {
            return self.host_missing(ending, why);
        }
        if self.reach_from(ReachStep::Connecting, ReachStep::Pausing) {
            self.command(Command::Log(format!("no agent yet: {why}")));
            self.command(Command::Arm(AttemptTimer::Reach, WANT_PAUSE));
        }
    }

    /// There is no host: the attempt is over if there is no agent either.
    fn host_missing(&mut self, ending: Ending, why: String) {
        if self.reach_from(ReachStep::Connecting, ReachStep::Looking) {
            self.command(Command::Look(LifeCheck::NoHost { ending, why }));
        }
    }

    pub(super) fn looked(&mut self, look: LifeCheck, is_alive: bool) {
        match look {
            LifeCheck::Leftovers => self.leftovers_looked_for(is_alive),
            LifeCheck::NoHost { why, .. } if is_alive => self.reach_later(&why),
            LifeCheck::NoHost { ending, why } => {
                if self.reach_from(ReachStep::Looking, ReachStep::Connecting) {
                    self.command(Command::Log(format!("no agent: {why}")));
                    self.give_up(ending);
                }
            }
        }
    }

    fn reach_later(&mut self, why: &str) {
        let is_closing = self.is_closing();
        let next = if is_closing {
            ReachStep::Ending
        } else {
            ReachStep::Pausing
        };
        if !self.reach_from(ReachStep::Looking, next) {
            return;
        }
        let Some(reach) = self.state.reach_mut() else { return };
        reach.failed = reach.failed.saturating_add(1);
        let (tries, pause) = (reach.failed, reach.pause());
        self.tell_found(false);
        let text = format!("the agent lives, its host does not answer, try {tries}: {why}");
        self.command(Command::Log(text));
        if tries == 1 {
            self.notice(format!(
                "the agent lives, but no host of it can be reached: {why}; this is tried again and again"
            ));
        }
        self.command(match is_closing {
            // The next host, if there is one, finds a dead agent, whose output it serves.
            true => Command::EndEverything,
            false => Command::Arm(AttemptTimer::Reach, pause),
        });
    }

    /// The time to try again has come.
    pub(super) fn reach_again(&mut self) {
        if self.reach_from(ReachStep::Pausing, ReachStep::Connecting) {
            self.command(Command::Connect);
        }
    }

    /// Reaches for the host at once, since the agent is to end.
    pub(super) fn hurry(&mut self) {
        if self.reach_from(ReachStep::Pausing, ReachStep::Connecting) {
            self.command(Command::Disarm(AttemptTimer::Reach));
            self.command(Command::Connect);
        }
    }

    pub(super) fn ended_without_host(&mut self, processes: &[String]) {
        if self.reach_from(ReachStep::Ending, ReachStep::Connecting) {
            self.notice(format!("ended without a host: {}", processes.join(", ")));
            self.command(Command::Connect);
        }
    }

    /// The host is gone, or the link to it: a new link is opened, to a new host if need be, and reading goes on at the
    /// byte where it stopped.
    pub(super) fn link_lost(&mut self) {
        let mut reach = match (self.state.greeting(), self.state.talk()) {
            (Some(reach), _) => reach.clone(),
            (None, Some(talk)) => {
                self.outbox.may_have_written(talk);
                HostReach::default()
            }
            (None, None) => return,
        };
        reach.links_lost += 1;
        reach.step = ReachStep::Connecting;
        let is_lost_often = reach.links_lost > LINKS_LOST_MAX;
        self.state.set_link(Link::Reaching(reach));
        // What the host was asked last is asked of the next one again.
        if let Some(closing) = self.state.closing_mut() {
            closing.stage = Stage::Reading;
        }
        if is_lost_often {
            return self.host_missing(Ending::Crashed, "the link to it is lost again and again".to_owned());
        }
        self.command(Command::Log("link to the agent host lost".to_owned()));
        self.command(Command::Connect);
    }

    pub(super) fn take_host_message(&mut self, message: FromHost) {
        self.heard_of_host();
        if self.state.greeting().is_some() {
            return self.take_first_message(message);
        }
        if self.state.talk().is_none() {
            return;
        }
        match message {
            FromHost::Exited {
                exit,
                spool_bytes,
                stderr_tail,
            } => self.agent_gone(exit, spool_bytes, stderr_tail),
            FromHost::Written { id } => self.written(id),
            FromHost::Refused { id, error } => self.refused(id, error),
            FromHost::Children { count, youngest_ms } => self.children_counted(count, youngest_ms),
            FromHost::LeftoversEnded { processes } => self.leftovers_ended(processes),
            FromHost::SpoolCut { spool_bytes } => self.spool_cut(spool_bytes),
            // It is said once on each link.
            FromHost::Hello { .. } => {}
            FromHost::NotUnderstood { op, error, .. } => self.refused_by_older_host(&op, &error),
            FromHost::Trouble { error } => self.command(Command::Log(format!("agent host: {error}"))),
        }
    }

    /// The host was started by an older daemon. It stays for as long as its attempt.
    fn refused_by_older_host(&mut self, op: &str, error: &str) {
        self.command(Command::Log(format!("agent host does not know `{op}`: {error}")));
        self.notice(format!(
            "the agent host is of an older version and does not know `{op}`: it takes effect at the next attempt"
        ));
    }

    fn take_first_message(&mut self, message: FromHost) {
        match message {
            // The daemon is of an older version than the one that started this host. Ours adopts the agent as that of a
            // dead one.
            FromHost::Hello { protocol, .. } if protocol > PROTOCOL_VERSION => {
                self.notice(format!(
                    "the agent host speaks protocol {protocol}, this daemon {PROTOCOL_VERSION}: one of this version takes \
                     its place"
                ));
                self.command(Command::KillHosts);
            }
            FromHost::Hello {
                exit,
                spool_bytes,
                adopted,
                ..
            } => self.hello(exit, spool_bytes, adopted),
            FromHost::Exited { .. }
            | FromHost::Written { .. }
            | FromHost::Refused { .. }
            | FromHost::Children { .. }
            | FromHost::LeftoversEnded { .. }
            | FromHost::SpoolCut { .. }
            | FromHost::NotUnderstood { .. }
            | FromHost::Trouble { .. } => {}
        }
    }

    fn hello(&mut self, exit: Option<AgentExit>, spool_bytes: u64, adopted: bool) {
        if self.state.greeting().is_some_and(|reach| reach.failed > 0) {
            self.notice("the agent's host answers again".to_owned());
        }
        if adopted {
            self.command(Command::Log("a new host adopted the agent".to_owned()));
        }
        self.tell_found(exit.is_some());
        let from = self.intake.position();
        let through = from + WINDOW_BYTES;
        self.command(Command::Read { from, through });
        let was_closing = self.is_closing();
        self.state.set_link(Link::Talking(Talk::with_window(through)));
        match exit {
            // The news of its end follows at once, and has what it said last.
            Some(_) => self.found_gone(),
            None if was_closing => self.ask_to_end(),
            None if spool_bytes < from => self.spool_cut(spool_bytes),
            None => self.greet(spool_bytes),
        }
        self.watch_host();
        self.settle();
    }

    /// Tells the supervisor how things stand with the agent.
    fn tell_found(&mut self, has_ended: bool) {
        let heard = self.summary.updated_at;
        self.command(Command::Report(AttemptReport::Found { has_ended, heard }));
    }

    /// Lets the host send further: a window beyond what is on disk, or beyond what was taken where nothing waits for
    /// the disk.
    pub(super) fn raise_window(&mut self) {
        let base = if self.is_all_on_disk() {
            self.intake.position()
        } else {
            self.summary.through_offset
        };
        let through = base + WINDOW_BYTES;
        let Some(talk) = self.state.talk_mut() else { return };
        if through >= talk.window + WINDOW_BYTES / 2 {
            talk.window = through;
            self.tell(ToHost::Window { through });
        }
    }

    /// The host has said something, or there is a new one.
    pub(super) fn heard_of_host(&mut self) {
        self.host_asked = self.host_asked.map(|_| 0);
    }

    /// Watches that the host lives, for nothing else ends the wait for what it is to say or to do. One that stands still
    /// is ended and followed by another.
    pub(super) fn watch_host(&mut self) {
        if self.host_asked.is_none() {
            self.look_at_host();
        }
    }

    pub(super) fn look_at_host(&mut self) {
        self.command(Command::Arm(AttemptTimer::Host, HOST_LOOK_PERIOD));
        let has_link = self.hears_host() || self.state.greeting().is_some();
        let asked = self.host_asked.filter(|_| has_link).unwrap_or_default();
        self.host_asked = Some(asked + 1);
        let most = match self.state {
            State::Closing(..) => HOST_SILENT_LOOKS_MAX,
            State::Open(_) | State::Released => HOST_SILENT_LOOKS_AT_WORK_MAX,
        };
        if asked < most {
            return self.command(Command::Ping);
        }
        let text = "the agent's host does not answer: it is ended, and another one takes over";
        self.command(Command::Log(text.to_owned()));
        self.command(Command::KillHosts);
    }
}
