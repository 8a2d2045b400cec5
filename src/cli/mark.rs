//! The mark of the agent that runs this command: in the command's own environment, or in that of a process above it.

use std::sync::OnceLock;

use awc::http::header::HeaderValue;

use crate::agent_host::family_marks;
use crate::agent_host::protocol::ATTEMPT_MARK;

/// The mark of the agent inside which this process runs, if it runs inside one.
pub(crate) fn mark() -> Option<&'static str> {
    static MARK: OnceLock<Option<String>> = OnceLock::new();
    MARK.get_or_init(|| {
        let own = || std::env::var_os(ATTEMPT_MARK).map(|mark| mark.to_string_lossy().into_owned());
        // What is furthest above says whose it is: what an agent starts may say something else of itself.
        let above = family_marks(std::process::id().cast_signed()).unwrap_or_default();
        above.into_iter().next_back().or_else(own)
    })
    .as_deref()
}

/// Returns true if an agent of cc-executor has started this process, directly or not.
pub(crate) fn is_inside_agent() -> bool {
    mark().is_some()
}

/// The mark as a header. One that cannot be a header is told as something that no agent has.
pub(crate) fn mark_as_header() -> Option<HeaderValue> {
    mark().map(|mark| HeaderValue::from_str(mark).unwrap_or(HeaderValue::from_static("unreadable")))
}
