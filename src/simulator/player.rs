//! Turns: from the user messages that begin one, over its steps, to the `result`.

use std::time::Instant;

use serde_json::{Value, json};

use super::background::Task;
use super::frames::{self, Accounts, Ending, Spent};
use super::script::{self, Script, Step};
use super::session::{Cut, Simulator, UserMessage};
use super::transcript::{CutTurn, Record};
use super::turn::Turn;

impl Simulator {
    /// Plays everything that is queued as one turn; a note that came first makes an empty result of its own.
    pub(super) fn play_queue(&mut self) -> Result<(), Cut> {
        let turns = self.queue.iter().take_while(|message| !message.is_note).count();
        let messages: Vec<UserMessage> = self.queue.drain(..turns.max(1)).collect();
        self.busy = true;
        for message in &messages {
            self.send(frames::lifecycle(&message.uuid, "started"));
            self.replay(&message.uuid, &message.content);
        }
        let uuids: Vec<String> = messages.iter().map(|message| message.uuid.clone()).collect();
        if turns == 0 {
            return self.take_note(&uuids);
        }
        // The same messages again, sent by a host that does not know whether they were taken.
        let mut turn = match self.resumable.take() {
            Some(cut) if cut.uuids == uuids => Turn::going_on(cut),
            Some(_) | None => {
                let text = messages
                    .iter()
                    .map(|message| script::without_prose(&text_of(&message.content)).to_owned())
                    .collect::<Vec<_>>()
                    .join("\n");
                Turn::new(uuids, self.sections.pop_front().unwrap_or(text))
            }
        };
        self.begin(&mut turn);
        self.play_turn(turn)
    }

    /// Goes on with the turn that an earlier process was killed in.
    pub(super) fn resume_turn(&mut self, cut: CutTurn) -> Result<(), Cut> {
        self.busy = true;
        self.show_state("running");
        // The CLI announces a command of its own here; the host knows the turn by user_message_uuid.
        let command = self.ids.uuid().to_string();
        self.send(frames::lifecycle(&command, "started"));
        self.finished.extend(cut.uuids.iter().cloned());
        let resume_reason = Some(self.environment.resume_reason.clone());
        let mut turn = Turn {
            resume_reason,
            command: Some(command),
            ..Turn::going_on(cut)
        };
        self.begin(&mut turn);
        self.play_turn(turn)
    }

    fn take_note(&mut self, uuids: &[String]) -> Result<(), Cut> {
        let mut frame = frames::notice_result(self.total, &self.model, self.results);
        self.results += 1;
        if let Some(fields) = frame.as_object_mut() {
            fields.remove("origin");
        }
        frame["user_message_uuids"] = json!(uuids);
        frame["user_message_uuid"] = json!(uuids.last());
        self.send(frame);
        self.busy = false;
        for uuid in uuids {
            self.send(frames::lifecycle(uuid, "completed"));
        }
        Ok(())
    }

    fn begin(&mut self, turn: &mut Turn) {
        let record = Record::Begin {
            uuids: turn.uuids.clone(),
            script: turn.script.clone(),
        };
        let message = json!({"role": "user", "content": turn.script});
        self.transcript
            .append("user", turn.uuids.last().map(String::as_str), &record, &message);
        self.send_init(turn);
    }

    fn send_init(&mut self, turn: &Turn) {
        let mut init = frames::init(&self.cwd, &self.model, &self.mode);
        if !turn.uuids.is_empty() {
            init["user_message_uuids"] = json!(turn.uuids);
        }
        self.send(init);
    }

    fn play_turn(&mut self, mut turn: Turn) -> Result<(), Cut> {
        let ending = match self.play_steps(&mut turn) {
            Ok(()) => Ending::completed(turn.text.clone()),
            Err(Cut::Ended(ending)) => *ending,
            Err(Cut::Interrupted { in_tool }) => {
                let text = if in_tool { " for tool use" } else { "" };
                self.send(frames::user_text(&format!("[Request interrupted by user{text}]")));
                Ending::interrupted(in_tool)
            }
            Err(Cut::Exit(code)) => return Err(Cut::Exit(code)),
        };
        self.end_turn(&mut turn, &ending);
        Ok(())
    }

