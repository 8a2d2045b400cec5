//! What happens in a session, in words: for progress messages while it runs, and as a log of bounded size at the end.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::runtime::feed::{FeedItem, Rendered};
use crate::session::excerpt;
use crate::session::id::{QuestionId, Seq};
use crate::session::journal::Entry;
use crate::session::question::Question;
use crate::session::telling::{self, DetailBody, Telling, Topic, Weight};

/// How many lines the log of a call has.
const LOG_LINES_MAX: usize = 200;

/// How long one line of it may be, in bytes.
const LINE_BYTES_MAX: usize = 400;

/// What a reader of a stream should do about an item, besides telling it.
#[derive(Debug)]
pub(super) enum AfterItem {
    /// No action.
    Nothing,
    /// A question was asked.
    Asked(Box<Question>),
    /// A question no longer waits.
    Settled(QuestionId),
    /// The session has ended.
    Ended,
}

/// Tells what happens, one item after the other.
#[derive(Debug, Default)]
pub(super) struct Narrator {
    /// The record that was told last.
    pub(super) after: Seq,
    /// What is new since it was last taken.
    news: String,
    /// The blocks of text that were shown while they were written.
    shown: HashSet<(String, u32)>,
    /// Lines, each with the record that it tells of.
    log: VecDeque<(Seq, String)>,
    omitted: usize,
    todo: Todo,
    /// Up to here it was told before: this goes into the log alone.
    told_before: Seq,
}

/// How far a call was told, for another narrator to go on with: its log is made anew from the records, which bounds what
/// has to be read as well as what has to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToldProgress {
    /// The record that was told last.
    after: Seq,
    /// The record before the first line of the log.
    log_after: Seq,
    /// How many lines before that were left out.
    omitted: usize,
    todo: Todo,
}

/// The agent's own list of things to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Todo {
    /// The number of steps that are done.
    pub(super) done: u32,
    /// How many there are; 0 where there is no list.
    pub(super) all: u32,
}

#[derive(Deserialize)]
struct SpokenDelta {
    message_id: String,
    block: u32,
    part: String,
    text: String,
}

impl Narrator {
    /// Begins after a record.
    pub(super) fn after(after: Seq) -> Self {
        Self {
            after,
            ..Self::default()
        }
    }

    /// Goes on where another stopped; is to be given what follows [`ToldProgress::begins_after`].
    pub(super) fn again(told: ToldProgress) -> Self {
        Self {
            after: told.log_after,
            omitted: told.omitted,
            todo: told.todo,
            told_before: told.after,
            ..Self::default()
        }
    }

    /// How far it has told.
    pub(super) fn told(&self) -> ToldProgress {
        let first = self
            .log
            .front()
            .map_or(self.after, |(seq, _)| Seq(seq.0.saturating_sub(1)));
        ToldProgress {
            after: self.after.max(self.told_before),
            log_after: first,
            omitted: self.omitted,
            todo: self.todo,
        }
    }

    /// Whether a record was told before, in an earlier round of the same call.
    pub(super) fn was_told(&self, record: &Rendered) -> bool {
        record.seq <= self.told_before
    }

    /// Takes an item of the session's stream.
    pub(super) fn take(&mut self, item: &FeedItem) -> AfterItem {
        match item {
            FeedItem::Hello(_) => AfterItem::Nothing,
            FeedItem::Delta(json) => {
                self.take_delta(json);
                AfterItem::Nothing
            }
            FeedItem::Record(record) if self.was_told(record) => {
                self.take_again(record);
                AfterItem::Nothing
            }
            FeedItem::Record(record) => {
                self.after = record.seq;
                record
                    .entry()
                    .map_or(AfterItem::Nothing, |entry| self.take_entry(entry))
            }
        }
    }

    /// What is new since it was last asked for.
    pub(super) fn news(&mut self) -> String {
        std::mem::take(&mut self.news)
    }

    /// Whether there is anything new.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The list of things to do, as far as it is known.
    pub(super) fn todo(&self) -> Todo {
        self.todo
    }

    /// The lines so far, and how many before them were left out.
    pub(super) fn into_log(self) -> (Vec<String>, usize) {
        let lines = self.log.into_iter().map(|(seq, line)| format!("{seq}: {line}"));
        (lines.collect(), self.omitted)
    }

