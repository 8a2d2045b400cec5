//! What the result of a turn says about its attempt, and in which words.

use crate::session::excerpt;
use crate::session::message::TurnEnd;
use crate::session::outcome::{Cause, Ending};

/// How the CLI says, before anything else, that there is none of the id that it is to resume.
pub(super) const NO_CONVERSATION: &str = "No conversation found";

/// What a result says about the attempt.
///
/// The CLI's subtype alone does not tell: API errors come as `success` with `is_error`, and some errors without it.
/// `reported` is the CLI's word for the kind of error that it has reported in the model's place.
pub(super) fn classify(end: &TurnEnd, reported: Option<&str>) -> Ending {
    let refused = |cause| Ending::Refused {
        cause,
        message: words_of(end),
    };
    if end.stop_reason.as_deref() == Some("refusal") {
        return refused(Cause::ModelRefusal);
    }
    let reason = end.terminal_reason.as_deref();
    if end.subtype == "success" && !end.is_error && matches!(reason, None | Some("completed")) {
        return Ending::Finished;
    }
    if end.errors.iter().any(|error| error.contains(NO_CONVERSATION)) {
        return Ending::LostContext { message: words_of(end) };
    }
    if end.api_error.as_deref() == Some("usage_limit_reached") {
        return Ending::Quota { resets_at: None };
    }
    match (end.subtype.as_str(), reason) {
        ("error_max_turns", _) | (_, Some("max_turns")) => return refused(Cause::MaxTurns),
        ("error_max_budget_usd", _) | (_, Some("budget_exhausted")) => return refused(Cause::Budget),
        (_, Some("prompt_too_long" | "blocking_limit" | "rapid_refill_breaker")) => {
            return refused(Cause::PromptTooLong);
        }
        ("error_max_structured_output_retries", _) | (_, Some("structured_output_retry_exhausted")) => {
            return refused(Cause::NoStructuredOutput);
        }
        _ => {}
    }
    match (end.api_status, reason) {
        (Some(401 | 403), _) => Ending::NotSignedIn {
            message: words_of(end),
            until: None,
        },
        (Some(400 | 404 | 413 | 422), _) => refused(Cause::BadRequest),
        (Some(408 | 429 | 500..=599), _) => Ending::ApiDown { message: words_of(end) },
        (None, Some("api_error")) if is_of_link(reported, &words_of(end)) => Ending::ApiDown { message: words_of(end) },
        _ => refused(Cause::AgentError),
    }
}

/// Whether an error without a status comes from the way to the API, and so passes: a connection that is refused or cut,
/// a name that is not found, a proxy that answers in the API's place.
fn is_of_link(reported: Option<&str>, words: &str) -> bool {
    matches!(reported, Some("server_error" | "overloaded" | "rate_limit" | "unknown"))
        || words.contains("Connection")
        || words.contains("ECONN")
}

/// Whether the turn was interrupted, by a control request, an answer or SIGINT.
pub(super) fn is_interrupted(end: &TurnEnd) -> bool {
    matches!(
        end.terminal_reason.as_deref(),
        Some("aborted_streaming" | "aborted_tools")
    )
}

/// How an attempt ends whose turn a person or a signal has ended.
pub(super) fn interrupted() -> Ending {
    Ending::Refused {
        cause: Cause::AgentError,
        message: INTERRUPTED.to_owned(),
    }
}

/// The words for a turn that was interrupted.
const INTERRUPTED: &str = "its turn was interrupted";

/// How the CLI marks what is for its developers.
const DIAGNOSTIC: &str = "[ede_diagnostic]";

