//! What records and partial text look like: records in, lines out.

use super::*;
use crate::cli::view::SeenPart;
use serde_json::{Value, json};

/// A thing to render: a record's kind and data, or a delta's block, offset and text.
enum Item {
    Record(&'static str, Value),
    Delta(u32, u64, &'static str),
}
use Item::{Delta, Record};

fn render(items: Vec<Item>) -> String {
    let mut renderer = Renderer::new(false);
    let mut out = String::new();
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Record(kind, data) => {
                let line =
                    json!({"seq": index + 1, "at": "2026-01-01T00:00:00Z", "attempt": 1, "kind": kind, "data": data});
                renderer.record(&serde_json::from_str(&line.to_string()).unwrap(), &mut out);
            }
            Delta(block, offset, text) => {
                let delta = WireDelta {
                    message_id: "m1".into(),
                    block,
                    part: SeenPart::Text,
                    offset,
                    text: text.into(),
                };
                renderer.delta(&delta, &mut out);
            }
        }
    }
    out
}

fn said(message: Value) -> Item {
    Record("agent.message", json!({"offset": 0, "message": message}))
}

fn text(message_id: &str, text: &str) -> Item {
    said(json!({"type": "text", "message_id": message_id, "text": text}))
}

fn tool(id: &str, command: &str) -> Item {
    said(
        json!({"type": "tool_use", "message_id": "m1", "tool_use_id": id, "name": "Bash", "input": {"command": command}}),
    )
}

fn result(id: &str, text: &str, is_error: bool) -> Item {
    said(json!({"type": "tool_result", "tool_use_id": id, "text": text, "is_error": is_error}))
}

