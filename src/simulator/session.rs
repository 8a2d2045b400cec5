//! One process of the stand-in: its state, its queue of messages and its turns.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::{Args, Environment};
use super::background::Task;
use super::children::Child;
use super::frames::{self, Ending, Spent};
use super::ids::Ids;
use super::input::{self, ChildStatus, Event, Linger, exit_code};
use super::output::Output;
use super::script;
use super::transcript::{CutTurn, Past, Transcript};

/// Why what was being done is not done to its end.
#[derive(Debug)]
pub(super) enum Cut {
    /// The host or SIGINT asked for it; `in_tool` once a tool call was open.
    Interrupted { in_tool: bool },
    /// The turn ends here, as the ending says.
    Ended(Box<Ending>),
    /// The process ends.
    Exit(i32),
}

impl Cut {
    pub(super) fn ended(ending: Ending) -> Self {
        Self::Ended(Box::new(ending))
    }
}

/// A user message that waits for its turn.
#[derive(Debug)]
pub(super) struct UserMessage {
    pub(super) uuid: String,
    pub(super) content: Value,
    /// `shouldQuery: false`: context without a turn.
    pub(super) is_note: bool,
}

pub(super) struct Simulator {
    pub(super) args: Args,
    pub(super) environment: Environment,
    pub(super) session: String,
    pub(super) cwd: String,
    pub(super) mode: String,
    pub(super) model: String,
    pub(super) output: Output,
    pub(super) ids: Ids,
    pub(super) events: Receiver<Event>,
    /// Given to threads; held here too, so that the channel never closes.
    pub(super) sender: Sender<Event>,
    pub(super) transcript: Transcript,
    pub(super) linger: Linger,
    /// Sections of `--script` that are still to be played.
    pub(super) sections: VecDeque<String>,
    pub(super) queue: VecDeque<UserMessage>,
    /// Messages that were run or are queued: the CLI takes each uuid once.
    pub(super) seen: HashSet<String>,
    /// Messages that are known from before, those included whose turn goes on by itself: sent again, they are done with.
    pub(super) finished: HashSet<String>,
    pub(super) resumable: Option<CutTurn>,
    pub(super) stdin_open: bool,
    pub(super) busy: bool,
    pub(super) shown_state: &'static str,
    /// Permission requests without an answer, as they were sent.
    pub(super) asked: Vec<Value>,
    pub(super) answers: HashMap<String, Value>,
    pub(super) ended_children: HashMap<u64, ChildStatus>,
    pub(super) foreground: Option<Child>,
    pub(super) tasks: Vec<Task>,
    /// Background tasks that ended and of which the model is still to be told.
    pub(super) notices: VecDeque<Task>,
    pub(super) next_child: u64,
    pub(super) total: Spent,
    pub(super) spent_before: f64,
    pub(super) results: u64,
    pub(super) last_is_error: bool,
    /// SIGINT: the turn is interrupted and then the process ends.
    pub(super) leaving: Option<i32>,
}

impl Simulator {
    /// Settles which session this is. An error is a command line that cannot be meant; what the CLI itself
    /// refuses is printed and exits at once, as the CLI does.
    pub(super) fn start(args: Args, environment: Environment) -> Result<Self, String> {
        let (sender, events) = channel();
        let linger = Linger::default();
        input::catch_signals(sender.clone(), linger.clone());
        let mut output = Output::open(args.ledger.as_deref(), args.fail_at).map_err(|error| error.to_string())?;
        let mut ids = Ids::new();
        let cwd = std::env::current_dir()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (session, transcript, past) = open_session(&args, &environment, &cwd, &mut output, &mut ids)?;
        let sections = read_sections(&args, past.turns)?;
        let mut simulator = Self {
            mode: args.mode.clone().unwrap_or_else(|| "default".to_owned()),
            model: args.model.clone().unwrap_or_else(|| frames::MODEL.to_owned()),
            args,
            environment,
            session,
            cwd,
            output,
            ids,
            events,
            sender,
            transcript,
            linger,
            sections,
            queue: VecDeque::new(),
            seen: HashSet::new(),
            finished: past.finished,
            resumable: past.cut,
            stdin_open: true,
            busy: false,
            shown_state: "idle",
            asked: Vec::new(),
            answers: HashMap::new(),
            ended_children: HashMap::new(),
            foreground: None,
            tasks: Vec::new(),
            notices: VecDeque::new(),
            next_child: 0,
            total: past.total,
            spent_before: past.total.cost_usd,
            results: 0,
            last_is_error: false,
            leaving: None,
        };
        simulator.tell_of_lost_tasks(&past.tasks);
        Ok(simulator)
    }

    /// Serves until something ends the process; gives its exit code.
    pub(super) fn run(mut self) -> i32 {
        input::read_stdin(self.sender.clone());
        let code = loop {
            match self.next_thing() {
                Ok(()) | Err(Cut::Interrupted { .. } | Cut::Ended(_)) => {}
                Err(Cut::Exit(code)) => break code,
            }
            if let Some(code) = self.leaving {
                break code;
            }
        };
        self.output.flush();
        self.end_children();
        code
    }

    fn next_thing(&mut self) -> Result<(), Cut> {
        if self.environment.resumes_interrupted_turn
            && let Some(cut) = self.resumable.take()
        {
            return self.resume_turn(cut);
        }
        if !self.queue.is_empty() {
            return self.play_queue();
        }
        if let Some(task) = self.notices.pop_front() {
            return self.notice_turn(&task);
        }
        self.show_state("idle");
        if !self.stdin_open && self.tasks.is_empty() && !self.linger.ignores_end_session() {
            return Err(Cut::Exit(i32::from(self.last_is_error)));
        }
        match self.events.recv() {
            Ok(event) => self.on_event(event),
            // Cannot be: this end holds a sender.
            Err(_) => Err(Cut::Exit(1)),
        }
    }