    /// The transcript first, then the result, then the lifecycle: as the CLI flushes.
    fn end_turn(&mut self, turn: &mut Turn, ending: &Ending) {
        if ending.error_kind.is_some() {
            let message = self.ids.uuid().to_string();
            let frame = frames::assistant_error(&message, ending);
            self.send_assistant(turn, frame);
        }
        if !turn.uuids.is_empty() {
            self.transcript
                .append("simulator", None, &Record::Finished, &Value::Null);
        }
        self.finished.extend(turn.uuids.iter().cloned());
        self.busy = false;
        let frame = self.result(turn, ending);
        self.send(frame);
        let state = if matches!(ending.terminal_reason, "aborted_streaming" | "aborted_tools") {
            "cancelled"
        } else {
            "completed"
        };
        // Of a turn that it resumed by itself the CLI announces its own command only.
        let command = turn.command.take().map(|command| vec![command]);
        for uuid in command.unwrap_or_else(|| std::mem::take(&mut turn.uuids)) {
            self.send(frames::lifecycle(&uuid, state));
        }
    }

    fn result(&mut self, turn: &Turn, ending: &Ending) -> Value {
        let accounts = Accounts {
            model: &self.model,
            turn: turn.spent,
            total: self.total,
            duration_ms: turn.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
            num_turns: turn.messages,
            result_index: self.results,
            queued: self.queue.len(),
            denials: &turn.denials,
        };
        let mut frame = frames::result(ending, &accounts);
        self.results += 1;
        self.last_is_error = ending.is_error;
        turn.announce(&mut frame);
        frame
    }

    fn play_steps(&mut self, turn: &mut Turn) -> Result<(), Cut> {
        let steps = match script::parse(&turn.script) {
            Ok(Script::Steps(steps)) => steps,
            Ok(Script::Plain) => vec![Step::Say(reply_to(&turn.script))],
            Err(error) => {
                let ending = Ending::api_error(format!("Script error: {error}"), Some(400), "invalid_request");
                return Err(Cut::ended(ending));
            }
        };
        for (index, step) in steps.iter().enumerate() {
            // The pace is the one thing that later steps need of those already done.
            if index < turn.step {
                if let Step::Slow(pace) = step {
                    turn.pace = *pace;
                }
                continue;
            }
            self.listen()?;
            self.check_limits(turn)?;
            self.play(turn, step)?;
            turn.step = index + 1;
            (turn.flooded, turn.resets_at) = (0, None);
            self.record_step(turn);
        }
        self.listen()
    }

    fn record_step(&mut self, turn: &mut Turn) {
        let record = Record::Done {
            steps: turn.step,
            total: self.total,
        };
        let uuid = turn.last_uuid.take();
        let kind = if uuid.is_some() { "assistant" } else { "simulator" };
        self.transcript.append(kind, uuid.as_deref(), &record, &Value::Null);
    }

    fn check_limits(&self, turn: &Turn) -> Result<(), Cut> {
        let ending = match (self.args.max_turns, self.args.max_budget_usd) {
            (Some(turns), _) if turn.messages >= turns => Ending::max_turns(turns),
            (_, Some(budget)) if self.total.cost_usd - self.spent_before > budget => Ending::max_budget(budget),
            _ => return Ok(()),
        };
        Err(Cut::ended(ending))
    }

