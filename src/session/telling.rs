//! What a record says to a person, worded once for all faces: terminal, page, exports, MCP clients, the digest.
//!
//! A face chooses by [`Weight`] and [`Topic`] what it shows, and says how it looks. The words are those of the agent and of
//! the journal as they are: a face makes visible what is hidden in them, and cuts what is too long.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::amounts::{amount, count, duration, usd};
use super::checkpoint::Checkpoint;
use super::clarify::Clarifications;
use super::id::QuestionId;
use super::journal::{
    AttemptEnd, AttemptStart, ClockJump, Created, CutOff, Entry, Input, Refined, Resumed, SessionEnd, StateChange,
    UnknownLine,
};
use super::message::InputState;
use super::outcome::{Ending, Outcome};
use super::question::Question;
use super::state::StateName;

mod answer;
mod message;
pub mod question;

pub use self::answer::answer_words;

/// The importance of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Bookkeeping, or told by another record.
    Silent,
    /// A detail for those who look on.
    Minor,
    /// A step on the way.
    Step,
    /// Something that a person wants to know afterwards.
    Major,
}

/// The sort of thing that a record tells, by which faces style it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A session begins, begins again, or knows its task.
    Begin,
    /// An attempt begins.
    Attempt,
    /// An attempt ends.
    AttemptEnd,
    /// A message to the agent.
    Prompt,
    /// The agent's words.
    Said,
    /// Output of a slash command.
    CommandOutput,
    /// The model's thinking.
    Thought,
    /// A tool is called.
    Call,
    /// A tool has answered.
    Result,
    /// A question to a person.
    Question,
    /// The answer to a question.
    Answer,
    /// Something that a person should know.
    Notice,
    /// A wait that ends by itself.
    Wait,
    /// What goes on beside the conversation.
    Aside,
    /// Partial text is given up.
    DroppedDraft,
    /// A place to start from.
    Checkpoint,
    /// The conversation is no longer the same.
    Rebuilt,
    /// A turn begins or ends.
    Turn,
    /// The session's end.
    End(Outcome),
}

/// A record as people are told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling<'a> {
    /// The sort of thing.
    pub topic: Topic,
    /// Its importance.
    pub weight: Weight,
    /// It went wrong.
    pub failed: bool,
    /// Its name in a few words, in lower case; empty where the line says it all.
    pub label: Cow<'a, str>,
    /// The time that the label ends with.
    pub when: Option<Timestamp>,
    /// What is said; may have many lines.
    pub line: Cow<'a, str>,
    /// What belongs to it beside the line.
    pub details: Vec<Detail<'a>>,
    /// What it belongs to.
    pub origin: RecordOrigin<'a>,
}

/// The message, call or question that a record belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecordOrigin<'a> {
    /// The message and the content block in it.
    pub block: Option<(&'a str, u32)>,
    /// The id of the tool call that this is.
    pub call: Option<&'a str>,
    /// The id of the tool call that this answers.
    pub result_of: Option<&'a str>,
    /// A subagent said it.
    pub by_subagent: bool,
    /// The question.
    pub question: Option<QuestionId>,
}

/// Something that belongs to a record beside its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail<'a> {
    /// A heading, in lower case; empty where the record's own label is the heading.
    pub title: &'static str,
    /// Its place.
    pub place: DetailPlace,
    /// Its content.
    pub body: DetailBody<'a>,
}

/// The place of a detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailPlace {
    /// Below the line.
    Below,
    /// Behind the line: read on demand.
    Behind,
    /// A record that follows tells it again.
    Repeated,
}