#[test]
fn text_that_was_streamed_is_not_printed_twice() {
    let out = render(vec![
        Delta(0, 0, "I will "),
        Delta(0, 7, "look.\nAnd"),
        text("m1", "I will look.\nAnd act."),
        tool("t1", "git status"),
        result("t1", "a\nb\nc\n", false),
        Delta(2, 0, "Done"),
        text("m1", "Done"),
        text("m2", "Nobody saw this streamed."),
    ]);
    insta::assert_snapshot!(out, @r"
    I will look.
    And act.
    ● Bash  git status
      ⎿ 3 lines
    Done
    Nobody saw this streamed.
    ");
}

#[test]
fn a_late_result_names_its_call() {
    let out = render(vec![
        tool("t1", "make"),
        tool("t2", "ls"),
        result("t1", "no rule\nstop", true),
        result("t2", "", false),
    ]);
    insta::assert_snapshot!(out, @r"
    ● Bash  make
    ● Bash  ls
      ⎿ Bash make: no rule (+1 lines)
      ⎿ Bash ls: (no output)
    ");
}

#[test]
fn a_crash_and_its_recovery_are_visible() {
    let agent = "01890000-0000-7000-8000-000000000001";
    let out = render(vec![
        Record(
            "session.created",
            json!({"request": {"task": "tidy up", "cwd": "/home"}, "by": "cli"}),
        ),
        Record("attempt.started", json!({"attempt": 1, "agent_session_id": agent})),
        Record("input", json!({"uuid": agent, "state": "sent", "text": "tidy up"})),
        Delta(0, 0, "half a sen"),
        Record("draft.dropped", json!({"message_id": "m1", "from_block": 0})),
        Record("attempt.ended", json!({"ending": "crashed", "exit": "signal 9"})),
        Record(
            "checkpoint",
            json!({"agent_session_id": agent, "offset": 1, "turns": 0, "usage": {
            "input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_usd": 0.0}}),
        ),
        Record(
            "attempt.started",
            json!({"attempt": 2, "agent_session_id": agent, "resumed_from": 7}),
        ),
        Record("input", json!({"uuid": agent, "state": "sent", "text": "go on"})),
        Delta(0, 0, "half a sentence"),
        text("m1", "half a sentence"),
        Record("session.ended", json!({"outcome": "completed", "summary": "done"})),
    ]);
    insta::assert_snapshot!(out, @r"
    ◆ created by cli: tidy up in /home
    ↻ attempt 1
    half a sen
    ⟲ (the last lines above were cut off and are being written again)
    ✗ the attempt ended: the agent process died (signal 9)
    ↻ attempt 2: goes on from record 7
    » go on
    half a sentence
    ");
}

#[test]
fn a_draft_nobody_saw_is_dropped_in_silence() {
    assert_eq!(
        render(vec![Record(
            "draft.dropped",
            json!({"message_id": "m1", "from_block": 0})
        )]),
        ""
    );
}

#[test]
fn everything_else_is_a_line_with_a_mark() {
    let out = render(vec![
        said(json!({"type": "thinking", "message_id": "m1", "text": "hm\nwell"})),
        said(json!({"type": "thinking", "message_id": "m1", "text": ""})),
        said(json!({"type": "text", "message_id": "m9", "text": "a subagent\nspeaks", "parent": "t1"})),
        said(
            json!({"type": "api_retry", "retry": 1, "retries_max": 10, "delay_ms": 500, "error": "overloaded", "status": 529}),
        ),
        said(json!({"type": "permission_denied", "tool": "Bash", "tool_use_id": "t", "reason": "a rule"})),
        said(
            json!({"type": "task_started", "task_id": "b1", "task": "shell", "background": true, "description": "npm start"}),
        ),
        Record(
            "question.asked",
            json!({"question_id": "q1", "request_id": "r", "ask": "permission", "tool": "Bash", "input": {"command": "rm x"}}),
        ),
        Record(
            "question.answered",
            json!({"question_id": "q1", "answer": {"action": "allow"}, "by": "page"}),
        ),
        Record("notice", json!({"text": "something"})),
        Record("control", json!({"action": "cancel", "by": "cli"})),
        Record("a.newer.kind", json!({})),
    ]);
    insta::assert_snapshot!(out, @r#"
    ✻ hm well
      │ a subagent speaks
    ! the API failed (529, overloaded): retry 1 of 10 in 1 s
    ! Bash was denied without asking: a rule
    · in the background: npm start
    ? question q1: Bash: rm x
    ✓ question q1 allowed by page
    ! something
    · cancel by cli
    · unknown kind of record "a.newer.kind": was this journal written by a newer version?
    "#);
}

#[test]
fn escapes_never_reach_the_terminal() {
    let esc = "\u{1b}]0;owned\u{7}\u{1b}[2Jx";
    let out = render(vec![
        Delta(0, 0, "a\u{1b}]0;ow"),
        Delta(0, 7, "ned\u{7}b"),
        text("m1", "a\u{1b}]0;owned\u{7}b"),
        text("m2", esc),
        tool("t1", esc),
        result("t1", esc, true),
        said(json!({"type": "command_output", "text": "\u{1b}[31mred\n", "failed": false})),
        Record("notice", json!({"text": esc})),
        Record(
            "session.created",
            json!({"request": {"task": "x", "cwd": "/\u{1b}[2J"}, "by": esc}),
        ),
        said(json!({"type": "tool_use", "message_id": "m1", "tool_use_id": "t2", "name": esc, "input": {}})),
    ]);
    assert!(
        out.starts_with("a⟨U+001B⟩]0;owned⟨U+0007⟩b\n⟨U+001B⟩]0;owned"),
        "what is said hides nothing: {out:?}"
    );
    assert!(
        out.contains("⎿ x\nred\n"),
        "what a program prints loses its colours: {out:?}"
    );
    assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
}

#[test]
fn a_printed_result_is_known() {
    let mut renderer = Renderer::new(false);
    let mut out = String::new();
    let said = json!({"seq": 1, "at": "2026-01-01T00:00:00Z", "kind": "agent.message",
        "data": {"offset": 0, "message": {"type": "text", "message_id": "m1", "text": "the answer\n"}}});
    renderer.record(&serde_json::from_value(said).unwrap(), &mut out);
    assert!(renderer.has_printed("the answer"));
    assert!(!renderer.has_printed("another"));
}
