//! Steps in which the model speaks: text, thinking, floods.

use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::frames;
use super::session::{Cut, Simulator};
use super::transcript::Record;
use super::turn::Turn;

/// A text is streamed in no more deltas than this.
const DELTAS_MAX: usize = 64;

/// Lines of a flood between two looks at what has happened.
const FLOOD_LISTEN_LINES: u64 = 32;

/// Lines of a flood between two entries in the transcript.
const FLOOD_RECORD_LINES: u64 = 256;

impl Simulator {
    pub(super) fn say(&mut self, turn: &mut Turn, text: &str) -> Result<(), Cut> {
        self.stream_text(turn, pieces(text).map(|piece| || piece.to_owned()))
    }

    pub(super) fn deltas(&mut self, turn: &mut Turn, count: u64) -> Result<(), Cut> {
        self.stream_text(turn, (1..=count).map(|number| move || format!("{number} ")))
    }

    /// Deltas that say when they were written, in nanoseconds since 1970.
    pub(super) fn stamps(&mut self, turn: &mut Turn, count: u64) -> Result<(), Cut> {
        self.stream_text(turn, (0..count).map(|_| || format!("{} ", nanoseconds_since_1970())))
    }

    pub(super) fn think(&mut self, turn: &mut Turn, text: &str) -> Result<(), Cut> {
        let message = self.open_message(turn);
        self.send_stream(
            turn,
            frames::block_start(&message, json!({"type": "thinking", "thinking": "", "signature": ""})),
        );
        for piece in pieces(text) {
            if let Err(cut) = self.pace(turn) {
                self.abandon(turn, &message, "", &cut);
                return Err(cut);
            }
            self.send_stream(
                turn,
                frames::block_delta(&message, json!({"type": "thinking_delta", "thinking": piece})),
            );
        }
        let block = json!({"type": "thinking", "thinking": text, "signature": "c2ltdWxhdGVk"});
        self.send_assistant(turn, frames::assistant(&message, &self.model, block));
        self.close_message(turn, &message, "end_turn");
        Ok(())
    }

    /// Each piece is made when it is its turn to be sent.
    fn stream_text(
        &mut self,
        turn: &mut Turn,
        pieces: impl Iterator<Item = impl FnOnce() -> String>,
    ) -> Result<(), Cut> {
        let message = self.open_message(turn);
        self.send_stream(turn, frames::block_start(&message, json!({"type": "text", "text": ""})));
        let mut text = String::new();
        for piece in pieces {
            if let Err(cut) = self.pace(turn) {
                self.abandon(turn, &message, &text, &cut);
                return Err(cut);
            }
            let piece = piece();
            self.send_stream(
                turn,
                frames::block_delta(&message, json!({"type": "text_delta", "text": piece})),
            );
            text.push_str(&piece);
        }
        self.send_assistant(
            turn,
            frames::assistant(&message, &self.model, json!({"type": "text", "text": text})),
        );
        self.close_message(turn, &message, "end_turn");
        turn.text = text;
        Ok(())
    }

    /// Two deltas of a text that never comes to its end.
    pub(super) fn begin_text(&mut self, turn: &mut Turn) {
        let message = self.open_message(turn);
        self.send_stream(turn, frames::block_start(&message, json!({"type": "text", "text": ""})));
        for text in ["this is never ", "finished "] {
            self.send_stream(
                turn,
                frames::block_delta(&message, json!({"type": "text_delta", "text": text})),
            );
        }
    }

    pub(super) fn open_message(&mut self, turn: &mut Turn) -> String {
        let message = self.ids.prefixed("msg");
        turn.messages += 1;
        self.send_requesting(turn);
        self.send_stream(turn, frames::message_start(&message, &self.model));
        message
    }

    pub(super) fn close_message(&mut self, turn: &mut Turn, message: &str, stop_reason: &str) {
        self.send_stream(turn, frames::block_stop(message));
        self.send_stream(turn, frames::message_delta(message, Some(stop_reason)));
        self.send_stream(turn, frames::message_stop(message));
    }

    /// An interrupt keeps the text so far; any other end loses it.
    fn abandon(&mut self, turn: &mut Turn, message: &str, text: &str, cut: &Cut) {
        if !matches!(cut, Cut::Interrupted { .. }) {
            return;
        }
        if !text.is_empty() {
            let mut frame = frames::assistant(message, &self.model, json!({"type": "text", "text": text}));
            frame["aborted"] = json!(true);
            self.send_assistant(turn, frame);
        }
        self.send_stream(turn, frames::block_stop(message));
        self.send_stream(turn, frames::message_delta(message, None));
        self.send_stream(turn, frames::message_abandoned(message, u64::from(!text.is_empty())));
    }

