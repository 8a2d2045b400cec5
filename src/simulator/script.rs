//! The script format: text to steps. What each step means to a user is in `script.md`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// What one user message asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Script {
    /// An ordinary message; it gets a short reply.
    Plain,
    Steps(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Say(String),
    Think(String),
    Deltas(u64),
    Stamps(u64),
    Line(usize),
    Flood {
        lines: u64,
        bytes: usize,
    },
    Slow(Duration),
    Tool {
        name: String,
        input: Value,
        result: String,
    },
    Bash(String),
    AskPermission(String),
    Write {
        path: PathBuf,
        text: String,
    },
    Question {
        text: String,
        options: Vec<String>,
        multi: bool,
    },
    Form {
        message: String,
        schema: Value,
    },
    /// An address that a server wants to be opened.
    Open {
        message: String,
        url: String,
    },
    /// A plan, whose text lies in a file where it is none of the call's.
    Plan(Option<String>),
    Background(String),
    Subagent(Duration),
    Usage {
        input: u64,
        output: u64,
        cost_usd: f64,
    },
    Wait(Duration),
    WaitFile(PathBuf),
    Silence,
    Exit(i32),
    Error(String),
    MaxTurns,
    Refuse,
    UsageLimit(Duration),
    ApiRetry {
        count: u64,
        apart: Duration,
    },
    NotSignedIn,
    Act(Act),
}

/// A step that takes no time and ends no turn, though it may end everything.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Touch(PathBuf),
    Stderr(String),
    Garbage,
    Unknown,
    Linger,
    LingerTerm,
    Leave(String),
    Crash(Crash),
}

