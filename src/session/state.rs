//! The states of a session.
//!
//! ```text
//!  queued ─► starting ─► running ──────────► completed | failed(cause)
//!    ▲           │          │
//!    ├─ waiting_retry ◄─────┤        any live state ─► stopping ─► cancelled | timed_out
//!    └─ asking ◄────────────┘
//! ```
//!
//! A state is a fold of the journal ([`Lifecycle::apply`]), also of entries that are still on their way there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::clarify::Clarify;
use super::id::Attempt;
pub use super::journal::StateName;
use super::journal::{AttemptEnd, Entry, SessionEnd, StateChange};
use super::login::Login;
use super::message::{Message, TaskStatus};
use super::outcome::{Ending, Outcome, StopFor};
use super::restart::Restarts;
use super::trust::{self, Trust};

/// Where a session stands; each state holds what makes sense in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It waits for a free slot.
    Queued,
    /// An attempt begins; its agent has said nothing yet.
    Starting,
    /// An agent works on it.
    Running,
    /// A person is asked before an agent works on it: the task is ambiguous, or nobody has trusted the project.
    Asking,
    /// The last attempt failed; another follows.
    WaitingRetry {
        /// The time.
        at: Timestamp,
    },
    /// Its agent is being ended.
    Stopping {
        /// The reason for the end.
        stop_for: StopFor,
    },
    /// It has ended.
    Ended {
        /// The outcome.
        #[serde(flatten)]
        outcome: Outcome,
    },
}

impl State {
    /// The name of this state.
    pub fn name(&self) -> StateName {
        match self {
            Self::Queued => StateName::Queued,
            Self::Starting => StateName::Starting,
            Self::Running => StateName::Running,
            Self::Asking => StateName::Asking,
            Self::WaitingRetry { .. } => StateName::WaitingRetry,
            Self::Stopping { .. } => StateName::Stopping,
            Self::Ended { outcome } => name_of_outcome(*outcome),
        }
    }

    /// Whether an agent of this session may be alive.
    pub fn has_agent(&self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping { .. } => true,
            Self::Queued | Self::Asking | Self::WaitingRetry { .. } | Self::Ended { .. } => false,
        }
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Ended { outcome } => Some(*outcome),
            Self::Queued
            | Self::Starting
            | Self::Running
            | Self::Asking
            | Self::WaitingRetry { .. }
            | Self::Stopping { .. } => None,
        }
    }
}

pub(super) fn name_of_outcome(outcome: Outcome) -> StateName {
    match outcome {
        Outcome::Completed => StateName::Completed,
        Outcome::Failed { .. } => StateName::Failed,
        Outcome::Cancelled => StateName::Cancelled,
        Outcome::TimedOut => StateName::TimedOut,
    }
}

/// The part of a session that the state machine decides about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lifecycle {
    /// The state.
    #[serde(flatten)]
    pub state: State,
    /// The latest attempt; none before the first.
    pub attempt: Attempt,
    /// The conversation a next attempt resumes; none where it has to begin a new one.
    pub agent_session_id: Option<Uuid>,
    /// What is remembered of its restarts.
    pub restarts: Restarts,
    /// How far the clarification of its task has come.
    #[serde(default)]
    pub clarify: Clarify,
    /// Whether what the project brings may start by itself.
    #[serde(default)]
    pub trust: Trust,
    /// The agent's login, as far as the session has used it.
    #[serde(default)]
    pub login: Login,
    /// How the session ended last. None before the first end, and again once the model has worked on it since.
    #[serde(default)]
    pub last_end: Option<SessionEnd>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            state: State::Queued,
            attempt: Attempt::NONE,
            agent_session_id: None,
            restarts: Restarts::default(),
            clarify: Clarify::Unasked,
            trust: Trust::Unasked,
            login: Login::default(),
            last_end: None,
        }
    }
}

