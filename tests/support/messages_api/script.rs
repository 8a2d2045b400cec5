//! What the scripted model shall do, read from the conversation that a request carries.
//!
//! A prompt holds a line like `FAKE: bash touch a ;; say done`: steps between ` ;; `, in a *round* each up to and with
//! the next tool call, because a model's answer ends with its tool calls. Steps joined by ` ;+ ` are tool calls of the
//! same answer. Which round is due follows from the messages alone, so a conversation may be resumed by another process
//! or continued after a crash and still gets the rest of its script.
//!
//! | step | what the model does |
//! |---|---|
//! | `say TEXT` / `think TEXT` | writes text, or thinks it |
//! | `slow MS TEXT` | writes the text word by word, pausing before each |
//! | `wait PATH` | writes nothing until the file exists; for the beginning of an answer |
//! | `hold PATH TEXT` | writes half of the text, and the rest when the file exists |
//! | `bash COMMAND` / `bashbg COMMAND` | calls Bash, in the background for `bashbg` |
//! | `write PATH TEXT` / `read PATH` | calls Write or Read |
//! | `ask QUESTION \| A \| B` | calls AskUserQuestion |
//! | `plan` | calls ExitPlanMode |
//! | `agent STEPS` | calls Agent with a script of its own, its steps between ` ,, ` |
//! | `tool NAME JSON` | calls any other tool |
//! | `error STATUS [TIMES]` | answers with that HTTP status, TIMES times (1; `always`), then goes on |
//! | `cut [TIMES]` | breaks the connection in a first block, before its text |
//! | `cutafter PATH` | sends a first delta, and breaks the connection when the file exists, once |
//! | `silence [TIMES]` | starts a stream and never goes on with it |
//!
//! `\n` in a text is a line break; `$SESSION_ID` in the JSON of `tool` is the `session_id` that was named last in the
//! conversation, which is how a scripted model uses what a tool told it.

use serde_json::{Value, json};

/// The mark that begins a script, at the start of a line of the prompt.
const MARK: &str = "FAKE:";

/// Stands for a session that a tool named.
const SESSION_MARK: &str = "$SESSION_ID";

/// What an unscripted prompt, or one whose script is done, is answered with.
const DEFAULT_TEXT: &str = "ok";

/// What the CLI itself writes where a cut turn left no answer.
const PLACEHOLDER_ANSWER: &str = "No response requested.";

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Think(String),
    Text { text: String, pace: Pace },
    WaitForFile { path: String },
    Tool { name: String, input: Value },
    Fault { fault: Fault, times: u32 },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pace {
    AtOnce,
    PauseBeforeEachWord { milliseconds: u64 },
    HalfUntilFileExists { path: String },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    Status(u16),
    Cut,
    CutAfterFileExists { path: String },
    Silence,
}

/// The part of a script that answers one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Round {
    /// Tells this round of this prompt from others, to count how often its faults have struck.
    pub(crate) key: String,
    pub(crate) steps: Vec<Step>,
}

/// The round that is due for a request's messages, or why its script cannot be read.
pub(crate) fn round_due(messages: &[Value]) -> Result<Round, String> {
    let Some(place) = place_in_script(messages) else {
        return Ok(default_round());
    };
    let rounds = parse_rounds(place.script)?;
    let Some(steps) = rounds.get(place.rounds_done) else {
        return Ok(default_round());
    };
    // A text that stands where a tool call should follow was cut off by a crash: that round is given again.
    let answered = place.ended && !ends_with_tool(steps);
    if answered {
        return Ok(default_round());
    }
    let key = format!(
        "{} at message {}, round {}",
        place.script, place.at_message, place.rounds_done
    );
    let mut steps = steps.clone();
    fill_in(&mut steps, messages);
    Ok(Round { key, steps })
}

