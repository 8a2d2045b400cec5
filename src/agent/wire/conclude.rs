//! Conclusions from the CLI's words: how a turn ended, and why an agent did not start.
//!
//! New records hold these conclusions beside the words. Records of version 0.1 hold the words alone. The store lets
//! [`complete`] add the conclusions when it reads such a record, so that the words are understood in this file only.

use crate::session::excerpt::report;
use crate::session::journal::{Entry, StartRefusal};
use crate::session::message::{Conclusion, Message, TurnEnd};
use crate::session::outcome::Cause;

/// Beginning of the CLI's message that a conversation to resume does not exist.
const NO_CONVERSATION: &str = "No conversation found";

/// Mark of errors that are meant for the CLI's developers.
const DIAGNOSTIC: &str = "[ede_diagnostic]";

/// Adds the conclusions that a record of an earlier version does not have.
pub fn complete(mut entry: Entry) -> Entry {
    match &mut entry {
        Entry::AgentMessage(said) => {
            if let Message::TurnEnded(end) = &mut said.message
                && end.conclusion.is_none()
            {
                conclude(end);
            }
        }
        Entry::AgentStderr(said) => said.refusal = said.refusal.take().or_else(|| start_refusal(&said.text)),
        _ => {}
    }
    entry
}

/// Concludes from the CLI's words how the turn ended.
pub(super) fn conclude(end: &mut TurnEnd) {
    end.conclusion = Some(conclusion(end));
    if end.conclusion != Some(Conclusion::Good) {
        end.why = why(end);
    }
}

/// The refusal to start that the agent's stderr tells of, if any. Some versions print no result with it.
pub fn start_refusal(stderr: &str) -> Option<StartRefusal> {
    stderr.lines().find_map(|line| {
        if line.contains(NO_CONVERSATION) {
            let message = line.trim().to_owned();
            return Some(StartRefusal::NoConversation { message });
        }
        // Measured.
        let exists = line.starts_with("Error: Session ID ") && line.ends_with(" is already in use.");
        exists.then_some(StartRefusal::ConversationExists)
    })
}

/// The subtype alone does not tell: API errors come as `success` with `is_error`, and some errors without it.
fn conclusion(end: &TurnEnd) -> Conclusion {
    let reason = end.terminal_reason.as_deref();
    if matches!(reason, Some("aborted_streaming" | "aborted_tools")) {
        return Conclusion::Interrupted;
    }
    if end.stop_reason.as_deref() == Some("refusal") {
        return Conclusion::Failed(Cause::ModelRefusal);
    }
    if end.subtype == "success" && !end.is_error && matches!(reason, None | Some("completed")) {
        return Conclusion::Good;
    }
    if end.errors.iter().any(|error| error.contains(NO_CONVERSATION)) {
        return Conclusion::NoConversation;
    }
    if end.api_error.as_deref() == Some("usage_limit_reached") {
        return Conclusion::UsageLimit;
    }
    match (end.subtype.as_str(), reason, end.api_status) {
        ("error_max_turns", ..) | (_, Some("max_turns"), _) => Conclusion::Failed(Cause::MaxTurns),
        ("error_max_budget_usd", ..) | (_, Some("budget_exhausted"), _) => Conclusion::Failed(Cause::Budget),
        (_, Some("prompt_too_long" | "blocking_limit" | "rapid_refill_breaker"), _) => {
            Conclusion::Failed(Cause::PromptTooLong)
        }
        ("error_max_structured_output_retries", ..) | (_, Some("structured_output_retry_exhausted"), _) => {
            Conclusion::Failed(Cause::NoStructuredOutput)
        }
        (.., Some(401 | 403)) => Conclusion::LoginRefused,
        (.., Some(400 | 404 | 413 | 422)) => Conclusion::Failed(Cause::BadRequest),
        (.., Some(408 | 429 | 500..=599)) => Conclusion::ApiFailed,
        (_, Some("api_error"), None) if is_about_connection(&why(end)) => Conclusion::ApiFailed,
        (_, Some("api_error"), None) => Conclusion::NoStatus,
        _ => Conclusion::Failed(Cause::AgentError),
    }
}

/// Returns true if a connection was refused or cut, a name was not found, or a proxy answered in the API's place.
fn is_about_connection(words: &str) -> bool {
    words.contains("Connection") || words.contains("ECONN")
}

