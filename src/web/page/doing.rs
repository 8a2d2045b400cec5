//! The line of a session in lists.

use std::borrow::Cow;

use super::markdown;
use crate::session::outcome::Outcome;
use crate::session::shown::Shown;
use crate::session::summary::Summary;

/// The most characters of what a session is at.
const DOING_CHARS_MAX: usize = 200;

/// What a session is at, for lists: what it asks, its open tool call, its result, or the sentence about its state where
/// that says more than the state itself.
pub(super) fn doing(summary: &Summary) -> Option<String> {
    let mut open = summary.questions.values().filter(|waiting| waiting.answer.is_none());
    if let Some(waiting) = open.next() {
        return Some(waiting.question.kind.headline());
    }
    let outcome = summary.lifecycle.state.outcome();
    if let (Some(Outcome::Completed), Some(result)) = (outcome, &summary.result) {
        return Some(markdown::plain(result, DOING_CHARS_MAX));
    }
    let tool = summary.work.open_tool().filter(|_| outcome.is_none());
    let note = summary.shown_note().filter(|_| summary.shown_state() != Shown::Running);
    tool.map(Cow::Borrowed)
        .or(note)
        .filter(|text| !text.is_empty())
        .map(Cow::into_owned)
}
