//! The link: frames to and from the agent's host.

use actix::io::WriteHandler;
use actix_http::ws::{Item, ProtocolError};
use futures_util::StreamExt;

use super::*;
use crate::agent::wire::encode;
use crate::agent_host::protocol::{
    Exit, FromHost, LINE_BYTES_MAX, OFFSET_BYTES, PROTOCOL_VERSION, WINDOW_BYTES, files,
};
use crate::runtime::messages::{AgentFound, SpoolGrew};
use crate::session::question::Answer;
use crate::session::summary::Waiting;

/// A host is nudged no more often than this: by itself it looks again 2 ms after each nudge.
const NUDGE_PERIOD: Duration = Duration::from_millis(1);

impl Execution {
    pub(super) fn open_link(&mut self, socket: HostSocket, ctx: &mut Context<Self>) {
        let (sink, stream) = socket.split();
        self.sink = Some(SinkWrite::new(sink, ctx));
        // A frame that was cut off by the host's death is reported again and again: the first error is the last item.
        let until_error = stream.scan(false, |has_failed, frame| {
            let item = (!*has_failed).then_some(frame);
            *has_failed = item.as_ref().is_none_or(Result::is_err);
            std::future::ready(item)
        });
        ctx.add_stream(until_error);
    }

    pub(super) fn send(&mut self, message: &ToHost) {
        let Some(sink) = &mut self.sink else { return };
        match serde_json::to_string(message) {
            // A sink that is closed means a lost link, which is noticed where the stream ends.
            Ok(json) => drop(sink.write(ws::Message::Text(json.into()))),
            Err(error) => tracing::error!(%error, "a message to the agent host cannot be written"),
        }
    }

    fn write_line(&mut self, line: String, purpose: Purpose) {
        let id = self.next_write;
        self.next_write += 1;
        self.writing.insert(id, purpose);
        self.send(&ToHost::Write { id, line });
    }

    pub(super) fn write_control(&mut self, subtype: &str) {
        let request_id = format!("{subtype}-{}", self.next_write);
        self.write_line(encode::control(&request_id, subtype), Purpose::Control);
    }

    /// A text that does not fit into a line goes into a file, and the agent is told to read it.
    pub(super) fn write_input(&mut self, uuid: Uuid, text: &str) -> std::io::Result<()> {
        let line = encode::user_message(uuid, text);
        if line.len() >= LINE_BYTES_MAX {
            return self.write_input_in_file(uuid, text);
        }
        let is_in_file = false;
        self.write_line(line, Purpose::Input { uuid, is_in_file });
        Ok(())
    }

    fn write_input_in_file(&mut self, uuid: Uuid, text: &str) -> std::io::Result<()> {
        let path = self.directory().join(format!("input-{uuid}.txt"));
        launch::write_private(&path, text.as_bytes())?;
        let told = format!(
            "The message is long and stands in the file {}. Read that file and follow it.",
            path.display()
        );
        let is_in_file = true;
        self.write_line(encode::user_message(uuid, &told), Purpose::Input { uuid, is_in_file });
        Ok(())
    }

    /// The system may not let a pipe grow for a long line: what all pipes of a user hold
    /// together is limited. The way by a file is left then.
    fn refused(&mut self, purpose: Purpose, error: &str, ctx: &mut Context<Self>) {
        if self.closing.is_agent_gone() {
            return;
        }
        let way_left = match purpose {
            Purpose::Control => return,
            Purpose::Answer { .. } | Purpose::Input { is_in_file: true, .. } => None,
            Purpose::Input { uuid, .. } => Some(uuid),
        };
        let summary = Arc::clone(&self.summary);
        let input = way_left.and_then(|uuid| summary.input(uuid));
        if let Some((uuid, text)) = input.and_then(|input| Some((input.uuid, input.text.as_ref()?)))
            && self.write_input_in_file(uuid, text).is_ok()
        {
            return;
        }
        self.notice(format!("a message did not reach the agent: {error}"), ctx);
    }

    pub(super) fn write_answer(&mut self, id: QuestionId, waiting: &Waiting, answer: &Answer) {
        let purpose = Purpose::Answer {
            question_id: id,
            position: self.intake.position(),
        };
        self.write_line(encode::answer(&waiting.question, answer, &waiting.grants()), purpose);
    }

    pub(super) fn refuse_request(&mut self, request_id: &str, subtype: &str) {
        let error = format!("{subtype} is not served by this host");
        self.write_line(encode::refuse(request_id, &error), Purpose::Control);
    }

