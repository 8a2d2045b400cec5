//! `bench recovery`: from the daemon's death until every session is watched again, and starts with long journals.
//!
//! Every agent waits for a file, which appears when the daemon is dead; then it writes a line. A session counts as
//! watched again when that line has come out of the stream over all sessions: its host was found, its link is up and
//! what was missed is journalled. The reference is how long the same sessions took to start.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::start::{fill, median_start};
use super::{Figure, Goal, create, ms, restart};
use crate::agent_host::protocol::files;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::sandbox::{Sandbox, SimulatedAgents};
use crate::cli::screen::eprint;

const GOAL_RECOVERY_SECONDS: f64 = 2.0;

/// The goal is for a crowd of this size; it holds for a smaller one all the more.
const GOAL_SESSIONS: u64 = 1000;

/// How much later a start with the longest journal may be than one with the shortest, in milliseconds: flat, but for noise.
const GOAL_GROWTH_MS: f64 = 50.0;

/// What every agent writes while no daemon runs.
const MISSED_LINE: &str = "written while nobody watched";

/// How often a condition is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

/// How long starting or ending all agents may take: a thousand of them keep two cores busy for a while.
const CROWD_TIMEOUT: Duration = Duration::from_secs(300);

/// Starts timed for each length of the journal.
const STARTS: u64 = 5;

/// Messages of one session, where journals are made long.
const MESSAGES: usize = 995;

/// Records of such a session: its messages, its beginning and its end.
const RECORDS_A_SESSION: u64 = 1000;

/// Measures all of it.
pub(super) async fn measure(dir: Option<&Path>, sessions: &[u64], records: &[u64]) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for count in sessions {
        figures.extend(recovery(dir, *count).await?);
    }
    figures.push(restart::measure(dir).await?);
    figures.extend(starts(dir, records).await?);
    Ok(figures)
}

/// Kills the daemon of so many waiting sessions.
async fn recovery(dir: Option<&Path>, count: u64) -> Result<[Figure; 2], Failure> {
    let room = count.to_string();
    let settings = [
        format!("limits.max_live_agents={room}"),
        format!("limits.queued_sessions_max={room}"),
    ];
    let mut sandbox = Sandbox::create(dir, SimulatedAgents::Plain, &settings.each_ref().map(String::as_str))?;
    sandbox.start().await?;
    let began = Instant::now();
    let crowd = Crowd::gather(&sandbox, count).await?;
    let started_within = began.elapsed();
    let began = Instant::now();
    sandbox.kill()?;
    let dead_for = crowd.write_unwatched().await?;
    sandbox.start().await?;
    let (last, longest_answer) = crowd.watched_again(&sandbox).await?;
    // The time the agents took to write is no part of the recovery.
    let took = last.duration_since(began).saturating_sub(dead_for);
    crowd.end(&sandbox).await?;
    sandbox.close().await?;
    let figure = Figure::new(format!("recovery of {count} sessions"), took.as_secs_f64(), "s");
    let figure = figure.against("starting them", started_within.as_secs_f64());
    let goal = Goal::AtMost(GOAL_RECOVERY_SECONDS);
    Ok([
        if count <= GOAL_SESSIONS {
            figure.goal(goal)
        } else {
            figure
        },
        Figure::new("  the longest answer meanwhile", ms(longest_answer), "ms"),
    ])
}

/// Sessions whose agents wait.
struct Crowd {
    ids: Vec<String>,
    spools: Vec<PathBuf>,
    /// Every agent writes once this file appears, and then is silent.
    write: PathBuf,
}

impl Crowd {
    /// Starts them, and waits until all their agents wait.
    async fn gather(sandbox: &Sandbox, count: u64) -> Result<Self, Failure> {
        let mut crowd = Self {
            ids: Vec::new(),
            spools: Vec::new(),
            write: sandbox.root().join("write"),
        };
        let write = crowd.write.display();
        let task = format!("say ready ;; wait-file {write} ;; say {MISSED_LINE} ;; silence");
        for _ in 0..count {
            let id = create(sandbox, &task).await?;
            let directory = sandbox.state().join("sessions").join(&id);
            crowd.spools.push(directory.join("1").join(files::SPOOL));
            crowd.ids.push(id);
        }
        eprint(&format!("starting {count} agents"));
        crowd.wait_for_text(&text_field("ready")).await?;
        Ok(crowd)
    }

    /// Lets every agent write, and gives the time until all have.
    async fn write_unwatched(&self) -> Result<Duration, Failure> {
        let began = Instant::now();
        File::create(&self.write)?;
        self.wait_for_text(&text_field(MISSED_LINE)).await?;
        Ok(began.elapsed())
    }

