//! The end of an attempt: `end_session`, then TERM, then KILL, each with a grace; what the agent wrote last is read to
//! the end; what it left behind is ended, by the host, which looks at all processes until none is left, unless a look
//! that is shared by all attempts that end at the time finds nothing; then the supervisor is told.

use super::*;
use crate::agent_host::protocol::Exit;
use crate::runtime::messages::AttemptOver;
use crate::session::clarify::Clarify;
use crate::session::journal::{AttemptEnd, CutOff};
use crate::session::request::Background;
use crate::session::summary::cut;
use crate::session::turn::Standing;

/// How much of the last line of an agent's stderr is told with its end, in bytes.
const LAST_WORDS_BYTES_MAX: usize = 300;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Shortest time between two looks at timers that are overdue.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(1);

/// How often a host is asked for a sign of life.
const HOST_LOOK_PERIOD: Duration = Duration::from_secs(8);

/// How often in a row it may be asked in vain while its agent is to end. More than once, for a daemon that stood still
/// itself finds its time over before it has read what the host said meanwhile.
const HOST_SILENT_LOOKS_MAX: u32 = 2;

/// The same while the agent works, which loses nothing meanwhile: its output is in its spool.
const HOST_SILENT_LOOKS_AT_WORK_MAX: u32 = 4;

/// How far the end of the attempt has come.
pub(super) struct Closing {
    /// Why we end the agent, once we do.
    ending: Option<Ending>,
    /// How the agent ended and how long its spool is, once it has.
    gone: Option<(Exit, u64)>,
    /// The last line of its stderr.
    last_words: String,
    /// A host that finds a dead agent may end what it left behind unasked, and has that to tell.
    found_gone: bool,
    /// How often the host was asked for a sign of life since it last said anything; none before the first time.
    host_asked: Option<u32>,
    /// The journal says that the spool was cut.
    is_cut_told: bool,
    stage: Stage,
}

/// What happens after the agent is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its output is read to the end.
    Reading,
    /// What it left behind is being ended.
    Leftovers,
    /// The supervisor was told, and the host let go.
    Released,
}

impl Closing {
    pub(super) fn new(ending: Option<Ending>) -> Self {
        Self {
            ending,
            gone: None,
            last_words: String::new(),
            found_gone: false,
            host_asked: None,
            is_cut_told: false,
            stage: Stage::Reading,
        }
    }

    /// Whether the agent is being ended, or has ended by itself.
    pub(super) fn is_begun(&self) -> bool {
        self.ending.is_some() || self.is_agent_gone()
    }

    /// A host says in its hello that the agent has ended.
    pub(super) fn found_gone(&mut self) {
        self.found_gone = true;
    }

    /// The agent has written this to its stderr; whether it is anything, and told for the first time.
    pub(super) fn take_stderr(&mut self, stderr: &str) -> bool {
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        let is_first = self.last_words.is_empty();
        self.last_words = cut(last.unwrap_or_default().trim(), LAST_WORDS_BYTES_MAX).to_owned();
        is_first && !self.last_words.is_empty()
    }

    pub(super) fn is_agent_gone(&self) -> bool {
        self.found_gone || self.gone.is_some()
    }

    /// What the host was asked last is asked of the next one again.
    pub(super) fn host_lost(&mut self) {
        if self.stage == Stage::Leftovers {
            self.stage = Stage::Reading;
        }
    }

    /// The host has said something, or there is a new one.
    pub(super) fn heard_of_host(&mut self) {
        self.host_asked = self.host_asked.map(|_| 0);
    }

    pub(super) fn is_released(&self) -> bool {
        self.stage == Stage::Released
    }
}

impl Execution {
    /// Ends the agent if what is journalled says that it is done.
    pub(super) fn look_at_standing(&mut self, ctx: &mut Context<Self>) {
        if self.closing.is_begun() {
            return;
        }
        let standing = self.summary.work.standing(self.summary.open(self.busy));
        if standing != Standing::OnlyShells
            && let Some(timer) = self.shells_timer.take()
        {
            ctx.cancel_future(timer);
        }
        match standing {
            Standing::Working => {}
            Standing::Over(Ending::Refused { .. } | Ending::Crashed) if self.is_interrupted_for_silence() => {
                self.begin_close(Ending::Stalled, ctx);
            }
            Standing::Over(ending) => self.begin_close(ending, ctx),
            // The clocks end this wait.
            Standing::OnlyTimers => {}
            Standing::OnlyShells => self.leave_shells(ctx),
        }
    }