/// The content of a detail, by its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum DetailBody<'a> {
    /// Markdown.
    Prose(&'a str),
    /// Plain text.
    Text(Cow<'a, str>),
    /// Output of a program.
    Output(&'a str),
    /// A value.
    Json(Cow<'a, Value>),
    /// Items, one a line.
    List(Vec<Cow<'a, str>>),
    /// The input of this tool.
    Input(&'a str, &'a Value),
    /// All of a question.
    Question(&'a Question),
}

/// Tells a record.
pub fn tell(entry: &Entry) -> Telling<'_> {
    match entry {
        Entry::SessionCreated(created) => tell_creation(created),
        Entry::SessionState(change) => tell_state(change),
        Entry::AttemptStarted(start) => tell_start(start),
        Entry::Input(input) => tell_input(input),
        Entry::AgentMessage(said) => message::tell(&said.message),
        Entry::AgentUnknown(line) => tell_unknown(line),
        Entry::AgentStderr(text) => told(Topic::Aside, Weight::Step, "stderr", &text.text).with(
            DetailPlace::Behind,
            "",
            DetailBody::Output(&text.text),
        ),
        Entry::DraftDropped(dropped) => Telling {
            origin: RecordOrigin::of_block(&dropped.message_id, dropped.from_block, None),
            ..told(
                Topic::DroppedDraft,
                Weight::Step,
                "text that was being written was cut off",
                "",
            )
        },
        Entry::Checkpoint(checkpoint) => tell_checkpoint(checkpoint),
        Entry::Usage(usage) => {
            let line = format!("{} tokens, {}", amount(usage.tokens()), usd(usage.cost_usd));
            told(Topic::Aside, Weight::Silent, "used so far", line)
        }
        Entry::QuestionAsked(question) => answer::tell_question(question),
        Entry::QuestionAnswered(answered) => answer::tell_answer(answered),
        Entry::QuestionDelivered(delivered) => {
            let label = format!("the answer to question {} reached the agent", delivered.question_id);
            told(Topic::Answer, Weight::Silent, label, "").of_question(delivered.question_id)
        }
        Entry::QuestionWithdrawn(withdrawn) => {
            let label = format!("question {} no longer waits", withdrawn.question_id);
            told(Topic::Aside, Weight::Step, label, &withdrawn.why).of_question(withdrawn.question_id)
        }
        Entry::Control(control) => told(
            Topic::Aside,
            Weight::Minor,
            format!("{} by {}", control.action, control.by),
            "",
        ),
        Entry::Notice(text) => told(Topic::Notice, Weight::Major, "", &text.text),
        Entry::ClockJumped(jump) => tell_jump(jump),
        Entry::WorkCutOff(cut_off) => tell_cut_off(cut_off),
        Entry::AttemptEnded(end) => tell_attempt_end(end),
        Entry::RetryScheduled(retry) => Telling {
            when: Some(retry.at),
            ..told(Topic::Wait, Weight::Step, "next attempt at", &retry.cause)
        },
        Entry::ContextRebuilt(why) => {
            let label = "the conversation was lost and rebuilt";
            told(Topic::Rebuilt, Weight::Major, label, &why.why)
        }
        Entry::TaskRefined(refined) => tell_refined(refined),
        Entry::SessionResumed(resumed) => tell_resumed(resumed),
        Entry::SessionEnded(SessionEnd { outcome, summary }) => {
            told(Topic::End(*outcome), Weight::Major, outcome.name(), summary)
        }
    }
}

fn told<'a>(
    topic: Topic,
    weight: Weight,
    label: impl Into<Cow<'a, str>>,
    line: impl Into<Cow<'a, str>>,
) -> Telling<'a> {
    Telling {
        topic,
        weight,
        failed: false,
        label: label.into(),
        when: None,
        line: line.into(),
        details: Vec::new(),
        origin: RecordOrigin::default(),
    }
}

impl<'a> Telling<'a> {
    /// Label and line as one text; the face writes the time that the label ends with.
    pub fn words(&self, time: impl Fn(Timestamp) -> String) -> String {
        let when = self.when.map(|at| format!(" {}", time(at))).unwrap_or_default();
        match (&*self.label, &*self.line) {
            ("", line) => line.to_owned(),
            (label, "") => format!("{label}{when}"),
            (label, line) => format!("{label}{when}: {line}"),
        }
    }

    /// The text for which the line only stands, unless another record tells it.
    pub fn text(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| match &detail.body {
            DetailBody::Text(text) if detail.place != DetailPlace::Repeated => Some(&**text),
            _ => None,
        })
    }

    /// The text that a record that follows repeats.
    pub fn repeated(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| match &detail.body {
            DetailBody::Text(text) if detail.place == DetailPlace::Repeated => Some(&**text),
            _ => None,
        })
    }

    fn with(mut self, place: DetailPlace, title: &'static str, body: DetailBody<'a>) -> Self {
        self.details.push(Detail { title, place, body });
        self
    }

    fn of_question(mut self, question: QuestionId) -> Self {
        self.origin.question = Some(question);
        self
    }
}