    fn play(&mut self, turn: &mut Turn, step: &Step) -> Result<(), Cut> {
        match step {
            Step::Say(text) => self.say(turn, text),
            Step::Think(text) => self.think(turn, text),
            Step::Deltas(count) => self.deltas(turn, *count),
            Step::Stamps(count) => self.stamps(turn, *count),
            Step::Line(bytes) => self.long_line(turn, *bytes),
            Step::Flood { lines, bytes } => self.flood(turn, *lines, *bytes),
            Step::Slow(pace) => {
                turn.pace = *pace;
                Ok(())
            }
            Step::Tool { name, input, result } => self.tool(turn, name, input, result),
            Step::Bash(command) => self.bash(turn, command),
            Step::AskPermission(command) => self.ask_permission(turn, command),
            Step::Write { path, text } => self.write(turn, path, text),
            Step::Question { text, options, multi } => self.question(turn, text, options, *multi),
            Step::Form { message, schema } => self.form(turn, message, schema),
            Step::Open { message, url } => self.open(turn, message, url),
            Step::Plan(text) => self.plan(turn, text.as_deref()),
            Step::Background(command) => self.background(turn, command),
            Step::Subagent(time) => self.subagent(turn, *time),
            Step::Usage {
                input,
                output,
                cost_usd,
            } => {
                self.spend(
                    turn,
                    Spent {
                        input: *input,
                        output: *output,
                        cost_usd: *cost_usd,
                    },
                );
                Ok(())
            }
            Step::Wait(time) => self.listen_until(Some(Instant::now() + *time)),
            Step::Silence => self.listen_until(None),
            Step::WaitFile(path) => self.wait_file(path),
            Step::Exit(code) => Err(Cut::Exit(*code)),
            Step::Error(text) => Err(Cut::ended(Ending::api_error(text.clone(), Some(500), "server_error"))),
            Step::MaxTurns => Err(Cut::ended(Ending::max_turns(turn.messages))),
            Step::Refuse => Err(Cut::ended(Ending::refused())),
            Step::UsageLimit(time) => self.usage_limit(turn, *time),
            Step::ApiRetry { count, apart } => self.api_retry(*count, *apart),
            Step::NotSignedIn => self.not_signed_in(),
            Step::Act(act) => {
                self.act(turn, act);
                Ok(())
            }
        }
    }

    fn spend(&mut self, turn: &mut Turn, spent: Spent) {
        turn.spent.add(spent);
        self.total.add(spent);
    }

    /// The turn that the CLI starts by itself when a background task has ended.
    pub(super) fn notice_turn(&mut self, task: &Task) -> Result<(), Cut> {
        self.busy = true;
        self.show_state("running");
        let mut turn = Turn::new(Vec::new(), String::new());
        self.send_init(&turn);
        let ending = match self.say(&mut turn, &format!("Background task {} has ended.", task.id)) {
            Ok(()) => Ending::completed(turn.text.clone()),
            Err(Cut::Interrupted { in_tool }) => Ending::interrupted(in_tool),
            Err(other) => return Err(other),
        };
        self.busy = false;
        let mut frame = self.result(&turn, &ending);
        frame["origin"] = json!({"kind": "task-notification", "producer": "session-task", "runId": task.run_id});
        self.send(frame);
        Ok(())
    }

    /// Sends a stream event, where the host asked for them.
    pub(super) fn send_stream(&mut self, turn: &mut Turn, mut frame: Value) {
        if self.args.partial_messages {
            if !std::mem::replace(&mut turn.stream_announced, true) {
                turn.announce(&mut frame);
            }
            self.send(frame);
        }
    }

    pub(super) fn send_assistant(&mut self, turn: &mut Turn, mut frame: Value) {
        if !std::mem::replace(&mut turn.message_announced, true) {
            turn.announce(&mut frame);
        }
        turn.last_uuid = Some(self.send(frame));
    }

    /// `status: requesting`, which only hosts that want partial messages see.
    pub(super) fn send_requesting(&mut self, turn: &Turn) {
        if self.args.partial_messages {
            let mut frame = frames::requesting();
            if !turn.uuids.is_empty() {
                frame["user_message_uuids"] = json!(turn.uuids);
            }
            self.send(frame);
        }
    }
}

fn reply_to(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    format!(
        "This is a simulated reply to: {}",
        first.chars().take(100).collect::<String>()
    )
}

/// The text of a message, whether it is a string or a list of blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        other => {
            let blocks = other.as_array().map(Vec::as_slice).unwrap_or_default();
            blocks
                .iter()
                .filter_map(|block| block["text"].as_str())
                .collect::<Vec<_>>()
                .join("\n")
        }
    }
}
