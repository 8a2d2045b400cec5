//! The clocks of a live attempt: silence, waits for quota and for the API. They run on the monotonic clock.
//!
//! If an agent is silent for too long, the daemon writes a notice, interrupts the agent, and then ends it; the attempt
//! counts as stalled. A silent tool is at work as long as a process lives that began after the call: the daemon asks the
//! host for it. MCP servers and earlier background shells began before. A call of our own tools is at work as long as
//! the session that it waits for: the daemon asks the supervisor for it.

use std::time::Duration;

use jiff::Timestamp;

use super::closing::AwaitedTimers;
use super::{Attempt, AttemptSettings, AttemptTimer, Command, Moment};
use crate::agent::wire::control::ControlRequest;
use crate::agent_host::protocol::ToHost;
use crate::session::id::SessionId;
use crate::session::message::ApiFault;
use crate::session::outcome::Ending;
use crate::session::stall::Doing;
use crate::session::summary::{Summary, WaitingFor};

/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// How long an interrupted agent has before it is ended.
const INTERRUPT_GRACE: Duration = Duration::from_secs(30);

/// Wait before a tool is interrupted whose process, or the session that it waits for, may have ended just now.
const RESULT_GRACE: Duration = Duration::from_secs(5);

/// How much older than its call a tool's process may look: its age is counted in clock ticks.
const AGE_ERROR: Duration = Duration::from_millis(20);

/// What the clocks have seen. Points in time count from the beginning of the attempt.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    /// The agent's last sign of life.
    last_sign: Duration,
    /// The last one in its output. Open calls were made before it.
    last_said: Duration,
    /// The model was asked and has not begun to answer.
    requesting: bool,
    /// What the agent waits for besides people, and since when.
    waiting: (WaitingFor, Duration),
    /// How the API failed last.
    api_failure: String,
    /// Until when a refused login is tried again, by the journal and by the monotonic clock.
    login: Option<(Timestamp, Duration)>,
    /// The refused login was tried for long enough.
    pub is_login_over: bool,
    /// The agent was interrupted because of its silence, so that the turn which ends now ends because of that.
    pub interrupted: bool,
    /// The daemon has asked since the last sign for signs that the agent's output does not show.
    asked_for_signs: bool,
}

/// What the clocks are looked at with.
struct Sight<'a> {
    now: Moment,
    settings: &'a AttemptSettings,
    summary: &'a Summary,
    doing: Doing,
    timers: Option<AwaitedTimers>,
}

/// Something that the clocks call for.
enum Alarm {
    End(Ending),
    /// The wait for the agent's timers is over.
    EndTimers,
    /// It is to be found out if one of the sessions lives that the agent's calls wait for.
    AskAwaited(Vec<Option<SessionId>>),
    /// The processes are to be counted that the agent has started.
    CountChildren,
    /// The agent has been silent for so long while it does this.
    Interrupt(Doing, Duration),
}

impl Clocks {
    pub(super) fn starting_at(now: Moment) -> Self {
        Self {
            last_sign: now.running,
            last_said: now.running,
            requesting: false,
            waiting: (WaitingFor::Nothing, now.running),
            api_failure: String::new(),
            login: None,
            is_login_over: false,
            interrupted: false,
            asked_for_signs: false,
        }
    }

    /// The agent has given a sign of life.
    pub(super) fn sign(&mut self, now: Moment) {
        self.works(now);
        self.last_said = self.last_sign;
    }

    /// Something beside its output shows that the agent is at work.
    fn works(&mut self, now: Moment) {
        self.last_sign = now.running;
        self.asked_for_signs = false;
    }

    /// The agent asks the model, or has its answer.
    pub(super) fn asks_model(&mut self, asks: bool) {
        self.requesting = asks;
    }

    /// The model answers. The journal hears of it when a block is whole, and until then says that the agent waits.
    pub(super) fn answers(&mut self, now: Moment) {
        self.requesting = false;
        self.waiting.1 = now.running;
    }

    /// The API has failed, and is asked again.
    pub(super) fn api_failed(&mut self, status: Option<u16>, error: &ApiFault) {
        self.requesting = false;
        let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        self.api_failure = format!("{status}, {error}");
    }

    /// Nothing is heard of the agent, through no fault of its own.
    fn hold(&mut self, now: Moment) {
        self.sign(now);
        self.waiting.1 = self.last_sign;
    }

