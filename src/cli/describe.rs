//! Each record in one line: what `logs` prints, and what the live view is made of.

use crate::session::grant::Grant;
use crate::session::journal::Entry;
use crate::session::question::Answer;
use crate::session::telling::{Telling, Topic, answer_words, tell};
use crate::session::visible;

use super::clean::one_line;
use super::units;
use crate::session::excerpt;

/// How long one line may get, in characters.
pub(crate) const LINE_CHARS_MAX: usize = 160;

/// What a record says, in one line without its kind.
pub(crate) fn describe(entry: &Entry) -> String {
    in_one_line(&tell(entry))
}

/// What is told, in one line. A result of a tool is folded.
pub(crate) fn in_one_line(telling: &Telling<'_>) -> String {
    let text = match telling.topic {
        Topic::Call => format!("{}  {}", telling.label, telling.line),
        Topic::Result => format!("{}: {}", telling.label, fold_result(&telling.line, telling.failed)),
        _ => telling.words(units::moment),
    };
    one_line(&text, LINE_CHARS_MAX)
}

/// What an answer says and grants; what is hidden in it is still hidden.
pub(crate) fn describe_answer(answer: &Answer, granted: &[Grant]) -> String {
    let (word, line) = answer_words(answer, granted);
    match &*line {
        "" => word.to_owned(),
        line => format!("{word}: {line}"),
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
            "attempt 2: goes on from record 57",
        );
        check(
            "attempt.ended",
            r#"{"ending":"crashed","exit":"signal 9","open_tool":"Bash: make","leftovers":["1"]}"#,
            "the attempt ended: the agent process died; it was at Bash: make (signal 9); it left behind 1 process, which ended with it",
        );
        check(
            "question.answered",
            r#"{"question_id":"q1","answer":{"action":"deny","reason":"no"},"by":"cli"}"#,
            "question q1 denied by cli: no",
        );
        check(
            "question.answered",
            r#"{"question_id":"q1","answer":{"action":"allow"},"by":"cli","granted":[{"grant":"rules","rules":[{"tool":"Bash","content":"ls *"}]}]}"#,
            "question q1 allowed by cli: for the rest of the session also do not ask again for Bash(ls *)",
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
