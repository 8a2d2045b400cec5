//! Whatever dies: what a host finds that comes after another.

use std::collections::BTreeSet;
use std::fs;

use cc_executor::agent_host::protocol::{AgentExit, FromHost, ToHost, WINDOW_BYTES, files};
use rustix::process::Signal;

use crate::client::Heard;
use crate::link::exited;
use crate::place::{Place, kill, runs, wait_for};
use crate::start::ECHO;

/// Rounds of the loop that kills hosts while they write.
const KILLS: u64 = 15;

#[actix_web::test]
async fn a_killed_host_is_replaced_and_output_is_neither_lost_nor_doubled() {
    let script = r#"while read -r line; do case $line in exit) exit 3;; end) echo the end;; *) seq $line;; esac; done"#;
    let mut place = Place::with_script(script);
    let (mut client, first) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.write(1, "10").await;
    client.take_until("\n10\n").await;
    client.write(2, "100000").await;
    client
        .until(|frame| (frame == FromHost::Written { id: 2 }).then_some(()))
        .await;
    let mut taken = client.taken.clone();
    place.kill_host();
    let at = client.at();
    let (mut client, second) = place.host().await;
    assert!(second.adopted);
    assert_eq!((second.agent, second.exit), (first.agent, None));
    client.read(at, at + WINDOW_BYTES).await;
    client.write(3, "end").await;
    client.take_until("\nthe end\n").await;
    taken.extend(&client.taken);
    assert!(
        String::from_utf8(taken.clone())
            .unwrap()
            .ends_with("\n100000\nthe end\n"),
        "stdin still works"
    );
    assert_eq!(taken, place.spool());
    client.write(4, "exit").await;
    let (exit, spool_bytes, _) = client.until(exited).await;
    assert_eq!(
        (exit, spool_bytes),
        (AgentExit::Unknown, taken.len() as u64),
        "nobody could ask for the status"
    );
    assert_eq!(place.stored::<AgentExit>(files::EXIT), AgentExit::Unknown);
}

#[actix_web::test]
async fn of_an_agent_that_died_alone_a_new_host_only_serves_the_spool() {
    let mut place = Place::with_script(ECHO);
    let (_, hello) = place.host().await;
    wait_for("the first line", || place.spool() == b"ready\n");
    place.kill_host();
    kill(hello.agent.unwrap().pid, Signal::KILL);
    wait_for("its end", || !runs(hello.agent.unwrap().pid));
    let (mut client, after) = place.host().await;
    assert_eq!(
        (after.agent, after.exit, after.adopted),
        (hello.agent, Some(AgentExit::Unknown), false)
    );
    assert_eq!(after.spool_bytes, 6);
    assert_eq!(client.until(exited).await.1, 6, "the end follows the hello");
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    assert!(place.marked().is_empty(), "nothing was started again");
    assert_eq!(place.stored::<AgentExit>(files::EXIT), AgentExit::Unknown);
    client.say(&ToHost::Release).await;
    assert_eq!(place.host_exit(), Some(0));
}

#[actix_web::test]
async fn an_exit_that_was_written_down_is_told_by_every_later_host() {
    let mut place = Place::with_script("exit 9");
    let (mut client, _) = place.host().await;
    client.until(exited).await;
    place.kill_host();
    let (_, after) = place.host().await;
    assert_eq!(after.exit, Some(AgentExit::Code { code: 9 }));
}

#[actix_web::test]
async fn an_agent_whose_host_died_right_after_the_fork_is_found_by_its_mark() {
    let mut place = Place::with_script(ECHO);
    let (_, hello) = place.host().await;
    place.kill_host();
    let agent = fs::read(place.path(files::AGENT)).unwrap();
    fs::remove_file(place.path(files::AGENT)).unwrap();
    let (mut client, after) = place.host().await;
    assert_eq!((after.agent, after.adopted), (hello.agent, true));
    assert_eq!(fs::read(place.path(files::AGENT)).unwrap(), agent);
    client.read(0, WINDOW_BYTES).await;
    client.write(1, "line").await;
    client.take_until("got line\n").await;
    assert_eq!(client.text(), "ready\ngot line\n", "it was not started twice");
}

