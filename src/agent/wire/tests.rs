//! The wire against recordings of the real CLI, and against mangled lines.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::decode::decode;
use super::encode;
use super::lines::LINE_BYTES_MAX;
use crate::session::grant::{Grant, Pick};
use crate::session::message::{Frame, InputState, Message};
use crate::session::outcome::Ending;
use crate::session::question::{Answer, Question, QuestionKind};
use crate::session::samples::{denied, input, said};
use crate::session::timers::Timers;
use crate::session::turn::{Pending, Standing, Turns};

/// What the CLI printed in one recording, line by line.
fn recorded(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/samples")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).ok()?;
        match record.get("dir").and_then(Value::as_str) {
            Some("out") => Some(record["msg"].to_string()),
            Some(_) => None,
            None => record.get("type").is_some().then(|| line.to_owned()),
        }
    });
    lines.collect()
}

fn frames(name: &str) -> Vec<Frame> {
    recorded(name).iter().flat_map(|line| decode(line.as_bytes())).collect()
}

fn messages(name: &str) -> Vec<Message> {
    let message = |frame| match frame {
        Frame::Message { message, .. } => Some(message),
        _ => None,
    };
    frames(name).into_iter().filter_map(message).collect()
}

#[test]
fn every_recorded_line_is_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples");
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let mut lines = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".jsonl") {
            continue;
        }
        for line in recorded(&name) {
            lines += 1;
            for frame in decode(line.as_bytes()) {
                if let Frame::Unknown { kind } = frame {
                    *unknown
                        .entry(kind.unwrap_or_else(|| format!("not JSON: {line}")))
                        .or_default() += 1;
                }
            }
        }
    }
    assert!(lines > 1000, "the recordings are there: {lines} lines");
    assert_eq!(unknown, BTreeMap::new());
}

#[test]
fn text_comes_as_deltas_and_whole() {
    let mut draft = String::new();
    for frame in frames("02_partial.jsonl") {
        if let Frame::Delta(delta) = frame
            && delta.part == crate::session::message::DeltaPart::Text
        {
            draft += &delta.text;
        }
    }
    let text = messages("02_partial.jsonl")
        .into_iter()
        .find_map(|message| match message {
            Message::Text { text, .. } => Some(text),
            _ => None,
        });
    assert_eq!(text, Some(draft).filter(|draft| !draft.is_empty()));
}

#[test]
fn abandoned_drafts_are_named() {
    let abandoned = frames("53_cutslow.jsonl");
    assert!(
        abandoned
            .iter()
            .any(|frame| matches!(frame, Frame::DraftsAbandoned { from_block: 0, .. }))
    );
}

#[test]
fn a_permission_is_asked_and_answered() {
    let asked = frames("05_permission.jsonl").into_iter().find_map(|frame| match frame {
        Frame::Asked(asked) => Some(asked),
        _ => None,
    });
    let asked = asked.expect("the recording has a permission");
    let QuestionKind::Permission {
        tool,
        input,
        suggestions,
        ..
    } = &asked.kind
    else {
        panic!("{asked:?}")
    };
    assert_eq!((tool.as_str(), input["command"].as_str()), ("Bash", Some("touch aa")));
    let asked_for = suggestions.clone();
    let question = Question {
        question_id: crate::session::id::QuestionId(1),
        request_id: asked.request_id,
        tool_use_id: asked.tool_use_id,
        kind: asked.kind,
    };
    let allow = Answer::Allow {
        updated_input: None,
        remember: false,
        grant: (0..3).map(Pick::Place).collect(),
    };
    let told = |grants: &[Grant]| {
        let line: Value = serde_json::from_str(&encode::answer(&question, &allow, grants)).unwrap();
        line["response"]["response"].clone()
    };
    let response = told(&question.kind.granted(&allow).unwrap());
    assert_eq!(response["updatedInput"]["command"], "touch aa");
    let mut suggested = asked_for;
    // Nothing is written to the settings of the directory.
    suggested
        .iter_mut()
        .for_each(|suggestion| suggestion["destination"] = "session".into());
    assert_eq!(response["updatedPermissions"], Value::Array(suggested));
    assert_eq!(told(&[]).get("updatedPermissions"), None);
}