    /// A record that was told before is no news and counts nothing twice.
    fn take_again(&mut self, record: &Rendered) {
        self.after = record.seq;
        let (news, todo) = (std::mem::take(&mut self.news), self.todo);
        if let Some(entry) = record.entry() {
            self.take_entry(entry);
        }
        (self.news, self.todo) = (news, todo);
    }

    fn take_delta(&mut self, json: &[u8]) {
        if let Ok(delta) = serde_json::from_slice::<SpokenDelta>(json)
            && delta.part == "text"
        {
            self.news.push_str(&delta.text);
            self.shown.insert((delta.message_id, delta.block));
        }
    }

    fn take_entry(&mut self, entry: &Entry) -> AfterItem {
        let told = telling::tell(entry);
        if told.weight >= Weight::Step {
            self.take_telling(&told);
        }
        match entry {
            Entry::QuestionAsked(question) => AfterItem::Asked(Box::new(question.clone())),
            Entry::SessionEnded(_) => AfterItem::Ended,
            _ => told.origin.question.map_or(AfterItem::Nothing, AfterItem::Settled),
        }
    }

    fn take_telling(&mut self, told: &Telling<'_>) {
        for detail in &told.details {
            if let DetailBody::Input(tool, input) = detail.body {
                self.todo.take(tool, input);
            }
        }
        let block = told.origin.block.map(|(message, block)| (message.to_owned(), block));
        if block.is_some_and(|block| self.shown.remove(&block)) {
            self.news.push('\n');
            return self.note(&told.line);
        }
        let line = told.text().unwrap_or(&told.line);
        let time = told.when.map(|at| format!(" {at}")).unwrap_or_default();
        match (told.topic, &*told.label) {
            (Topic::Call | Topic::Result, label) => self.tell(&format!("{label}: {line}")),
            (Topic::Said, _) | (_, "") => self.tell(line),
            (_, label) => self.tell(format!("[{label}{time}] {line}").trim_end()),
        }
    }

    /// News that is also kept in the log.
    fn tell(&mut self, text: &str) {
        if !self.news.is_empty() && !self.news.ends_with('\n') {
            self.news.push('\n');
        }
        self.news.push_str(text);
        self.news.push('\n');
        self.note(text);
    }

    /// A line for the log alone.
    fn note(&mut self, text: &str) {
        self.log
            .push_back((self.after, excerpt::marked_head(text.trim(), LINE_BYTES_MAX)));
        if self.log.len() > LOG_LINES_MAX {
            self.log.pop_front();
            self.omitted += 1;
        }
    }
}

impl ToldProgress {
    /// Everything up to this record, and nothing of it is to be in the log.
    pub(super) fn up_to(seq: Seq) -> Self {
        Self {
            after: seq,
            log_after: seq,
            ..Self::default()
        }
    }

    /// The record after which the log begins.
    pub(super) fn begins_after(self) -> Seq {
        self.log_after
    }
}

