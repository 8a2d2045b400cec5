//! Part of `bench recovery`: from an agent's death to the first message of the attempt that follows.
//!
//! The scheduled wait before a restart is chance by design and no part of it; the agent's own start is the reference.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Figure, create, ms, quantile};
use crate::agent::wire::encode;
use crate::agent_host::protocol::files;
use crate::cli::exit::Failure;
use crate::cli::sandbox::{Sandbox, SimulatedAgents};

/// How many agents are killed.
const SAMPLES: u64 = 9;

/// How often a condition is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Measures it.
pub(super) async fn measure(dir: Option<&Path>) -> Result<Figure, Failure> {
    let mut sandbox = Sandbox::create(dir, SimulatedAgents::Plain, &[])?;
    sandbox.start().await?;
    let mut times = Vec::new();
    let mut own = Vec::new();
    for _ in 0..SAMPLES {
        times.push(death_to_message(&sandbox).await?);
        own.push(ms(own_start(&sandbox)?));
    }
    sandbox.close().await?;
    let figure = Figure::new(
        "from an agent's death to its successor's first message, median",
        quantile(&mut times, 0.5),
        "ms",
    );
    Ok(figure.against("the agent's own start", quantile(&mut own, 0.5)))
}

/// Kills one agent, and gives the time until its successor speaks, less the scheduled wait, in milliseconds.
async fn death_to_message(sandbox: &Sandbox) -> Result<f64, Failure> {
    let id = create(sandbox, "say ready ;; silence").await?;
    message_of(sandbox, &id, 1).await?;
    let agent = sandbox.state().join("sessions").join(&id).join("1").join(files::AGENT);
    let agent: Value = serde_json::from_slice(&std::fs::read(agent)?).map_err(std::io::Error::from)?;
    let pid = agent["pid"]
        .as_i64()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let pid = pid.ok_or_else(|| Failure::Failed("the agent's process is not known".to_owned()))?;
    let killed = Timestamp::now();
    kill_process(pid, Signal::KILL).map_err(std::io::Error::from)?;
    let spoke = message_of(sandbox, &id, 2).await?;
    let waited = scheduled_wait(&records(sandbox, &id).await?);
    let client = sandbox.client()?;
    client.cancel(&id).await?;
    while !client.view(&id).await?.has_ended() {
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    Ok(spoke.duration_since(killed).as_millis_f64() - waited)
}

/// When the agent of an attempt first spoke, once it has.
async fn message_of(sandbox: &Sandbox, id: &str, attempt: u64) -> Result<Timestamp, Failure> {
    loop {
        let records = records(sandbox, id).await?;
        let first = records
            .iter()
            .find(|record| record["attempt"] == attempt && record["kind"] == "agent.message");
        if let Some(at) = first.and_then(|record| time(&record["at"])) {
            return Ok(at);
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

async fn records(sandbox: &Sandbox, id: &str) -> Result<Vec<Value>, Failure> {
    let page = sandbox.client()?.records(id, 0).await?;
    Ok(page
        .records
        .iter()
        .filter_map(|record| serde_json::from_str(record.get()).ok())
        .collect())
}

/// The wait between the end of an attempt and the time its successor was scheduled for, in milliseconds.
fn scheduled_wait(records: &[Value]) -> f64 {
    let scheduled = records.iter().find(|record| record["kind"] == "retry.scheduled");
    let span = scheduled.and_then(|record| Some((time(&record["at"])?, time(&record["data"]["at"])?)));
    span.map_or(0.0, |(from, until)| until.duration_since(from).as_millis_f64())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The time from the start of the agent's process to its first message, without anything of ours.
fn own_start(sandbox: &Sandbox) -> Result<Duration, Failure> {
    let began = Instant::now();
    let mut agent = Command::new("/proc/self/exe")
        .arg("simulate")
        .env("HOME", sandbox.root())
        .current_dir(sandbox.work())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = agent.stdin.take() {
        writeln!(stdin, "{}", encode::user_message(uuid::Uuid::new_v4(), "say ready"))?;
    }
    let lines = agent
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines);
    let has_spoken = lines.map_while(Result::ok).any(|line| line.contains("\"init\""));
    let took = began.elapsed();
    agent.wait()?;
    if has_spoken {
        Ok(took)
    } else {
        Err(Failure::Failed("the agent said nothing".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_scheduled_wait_is_read_from_the_journal() {
        let record = json!({
            "kind": "retry.scheduled",
            "at": "2026-01-01T00:00:00.100Z",
            "data": {"at": "2026-01-01T00:00:00.850Z"},
        });
        assert_eq!(scheduled_wait(&[json!({"kind": "notice"}), record]), 750.0);
        assert_eq!(scheduled_wait(&[]), 0.0);
    }
}
