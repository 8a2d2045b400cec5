//! Shows the demo's session, answers its question or has it answered at the terminal, and remembers what it saw.

use std::io;

use uuid::Uuid;

use crate::cli::asking::{Asking, Prompted, is_interactive};
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::follow::{Follow, Happening};
use crate::cli::output::Renderer;
use crate::cli::screen::{Screen, eprint};
use crate::cli::view::{View, WireRecord};
use crate::session::id::QuestionId;
use crate::session::journal::Entry;
use crate::session::message::Message;
use crate::session::question::{Answer, QuestionKind};

/// How the lines of a flood begin.
const FLOOD_LINE: &str = "line ";

/// The screen, and what was seen on it.
pub(super) struct Watch {
    /// The count alone is wanted, as JSON.
    quiet: bool,
    screen: Screen,
    renderer: Renderer,
    session: Option<WatchedSession>,
    out: String,
    /// The numbers of all records, as they came.
    seqs: Vec<u64>,
    /// The uuids of all messages, as they came.
    messages: Vec<Uuid>,
    /// How many lines of the agent's count were seen.
    lines: usize,
}

/// The session that is shown.
struct WatchedSession {
    id: String,
    follow: Follow,
    asking: Asking,
}

/// The condition that ends the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchUntil {
    /// So many lines of the agent's count.
    Lines(usize),
    /// The session's end.
    End,
}

impl Watch {
    /// A screen with nothing on it; for good, where it is to be quiet.
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            screen: Screen::new(std::time::Duration::ZERO),
            renderer: Renderer::new(console::colors_enabled()),
            session: None,
            out: String::new(),
            seqs: Vec::new(),
            messages: Vec::new(),
            lines: 0,
        }
    }

    /// Begins to show a session.
    pub(super) fn follow(&mut self, client: Client, view: &View) {
        let id = view.session_id.to_string();
        let follow = Follow::new(client, id.clone(), 0);
        let asking = Asking::new(view);
        self.session = Some(WatchedSession { id, follow, asking });
        self.screen.set_status("demo");
    }

    /// Shows what happens until then.
    pub(super) async fn until(&mut self, until: WatchUntil) -> Result<(), Failure> {
        while until != WatchUntil::Lines(self.lines) {
            let Some(session) = &mut self.session else {
                return Ok(());
            };
            tokio::select! {
                happening = session.follow.next() => match happening? {
                    Some(happening) => self.take(happening).await?,
                    None if until == WatchUntil::End => return Ok(()),
                    None => return Err(Failure::Failed("the session ended too early".to_owned())),
                },
                prompted = session.asking.prompted() => self.take_answer(prompted?).await?,
            }
            self.print()?;
            self.ask().await?;
        }
        Ok(())
    }

    /// Says something about the demo itself.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.renderer.line(&format!("▶ {text}"), &mut self.out);
        Ok(self.print()?)
    }

    /// Leaves the terminal as it was.
    pub(super) async fn finish(&mut self) -> Result<(), Failure> {
        let withdrawn = match &mut self.session {
            Some(session) => session.asking.withdraw().await,
            None => Ok(()),
        };
        self.screen.finish()?;
        Ok(withdrawn?)
    }

    /// The last record that was seen.
    pub(super) fn seen(&self) -> u64 {
        self.seqs.last().copied().unwrap_or_default()
    }

    /// The numbers of all records, as they came.
    pub(super) fn seqs(&self) -> &[u64] {
        &self.seqs
    }

    /// The uuids of all messages, as they came.
    pub(super) fn messages(&self) -> &[Uuid] {
        &self.messages
    }

    /// How many records came again.
    pub(super) fn repeats(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.follow.repeats())
    }

    async fn take(&mut self, happening: Happening) -> Result<(), Failure> {
        match happening {
            Happening::Record(record, _) => {
                self.renderer.record(&record, &mut self.out);
                self.seqs.push(record.seq);
                self.messages.extend(said_by(&record));
                if let Ok(entry) = record.entry() {
                    self.take_entry(entry).await?;
                }
            }
            Happening::Delta(delta) => self.renderer.delta(&delta, &mut self.out),
            // What became of the daemon was said already by whoever killed it.
            Happening::Hello(_) | Happening::DaemonGone | Happening::DaemonBack => {}
        }
        Ok(())
    }

    async fn take_entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        if let Entry::AgentMessage(said) = entry
            && let Message::Text { text, .. } = &said.message
            && text.starts_with(FLOOD_LINE)
        {
            self.lines += 1;
        }
        if let Some(session) = &mut self.session
            && session.asking.take(entry)
        {
            session.asking.withdraw().await?;
            self.screen.release()?;
        }
        Ok(())
    }

    /// Asks at the terminal; without one the demo answers itself, and says so.
    async fn ask(&mut self) -> Result<(), Failure> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let Some((question_id, kind)) = session.asking.next_to_show() else {
            return Ok(());
        };
        if !is_interactive() || self.quiet {
            return self.answer_itself(question_id, &kind, "there is no terminal").await;
        }
        self.screen.hold()?;
        if session.asking.ask(question_id, &kind).await.is_err() {
            self.screen.release()?;
            return self.answer_itself(question_id, &kind, "nobody can be asked").await;
        }
        Ok(())
    }

    async fn answer_itself(&mut self, question_id: QuestionId, kind: &QuestionKind, why: &str) -> Result<(), Failure> {
        let allow = Answer::allow();
        self.say(&format!("{why}: the demo answers its own question"))?;
        self.give(question_id, &kind.first_options().unwrap_or(allow)).await
    }

    async fn take_answer(&mut self, prompted: Prompted) -> Result<(), Failure> {
        self.screen.release()?;
        match prompted {
            Prompted::Answered(question_id, answer) => self.give(question_id, &answer).await,
            Prompted::Later(question_id) => {
                self.say("the question waits, as long as it takes; the demo asks again")?;
                self.ask_again(question_id).await
            }
            // The same key press has reached this process too, and ends it.
            Prompted::Interrupted => std::future::pending().await,
        }
    }

    async fn ask_again(&mut self, question_id: QuestionId) -> Result<(), Failure> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let view = session.follow.client().view(&session.id).await?;
        if view.unanswered().any(|question| question.question_id == question_id) {
            session.asking = Asking::new(&view);
        }
        Ok(())
    }

    async fn give(&mut self, question_id: QuestionId, answer: &Answer) -> Result<(), Failure> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        session.follow.client().answer(&session.id, question_id, answer).await?;
        Ok(())
    }

    fn print(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        if !self.quiet {
            return self.screen.write(&out);
        }
        let said = out.lines().filter(|line| line.starts_with('▶'));
        said.for_each(eprint);
        Ok(())
    }
}

/// The uuid of the message that a record holds.
pub(super) fn said_by(record: &WireRecord) -> Option<Uuid> {
    match record.entry() {
        Ok(Entry::AgentMessage(said)) => said.uuid,
        _ => None,
    }
}
