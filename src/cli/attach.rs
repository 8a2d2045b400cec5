//! Following a session at the terminal, which `run` and `attach` share.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::session::id::QuestionId;
use crate::session::journal::Entry;
use crate::session::message::Usage;
use crate::session::question::{Answer, QuestionKind};
use crate::session::shown::Shown;

use super::answer::flags_for;
use super::args::{AttachArgs, OutputArgs};
use super::asking::{Asking, Prompted, is_interactive};
use super::clean::{clean, one_line};
use super::client::{Client, read};
use super::exit::{Exit, Failure};
use super::follow::{DAEMON_BACK, DAEMON_GONE, Follow, Happening};
use super::logs::begin;
use super::output::Renderer;
use super::prompt::explain;
use super::screen::{Screen, eprint, json_for_stdout};
use super::sessions::{meant, used};
use super::units;
use super::view::View;

/// A second Ctrl-C within this time cancels the session.
const SECOND_PRESS: Duration = Duration::from_secs(2);

/// Two interrupts so close together are one press, which the prompt and this process have both seen.
const SAME_PRESS: Duration = Duration::from_millis(100);

/// How long after an answer that no daemon took it is given again.
const GIVE_AGAIN: Duration = Duration::from_secs(1);

/// How much a replay collects before it is printed, in bytes.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// `attach`
pub(crate) async fn attach(client: Client, args: &AttachArgs) -> Result<Exit, Failure> {
    let raw = meant(&client, args.id.as_deref()).await?;
    let view: View = read(&raw)?;
    let after = begin(&view, args.after, args.tail)?;
    let shown = OutputArgs {
        json: args.json,
        ..OutputArgs::default()
    };
    follow(client, &view, after, shown).await
}

/// Follows a session from behind the record `after` to its end, or until the person detaches.
pub(crate) async fn follow(client: Client, view: &View, after: u64, shown: OutputArgs) -> Result<Exit, Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut session = AttachedSession::new(client, view, after, shown);
    let end = session.run(&mut interrupts).await;
    // Whatever happened: no prompt, no status line, and the terminal as it was.
    let withdrawn = session.asking.withdraw().await;
    let cleared = session.screen.finish();
    match end? {
        End::Ended => session.summarise(&mut interrupts).await,
        End::Interrupted => {
            withdrawn.and(cleared)?;
            session.detach(&mut interrupts).await
        }
    }
}

/// Why following stops.
enum End {
    Ended,
    Interrupted,
}

/// One followed session.
struct AttachedSession {
    follow: Follow,
    id: String,
    short_id: String,
    json: bool,
    /// Only the result is printed.
    quiet: bool,
    interactive: bool,
    renderer: Renderer,
    screen: Screen,
    asking: Asking,
    status: StatusBar,
    /// Answers that no daemon took yet, and when they are given again.
    owed: Vec<(QuestionId, Answer)>,
    give_again_at: Instant,
    /// What is not printed yet.
    out: String,
    /// The last record that was taken, and the last one that is history rather than news.
    seen: u64,
    history: u64,
}

impl AttachedSession {
    fn new(client: Client, view: &View, after: u64, shown: OutputArgs) -> Self {
        let id = view.session_id.to_string();
        let age = Timestamp::now().duration_since(view.created_at);
        let mut screen = match shown.quiet {
            true => Screen::without_status(),
            false => Screen::new(age.try_into().unwrap_or_default()),
        };
        let status = StatusBar::new(view);
        screen.set_status(&status.to_string());
        Self {
            follow: Follow::new(client, id.clone(), after),
            id,
            short_id: view.session_id.short(),
            json: shown.json,
            quiet: shown.quiet,
            interactive: is_interactive(),
            renderer: Renderer::new(console::colors_enabled()),
            screen,
            asking: Asking::new(view),
            status,
            owed: Vec::new(),
            give_again_at: Instant::now(),
            out: String::new(),
            seen: after,
            history: view.head,
        }
    }

