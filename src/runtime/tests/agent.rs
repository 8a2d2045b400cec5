//! A simulated agent: what the CLI is to its host, played by a script of the test.
//!
//! It treats messages as the CLI does: each id is taken once in a conversation, a resumed agent goes on by itself with
//! a turn that was cut short, and what it said before it died it does not say again.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::conversation::{Conversation, note};
use super::lines;
use crate::agent_host::protocol::AgentExit;
use crate::runtime::outside::Clock;
use crate::session::words::CONTINUE;

mod tools;

/// How often a tool that runs gives a sign of life.
const TOOL_PROGRESS: SignedDuration = SignedDuration::from_secs(30);

/// What is left of a line in whose midst an agent died.
pub(super) const HALF_A_LINE: &str = r#"{"type": "assist"#;

/// What an agent does from the beginning of its turn on.
pub(super) type Script = Arc<dyn Fn(Agent) -> LocalBoxFuture<'static, ()> + Send + Sync>;

pub(super) fn script<F: Future<Output = ()> + 'static>(play: impl Fn(Agent) -> F + Send + Sync + 'static) -> Script {
    Arc::new(move |agent| Box::pin(play(agent)))
}

/// One agent process.
#[derive(Clone)]
pub(super) struct Agent(Arc<Process>);

struct Process {
    clock: Clock,
    version: String,
    /// The permission mode that it was started in.
    mode: String,
    conversation_id: Uuid,
    conversation: Arc<Mutex<Conversation>>,
    /// The conversation's file.
    transcript: PathBuf,
    state: Mutex<State>,
    /// Told of every change of the state.
    changed: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct State {
    spool: Vec<u8>,
    stderr: String,
    exit: Option<AgentExit>,
    /// Processes it has started that outlive it.
    children: Vec<String>,
    /// When the last of them began, by both clocks; none if its host cannot tell.
    youngest: Option<(tokio::time::Instant, Timestamp)>,
    is_at_work: bool,
    is_idle: bool,
    /// It dies of the next answer before it takes it.
    dies_of_answers: bool,
    /// It says nothing when it takes an answer.
    pub(super) takes_answers_silently: bool,
    /// It does not end when it is asked to, nor of a TERM.
    is_deaf: bool,
    pub(super) is_stubborn: bool,
    /// It was interrupted.
    pub(super) is_interrupted: bool,
    /// Answers to its requests, by request.
    pub(super) answers: BTreeMap<String, Value>,
    /// How many ids it has made up.
    ids: u32,
}

impl Agent {
    /// Starts a process. With `goes_on` it goes on by itself with a turn that was cut short.
    pub(super) fn start(
        script: &Script,
        clock: Clock,
        (version, mode): (String, String),
        conversation_id: Uuid,
        conversation: Arc<Mutex<Conversation>>,
        transcript: PathBuf,
        goes_on: bool,
    ) -> Self {
        let agent = Self(Arc::new(Process {
            clock,
            version,
            mode,
            conversation_id,
            conversation,
            transcript,
            state: Mutex::default(),
            changed: watch::Sender::default(),
        }));
        let turn = agent.conversation().turn.clone();
        if goes_on && !turn.is_empty() {
            agent.begin_turn();
        }
        let (player, play) = (agent.clone(), Arc::clone(script));
        actix_rt::spawn(async move {
            player.until(|state| state.is_at_work.then_some(())).await;
            tokio::select! {
                () = play(player.clone()) => {}
                () = player.gone() => {}
            }
        });
        agent
    }

    // What its host sees and does.

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    pub(super) fn exit(&self) -> Option<AgentExit> {
        self.state().exit.clone()
    }

    pub(super) fn stderr(&self) -> String {
        self.state().stderr.clone()
    }

    pub(super) fn spool_bytes(&self) -> u64 {
        self.state().spool.len() as u64
    }

