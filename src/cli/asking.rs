//! The questions of a followed session: which are open, which one is being asked at the terminal, and taking that
//! prompt back when somebody else answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use console::Term;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};

use crate::session::id::QuestionId;
use crate::session::journal::Entry;
use crate::session::question::{Answer, QuestionKind};

use super::view::View;

/// This program, also when its file has been replaced meanwhile.
const SELF: &str = "/proc/self/exe";

/// The number of SIGINT, which a prompt dies of when Ctrl-C is pressed in it.
const SIGINT: i32 = 2;

/// The open questions of one session.
pub(crate) struct Asking {
    open: BTreeMap<QuestionId, QuestionKind>,
    /// Asked or shown already, and left for later.
    shown: BTreeSet<QuestionId>,
    prompt: Option<Prompt>,
}

/// A question that is being asked at the terminal.
struct Prompt {
    question_id: QuestionId,
    child: Child,
    stdout: ChildStdout,
    written: Vec<u8>,
    /// How the terminal was set before.
    terminal: Option<Termios>,
}

/// What came of a prompt.
#[derive(Debug)]
pub(crate) enum Prompted {
    /// An answer.
    Answered(QuestionId, Answer),
    /// Nothing for now.
    Later(QuestionId),
    /// Ctrl-C.
    Interrupted,
}

impl Asking {
    /// The questions that are open already.
    pub(crate) fn new(view: &View) -> Self {
        let open = view
            .unanswered()
            .map(|question| (question.question_id, question.kind.clone()));
        Self {
            open: open.collect(),
            shown: BTreeSet::new(),
            prompt: None,
        }
    }

    /// Takes a record into account; answers whether it settles the question that is being asked.
    pub(crate) fn take(&mut self, entry: &Entry) -> bool {
        let settled = match entry {
            Entry::QuestionAsked(question) => {
                self.open.insert(question.question_id, question.kind.clone());
                return false;
            }
            Entry::QuestionAnswered(answered) => answered.question_id,
            Entry::QuestionDelivered(delivered) => delivered.question_id,
            Entry::QuestionWithdrawn(withdrawn) => withdrawn.question_id,
            Entry::SessionEnded(_) => {
                self.open.clear();
                return self.prompt.is_some();
            }
            _ => return false,
        };
        self.open.remove(&settled);
        self.prompt.as_ref().is_some_and(|prompt| prompt.question_id == settled)
    }

    /// The next question that a person should see, unless one is being asked right now.
    pub(crate) fn next_to_show(&mut self) -> Option<(QuestionId, QuestionKind)> {
        if self.prompt.is_some() {
            return None;
        }
        let (id, kind) = self.open.iter().find(|(id, _)| !self.shown.contains(id))?;
        self.shown.insert(*id);
        Some((*id, kind.clone()))
    }

    /// Asks at the terminal.
    pub(crate) async fn ask(&mut self, question_id: QuestionId, kind: &QuestionKind) -> io::Result<()> {
        let terminal = tcgetattr(io::stdin()).ok();
        let mut child = Command::new(SELF)
            .arg("prompt")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the prompt has no pipes"));
        };
        stdin.write_all(serde_json::to_string(kind)?.as_bytes()).await?;
        self.prompt = Some(Prompt {
            question_id,
            child,
            stdout,
            written: Vec::new(),
            terminal,
        });
        Ok(())
    }

    /// What comes of the prompt; never, while there is none. Cancel safe.
    pub(crate) async fn prompted(&mut self) -> io::Result<Prompted> {
        let Some(prompt) = &mut self.prompt else {
            return std::future::pending().await;
        };
        while prompt.stdout.read_buf(&mut prompt.written).await? > 0 {}
        let status = prompt.child.wait().await?;
        let question_id = prompt.question_id;
        let answer = serde_json::from_slice::<Answer>(&prompt.written).ok();
        self.restore_terminal();
        Ok(match answer {
            Some(answer) => Prompted::Answered(question_id, answer),
            None if status.signal() == Some(SIGINT) => Prompted::Interrupted,
            None => Prompted::Later(question_id),
        })
    }

    /// Takes the prompt back.
    pub(crate) async fn withdraw(&mut self) -> io::Result<()> {
        if let Some(prompt) = &mut self.prompt {
            prompt.child.kill().await?;
            self.restore_terminal();
        }
        Ok(())
    }

    /// A prompt that was killed leaves the terminal without echo and cursor.
    fn restore_terminal(&mut self) {
        let Some(prompt) = self.prompt.take() else { return };
        if let Some(terminal) = prompt.terminal {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &terminal);
        }
        let term = Term::stderr();
        // Nobody to tell when the terminal is gone.
        let _ = term.clear_line().and_then(|()| term.show_cursor());
    }
}

/// Whether a person can be asked here.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry(kind: &str, data: Value) -> Entry {
        Entry::from_json(kind, &data.to_string()).unwrap()
    }

    fn view() -> View {
        let json = json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "state": "running", "created_at": "2026-01-01T00:00:00Z",
            "questions": [{"question_id": "q1", "ask": "plan", "input": {}}, {"question_id": "q2", "ask": "plan", "input": {}, "answered": true}]});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_open_question_is_shown_once() {
        let mut asking = Asking::new(&view());
        let next = |asking: &mut Asking| asking.next_to_show().map(|(id, _)| id.0);
        assert_eq!(next(&mut asking), Some(1));
        assert_eq!(next(&mut asking), None, "q2 is answered, q1 was shown");
        asking.take(&entry(
            "question.asked",
            json!({"question_id": "q3", "request_id": "r", "ask": "plan", "input": {}}),
        ));
        asking.take(&entry(
            "question.asked",
            json!({"question_id": "q4", "request_id": "r", "ask": "plan", "input": {}}),
        ));
        asking.take(&entry(
            "question.answered",
            json!({"question_id": "q3", "answer": {"action": "allow"}, "by": "page"}),
        ));
        assert_eq!(next(&mut asking), Some(4));
        asking.take(&entry(
            "question.asked",
            json!({"question_id": "q4", "request_id": "again", "ask": "plan", "input": {}}),
        ));
        assert_eq!(next(&mut asking), None, "asked again by a resumed agent, shown already");
    }
}
