//! What is done in the walk that takes more than a line: asked-for things, links, answers, the death of a daemon.

use std::sync::Arc;

use uuid::Uuid;

use super::{Host, World, at, settings};
use crate::agent_host::protocol::{AgentExit, FromHost, PROTOCOL_VERSION};
use crate::attempt::{Assignment, Attempt, AttemptInput, Command, LifeCheck, Moment, Unreachable};
use crate::session::journal::{Answered, Entry};
use crate::session::outcome::Ending;
use crate::session::question::Answer;

impl World {
    /// Does what was asked for first, as it usually turns out or otherwise.
    pub(super) fn does(&mut self, is_usual: bool) {
        let alive = self.agent.exit.is_none();
        match self.asked_for.pop_front().expect("something was asked for") {
            Command::Connect if is_usual => self.link(),
            Command::Connect => self.step(AttemptInput::Unreachable(Unreachable {
                ending: Ending::Crashed,
                why: "no host".to_owned(),
                may_pass: self.asked_for.is_empty() && self.running.is_zero(),
            })),
            Command::Look(look) => {
                let is_alive = if is_usual {
                    alive
                } else {
                    !alive || look == LifeCheck::Leftovers
                };
                self.step(AttemptInput::Looked { look, is_alive });
            }
            Command::EndEverything => {
                self.agent.exit.get_or_insert(AgentExit::Signal { signal: 9 });
                self.step(AttemptInput::Ended(vec!["4711 claude".to_owned()]));
            }
            Command::AskAwaited(_) => self.step(AttemptInput::Awaited(is_usual)),
            Command::LookAtGit => self.step(AttemptInput::Git(None)),
            Command::KeepInFile { uuid, refusal, .. } => {
                let result = if is_usual {
                    Ok("/input".into())
                } else {
                    Err("no room".to_owned())
                };
                self.step(AttemptInput::InFile { uuid, refusal, result });
            }
            other => panic!("{other:?} is done at once"),
        }
    }

    /// A link is open, on which the host says hello first.
    fn link(&mut self) {
        let mut host = Host::default();
        host.says.push_back(FromHost::Hello {
            protocol: PROTOCOL_VERSION,
            session: self.task.session_id,
            attempt: self.task.attempt,
            host_pid: 1,
            agent: None,
            exit: self.agent.exit.clone(),
            adopted: false,
            spool_bytes: self.agent.spool.len() as u64,
        });
        self.host = Some(host);
        self.tell_exit();
        self.step(AttemptInput::Linked(Box::default()));
    }

    pub(super) fn answer(&mut self) {
        let asked = self
            .summary
            .questions
            .iter()
            .find(|(_, waiting)| waiting.answer.is_none());
        let (question_id, _) = asked.expect("somebody asks");
        let answered = Answered {
            question_id: *question_id,
            answer: Answer::allow(),
            by: "a person".into(),
            granted: Vec::new(),
        };
        self.write(None, vec![Entry::QuestionAnswered(answered)]);
        self.news = Some(Arc::clone(&self.summary));
    }

    /// The daemon dies with all that it has not written; the next one begins with what is on disk.
    pub(super) fn die(&mut self) {
        let end_with = self.is_stopped.then_some(Ending::Stopped);
        self.task = Assignment {
            summary: Arc::clone(&self.summary),
            end_with,
            ..self.task.clone()
        };
        let now = Moment {
            wall: at(self.running),
            running: self.running,
            fresh: Uuid::nil(),
        };
        self.attempt = Attempt::new(self.task.clone(), settings(), now);
        self.heard = Arc::clone(&self.summary);
        self.queue.clear();
        self.acknowledgements.clear();
        self.asked_for.clear();
        self.timers.clear();
        self.write_ids.clear();
        self.daemons += 1;
        self.is_to_stop |= self.is_stopped;
        self.knows_of_exit = false;
        (self.host, self.news, self.has_begun) = (None, None, false);
        (self.last_bytes, self.last_message) = (None, None);
        self.position = self.summary.through_offset;
    }

    /// The host refuses to write a line to the agent, which gets no part of it.
    pub(super) fn refuse(&mut self) {
        let (id, line) = self.host_mut().stdin.pop_front().expect("there is one");
        // One that was told before may have been written then.
        if line.contains("control_response") && self.tellings == 1 {
            self.answers_told.clear();
        }
        let error = "the pipe is small".to_owned();
        self.host_mut().says.push_back(FromHost::Refused { id, error });
    }

    /// The attempt hears what the host has said.
    pub(super) fn say(&mut self) {
        let message = self.host_mut().says.pop_front().expect("there is one");
        self.last_message = Some(message.clone());
        self.knows_of_exit |= matches!(message, FromHost::Exited { .. } | FromHost::Hello { exit: Some(_), .. });
        self.step(AttemptInput::Host(message.clone()));
        self.check_answered(&message);
    }
}
