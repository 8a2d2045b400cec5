//! The end of an attempt: `end_session`, then TERM, then KILL, each with a grace; what the agent wrote last is read to
//! the end; what it left behind is ended, by the host, which looks at all processes until none is left, unless a look
//! that is shared by all attempts that end at the time finds nothing; then the supervisor is told.

use std::time::Duration;

use super::state::{Closing, Link, Stage, State};
use super::{Attempt, AttemptReport, AttemptTimer, Command, LifeCheck};
use crate::agent::wire::conclude::start_refusal;
use crate::agent::wire::control::ControlRequest;
use crate::agent_host::protocol::{AgentExit, ToHost};
use crate::session::clarify::Clarify;
use crate::session::excerpt;
use crate::session::journal::{AttemptEnd, CutOff, Entry, Stderr};
use crate::session::outcome::{Cause, Ending};
use crate::session::request::Background;
use crate::session::summary::Summary;
use crate::session::turn::Standing;

/// How much of the last line of an agent's stderr is told with its end, in bytes.
const LAST_WORDS_BYTES_MAX: usize = 300;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Shortest time between two looks at timers that are overdue.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// Time that a host has to close the link when it was let go.
const LEAVE_GRACE: Duration = Duration::from_secs(5);

/// How things stand with the timers that the agent waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwaitedTimers {
    /// Time until they are to be looked at again.
    pub look_again: Duration,
    /// They were waited for long enough, and the agent does nothing else.
    pub is_over: bool,
}

impl Closing {
    /// The agent has written this to its stderr; true if it is anything, and told for the first time.
    fn take_stderr(&mut self, stderr: &str) -> bool {
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        let is_first = self.last_words.is_empty();
        self.last_words = excerpt::head(last.unwrap_or_default().trim(), LAST_WORDS_BYTES_MAX).to_owned();
        is_first && !self.last_words.is_empty()
    }
}

impl Attempt {
    fn standing(&self) -> Standing {
        self.summary.work.standing(self.summary.open(self.intake.is_busy))
    }

    /// Ends the agent if what is journalled says that it is done.
    pub(super) fn look_at_standing(&mut self) {
        if self.is_closing() {
            return;
        }
        let standing = self.standing();
        if standing != Standing::OnlyShells && std::mem::take(&mut self.leaves_shells) {
            self.command(Command::Disarm(AttemptTimer::Shells));
        }
        match standing {
            Standing::Working => {}
            Standing::Over(Ending::Refused { .. } | Ending::Crashed) if self.clocks.interrupted => {
                self.begin_close(Ending::Stalled);
            }
            Standing::Over(ending) => self.begin_close(ending),
            // The clocks end this wait.
            Standing::OnlyTimers => {}
            Standing::OnlyShells => self.leave_shells(),
        }
    }

    /// Does with the background shells what the request says. Those that go on until their end are part of the work.
    fn leave_shells(&mut self) {
        match self.task.request.background() {
            Background::Keep => self.begin_close(Ending::Finished),
            Background::Wait => {}
            Background::End if self.leaves_shells => {}
            Background::End => {
                self.leaves_shells = true;
                self.command(Command::Arm(AttemptTimer::Shells, self.settings.background_grace));
            }
        }
    }

    pub(super) fn shells_had_their_time(&mut self) {
        if std::mem::take(&mut self.leaves_shells) {
            self.tell_of_cut_off_work();
            self.begin_close(Ending::Finished);
        }
    }

    /// Writes down which of the agent's own shells and timers end with it, unless an execution before has done so.
    pub(super) fn tell_of_cut_off_work(&mut self) {
        if self.is_closing() || !self.summary.cut_off.is_empty() {
            return;
        }
        let is_kept = self.task.request.background() == Background::Keep;
        let shells = self.summary.work.background_tasks().filter(|_| !is_kept);
        let shells = shells.map(|shell| format!("background shell {shell}"));
        let what: Vec<_> = shells.chain(self.summary.timers.described()).collect();
        if !what.is_empty() {
            self.append(None, vec![Entry::WorkCutOff(CutOff { what })]);
        }
    }