#[actix_web::test]
async fn an_agent_that_has_renamed_itself_is_found_by_its_mark_and_its_stdin() {
    let mut place = Place::with_script("exec sleep 1003");
    let (_, hello) = place.host().await;
    place.kill_host();
    fs::remove_file(place.path(files::AGENT)).unwrap();
    let (_, after) = place.host().await;
    assert_eq!((after.agent, after.adopted), (hello.agent, true));
}

#[actix_web::test]
async fn an_attempt_that_has_written_is_never_started_again() {
    let mut place = Place::with_script("echo ran; exit 0");
    let (mut client, _) = place.host().await;
    client.until(exited).await;
    place.kill_host();
    fs::remove_file(place.path(files::AGENT)).unwrap();
    fs::remove_file(place.path(files::EXIT)).unwrap();
    let (_, after) = place.host().await;
    assert_eq!((after.exit, after.spool_bytes), (Some(AgentExit::Unknown), 4));
    assert_eq!(place.spool(), b"ran\n");
}

#[actix_web::test]
async fn a_torn_agent_file_beside_a_free_lock_means_a_dead_agent() {
    let mut place = Place::with_script(ECHO);
    fs::write(place.path(files::AGENT), "{\"pid\"").unwrap();
    let (_, hello) = place.host().await;
    assert_eq!((hello.agent, hello.exit), (None, Some(AgentExit::Unknown)));
    assert!(place.marked().is_empty());
}

#[actix_web::test]
async fn a_leftover_that_holds_the_lock_is_ended_and_listed() {
    let mut place = Place::with_script("sleep 1004 & echo ready; wait");
    let (_, hello) = place.host().await;
    wait_for("its child", || place.marked().len() == 2 && place.spool() == b"ready\n");
    place.kill_host();
    kill(hello.agent.unwrap().pid, Signal::KILL);
    wait_for("its end", || !runs(hello.agent.unwrap().pid));
    let (mut client, after) = place.host().await;
    assert_eq!((after.exit, after.adopted), (Some(AgentExit::Unknown), false));
    wait_for("the leftover's end", || place.marked().is_empty());
    client.say(&ToHost::EndLeftovers).await;
    let ended = client
        .until(|frame| {
            if let FromHost::LeftoversEnded { processes } = frame {
                Some(processes)
            } else {
                None
            }
        })
        .await;
    assert!(
        matches!(&ended[..], [line] if line.ends_with("sleep 1004")),
        "{ended:?}"
    );
}

