//! `demo`: the main promise, shown. An agent works, its daemon is killed in the middle and started again, and what the
//! agent wrote is counted against what was seen.
//!
//! It plays in a sandbox, with the simulated agent: [`watch`] shows the session, [`mod@count`] does the counting.

mod count;
mod watch;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::count::{Tally, compare, misnumbered, read_ledger, read_spool};
use self::watch::{Watch, WatchUntil, said_by};
use super::args::DemoArgs;
use super::client::{Client, read};
use super::exit::{Exit, Failure};
use super::sandbox::{Interrupts, Sandbox, SimulatedAgents};
use super::screen::{eprint, print};
use super::view::{View, WireRecord};
use crate::agent_host::protocol::files;

/// What the agent does. A person reads along: it takes its time.
const SCRIPT: &str = "\
slow 35
say I am a simulated agent. I will look around, ask you something, and then count. While I count, my daemon is killed.
tool Bash {\"command\": \"ls\"} => Cargo.toml\\nREADME.md\\nsrc
question Which line of work suits a demo? | Counting | Counting slowly
slow 10
say Good. I count to 300 now.
flood 300 1
slow 35
say That was all. Whoever watched has seen every line once, although my daemon died on the way.
usage 1200 340 0.01
";

/// The daemon is killed after so many lines of the count, of 300.
const KILL_AFTER_LINES: usize = 110;

/// It is started again once the agent has written so many more.
const LINES_ALONE: usize = 60;

/// How long that may take.
const ALONE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the agent's ledger is looked at meanwhile.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// The sum of it all.
#[derive(Debug, Serialize)]
struct DemoReport {
    session_id: String,
    state: String,
    daemons_killed: u32,
    /// Lines the agent wrote, by its own ledger.
    lines_written: usize,
    /// Those of them that are messages: they have a record each.
    messages_written: usize,
    /// The lines that have a uuid, in the file that the agent's output is.
    spool: Tally,
    /// The messages, in the journal.
    journal: Tally,
    /// The messages, on the stream that was shown.
    stream: Tally,
    /// Records that the stream left out, repeated, or gave in another order.
    stream_misnumbered: usize,
}

impl DemoReport {
    fn is_whole(&self) -> bool {
        let parts = [&self.spool, &self.journal, &self.stream];
        self.state == "completed" && parts.iter().all(|part| part.is_whole()) && self.stream_misnumbered == 0
    }
}

/// `demo`
pub(crate) async fn demo(args: &DemoArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::new()?;
    let mut sandbox = Sandbox::create(None, SimulatedAgents::WithLedger, &[])?;
    let mut watch = Watch::new(args.json);
    let played = tokio::select! {
        played = play(&mut sandbox, &mut watch) => played.map(Some),
        () = interrupts.recv() => Ok(None),
    };
    // Whatever happened: no prompt, no status line, and the terminal as it was.
    watch.finish().await?;
    let Some(report) = played? else {
        drop(sandbox);
        eprint("the demo is over: its daemon and its agent are ended, its files are removed");
        return Ok(Exit::Cancelled);
    };
    sandbox.close().await?;
    if args.json {
        print(&format!("{}\n", json!(report)))?;
    } else {
        print(&rendered(&report))?;
    }
    Ok(if report.is_whole() { Exit::Ok } else { Exit::Failed })
}

async fn play(sandbox: &mut Sandbox, watch: &mut Watch) -> Result<DemoReport, Failure> {
    let root = sandbox.root().display().to_string();
    watch.say(&format!(
        "a demo with a simulated agent, in {root}; nothing of yours is touched"
    ))?;
    sandbox.start().await?;
    watch.say(&format!("started a daemon (pid {})", sandbox.pid().unwrap_or_default()))?;
    let client = sandbox.client()?;
    let created = client
        .create(&json!({"task": SCRIPT, "name": "demo", "cwd": sandbox.work()}))
        .await?;
    let view: View = read(&created)?;
    let id = view.session_id.to_string();
    watch.follow(client, &view);

    watch.until(WatchUntil::Lines(KILL_AFTER_LINES)).await?;
    kill_and_start_again(sandbox, watch).await?;
    watch.until(WatchUntil::End).await?;

    let client = sandbox.client()?;
    let state = client.view(&id).await?.state;
    watch.say(&format!("the session {state}"))?;
    let attempts = client.view(&id).await?.attempt;
    let journal = messages_of(&all_records(&client, &id).await?)?;
    let spool = read_all(&sandbox.state().join("sessions").join(&id), attempts)?;
    count(id, state, sandbox, watch, &journal, &spool)
}

/// Kills the daemon, lets the agent work on alone for a while, and starts another daemon.
async fn kill_and_start_again(sandbox: &mut Sandbox, watch: &mut Watch) -> Result<(), Failure> {
    let pid = sandbox.kill()?;
    watch.say(&format!(
        "killed the daemon (pid {pid}, SIGKILL) in the middle of the agent's output"
    ))?;
    let before = lines_written(sandbox)?;
    let began = Instant::now();
    while lines_written(sandbox)? < before + LINES_ALONE {
        if began.elapsed() > ALONE_TIMEOUT {
            return Err(Failure::Failed("the agent did not go on without its daemon".to_owned()));
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    let alone = lines_written(sandbox)? - before;
    watch.say(&format!("the agent goes on: {alone} more lines since then"))?;
    sandbox.start().await?;
    let (pid, seen) = (sandbox.pid().unwrap_or_default(), watch.seen());
    watch.say(&format!(
        "restarted the daemon (pid {pid}): the stream goes on after record {seen}"
    ))
}

fn lines_written(sandbox: &Sandbox) -> Result<usize, Failure> {
    // The last entry may be half written.
    let ledger = std::fs::read_to_string(sandbox.ledger())?;
    let whole = ledger.rfind('\n').map_or("", |end| &ledger[..=end]);
    Ok(read_ledger(whole)?.len())
}

/// All records of the journal.
async fn all_records(client: &Client, id: &str) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut records = Vec::new();
    let mut after = 0;
    loop {
        let page = client.records(id, after).await?;
        let Some(last) = page.records.last() else {
            return Ok(records);
        };
        after = read::<WireRecord>(last)?.seq;
        records.extend(page.records);
    }
}

fn messages_of(records: &[Box<RawValue>]) -> Result<Vec<Uuid>, Failure> {
    let records = records.iter().map(|record| read::<WireRecord>(record));
    let mut messages = Vec::new();
    for record in records {
        messages.extend(said_by(&record?));
    }
    Ok(messages)
}

/// The output of all attempts of a session.
fn read_all(session: &Path, attempts: u32) -> Result<String, Failure> {
    let path = |attempt: u32| session.join(attempt.to_string()).join(files::SPOOL);
    let spools = (1..=attempts).map(|attempt| std::fs::read_to_string(path(attempt)));
    Ok(spools.collect::<Result<_, _>>()?)
}

fn count(
    session_id: String,
    state: String,
    sandbox: &Sandbox,
    watch: &Watch,
    journal: &[Uuid],
    spool: &str,
) -> Result<DemoReport, Failure> {
    let lines = read_ledger(&std::fs::read_to_string(sandbox.ledger())?)?;
    // Lines without a uuid, which have a hash for a name, are signals.
    let named: Vec<Uuid> = lines.iter().filter_map(|name| name.parse().ok()).collect();
    let in_spool = read_spool(spool)?;
    let is_message = |uuid: &Uuid| in_spool.iter().any(|(other, is_message)| other == uuid && *is_message);
    let messages: Vec<Uuid> = named.iter().filter(|uuid| is_message(uuid)).copied().collect();
    let spool: Vec<Uuid> = in_spool.iter().map(|(uuid, _)| *uuid).collect();
    Ok(DemoReport {
        session_id,
        state,
        daemons_killed: 1,
        lines_written: lines.len(),
        messages_written: messages.len(),
        spool: compare(&named, &spool),
        journal: compare(&messages, journal),
        stream: compare(&messages, watch.messages()),
        stream_misnumbered: misnumbered(watch.seqs()) + watch.repeats(),
    })
}

fn rendered(report: &DemoReport) -> String {
    let DemoReport {
        lines_written: lines,
        messages_written: messages,
        ..
    } = report;
    let signals = lines - messages;
    let mut text = format!(
        "\n  the agent wrote   {lines} lines, by its own ledger\n                    {messages} are messages: a record each\n                    \
         {signals} are partial text and signals: shown or obeyed, never kept\n"
    );
    for (place, seen) in [("journal", &report.journal), ("stream", &report.stream)] {
        text += &format!("  in the {place:<10} {} of {messages}, {}\n", seen.seen, verdict(seen));
    }
    if report.is_whole() {
        text += "\nnothing was lost, nothing was doubled\n";
    } else {
        text += &format!("\nTHIS DEMO FAILED: {}\n", json!(report));
    }
    text
}

fn verdict(seen: &Tally) -> String {
    if seen.is_whole() {
        return "each once and in order".to_owned();
    }
    let Tally {
        lost,
        doubled,
        foreign,
        out_of_order,
        ..
    } = seen;
    format!("{lost} lost, {doubled} doubled, {foreign} that nobody wrote, {out_of_order} out of order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stream: &[u8]) -> DemoReport {
        let written = [1, 2, 3];
        DemoReport {
            session_id: "s".into(),
            state: "completed".into(),
            daemons_killed: 1,
            lines_written: 5,
            messages_written: 3,
            spool: compare(&written, &written),
            journal: compare(&written, &written),
            stream: compare(&written, stream),
            stream_misnumbered: 0,
        }
    }

    #[test]
    fn the_demo_succeeds_only_if_nothing_was_lost_or_doubled() {
        assert!(report(&[1, 2, 3]).is_whole());
        for stream in [&[1, 2][..], &[1, 2, 2, 3], &[2, 1, 3]] {
            let report = report(stream);
            assert!(!report.is_whole());
            assert!(rendered(&report).contains("FAILED"), "{}", rendered(&report));
        }
        let mut failed = report(&[1, 2, 3]);
        failed.state = "failed".into();
        assert!(!failed.is_whole());
    }

    #[test]
    fn the_count_says_what_was_counted() {
        let text = rendered(&report(&[1, 2, 3]));
        assert!(
            text.contains("5 lines") && text.contains("2 are partial text"),
            "{text}"
        );
        let text = rendered(&report(&[1, 3, 3]));
        assert!(text.contains("2 of 3, 1 lost, 1 doubled"), "{text}");
    }
}