    /// Lets the host send further: a window beyond what is on disk, or beyond what was taken where nothing waits for
    /// the disk.
    pub(super) fn raise_window(&mut self) {
        let base = if self.is_all_on_disk() {
            self.intake.position()
        } else {
            self.summary.through_offset
        };
        let through = base + WINDOW_BYTES;
        if self.greeted && through >= self.intake.window + WINDOW_BYTES / 2 {
            self.intake.window = through;
            self.send(&ToHost::Window { through });
        }
    }

    fn take_message(&mut self, message: FromHost, ctx: &mut Context<Self>) {
        match message {
            FromHost::Hello { protocol, .. } if protocol > PROTOCOL_VERSION => self.replace_newer_host(protocol, ctx),
            FromHost::Hello {
                exit,
                spool_bytes,
                adopted,
                ..
            } => self.hello(exit, spool_bytes, adopted, ctx),
            FromHost::Exited {
                exit,
                spool_bytes,
                stderr_tail,
            } => {
                // A host that is reached again says so again, to this execution or to the next daemon's.
                if self.closing.take_stderr(&stderr_tail) && !self.summary.work.has_stderr() {
                    self.append(None, vec![Entry::AgentStderr(Text { text: stderr_tail })], ctx);
                }
                self.agent_gone(exit, spool_bytes, ctx);
            }
            FromHost::Written { id } => self.written(id, ctx),
            FromHost::Refused { id, error } => {
                if let Some(purpose) = self.writing.remove(&id) {
                    self.refused(purpose, &error, ctx);
                }
            }
            FromHost::Children { count, youngest_ms } => self.children_counted(count, youngest_ms, ctx),
            FromHost::LeftoversEnded { processes } => self.leftovers_ended(processes, ctx),
            FromHost::SpoolCut { spool_bytes } => self.spool_cut(spool_bytes, ctx),
            FromHost::NotUnderstood { op, error, .. } => self.refused_by_older_host(&op, &error, ctx),
            FromHost::Trouble { error } => {
                tracing::warn!(%error, "agent host");
            }
        }
    }

    /// The host was started by an older daemon. It stays for as long as its attempt.
    fn refused_by_older_host(&mut self, op: &str, error: &str, ctx: &mut Context<Self>) {
        tracing::warn!(op, %error, "agent host");
        let text = format!(
            "the agent host is of an older version and does not know `{op}`: it takes effect at the next attempt"
        );
        self.notice(text, ctx);
    }

    /// The daemon is of an older version than the one that started this host. Ours adopts the agent as that of a dead one.
    fn replace_newer_host(&mut self, protocol: u32, ctx: &mut Context<Self>) {
        let text = format!(
            "the agent host speaks protocol {protocol}, this daemon {PROTOCOL_VERSION}: one of this version takes its place"
        );
        tracing::warn!("{text}");
        self.notice(text, ctx);
        self.kill_hosts(ctx);
    }

    fn hello(&mut self, exit: Option<Exit>, spool_bytes: u64, adopted: bool, ctx: &mut Context<Self>) {
        self.host_answers(ctx);
        if adopted {
            tracing::info!("a new host adopted the agent");
        }
        self.tell_found(exit.is_some());
        self.watch_spool(ctx);
        let from = self.intake.position();
        self.intake.window = from + WINDOW_BYTES;
        self.send(&ToHost::Read {
            from,
            through: self.intake.window,
            nudged: self.watching.is_some(),
        });
        match exit {
            // The news of its end follows at once, and has what it said last.
            Some(_) => {
                self.greeted = true;
                self.closing.found_gone();
            }
            None if self.closing.is_begun() => {
                self.greeted = true;
                self.ask_to_end(ctx);
            }
            None if spool_bytes < from => {
                self.greeted = true;
                self.spool_cut(spool_bytes, ctx);
            }
            None => self.greet(spool_bytes, ctx),
        }
        self.watch_host(ctx);
        self.settle(ctx);
    }

    /// Tells the supervisor how things stand with the agent. One that has ended unseen lived at least until it was heard of
    /// last, or has written last.
    pub(super) fn tell_found(&self, has_ended: bool) {
        let spool = self.directory().join(files::SPOOL);
        let written = std::fs::metadata(spool).and_then(|spool| spool.modified()).ok();
        let written = written.and_then(|at| jiff::Timestamp::try_from(at).ok());
        let heard = self.summary.updated_at;
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        self.supervisor.do_send(AgentFound {
            session,
            attempt,
            ended_after: has_ended.then(|| written.map_or(heard, |written| written.max(heard))),
        });
    }

