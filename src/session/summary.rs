//! The fold of a journal: everything about a session that is asked for often, in one row.
//!
//! The store keeps it beside the records and writes both in one transaction; folding all records again must give the
//! same, which is what the tests hold it against.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::active::moved;
pub use self::answers::Waiting;
pub use self::effective::Effective;
use super::clarify::{Clarifications, Clarify};
use super::evidence::{self, Evidence};
use super::excerpt;
use super::id::{QuestionId, Seq, SessionId};
use super::journal::{Created, Entry, Input, Record};
use super::limits::{Limits, Used};
use super::message::{ApiFault, InputState, Message, TurnEnd, Usage};
use super::outcome::Ending;
use super::request::Claim;
use super::shown::Shown;
pub use super::stall::WaitingFor;
use super::state::{Lifecycle, State};
use super::timers::Timers;
use super::trust::Project;
use super::turn::{Pending, Turns};

mod active;
mod answers;
mod effective;
mod limits;
mod project;
mod waits;

/// How much of a final text the summary keeps, in bytes; the record has all of it.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;

/// How much of the task the summary keeps, in characters.
pub const TASK_CHARS_MAX: usize = 200;

/// What is known of a session without reading its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The session.
    pub session_id: SessionId,
    /// What a person calls it.
    pub name: String,
    /// The beginning of its task.
    pub task: String,
    /// The directory it works in.
    pub cwd: PathBuf,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its last record was written.
    pub updated_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// The time of its last end.
    pub ended_at: Option<Timestamp>,
    /// Where it stands, and its attempts.
    pub lifecycle: Lifecycle,
    /// The number of its last record.
    pub head: Seq,
    /// How much of the current attempt's spool is journalled, in bytes.
    pub through_offset: u64,
    /// Questions that are open or whose answer is not delivered.
    pub questions: BTreeMap<QuestionId, Waiting>,
    /// Questions whose answer let an agent act, which has taken it and has not told the result.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acting: BTreeMap<QuestionId, Waiting>,
    /// How many questions were ever asked.
    pub questions_asked: u32,
    /// Messages to the agent that it is not done with, in the order they were sent.
    pub inputs: Vec<Input>,
    /// Messages that the agent says it is done with, and whose turn has not ended.
    #[serde(default)]
    pub under_way: Vec<Input>,
    /// What a session that has an agent waits for, besides people.
    pub waiting_for: WaitingFor,
    /// When the usage limit that was met last is reset, if the agent said so.
    #[serde(default)]
    pub quota_resets_at: Option<Timestamp>,
    /// When the agent asks the API again that failed last.
    #[serde(default)]
    pub api_retry_at: Option<Timestamp>,
    /// What the agent of the current attempt is up to.
    pub work: Turns,
    /// Timers that the agent has set for itself.
    #[serde(default)]
    pub timers: Timers,
    /// Work of the agent's that went on at the end of the last attempt and was ended with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<String>,
    /// Model calls that ended turns and ended attempts have counted; [`Summary::turns_by_now`] has all.
    pub turns: u32,
    /// What has been used so far.
    pub usage: Usage,
    /// What of it results have told, where the agent has told of more since.
    #[serde(default)]
    pub settled: Option<Usage>,
    /// The model, once the agent has named it.
    pub model: Option<String>,
    /// The agent's version, once it has named it.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The record of the last checkpoint.
    pub checkpoint: Option<Seq>,
    /// The last final text, cut at [`RESULT_BYTES_MAX`].
    pub result: Option<String>,
    /// The last structured output.
    pub structured_output: Option<Value>,
    /// The sentence about its end, or about what it waits for.
    pub note: Option<String>,
    /// How long an agent was at work for it, in milliseconds, up to `active_since`.
    pub active_ms: u64,
    /// Since when one is at work, while one is.
    pub active_since: Option<Timestamp>,
    /// From when to when one was at work the last time, as it is counted in `active_ms`.
    #[serde(default)]
    pub active_last: Option<(Timestamp, Timestamp)>,
    /// The limits in force; none in rows of earlier versions, where those of the request hold.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// What does not count against its limits: what it had used when it was last resumed by hand.
    #[serde(default)]
    pub used_before: Used,
    /// What was made clear about the task before it was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clarifications: Option<Clarifications>,
    /// An agent was given the task.
    #[serde(default)]
    pub is_told: bool,
    /// Set while the next start looks at what the directory starts by itself: from the request, or a resume by hand,
    /// until the agent is told something. Rows of versions before do not have it.
    #[serde(default)]
    pub checks_project: bool,
    /// Whether the conversation that a next attempt resumes was ever written down.
    #[serde(default, alias = "has_spoken", rename = "kept", deserialize_with = "evidence::read")]
    pub evidence: Evidence,
    /// Why a next attempt has to rebuild the conversation, while it has to.
    #[serde(default)]
    pub lost: Option<String>,
    /// The last message to keep of the conversation, while a resume by hand cuts it there and no turn has ended since.
    #[serde(default)]
    pub cut: Option<Uuid>,
    /// The key under which its creator can find it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What starts by itself, unless it was trusted without a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Box<Project>>,
    /// The terms that a next attempt is started with.
    #[serde(default)]
    pub effective: Effective,
    /// The session whose agent asked for it, where one did; none in rows of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
}