    async fn run(&mut self, interrupts: &mut Signal) -> Result<End, Failure> {
        loop {
            let may_give = !self.owed.is_empty() && !self.follow.is_gone();
            tokio::select! {
                happening = self.follow.next() => match happening? {
                    Some(happening) => self.take(happening).await?,
                    None => {
                        self.print()?;
                        return Ok(End::Ended);
                    }
                },
                prompted = self.asking.prompted() => {
                    self.screen.release()?;
                    match prompted? {
                        Prompted::Answered(question_id, answer) => self.give(question_id, answer).await,
                        Prompted::Later(question_id) => self.hint(question_id, None),
                        Prompted::Interrupted => return Ok(End::Interrupted),
                    }
                }
                () = sleep_until(self.give_again_at), if may_give => self.give_owed().await,
                _ = interrupts.recv() => {
                    self.print()?;
                    return Ok(End::Interrupted);
                }
            }
            if self.is_live() {
                self.print()?;
                self.show_question().await?;
            }
        }
    }

    /// Whether all that had happened before is shown.
    fn is_live(&self) -> bool {
        self.seen >= self.history
    }

    async fn take(&mut self, happening: Happening) -> Result<(), Failure> {
        match happening {
            Happening::Hello(hello) => {
                self.history = hello.head;
                if hello.resume == "gap" {
                    self.seen = 0;
                    self.say("this is another journal than before: its records follow from the beginning")?;
                }
            }
            Happening::Record(record, line) => {
                self.seen = record.seq;
                if self.json {
                    self.out += &json_for_stdout(&line);
                    self.out.push('\n');
                } else if !self.quiet {
                    self.renderer.record(&record, &mut self.out);
                }
                if let Ok(entry) = record.entry() {
                    self.note_entry(entry, record.seq).await?;
                }
            }
            Happening::Delta(delta) if !self.json && !self.quiet => self.renderer.delta(&delta, &mut self.out),
            Happening::Delta(_) => {}
            Happening::DaemonGone => self.say(DAEMON_GONE)?,
            Happening::DaemonBack => self.say(DAEMON_BACK)?,
        }
        if self.out.len() > REPLAY_BYTES_MAX {
            self.print()?;
        }
        Ok(())
    }

    async fn note_entry(&mut self, entry: &Entry, seq: u64) -> Result<(), Failure> {
        self.status.take(entry, seq);
        self.screen.set_status(&self.status.to_string());
        if self.asking.take(entry) {
            // Somebody else was quicker; the record just rendered says who.
            self.asking.withdraw().await?;
            self.screen.release()?;
        }
        Ok(())
    }

    fn print(&mut self) -> io::Result<()> {
        let printed = self.screen.write(&self.out);
        self.out.clear();
        printed
    }

    /// Says something that is no record.
    fn say(&mut self, text: &str) -> io::Result<()> {
        if !self.json {
            self.renderer.close_line(&mut self.out);
        }
        self.print()?;
        self.screen.note(text);
        Ok(())
    }

    async fn show_question(&mut self) -> Result<(), Failure> {
        let Some((question_id, kind)) = self.asking.next_to_show() else {
            return Ok(());
        };
        if !self.interactive {
            self.hint(question_id, Some(&kind));
            return Ok(());
        }
        self.screen.hold()?;
        if self.asking.ask(question_id, &kind).await.is_err() {
            self.screen.release()?;
            self.hint(question_id, Some(&kind));
        }
        Ok(())
    }

    /// Says how a question can be answered from elsewhere.
    fn hint(&mut self, question_id: QuestionId, kind: Option<&QuestionKind>) {
        for line in kind.map(explain).unwrap_or_default() {
            self.screen.note(&format!("  {line}"));
        }
        let flags = kind.map_or("", flags_for);
        let how = format!("cc-executor answer {} {question_id} {flags}", self.short_id);
        self.screen
            .note(&format!("the session waits; answer with: {}", how.trim_end()));
    }

    /// Gives an answer; where no daemon takes it, a person is not asked for it again.
    async fn give(&mut self, question_id: QuestionId, answer: Answer) {
        if !self.is_given(question_id, &answer).await {
            self.owed.push((question_id, answer));
            self.screen.note(&format!(
                "no daemon answers: the answer to {question_id} is kept here and given when one does"
            ));
        }
    }