    /// Begins to watch the spool, which is there since the host has one open. What it holds already is read anyway.
    fn watch_spool(&mut self, ctx: &mut Context<Self>) {
        if self.watching.is_none() {
            let reader = ctx.address().downgrade().recipient();
            let path = self.directory().join(files::SPOOL);
            self.watching = self.surroundings.spools.watch(&path, reader);
        }
    }

    fn written(&mut self, id: u64, ctx: &mut Context<Self>) {
        match self.writing.remove(&id) {
            Some(Purpose::Answer { question_id, position }) => {
                self.answers_written.insert(question_id);
                self.answers_in_pipe.push(question_id);
                if self.intake.position() > position {
                    self.take_pipe_for_read(ctx);
                }
            }
            Some(Purpose::Input { .. } | Purpose::Control) | None => {}
        }
    }

    /// Questions whose answers may have been written to the agent: of those under way nobody knows.
    pub(super) fn answers_written(&self) -> Vec<QuestionId> {
        let under_way = self.writing.values().filter_map(|purpose| match purpose {
            Purpose::Answer { question_id, .. } => Some(*question_id),
            Purpose::Input { .. } | Purpose::Control => None,
        });
        let written: BTreeSet<_> = self.answers_written.iter().copied().chain(under_way).collect();
        written.into_iter().collect()
    }

    /// The host is gone, or the link to it: a new link is opened, to a new host if need be, and reading goes on at the
    /// byte where it stopped.
    fn link_lost(&mut self, ctx: &mut Context<Self>) {
        if self.closing.is_released() {
            return ctx.stop();
        }
        if let Some(mut sink) = self.sink.take() {
            sink.close();
        }
        self.closing.host_lost();
        self.greeted = false;
        self.answers_written = self.answers_written().into_iter().collect();
        self.writing.clear();
        self.answers_sent.clear();
        self.answers_in_pipe.clear();
        self.links_lost += 1;
        if self.links_lost > LINKS_LOST_MAX {
            let why = "the link to it is lost again and again".to_owned();
            return self.host_missing(Ending::Crashed, why, ctx);
        }
        tracing::warn!("link to the agent host lost");
        self.connect(ctx);
    }
}

impl StreamHandler<Result<ws::Frame, ProtocolError>> for Execution {
    fn handle(&mut self, frame: Result<ws::Frame, ProtocolError>, ctx: &mut Self::Context) {
        if frame.is_ok() {
            self.closing.heard_of_host();
        }
        match frame {
            Ok(ws::Frame::Binary(bytes)) => match bytes.split_first_chunk::<OFFSET_BYTES>() {
                Some((offset, bytes)) => self.take_bytes(u64::from_le_bytes(*offset), bytes, ctx),
                None => tracing::error!("a spool frame without an offset"),
            },
            Ok(ws::Frame::Text(json)) => match serde_json::from_slice(&json) {
                Ok(message) => self.take_message(message, ctx),
                // A newer host may say more than we know.
                Err(error) => tracing::warn!(%error, "a message of the agent host is not understood"),
            },
            Ok(ws::Frame::Ping(payload)) => {
                if let Some(sink) = &mut self.sink {
                    drop(sink.write(ws::Message::Pong(payload)));
                }
            }
            Ok(ws::Frame::Continuation(
                Item::FirstText(_) | Item::FirstBinary(_) | Item::Continue(_) | Item::Last(_),
            )) => {
                tracing::error!("the agent host sent a fragmented frame, which it never does");
            }
            Ok(ws::Frame::Pong(_) | ws::Frame::Close(_)) => {}
            Err(error) => tracing::warn!(%error, "the link to the agent host failed"),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.link_lost(ctx);
    }
}

impl Handler<SpoolGrew> for Execution {
    type Result = ();

    /// A host that was nudged looks again soon by itself.
    fn handle(&mut self, _: SpoolGrew, _: &mut Self::Context) {
        let is_due = self.nudged_at.is_none_or(|at| at.elapsed() >= NUDGE_PERIOD);
        if is_due && self.greeted {
            self.nudged_at = Some(Instant::now());
            self.send(&ToHost::Nudge);
        }
    }
}

impl WriteHandler<ProtocolError> for Execution {
    fn error(&mut self, error: ProtocolError, _: &mut Self::Context) -> Running {
        tracing::warn!(%error, "cannot write to the agent host");
        // The end of the stream says what follows; nothing more can be written.
        Running::Stop
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