impl Summary {
    /// The summary of a session that was just created, before any record is folded in.
    pub fn new(session_id: SessionId, created: &Created, at: Timestamp) -> Self {
        Self {
            session_id,
            name: created.request.shown_name(),
            task: created.request.task.chars().take(TASK_CHARS_MAX).collect(),
            cwd: created.request.cwd.clone(),
            created_at: at,
            updated_at: at,
            started_at: None,
            ended_at: None,
            lifecycle: Lifecycle::default(),
            head: Seq::default(),
            through_offset: 0,
            questions: BTreeMap::new(),
            acting: BTreeMap::new(),
            questions_asked: 0,
            inputs: Vec::new(),
            under_way: Vec::new(),
            waiting_for: WaitingFor::Nothing,
            quota_resets_at: None,
            api_retry_at: None,
            work: Turns::default(),
            timers: Timers::default(),
            cut_off: Vec::new(),
            turns: 0,
            usage: Usage::default(),
            settled: None,
            model: None,
            agent_version: None,
            checkpoint: None,
            result: None,
            structured_output: None,
            note: None,
            active_ms: 0,
            active_since: None,
            active_last: None,
            limits: Some(created.request.limits()),
            used_before: Used::default(),
            clarifications: None,
            is_told: false,
            checks_project: true,
            evidence: Evidence::default(),
            lost: None,
            cut: None,
            claim: created.claim.clone(),
            project: created.project.clone(),
            effective: Effective::asked_for(&created.request),
            parent: created.request.parent,
        }
    }

    /// Folds a whole journal; none where it does not begin with `session.created`.
    ///
    /// `through_offset` is not in the records: an attempt's stands at 0 after this.
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<Self> {
        let mut records = records.into_iter().peekable();
        let first = records.peek()?;
        let Entry::SessionCreated(created) = &first.entry else {
            return None;
        };
        let mut summary = Self::new(first.session_id, created, first.at);
        for record in records {
            summary.apply(&record.entry, record.at);
        }
        Some(summary)
    }

    /// Takes the next entry of the journal into account.
    pub fn apply(&mut self, entry: &Entry, at: Timestamp) {
        self.head = self.head.next();
        self.updated_at = at;
        self.lifecycle.apply(entry, at);
        if let Some(tool) = self.work.passed_tool(entry) {
            self.lifecycle.restarts.note_passed(tool);
        }
        let call = Timers::call_of(entry).and_then(|id| self.work.tool(id));
        self.timers.take(entry, at, call);
        self.work.note_time(at);
        self.work.take(entry);
        self.evidence.take(entry);
        self.settle_terms(entry);
        self.take_entry(entry, at);
        // The change of state behind the end of an attempt says what follows it.
        if !matches!(entry, Entry::AttemptEnded(_)) {
            self.note_wait_for_timers(at);
        }
        self.keep_time(at);
    }