    /// Looks at all clocks: time until the next one may have run out, and the alarm of the first one that has.
    fn look(&mut self, sight: &Sight<'_>) -> (Duration, Option<Alarm>) {
        let (holds, alarm) = self.look_at_holds(sight);
        if alarm.is_some() {
            return (LOOK_MAX, alarm);
        }
        let (silence, alarm) = self.look_at_silence(sight);
        let wait = [holds, silence].into_iter().flatten().min().unwrap_or(LOOK_MAX);
        (wait.min(LOOK_MAX), alarm)
    }

    /// Time that a wait for quota, the API, the login or timers may still last.
    fn look_at_holds(&mut self, sight: &Sight<'_>) -> (Option<Duration>, Option<Alarm>) {
        let (settings, summary, now) = (sight.settings, sight.summary, sight.now.running);
        let waiting_for = summary.waiting_for;
        if self.waiting.0 != waiting_for {
            self.waiting = (waiting_for, now);
        }
        let (hold, ending) = match waiting_for {
            WaitingFor::Nothing | WaitingFor::Room => return (None, None),
            WaitingFor::Timer => {
                let over = sight.timers.filter(|timers| timers.is_over).map(|_| Alarm::EndTimers);
                return (sight.timers.map(|timers| timers.look_again), over);
            }
            WaitingFor::Login => return self.look_at_login(sight),
            WaitingFor::Quota => {
                let resets_at = summary.quota_resets_at;
                (settings.quota_hold, Ending::Quota { resets_at })
            }
            WaitingFor::Api => {
                let minutes = settings.api_hold.as_secs() / 60;
                let message = format!("it was asked for {minutes} minutes ({})", self.api_failure);
                (settings.api_hold, Ending::ApiDown { message })
            }
        };
        let left = hold.saturating_sub(now.saturating_sub(self.waiting.1));
        (Some(left), left.is_zero().then_some(Alarm::End(ending)))
    }

    /// Time for which a refused login may still be tried again. The hold does not begin anew with an attempt or with a
    /// daemon, and a clock that jumps makes it neither longer nor shorter.
    fn look_at_login(&mut self, sight: &Sight<'_>) -> (Option<Duration>, Option<Alarm>) {
        let Some(until) = sight.summary.lifecycle.login.held_until() else {
            return (None, None);
        };
        let now = sight.now.running;
        let deadline = match self.login {
            Some((known, deadline)) if known == until => deadline,
            Some(_) | None => {
                let most = Duration::try_from(sight.settings.login_hold).unwrap_or_default();
                let left = Duration::try_from(until.duration_since(sight.now.wall)).unwrap_or_default();
                now.saturating_add(left.min(most))
            }
        };
        self.login = Some((until, deadline));
        let left = deadline.saturating_sub(now);
        self.is_login_over |= left.is_zero();
        let (message, until) = (self.api_failure.clone(), None);
        let alarm = Alarm::End(Ending::NotSignedIn { message, until });
        (Some(left), left.is_zero().then_some(alarm))
    }

    /// Time that the silence may still last.
    fn look_at_silence(&mut self, sight: &Sight<'_>) -> (Option<Duration>, Option<Alarm>) {
        let (doing, now) = (sight.doing, sight.now);
        if doing == Doing::Waiting {
            // An agent that was waited for has its whole time again when the wait is over.
            self.sign(now);
        }
        let silence = now.running.saturating_sub(self.last_sign);
        if self.interrupted {
            let left = INTERRUPT_GRACE.saturating_sub(silence);
            return (Some(left), left.is_zero().then_some(Alarm::End(Ending::Stalled)));
        }
        let Some(longest) = sight.settings.stall.while_it_is(doing) else {
            return (None, None);
        };
        let left = longest.saturating_sub(silence);
        if !left.is_zero() {
            return (Some(left), None);
        }
        if matches!(doing, Doing::Tool | Doing::McpTool)
            && !self.asked_for_signs
            && let Some(ask) = signs(sight.summary)
        {
            self.asked_for_signs = true;
            return (None, Some(ask));
        }
        (self.interrupted, self.last_sign) = (true, now.running);
        (Some(left), Some(Alarm::Interrupt(doing, silence)))
    }