    /// How things stand with the agent's timers, if it waits for any.
    pub(super) fn timers(&self) -> Option<AwaitedTimers> {
        let ends = self.summary.timers.wait_ends(self.settings.timers_max)?;
        let left = Duration::try_from(ends.duration_since(self.now.wall)).unwrap_or_default();
        Some(AwaitedTimers {
            look_again: left.max(LOOK_AGAIN_MIN),
            is_over: left.is_zero() && self.standing() == Standing::OnlyTimers,
        })
    }

    /// Ends the agent, which does nothing but wait for timers.
    pub(super) fn end_with_timers(&mut self) {
        self.tell_of_cut_off_work();
        self.begin_close(Ending::Finished);
    }

    /// Begins to end the agent; the first reason stands.
    pub(super) fn begin_close(&mut self, ending: Ending) {
        if self.is_closing() {
            return;
        }
        self.state.close(Some(ending));
        self.watch_host();
        if self.hears_host() {
            self.ask_to_end();
        } else {
            self.hurry();
        }
    }

    /// Asks the agent to end, and insists when it does not.
    pub(super) fn ask_to_end(&mut self) {
        self.request(ControlRequest::EndSession);
        let Some(closing) = self.state.closing_mut() else {
            return;
        };
        let (term, kill) = std::mem::replace(&mut closing.insists, (true, true));
        let grace = self.settings.stop_grace;
        if !term {
            self.command(Command::Arm(AttemptTimer::Term, grace));
        }
        if !kill {
            self.command(Command::Arm(AttemptTimer::Kill, grace + self.settings.term_grace));
        }
    }

    /// A grace is over.
    pub(super) fn insist(&mut self, timer: AttemptTimer) {
        let Some(closing) = self.state.closing_mut() else {
            return;
        };
        let (insists, signal) = if timer == AttemptTimer::Kill {
            (&mut closing.insists.1, SIGKILL)
        } else {
            (&mut closing.insists.0, SIGTERM)
        };
        *insists = false;
        if !closing.is_agent_gone() {
            self.tell(ToHost::Signal { signal });
        }
    }

    /// A host says in its hello that the agent has ended.
    pub(super) fn found_gone(&mut self) {
        self.state.close(None);
        if let Some(closing) = self.state.closing_mut() {
            closing.found_gone = true;
        }
    }

    pub(super) fn agent_gone(&mut self, exit: AgentExit, spool_bytes: u64, stderr: String) {
        self.state.close(None);
        let Some(closing) = self.state.closing_mut() else {
            return;
        };
        // A host that is reached again says so again, to this execution or to the next daemon's.
        let is_first = closing.take_stderr(&stderr);
        closing.gone.get_or_insert((exit, spool_bytes));
        if is_first && !self.summary.work.has_stderr() {
            let refusal = start_refusal(&stderr);
            self.append(None, vec![Entry::AgentStderr(Stderr { text: stderr, refusal })]);
        }
        if spool_bytes < self.intake.position() {
            self.tell_of_cut(spool_bytes);
        }
        self.watch_host();
        self.settle();
    }

    /// Somebody has cut the spool. A living agent writes on from its new end, which nobody reads before it is where the
    /// old one was: what it says meanwhile would be lost, a question or its result among it. So it is ended, and its
    /// successor goes on with the conversation.
    pub(super) fn spool_cut(&mut self, spool_bytes: u64) {
        self.begin_close(Ending::Crashed);
        self.tell_of_cut(spool_bytes);
    }

    fn tell_of_cut(&mut self, spool_bytes: u64) {
        let Some(closing) = self.state.closing_mut() else {
            return;
        };
        if std::mem::replace(&mut closing.is_cut_told, true) {
            return;
        }
        let read = self.intake.position();
        self.notice(format!(
            "{read} bytes of the agent's output were read, and its file has {spool_bytes}: it was cut, and what was \
             written since may be missing"
        ));
    }

    /// Takes the next step of the end, when the one before is done and on disk.
    pub(super) fn close_further(&mut self) {
        let State::Closing(Link::Talking(_), closing) = &self.state else {
            return;
        };
        let Some((_, spool_bytes)) = &closing.gone else { return };
        if closing.stage != Stage::Reading || self.intake.position() < *spool_bytes {
            return;
        }
        self.take_rest();
        let is_all_on_disk = self.is_all_on_disk();
        let Some(closing) = self.state.closing_mut().filter(|_| is_all_on_disk) else {
            return;
        };
        closing.stage = Stage::Leftovers;
        let found_gone = closing.found_gone;
        if self.task.request.background() == Background::Keep {
            self.leftovers_ended(Vec::new());
        } else if found_gone {
            self.tell(ToHost::EndLeftovers);
        } else {
            self.command(Command::Look(LifeCheck::Leftovers));
        }
    }

