//! How an agent is started, and what is said when it cannot be.

use std::fs::{self, File};

use cc_executor::agent_host::protocol::{ATTEMPT_MARK, AgentExit, FromHost, ToHost, files};
use rustix::process::Signal;

use crate::place::{Place, is_held, kill, runs, wait_for};

/// Answers every line it reads, and ends when told.
pub(crate) const ECHO: &str =
    r#"echo ready; while read -r line; do [ "$line" = exit ] && exit 3; echo "got $line"; done"#;

#[actix_web::test]
async fn the_hello_names_the_agent_and_the_agent_holds_its_locks_until_its_end() {
    let mut place = Place::with_script(ECHO);
    let (mut client, hello) = place.host().await;
    let agent = hello.agent.expect("it was started");
    assert!(!hello.adopted && hello.exit.is_none());
    assert_eq!(place.marked(), [agent.pid], "the agent alone carries the mark");
    assert_eq!(place.stored::<serde_json::Value>(files::AGENT)["pid"], agent.pid);
    assert!(is_held(&place.path(files::AGENT_LOCK)) && is_held(&place.plan.transcript_lock));
    client.write(1, "exit").await;
    let exit = client
        .until(|frame| {
            if let FromHost::Exited { exit, .. } = frame {
                Some(exit)
            } else {
                None
            }
        })
        .await;
    assert_eq!(exit, AgentExit::Code { code: 3 });
    assert!(!is_held(&place.path(files::AGENT_LOCK)) && !place.plan.transcript_lock.exists());
    assert_eq!(place.stored::<AgentExit>(files::EXIT), exit);
}

#[actix_web::test]
async fn an_agent_gets_the_planned_environment_and_the_mark_and_nothing_else() {
    let mut place = Place::with_agent(&["/usr/bin/env"]);
    place.plan.env.insert("GREETING".to_owned(), "hello\tthere".to_owned());
    let mark = format!("{}/{}", place.plan.session, place.plan.attempt);
    place.host().await;
    wait_for("the agent's end", || place.path(files::EXIT).exists());
    let text = String::from_utf8(place.spool()).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let mark = format!("{ATTEMPT_MARK}={mark}");
    assert_eq!(
        lines,
        [
            mark.as_str(),
            "GREETING=hello\tthere",
            "PATH=/usr/local/bin:/usr/bin:/bin"
        ]
    );
}

#[actix_web::test]
async fn an_agent_starts_in_its_own_group_with_signals_as_they_are_by_default() {
    let mut place = Place::with_agent(&["/bin/cat", "/proc/self/status", "/proc/self/stat"]);
    let (_, hello) = place.host().await;
    wait_for("the agent's end", || place.path(files::EXIT).exists());
    let text = String::from_utf8(place.spool()).unwrap();
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let bits = [Signal::HUP, Signal::INT, Signal::PIPE, Signal::TERM, Signal::CHILD];
    let bits = bits.iter().fold(0, |bits, signal| bits | 1 << (signal.as_raw() - 1));
    assert_eq!((mask("SigIgn:") & bits, mask("SigBlk:")), (0, 0));
    let pid = hello.agent.unwrap().pid.to_string();
    let stat: Vec<_> = text.lines().last().unwrap().split(' ').collect();
    assert_eq!(
        (stat[0], stat[4]),
        (pid.as_str(), pid.as_str()),
        "leader of its own process group"
    );
    assert_ne!(stat[5], pid, "not of its own session: it is its host's");
}

#[actix_web::test]
async fn a_missing_program_is_told_in_the_hello_and_on_disk() {
    let mut place = Place::with_agent(&["/nowhere/agent"]);
    let (mut client, hello) = place.host().await;
    let Some(AgentExit::NotStarted { error }) = hello.exit.clone() else {
        panic!("{hello:?}")
    };
    assert!(
        error.contains("/nowhere/agent") && error.contains("agent.command"),
        "{error}"
    );
    assert_eq!(hello.agent, None);
    assert_eq!(Some(place.stored::<AgentExit>(files::EXIT)), hello.exit);
    client.say(&ToHost::Release).await;
    assert_eq!(place.host_exit(), Some(0));
    assert!(!place.plan.socket.exists(), "a released host takes its socket with it");
    let (_, again) = place.host().await;
    assert_eq!(again.exit, hello.exit, "a later host does not try again");
}