impl<'a> RecordOrigin<'a> {
    fn of_block(message_id: &'a str, block: u32, parent: Option<&str>) -> Self {
        Self {
            block: Some((message_id, block)),
            by_subagent: parent.is_some(),
            ..Self::default()
        }
    }
}

fn borrowed(texts: &[String]) -> Vec<Cow<'_, str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

fn tell_creation(created: &Created) -> Telling<'_> {
    let request = &created.request;
    let line = format!("{} in {}", request.shown_name(), request.cwd.display());
    let created = told(Topic::Begin, Weight::Minor, format!("created by {}", created.by), line).with(
        DetailPlace::Repeated,
        "task",
        DetailBody::Text(request.task.as_str().into()),
    );
    let mut options = serde_json::to_value(request.without_secrets()).unwrap_or_default();
    if let Some(fields) = options.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "task" | "cwd"));
    }
    match options.as_object() {
        Some(fields) if !fields.is_empty() => {
            created.with(DetailPlace::Behind, "options", DetailBody::Json(Cow::Owned(options)))
        }
        Some(_) | None => created,
    }
}

/// Waiting is told. The agent's work is seen, and its end and a wait to try again have records of their own.
fn tell_state(change: &StateChange) -> Telling<'_> {
    let weight = match change.to {
        StateName::Queued | StateName::Stopping => Weight::Step,
        StateName::Starting
        | StateName::Running
        | StateName::Asking
        | StateName::WaitingRetry
        | StateName::Completed
        | StateName::Failed
        | StateName::Cancelled
        | StateName::TimedOut => Weight::Silent,
    };
    told(Topic::Aside, weight, change.to.to_string(), &change.reason)
}

fn tell_start(start: &AttemptStart) -> Telling<'_> {
    let weight = if start.attempt.0 > 1 {
        Weight::Step
    } else {
        Weight::Minor
    };
    let from = start.resumed_from.map(|seq| format!("goes on from record {seq}"));
    told(
        Topic::Attempt,
        weight,
        format!("attempt {}", start.attempt),
        from.unwrap_or_default(),
    )
}

fn tell_input(input: &Input) -> Telling<'_> {
    match (&input.text, input.state) {
        (Some(text), _) => told(Topic::Prompt, Weight::Minor, "to the agent", text).with(
            DetailPlace::Below,
            "",
            DetailBody::Text(text.as_str().into()),
        ),
        (None, InputState::Cancelled) => told(Topic::Aside, Weight::Minor, "a message was cancelled", ""),
        (None, InputState::Sent) => told(Topic::Aside, Weight::Silent, "a message is sent again", ""),
        (None, InputState::Queued) => told(Topic::Aside, Weight::Silent, "a message is queued", ""),
        (None, InputState::Started) => told(Topic::Aside, Weight::Silent, "a message is read", ""),
        (None, InputState::Completed) => told(Topic::Aside, Weight::Silent, "a message is done with", ""),
    }
}

fn tell_unknown(line: &UnknownLine) -> Telling<'_> {
    let kind = line.kind.as_deref().unwrap_or("not JSON");
    let label = format!("a line of an unknown kind ({kind})");
    told(Topic::Aside, Weight::Minor, label, format!("{} bytes", line.bytes)).with(
        DetailPlace::Behind,
        "",
        DetailBody::Output(&line.line),
    )
}