/// Puts the session that was named last in the place of its mark.
fn fill_in(steps: &mut [Step], messages: &[Value]) {
    for step in steps {
        let Step::Tool { input, .. } = step else { continue };
        let text = input.to_string();
        if text.contains(SESSION_MARK)
            && let Some(id) = last_session(messages)
            && let Ok(filled) = serde_json::from_str(&text.replace(SESSION_MARK, &id))
        {
            *input = filled;
        }
    }
}

fn last_session(messages: &[Value]) -> Option<String> {
    let said = Value::from(messages).to_string();
    let mut named = said.rmatch_indices("session_id").filter_map(|(at, name)| {
        let behind = said[at + name.len()..].trim_start_matches(|letter: char| !letter.is_ascii_hexdigit());
        let id = behind.get(..36)?;
        let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        is_id.then(|| id.to_owned())
    });
    named.next()
}

fn default_round() -> Round {
    let text = DEFAULT_TEXT.to_owned();
    Round {
        key: String::new(),
        steps: vec![Step::Text {
            text,
            pace: Pace::AtOnce,
        }],
    }
}

/// Where a conversation stands in the last script of its prompts.
struct Place<'a> {
    script: &'a str,
    at_message: usize,
    /// Answers with tool calls since the prompt.
    rounds_done: usize,
    /// The last answer had no tool call.
    ended: bool,
}

fn place_in_script(messages: &[Value]) -> Option<Place<'_>> {
    let mut place: Option<Place<'_>> = None;
    let mut called_in_this_answer = false;
    for (at_message, message) in messages.iter().enumerate() {
        if message["role"] == "assistant" {
            if let Some(place) = &mut place {
                place.note_answer(message, &mut called_in_this_answer);
            }
            continue;
        }
        called_in_this_answer = false;
        if let Some(script) = last_script(message) {
            place = Some(Place {
                script,
                at_message,
                rounds_done: 0,
                ended: false,
            });
        } else if is_new_prompt(message) {
            place = None;
        }
    }
    place
}

impl Place<'_> {
    /// Several assistant messages in a row are one answer, so their tool calls count as one round.
    fn note_answer(&mut self, message: &Value, called_in_this_answer: &mut bool) {
        if has_block(message, "tool_use") {
            self.rounds_done += usize::from(!*called_in_this_answer);
            *called_in_this_answer = true;
            self.ended = false;
        } else if texts(message).any(|text| text != PLACEHOLDER_ANSWER) {
            self.ended = true;
        }
    }
}

/// The rest of the last line that begins with the mark.
fn last_script(message: &Value) -> Option<&str> {
    texts(message)
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix(MARK))
        .map(str::trim)
        .last()
}

/// A person's own words, as against what the CLI adds by itself: reminders and notices in tags or brackets, text beside
/// tool results, and the request to continue after a restart.
fn is_new_prompt(message: &Value) -> bool {
    let said_by_person = |text: &str| {
        let text = text.trim_start();
        !text.is_empty() && !text.starts_with(['<', '[']) && !text.starts_with("Continue")
    };
    message["role"] == "user" && !has_block(message, "tool_result") && texts(message).any(said_by_person)
}

fn texts(message: &Value) -> impl Iterator<Item = &str> {
    let whole = message["content"].as_str();
    let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    whole.into_iter().chain(
        blocks
            .iter()
            .filter(|block| block["type"] == "text")
            .filter_map(|block| block["text"].as_str()),
    )
}

fn has_block(message: &Value, kind: &str) -> bool {
    message["content"]
        .as_array()
        .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == kind))
}

/// Splits a script into rounds. One that ends with a tool call is closed by the default text.
pub(crate) fn parse_rounds(script: &str) -> Result<Vec<Vec<Step>>, String> {
    let mut rounds = Vec::new();
    let mut round = Vec::new();
    for group in script.split(" ;; ") {
        for step in group.split(" ;+ ") {
            round.push(parse_step(step.trim())?);
        }
        if ends_with_tool(&round) {
            rounds.push(std::mem::take(&mut round));
        }
    }
    if !round.is_empty() {
        rounds.push(round);
    }
    Ok(rounds)
}