    /// Does with the background shells what the request says. Those that go on until their end are part of the work.
    fn leave_shells(&mut self, ctx: &mut Context<Self>) {
        match self.task.request.background() {
            Background::Keep => self.begin_close(Ending::Finished, ctx),
            Background::Wait => {}
            Background::End if self.shells_timer.is_some() => {}
            Background::End => {
                let grace = self.surroundings.settings.background_grace;
                let timer = ctx.run_later(grace, |act, ctx| {
                    act.tell_of_cut_off_work(ctx);
                    act.begin_close(Ending::Finished, ctx);
                });
                self.shells_timer = Some(timer);
            }
        }
    }

    /// Writes down which of the agent's own shells and timers end with it, unless an execution before has done so.
    pub(super) fn tell_of_cut_off_work(&mut self, ctx: &mut Context<Self>) {
        if self.closing.is_begun() || !self.summary.cut_off.is_empty() {
            return;
        }
        let is_kept = self.task.request.background() == Background::Keep;
        let shells = self.summary.work.background_tasks().filter(|_| !is_kept);
        let shells = shells.map(|shell| format!("background shell {shell}"));
        let what: Vec<_> = shells.chain(self.summary.timers.described()).collect();
        if !what.is_empty() {
            self.append(None, vec![Entry::WorkCutOff(CutOff { what })], ctx);
        }
    }

    /// Time that the wait for timers may still last. Ends the agent, which does nothing else, when it is over.
    pub(super) fn left_for_timers(&mut self, ctx: &mut Context<Self>) -> Option<Duration> {
        let now = self.surroundings.outside.clock.now();
        let ends = self.summary.timers.wait_ends(self.surroundings.settings.timers_max)?;
        let left = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
        let standing = self.summary.work.standing(self.summary.open(self.busy));
        if left.is_zero() && standing == Standing::OnlyTimers {
            self.tell_of_cut_off_work(ctx);
            self.begin_close(Ending::Finished, ctx);
        }
        Some(left.max(LOOK_AGAIN_MIN))
    }

    /// Begins to end the agent; the first reason stands.
    pub(super) fn begin_close(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        if self.closing.is_begun() {
            return;
        }
        self.closing.ending = Some(ending);
        self.watch_host(ctx);
        if self.greeted {
            self.ask_to_end(ctx);
        } else {
            self.hurry(ctx);
        }
    }

    /// Asks the agent to end, and insists when it does not.
    pub(super) fn ask_to_end(&mut self, ctx: &mut Context<Self>) {
        self.write_control("end_session");
        let settings = Arc::clone(&self.surroundings.settings);
        ctx.run_later(settings.stop_grace, |act, _| act.signal(SIGTERM));
        ctx.run_later(settings.stop_grace + settings.term_grace, |act, _| act.signal(SIGKILL));
    }

    fn signal(&mut self, signal: i32) {
        if !self.closing.is_agent_gone() {
            self.send(&ToHost::Signal { signal });
        }
    }

    pub(super) fn agent_gone(&mut self, exit: Exit, spool_bytes: u64, ctx: &mut Context<Self>) {
        if spool_bytes < self.intake.position() {
            self.tell_of_cut(spool_bytes, ctx);
        }
        self.closing.gone.get_or_insert((exit, spool_bytes));
        self.watch_host(ctx);
        self.settle(ctx);
    }

    /// Somebody has cut the spool. A living agent writes on from its new end, which nobody reads before it is where the
    /// old one was: what it says meanwhile would be lost, a question or its result among it. So it is ended, and its
    /// successor goes on with the conversation.
    pub(super) fn spool_cut(&mut self, spool_bytes: u64, ctx: &mut Context<Self>) {
        self.tell_of_cut(spool_bytes, ctx);
        self.begin_close(Ending::Crashed, ctx);
    }