#[actix_web::test]
async fn a_missing_directory_is_not_taken_for_a_missing_program() {
    let mut place = Place::with_script("true");
    place.plan.cwd = place.path("not/there");
    let (_, hello) = place.host().await;
    assert!(matches!(hello.exit, Some(AgentExit::NotStarted { error }) if error.contains("working directory")));
}

#[actix_web::test]
async fn a_transcript_has_one_owner() {
    let mut place = Place::with_script(ECHO);
    fs::create_dir_all(place.plan.transcript_lock.parent().unwrap()).unwrap();
    let held = File::create(&place.plan.transcript_lock).unwrap();
    held.try_lock().unwrap();
    let (_, hello) = place.host().await;
    assert!(matches!(hello.exit, Some(AgentExit::NotStarted { error }) if error.contains("transcript")));
    assert!(place.marked().is_empty());
}

#[actix_web::test]
async fn of_hosts_that_race_one_stays_and_one_agent_is_started() {
    let mut place = Place::with_script(ECHO);
    for _ in 0..5 {
        place.start_host();
    }
    wait_for("all hosts but one to exit", || {
        let statuses = place.host_statuses();
        let ended: Vec<_> = statuses.iter().flatten().collect();
        assert!(
            ended.len() < 5 && ended.iter().all(|status| status.success()),
            "{statuses:?}"
        );
        ended.len() == 4
    });
    let (mut client, hello) = place.connect().await;
    client.write(1, "line").await;
    client.read(0, 1000).await;
    client.take_until("got line\n").await;
    assert_eq!(client.text(), "ready\ngot line\n");
    assert_eq!(place.marked(), [hello.agent.unwrap().pid]);
}

#[actix_web::test]
async fn a_second_host_exits_and_changes_nothing() {
    let mut place = Place::with_script(ECHO);
    let (mut client, _) = place.host().await;
    let before = (
        fs::read(place.path(files::AGENT)).unwrap(),
        fs::metadata(&place.plan.socket).unwrap(),
    );
    place.start_host();
    assert_eq!(place.host_exit(), Some(0));
    let after = (
        fs::read(place.path(files::AGENT)).unwrap(),
        fs::metadata(&place.plan.socket).unwrap(),
    );
    assert_eq!(before.0, after.0);
    assert_eq!(before.1.modified().unwrap(), after.1.modified().unwrap());
    client.settle().await;
}

#[actix_web::test]
async fn a_host_refuses_the_plan_of_another_attempt() {
    let mut place = Place::with_script(ECHO);
    place.host().await;
    place.kill_host();
    let log = place.path(files::HOST_LOG);
    let other = std::process::Command::new(env!("CARGO_BIN_EXE_cc-executor"))
        .args(["agent-host", &place.plan.session.to_string(), "2"])
        .current_dir(log.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("attempt 1"), "{said}");
}

#[actix_web::test]
async fn a_host_that_is_asked_to_end_leaves_its_agent_alone_and_a_hang_up_does_not_matter() {
    let mut place = Place::with_script(ECHO);
    let host = place.start_host().cast_signed();
    let (mut client, hello) = place.connect().await;
    kill(host, Signal::HUP);
    client.settle().await;
    kill(host, Signal::TERM);
    assert_eq!(place.host_exit(), Some(0));
    assert!(runs(hello.agent.unwrap().pid) && !place.plan.socket.exists());
    let (_, after) = place.host().await;
    assert_eq!((after.agent, after.adopted), (hello.agent, true));
}
