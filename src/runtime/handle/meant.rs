//! Which session a person means: by its id, by digits of it, or by its name.

use std::sync::Arc;

use super::{Handle, blocking};
use crate::runtime::refusal::{CANDIDATES_MAX, CallError};
use crate::session::id::SessionId;
use crate::session::request::NAME_CHARS_MAX;
use crate::session::shown::Shown;
use crate::session::summary::Summary;
use crate::store::Filter;

/// The fewest digits that mean a session.
const DIGITS_MIN: usize = 4;

/// How many digits a whole id has.
const DIGITS_MAX: usize = 32;

impl Handle {
    /// The session a person means by its id as [`Handle::resolve_id`] takes it, or by its name: the only one of this name,
    /// or the only live one. An id wins over a name.
    pub async fn resolve(&self, typed: &str) -> Result<SessionId, CallError> {
        match self.resolve_id(typed).await {
            Err(CallError::NoSuchSession(_)) => self.named(typed).await,
            found => found,
        }
    }

    /// The session a person means by a whole id, by its last digits, or by the first ones of its short form (at least four).
    pub async fn resolve_id(&self, typed: &str) -> Result<SessionId, CallError> {
        if let Ok(id) = typed.parse::<SessionId>() {
            return Ok(self.get(id).await?.session_id);
        }
        let unknown = || CallError::NoSuchSession(typed.to_owned());
        let digits = typed.replace('-', "").to_ascii_lowercase();
        let is_long_enough = (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len());
        if !is_long_enough || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let store = Arc::clone(&self.store);
        let found = blocking(move || store.meant_by(&digits, CANDIDATES_MAX)).await??;
        match found[..] {
            [] => Err(unknown()),
            [id] => Ok(id),
            _ => Err(CallError::AmbiguousId {
                typed: typed.to_owned(),
                count: found.len(),
            }),
        }
    }

    async fn named(&self, name: &str) -> Result<SessionId, CallError> {
        let unknown = || CallError::NoSuchSession(name.to_owned());
        if name.chars().count() > NAME_CHARS_MAX {
            return Err(unknown());
        }
        let filter = Filter {
            name: Some(name.to_owned()),
            ..Filter::default()
        };
        let newest = self.find(filter, None, CANDIDATES_MAX).await?;
        match &newest[..] {
            [] => Err(unknown()),
            [only] => Ok(only.session_id),
            _ => self.live_one(name, newest).await,
        }
    }

    /// The only live one of a name that several have. All that are live are in memory, however old they are.
    async fn live_one(&self, name: &str, mut newest: Vec<Arc<Summary>>) -> Result<SessionId, CallError> {
        let mut found = self.list().await?;
        found.retain(|summary| summary.name == name && is_live(summary));
        if let [only] = &found[..] {
            return Ok(only.session_id);
        }
        newest.retain(|other| found.iter().all(|live| live.session_id != other.session_id));
        found.append(&mut newest);
        found.truncate(CANDIDATES_MAX);
        Err(CallError::AmbiguousName {
            name: name.to_owned(),
            candidates: found.iter().map(candidate).collect(),
        })
    }
}

fn is_live(summary: &Summary) -> bool {
    summary.lifecycle.state.outcome().is_none()
}

fn candidate(summary: &Arc<Summary>) -> (SessionId, Shown) {
    (summary.session_id, summary.shown_state())
}