/// One line on a turn that did not end well: the agent's own words, or their meaning where they do not help.
fn why(end: &TurnEnd) -> String {
    let reason = end.terminal_reason.as_deref().unwrap_or_default();
    let meant = match reason {
        "hook_stopped" | "stop_hook_prevented" => "a hook stopped it",
        "tool_deferred" | "tool_deferred_unavailable" => "a hook put a tool call off, and nobody takes that up here",
        _ => "",
    };
    let errors = end.errors.iter().filter(|error| !error.starts_with(DIAGNOSTIC));
    let errors = errors.map(String::as_str).collect::<Vec<_>>().join("; ");
    let words = [meant, &errors, end.result.as_str(), reason, end.subtype.as_str()];
    report(words.into_iter().find(|words| !words.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> TurnEnd {
        TurnEnd {
            subtype: "success".into(),
            terminal_reason: Some("completed".to_owned()),
            ..TurnEnd::default()
        }
    }

    #[test]
    fn a_turn_that_was_stopped_says_so_and_not_what_the_model_said_before() {
        let why = |reason: &str, error: Option<&str>| {
            let mut end = TurnEnd {
                terminal_reason: Some(reason.to_owned()),
                result: "All is done.".into(),
                errors: error.into_iter().map(str::to_owned).collect(),
                ..good()
            };
            conclude(&mut end);
            end.why
        };
        assert_eq!(why("completed", None), "");
        assert_eq!(why("hook_stopped", Some("[ede_diagnostic] x")), "a hook stopped it");
        assert_eq!(
            why("image_error", Some("the image is no image")),
            "the image is no image"
        );
        assert_eq!(why("image_error", Some("[ede_diagnostic] x")), "All is done.");
    }

    #[test]
    fn results_are_told_apart() {
        let check = |change: fn(&mut TurnEnd), expected: Conclusion| {
            let mut end = TurnEnd {
                is_error: true,
                terminal_reason: Some("api_error".into()),
                ..good()
            };
            change(&mut end);
            assert_eq!(conclusion(&end), expected, "{end:?}");
        };
        let failed = Conclusion::Failed;
        let has_ended = failed(Cause::AgentError);
        check(|end| *end = good(), Conclusion::Good);
        check(|end| end.subtype = "error_max_turns".into(), failed(Cause::MaxTurns));
        check(|end| end.subtype = "error_max_budget_usd".into(), failed(Cause::Budget));
        check(
            |end| end.terminal_reason = Some("prompt_too_long".into()),
            failed(Cause::PromptTooLong),
        );
        check(
            |end| end.terminal_reason = Some("blocking_limit".into()),
            failed(Cause::PromptTooLong),
        );
        check(
            |end| end.subtype = "error_max_structured_output_retries".into(),
            failed(Cause::NoStructuredOutput),
        );
        check(
            |end| end.stop_reason = Some("refusal".into()),
            failed(Cause::ModelRefusal),
        );
        check(|end| end.api_status = Some(401), Conclusion::LoginRefused);
        check(|end| end.api_status = Some(400), failed(Cause::BadRequest));
        check(|end| end.api_status = Some(529), Conclusion::ApiFailed);
        check(
            |end| end.result = "API Error: Connection refused (ECONNREFUSED)".into(),
            Conclusion::ApiFailed,
        );
        check(
            |end| end.api_error = Some("usage_limit_reached".into()),
            Conclusion::UsageLimit,
        );
        check(
            |end| end.errors = vec!["No conversation found with session ID: x".into()],
            Conclusion::NoConversation,
        );
        check(|_| {}, Conclusion::NoStatus);
        check(|end| end.terminal_reason = Some("completed".into()), has_ended);
        check(|end| end.terminal_reason = None, has_ended);
        check(
            |end| (end.subtype, end.is_error, end.terminal_reason) = ("error_max_turns".into(), false, None),
            failed(Cause::MaxTurns),
        );
        check(
            |end| (end.subtype, end.is_error) = ("error_during_execution".into(), false),
            Conclusion::NoStatus,
        );
        let aborted = |end: &mut TurnEnd| {
            (end.is_error, end.terminal_reason) = (false, Some("aborted_streaming".into()));
        };
        check(aborted, Conclusion::Interrupted);
    }

    #[test]
    fn an_agent_that_does_not_start_says_so_on_stderr() {
        let missing = "warning\n No conversation found with session ID: x\n";
        let message = "No conversation found with session ID: x".to_owned();
        assert_eq!(start_refusal(missing), Some(StartRefusal::NoConversation { message }));
        let exists = "a warning\nError: Session ID 32181b7e is already in use.\n";
        assert_eq!(start_refusal(exists), Some(StartRefusal::ConversationExists));
        assert_eq!(start_refusal("Error: port 80 is already in use."), None);
    }

    #[test]
    fn a_record_of_version_0_1_gets_the_conclusion_that_a_new_one_has() {
        let data = r#"{"offset":7,"message":{"type":"turn_ended","subtype":"error_max_turns","is_error":true,"result":"",
            "queued_turns":0,"turns":3,"usage":{"input_tokens":0,"output_tokens":0,"cache_read_tokens":0,
            "cache_write_tokens":0,"cost_usd":0.0}}}"#;
        let entry = complete(Entry::from_json("agent.message", data).unwrap());
        let Entry::AgentMessage(said) = &entry else {
            panic!("{entry:?}")
        };
        let Message::TurnEnded(end) = &said.message else {
            panic!("{said:?}")
        };
        assert_eq!(end.concluded(), Conclusion::Failed(Cause::MaxTurns));
        assert_eq!(end.why, "error_max_turns");
        let read = Entry::from_json("agent.message", &entry.to_json().unwrap()).unwrap();
        assert_eq!(read, entry, "it is written with the record");
        let data = r#"{"text":"Error: Session ID 32181b7e is already in use."}"#;
        let Entry::AgentStderr(said) = complete(Entry::from_json("agent.stderr", data).unwrap()) else {
            panic!("{data}")
        };
        assert_eq!(said.refusal, Some(StartRefusal::ConversationExists));
    }
}