fn tell_checkpoint(checkpoint: &Checkpoint) -> Telling<'_> {
    let mut line = String::new();
    if checkpoint.turns > 0 {
        line = format!("after {}, {}", turns(checkpoint.turns), usd(checkpoint.usage.cost_usd));
    }
    if let Some(git) = &checkpoint.git {
        let commit: String = git.commit.chars().take(10).collect();
        let changes = if git.dirty { " with changes" } else { "" };
        let comma = if line.is_empty() { "" } else { ", " };
        line += &format!("{comma}at commit {commit}{changes}");
    }
    told(Topic::Checkpoint, Weight::Minor, "checkpoint", line)
}

fn tell_jump(jump: &ClockJump) -> Telling<'_> {
    let by = SignedDuration::from_millis(jump.by_ms);
    let label = match by.is_negative() {
        true => format!("the machine's clock was set back by {}", duration(by.abs())),
        false => format!(
            "the machine slept or was off, or its clock was set ahead, by {}",
            duration(by)
        ),
    };
    told(Topic::Aside, Weight::Step, label, "")
}

fn tell_cut_off(cut_off: &CutOff) -> Telling<'_> {
    let what = DetailBody::List(borrowed(&cut_off.what));
    let line = cut_off.what.join(", ");
    told(Topic::Notice, Weight::Major, "cut off at the end", line).with(DetailPlace::Behind, "", what)
}

fn tell_attempt_end(end: &AttemptEnd) -> Telling<'_> {
    let mut line = end.ending.to_string();
    if let Some(tool) = &end.open_tool {
        line += &format!("; it was at {tool}");
    }
    if let Some(exit) = &end.exit {
        line += &format!(" ({exit})");
    }
    if !end.leftovers.is_empty() {
        let left = count(end.leftovers.len() as u64, "process", "processes");
        line += &format!("; it left behind {left}, which ended with it");
    }
    let weight = match end.ending {
        Ending::Finished | Ending::Stopped | Ending::Untrusted { .. } => Weight::Minor,
        Ending::Refused { .. }
        | Ending::NotSignedIn { .. }
        | Ending::Quota { .. }
        | Ending::ApiDown { .. }
        | Ending::Crashed
        | Ending::Panicked
        | Ending::Stalled
        | Ending::LostContext { .. }
        | Ending::NotStarted { .. } => Weight::Step,
    };
    let mut told = told(Topic::AttemptEnd, weight, "the attempt ended", line);
    told.failed = end.ending.is_charged();
    if !end.leftovers.is_empty() {
        let left = DetailBody::List(borrowed(&end.leftovers));
        told = told.with(DetailPlace::Below, "left behind, and ended", left);
    }
    told
}

fn tell_refined(refined: &Refined) -> Telling<'_> {
    let Clarifications { answers, left_open } = &refined.clarifications;
    let each = answers.iter().map(|(question, answer)| format!("{question} {answer}"));
    let (label, line) = match left_open {
        Some(why) => ("the questions about the task stay open", why.clone()),
        None if answers.is_empty() => ("the task is clear", String::new()),
        None => ("the task is settled", each.collect::<Vec<_>>().join("; ")),
    };
    told(Topic::Begin, Weight::Major, label, line).with(
        DetailPlace::Below,
        "the task as it was made clear",
        DetailBody::Text(refined.task.as_str().into()),
    )
}

fn tell_resumed(resumed: &Resumed) -> Telling<'_> {
    let from = resumed.at.map(|seq| format!(" from record {seq}"));
    let label = format!("resumed by {}{}", resumed.by, from.unwrap_or_default());
    let instruction = resumed.instruction.as_deref();
    let told = told(Topic::Begin, Weight::Major, label, instruction.unwrap_or_default());
    match instruction {
        Some(text) => told.with(DetailPlace::Repeated, "", DetailBody::Text(text.into())),
        None => told,
    }
}

fn turns(turns: u32) -> String {
    count(turns.into(), "turn", "turns")
}
