//! The terms that hold in a session now: what was asked for, as changed by what was settled since.
//!
//! The CLI keeps its permission mode, the rights granted to it and a switched model in memory only. They are folded from
//! the journal here, and each attempt is started with them: an attempt is never allowed more than the one before was
//! when it ended, and never less than a person granted for the session.

use serde::{Deserialize, Serialize};

use super::{Summary, Waiting};
use crate::session::clarify::Clarify;
use crate::session::grant::Grant;
use crate::session::journal::{Answered, Entry, Input, Resumed};
use crate::session::message::{InputState, Message};
use crate::session::request::{PermissionMode, Request};
use crate::session::terms::{Terms, add};

/// Maximum rules granted in a session that a next attempt is started with; what is granted beyond is asked again.
const RULES_MAX: usize = 256;

/// Maximum directories granted in a session that a next attempt is started with.
const DIRECTORIES_MAX: usize = 64;

/// The command of the CLI that switches the model. Its argument is a model as the CLI takes one at its start.
const MODEL_COMMAND: &str = "/model";

/// How the CLI's answer to that command begins if the model is switched. It names the model as a person knows it, which
/// is no name that the CLI takes.
const MODEL_IS_SET: &str = "Set model to ";

/// The terms of a session, with what is needed to go on folding them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effective {
    /// What holds instead of the request, or besides it.
    pub terms: Terms,
    /// The mode that was asked for; none in a row of a version that did not keep it.
    asked_mode: Option<PermissionMode>,
    /// The mode that was granted last, until the agent says that another one is in force.
    granted_mode: Option<PermissionMode>,
    /// Model and mode at the last beginning of a turn in the current attempt.
    turn: Option<TurnModel>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TurnModel {
    model: String,
    mode: String,
}

impl Effective {
    /// The terms of a session that begins.
    pub fn asked_for(request: &Request) -> Self {
        Self {
            asked_mode: Some(request.asked_mode()),
            ..Self::default()
        }
    }

    /// The mode that was asked for, where that is known.
    pub fn asked_mode(&self) -> Option<PermissionMode> {
        self.asked_mode
    }

    /// Returns true if the agent went over to plan mode from the one in which nothing is asked: in such a plan mode a
    /// person is asked for everything.
    pub fn asks_in_plan(&self) -> bool {
        let asked = self.asked_mode == Some(PermissionMode::BypassPermissions);
        asked && self.terms.permission_mode == Some(PermissionMode::Plan)
    }

    /// The terms for a session in a copy of this one's conversation, cut where `earlier` held. A right granted "for the
    /// rest of this session" is not for a copy; a mode that the agent changed by itself or by an approved plan is part
    /// of what the conversation is at.
    pub fn for_copy(&self, earlier: &Self, request: &Request) -> Terms {
        let asked = request.asked_mode();
        let now = self.without_grants(asked);
        let mut terms = now.narrowed_to(&earlier.without_grants(asked), asked);
        // A copy that starts in plan mode would have the classifier decide; this mode asks for the same.
        if self.asks_in_plan() || earlier.asks_in_plan() {
            terms.permission_mode = Some(PermissionMode::Default);
        }
        terms
    }

    fn without_grants(&self, asked: PermissionMode) -> Terms {
        let is_granted = |mode: &PermissionMode| self.granted_mode == Some(*mode);
        let mode = self.terms.permission_mode;
        Terms {
            permission_mode: mode.map(|mode| if is_granted(&mode) { mode.narrower(asked) } else { mode }),
            allowed_tools: Vec::new(),
            add_dirs: Vec::new(),
            model: self.terms.model.clone(),
        }
    }

    fn take_mode(&mut self, name: &str) {
        if name.is_empty() {
            return;
        }
        // A mode of a newer CLI, of which it is not known what it allows, is followed by one that asks.
        let mode = PermissionMode::named(name).unwrap_or_else(|| {
            let asks = PermissionMode::Default;
            self.asked_mode.map_or(asks, |asked| asked.narrower(asks))
        });
        if self.granted_mode != Some(mode) {
            self.granted_mode = None;
        }
        self.terms.permission_mode = Some(mode).filter(|mode| Some(*mode) != self.asked_mode);
    }