#[actix_web::test]
async fn hosts_that_are_killed_while_they_write_leave_whole_lines_only() {
    let mut place = Place::with_agent(&["/bin/cat"]);
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    for round in 0..KILLS {
        let (mut client, _) = place.host().await;
        for _ in 0..8 {
            client
                .try_say(&ToHost::Write {
                    id: next,
                    line: numbered(next),
                })
                .await;
            next += 1;
        }
        let mut heard = 0;
        while heard < round % 5 {
            match client.next().await {
                Heard::Text(FromHost::Written { id }) => {
                    acknowledged.insert(id);
                    heard += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        place.kill_host();
    }
    let (mut client, _) = place.host().await;
    client.write(u64::MAX, "end").await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("end\n").await;
    let text = client.text();
    let seen: Vec<u64> = text.lines().filter(|line| *line != "end").map(number_of).collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "in order and none twice: {seen:?}");
    let seen: BTreeSet<_> = seen.into_iter().collect();
    assert!(
        acknowledged.len() >= 20 && acknowledged.is_subset(&seen),
        "{acknowledged:?} of {seen:?}"
    );
}

#[actix_web::test]
async fn a_host_that_is_killed_while_lines_wait_leaves_no_half_of_any() {
    let mut place = Place::with_script("while [ ! -e go ]; do sleep 0.01; done; exec cat");
    for first in [0, 8] {
        let (mut client, _) = place.host().await;
        for id in first..first + 8 {
            client.write(id, &numbered(id)).await;
        }
        client.settle().await;
        if first == 0 {
            wait_for("the kernel to hold the first line", || place.stdin_bytes() > 0);
        }
        place.kill_host();
    }
    fs::write(place.path("go"), "").unwrap();
    let (mut client, _) = place.host().await;
    client.write(u64::MAX, "end").await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("end\n").await;
    let text = client.text();
    let seen: Vec<u64> = text.lines().filter(|line| *line != "end").map(number_of).collect();
    assert_eq!(
        seen,
        [0],
        "one stood in the pipe, the others waited in hosts that are dead"
    );
}

/// A line that tells whether it is whole; some fit a pipe as it is born, some do not.
fn numbered(id: u64) -> String {
    let length = 100 + usize::try_from(id % 4).unwrap() * 90_000;
    format!("{id}:{length}:{}", "x".repeat(length))
}

fn number_of(line: &str) -> u64 {
    let mut parts = line.splitn(3, ':');
    let (id, length, text) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    assert_eq!(text.len(), length.parse::<usize>().unwrap(), "line {id} is cut");
    assert!(text.bytes().all(|byte| byte == b'x'), "line {id} is mixed with another");
    id.parse().unwrap()
}

#[actix_web::test]
async fn a_host_without_an_agent_and_without_a_daemon_ends_by_itself() {
    let mut place = Place::with_script("read -r line");
    let (mut client, _) = place.host().await;
    client.write(1, "go").await;
    client.until(exited).await;
    drop(client);
    assert_eq!(place.host_exit(), Some(0));
    assert!(!place.path("sockets/s").exists(), "and takes its socket along");
    let (mut client, hello) = place.host().await;
    assert_eq!(
        hello.exit,
        Some(AgentExit::Code { code: 0 }),
        "whoever comes later is told how the agent ended"
    );
    client.say(&ToHost::Release).await;
    assert_eq!(place.host_exit(), Some(0));
}

#[actix_web::test]
async fn of_an_agent_whose_files_have_lost_their_names_a_new_host_reads_and_writes_what_it_has_open() {
    let mut place = Place::with_script(r#"echo ready; while read -r line; do echo "got $line"; done"#);
    let (mut client, _) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    place.kill_host();
    fs::remove_file(place.path(files::STDIN)).unwrap();
    fs::write(place.path("other"), "another text\n").unwrap();
    fs::rename(place.path("other"), place.path(files::SPOOL)).unwrap();
    let (mut client, hello) = place.host().await;
    assert!(hello.adopted);
    assert_eq!(hello.spool_bytes, 6);
    client.read(0, WINDOW_BYTES).await;
    client.write(1, "a line").await;
    client.take_until("got a line\n").await;
    assert_eq!(client.text(), "ready\ngot a line\n");
}

#[actix_web::test]
async fn a_spool_that_was_removed_is_read_on_over_a_new_connection() {
    let mut place = Place::with_script(r#"echo ready; read -r line; echo "got $line""#);
    let (mut client, _) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    drop(client);
    fs::remove_file(place.path(files::SPOOL)).unwrap();
    let (mut client, hello) = place.connect().await;
    client.read(hello.spool_bytes, WINDOW_BYTES).await;
    client.write(1, "a line").await;
    client.take_until("got a line\n").await;
    let (_, spool_bytes, _) = client.until(exited).await;
    assert_eq!(spool_bytes, client.at());
}

#[actix_web::test]
async fn an_agent_whose_directory_was_emptied_is_found_and_not_doubled() {
    let mut place = Place::with_script(r#"echo ready; while read -r line; do echo "got $line"; done"#);
    let (mut client, first) = place.host().await;
    client.read(0, WINDOW_BYTES).await;
    client.take_until("ready\n").await;
    place.kill_host();
    for name in [
        files::STDIN,
        files::SPOOL,
        files::STDERR,
        files::AGENT,
        files::AGENT_LOCK,
        files::HOST_LOCK,
    ] {
        fs::remove_file(place.path(name)).unwrap();
    }
    let (mut client, second) = place.host().await;
    assert_eq!((second.adopted, second.agent), (true, first.agent));
    client.read(0, WINDOW_BYTES).await;
    client.write(1, "a line").await;
    client.take_until("got a line\n").await;
    assert_eq!(client.text(), "ready\ngot a line\n");
}
