//! `bench stream`: from an agent's write to a client of the event stream.
//!
//! Two sessions. One floods: the time from the moment the agent may begin to the arrival of its last line. The same
//! bytes then go through `cat`, and to the disk in a loop of writes and syncs, for comparison. The other session's
//! partial texts say when they were written; each comes after a pause, so that each is a first one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;

use super::scan::Scanner;
use super::{Figure, Goal, create, ms, quantile};
use crate::agent_host::protocol::{WINDOW_BYTES, files};
use crate::cli::exit::Failure;
use crate::cli::sandbox::{Sandbox, SimulatedAgents};

const GOAL_LINES_A_SECOND: f64 = 30_000.0;
const GOAL_DELAY_MEDIAN_MS: f64 = 2.0;
const GOAL_DELAY_P99_MS: f64 = 10.0;

/// Length of a line of the flood.
const LINE_BYTES: usize = 200;

/// The pause before each partial text, in milliseconds.
const PAUSE_MS: u64 = 60;

/// Bytes of one write and sync of the comparison: as many as the daemon lets a host send ahead, and so about as many
/// as it can commit at once.
const BATCH_BYTES: usize = WINDOW_BYTES as usize;

/// How often the comparison sends a line through `cat`, to see how long it takes.
const ROUND_TRIPS: usize = 200;

/// Measures all of it.
pub(super) async fn measure(dir: Option<&Path>, lines: u64, samples: u64) -> Result<Vec<Figure>, Failure> {
    let mut sandbox = Sandbox::create(dir, SimulatedAgents::Plain, &[])?;
    sandbox.start().await?;
    let mut delays = delays(&sandbox, samples).await?;
    let (id, took) = flood(&sandbox, lines).await?;
    let spool = std::fs::read(sandbox.state().join("sessions").join(id).join("1").join(files::SPOOL))?;
    sandbox.stop()?;
    let rate = |took: Duration| lines as f64 / took.as_secs_f64();
    let cat = rate(through_cat(&spool)?);
    let disk = rate(to_disk(&spool, &sandbox.root().join("written"))?);
    let mut round_trips = round_trips(spool.get(..LINE_BYTES).unwrap_or_default())?;
    sandbox.close().await?;
    Ok(vec![
        Figure::new(
            format!("a flood of {lines} lines, agent → client"),
            rate(took),
            "lines/s",
        )
        .goal(Goal::AtLeast(GOAL_LINES_A_SECOND))
        .against("cat", cat)
        .against("write + fdatasync", disk),
        Figure::new("partial text, agent → client, median", quantile(&mut delays, 0.5), "ms")
            .goal(Goal::AtMost(GOAL_DELAY_MEDIAN_MS))
            .against("cat and back", quantile(&mut round_trips, 0.5)),
        Figure::new("partial text, agent → client, p99", quantile(&mut delays, 0.99), "ms")
            .goal(Goal::AtMost(GOAL_DELAY_P99_MS))
            .against("cat and back", quantile(&mut round_trips, 0.99)),
    ])
}

/// Floods a stream, and gives the session and the time from the agent's start signal to the last line's arrival.
/// Every line and every record has come once and in order, else it is an error.
async fn flood(sandbox: &Sandbox, lines: u64) -> Result<(String, Duration), Failure> {
    let signal = sandbox.root().join("begin");
    let task = format!("wait-file {} ;; flood {lines} {LINE_BYTES}", signal.display());
    let id = create(sandbox, &task).await?;
    let client = sandbox.client()?;
    while client.view(&id).await?.state != "running" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut stream = client.open_stream(&id, 0).await?;
    let mut scanner = Scanner::default();
    File::create(signal)?;
    let began = Instant::now();
    let mut took = None;
    while let Some(chunk) = stream.next().await {
        scanner.push(&chunk.map_err(lost)?, &mut |_| {})?;
        if scanner.line == lines && took.is_none() {
            took = Some(began.elapsed());
        }
    }
    match took {
        Some(took) if scanner.has_ended => Ok((id, took)),
        _ => Err(Failure::Failed(format!(
            "the stream ended after line {} of {lines}, record {}",
            scanner.line, scanner.seq
        ))),
    }
}

/// The delays of partial texts, in milliseconds.
async fn delays(sandbox: &Sandbox, samples: u64) -> Result<Vec<f64>, Failure> {
    let id = create(sandbox, &format!("slow {PAUSE_MS} ;; stamps {samples}")).await?;
    let mut stream = sandbox.client()?.open_stream(&id, 0).await?;
    let mut scanner = Scanner::default();
    let mut delays = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(lost)?;
        let arrived = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        scanner.push(&chunk, &mut |text| {
            if let Ok(written) = text.trim().parse() {
                delays.push(ms(arrived.saturating_sub(Duration::from_nanos(written))));
            }
        })?;
    }
    if delays.len() as u64 != samples {
        let came = delays.len();
        return Err(Failure::Failed(format!("{came} of {samples} partial texts arrived")));
    }
    Ok(delays)
}

fn lost(error: awc::error::PayloadError) -> Failure {
    Failure::Failed(format!("the stream broke: {error}"))
}

/// The time these bytes take through a pipe, `cat` and another pipe.
fn through_cat(bytes: &[u8]) -> io::Result<Duration> {
    let (mut cat, mut into, mut out) = cat()?;
    let began = Instant::now();
    let took = std::thread::scope(|scope| {
        let writer = scope.spawn(move || into.write_all(bytes));
        let (mut buffer, mut lines) = (vec![0; 64 * 1024], 0);
        loop {
            let count = out.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            lines += memchr::memchr_iter(b'\n', &buffer[..count]).count();
        }
        let took = began.elapsed();
        writer.join().map_err(|_| io::Error::other("the writer panicked"))??;
        if lines == memchr::memchr_iter(b'\n', bytes).count() {
            Ok(took)
        } else {
            Err(io::Error::other("cat lost lines"))
        }
    });
    cat.wait()?;
    took
}

/// The times of one line to `cat` and back, in milliseconds.
fn round_trips(line: &[u8]) -> io::Result<Vec<f64>> {
    let (mut cat, mut into, mut out) = cat()?;
    let mut back = vec![0; line.len()];
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        into.write_all(line)?;
        out.read_exact(&mut back)?;
        times.push(ms(began.elapsed()));
    }
    drop(into);
    cat.wait()?;
    Ok(times)
}

fn cat() -> io::Result<(std::process::Child, std::process::ChildStdin, std::process::ChildStdout)> {
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    match (cat.stdin.take(), cat.stdout.take()) {
        (Some(into), Some(out)) => Ok((cat, into, out)),
        _ => Err(io::Error::other("cat has no pipes")),
    }
}

/// The time these bytes take to the disk, synced batch by batch.
fn to_disk(bytes: &[u8], path: &Path) -> io::Result<Duration> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    for batch in bytes.chunks(BATCH_BYTES) {
        file.write_all(batch)?;
        file.sync_data()?;
    }
    Ok(began.elapsed())
}
