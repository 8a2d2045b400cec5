//! Each record in one line of plain words: what `logs` prints, and what the live view is made of.

use jiff::SignedDuration;

use crate::session::clarify::Clarifications;
use crate::session::grant::{Grant, in_words};
use crate::session::journal::{AttemptEnd, AttemptStart, ClockJump, Entry, StateChange};
use crate::session::message::{InputState, Message, TurnEnd};
use crate::session::question::{Answer, headline_of_input};
use crate::session::visible;

use super::clean::one_line;
use super::units;
use crate::session::excerpt;

/// How long one line may get, in characters.
pub(crate) const LINE_CHARS_MAX: usize = 160;

/// What a record says, in one line without its kind.
pub(crate) fn describe(entry: &Entry) -> String {
    let text = match entry {
        Entry::SessionCreated(created) => format!("{} (by {})", created.request.shown_name(), created.by),
        Entry::SessionState(change) => describe_state(change),
        Entry::AttemptStarted(start) => describe_start(start),
        Entry::Input(input) => match &input.text {
            Some(text) => format!("{}: {text}", name_of_input(input.state)),
            None => name_of_input(input.state).to_owned(),
        },
        Entry::AgentMessage(said) => describe_message(&said.message),
        Entry::AgentUnknown(line) => format!(
            "a line of {} bytes of an unknown kind ({})",
            line.bytes,
            line.kind.as_deref().unwrap_or("not JSON")
        ),
        Entry::AgentStderr(said) => said.text.clone(),
        Entry::Notice(said) => said.text.clone(),
        Entry::WorkCutOff(cut_off) => format!("cut off at the end: {}", cut_off.what.join(", ")),
        Entry::DraftDropped(draft) => format!("partial text of message {} was cut off", draft.message_id),
        Entry::Checkpoint(checkpoint) => {
            format!("{}, byte {}", units::turns(checkpoint.turns), checkpoint.offset)
        }
        Entry::Usage(usage) => format!("{}, {}", units::tokens(usage.tokens()), units::usd(usage.cost_usd)),
        Entry::QuestionAsked(question) => format!("{} {}", question.question_id, question.kind.headline()),
        Entry::QuestionAnswered(answered) => format!(
            "{} {} by {}",
            answered.question_id,
            describe_answer(&answered.answer, &answered.granted),
            answered.by
        ),
        Entry::QuestionDelivered(delivered) => format!("{} the answer reached the agent", delivered.question_id),
        Entry::QuestionWithdrawn(withdrawn) => format!("{} no longer waits: {}", withdrawn.question_id, withdrawn.why),
        Entry::Control(control) => format!("{} by {}", control.action, control.by),
        Entry::ClockJumped(jump) => describe_jump(jump),
        Entry::AttemptEnded(end) => describe_end(end),
        Entry::RetryScheduled(retry) => format!("next attempt at {}: {}", units::moment(retry.at), retry.cause),
        Entry::ContextRebuilt(why) => format!("a fresh agent was told the story so far: {}", why.why),
        Entry::TaskRefined(refined) => describe_refined(&refined.clarifications),
        Entry::SessionResumed(resumed) => match &resumed.instruction {
            Some(instruction) => format!("resumed by {}: {instruction}", resumed.by),
            None => format!("resumed by {}", resumed.by),
        },
        Entry::SessionEnded(end) => format!("{}: {}", end.outcome.name(), end.summary),
    };
    one_line(&text, LINE_CHARS_MAX)
}

fn describe_refined(clarifications: &Clarifications) -> String {
    if let Some(why) = &clarifications.left_open {
        return format!("the questions about the task stay open: {why}");
    }
    let answers = clarifications.answers.iter();
    let answers: Vec<String> = answers
        .map(|(question, answer)| format!("{question} {answer}"))
        .collect();
    if answers.is_empty() {
        "the task is clear".to_owned()
    } else {
        format!("the task is settled: {}", answers.join("; "))
    }
}