/// What the agent itself says about the end of a turn, in one short line; where it says nothing that helps, what it means.
fn words_of(end: &TurnEnd) -> String {
    let reason = end.terminal_reason.as_deref().unwrap_or_default();
    let meant = match reason {
        _ if is_interrupted(end) => INTERRUPTED,
        "hook_stopped" | "stop_hook_prevented" => "a hook stopped it",
        "tool_deferred" | "tool_deferred_unavailable" => "a hook put a tool call off, and nobody takes that up here",
        _ => "",
    };
    let errors = end.errors.iter().filter(|error| !error.starts_with(DIAGNOSTIC));
    let errors = errors.map(String::as_str).collect::<Vec<_>>().join("; ");
    let words = [meant, &errors, end.result.as_str(), reason, end.subtype.as_str()];
    line_of(words.into_iter().find(|words| !words.is_empty()).unwrap_or_default())
}

/// The first paragraph of a text, as one line.
pub fn first_paragraph(text: &str) -> String {
    let lines = text.trim().lines().map(str::trim);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The first line of a text, cut where it is long.
pub(super) fn line_of(text: &str) -> String {
    excerpt::head(text.lines().next().unwrap_or_default(), 500).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::samples::good_turn as good;

    #[test]
    fn a_turn_that_was_stopped_says_so_and_not_what_the_model_said_before() {
        let sentence = |reason: &str, error: Option<&str>| {
            let end = TurnEnd {
                terminal_reason: Some(reason.to_owned()),
                result: "All is done.".into(),
                errors: error.into_iter().map(str::to_owned).collect(),
                ..good()
            };
            classify(&end, None).to_string()
        };
        let ended = "the agent ended its turn with an error: ";
        for (reason, error, words) in [
            ("hook_stopped", None, "a hook stopped it"),
            (
                "aborted_tools",
                Some("[ede_diagnostic] result_type=user"),
                "its turn was interrupted",
            ),
            ("image_error", Some("the image is no image"), "the image is no image"),
        ] {
            assert_eq!(sentence(reason, error), format!("{ended}{words}"));
        }
    }

    #[test]
    fn results_are_told_apart() {
        let check = |change: fn(&mut TurnEnd), expected: &str| {
            let mut end = TurnEnd {
                is_error: true,
                terminal_reason: Some("api_error".into()),
                ..good()
            };
            change(&mut end);
            let ending = classify(&end, None);
            let cause = if let Ending::Refused { cause, .. } = &ending {
                cause.name()
            } else {
                ending.name()
            };
            assert_eq!(cause, expected, "{end:?}");
        };
        check(|end| end.subtype = "error_max_turns".into(), "max_turns");
        check(|end| end.subtype = "error_max_budget_usd".into(), "budget");
        check(
            |end| end.terminal_reason = Some("prompt_too_long".into()),
            "prompt_too_long",
        );
        check(
            |end| end.terminal_reason = Some("blocking_limit".into()),
            "prompt_too_long",
        );
        check(
            |end| end.subtype = "error_max_structured_output_retries".into(),
            "no_structured_output",
        );
        check(|end| end.stop_reason = Some("refusal".into()), "model_refusal");
        check(|end| end.api_status = Some(401), "not_signed_in");
        check(|end| end.api_status = Some(400), "bad_request");
        check(|end| end.api_status = Some(529), "api_down");
        check(
            |end| end.result = "API Error: Connection refused (ECONNREFUSED)".into(),
            "api_down",
        );
        check(|end| end.api_error = Some("usage_limit_reached".into()), "quota");
        check(
            |end| end.errors = vec!["No conversation found with session ID: x".into()],
            "lost_context",
        );
        check(|_| {}, "agent_error");
        check(|end| end.terminal_reason = Some("completed".into()), "agent_error");
        check(|end| end.terminal_reason = None, "agent_error");
        check(
            |end| (end.subtype, end.is_error, end.terminal_reason) = ("error_max_turns".into(), false, None),
            "max_turns",
        );
        check(
            |end| (end.subtype, end.is_error) = ("error_during_execution".into(), false),
            "agent_error",
        );
        let aborted = |end: &mut TurnEnd| {
            (end.is_error, end.terminal_reason) = (false, Some("aborted_streaming".into()));
        };
        check(aborted, "agent_error");
    }
}