#[test]
fn a_choice_is_answered_with_its_input_completed() {
    let asked = frames("06_ask.jsonl").into_iter().find_map(|frame| match frame {
        Frame::Asked(asked) => Some(asked),
        _ => None,
    });
    let asked = asked.expect("the recording has a choice");
    let answer = asked.kind.first_options().expect("it has options");
    let question = Question {
        question_id: crate::session::id::QuestionId(1),
        request_id: asked.request_id,
        tool_use_id: None,
        kind: asked.kind,
    };
    let line: Value = serde_json::from_str(&encode::answer(&question, &answer, &[])).unwrap();
    let updated = &line["response"]["response"]["updatedInput"];
    assert!(
        updated["questions"].is_array() && updated["answers"].is_object(),
        "{updated}"
    );
}

#[test]
fn recordings_end_as_they_ended() {
    let check = |name: &str, expected: &str| {
        let name = &format!("{name}.jsonl");
        let mut turns = Turns::default();
        let sent = recorded(name).iter().rev().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["user_message_uuid"].as_str()?.parse().ok()
        });
        let uuid = sent.unwrap_or_default();
        turns.take(&input(uuid, InputState::Sent, None));
        if name.contains("deny_interrupt") {
            turns.take(&denied(true));
        }
        for message in messages(name) {
            turns.take(&said(message));
        }
        let ending = match turns.standing(Pending {
            timers: false,
            busy: false,
            queued: false,
            asked: false,
        }) {
            Standing::Over(Ending::Refused { cause, .. }) => cause.name(),
            Standing::Over(ending) => ending.name(),
            Standing::OnlyShells => "only shells",
            Standing::OnlyTimers => "only timers",
            Standing::Working => "working",
        };
        assert_eq!(ending, expected, "{name}");
    };
    for (name, expected) in ENDINGS {
        check(name, expected);
    }
}

#[test]
fn the_timers_of_recordings_are_set_fire_and_are_cancelled() {
    // The timers that are set after each change of them.
    let check = |name: &str, expected: &[usize]| {
        let (mut timers, mut turns) = (Timers::default(), Turns::default());
        let mut sets = Vec::new();
        for message in messages(&format!("{name}.jsonl")) {
            let is_change = matches!(message, Message::Timer(_));
            let entry = said(message);
            let call = Timers::call_of(&entry).and_then(|id| turns.tool(id));
            assert!(Timers::call_of(&entry).is_none() || call.is_some(), "{name}: {entry:?}");
            // Behind the dues of all recordings.
            timers.take(&entry, "2026-12-24T00:00:00Z".parse().unwrap(), call);
            turns.take(&entry);
            if is_change {
                sets.push(timers.described().len());
            }
        }
        assert_eq!(sets, expected, "{name}");
    };
    check("130_wakeup", &[1, 0]);
    check("131_jobs", &[1, 2, 2, 1, 0]);
    check("134_shells", &[1]);
    check("135_wakeup_stop", &[1, 1, 0, 1]);
}