    /// True if a process of this age may have begun after the silent calls. A host of an older version tells no age, and
    /// a daemon of an older version has not written down the time of a call; then every process counts.
    fn is_of_open_call(&self, age_ms: Option<u64>, summary: &Summary, now: Moment) -> bool {
        let (Some(age_ms), Some(since)) = (age_ms, summary.work.open_calls().process_since) else {
            return true;
        };
        // The call is at least as old as the last output, whatever the wall clock shows.
        let silence = now.running.saturating_sub(self.last_said);
        let called_before = Duration::try_from(now.wall.duration_since(since)).unwrap_or_default();
        Duration::from_millis(age_ms) <= called_before.max(silence) + AGE_ERROR
    }
}

/// The question for signs of life that the agent's output does not show; none if the open calls have no such signs.
fn signs(summary: &Summary) -> Option<Alarm> {
    let open = summary.work.open_calls();
    if !open.of_ours.is_empty() {
        return Some(Alarm::AskAwaited(open.of_ours));
    }
    (open.has_process || !open.is_mcp).then_some(Alarm::CountChildren)
}

impl Attempt {
    /// Looks at the clocks now, and again when the next one may have run out.
    pub(super) fn look_at_clocks(&mut self) {
        if self.is_closing() {
            return;
        }
        if self.state.is_host_failing() {
            self.clocks.hold(self.now);
            return self.look_again_in(LOOK_MAX);
        }
        let sight = Sight {
            now: self.now,
            settings: &self.settings,
            summary: &self.summary,
            doing: self.doing(),
            timers: self.timers(),
        };
        let (wait, alarm) = self.clocks.look(&sight);
        match alarm {
            None => {}
            Some(Alarm::End(ending)) => return self.begin_close(ending),
            Some(Alarm::EndTimers) => return self.end_with_timers(),
            Some(Alarm::AskAwaited(sessions)) => self.command(Command::AskAwaited(sessions)),
            Some(Alarm::CountChildren) => self.tell(ToHost::CountChildren),
            Some(Alarm::Interrupt(doing, silence)) => self.interrupt(doing, silence),
        }
        self.look_again_in(wait);
    }

    /// Looks at the clocks after this wait instead of whenever that was to be.
    fn look_again_in(&mut self, wait: Duration) {
        self.command(Command::Arm(AttemptTimer::Clocks, wait));
    }

    fn interrupt(&mut self, doing: Doing, silence: Duration) {
        let (seconds, doing) = (silence.as_secs(), doing.words());
        self.notice(format!(
            "the agent has been silent for {seconds} s while {doing}: it is interrupted"
        ));
        self.request(ControlRequest::Interrupt);
    }

    /// The supervisor has said whether a session lives that a call of our own tools waits for.
    pub(super) fn sessions_looked_up(&mut self, lives: bool) {
        if lives {
            self.clocks.works(self.now);
            self.look_at_clocks();
        } else if self.summary.work.open_calls().has_process {
            self.tell(ToHost::CountChildren);
        } else {
            self.look_again_in(RESULT_GRACE);
        }
    }

    /// The host has counted the processes that the agent has started. If one of them began after the silent call, the
    /// tool is at work. Otherwise its process may have ended just now and its result may be on the way: after a grace
    /// the next look interrupts it.
    pub(super) fn children_counted(&mut self, count: usize, youngest_ms: Option<u64>) {
        if count > 0 && self.clocks.is_of_open_call(youngest_ms, &self.summary, self.now) {
            self.clocks.works(self.now);
        }
        if self.clocks.asked_for_signs {
            self.look_again_in(RESULT_GRACE);
        } else {
            self.look_at_clocks();
        }
    }

    /// Until when a session whose agent has given up on the login tries it again, if it does.
    pub(super) fn login_is_tried_until(&self) -> Option<Timestamp> {
        let now = self.now.wall;
        let until = self.summary.login().refused(now, self.settings.login_hold);
        until.filter(|until| *until > now && !self.clocks.is_login_over)
    }

    fn doing(&self) -> Doing {
        if !self.intake.is_up {
            return Doing::Starting;
        }
        if self.summary.is_waiting_for_person() || self.summary.waiting_for != WaitingFor::Nothing {
            return Doing::Waiting;
        }
        if self.summary.work.open_tool().is_some() || !self.intake.is_busy {
            let open = self.summary.work.open_calls();
            let is_mcp = open.is_mcp || !open.of_ours.is_empty();
            return if is_mcp { Doing::McpTool } else { Doing::Tool };
        }
        match self.clocks.requesting {
            true => Doing::Requesting,
            false => Doing::Answering,
        }
    }
}