    /// Takes note of a record of which nothing is known but that it is there.
    pub fn pass_over(&mut self, at: Timestamp) {
        self.head = self.head.next();
        self.updated_at = at;
    }

    fn take_entry(&mut self, entry: &Entry, at: Timestamp) {
        match entry {
            Entry::SessionState(change) => self.note = Some(change.reason.clone()),
            Entry::AttemptStarted(_) => {
                self.started_at.get_or_insert(at);
                self.through_offset = 0;
                self.cut_off.clear();
                if self.lifecycle.clarify == Clarify::Analysing {
                    // The verdict is the one that this attempt gives.
                    (self.result, self.structured_output) = (None, None);
                }
            }
            Entry::Input(input) => self.take_input(input),
            Entry::AgentMessage(said) => self.take_message(&said.message, at),
            Entry::Checkpoint(_) => self.checkpoint = Some(self.head),
            Entry::Usage(usage) => {
                self.settled.get_or_insert(self.usage);
                self.usage = usage.rounded();
            }
            Entry::QuestionAsked(question) => self.ask(question, at),
            Entry::QuestionAnswered(answered) => self.take_answer(answered),
            Entry::QuestionDelivered(delivered) => self.deliver(delivered.question_id),
            Entry::QuestionWithdrawn(withdrawn) => {
                self.questions.remove(&withdrawn.question_id);
            }
            Entry::AttemptEnded(end) => {
                self.note_unwritten(end);
                if let Ending::Untrusted { project } = &end.ending {
                    self.project = Some(project.clone());
                }
                self.end_attempt(&end.ending);
            }
            Entry::WorkCutOff(cut_off) => self.cut_off.clone_from(&cut_off.what),
            Entry::SessionResumed(resumed) => self.resume(resumed),
            Entry::ContextRebuilt(_) => {
                // What was on its way is told anew, in the words of who rebuilds.
                self.forget_inputs();
                self.lost = None;
            }
            Entry::TaskRefined(refined) => {
                // What the analysis was told is done with, and what it said is no result of the task.
                self.forget_inputs();
                (self.result, self.structured_output) = (None, None);
                self.clarifications = Some(refined.clarifications.clone());
            }
            Entry::ClockJumped(jump) => self.take_jump(jump, at),
            Entry::SessionEnded(end) => {
                self.ended_at = Some(at);
                self.note = Some(end.summary.clone());
                self.questions.clear();
                self.acting.clear();
            }
            // Other records are folded elsewhere, or only told.
            _ => {}
        }
    }

    /// The state as it is shown: what a person wants to know first.
    pub fn shown_state(&self) -> Shown {
        self.shown().0
    }