    fn tell_of_cut(&mut self, spool_bytes: u64, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.closing.is_cut_told, true) {
            return;
        }
        let read = self.intake.position();
        let text = format!(
            "{read} bytes of the agent's output were read, and its file has {spool_bytes}: it was cut, and what was \
             written since may be missing"
        );
        tracing::warn!("{text}");
        self.notice(text, ctx);
    }

    /// Watches that the host lives, for nothing else ends the wait for what it is to say or to do. One that stands still
    /// is ended and followed by another.
    pub(super) fn watch_host(&mut self, ctx: &mut Context<Self>) {
        if self.closing.host_asked.is_none() {
            self.look_at_host(ctx);
        }
    }

    fn look_at_host(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(HOST_LOOK_PERIOD, |act, ctx| act.look_at_host(ctx));
        let has_host = self.greeted && !self.closing.is_released();
        let asked = self.closing.host_asked.filter(|_| has_host).unwrap_or_default();
        self.closing.host_asked = Some(asked + 1);
        let most = if self.closing.is_begun() {
            HOST_SILENT_LOOKS_MAX
        } else {
            HOST_SILENT_LOOKS_AT_WORK_MAX
        };
        if asked >= most {
            tracing::warn!("the agent's host does not answer: it is ended, and another one takes over");
            self.kill_hosts(ctx);
        } else if let Some(sink) = &mut self.sink {
            drop(sink.write(awc::ws::Message::Ping(bytes::Bytes::new())));
        }
    }

    /// Kills the hosts of this attempt; the link to them ends, and the next one is reached for.
    pub(super) fn kill_hosts(&self, ctx: &mut Context<Self>) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        let killing = self.surroundings.outside.hosts.kill_hosts(session, attempt);
        ctx.spawn(killing.into_actor(self));
    }

    /// Takes the next step of the end, when the one before is done and on disk.
    pub(super) fn close_further(&mut self, ctx: &mut Context<Self>) {
        let Some((_, spool_bytes)) = self.closing.gone else {
            return;
        };
        if self.closing.stage != Stage::Reading || self.sink.is_none() || self.intake.position() < spool_bytes {
            return;
        }
        self.take_rest(ctx);
        if !self.is_all_on_disk() {
            return;
        }
        self.closing.stage = Stage::Leftovers;
        if self.task.request.background() == Background::Keep {
            return self.leftovers_ended(Vec::new(), ctx);
        }
        if self.closing.found_gone {
            return self.send(&ToHost::EndLeftovers);
        }
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        let looking = self.surroundings.outside.hosts.is_anything_alive(session, attempt);
        ctx.spawn(looking.into_actor(self).map(|is_anything_alive, act, ctx| {
            if is_anything_alive {
                act.send(&ToHost::EndLeftovers);
            } else {
                act.leftovers_ended(Vec::new(), ctx);
            }
        }));
    }

    pub(super) fn leftovers_ended(&mut self, leftovers: Vec<String>, ctx: &mut Context<Self>) {
        if self.closing.stage != Stage::Leftovers {
            return;
        }
        let Some((exit, _)) = self.closing.gone.clone() else {
            return;
        };
        let ending = self.ending(&exit);
        self.send(&ToHost::Release);
        self.report(ending, Some(&exit), leftovers, ctx);
    }

    /// Reports an end that no host has any part in.
    pub(super) fn give_up(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        let ending = self.closing.ending.take().unwrap_or(ending);
        self.report(ending, None, Vec::new(), ctx);
        ctx.stop();
    }

    fn ending(&self, exit: &Exit) -> Ending {
        if let Exit::NotStarted { error } = exit {
            return Ending::NotStarted { message: error.clone() };
        }
        let own = || self.summary.work.ending_of_gone(self.summary.open(false));
        self.completed_by_what_is_known(self.closing.ending.clone().unwrap_or_else(own))
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

    fn report(&mut self, ending: Ending, exit: Option<&Exit>, leftovers: Vec<String>, ctx: &mut Context<Self>) {
        self.closing.stage = Stage::Released;
        let open_tool = self
            .summary
            .work
            .open_tool()
            .map(str::to_owned)
            .filter(|_| ending.is_charged());
        let end = AttemptEnd {
            ending,
            exit: exit.map(|exit| words_of(exit, &self.closing.last_words)),
            open_tool,
            leftovers,
            answers_written: Some(self.answers_written()),
            cut_off: self.summary.cut_off.clone(),
        };
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        self.supervisor.do_send(AttemptOver { session, attempt, end });
        // The host closes the link when it exits; an execution whose host does not is not kept waiting.
        ctx.run_later(Duration::from_secs(5), |_, ctx| ctx.stop());
    }
}

/// `last` is what the agent has said last, as a program that cannot go on says why.
fn words_of(exit: &Exit, last: &str) -> String {
    match exit {
        Exit::Code { code } if *code != 0 && !last.is_empty() => format!("exit code {code}: {last}"),
        Exit::Code { code } => format!("exit code {code}"),
        Exit::Signal { signal } => format!("signal {signal}"),
        Exit::Unknown => "nobody saw how it ended".to_owned(),
        Exit::NotStarted { .. } => "not started".to_owned(),
    }
}