    /// A model that changes from one turn of a process to the next was switched. One that changes along with the mode
    /// follows from it, as with a model for plans.
    fn take_turn(&mut self, model: &str, mode: &str) {
        let turn = TurnModel {
            model: model.to_owned(),
            mode: mode.to_owned(),
        };
        let before = self.turn.replace(turn);
        if before.is_some_and(|before| before.model != model && before.mode == mode) {
            self.terms.model = Some(model.to_owned());
        }
    }

    /// The model was switched by name. The next turn runs with what the name stands for, which is no further switch.
    fn take_switch(&mut self, model: &str) {
        self.terms.model = Some(model.to_owned());
        self.turn = None;
    }

    fn take_grant(&mut self, grant: &Grant) {
        match grant {
            Grant::Rules { rules } => {
                let flags: Vec<_> = rules.iter().filter_map(|rule| rule.flag()).collect();
                add(&mut self.terms.allowed_tools, &flags);
                self.terms.allowed_tools.truncate(RULES_MAX);
            }
            // The agent says by itself when the mode is another one.
            Grant::Mode { mode } => self.granted_mode = Some(*mode),
            Grant::Directories { directories } => {
                add(&mut self.terms.add_dirs, directories);
                self.terms.add_dirs.truncate(DIRECTORIES_MAX);
            }
        }
    }

    fn resume(&mut self, resumed: &Resumed) {
        if resumed.at.is_none() {
            return;
        }
        self.terms = resumed.terms.as_deref().cloned().unwrap_or_else(|| Terms {
            allowed_tools: Vec::new(),
            add_dirs: Vec::new(),
            ..self.terms.clone()
        });
    }
}

impl Waiting {
    /// Keeps an answer. Its grants are those of the question as it was answered: asked again by another agent, it may
    /// suggest others.
    pub(super) fn take_answer(&mut self, answered: &Answered) {
        self.answer = Some(answered.answer.clone());
        let of_before = || self.question.kind.granted(&answered.answer).unwrap_or_default();
        self.granted = Some(if answered.granted.is_empty() {
            of_before()
        } else {
            answered.granted.clone()
        });
    }

    /// What its answer grants. A row of a version that did not keep it has the answer, of which rules are granted and
    /// what nobody was shown is not.
    pub fn grants(&self) -> Vec<Grant> {
        let of_answer = || Some(self.question.kind.granted(self.answer.as_ref()?).unwrap_or_default());
        self.granted.clone().or_else(of_answer).unwrap_or_default()
    }
}

impl Summary {
    /// Takes an entry into account that may change the terms; questions still stand as before it.
    pub(super) fn settle_terms(&mut self, entry: &Entry) {
        match entry {
            Entry::AttemptStarted(_) => self.effective.turn = None,
            Entry::AgentMessage(said) => self.settle_said(&said.message),
            Entry::QuestionDelivered(delivered) => {
                let waiting = self.questions.get(&delivered.question_id);
                let grants = waiting.map(|waiting| waiting.grants()).unwrap_or_default();
                grants.iter().for_each(|grant| self.effective.take_grant(grant));
            }
            Entry::SessionResumed(resumed) => self.effective.resume(resumed),
            _ => {}
        }
    }

    fn settle_said(&mut self, message: &Message) {
        // An analysis has a mode of its own, which ends with it.
        let is_analysis = match self.lifecycle.clarify {
            Clarify::Analysing | Clarify::Asking { .. } => true,
            Clarify::Unasked | Clarify::Settled => false,
        };
        match message {
            Message::TurnStarted {
                model, permission_mode, ..
            } => {
                self.effective.take_turn(model, permission_mode);
                if !is_analysis {
                    self.effective.take_mode(permission_mode);
                }
            }
            Message::ModeChanged { permission_mode } if !is_analysis => self.effective.take_mode(permission_mode),
            Message::CommandOutput { text, failed: false } if text.starts_with(MODEL_IS_SET) => {
                if let Some(model) = self.model_commanded().map(str::to_owned) {
                    self.effective.take_switch(&model);
                }
            }
            _ => {}
        }
    }

    /// The model that the message under way asks for, if that message is the command that switches models.
    fn model_commanded(&self) -> Option<&str> {
        let started = |input: &&Input| input.state == InputState::Started;
        let command = self.inputs.iter().rfind(started)?.text.as_deref()?;
        let (name, model) = command.split_once(char::is_whitespace)?;
        Some(model.trim()).filter(|model| name == MODEL_COMMAND && !model.is_empty())
    }
}

#[cfg(test)]
mod tests;