    /// The spool from this offset on, at most so many bytes of it.
    pub(super) fn spool(&self, from: u64, bytes_max: usize) -> Vec<u8> {
        let state = self.state();
        let rest = state.spool.get(from as usize..).unwrap_or_default();
        rest[..rest.len().min(bytes_max)].to_vec()
    }

    pub(super) fn children(&self) -> Vec<String> {
        self.state().children.clone()
    }

    pub(super) fn end_children(&self) -> Vec<String> {
        std::mem::take(&mut self.state().children)
    }

    pub(super) fn end(&self, exit: AgentExit) {
        self.state().exit.get_or_insert(exit);
        self.0.changed.send_replace(());
    }

    /// Takes a line from its stdin.
    pub(super) fn hear(&self, line: &str) {
        let line: Value = serde_json::from_str(line).expect("half a line would kill the CLI");
        match line["type"].as_str() {
            Some("user") => {
                let input = line["uuid"].as_str().unwrap_or_default();
                let told = line["message"]["content"].as_str().unwrap_or_default();
                self.hear_message(input.parse().expect("a uuid of ours"), told);
            }
            Some("control_request") => self.hear_request(&line),
            Some("control_response") => {
                if self.state().dies_of_answers {
                    return self.end(AgentExit::Signal { signal: 9 });
                }
                if !self.state().takes_answers_silently {
                    self.print(lines::state("running"));
                }
                let response = &line["response"];
                let request_id = response["request_id"].as_str().unwrap_or_default().to_owned();
                self.state().answers.insert(request_id, response["response"].clone());
            }
            other => panic!("the CLI does not know lines of type {other:?}"),
        }
        self.0.changed.send_replace(());
    }

    fn hear_message(&self, input: Uuid, told: &str) {
        let mut conversation = self.conversation();
        conversation.heard += 1;
        if !conversation.seen.insert(input) {
            drop(conversation);
            self.print(lines::lifecycle(input, "completed"));
            if !self.state().is_at_work {
                self.print(lines::state("idle"));
            }
            return;
        }
        conversation.turn.push(input);
        if told != CONTINUE {
            told.clone_into(&mut conversation.told);
        }
        drop(conversation);
        note(&self.0.transcript, input);
        self.print(lines::lifecycle(input, "queued"));
        self.print(lines::lifecycle(input, "started"));
        if !self.state().is_at_work {
            self.begin_turn();
        }
    }

    fn hear_request(&self, line: &Value) {
        let request_id = line["request_id"].as_str().unwrap_or_default();
        let subtype = line["request"]["subtype"].as_str().unwrap_or_default();
        let is_idle = self.state().is_idle;
        self.conversation().initialized += u32::from(subtype == "initialize");
        let response = if subtype == "initialize" && is_idle {
            json!({"session_state": "idle"})
        } else {
            json!({})
        };
        self.print(lines::success(request_id, &response));
        self.state().is_interrupted |= subtype == "interrupt";
        if subtype == "end_session" && !self.state().is_deaf {
            self.end(AgentExit::Code { code: 0 });
        }
    }

    fn begin_turn(&self) {
        self.print(lines::init(&self.0.version, &self.0.mode));
        self.print(lines::state("running"));
        self.state().is_at_work = true;
        self.0.changed.send_replace(());
    }

    // What its script does.

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// How many lines were said in the conversation.
    pub(super) fn lines(&self) -> u32 {
        self.conversation().lines
    }

    /// Whether this is the first time in the conversation.
    pub(super) fn is_first(&self, deed: &str) -> bool {
        self.conversation().deeds.insert(deed.to_owned())
    }

    pub(super) fn remembers(&self, time: Timestamp) {
        self.conversation().remembered = time;
    }

    pub(super) fn remembered(&self) -> Timestamp {
        self.conversation().remembered
    }

    pub(super) async fn works(&self, time: SignedDuration) {
        tokio::time::sleep(Duration::try_from(time).expect("a positive time")).await;
    }

    /// Goes over to another permission mode.
    pub(super) fn changes_mode(&self, mode: &str) {
        self.print(lines::mode_changed(mode));
    }

