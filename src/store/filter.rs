//! Which sessions are looked for: the same answer from every store.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::session::id::SessionId;
use crate::session::shown::Shown;
use crate::session::summary::Summary;

/// Which sessions are looked for. What is none, or empty, does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// States, one of which a session is shown in.
    pub states: Vec<Shown>,
    /// Its whole name, letter by letter.
    pub name: Option<String>,
    /// The session whose agent asked for it.
    pub parent: Option<SessionId>,
    /// The directory that it works in, or one above that.
    pub directory: Option<PathBuf>,
    /// It was created then or later.
    pub since: Option<Timestamp>,
    /// It was created before that.
    pub until: Option<Timestamp>,
    /// A text in its name, its task, its result or the sentence about its end, in any case of letters.
    pub search: Option<String>,
}

impl Filter {
    /// Whether a session is one of those that are looked for.
    pub fn fits(&self, summary: &Summary) -> bool {
        let state = summary.shown_state();
        let created_at = summary.created_at.as_millisecond();
        (self.states.is_empty() || self.states.contains(&state))
            && self.name.as_ref().is_none_or(|name| *name == summary.name)
            && self.parent.is_none_or(|parent| summary.parent == Some(parent))
            && self
                .directory
                .as_ref()
                .is_none_or(|directory| summary.cwd.starts_with(directory))
            && self.since.is_none_or(|since| created_at >= since.as_millisecond())
            && self.until.is_none_or(|until| created_at < until.as_millisecond())
            && self
                .needle()
                .is_none_or(|needle| searched_text(summary).contains(&needle))
    }

    /// What is searched for, as it stands in [`searched_text`]; none where that is nothing.
    pub(super) fn needle(&self) -> Option<String> {
        let search = self.search.as_deref().map(str::trim).unwrap_or_default();
        (!search.is_empty()).then(|| search.to_lowercase())
    }
}

/// All of a session that a search looks at, in small letters.
pub(super) fn searched_text(summary: &Summary) -> String {
    let Summary {
        name,
        task,
        result,
        note,
        ..
    } = summary;
    let rest = [result.as_deref(), note.as_deref()];
    let mut text = format!("{name}\n{task}");
    for part in rest.into_iter().flatten() {
        text.push('\n');
        text.push_str(part);
    }
    text.to_lowercase()
}

/// The text that all paths below a directory begin with.
pub(super) fn below(directory: &Path) -> String {
    let mut prefix = directory.to_string_lossy().into_owned();
    if !prefix.ends_with('/') {
        prefix.push('/');
    }
    prefix
}

/// A directory as the paths of sessions are written: without slashes at its end.
pub(super) fn plain(directory: &Path) -> String {
    let text = directory.to_string_lossy();
    match text.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}