/// What an answer says and grants, as a participle; what is hidden in it is still hidden.
pub(crate) fn describe_answer(answer: &Answer, granted: &[Grant]) -> String {
    match answer {
        Answer::Allow { .. } if granted.is_empty() => "allowed".to_owned(),
        Answer::Allow { .. } => format!("allowed (for the rest of the session: {})", in_words(granted)),
        Answer::Deny {
            reason: Some(reason), ..
        } => format!("denied ({reason})"),
        Answer::Deny { reason: None, .. } => "denied".to_owned(),
        Answer::Choose { answers } => {
            let chosen: Vec<_> = answers.values().map(String::as_str).collect();
            format!("answered {:?}", chosen.join("; "))
        }
        Answer::Submit { .. } => "answered with a form".to_owned(),
    }
}

/// The text of a tool's result, folded into one line; what is hidden in it is still hidden.
pub(crate) fn fold_result(text: &str, is_error: bool) -> String {
    let text = visible::without_control_sequences(text);
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let first = excerpt::one_line(text.trim_start().lines().next().unwrap_or_default(), LINE_CHARS_MAX);
    match (lines, is_error) {
        (0, _) => "(no output)".to_owned(),
        (1, _) => first,
        (_, true) => format!("{first} (+{} lines)", lines - 1),
        (_, false) => format!("{lines} lines"),
    }
}

fn describe_state(change: &StateChange) -> String {
    format!("{} → {}: {}", change.from, change.to, change.reason)
}

fn describe_start(start: &AttemptStart) -> String {
    match start.resumed_from {
        Some(seq) => format!("attempt {}, going on from record {seq}", start.attempt),
        None => format!("attempt {}", start.attempt),
    }
}

fn name_of_input(state: InputState) -> &'static str {
    match state {
        InputState::Sent => "sent",
        InputState::Queued => "queued",
        InputState::Started => "started",
        InputState::Completed => "completed",
        InputState::Cancelled => "cancelled",
    }
}

/// What the agent said, in one line; also the words of the live view for everything but text and tools.
pub(crate) fn describe_message(message: &Message) -> String {
    match message {
        Message::TurnStarted {
            model,
            mcp_servers_failed,
            ..
        } if mcp_servers_failed.is_empty() => {
            format!("a turn begins with {model}")
        }
        Message::TurnStarted { mcp_servers_failed, .. } => {
            format!("MCP servers are not connected: {}", mcp_servers_failed.join(", "))
        }
        Message::Text { text, .. } => text.clone(),
        Message::Thinking { text, .. } => format!("thinking: {text}"),
        Message::ToolUse { name, input, .. } => format!("{name}  {}", headline_of_input(input)),
        Message::ToolResult {
            text, is_error: false, ..
        } => format!("result: {}", fold_result(text, false)),
        Message::ToolResult {
            text, is_error: true, ..
        } => format!("error: {}", fold_result(text, true)),
        Message::UserText { text, .. } => text.clone(),
        Message::PermissionDenied { tool, reason, .. } => format!("{tool} was denied without asking: {reason}"),
        Message::TaskStarted {
            description,
            background: true,
            ..
        } => format!("in the background: {description}"),
        Message::TaskStarted { description, .. } => format!("begun: {description}"),
        Message::TaskEnded { status, summary, .. } => format!("{status}: {summary}"),
        Message::BackgroundTasks { tasks } => format!("{} background tasks", tasks.len()),
        Message::Timer(change) => change.line(),
        Message::ApiRetry { .. } => describe_api_retry(message),
        Message::RateLimit { rejected: true, .. } => match message.limit_resets_at() {
            Some(at) => format!("a usage limit is reached; it is reset at {}", units::date(at)),
            None => "a usage limit is reached".to_owned(),
        },
        Message::RateLimit { rejected: false, .. } => "usage is within its limits".to_owned(),
        Message::ModeChanged { permission_mode } => format!("the permission mode is {permission_mode} now"),
        Message::Compacted {
            pre_tokens,
            post_tokens,
        } => format!(
            "the conversation was compacted from {} to {}",
            units::tokens(*pre_tokens),
            units::tokens(*post_tokens)
        ),
        Message::ConversationReset { .. } => "the conversation was cleared".to_owned(),
        Message::Said { topic, text, .. } => format!("{topic}: {text}"),
        Message::CommandOutput { text, .. } => text.clone(),
        Message::TurnEnded(end) => describe_turn_end(end),
    }
}