/// A death at a chosen place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Crash {
    pub(super) once: bool,
    pub(super) place: CrashPlace,
    pub(super) by: Death,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CrashPlace {
    BetweenSteps,
    MidText,
    MidTool,
    Unsaved,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Death {
    Signal(i32),
    Code(i32),
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum ScriptError {
    #[error("unknown step {0:?} (cc-executor simulate --help lists them)")]
    UnknownStep(String),
    #[error("step {step:?} needs {wants}")]
    Malformed { step: String, wants: &'static str },
}

/// Bytes of a flood line that names no size.
const FLOOD_LINE_BYTES: usize = 256;
const API_RETRY_APART: Duration = Duration::from_millis(100);

/// Reads a script. Only an unknown *first* word makes a message plain; further down it is a mistake.
pub(super) fn parse(text: &str) -> Result<Script, ScriptError> {
    let mut steps = Vec::new();
    for source in step_sources(text) {
        match parse_step(source) {
            Ok(step) => steps.push(step),
            Err(ScriptError::UnknownStep(_)) if steps.is_empty() => return Ok(Script::Plain),
            Err(error) => return Err(error),
        }
    }
    Ok(if steps.is_empty() {
        Script::Plain
    } else {
        Script::Steps(steps)
    })
}

/// A message without the paragraphs that somebody has added to its script.
pub(super) fn without_prose(text: &str) -> &str {
    let paragraphs = text.match_indices("\n\n").map(|(at, _)| at);
    let is_prose = |at: &usize| {
        let first = step_sources(&text[*at..]).next().map(parse_step);
        matches!(first, Some(Err(ScriptError::UnknownStep(_))))
    };
    match (parse(text), paragraphs.into_iter().find(is_prose)) {
        (Err(ScriptError::UnknownStep(_)), Some(at)) => &text[..at],
        _ => text,
    }
}

/// The sections of a script file, one a turn.
pub(super) fn sections(file: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in file.lines() {
        if line.trim() == "---" {
            sections.push(String::new());
        } else if let Some(section) = sections.last_mut() {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

fn step_sources(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split(";;"))
        .map(str::trim)
        .filter(|source| !source.is_empty())
}

fn parse_step(source: &str) -> Result<Step, ScriptError> {
    let (word, rest) = split_word(source);
    let step = speech(word, rest)
        .or_else(|| work(word, rest))
        .or_else(|| trouble(word, rest));
    let step = step.ok_or_else(|| ScriptError::UnknownStep(word.to_owned()))?;
    step.map_err(|wants| ScriptError::Malformed {
        step: source.to_owned(),
        wants,
    })
}

/// A step of this group, or what it lacks; `None` for a word of another group.
type Parsed = Option<Result<Step, &'static str>>;

fn speech(word: &str, rest: &str) -> Parsed {
    Some(match word {
        "say" => text(rest).map(Step::Say),
        "think" => text(rest).map(Step::Think),
        "deltas" => number(rest).map(Step::Deltas),
        "stamps" => number(rest).map(Step::Stamps),
        "line" => size(rest).map(Step::Line),
        "flood" => flood(rest),
        "slow" => millis(rest).map(Step::Slow),
        _ => return None,
    })
}

fn work(word: &str, rest: &str) -> Parsed {
    Some(match word {
        "tool" => tool(rest),
        "bash" => some(rest, "a command").map(Step::Bash),
        "ask-permission" => some(rest, "a command").map(Step::AskPermission),
        "write" => write(rest),
        "question" => question(rest),
        "form" => form(rest),
        "open" => open(rest),
        "plan" => none(rest, Step::Plan(None)),
        "plan-of" => some(rest, "the text of a plan").map(|text| Step::Plan(Some(text))),
        "background" => background(rest),
        "subagent" => millis(rest).map(Step::Subagent),
        "usage" => usage(rest),
        "wait" => millis(rest).map(Step::Wait),
        "wait-file" => some(rest, "a path").map(|path| Step::WaitFile(path.into())),
        "touch" => some(rest, "a path").map(|path| Step::Act(Act::Touch(path.into()))),
        "silence" => none(rest, Step::Silence),
        "stderr" => text(rest).map(|text| Step::Act(Act::Stderr(text))),
        _ => return None,
    })
}

fn trouble(word: &str, rest: &str) -> Parsed {
    Some(match word {
        "garbage" => none(rest, Step::Act(Act::Garbage)),
        "unknown" => none(rest, Step::Act(Act::Unknown)),
        "crash" => crash(rest).map(|crash| Step::Act(Act::Crash(crash))),
        "exit" => rest.parse().map(Step::Exit).map_err(|_| "an exit code"),
        "error" => text(rest).map(Step::Error),
        "max-turns" => none(rest, Step::MaxTurns),
        "refuse" => none(rest, Step::Refuse),
        "usage-limit" => number(rest).map(|seconds| Step::UsageLimit(Duration::from_secs(seconds))),
        "api-retry" => api_retry(rest),
        "not-signed-in" => none(rest, Step::NotSignedIn),
        "linger" => none(rest, Step::Act(Act::Linger)),
        "linger-term" => none(rest, Step::Act(Act::LingerTerm)),
        "leave" => some(rest, "a command").map(|command| Step::Act(Act::Leave(command))),
        _ => return None,
    })
}

fn flood(rest: &str) -> Result<Step, &'static str> {
    let (lines, bytes) = split_word(rest);
    let lines = number(lines)?;
    let bytes = if bytes.is_empty() {
        FLOOD_LINE_BYTES
    } else {
        size(bytes)?
    };
    Ok(Step::Flood { lines, bytes })
}

fn tool(rest: &str) -> Result<Step, &'static str> {
    const WANTS: &str = "NAME JSON => RESULT";
    let (name, rest) = split_word(rest);
    let (input, result) = rest.split_once("=>").ok_or(WANTS)?;
    let input: Value = serde_json::from_str(input).map_err(|_| WANTS)?;
    if name.is_empty() || !input.is_object() {
        return Err(WANTS);
    }
    Ok(Step::Tool {
        name: name.to_owned(),
        input,
        result: unescape(result.trim()),
    })
}

fn write(rest: &str) -> Result<Step, &'static str> {
    let (path, text) = split_word(rest);
    let path = some(path, "PATH TEXT")?;
    Ok(Step::Write {
        path: path.into(),
        text: unescape(text),
    })
}

fn question(rest: &str) -> Result<Step, &'static str> {
    let (multi, rest) = match rest.strip_prefix("--multi ") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut parts = rest.split('|').map(|part| part.trim().to_owned());
    let text = parts.next().unwrap_or_default();
    let options: Vec<String> = parts.filter(|option| !option.is_empty()).collect();
    if text.is_empty() || options.len() < 2 {
        return Err("TEXT | OPTION | OPTION");
    }
    Ok(Step::Question { text, options, multi })
}

fn form(rest: &str) -> Result<Step, &'static str> {
    const WANTS: &str = "MESSAGE | JSON Schema of an object";
    let (message, schema) = rest.split_once('|').ok_or(WANTS)?;
    let message = some(message.trim(), WANTS)?;
    let schema: Value = serde_json::from_str(schema).map_err(|_| WANTS)?;
    if !schema.is_object() {
        return Err(WANTS);
    }
    Ok(Step::Form { message, schema })
}