    /// Sends a frame that carries the session's id and a uuid of its own; gives the uuid.
    pub(super) fn send(&mut self, mut frame: Value) -> String {
        let uuid = self.ids.uuid().to_string();
        frame["uuid"] = json!(uuid);
        frame["session_id"] = json!(self.session);
        self.output.frame(&frame);
        uuid
    }

    pub(super) fn show_state(&mut self, state: &'static str) {
        if self.shown_state != state {
            self.shown_state = state;
            if self.environment.emits_state {
                self.send(frames::state(state));
            }
        }
    }

    /// Handles whatever happens until `deadline`; for ever without one.
    pub(super) fn listen_until(&mut self, deadline: Option<Instant>) -> Result<(), Cut> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return self.listen();
            }
            self.listen_once(left)?;
        }
    }

    /// Handles what has already happened.
    pub(super) fn listen(&mut self) -> Result<(), Cut> {
        while let Ok(event) = self.events.try_recv() {
            self.on_event(event)?;
        }
        Ok(())
    }

    /// Handles the next event, if one comes in time.
    pub(super) fn listen_once(&mut self, time: Option<Duration>) -> Result<(), Cut> {
        let event = match time {
            Some(time) => self.events.recv_timeout(time),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(event) => self.on_event(event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    pub(super) fn on_event(&mut self, event: Event) -> Result<(), Cut> {
        match event {
            Event::Line(line) => self.on_line(&line),
            Event::NotJson(line) => {
                eprintln!(
                    "Error parsing streaming input line: {}",
                    line.chars().take(200).collect::<String>()
                );
                Err(Cut::Exit(1))
            }
            Event::Eof => {
                self.stdin_open = false;
                Ok(())
            }
            Event::Signal(signal) => self.on_signal(signal),
            Event::ChildEnded { child, status } => {
                self.on_child_ended(child, status);
                Ok(())
            }
            Event::SubagentDone { task } => {
                self.on_subagent_done(&task);
                Ok(())
            }
        }
    }

    fn on_signal(&mut self, signal: i32) -> Result<(), Cut> {
        if self.linger.ignores_sigterm() {
            return Ok(());
        }
        if signal == libc::SIGINT {
            self.leaving = Some(exit_code(signal));
            return Err(Cut::Interrupted { in_tool: false });
        }
        Err(Cut::Exit(exit_code(signal)))
    }

    /// As the CLI does on any end that lets it: its children go with it.
    pub(super) fn end_children(&mut self) {
        let tasks = self.tasks.iter().filter_map(|task| task.child.as_ref());
        for child in self.foreground.iter().chain(tasks) {
            child.kill();
        }
    }

    pub(super) fn child_id(&mut self) -> u64 {
        self.next_child += 1;
        self.next_child
    }
}

fn open_session(
    args: &Args,
    environment: &Environment,
    cwd: &str,
    output: &mut Output,
    ids: &mut Ids,
) -> Result<(String, Transcript, Past), String> {
    let fresh = |session: String| {
        let transcript = Transcript::new(&environment.projects, cwd, &session);
        if transcript.exists() {
            eprintln!("Error: Session ID {session} is already in use.");
            std::process::exit(1);
        }
        (session, transcript)
    };
    let new_id = |ids: &mut Ids| args.session.clone().unwrap_or_else(|| ids.uuid().to_string());
    let Some(resume) = &args.resume else {
        let (session, transcript) = fresh(new_id(ids));
        return Ok((session, transcript, Past::default()));
    };
    let Some((old, path)) = find_session(environment, resume) else {
        refuse_resume(resume, output, ids);
    };
    let failed = |error| format!("failed to read {}: {error}", path.display());
    let (session, mut transcript) = if args.fork {
        let (session, transcript) = fresh(new_id(ids));
        let directory = transcript.path().parent().map_or(Ok(()), std::fs::create_dir_all);
        directory
            .and_then(|()| std::fs::copy(&path, transcript.path()))
            .map_err(failed)?;
        (session, transcript)
    } else {
        let transcript = Transcript::resume(path.clone(), &old);
        (old, transcript)
    };
    let past = transcript.read(args.resume_at.as_deref()).map_err(failed)?;
    Ok((session, transcript, past))
}

/// `--resume` takes an id or the path of a session's file.
fn find_session(environment: &Environment, resume: &str) -> Option<(String, PathBuf)> {
    if let Some(stem) = resume.strip_suffix(".jsonl") {
        let path = PathBuf::from(resume);
        let session = stem.rsplit('/').next().unwrap_or(stem).to_owned();
        return path.exists().then_some((session, path));
    }
    Some((resume.to_owned(), Transcript::find(&environment.projects, resume)?))
}

fn refuse_resume(resume: &str, output: &mut Output, ids: &mut Ids) -> ! {
    eprintln!("No conversation found with session ID: {resume}");
    let mut frame = frames::no_conversation(resume);
    frame["session_id"] = json!(ids.uuid());
    frame["uuid"] = json!(ids.uuid());
    output.frame(&frame);
    std::process::exit(1);
}

fn read_sections(args: &Args, turns_before: usize) -> Result<VecDeque<String>, String> {
    let Some(path) = &args.script else {
        return Ok(VecDeque::new());
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
    let sections = script::sections(&text);
    for section in &sections {
        script::parse(section).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(sections.into_iter().skip(turns_before).collect())
}
