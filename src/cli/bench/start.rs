//! `bench start`: how soon the daemon answers with many past sessions, and what memory it and a host hold.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Figure, Goal, create, ms, private_mib, quantile};
use crate::cli::exit::Failure;
use crate::cli::sandbox::{Sandbox, SimulatedAgents};
use crate::disk::create_private_dir;
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::{AttemptEnd, AttemptStart, Created, Entry, Said, SessionEnd};
use crate::session::message::{Message, TurnEnd};
use crate::session::outcome::{Ending, Outcome};
use crate::session::request::Request;
use crate::store::{self, Append, Unwritten, on_disk};

const GOAL_START_MS: f64 = 300.0;
const GOAL_DAEMON_MIB: f64 = 25.0;
const GOAL_HOST_MIB: f64 = 4.0;

/// Messages of each past session.
const MESSAGES: usize = 10;

/// Appends that wait for the disk at once.
const APPENDS_AT_ONCE: usize = 1000;

/// Measures all of it.
pub(super) async fn measure(dir: Option<&Path>, sessions: u64, samples: u64) -> Result<Vec<Figure>, Failure> {
    let mut sandbox = Sandbox::create(dir, SimulatedAgents::Plain, &[])?;
    let last = fill(&sandbox, sessions, MESSAGES).await?;
    let median = median_start(&mut sandbox, samples).await?;
    sandbox.start().await?;
    if !sandbox.client()?.view(&last.to_string()).await?.has_ended() {
        return Err(Failure::Failed("the past sessions are not in the journal".to_owned()));
    }
    let daemon = private_mib(sandbox.pid().unwrap_or_default())?;
    let host = host_memory(&sandbox).await?;
    sandbox.close().await?;
    Ok(vec![
        Figure::new(format!("start with {sessions} past sessions, median"), median, "ms")
            .goal(Goal::AtMost(GOAL_START_MS)),
        Figure::new("memory of the idle daemon", daemon, "MiB").goal(Goal::AtMost(GOAL_DAEMON_MIB)),
        Figure::new("memory of an agent host", host, "MiB").goal(Goal::AtMost(GOAL_HOST_MIB)),
    ])
}

/// The median time from the daemon's start to its first answer, in milliseconds.
pub(super) async fn median_start(sandbox: &mut Sandbox, samples: u64) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..samples {
        times.push(ms(sandbox.start().await?));
        sandbox.stop()?;
    }
    Ok(quantile(&mut times, 0.5))
}

/// The memory of a host whose agent waits for a person.
async fn host_memory(sandbox: &Sandbox) -> Result<f64, Failure> {
    let id = create(sandbox, "question Which one? | This | That").await?;
    let client = sandbox.client()?;
    while client.view(&id).await?.state != "awaiting_input" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let host = sandbox.family().into_iter().find(|pid| is_host(*pid));
    let memory = private_mib(host.ok_or_else(|| Failure::Failed("there is no agent host".to_owned()))?)?;
    client.cancel(&id).await?;
    while !client.view(&id).await?.has_ended() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(memory)
}

fn is_host(pid: u32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).nth(1) == Some(b"agent-host")
}

/// Writes past sessions with so many messages each into the journal of a daemon that does not run; gives the last.
pub(super) async fn fill(sandbox: &Sandbox, sessions: u64, messages: usize) -> Result<SessionId, Failure> {
    create_private_dir(&sandbox.state())?;
    let journal = sandbox.state().join("journal.sqlite3");
    let store = store::open(&journal, Arc::new(()))
        .map_err(Unwritten::from)
        .map_err(failed)?;
    let mut waiting = Vec::new();
    let mut id = SessionId::new();
    for _ in 0..sessions {
        id = SessionId::new();
        waiting.push(store.create(id, created(sandbox), Timestamp::now()));
        waiting.extend(appends(id, messages).into_iter().map(|append| store.append(append)));
        if waiting.len() > APPENDS_AT_ONCE {
            acknowledged(&mut waiting).await?;
        }
    }
    acknowledged(&mut waiting).await?;
    store.close();
    Ok(id)
}

async fn acknowledged(waiting: &mut Vec<crate::store::Acknowledgement>) -> Result<(), Failure> {
    for acknowledgement in waiting.drain(..) {
        on_disk(acknowledgement).await.map_err(failed)?;
    }
    Ok(())
}

fn failed(error: Unwritten) -> Failure {
    Failure::Failed(error.to_string())
}

fn created(sandbox: &Sandbox) -> Created {
    let request = Request {
        task: "look through the tests and make the slow ones quick".to_owned(),
        cwd: sandbox.work(),
        ..Request::default()
    };
    Created {
        request,
        by: "bench".to_owned(),
        claim: None,
        project: None,
    }
}

/// The life of a session that completed, in a few appends.
fn appends(session_id: SessionId, messages: usize) -> Vec<Append> {
    let append = |attempt: u32, entries: Vec<Entry>| Append {
        session_id,
        attempt: Attempt(attempt),
        span: None,
        at: Timestamp::now(),
        entries,
    };
    let begun = Entry::AttemptStarted(AttemptStart {
        attempt: Attempt(1),
        agent_session_id: session_id.uuid(),
        resumed_from: None,
    });
    let ended = vec![
        said(Message::TurnEnded(Box::new(TurnEnd {
            result: "The slow tests are quick now.".to_owned(),
            ..TurnEnd::default()
        }))),
        Entry::AttemptEnded(AttemptEnd {
            ending: Ending::Finished,
            exit: None,
            open_tool: None,
            leftovers: vec![],
            answers_written: None,
            cut_off: Vec::new(),
        }),
        Entry::SessionEnded(SessionEnd {
            outcome: Outcome::Completed,
            summary: "The slow tests are quick now.".to_owned(),
        }),
    ];
    let texts: Vec<Entry> = (0..messages).map(text).collect();
    let mut appends = vec![append(0, vec![begun])];
    appends.extend(texts.chunks(500).map(|texts| append(1, texts.to_vec())));
    appends.push(append(1, ended));
    appends
}

fn text(number: usize) -> Entry {
    said(Message::Text {
        message_id: format!("msg_{number}"),
        block: 0,
        text: format!("Step {number}: this test waits for a whole second where a condition would do."),
        parent: None,
        aborted: false,
        error: None,
    })
}

fn said(message: Message) -> Entry {
    let uuid = Some(Uuid::new_v4());
    Entry::AgentMessage(Box::new(Said {
        uuid,
        offset: 0,
        message,
    }))
}