    async fn wait_for_text(&self, text: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let has_text = |spool: &&PathBuf| {
            let written = std::fs::read(spool).unwrap_or_default();
            memchr::memmem::find(&written, text.as_bytes()).is_some()
        };
        let mut done = 0;
        while done < self.spools.len() {
            done += self.spools[done..].iter().take_while(has_text).count();
            if began.elapsed() > CROWD_TIMEOUT {
                return Err(Failure::Failed(format!("only {done} agents have written")));
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        Ok(())
    }

    /// Waits until every missed line has come out, and gives the moment of the last, and the longest time that a
    /// request took until then.
    async fn watched_again(&self, sandbox: &Sandbox) -> Result<(Instant, Duration), Failure> {
        let client = sandbox.client()?;
        let mut stream = client.open_stream_of_all(0).await?;
        let mut seen = Counter::new(text_field(MISSED_LINE));
        let mut longest = Duration::ZERO;
        let mut request = Box::pin(timed(&client));
        while seen.count < self.ids.len() {
            tokio::select! {
                chunk = stream.next() => {
                    let chunk = chunk.and_then(Result::ok);
                    seen.push(&chunk.ok_or_else(|| Failure::Failed("the stream ended".to_owned()))?);
                }
                took = &mut request => {
                    longest = longest.max(took?);
                    request = Box::pin(timed(&client));
                }
            }
        }
        let last = Instant::now();
        // One that is still under way counts too.
        longest = longest.max(request.await?);
        Ok((last, longest))
    }

    /// Cancels every session, and waits until all have ended.
    async fn end(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        let client = sandbox.client()?;
        let began = Instant::now();
        for id in &self.ids {
            client.cancel(id).await?;
        }
        for id in &self.ids {
            while !client.view(id).await?.has_ended() {
                if began.elapsed() > CROWD_TIMEOUT {
                    return Err(Failure::Failed(format!("session {id} does not end")));
                }
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        }
        Ok(())
    }
}

/// How a text stands in JSON.
fn text_field(text: &str) -> String {
    format!("\"text\":\"{text}\"")
}

/// How long the daemon takes for an ordinary request.
async fn timed(client: &Client) -> Result<Duration, Failure> {
    tokio::time::sleep(LOOK_PERIOD).await;
    let began = Instant::now();
    client.live().await?;
    Ok(began.elapsed())
}

/// Counts records with a text in a stream that comes in pieces: those of messages, since partial text has no id.
struct Counter {
    needle: String,
    rest: Vec<u8>,
    is_record: bool,
    count: usize,
}

impl Counter {
    fn new(needle: String) -> Self {
        Self {
            needle,
            rest: Vec::new(),
            is_record: false,
            count: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let end = memchr::memrchr(b'\n', &self.rest).map_or(0, |end| end + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        for line in whole.split(|byte| *byte == b'\n') {
            if line.starts_with(b"event: ") {
                self.is_record = line == b"event: agent.message";
            }
            let has_text = memchr::memmem::find(line, self.needle.as_bytes()).is_some();
            let is_text = memchr::memmem::find(line, b"\"message_id\"").is_some();
            self.count += usize::from(self.is_record && has_text && is_text);
        }
    }
}

/// Starts with journals of these lengths.
async fn starts(dir: Option<&Path>, records: &[u64]) -> Result<Vec<Figure>, Failure> {
    let mut figures: Vec<Figure> = Vec::new();
    for records in records {
        let mut sandbox = Sandbox::create(dir, SimulatedAgents::Plain, &[])?;
        fill(&sandbox, records.div_ceil(RECORDS_A_SESSION), MESSAGES).await?;
        let median = median_start(&mut sandbox, STARTS).await?;
        sandbox.close().await?;
        let figure = Figure::new(format!("start with {records} records, median"), median, "ms");
        figures.push(match figures.first() {
            Some(first) => {
                let goal = Goal::AtMost(first.value + GOAL_GROWTH_MS);
                let shortest = first.value;
                figure.goal(goal).against("the shortest journal", shortest)
            }
            None => figure,
        });
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_and_partial_text_is_not() {
        let data = "data: {\"message_id\":\"m\",\"text\":\"x\"}\n\n";
        let stream = format!("event: delta\n{data}id: 1\nevent: agent.message\n{data}id: 2\nevent: notice\n{data}");
        for cut in 0..stream.len() {
            let mut counter = Counter::new("\"text\":\"x\"".to_owned());
            counter.push(&stream.as_bytes()[..cut]);
            counter.push(&stream.as_bytes()[cut..]);
            assert_eq!(counter.count, 1);
        }
    }
}