    /// Says "line 1", "line 2" and so on.
    pub(super) fn says_a_line(&self) {
        self.print(lines::requesting());
        self.next_line().into_iter().for_each(|line| self.print(line));
    }

    fn next_line(&self) -> Vec<Value> {
        let line = {
            let mut conversation = self.conversation();
            conversation.lines += 1;
            conversation.lines
        };
        lines::text(&self.make_id("msg"), &format!("line {line}"))
    }

    /// Calls a tool that answers after this time, and gives signs of life until then.
    pub(super) async fn uses_tool(&self, command: &str, time: SignedDuration) {
        let (tool, done) = (self.calls_tool(command), self.now() + time);
        loop {
            let left = done.duration_since(self.now());
            self.works(left.clamp(SignedDuration::ZERO, TOOL_PROGRESS)).await;
            if left <= TOOL_PROGRESS {
                break;
            }
            self.print(lines::tool_progress(&tool));
        }
        self.print(lines::tool_result(&tool, "done", false));
    }

    /// Asks for a permission; whether it was granted. What it then does gives no sign of life for so long.
    pub(super) async fn asks(&self, command: &str, silence: SignedDuration) -> bool {
        let (tool, is_allowed) = self.waits_for_leave(command).await;
        self.works(silence).await;
        let result = if is_allowed { "done" } else { "it is not allowed" };
        self.print(lines::tool_result(&tool, result, !is_allowed));
        is_allowed
    }

    pub(super) fn dies_of_the_next_answer(&self) {
        self.state().dies_of_answers = true;
    }

    pub(super) fn does_not_listen(&self) {
        self.state().is_deaf = true;
    }

    pub(super) fn retries_api(&self, attempt: u32) {
        self.print(lines::api_retry(attempt, Some(500), "server_error"));
    }

    /// Waits for the reset of a usage limit, as the CLI does with its retry watchdog.
    pub(super) async fn waits_for_quota(&self, resets_at: Timestamp) {
        self.print(lines::rate_limit(resets_at.as_second()));
        for attempt in 1.. {
            let left = resets_at.duration_since(self.now());
            if !left.is_positive() {
                return;
            }
            self.print(lines::api_retry(attempt, Some(429), "rate_limit"));
            self.works(left.min(SignedDuration::from_secs(30))).await;
        }
    }

    /// What it was told last, but for requests to go on.
    pub(super) fn told(&self) -> String {
        self.conversation().told.clone()
    }

    /// How often anybody of the conversation was told something, and how often initialized.
    pub(super) fn heard(&self) -> (u32, u32) {
        let conversation = self.conversation();
        (conversation.heard, conversation.initialized)
    }

    /// Clears its conversation; what follows stands in another one.
    pub(super) fn clears_conversation(&self) -> Uuid {
        let fresh = Uuid::new_v4();
        self.print(json!({"type": "conversation_reset", "new_conversation_id": fresh, "trigger": "clear"}));
        let transcript = self.0.transcript.with_file_name(format!("{fresh}.jsonl"));
        std::fs::write(transcript, "{}\n").expect("the transcript can be written");
        fresh
    }

    /// Ends its turn well.
    pub(super) fn finishes(&self) {
        self.finishes_with("All is done.");
    }

    /// The same with a result of its own.
    pub(super) fn finishes_with(&self, result: &str) {
        self.end_turn(|inputs| lines::done(inputs, result));
    }

    /// The same with an output of the form that was asked for.
    pub(super) fn finishes_with_output(&self, output: &Value) {
        self.end_turn(|inputs| {
            let mut line = lines::done(inputs, "All is done.");
            line["structured_output"] = output.clone();
            line
        });
    }

    /// Gives up at once at a usage limit, as the CLI does without its retry watchdog.
    pub(super) fn gives_up_at_limit(&self, resets_at: Timestamp) {
        self.print(lines::rate_limit(resets_at.as_second()));
        self.end_turn(|inputs| {
            let mut line = lines::api_error(inputs, 429);
            line["api_error"] = json!("usage_limit_reached");
            line
        });
    }

