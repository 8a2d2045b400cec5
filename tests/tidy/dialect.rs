//! Words of the agent's format that only `agent/wire` may know.

use super::SourceFile;
use super::shape::before_tests;

/// String literals that are fields or values of the CLI's lines. Words that have a meaning of ours too, such as
/// `max_turns`, are not here.
const WORDS: [&str; 32] = [
    "aborted_streaming",
    "aborted_tools",
    "api_error",
    "authentication_failed",
    "blocking_limit",
    "budget_exhausted",
    "can_use_tool",
    "control_cancel_request",
    "control_request",
    "control_response",
    "end_session",
    "error_during_execution",
    "error_max_budget_usd",
    "error_max_structured_output_retries",
    "error_max_turns",
    "get_usage",
    "hook_stopped",
    "num_turns",
    "overloaded",
    "rapid_refill_breaker",
    "rate_limit",
    "requires_action",
    "server_error",
    "session_state",
    "set_model",
    "set_permission_mode",
    "stop_hook_prevented",
    "stop_reason",
    "subtype",
    "terminal_reason",
    "tool_deferred",
    "usage_limit_reached",
];

/// Parts of texts that the CLI writes for people.
const MARKS: [&str; 4] = [
    "No conversation found",
    "[ede_diagnostic]",
    "<local-command-",
    "Error: Session ID",
];

/// Complaints about such words elsewhere. The simulator stands for the CLI, and tests speak of it.
pub(super) fn complaints(file: &SourceFile) -> Vec<String> {
    let is_free = [
        "/agent/wire",
        "/simulator",
        "/tests",
        "/walk",
        "/folds.rs",
        "/agent/fuzz.rs",
    ];
    if is_free.iter().any(|part| file.path.contains(part)) {
        return Vec::new();
    }
    let known = |line: &&str| {
        let is_comment = line.trim_start().starts_with("//");
        let has_word = WORDS.iter().any(|word| line.contains(&format!("\"{word}\"")));
        !is_comment && (has_word || MARKS.iter().any(|mark| line.contains(mark)))
    };
    let lines = before_tests(&file.text).lines().filter(known);
    lines
        .map(|line| format!("{}: only agent/wire may know `{}`", file.path, line.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_cli_is_found_outside_of_the_wire() {
        let text = "/// \"subtype\"\nlet a = \"max_turns\";\nlet b = \"error_max_turns\";\nlet c = \"No conversation found at\";\n";
        let found = |path: &str| {
            let (path, text) = (path.to_owned(), text.to_owned());
            complaints(&SourceFile { path, text }).len()
        };
        assert_eq!(found("src/session/turn.rs"), 2);
        assert_eq!(found("src/agent/wire/decode.rs") + found("src/simulator/frames.rs"), 0);
    }
}