impl Todo {
    fn take(&mut self, tool: &str, input: &Value) {
        match tool {
            "TodoWrite" => {
                let items = input["todos"].as_array().map(Vec::as_slice).unwrap_or_default();
                let done = items.iter().filter(|item| item["status"] == "completed").count();
                self.all = u32::try_from(items.len()).unwrap_or(u32::MAX);
                self.done = u32::try_from(done).unwrap_or(u32::MAX);
            }
            "TaskCreate" => self.all = self.all.saturating_add(1),
            "TaskUpdate" if input["status"] == "completed" => self.done = self.done.saturating_add(1).min(self.all),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(seq: u64, kind: &str, data: Value) -> FeedItem {
        let json = format!(r#"{{"seq":{seq},"kind":"{kind}","data":{data}}}"#);
        let kind = bytes::Bytes::copy_from_slice(kind.as_bytes());
        FeedItem::Record(Rendered::from_json(1, Seq(seq), kind, json.into()))
    }

    fn said(seq: u64, message: Value) -> FeedItem {
        record(seq, "agent.message", json!({"offset": 0, "message": message}))
    }

    fn delta(text: &str) -> FeedItem {
        let json = json!({"attempt": 1, "message_id": "m", "block": 0, "part": "text", "offset": 0, "text": text});
        FeedItem::Delta(json.to_string().into())
    }

    #[test]
    fn text_that_was_shown_while_it_was_written_is_told_once() {
        let mut narrator = Narrator::default();
        narrator.take(&delta("hel"));
        narrator.take(&delta("lo"));
        narrator.take(&said(1, json!({"type": "text", "message_id": "m", "text": "hello"})));
        narrator.take(&said(2, json!({"type": "text", "message_id": "n", "text": "again"})));
        assert_eq!(narrator.news(), "hello\nagain\n");
        assert!(!narrator.has_news());
        assert_eq!(narrator.into_log(), (vec!["1: hello".to_owned(), "2: again".into()], 0));
    }

    #[test]
    fn an_end_and_a_wait_are_told_once() {
        let mut narrator = Narrator::default();
        let state = |seq, to: &str| {
            record(
                seq,
                "session.state",
                json!({"from": "running", "to": to, "reason": "why"}),
            )
        };
        let retry = json!({"at": "2027-01-15T08:00:00Z", "cause": "why"});
        let end = json!({"outcome": "completed", "summary": "why"});
        narrator.take(&state(1, "queued"));
        narrator.take(&record(2, "retry.scheduled", retry));
        narrator.take(&state(3, "waiting_retry"));
        narrator.take(&state(4, "completed"));
        narrator.take(&record(5, "session.ended", end));
        let told = "[queued] why\n[next attempt at 2027-01-15T08:00:00Z] why\n[completed] why\n";
        assert_eq!(narrator.news(), told);
        assert_eq!(narrator.into_log().0.len(), 3);
    }

    #[test]
    fn a_log_is_bounded_and_says_what_it_leaves_out() {
        let mut narrator = Narrator::default();
        for seq in 1..=LOG_LINES_MAX as u64 + 5 {
            narrator.take(&record(seq, "notice", json!({"text": "x".repeat(10_000)})));
        }
        let (lines, omitted) = narrator.into_log();
        assert_eq!((lines.len(), omitted), (LOG_LINES_MAX, 5));
        assert!(lines.iter().all(|line| line.len() < LINE_BYTES_MAX + 20));
    }

    #[test]
    fn a_call_that_goes_on_has_all_of_its_log_and_counts_nothing_twice() {
        let mut first = Narrator::default();
        let create =
            json!({"type": "tool_use", "message_id": "m", "tool_use_id": "t", "name": "TaskCreate", "input": {}});
        let mut records = vec![said(1, create)];
        let notices = 2..=LOG_LINES_MAX as u64 + 3;
        records.extend(notices.map(|seq| record(seq, "notice", json!({"text": format!("n{seq}")}))));
        for record in &records {
            first.take(record);
        }
        let kept = serde_json::to_string(&first.told()).unwrap();
        let told: ToldProgress = serde_json::from_str(&kept).unwrap();
        let mut second = Narrator::again(told);
        let replayed = records.iter().skip(usize::try_from(told.begins_after().0).unwrap());
        for record in replayed {
            second.take(record);
        }
        assert!(!second.has_news(), "nothing is told twice");
        assert_eq!((second.todo(), second.told()), (Todo { done: 0, all: 1 }, told));
        assert_eq!(first.into_log(), second.into_log());
        let mut short = Narrator::default();
        short.take(&records[0]);
        let mut again = Narrator::again(short.told());
        again.take(&records[0]);
        assert_eq!(again.todo(), Todo { done: 0, all: 1 });
        again.take(&records[1]);
        assert_eq!(again.news(), "n2\n");
        assert_eq!(again.into_log().0.len(), 2);
    }

    #[test]
    fn the_agents_list_counts() {
        let mut narrator = Narrator::default();
        let todos = json!({"todos": [{"status": "completed"}, {"status": "pending"}]});
        let call = |name: &str, input: Value| json!({"type": "tool_use", "message_id": "m", "tool_use_id": "t", "name": name, "input": input});
        narrator.take(&said(1, call("TodoWrite", todos)));
        assert_eq!(narrator.todo(), Todo { done: 1, all: 2 });
        narrator.take(&said(2, call("TaskCreate", json!({}))));
        narrator.take(&said(3, call("TaskUpdate", json!({"status": "completed"}))));
        assert_eq!(narrator.todo(), Todo { done: 2, all: 3 });
    }
}