    pub(super) fn leftovers_looked_for(&mut self, is_anything_alive: bool) {
        let ends = |closing: &Closing| closing.stage == Stage::Leftovers;
        if !self.state.closing().is_some_and(ends) {
            return;
        }
        if is_anything_alive {
            self.tell(ToHost::EndLeftovers);
        } else {
            self.leftovers_ended(Vec::new());
        }
    }

    pub(super) fn leftovers_ended(&mut self, leftovers: Vec<String>) {
        let Some(closing) = self.state.closing() else { return };
        let Some((exit, _)) = closing.gone.as_ref().filter(|_| closing.stage == Stage::Leftovers) else {
            return;
        };
        let exit = exit.clone();
        let ending = self.ending(&exit, closing.ending.clone());
        self.tell(ToHost::Release);
        self.report(ending, Some(&exit), leftovers);
        self.command(Command::Arm(AttemptTimer::Leave, LEAVE_GRACE));
    }

    /// Reports an end that no host has any part in.
    pub(super) fn give_up(&mut self, ending: Ending) {
        let closing = self.state.closing().and_then(|closing| closing.ending.clone());
        self.report(closing.unwrap_or(ending), None, Vec::new());
        self.command(Command::Leave);
    }

    fn ending(&self, exit: &AgentExit, wanted: Option<Ending>) -> Ending {
        if let AgentExit::NotStarted { error } = exit {
            return Ending::NotStarted { message: error.clone() };
        }
        let own = || self.summary.work.ending_of_gone(self.summary.open(false));
        self.completed_by_what_is_known(wanted.unwrap_or_else(own))
    }

    /// A result does not say when a usage limit is reset, which the agent has told before; nor until when a refused login
    /// is tried again; nor whether it has what the request asked for.
    fn completed_by_what_is_known(&self, ending: Ending) -> Ending {
        let Summary {
            lifecycle,
            structured_output,
            quota_resets_at,
            ..
        } = &*self.summary;
        let is_for_request = !matches!(lifecycle.clarify, Clarify::Analysing | Clarify::Asking { .. });
        let lacks_output = self.task.request.json_schema.is_some() && structured_output.is_none() && is_for_request;
        match ending {
            Ending::Quota { resets_at: None } => Ending::Quota {
                resets_at: *quota_resets_at,
            },
            Ending::NotSignedIn { message, until: None } => {
                let until = self.login_is_tried_until();
                Ending::NotSignedIn { message, until }
            }
            Ending::Finished if lacks_output => Ending::Refused {
                cause: Cause::NoStructuredOutput,
                message: String::new(),
            },
            ending => ending,
        }
    }

    fn report(&mut self, ending: Ending, exit: Option<&AgentExit>, leftovers: Vec<String>) {
        let open_tool = self.summary.work.open_tool().filter(|_| ending.is_charged());
        let last = self.state.closing().map_or("", |closing| closing.last_words.as_str());
        let end = AttemptEnd {
            exit: exit.map(|exit| words_of(exit, last)),
            open_tool: open_tool.map(str::to_owned),
            ending,
            leftovers,
            answers_written: Some(self.answers_written()),
            cut_off: self.summary.cut_off.clone(),
        };
        self.state = State::Released;
        self.command(Command::Report(AttemptReport::Over(end)));
    }
}

/// `last` is what the agent has said last, as a program that cannot go on says why.
fn words_of(exit: &AgentExit, last: &str) -> String {
    match exit {
        AgentExit::Code { code } if *code != 0 && !last.is_empty() => format!("exit code {code}: {last}"),
        AgentExit::Code { code } => format!("exit code {code}"),
        AgentExit::Signal { signal } => format!("signal {signal}"),
        AgentExit::Unknown => "nobody saw how it ended".to_owned(),
        AgentExit::NotStarted { .. } => "not started".to_owned(),
    }
}