fn open(rest: &str) -> Result<Step, &'static str> {
    const WANTS: &str = "MESSAGE | URL";
    let (message, url) = rest.split_once('|').ok_or(WANTS)?;
    Ok(Step::Open {
        message: some(message.trim(), WANTS)?,
        url: some(url.trim(), WANTS)?,
    })
}

fn background(rest: &str) -> Result<Step, &'static str> {
    let until = some(rest, "milliseconds or a path")?;
    Ok(Step::Background(match millis(&until) {
        Ok(time) => format!("sleep {}.{:03}", time.as_secs(), time.subsec_millis()),
        Err(_) => format!("until [ -e '{}' ]; do sleep 0.05; done", until.replace('\'', r"'\''")),
    }))
}

fn usage(rest: &str) -> Result<Step, &'static str> {
    const WANTS: &str = "IN OUT COST";
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [input, output, cost] = words[..] else {
        return Err(WANTS);
    };
    Ok(Step::Usage {
        input: number(input).map_err(|_| WANTS)?,
        output: number(output).map_err(|_| WANTS)?,
        cost_usd: cost.parse().ok().filter(|cost: &f64| cost.is_finite()).ok_or(WANTS)?,
    })
}

fn crash(rest: &str) -> Result<Crash, &'static str> {
    let mut crash = Crash {
        once: false,
        place: CrashPlace::BetweenSteps,
        by: Death::Signal(libc::SIGKILL),
    };
    for word in rest.split_whitespace() {
        match word {
            "once" => crash.once = true,
            "text" => crash.place = CrashPlace::MidText,
            "tool" => crash.place = CrashPlace::MidTool,
            "unsaved" => crash.place = CrashPlace::Unsaved,
            other => crash.by = death(other).ok_or("[once] [text|tool|unsaved] [SIGNAL|CODE]")?,
        }
    }
    Ok(crash)
}

fn death(word: &str) -> Option<Death> {
    if let Ok(code) = word.parse() {
        return Some(Death::Code(code));
    }
    Some(Death::Signal(match word.trim_start_matches("SIG") {
        "KILL" => libc::SIGKILL,
        "TERM" => libc::SIGTERM,
        "INT" => libc::SIGINT,
        "HUP" => libc::SIGHUP,
        "ABRT" => libc::SIGABRT,
        "SEGV" => libc::SIGSEGV,
        _ => return None,
    }))
}

fn api_retry(rest: &str) -> Result<Step, &'static str> {
    let (count, apart) = split_word(rest);
    let apart = if apart.is_empty() {
        API_RETRY_APART
    } else {
        millis(apart)?
    };
    Ok(Step::ApiRetry {
        count: number(count)?,
        apart,
    })
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

fn text(rest: &str) -> Result<String, &'static str> {
    some(rest, "a text").map(|text| unescape(&text))
}

fn some(rest: &str, wants: &'static str) -> Result<String, &'static str> {
    if rest.is_empty() {
        Err(wants)
    } else {
        Ok(rest.to_owned())
    }
}

/// A step without arguments, so that a sentence which begins with its word is not taken for it.
fn none(rest: &str, step: Step) -> Result<Step, &'static str> {
    if rest.is_empty() {
        Ok(step)
    } else {
        Err("nothing after it")
    }
}

fn number(word: &str) -> Result<u64, &'static str> {
    word.parse().map_err(|_| "a number")
}

fn millis(word: &str) -> Result<Duration, &'static str> {
    word.parse().map(Duration::from_millis).map_err(|_| "milliseconds")
}

fn size(word: &str) -> Result<usize, &'static str> {
    let (digits, unit) = match word.as_bytes().last() {
        Some(b'k') => (&word[..word.len() - 1], 1024),
        Some(b'm') => (&word[..word.len() - 1], 1024 * 1024),
        _ => (word, 1),
    };
    let count: usize = digits.parse().map_err(|_| "a size")?;
    count.checked_mul(unit).ok_or("a size that fits in memory")
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
}

#[cfg(test)]
mod tests;
