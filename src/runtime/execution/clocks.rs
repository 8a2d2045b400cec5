//! The clocks of a live attempt: silence, waits for quota and for the API. They run on the monotonic clock.
//!
//! If an agent is silent for too long, the daemon writes a notice, interrupts the agent, and then ends it; the attempt
//! counts as stalled. A silent tool is at work as long as a process lives that began after the call: the daemon asks the
//! host for it. MCP servers and earlier background shells began before. A call of our own tools is at work as long as
//! the session that it waits for: the daemon asks the supervisor for it.

use jiff::Timestamp;
use tokio::time::Instant;

use super::*;
use crate::runtime::messages::IsAwaited;
use crate::session::login;
use crate::session::message::Message;
use crate::session::patience::Doing;
use crate::session::summary::WaitingFor;

/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// How long an interrupted agent has before it is ended.
const INTERRUPT_GRACE: Duration = Duration::from_secs(30);

/// Wait before a tool is interrupted whose process, or the session that it waits for, may have ended just now.
const RESULT_GRACE: Duration = Duration::from_secs(5);

/// How much older than its call a tool's process may look: its age is counted in clock ticks.
const AGE_ERROR: Duration = Duration::from_millis(20);

/// What the clocks have seen.
pub(super) struct Clocks {
    /// The agent's last sign of life.
    last_sign: Instant,
    /// The last one in its output. Open calls were made before it.
    last_said: Instant,
    /// The model was asked and has not begun to answer.
    pub requesting: bool,
    /// What the agent waits for besides people, and since when.
    waiting: (WaitingFor, Instant),
    /// How the API failed last.
    api_failure: String,
    /// Until when a refused login is tried again, by the journal and by the monotonic clock.
    login: Option<(Timestamp, Instant)>,
    /// The refused login was tried for long enough.
    is_login_over: bool,
    /// The agent was interrupted because of its silence.
    interrupted: bool,
    /// The daemon has asked since the last sign for signs that the agent's output does not show.
    asked_for_signs: bool,
    timer: Option<SpawnHandle>,
}

impl Clocks {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            last_sign: now,
            last_said: now,
            requesting: false,
            waiting: (WaitingFor::Nothing, now),
            api_failure: String::new(),
            login: None,
            is_login_over: false,
            interrupted: false,
            asked_for_signs: false,
            timer: None,
        }
    }

    /// The agent has given a sign of life.
    pub(super) fn sign(&mut self) {
        self.works();
        self.last_said = self.last_sign;
    }

    /// Something beside its output shows that the agent is at work.
    fn works(&mut self) {
        self.last_sign = Instant::now();
        self.asked_for_signs = false;
    }

    /// The model answers. The journal hears of it when a block is whole, and until then says that the agent waits.
    pub(super) fn answers(&mut self) {
        self.requesting = false;
        self.waiting.1 = Instant::now();
    }

    /// The API has failed, and is asked again.
    pub(super) fn api_failed(&mut self, status: Option<u16>, error: &str) {
        self.requesting = false;
        let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        self.api_failure = format!("{status}, {error}");
    }

    /// Nothing is heard of the agent, through no fault of its own.
    fn hold(&mut self) {
        self.sign();
        self.waiting.1 = self.last_sign;
    }
}

impl Execution {
    /// Looks at the clocks now, and again when the next one may have run out.
    pub(super) fn look_at_clocks(&mut self, ctx: &mut Context<Self>) {
        if self.closing.is_begun() {
            return;
        }
        if self.reach.is_failing() {
            self.clocks.hold();
            return self.look_again_in(LOOK_MAX, ctx);
        }
        let now = Instant::now();
        let holds = self.look_at_holds(now, ctx);
        let silence = self.look_at_silence(now, ctx);
        if self.closing.is_begun() {
            return;
        }
        let wait = [holds, silence]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(LOOK_MAX)
            .min(LOOK_MAX);
        self.look_again_in(wait, ctx);
    }

    /// Looks at the clocks after this wait instead of whenever that was to be.
    fn look_again_in(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        let timer = ctx.run_later(wait, |act, ctx| act.look_at_clocks(ctx));
        if let Some(before) = self.clocks.timer.replace(timer) {
            ctx.cancel_future(before);
        }
    }

