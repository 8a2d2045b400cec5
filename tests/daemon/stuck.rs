//! What stands still or is starved: a host that is stopped, a daemon without file descriptors.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::checks::{assert_flood_is_journalled, host_pid, wait_for_head, whole_journal};
use crate::support::daemon::{BINARY, TestDaemon, signal};
use crate::support::wait::until;

const QUICK: [(&str, &str); 2] = [
    ("CC_EXECUTOR__AGENT__STOP_GRACE_SECONDS", "1"),
    ("CC_EXECUTOR__AGENT__TERM_GRACE_SECONDS", "1"),
];

#[test]
fn a_session_whose_host_stands_still_is_cancelled_all_the_same_and_its_output_is_kept() {
    let daemon = TestDaemon::start_with(&QUICK);
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!(
        "say before ;; wait-file {} ;; flood 500 300 ;; silence",
        gate.display()
    ));
    wait_for_head(&daemon, &id, 8);
    let host = host_pid(&daemon, &id);
    signal(host, Signal::STOP);
    // What is written now lies in the spool, and nobody tells of it.
    fs::write(gate, "").unwrap();
    let spool = daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"));
    until("the flood", || {
        (fs::read_to_string(&spool).ok()?.lines().count() > 500).then_some(())
    });
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert!(!daemon.family().contains(&(host as i32)), "the host is gone");
    assert_flood_is_journalled(&daemon, &whole_journal(&daemon, &id), 300);
}

#[test]
fn a_daemon_that_comes_back_to_a_host_that_stands_still_replaces_it() {
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
    wait_for_head(&daemon, &id, 8);
    let host = host_pid(&daemon, &id);
    daemon.kill();
    signal(host, Signal::STOP);
    daemon.launch();
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.texts(&id), ["before", "after"]);
}

#[test]
fn a_host_that_comes_up_late_for_a_session_that_moved_on_or_has_ended_starts_nothing() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!(
        "say before ;; crash once ;; wait-file {} ;; say after",
        gate.display()
    ));
    until("the second attempt", || {
        (daemon.view(&id)["attempt"] == 2).then_some(())
    });
    daemon.wait_for(&id, "running");
    let agent = daemon.agent_pid(&id, 2);
    let late_host = |attempt: &str| {
        let mut command = daemon.command(&["agent-host", &id, attempt]);
        command.current_dir(daemon.state().join(format!("sessions/{id}/{attempt}")));
        command.spawn().expect("it starts")
    };
    let mut late = late_host("1");
    until("the late host to leave", || late.try_wait().ok().flatten());
    assert_eq!(
        daemon.processes_of(&id),
        [agent as i32],
        "nothing was started beside it"
    );
    fs::write(gate, "").unwrap();
    daemon.wait_for(&id, "completed");
    until("the last process of the session to end", || {
        daemon.processes_of(&id).is_empty().then_some(())
    });
    let spools = || {
        ["1", "2"].map(|attempt| {
            fs::metadata(daemon.state().join(format!("sessions/{id}/{attempt}/stdout.jsonl")))
                .unwrap()
                .len()
        })
    };
    let before = spools();
    let mut late = late_host("2");
    until("the late host to leave", || late.try_wait().ok().flatten());
    assert_eq!(spools(), before);
    assert_eq!(daemon.view(&id)["attempt"], 2);
}

#[test]
fn a_daemon_without_file_descriptors_takes_no_living_agent_for_dead() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
    wait_for_head(&daemon, &id, 8);
    let usual = getrlimit(Resource::Nofile);
    let limit = |current| {
        let pid = Pid::from_raw(daemon.pid() as i32);
        let limits = Rlimit {
            current,
            maximum: usual.maximum,
        };
        prlimit(pid, Resource::Nofile, limits).unwrap();
    };
    limit(Some(5));
    signal(host_pid(&daemon, &id), Signal::KILL);
    until("the daemon to notice", || {
        let log = daemon.log();
        let told = ["its host does not answer", "no agent"];
        told.iter().any(|words| log.contains(words)).then_some(())
    });
    limit(usual.current);
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.texts(&id), ["before", "after"]);
}

#[test]
fn a_daemon_raises_its_limit_of_open_files_and_agents_keep_the_limit_from_before() {
    let daemon = TestDaemon::stopped(&[]);
    let line = format!("ulimit -Sn 256; exec {BINARY} serve");
    let mut shell = daemon.command_of(Path::new("/bin/sh"));
    let mut serving = shell.args(["-c", &line]).spawn().expect("it starts");
    until("the daemon to serve", || daemon.base_url());
    let id = daemon.create("bash ulimit -Sn > limit ;; say done");
    daemon.wait_for(&id, "completed");
    assert_eq!(fs::read_to_string(daemon.work().join("limit")).unwrap(), "256\n");
    let limits = fs::read_to_string(format!("/proc/{}/limits", serving.id())).unwrap();
    let limits = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limits: Vec<_> = limits.expect("a line about open files").split_whitespace().collect();
    assert_eq!(limits[0], limits[1], "soft and hard");
    signal(serving.id(), Signal::TERM);
    serving.wait().unwrap();
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn a_session_whose_spool_was_cut_says_so_and_goes_on_with_another_agent() {
    for is_seen in [true, false] {
        let mut daemon = TestDaemon::start();
        let gate = daemon.root().join("gate");
        let id = daemon.create(&format!(
            "say begun ;; bash true ;; wait-file {} ;; say done",
            gate.display()
        ));
        until("its checkpoint", || {
            (!daemon.records_of(&id, "checkpoint").is_empty()).then_some(())
        });
        if !is_seen {
            daemon.kill();
        }
        let spool = daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"));
        let spool = std::fs::File::options().write(true).open(spool).unwrap();
        spool.set_len(10).unwrap();
        if !is_seen {
            daemon.launch();
        }
        until("the next attempt", || (daemon.attempt(&id) == 2).then_some(()));
        std::fs::write(&gate, "").unwrap();
        assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 2);
        assert_eq!(daemon.texts(&id), ["begun", "done"]);
        let notices = daemon.records_of(&id, "notice");
        let is_told = |notice: &serde_json::Value| notice.to_string().contains("it was cut");
        assert_eq!(
            notices.iter().filter(|notice| is_told(notice)).count(),
            1,
            "{notices:?}"
        );
    }
}