fn ends_with_tool(steps: &[Step]) -> bool {
    matches!(steps.last(), Some(Step::Tool { .. }))
}

fn parse_step(step: &str) -> Result<Step, String> {
    let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
    let parsed = match verb {
        "say" => text(rest, Pace::AtOnce),
        "think" => Step::Think(unescape(rest)),
        "slow" => {
            let (milliseconds, words) = number_and_rest(step, rest)?;
            text(words, Pace::PauseBeforeEachWord { milliseconds })
        }
        "wait" => Step::WaitForFile { path: rest.to_owned() },
        "hold" => {
            let (path, words) = two_words(step, rest)?;
            text(words, Pace::HalfUntilFileExists { path: path.to_owned() })
        }
        "bash" => tool("Bash", json!({ "command": rest, "description": rest })),
        "bashbg" => tool(
            "Bash",
            json!({ "command": rest, "description": rest, "run_in_background": true }),
        ),
        "write" => {
            let (path, content) = two_words(step, rest)?;
            tool("Write", json!({ "file_path": path, "content": unescape(content) }))
        }
        "read" => tool("Read", json!({ "file_path": rest })),
        "ask" => tool("AskUserQuestion", question(rest)),
        "plan" => tool("ExitPlanMode", json!({})),
        "agent" => tool("Agent", subagent(rest)),
        "tool" => {
            let (name, input) = two_words(step, rest)?;
            tool(
                name,
                serde_json::from_str(input).map_err(|error| format!("`{step}`: {error}"))?,
            )
        }
        "error" => fault(step, rest)?,
        "cut" => Step::Fault {
            fault: Fault::Cut,
            times: times(step, rest)?,
        },
        "cutafter" => Step::Fault {
            fault: Fault::CutAfterFileExists { path: rest.to_owned() },
            times: 1,
        },
        "silence" => Step::Fault {
            fault: Fault::Silence,
            times: times(step, rest)?,
        },
        _ => return Err(format!("`{step}` is no step of a script")),
    };
    Ok(parsed)
}

fn text(words: &str, pace: Pace) -> Step {
    Step::Text {
        text: unescape(words),
        pace,
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
}

fn tool(name: &str, input: Value) -> Step {
    Step::Tool {
        name: name.to_owned(),
        input,
    }
}

fn question(rest: &str) -> Value {
    let mut parts = rest.split('|').map(str::trim);
    let question = parts.next().unwrap_or_default();
    let options: Vec<Value> = parts
        .map(|label| json!({ "label": label, "description": label }))
        .collect();
    json!({ "questions": [{ "question": question, "header": "Choice", "options": options, "multiSelect": false }] })
}

fn subagent(steps: &str) -> Value {
    let prompt = format!("{MARK} {}", steps.replace(" ,, ", " ;; "));
    json!({ "description": "scripted subagent", "prompt": prompt, "subagent_type": "general-purpose" })
}

fn fault(step: &str, rest: &str) -> Result<Step, String> {
    let (status, count) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = status
        .parse()
        .map_err(|error| format!("`{step}`: the status {status:?}: {error}"))?;
    Ok(Step::Fault {
        fault: Fault::Status(status),
        times: times(step, count)?,
    })
}

fn times(step: &str, rest: &str) -> Result<u32, String> {
    match rest.trim() {
        "" => Ok(1),
        "always" => Ok(u32::MAX),
        count => count
            .parse()
            .map_err(|error| format!("`{step}`: the number of times {count:?}: {error}")),
    }
}

fn number_and_rest<'a>(step: &str, rest: &'a str) -> Result<(u64, &'a str), String> {
    let (number, rest) = two_words(step, rest)?;
    let number = number
        .parse()
        .map_err(|error| format!("`{step}`: {number:?}: {error}"))?;
    Ok((number, rest))
}

fn two_words<'a>(step: &str, rest: &'a str) -> Result<(&'a str, &'a str), String> {
    rest.split_once(' ')
        .ok_or_else(|| format!("`{step}` needs two arguments"))
}