    /// How long a wait for quota or for the API may still last; ends the agent when it is over.
    fn look_at_holds(&mut self, now: Instant, ctx: &mut Context<Self>) -> Option<Duration> {
        let waiting_for = self.summary.waiting_for;
        if self.clocks.waiting.0 != waiting_for {
            self.clocks.waiting = (waiting_for, now);
        }
        let settings = Arc::clone(&self.surroundings.settings);
        let (hold, ending) = match waiting_for {
            WaitingFor::Nothing | WaitingFor::Room => return None,
            WaitingFor::Timer => return self.left_for_timers(ctx),
            WaitingFor::Login => return self.look_at_login(now, ctx),
            WaitingFor::Quota => {
                let hold = if settings.restart.resume_after_quota {
                    settings.quota_hold
                } else {
                    Duration::ZERO
                };
                (
                    hold,
                    Ending::Quota {
                        resets_at: self.summary.quota_resets_at,
                    },
                )
            }
            WaitingFor::Api => {
                let message = format!(
                    "it was asked for {} minutes ({})",
                    settings.api_hold.as_secs() / 60,
                    self.clocks.api_failure
                );
                (settings.api_hold, Ending::ApiDown { message })
            }
        };
        let left = hold.saturating_sub(now.duration_since(self.clocks.waiting.1));
        if left.is_zero() {
            self.begin_close(ending, ctx);
        }
        Some(left)
    }