/// How the recorded run ended, or was cut off while it went on.
const ENDINGS: [(&str, &str); 57] = [
    ("02_partial", "finished"),
    ("05_permission", "finished"),
    ("102_deny_interrupt", "agent_error"),
    ("14g_resume_unknown", "lost_context"),
    ("16_max_turns", "max_turns"),
    ("17_max_budget", "budget"),
    ("34_SIGINT_midtool", "crashed"),
    ("50_429_retryafter", "finished"),
    ("50_429x2", "finished"),
    ("50_500x2", "finished"),
    ("50_529x3", "api_down"),
    ("51_400", "bad_request"),
    ("51_401", "not_signed_in"),
    ("51_ctx", "prompt_too_long"),
    ("51_cut1", "finished"),
    ("51_cut_tool", "finished"),
    ("51_reset2", "finished"),
    ("51_sseerr", "finished"),
    ("52_429forever", "api_down"),
    ("52_500forever", "api_down"),
    ("52_hang", "working"),
    ("52_midhang", "finished"),
    ("52_pings", "finished"),
    ("52_stall", "working"),
    ("53_429_mr1", "api_down"),
    ("53_429x14_wd", "working"),
    ("53_529_fallback", "api_down"),
    ("53_529x12_mw", "api_down"),
    ("53_529x6_wd", "finished"),
    ("53_cutslow", "finished"),
    ("53_hang_bwd15", "finished"),
    ("53_hang_default", "finished"),
    ("53_hang_swd", "finished"),
    ("53_hang_swd15", "working"),
    ("53_midhang_swd15", "working"),
    ("53_stall_fb10", "finished"),
    ("54_ratelimit_apikey", "finished"),
    ("54_ratelimit_rej_apikey", "finished"),
    ("55a_ratelimit_oauth_warn", "finished"),
    ("55b_ratelimit_oauth_rejected", "quota"),
    ("55c_retry_after", "finished"),
    ("55d_retry_after120", "api_down"),
    ("55e_fallback", "finished"),
    ("55f_maxtok", "agent_error"),
    ("55g_refusal", "model_refusal"),
    ("55h_refused", "api_down"),
    ("56a_watchdog_usage_limit", "finished"),
    ("56b_watchdog_retry_after", "finished"),
    ("56c_retry_after40", "finished"),
    ("81a_defer", "agent_error"),
    ("82a", "agent_error"),
    ("82d", "agent_error"),
    ("87_kill_bg", "working"),
    ("87_resume", "finished"),
    ("99a_500", "crashed"),
    ("99a_refused", "crashed"),
    ("18c_json_schema_invalid", "finished"),
];

#[test]
fn every_recorded_fault_of_the_api_has_its_ending() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples");
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let faults: Vec<_> = names.filter(|name| name.starts_with('5')).collect();
    assert!(faults.len() > 40, "{faults:?}");
    for name in faults {
        let is_told = |(told, _): &(&str, &str)| name.strip_suffix(".jsonl") == Some(told);
        assert!(ENDINGS.iter().any(is_told), "{name} has no ending");
    }
}

#[test]
fn a_limit_beyond_which_usage_is_paid_for_stops_nothing() {
    let rejected = |is_paid: bool| {
        let line = format!(
            r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"rejected","resetsAt":1795943578,"isUsingOverage":{is_paid}}}}}"#
        );
        match decode(line.as_bytes()).as_slice() {
            [
                Frame::Message {
                    message: Message::RateLimit { rejected, .. },
                    ..
                },
            ] => *rejected,
            other => panic!("{other:?}"),
        }
    };
    assert!(rejected(false) && !rejected(true));
}