impl Lifecycle {
    /// Takes one journal entry into account; entries that say nothing about the lifecycle change nothing.
    pub fn apply(&mut self, entry: &Entry, at: Timestamp) {
        self.login.take(entry);
        match entry {
            Entry::SessionState(change) => self.change_state(change),
            Entry::AttemptStarted(start) => {
                self.attempt = start.attempt;
                self.agent_session_id = Some(start.agent_session_id);
            }
            Entry::AttemptEnded(end) => {
                self.end_attempt(end, at);
                self.find_project(&end.ending);
            }
            Entry::SessionResumed(_) => {
                self.restarts = Restarts::default();
                self.analyse_again();
                self.trust.ask_again();
                self.know_last_end();
            }
            Entry::SessionCreated(created) => {
                self.trust = Trust::of_new(created.project.as_deref());
                if created.request.clarify {
                    self.clarify = Clarify::Analysing;
                }
            }
            Entry::QuestionAsked(question) if self.is_asking_for_trust() => {
                self.trust = Trust::Asking {
                    question: question.question_id,
                };
            }
            Entry::QuestionAnswered(answered) if self.trust.is_asking(answered.question_id) => {
                if let Some(trust::Meaning::Start(decision)) = trust::meaning(&answered.answer) {
                    self.trust = Trust::decided(decision);
                }
            }
            Entry::QuestionAsked(question) if self.is_asking() => {
                self.clarify = Clarify::Asking {
                    question: question.question_id,
                };
            }
            Entry::TaskRefined(_) => self.clarify = Clarify::Settled,
            Entry::SessionEnded(end) => {
                self.state = State::Ended { outcome: end.outcome };
                self.last_end = Some(end.clone());
            }
            Entry::AgentMessage(said) => self.take_message(&said.message),
            // Other records are folded elsewhere, or only told.
            _ => {}
        }
    }

    /// A session that ended under an earlier version has its outcome alone.
    fn know_last_end(&mut self) {
        if let State::Ended { outcome } = self.state {
            let summary = || {
                outcome
                    .cause()
                    .map_or_else(|| outcome.name().to_owned(), |cause| cause.to_string())
            };
            self.last_end.get_or_insert_with(|| SessionEnd {
                outcome,
                summary: summary(),
            });
        }
    }

    fn take_message(&mut self, message: &Message) {
        match message {
            Message::ConversationReset { agent_session_id } => self.agent_session_id = Some(*agent_session_id),
            Message::TurnEnded(end) if !end.is_error => {
                self.restarts.note_progress();
                if end.is_work() {
                    self.last_end = None;
                }
            }
            // A slash command that runs as a fork is a task of its own, and its turn has no rounds.
            Message::TaskEnded {
                status: TaskStatus::Completed,
                ..
            } => self.last_end = None,
            _ => {}
        }
    }

    /// Whether a question that is recorded now is our own about the project: it comes before all others.
    fn is_asking_for_trust(&self) -> bool {
        self.trust == Trust::Due && self.state == State::Asking
    }

    /// Whether a question that is recorded now is our own about the task: an agent asks only while it lives.
    fn is_asking(&self) -> bool {
        self.clarify == Clarify::Analysing && self.state == State::Asking
    }

    /// A question about the task does not outlive the end of its session; a resumed one finds out anew what to ask.
    fn analyse_again(&mut self) {
        if matches!(self.clarify, Clarify::Asking { .. }) {
            self.clarify = Clarify::Analysing;
        }
    }

    fn change_state(&mut self, change: &StateChange) {
        self.state = match change.to {
            StateName::Queued => State::Queued,
            StateName::Starting => State::Starting,
            StateName::Running => State::Running,
            StateName::Asking => State::Asking,
            StateName::WaitingRetry => State::WaitingRetry {
                at: change.until.unwrap_or(Timestamp::MIN),
            },
            StateName::Stopping => State::Stopping {
                stop_for: change.stop_for.unwrap_or(StopFor::Cancelled),
            },
            // The outcome itself follows in `session.ended`, of the same append.
            StateName::Completed | StateName::Failed | StateName::Cancelled | StateName::TimedOut => return,
        };
    }

    /// What an attempt found in the directory decides whether a person is asked, whatever was decided before.
    fn find_project(&mut self, ending: &Ending) {
        if let Ending::Untrusted { project } = ending {
            self.trust = Trust::of_new(Some(project));
        }
    }

    fn end_attempt(&mut self, end: &AttemptEnd, at: Timestamp) {
        match &end.ending {
            ending if ending.is_charged() => {
                self.restarts.count_charged(ending.name(), end.open_tool.as_deref(), at);
            }
            Ending::Quota { .. } | Ending::ApiDown { .. } | Ending::NotSignedIn { until: Some(_), .. } => {
                self.restarts.count_uncharged();
            }
            Ending::Finished
            | Ending::Refused { .. }
            | Ending::NotSignedIn { until: None, .. }
            | Ending::Crashed
            | Ending::Panicked
            | Ending::Stalled
            | Ending::LostContext { .. }
            | Ending::NotStarted { .. }
            | Ending::Untrusted { .. }
            | Ending::Stopped => {}
        }
        if matches!(end.ending, Ending::LostContext { .. }) {
            self.agent_session_id = None;
        }
    }
}