    fn pace(&mut self, turn: &Turn) -> Result<(), Cut> {
        if turn.pace.is_zero() {
            self.listen()
        } else {
            self.listen_until(Some(Instant::now() + turn.pace))
        }
    }

    /// One frame whose line, with its newline, is exactly so long.
    pub(super) fn long_line(&mut self, turn: &mut Turn, bytes: usize) -> Result<(), Cut> {
        let message = self.open_message(turn);
        let mut frame = frames::assistant(&message, &self.model, json!({"type": "text", "text": ""}));
        let uuid = self.ids.uuid().to_string();
        (frame["uuid"], frame["session_id"]) = (json!(uuid), json!(self.session));
        let empty = frame.to_string().len() + 1;
        frame["message"]["content"][0]["text"] = json!("x".repeat(bytes.saturating_sub(empty)));
        self.output.frame(&frame);
        turn.last_uuid = Some(uuid);
        Ok(())
    }

    /// Numbered frames with no more in them than a reader needs, since a line may be as short as 220 bytes.
    pub(super) fn flood(&mut self, turn: &mut Turn, lines: u64, bytes: usize) -> Result<(), Cut> {
        turn.messages += 1;
        let message = format!("{:08x}", self.ids.uuid().as_fields().0);
        let mut line = Vec::with_capacity(bytes);
        for number in turn.flooded + 1..=lines {
            let uuid = self.ids.uuid().hyphenated().to_string();
            line.clear();
            flood_line(&mut line, &message, number, bytes, &self.session, &uuid);
            self.output.line(&line, Some(&uuid));
            turn.last_uuid = Some(uuid);
            if !turn.pace.is_zero() || number % FLOOD_RECORD_LINES == 0 {
                self.output.flush();
                self.transcript.append(
                    "assistant",
                    turn.last_uuid.as_deref(),
                    &Record::Flooded { lines: number },
                    &serde_json::Value::Null,
                );
            }
            if !turn.pace.is_zero() || number % FLOOD_LISTEN_LINES == 0 {
                self.pace(turn)?;
            }
        }
        self.output.flush();
        turn.text = format!("line {lines}");
        Ok(())
    }
}

fn flood_line(line: &mut Vec<u8>, message: &str, number: u64, bytes: usize, session: &str, uuid: &str) {
    // Writing to a Vec cannot fail.
    let _ = write!(
        line,
        r#"{{"type":"assistant","message":{{"id":"msg_{message}{number}","role":"assistant","content":[{{"type":"text","text":"line {number}"#,
    );
    let tail = 32 + session.len() + uuid.len();
    let padding = bytes.saturating_sub(line.len() + tail);
    line.resize(line.len() + padding, b'.');
    let _ = writeln!(line, r#""}}]}},"session_id":"{session}","uuid":"{uuid}"}}"#);
}

fn nanoseconds_since_1970() -> u128 {
    // A clock before 1970 is told as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}

/// A text in whole words, as many to a piece as keeps the pieces few.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split_inclusive(' ').count();
    let words_a_piece = words.div_ceil(DELTAS_MAX).max(1);
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest
            .match_indices(' ')
            .nth(words_a_piece - 1)
            .map_or(rest.len(), |(at, _)| at + 1);
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_text() {
        for text in ["", "word", "two words", " spaced  out ", "wörter mit umlauten"] {
            assert_eq!(pieces(text).collect::<String>(), text);
        }
        let long = "w ".repeat(1000);
        assert_eq!(pieces(&long).collect::<String>(), long);
        assert!(pieces(&long).count() <= DELTAS_MAX);
        assert_eq!(pieces("a b c").count(), 3);
    }

    #[test]
    fn a_flood_line_is_json_of_the_length_asked_for() {
        let mut line = Vec::new();
        flood_line(&mut line, "00000000", 7, 400, "s", "u");
        assert_eq!(line.len(), 400);
        let frame: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&frame["uuid"], &frame["session_id"]), (&json!("u"), &json!("s")));
        assert!(
            frame["message"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .starts_with("line 7")
        );
    }
}