    /// How long a refused login may still be tried again; ends the agent when that is over. The hold does not begin anew
    /// with an attempt or with a daemon, and a clock that jumps makes it neither longer nor shorter.
    fn look_at_login(&mut self, now: Instant, ctx: &mut Context<Self>) -> Option<Duration> {
        let until = self.summary.lifecycle.login.held_until()?;
        let deadline = match self.clocks.login {
            Some((known, deadline)) if known == until => deadline,
            Some(_) | None => {
                let left = Duration::try_from(until.duration_since(self.surroundings.outside.clock.now()));
                let left = left.unwrap_or_default().min(self.surroundings.settings.login_hold);
                now.checked_add(left)?
            }
        };
        self.clocks.login = Some((until, deadline));
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            self.clocks.is_login_over = true;
            let (message, until) = (self.clocks.api_failure.clone(), None);
            self.begin_close(Ending::NotSignedIn { message, until }, ctx);
        }
        Some(left)
    }

    /// Notes in a refusal of the login until when the login is tried again.
    pub(super) fn hold_login(&mut self, message: &mut Message) {
        let is_refusal = login::is_refusal(message);
        if let Message::ApiRetry { login_until, .. } = message
            && is_refusal
        {
            let now = self.surroundings.outside.clock.now();
            *login_until = self.intake.login.refused(now, self.surroundings.settings.login_hold());
        }
        self.intake.login.take_message(message);
    }

    /// Until when a session whose agent has given up on the login tries it again, if it does.
    pub(super) fn login_is_tried_until(&self) -> Option<Timestamp> {
        let now = self.surroundings.outside.clock.now();
        let until = self
            .summary
            .login()
            .refused(now, self.surroundings.settings.login_hold());
        until.filter(|until| *until > now && !self.clocks.is_login_over)
    }

    /// How long the silence may still last; acts when it has lasted too long.
    fn look_at_silence(&mut self, now: Instant, ctx: &mut Context<Self>) -> Option<Duration> {
        let doing = self.doing();
        if doing == Doing::Waiting {
            // An agent that was waited for has its whole time again when the wait is over.
            self.clocks.sign();
        }
        let silence = now.duration_since(self.clocks.last_sign);
        if self.clocks.interrupted {
            let left = INTERRUPT_GRACE.saturating_sub(silence);
            if left.is_zero() {
                self.begin_close(Ending::Stalled, ctx);
            }
            return Some(left);
        }
        let left = self.surroundings.settings.patience.with(doing)?.saturating_sub(silence);
        if left.is_zero() {
            match doing {
                Doing::Tool | Doing::McpTool if !self.clocks.asked_for_signs && self.ask_for_signs(ctx) => {
                    self.clocks.asked_for_signs = true;
                    return None;
                }
                Doing::Tool
                | Doing::McpTool
                | Doing::Starting
                | Doing::Requesting
                | Doing::Answering
                | Doing::Waiting => {
                    self.interrupt_for_silence(doing, silence, ctx);
                }
            }
        }
        Some(left)
    }

    /// Asks for signs of life that the agent's output does not show. Returns false if the open calls have no such signs.
    fn ask_for_signs(&mut self, ctx: &mut Context<Self>) -> bool {
        let open = self.summary.work.open_calls();
        if !open.of_ours.is_empty() {
            let (by, awaited) = (self.task.session_id, open.of_ours);
            let asked = self.supervisor.send(IsAwaited { by, awaited });
            ctx.spawn(asked.into_actor(self).map(|answer, act, ctx| {
                // Without an answer the daemon is on its way down.
                act.sessions_looked_up(answer.unwrap_or(true), ctx);
            }));
            return true;
        }
        let may_have_process = open.has_process || !open.is_mcp;
        if may_have_process {
            self.send(&ToHost::CountChildren);
        }
        may_have_process
    }

    /// The supervisor has said whether a session lives that a call of our own tools waits for.
    fn sessions_looked_up(&mut self, lives: bool, ctx: &mut Context<Self>) {
        if lives {
            self.clocks.works();
            self.look_at_clocks(ctx);
        } else if self.summary.work.open_calls().has_process {
            self.send(&ToHost::CountChildren);
        } else {
            self.look_again_in(RESULT_GRACE, ctx);
        }
    }

    /// The host has counted the processes that the agent has started. If one of them began after the silent call, the
    /// tool is at work. Otherwise its process may have ended just now and its result may be on the way: after a grace
    /// the next look interrupts it.
    pub(super) fn children_counted(&mut self, count: usize, youngest_ms: Option<u64>, ctx: &mut Context<Self>) {
        if count > 0 && self.is_of_open_call(youngest_ms) {
            self.clocks.works();
        }
        if self.clocks.asked_for_signs {
            self.look_again_in(RESULT_GRACE, ctx);
        } else {
            self.look_at_clocks(ctx);
        }
    }

    /// True if a process of this age may have begun after the silent calls. A host of an older version tells no age, and
    /// a daemon of an older version has not written down the time of a call; then every process counts.
    fn is_of_open_call(&self, age_ms: Option<u64>) -> bool {
        let (Some(age_ms), Some(since)) = (age_ms, self.summary.work.open_calls().process_since) else {
            return true;
        };
        let by_clock = self.surroundings.outside.clock.now().duration_since(since);
        // The call is at least as old as the last output, whatever the wall clock shows.
        let silence = self.clocks.last_said.elapsed();
        let called_before = Duration::try_from(by_clock).unwrap_or_default().max(silence);
        Duration::from_millis(age_ms) <= called_before + AGE_ERROR
    }

    fn interrupt_for_silence(&mut self, doing: Doing, silence: Duration, ctx: &mut Context<Self>) {
        let seconds = silence.as_secs();
        let text = format!(
            "the agent has been silent for {seconds} s while {}: it is interrupted",
            doing.words()
        );
        tracing::warn!("{text}");
        self.notice(text, ctx);
        self.write_control("interrupt");
        self.clocks.interrupted = true;
        self.clocks.last_sign = Instant::now();
    }

    /// Whether the turn that ends now ends because of our interrupt.
    pub(super) fn is_interrupted_for_silence(&self) -> bool {
        self.clocks.interrupted
    }

    fn doing(&self) -> Doing {
        if !self.is_up {
            return Doing::Starting;
        }
        if self.summary.is_waiting_for_person() || self.summary.waiting_for != WaitingFor::Nothing {
            return Doing::Waiting;
        }
        if self.summary.work.open_tool().is_some() || !self.busy {
            let open = self.summary.work.open_calls();
            let is_mcp = open.is_mcp || !open.of_ours.is_empty();
            return if is_mcp { Doing::McpTool } else { Doing::Tool };
        }
        if self.clocks.requesting {
            Doing::Requesting
        } else {
            Doing::Answering
        }
    }
}
