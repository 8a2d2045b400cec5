//! What a model sees of a long answer.

use super::*;
use crate::session::id::SessionId;
use crate::session::journal::Created;
use crate::session::outcome::Outcome;
use crate::session::request::Request;
use crate::session::state::State;

/// As much as some clients show a model.
const SHOWN_BYTES: usize = 2048;

fn ended(result: &str) -> Summary {
    let created = Created {
        request: Request {
            task: "explain it".into(),
            cwd: "/srv/me".into(),
            ..Request::default()
        },
        by: "a test".into(),
        claim: None,
        project: None,
    };
    let mut summary = Summary::new(SessionId::new(), &created, jiff::Timestamp::UNIX_EPOCH);
    summary.lifecycle.state = State::Ended {
        outcome: Outcome::Completed,
    };
    summary.result = Some(result.to_owned());
    summary
}

fn told(execution: ExecutionResult) -> (String, Value) {
    let result = serde_json::to_value(execution.into_result(false)).unwrap();
    let text = result["content"][0]["text"].as_str().unwrap().to_owned();
    (text, result["structuredContent"].clone())
}

#[test]
fn the_first_two_kilobytes_of_a_long_answer_hold_its_end_and_how_to_read_the_rest() {
    let answer = format!("The beginning.\n{}\nTherefore: é 42.", "ä filler\n".repeat(5000));
    let summary = ended(&answer);
    let (text, structured) = told(ExecutionResult::brief(&summary));
    let json = structured.to_string();
    for shown in [
        &text[..text.floor_char_boundary(SHOWN_BYTES)],
        &json[..json.floor_char_boundary(SHOWN_BYTES)],
    ] {
        for part in [
            "completed",
            "Therefore: é 42.",
            "result_from: 0",
            &summary.session_id.to_string(),
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    assert!(text.ends_with(&answer), "a client that shows more shows all");
}

#[test]
fn a_long_answer_is_read_piece_by_piece() {
    let answer = format!("{}the end", "äöü and so on, ".repeat(700));
    let summary = ended(&answer);
    let (mut from, mut read) = (0, String::new());
    loop {
        let (text, structured) = told(ExecutionResult::brief(&summary).read_on(from));
        assert!(text.len() < SHOWN_BYTES, "{}", text.len());
        let piece = structured["result"].as_str().unwrap();
        assert!(text.ends_with(piece), "{text}");
        read.push_str(piece);
        let Some((_, next)) = text.split_once("result_from: ") else {
            break;
        };
        from = next.lines().next().unwrap().parse().unwrap();
        assert_eq!(from, read.len());
    }
    assert_eq!(read, answer);
    let (text, _) = told(ExecutionResult::brief(&summary).read_on(1_000_000));
    assert!(text.contains("that is its end"), "{text}");
}

#[test]
fn a_short_answer_stands_once() {
    let (text, structured) = told(ExecutionResult::brief(&ended("forty-two")));
    assert_eq!(text.matches("forty-two").count(), 1, "{text}");
    assert_eq!(structured["result"], "forty-two");
    assert!(text.contains("directory: /srv/me"), "{text}");
}
