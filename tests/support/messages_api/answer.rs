//! A round of the script as the API would send it: pieces of an event stream, or one JSON message.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::script::{Fault, Pace, Step};

/// What every answer is said to have cost, so that tests can tell the sum from the number of rounds.
pub(crate) const INPUT_TOKENS: u64 = 1000;
/// The output's share, see [`INPUT_TOKENS`].
pub(crate) const OUTPUT_TOKENS: u64 = 50;

/// The text of a stream that is cut.
pub(crate) const CUT_TEXT: &str = "this text is cut";

/// What the writer of a stream does next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Event(Value),
    Pause(Duration),
    WaitForFile(PathBuf),
    CutConnection,
    StayForEver,
}

/// An answer with its content as blocks, from which both forms are made.
pub(crate) struct Answer {
    id: String,
    model: String,
    steps: Vec<Step>,
}

impl Answer {
    pub(crate) fn new(model: &str, steps: Vec<Step>) -> Self {
        Answer {
            id: format!("msg_{}", Uuid::new_v4().simple()),
            model: model.to_owned(),
            steps,
        }
    }

    /// The answer as pieces of a stream. A fault stands where it strikes: what follows it is never sent.
    pub(crate) fn stream(&self, fault: Option<Fault>) -> Vec<Piece> {
        let message = self.message(Vec::new(), Value::Null, 1);
        let mut pieces: Vec<Piece> = self.steps.first().and_then(wait_before).into_iter().collect();
        pieces.push(event("message_start", json!({ "message": message })));
        pieces.push(event("ping", json!({})));
        match fault {
            Some(Fault::Cut) => pieces.extend(cut_in_a_block(None)),
            Some(Fault::CutAfterFileExists { path }) => pieces.extend(cut_in_a_block(Some(path.into()))),
            Some(Fault::Silence) => pieces.push(Piece::StayForEver),
            Some(Fault::Status(_)) | None => self.extend_with_content(&mut pieces),
        }
        pieces
    }

    /// The answer to a request that does not ask for a stream.
    pub(crate) fn whole(&self) -> Value {
        let content = self.steps.iter().filter_map(whole_block).collect();
        self.message(content, self.stop_reason(), OUTPUT_TOKENS)
    }

    fn extend_with_content(&self, pieces: &mut Vec<Piece>) {
        let blocks = self.steps.iter().filter_map(|step| Some((whole_block(step)?, step)));
        for (index, (block, step)) in blocks.enumerate() {
            pieces.push(event(
                "content_block_start",
                json!({ "index": index, "content_block": emptied(block) }),
            ));
            pieces.extend(deltas(index, step));
            pieces.push(event("content_block_stop", json!({ "index": index })));
        }
        let delta = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null });
        pieces.push(event(
            "message_delta",
            json!({ "delta": delta, "usage": usage(OUTPUT_TOKENS) }),
        ));
        pieces.push(event("message_stop", json!({})));
    }

    fn message(&self, content: Vec<Value>, stop_reason: Value, output_tokens: u64) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null, "usage": usage(output_tokens),
        })
    }

    fn stop_reason(&self) -> Value {
        let calls_tool = self.steps.iter().any(|step| matches!(step, Step::Tool { .. }));
        json!(if calls_tool { "tool_use" } else { "end_turn" })
    }
}

fn usage(output_tokens: u64) -> Value {
    json!({
        "input_tokens": INPUT_TOKENS, "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    })
}

fn event(kind: &str, mut fields: Value) -> Piece {
    fields["type"] = json!(kind);
    Piece::Event(fields)
}

/// A delta comes only where it can be waited for: whether the CLI shows one that is cut off at once is chance.
fn cut_in_a_block(after: Option<PathBuf>) -> Vec<Piece> {
    let start = json!({ "index": 0, "content_block": { "type": "text", "text": "" } });
    let mut pieces = vec![event("content_block_start", start)];
    if let Some(file) = after {
        pieces.extend([text_delta(0, CUT_TEXT), Piece::WaitForFile(file)]);
    }
    pieces.push(Piece::CutConnection);
    pieces
}

fn whole_block(step: &Step) -> Option<Value> {
    match step {
        Step::Think(text) => Some(json!({ "type": "thinking", "thinking": text, "signature": "c2NyaXB0ZWQ=" })),
        Step::Text { text, .. } => Some(json!({ "type": "text", "text": text })),
        Step::Tool { name, input } => {
            let id = format!("toolu_{}", Uuid::new_v4().simple());
            Some(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))
        }
        Step::WaitForFile { .. } | Step::Fault { .. } => None,
    }
}

fn wait_before(step: &Step) -> Option<Piece> {
    match step {
        Step::WaitForFile { path } => Some(Piece::WaitForFile(path.into())),
        Step::Think(_) | Step::Text { .. } | Step::Tool { .. } | Step::Fault { .. } => None,
    }
}

/// A block as it stands in `content_block_start`, before its deltas.
fn emptied(mut block: Value) -> Value {
    for field in ["text", "thinking", "signature"] {
        if let Some(text) = block.get_mut(field) {
            *text = json!("");
        }
    }
    if let Some(input) = block.get_mut("input") {
        *input = json!({});
    }
    block
}

fn deltas(index: usize, step: &Step) -> Vec<Piece> {
    match step {
        Step::Think(text) => {
            let thinking = words(text).map(|word| delta(index, json!({ "type": "thinking_delta", "thinking": word })));
            let signature = delta(index, json!({ "type": "signature_delta", "signature": "c2NyaXB0ZWQ=" }));
            thinking.chain([signature]).collect()
        }
        Step::Text { text, pace } => text_deltas(index, text, pace),
        Step::Tool { input, .. } => halves(&input.to_string())
            .map(|half| delta(index, json!({ "type": "input_json_delta", "partial_json": half })))
            .into(),
        Step::WaitForFile { .. } | Step::Fault { .. } => Vec::new(),
    }
}

fn text_deltas(index: usize, text: &str, pace: &Pace) -> Vec<Piece> {
    match pace {
        Pace::AtOnce => words(text).map(|word| text_delta(index, word)).collect(),
        Pace::PauseBeforeEachWord { milliseconds } => {
            let pause = Piece::Pause(Duration::from_millis(*milliseconds));
            words(text)
                .flat_map(|word| [pause.clone(), text_delta(index, word)])
                .collect()
        }
        Pace::HalfUntilFileExists { path } => {
            let [first, second] = halves(text);
            vec![
                text_delta(index, first),
                Piece::WaitForFile(path.into()),
                text_delta(index, second),
            ]
        }
    }
}

fn text_delta(index: usize, text: &str) -> Piece {
    delta(index, json!({ "type": "text_delta", "text": text }))
}

fn delta(index: usize, delta: Value) -> Piece {
    event("content_block_delta", json!({ "index": index, "delta": delta }))
}

/// Words with the space after them, so that they join to the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn halves(text: &str) -> [&str; 2] {
    let (first, second) = text.split_at(text.floor_char_boundary(text.len().div_ceil(2)));
    [first, second]
}