    /// A sentence about the state as it is shown.
    pub fn shown_note(&self) -> Option<Cow<'_, str>> {
        self.shown().1.or(self.note.as_deref().map(Cow::Borrowed))
    }

    /// The state as it is shown, and what is to be said about it where that is another one than the journal's.
    fn shown(&self) -> (Shown, Option<Cow<'static, str>>) {
        let asked = (
            Shown::AwaitingInput,
            Some("it goes on when its question is answered".into()),
        );
        match &self.lifecycle.state {
            state if self.waiting_for == WaitingFor::Room && state.outcome().is_none() => (Shown::Paused, None),
            State::Starting | State::Running if self.is_waiting_for_person() => asked,
            State::Asking => asked,
            State::Running => match self.waiting_for {
                WaitingFor::Nothing => (Shown::Running, None),
                WaitingFor::Quota => {
                    let note = "its usage limit is reached; it goes on when that is reset";
                    (Shown::WaitingQuota, Some(note.into()))
                }
                WaitingFor::Api => (Shown::WaitingApi, Some("the API fails; the agent asks it again".into())),
                WaitingFor::Login => (Shown::WaitingLogin, Some(self.lifecycle.login.note().into())),
                WaitingFor::Timer => {
                    let note = "the agent waits for a timer that it has set; it goes on when that fires";
                    (Shown::WaitingTimer, Some(note.into()))
                }
                WaitingFor::Room => (Shown::Paused, None),
            },
            state @ (State::Queued
            | State::Starting
            | State::WaitingRetry { .. }
            | State::Stopping { .. }
            | State::Ended { .. }) => (state.name().into(), None),
        }
    }

    /// When the session goes on by itself, where that is known.
    pub fn waits_until(&self) -> Option<Timestamp> {
        match self.lifecycle.state {
            State::WaitingRetry { at } => Some(at),
            State::Running => match self.waiting_for {
                WaitingFor::Quota => self.quota_resets_at,
                WaitingFor::Api | WaitingFor::Login => self.api_retry_at,
                WaitingFor::Timer => self.timers.next_due(),
                WaitingFor::Nothing | WaitingFor::Room => None,
            },
            State::Queued | State::Starting | State::Asking | State::Stopping { .. } | State::Ended { .. } => None,
        }
    }

    /// Whether the agent waits for an answer. A question of an agent that has died keeps nobody waiting.
    pub fn is_waiting_for_person(&self) -> bool {
        let attempt = self.lifecycle.attempt;
        self.questions
            .values()
            .any(|waiting| waiting.answer.is_none() && waiting.attempt == attempt)
    }

    /// Whether its agent is at work, and so takes up one of the slots.
    pub fn takes_slot(&self) -> bool {
        let is_held = matches!(self.waiting_for, WaitingFor::Quota | WaitingFor::Timer);
        self.lifecycle.state.has_agent() && !self.is_waiting_for_person() && !is_held
    }

    /// What is open besides the agent's own work; `busy` is whether the agent says that it works.
    pub fn open(&self, busy: bool) -> Pending {
        let queued = self.inputs.iter().any(|input| input.state == InputState::Queued);
        Pending {
            busy,
            queued,
            asked: !self.questions.is_empty(),
            // Timers that were cut off are waited for no more; the analysis of a task is over with its verdict.
            timers: !self.timers.is_empty() && self.cut_off.is_empty() && self.lifecycle.clarify != Clarify::Analysing,
        }
    }

    fn end_attempt(&mut self, ending: &Ending) {
        self.waiting_for = WaitingFor::Nothing;
        // No result will tell of the rest any more.
        self.settled = None;
        self.turns = self.turns.saturating_add(self.work.take_uncounted_rounds());
        // The model has seen nothing of the task: a next attempt gives it the task again.
        self.is_told &= !ending.is_before_model() || self.turns > 0;
        if let Ending::LostContext { message } = ending {
            self.lost = Some(message.clone());
            self.cut = None;
        }
    }

    fn take_message(&mut self, message: &Message, at: Timestamp) {
        match message {
            Message::TurnStarted {
                model, agent_version, ..
            } => {
                self.model = Some(model.clone());
                self.agent_version = Some(agent_version.clone());
            }
            // While it waits out a usage limit the CLI goes on announcing retries.
            Message::ApiRetry { error, .. }
                if *error == ApiFault::RateLimit && self.waiting_for == WaitingFor::Quota => {}
            Message::ApiRetry {
                delay_ms, login_until, ..
            } => {
                self.waiting_for = if login_until.is_some() {
                    WaitingFor::Login
                } else {
                    WaitingFor::Api
                };
                self.api_retry_at = Some(moved(at, i64::try_from(*delay_ms).unwrap_or(i64::MAX)));
            }
            Message::RateLimit { rejected: true, .. } => {
                self.waiting_for = WaitingFor::Quota;
                self.quota_resets_at = message.limit_resets_at();
            }
            Message::TurnEnded(end) => self.end_turn(end),
            Message::Text { .. } | Message::Thinking { .. } | Message::ToolUse { .. } => {
                self.waiting_for = WaitingFor::Nothing;
            }
            Message::ToolResult { tool_use_id, .. } => self.end_acting(tool_use_id),
            Message::ConversationReset { .. }
            | Message::RateLimit { rejected: false, .. }
            | Message::UserText { .. }
            | Message::ModeChanged { .. }
            | Message::PermissionDenied { .. }
            | Message::TaskStarted { .. }
            | Message::TaskEnded { .. }
            | Message::BackgroundTasks { .. }
            | Message::Timer(_)
            | Message::Compacted { .. }
            | Message::CommandOutput { .. }
            | Message::Said { .. } => {}
        }
    }

    fn end_turn(&mut self, end: &TurnEnd) {
        self.waiting_for = WaitingFor::Nothing;
        self.turns = self.turns.saturating_add(end.model_calls());
        self.usage = end.used_after(self.settled.take().unwrap_or(self.usage));
        // A turn begins a branch behind the cut.
        self.cut = self.cut.filter(|_| !end.is_of_turn());
        if end.is_work() {
            // Its agent has gone past what the one before did. One that the API failed has not.
            self.acting.clear();
        }
        self.end_turn_of_inputs(end);
        if !end.result.is_empty() {
            self.result = Some(excerpt::head(&end.result, RESULT_BYTES_MAX).to_owned());
        }
        if end.structured_output.is_some() {
            self.structured_output = end.structured_output.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::{Answered, QuestionRef};
    use crate::session::outcome::Cause;
    use crate::session::question::{Answer, Question, QuestionKind};
    use crate::session::samples::{attempt_ended, created, good_turn, input, said, text, turn_ended};
    use jiff::SignedDuration;

    fn at() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn question() -> Entry {
        let kind = QuestionKind::Plan {
            plan: None,
            input: Value::Null,
        };
        let question_id = QuestionId(1);
        Entry::QuestionAsked(Question {
            question_id,
            request_id: "r".into(),
            tool_use_id: None,
            kind,
        })
    }

    #[test]
    fn the_sentence_about_a_session_is_about_the_state_that_is_shown() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        summary.lifecycle.state = State::Running;
        summary.note = Some("the agent answers".into());
        let mut about = |waiting_for| {
            summary.waiting_for = waiting_for;
            format!("{}: {}", summary.shown_state(), summary.shown_note().unwrap())
        };
        assert_eq!(about(WaitingFor::Nothing), "running: the agent answers");
        assert_eq!(
            about(WaitingFor::Api),
            "waiting_api: the API fails; the agent asks it again"
        );
        let quota = "waiting_quota: its usage limit is reached; it goes on when that is reset";
        assert_eq!(about(WaitingFor::Quota), quota);
        summary.waiting_for = WaitingFor::Nothing;
        summary.apply(&question(), at());
        let asked = "it goes on when its question is answered";
        assert_eq!(summary.shown_note().as_deref(), Some(asked));
    }

    #[test]
    fn a_refused_login_is_shown_with_the_time_until_which_it_is_tried_again() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        summary.lifecycle.state = State::Running;
        let retry = Message::ApiRetry {
            retry: 1,
            retries_max: 300,
            delay_ms: 500,
            status: Some(401),
            error: ApiFault::AuthenticationFailed,
            login_until: Some(at()),
        };
        summary.apply(&said(retry), at());
        assert_eq!(summary.shown_state().name(), "waiting_login");
        let note = summary.shown_note().unwrap();
        assert!(
            note.contains("tries it again until 2027-01-15T08:00:00Z") && note.contains("run `claude`"),
            "{note}"
        );
        summary.apply(&said(text("m", "It works.")), at());
        assert_eq!(summary.shown_state().name(), "running");
    }

    #[test]
    fn a_login_is_known_to_work_by_what_was_used_too() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        let hold = SignedDuration::from_mins(5);
        assert_eq!(summary.login().refused(at(), hold), None);
        summary.usage.output_tokens = 1;
        assert_eq!(summary.login().refused(at(), hold), Some(at() + hold));
    }

    #[test]
    fn a_task_that_the_model_never_saw_is_told_again() {
        let is_told_after = |turns: u32, ending: Ending| {
            let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
            summary.lifecycle.state = State::Running;
            let task = Uuid::from_u128(1);
            summary.apply(&input(task, InputState::Sent, Some("tidy up")), at());
            let answers = vec![task];
            summary.apply(
                &said(turn_ended(TurnEnd {
                    turns,
                    answers,
                    ..good_turn()
                })),
                at(),
            );
            summary.apply(&input(task, InputState::Completed, None), at());
            summary.apply(&attempt_ended(ending), at());
            assert_eq!(summary.pending().count(), 0);
            summary.is_told
        };
        let refused = |cause| Ending::Refused {
            cause,
            message: String::new(),
        };
        assert!(!is_told_after(0, refused(Cause::PromptBlocked)));
        assert!(!is_told_after(0, refused(Cause::CommandFailed)));
        assert!(
            is_told_after(2, refused(Cause::PromptBlocked)),
            "an earlier turn had it"
        );
        assert!(is_told_after(0, refused(Cause::BadRequest)));
    }

    #[test]
    fn an_api_that_fails_is_asked_again_when_the_agent_says() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        summary.lifecycle.state = State::Running;
        let retry = Message::ApiRetry {
            retry: 1,
            retries_max: 10,
            delay_ms: 90_000,
            status: Some(529),
            error: ApiFault::Overloaded,
            login_until: None,
        };
        summary.apply(&said(retry), at());
        assert_eq!(
            summary.waits_until(),
            at().checked_add(jiff::SignedDuration::from_secs(90)).ok()
        );
        summary.apply(&said(text("m", "it answers")), at());
        assert_eq!(summary.waits_until(), None);
    }

    #[test]
    fn an_open_question_shows_and_frees_the_slot() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        summary.lifecycle.state = State::Running;
        assert_eq!((summary.shown_state().name(), summary.takes_slot()), ("running", true));
        summary.apply(&question(), at());
        assert_eq!(
            (summary.shown_state().name(), summary.takes_slot()),
            ("awaiting_input", false)
        );
        // The agent may ask before it is written down that it runs.
        summary.lifecycle.state = State::Starting;
        assert_eq!(
            (summary.shown_state().name(), summary.takes_slot()),
            ("awaiting_input", false)
        );
        summary.lifecycle.state = State::Running;
        let answered = Answered {
            question_id: QuestionId(1),
            answer: Answer::allow(),
            by: "me".into(),
            granted: vec![],
        };
        summary.apply(&Entry::QuestionAnswered(answered), at());
        assert_eq!((summary.shown_state().name(), summary.questions.len()), ("running", 1));
        summary.apply(
            &Entry::QuestionDelivered(QuestionRef {
                question_id: QuestionId(1),
            }),
            at(),
        );
        assert!(summary.questions.is_empty());
    }

    #[test]
    fn only_what_its_own_agents_spent_is_a_sessions_cost() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        let cost = |cost_usd| Usage {
            output_tokens: 10,
            cost_usd,
            ..Usage::default()
        };
        // A copy's count begins with that of the original, and that of a killed agent's successor falls back.
        for (total, spent) in [(5.0, Some(0.5)), (5.25, Some(0.25)), (0.5, Some(0.5))] {
            summary.end_turn(&TurnEnd {
                usage: cost(total),
                spent: spent.map(cost),
                ..TurnEnd::default()
            });
        }
        assert_eq!((summary.usage.cost_usd, summary.usage.output_tokens), (1.25, 30));
        // A resume that is refused says that nothing was used, and not what since when.
        summary.end_turn(&TurnEnd::default());
        assert_eq!(summary.usage.cost_usd, 1.25);
    }

    #[test]
    fn a_summary_of_the_version_before_is_read_and_its_conversation_taken_for_written() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        let mut row = serde_json::to_value(&summary).unwrap();
        let fields = row.as_object_mut().unwrap();
        for field in [
            "under_way",
            "settled",
            "kept",
            "quota_resets_at",
            "api_retry_at",
            "effective",
        ] {
            fields.remove(field);
        }
        summary.effective = Effective::default();
        fields.insert("has_spoken".to_owned(), true.into());
        let work = fields["work"].as_object_mut().unwrap();
        for field in ["last_answers", "rounds", "round", "in_turn"] {
            work.remove(field);
        }
        summary.evidence = Evidence::Written;
        assert_eq!(serde_json::from_value::<Summary>(row).unwrap(), summary);
    }

    #[test]
    fn a_summary_reads_as_it_is_written() {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at());
        summary.apply(&question(), at());
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    }
}
