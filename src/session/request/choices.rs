//! The choices of a request that come from closed lists: permission mode, unanswered questions, background shells.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The CLI's permission modes, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PermissionMode {
    /// Ask for what the rules do not allow.
    Default,
    /// File edits need no permission.
    AcceptEdits,
    /// Plan only; nothing is changed before the plan is approved.
    Plan,
    /// The CLI's own classifier decides.
    Auto,
    /// What would be asked is denied.
    DontAsk,
    /// Nothing is asked.
    BypassPermissions,
}

impl PermissionMode {
    /// Every mode, for help texts and completions.
    pub const ALL: [Self; 6] = [
        Self::Default,
        Self::AcceptEdits,
        Self::Plan,
        Self::Auto,
        Self::DontAsk,
        Self::BypassPermissions,
    ];

    /// The mode in the CLI's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::AcceptEdits => "acceptEdits",
            Self::Plan => "plan",
            Self::Auto => "auto",
            Self::DontAsk => "dontAsk",
            Self::BypassPermissions => "bypassPermissions",
        }
    }

    /// The mode with this name in the CLI's spelling.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// The effect of the mode, in words for a person.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Default => "ask for what the rules do not allow",
            Self::AcceptEdits => "file edits need no permission",
            Self::Plan => "nothing is changed before a plan is approved",
            Self::Auto => "a classifier of the CLI decides",
            Self::DontAsk => "what would be asked is denied",
            Self::BypassPermissions => "nothing is asked",
        }
    }

    /// The mode in which less runs without a person.
    pub fn narrower(self, other: Self) -> Self {
        if self.is_within(other) { self } else { other }
    }

    /// Returns true if no more runs without a person than in the other mode.
    pub fn is_within(self, other: Self) -> bool {
        self.width() <= other.width()
    }

    /// Grows with what runs without a person.
    fn width(self) -> u8 {
        match self {
            Self::Plan => 0,
            Self::DontAsk => 1,
            Self::Default => 2,
            Self::AcceptEdits => 3,
            Self::Auto => 4,
            Self::BypassPermissions => 5,
        }
    }
}

/// What happens to a question nobody has answered within the request's `question_timeout_seconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnQuestion {
    /// It waits, for as long as it takes.
    #[default]
    Wait,
    /// It is denied.
    Deny,
    /// Its first option is taken; a permission is denied.
    FirstOption,
    /// It is allowed.
    Allow,
}

/// What happens to shells that the agent has left in the background when it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Background {
    /// They are ended after the daemon's `background_grace_seconds`.
    #[default]
    End,
    /// The session goes on until they have ended by themselves, within its `timeout_seconds`.
    Wait,
    /// They are left running.
    Keep,
}

impl Background {
    /// Every choice, for help texts and completions.
    pub const ALL: [Self; 3] = [Self::End, Self::Wait, Self::Keep];

    /// The choice, as on every wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Wait => "wait",
            Self::Keep => "keep",
        }
    }
}

impl OnQuestion {
    pub(super) fn is_wait(&self) -> bool {
        *self == Self::Wait
    }
}