#[test]
fn the_blocks_of_a_line_repeat_no_more_text_than_a_line_may_have() {
    let long = "x".repeat(LINE_BYTES_MAX / 100);
    let assistant = |fields: &str, id: &str, blocks: usize| {
        let blocks = vec![r#"{"type":"text"}"#; blocks].join(",");
        format!(r#"{{"type":"assistant"{fields},"message":{{"id":"{id}","content":[{blocks}]}}}}"#)
    };
    let user = |fields: &str, blocks: usize| {
        let blocks = vec![r#"{"type":"tool_result"}"#; blocks].join(",");
        format!(r#"{{"type":"user"{fields},"message":{{"content":[{blocks}]}}}}"#)
    };
    let parent = format!(r#","parent_tool_use_id":"{long}""#);
    let error = format!(r#","error":"{long}""#);
    let job = format!(r#","tool_use_result":{{"id":"{long}","nextFireAt":1}}"#);
    let many_keys: String = (0..1000).map(|n| format!(r#""{n}":0,"#)).collect();
    let monitor = format!(r#","tool_use_result":{{{many_keys}"taskId":"{long}","timeoutMs":1,"persistent":false}}"#);
    let lines = |blocks| {
        [
            assistant("", &long, blocks),
            assistant(&parent, "", blocks),
            assistant(&error, "", blocks),
            user(&parent, blocks),
            user(&job, blocks),
            user(&monitor, blocks),
        ]
    };
    for line in lines(50) {
        let frames = decode(line.as_bytes());
        assert!(frames.len() >= 50, "{} of {}", frames.len(), &line[..30]);
    }
    for line in lines(200) {
        assert!(line.len() < LINE_BYTES_MAX);
        let frames = decode(line.as_bytes());
        assert!(
            matches!(frames[..], [Frame::Unknown { .. }]),
            "{} of {}",
            frames.len(),
            &line[..30]
        );
    }
}

/// The one message of a line.
fn message_of(line: &str) -> Message {
    match decode(line.as_bytes()).as_slice() {
        [Frame::Message { message, .. }] => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_prompt_that_is_stopped_is_told_by_its_structure_and_not_by_its_words() {
    let informational = |fields: &str| {
        let line = format!(r#"{{"type":"system","subtype":"informational","level":"warning"{fields}}}"#);
        match message_of(&line) {
            Message::Said { stopped, .. } => stopped,
            other => panic!("{other:?}"),
        }
    };
    let words =
        r#","content":"UserPromptSubmit operation blocked by hook:\n[check]: not today\n\nOriginal prompt: work""#;
    assert_eq!(informational(words), None, "the words alone say nothing");
    let ending = |kind: &str| {
        let outcome = format!(r#"{{"kind":"{kind}","prompt_kept":false,"reason":"not\ntoday"}}"#);
        informational(&format!(r#"{words},"prompt_submit_outcome":{outcome}"#))
    };
    assert_eq!(ending("blocked_by_hook").as_deref(), Some("not today"));
    assert_eq!(ending("stopped_by_hook").as_deref(), Some("not today"));
    assert_eq!(
        ending("of_a_later_version"),
        None,
        "as the CLI asks its hosts to take it"
    );
    let of_a_fork = informational(&format!(r#"{words},"prevent_continuation":true"#));
    let told = "UserPromptSubmit operation blocked by hook: [check]: not today";
    assert_eq!(of_a_fork.as_deref(), Some(told));
}

#[test]
fn what_a_command_prints_is_no_text_of_the_model() {
    let printed = |source: &str, outcome: &str| {
        let message =
            r#"{"id":"m","model":"<synthetic>","role":"assistant","content":[{"type":"text","text":"words"}]}"#;
        let line = format!(r#"{{"type":"assistant","message":{message}{source}{outcome}}}"#);
        message_of(&line)
    };
    let stdout = r#","local_command_source":"<local-command-stdout>words</local-command-stdout>""#;
    let stderr = r#","local_command_source":"<local-command-stderr>words</local-command-stderr>""#;
    let outcome = |kind: &str| format!(r#","local_command_outcome":{{"kind":"{kind}"}}"#);
    let output = |failed| {
        let text = "words".to_owned();
        Message::CommandOutput { text, failed }
    };
    assert_eq!(printed(stdout, ""), output(false));
    assert_eq!(printed(stderr, ""), output(true), "of a version that gives no outcome");
    for kind in ["failed", "unavailable_headless", "unknown"] {
        assert_eq!(printed(stdout, &outcome(kind)), output(true), "{kind}");
    }
    assert_eq!(printed(stdout, &outcome("restart_required")), output(false));
    assert!(matches!(printed("", ""), Message::Text { error: None, .. }));
}

#[test]
fn what_is_no_json_is_unknown_and_an_empty_line_is_nothing() {
    assert_eq!(decode(b"Segmentation fault"), [Frame::Unknown { kind: None }]);
    assert_eq!(decode(b"  "), []);
    assert_eq!(
        decode(br#"{"type":"sang"}"#),
        [Frame::Unknown {
            kind: Some("sang".into())
        }]
    );
    let odd = decode(br#"{"type":"result","is_error":"maybe"}"#);
    assert_eq!(
        odd,
        [Frame::Unknown {
            kind: Some("result".into())
        }]
    );
}

proptest! {
    #[test]
    fn mangled_lines_never_panic(seed in 0usize..10_000, at in 0usize..4_000, byte: u8, cut: bool) {
        let lines = recorded("84a_subagent.jsonl");
        let mut line = lines[seed % lines.len()].clone().into_bytes();
        let at = at % line.len();
        line[at] = byte;
        if cut {
            line.truncate(at);
        }
        let _ = decode(&line);
    }
}