    /// Says the next line, which takes so long to be written.
    pub(super) async fn writes_for(&self, time: SignedDuration) {
        self.print(lines::requesting());
        let until = self.now() + time;
        let [begins, delta, whole, stops] = self.next_line().try_into().expect("four lines of it");
        self.print(begins);
        while self.now() < until {
            self.print(delta.clone());
            self.works(SignedDuration::from_secs(30)).await;
        }
        [whole, stops].into_iter().for_each(|line| self.print(line));
    }

    /// Asks the model, which begins to answer after so long; a request of ours is answered meanwhile.
    pub(super) async fn waits_for_model(&self, time: SignedDuration) {
        self.print(lines::requesting());
        self.print(lines::success("get_usage-9", &json!({})));
        self.works(time).await;
    }

    pub(super) fn gives_up_on_api(&self) {
        self.end_turn(|inputs| lines::api_error(inputs, 500));
    }

    /// Dies by a signal, and leaves a process behind.
    pub(super) fn crashes(&self) {
        self.leaves_a_process();
        self.end(AgentExit::Signal { signal: 9 });
    }

    /// Ends in error, says so on its stderr, and leaves a process behind.
    pub(super) fn fails_with(&self, words: &str) {
        self.leaves_a_process();
        words.clone_into(&mut self.state().stderr);
        self.end(AgentExit::Code { code: 1 });
    }

    fn leaves_a_process(&self) {
        self.state().children.push("4711 sleep 100000".to_owned());
    }

    /// Dies with a line half written.
    pub(super) fn dies_amid_a_line(&self) {
        self.state().spool.extend(HALF_A_LINE.bytes());
        self.crashes();
    }

    /// Tells of something that happened beside its turn, which is the end of a turn of its own.
    pub(super) fn reports(&self) {
        self.print(lines::report());
    }

    /// So many shells of it go on in the background.
    pub(super) fn has_shells(&self, count: u32) {
        self.print(lines::shells(count));
    }

    /// Begins another turn by itself.
    pub(super) fn begins_again(&self) {
        self.state().is_idle = false;
        self.begin_turn();
    }

    /// Ends by itself, as one that has nothing more to do.
    pub(super) fn exits(&self) {
        self.end(AgentExit::Code { code: 0 });
    }

    pub(super) fn end_turn(&self, result: impl Fn(&[Uuid]) -> Value) {
        let inputs = std::mem::take(&mut self.conversation().turn);
        self.print(result(&inputs));
        for input in inputs {
            self.print(lines::lifecycle(input, "completed"));
        }
        self.print(lines::state("idle"));
        self.state().is_idle = true;
    }

    /// Waits until its state gives something.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changes = self.changes();
        loop {
            if let Some(found) = look(&mut self.state()) {
                return found;
            }
            changes.changed().await.expect("the sender is in the process");
        }
    }

    async fn gone(&self) {
        self.until(|state| state.exit.as_ref().map(drop)).await;
    }

    /// Writes a line to the spool; of a process that is gone, nothing.
    pub(super) fn print(&self, mut line: Value) {
        let uuid = Uuid::new_v4();
        line["uuid"] = json!(uuid);
        line["session_id"] = json!(self.0.conversation_id);
        let mut state = self.state();
        if state.exit.is_some() {
            return;
        }
        state.spool.extend(line.to_string().bytes());
        state.spool.push(b'\n');
        drop(state);
        self.0.changed.send_replace(());
    }

    pub(super) fn make_id(&self, kind: &str) -> String {
        let mut state = self.state();
        state.ids += 1;
        format!("{kind}_{}_{}", state.ids, Uuid::new_v4().simple())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no script panics while it holds it")
    }

    fn conversation(&self) -> MutexGuard<'_, Conversation> {
        self.0.conversation.lock().expect("no script panics while it holds it")
    }
}
