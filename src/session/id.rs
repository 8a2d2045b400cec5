//! Identifiers and counters: newtypes, so that none of them can be taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Names one session on every wire: a UUID version 7, so that ids sort by creation time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

/// How many hexadecimal digits of a [`SessionId`] make its short form.
pub const SHORT_ID_DIGITS: usize = 8;

impl SessionId {
    /// A new id, unique and later than all before it.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id in the sixteen bytes of a UUID.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID itself.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// The last eight digits: from the random tail, since the head is the same for about a minute.
    pub fn short(self) -> String {
        let digits = self.0.simple().to_string();
        digits[digits.len() - SHORT_ID_DIGITS..].to_owned()
    }

    /// Whether these hexadecimal digits mean this session: the end of its id, or the beginning of its short form, which
    /// is what people see.
    pub fn is_meant_by(self, digits: &str) -> bool {
        self.0.simple().to_string().ends_with(digits) || self.short().starts_with(digits)
    }
}

impl Default for SessionId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Numbers the attempts of one session from 1; 0 stands for "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// Before the first attempt.
    pub const NONE: Self = Self(0);

    /// The attempt that follows this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a record in its session, from 1 and without gaps; 0 stands for "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number that follows this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a question within its session: `q1`, `q2`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^q[0-9]+$")]
pub struct QuestionId(pub u32);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.0)
    }
}

/// A question id that is not of the form `q1`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a question id: they look like q1")]
pub struct InvalidQuestionId(String);

impl FromStr for QuestionId {
    type Err = InvalidQuestionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix('q').and_then(|digits| digits.parse().ok());
        number.map(Self).ok_or_else(|| InvalidQuestionId(text.to_owned()))
    }
}

impl TryFrom<String> for QuestionId {
    type Error = InvalidQuestionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<QuestionId> for String {
    fn from(id: QuestionId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_from_either_end_of_a_short_id_mean_its_session() {
        let id: SessionId = "01890000-0000-7000-8000-00001234abcd".parse().unwrap();
        for digits in ["abcd", "34abcd", "1234abcd", "1234", "1234ab", "00001234abcd"] {
            assert!(id.is_meant_by(digits), "{digits}");
        }
        for digits in ["0189", "34ab", "12345", "00001234"] {
            assert!(!id.is_meant_by(digits), "{digits}");
        }
    }

    #[test]
    fn a_question_id_reads_as_it_is_written() {
        assert_eq!("q7".parse::<QuestionId>().unwrap(), QuestionId(7));
        assert_eq!(QuestionId(7).to_string(), "q7");
        assert!("7".parse::<QuestionId>().is_err());
    }
}