    async fn give_owed(&mut self) {
        for (question_id, answer) in std::mem::take(&mut self.owed) {
            if !self.is_given(question_id, &answer).await {
                self.owed.push((question_id, answer));
            }
        }
    }

    /// Whether a daemon has taken the answer, or has refused it, which is said.
    async fn is_given(&mut self, question_id: QuestionId, answer: &Answer) -> bool {
        match self.follow.client().answer(&self.id, question_id, answer).await {
            Ok(_) => true,
            Err(Failure::Failed(_)) => {
                self.give_again_at = Instant::now() + GIVE_AGAIN;
                false
            }
            Err(failure) => {
                self.screen.note(&format!("error: the answer was not taken: {failure}"));
                true
            }
        }
    }

    /// Says how it ended; in JSON the records have said it all.
    async fn summarise(&mut self, interrupts: &mut Signal) -> Result<Exit, Failure> {
        let raw = tokio::select! {
            raw = self.follow.session() => raw?,
            _ = interrupts.recv() => return self.detach(interrupts).await,
        };
        let view: View = read(&raw)?;
        let exit = Exit::of_outcome(view.ended_as());
        if self.json {
            return Ok(exit);
        }
        let mut out = String::new();
        if self.quiet {
            out.extend(view.result.as_deref().map(|result| clean(result.trim_end()) + "\n"));
            self.screen.write(&out)?;
            if exit != Exit::Ok {
                eprint(summary(&view).trim_end());
                self.advise(&view);
            }
            return Ok(exit);
        }
        match &view.result {
            Some(result) if !self.renderer.has_printed(result) => out += &(clean(result.trim_end()) + "\n"),
            Some(_) | None => {}
        }
        out += &summary(&view);
        self.screen.write(&out)?;
        self.advise(&view);
        Ok(exit)
    }

    /// Names the command that goes on with a session that failed.
    fn advise(&self, view: &View) {
        if matches!(view.ended_as(), Some("failed" | "timed_out")) {
            eprint(&format!(
                "go on with `cc-executor resume {}{}`",
                self.short_id,
                raise(view)
            ));
        }
    }

    async fn detach(&mut self, interrupts: &mut Signal) -> Result<Exit, Failure> {
        for (question_id, _) in &self.owed {
            eprint(&format!("the answer to {question_id} was not given"));
        }
        if self.follow.is_gone() {
            eprint(&format!(
                "detached: the session is not lost. Start a daemon with `cc-executor serve`, then come back with \
                 `cc-executor attach {}`",
                self.short_id
            ));
            return Ok(Exit::Ok);
        }
        eprint(&format!(
            "detached: the session goes on. Come back with `cc-executor attach {}`; Ctrl-C again within 2 s cancels it",
            self.short_id
        ));
        let pressed = Instant::now();
        loop {
            match timeout_at(pressed + SECOND_PRESS, interrupts.recv()).await {
                Err(_) => return Ok(Exit::Ok),
                Ok(_) if pressed.elapsed() < SAME_PRESS => {}
                Ok(_) => break,
            }
        }
        if let Err(failure) = self.follow.client().cancel(&self.id).await {
            eprint(&format!("session {} is not cancelled", self.short_id));
            return Err(failure);
        }
        eprint(&format!("cancelled session {}", self.short_id));
        Ok(Exit::Cancelled)
    }
}

/// The flag without which a resume is refused, with its value.
fn raise(view: &View) -> &'static str {
    match view.cause.as_deref() {
        Some("budget") => " --max-budget-usd TOTAL",
        _ => "",
    }
}

/// The last lines: outcome, turns, tokens, cost, time; and why, where it did not complete.
fn summary(view: &View) -> String {
    let outcome = match (view.ended_as(), &view.cause) {
        (Some(outcome), Some(cause)) => format!("{outcome} ({cause})"),
        (Some(outcome), None) => outcome.to_owned(),
        (None, _) => view.state.clone(),
    };
    let mut text = format!("■ {outcome} · {}\n", used(view).join(" · "));
    let is_telling = view.ended_as() != Some("completed") || !view.cut_off.is_empty();
    if let Some(note) = view.note.as_deref().filter(|_| is_telling) {
        text += &format!("  {}\n", one_line(note, 400));
    }
    text
}