fn describe_api_retry(message: &Message) -> String {
    let Message::ApiRetry {
        retry,
        retries_max,
        delay_ms,
        status,
        error,
        login_until,
    } = message
    else {
        return String::new();
    };
    let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let seconds = delay_ms.div_ceil(1000);
    let what = if login_until.is_some() {
        "the login is refused"
    } else {
        "the API failed"
    };
    format!("{what} ({status}, {error}): retry {retry} of {retries_max} in {seconds} s")
}

fn describe_turn_end(end: &TurnEnd) -> String {
    if !end.is_error {
        return format!("the turn has ended after {}", units::turns(end.model_calls()));
    }
    let words = if end.errors.is_empty() {
        end.result.clone()
    } else {
        end.errors.join("; ")
    };
    // Errors of the API come as a success with an error in it.
    match end.subtype.as_str() {
        "success" => format!("the turn ended with an error: {words}"),
        subtype => format!("the turn ended with an error ({subtype}): {words}"),
    }
}

fn describe_jump(jump: &ClockJump) -> String {
    let by = SignedDuration::from_millis(jump.by_ms);
    if by.is_negative() {
        format!("the machine's clock was set back by {}", units::duration(by.abs()))
    } else {
        format!(
            "the machine slept or was off, or its clock was set ahead, by {}",
            units::duration(by)
        )
    }
}

fn describe_end(end: &AttemptEnd) -> String {
    let mut text = end.ending.to_string();
    if let Some(tool) = &end.open_tool {
        text += &format!("; it was at {tool}");
    }
    if let Some(exit) = &end.exit {
        text += &format!(" ({exit})");
    }
    if !end.leftovers.is_empty() {
        text += &format!("; {} processes that it left behind were ended", end.leftovers.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_folded() {
        assert_eq!(fold_result("", false), "(no output)");
        assert_eq!(fold_result("\nok\n", false), "ok");
        assert_eq!(fold_result("a\nb\n\nc", false), "3 lines");
        assert_eq!(fold_result("\x1b[31mboom\nat line 1", true), "boom (+1 lines)");
    }

    #[test]
    fn each_kind_is_told_in_words() {
        let check = |kind: &str, data: &str, words: &str| {
            let entry = Entry::from_json(kind, data).unwrap();
            assert_eq!(describe(&entry), words, "{kind}");
        };
        check(
            "attempt.started",
            r#"{"attempt":2,"agent_session_id":"01890000-0000-7000-8000-000000000001","resumed_from":57}"#,
            "attempt 2, going on from record 57",
        );
        check(
            "attempt.ended",
            r#"{"ending":"crashed","exit":"signal 9","open_tool":"Bash: make","leftovers":["1"]}"#,
            "the agent process died; it was at Bash: make (signal 9); 1 processes that it left behind were ended",
        );
        check(
            "question.answered",
            r#"{"question_id":"q1","answer":{"action":"deny","reason":"no"},"by":"cli"}"#,
            "q1 denied (no) by cli",
        );
        check(
            "question.answered",
            r#"{"question_id":"q1","answer":{"action":"allow"},"by":"cli","granted":[{"grant":"rules","rules":[{"tool":"Bash","content":"ls *"}]}]}"#,
            "q1 allowed (for the rest of the session: do not ask again for Bash(ls *)) by cli",
        );
        check("notice", r#"{"text":"two\nlines"}"#, "two lines");
        check(
            "session.ended",
            r#"{"outcome":"failed","cause":"crashed","summary":"the agent died"}"#,
            "failed: the agent died",
        );
        check(
            "agent.message",
            r#"{"offset":0,"message":{"type":"api_retry","retry":1,"retries_max":10,"delay_ms":1500,"status":529,"error":"overloaded"}}"#,
            "the API failed (529, overloaded): retry 1 of 10 in 2 s",
        );
    }
}