/// What the status line says. A checkpoint behind each step of the work has the figures.
struct StatusBar {
    state: String,
    turns: u32,
    usage: Usage,
    /// What was used up to this record is counted already.
    counted: u64,
}

impl StatusBar {
    fn new(view: &View) -> Self {
        Self {
            state: view.state.clone(),
            turns: view.turns,
            usage: view.used(),
            counted: view.head,
        }
    }

    fn take(&mut self, entry: &Entry, seq: u64) {
        if seq <= self.counted {
            return;
        }
        match entry {
            Entry::SessionState(change) => self.state = Shown::from(change.to).to_string(),
            Entry::Usage(usage) => self.usage = *usage,
            Entry::Checkpoint(checkpoint) => (self.turns, self.usage) = (checkpoint.turns, checkpoint.usage),
            Entry::QuestionAsked(_) => self.state = Shown::AwaitingInput.to_string(),
            Entry::QuestionAnswered(_) | Entry::QuestionWithdrawn(_) => self.state = Shown::Running.to_string(),
            _ => {}
        }
    }
}

impl std::fmt::Display for StatusBar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (turns, tokens) = (units::turns(self.turns), units::tokens(self.usage.tokens()));
        write!(
            f,
            "{} · {turns} · {tokens} · {}",
            self.state,
            units::usd(self.usage.cost_usd)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn view(more: serde_json::Value) -> View {
        let mut view = json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "state": "running", "created_at": "2026-01-01T00:00:00Z",
            "turns": 2, "head": 5, "usage": {"input_tokens": 1000, "output_tokens": 200, "cache_read_tokens": 0, "cache_write_tokens": 0}, "cost_usd": 0.0421});
        view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn the_summary_says_how_it_ended_and_what_it_took() {
        let ended = json!({"state": "completed", "outcome": "completed", "ended_at": "2026-01-02T00:00:00Z", "active_ms": 133_000, "note": "done"});
        insta::assert_snapshot!(summary(&view(ended)), @"■ completed · 2 turns · 1.2k tokens · $0.0421 · 2 min 13 s at work");
        let cut_off = json!({"state": "completed", "outcome": "completed", "ended_at": "2026-01-01T00:02:13Z",
            "note": "done; cut off: a shell", "cut_off": ["a shell"]});
        assert!(summary(&view(cut_off)).ends_with("cut off: a shell\n"));
        let failed = json!({"state": "failed", "outcome": "failed", "cause": "crashed", "ended_at": "2026-01-01T00:00:03Z", "active_ms": 3_100, "note": "the agent\u{1b}[2J died"});
        insta::assert_snapshot!(summary(&view(failed)), @r"
        ■ failed (crashed) · 2 turns · 1.2k tokens · $0.0421 · 3 s at work
          the agent⟨U+001B⟩[2J died
        ");
    }

    #[test]
    fn the_status_counts_news_only() {
        let mut status = StatusBar::new(&view(json!({})));
        let usage = |output: u64, cost: f64| json!({"input_tokens": 1000, "output_tokens": output, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_usd": cost});
        let entry = |kind: &str, data: serde_json::Value| Entry::from_json(kind, &data.to_string()).unwrap();
        let turn = entry(
            "checkpoint",
            json!({"agent_session_id": uuid::Uuid::nil(), "offset": 0, "turns": 5, "usage": usage(1000, 1.5), "questions_open": 0}),
        );
        status.take(&turn, 5);
        assert_eq!(status.to_string(), "running · 2 turns · 1.2k tokens · $0.0421");
        status.take(&turn, 6);
        assert_eq!(status.to_string(), "running · 5 turns · 2.0k tokens · $1.50");
        status.take(&entry("usage", usage(2000, 1.75)), 7);
        assert_eq!(status.to_string(), "running · 5 turns · 3.0k tokens · $1.75");
    }
}
