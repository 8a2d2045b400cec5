//! What is typed and what is offered: texts that begin with a hyphen, answers in one's own words, the result alone, and
//! completions.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, TestDaemon};
use crate::{err, json as object, out, run};

/// The request of the session whose records a command printed.
fn request(printed: &str) -> Value {
    let first = printed.lines().next().expect("a record");
    serde_json::from_str::<Value>(first).expect("JSON")["data"]["request"].clone()
}

#[test]
fn typed_text_is_text_also_where_it_begins_with_a_hyphen() {
    let daemon = TestDaemon::start();
    let line = [
        "run",
        "--json",
        "--append-system-prompt",
        "- be kind",
        "--name",
        "- x",
        "- [ ] tidy up",
    ];
    let done = run(&daemon, &line);
    let request = request(&out(&done));
    assert_eq!(
        [&request["task"], &request["name"], &request["append_system_prompt"]],
        ["- [ ] tidy up", "- x", "- be kind"],
        "{}",
        err(&done)
    );
    let found = object(&run(&daemon, &["status", "- x", "--json"]));
    assert_eq!(found["task"], "- [ ] tidy up");
    let mistyped = run(&daemon, &["run", "--detatch", "say hello"]);
    assert_eq!(mistyped.status.code(), Some(2), "{}", err(&mistyped));
    let id = daemon.create("question Which? | -1 | -v ;; ask-permission true ;; say done");
    daemon.question(&id);
    let chosen = run(&daemon, &["answer", &id, "--choice", "-1"]);
    assert_eq!(chosen.status.code(), Some(0), "{}", err(&chosen));
    assert_eq!(daemon.question(&id)["question_id"], "q2");
    let denied = run(&daemon, &["answer", &id, "--deny", "- not now"]);
    assert_eq!(denied.status.code(), Some(0), "{}", err(&denied));
    daemon.wait_for(&id, "completed");
    let answers = daemon.records_of(&id, "question.answered");
    assert_eq!(answers[0]["data"]["answer"]["answers"], json!({"Which?": "-1"}));
    assert_eq!(answers[1]["data"]["answer"]["reason"], "- not now");
}

#[test]
fn words_of_ones_own_stand_beside_what_is_chosen() {
    let daemon = TestDaemon::start();
    let id = daemon.create(
        "question --multi Which fruit? | Apple | Pear ;; question --multi Which nut? | Almond | Hazel ;; say done",
    );
    daemon.question(&id);
    let status = out(&run(&daemon, &["status", &id]));
    assert!(status.contains("--choice X [--choice Y] [--text TEXT]"), "{status}");
    let answered = run(&daemon, &["answer", &id, "--choice", "Apple", "--text", "durian"]);
    assert_eq!(answered.status.code(), Some(0), "{}", err(&answered));
    assert_eq!(daemon.question(&id)["question_id"], "q2");
    let over_rest = json!({"Which nut?": "Almond, pecan"});
    let (status, view) = daemon.answer(&id, "q2", &json!({"action": "choose", "answers": over_rest}));
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "completed");
    let answers = daemon.records_of(&id, "question.answered");
    let given = |n: usize| &answers[n]["data"]["answer"]["answers"];
    assert_eq!(
        (given(0), given(1)),
        (&json!({"Which fruit?": "Apple, durian"}), &over_rest)
    );
}

#[test]
fn run_says_its_id_and_quiet_prints_the_result_alone() {
    let daemon = TestDaemon::start();
    let told = run(&daemon, &["run", "say hello"]);
    let short = out(&run(&daemon, &["ls", "-q"])).trim().to_owned();
    assert!(
        err(&told).contains(&format!("session {short}: say hello")),
        "{}",
        err(&told)
    );
    let quiet = run(
        &daemon,
        &["run", "-q", "say hello ;; bash echo noise ;; say the answer"],
    );
    assert_eq!((out(&quiet).as_str(), err(&quiet).as_str()), ("the answer\n", ""));
    assert_eq!(quiet.status.code(), Some(0));
    let failed = run(&daemon, &["run", "--quiet", "max-turns"]);
    assert_eq!(failed.status.code(), Some(1));
    let short = out(&run(&daemon, &["ls", "-q"]));
    let short = short.split_whitespace().next().expect("an id");
    for told in ["max_turns", &format!("go on with `cc-executor resume {short}`")] {
        assert!(err(&failed).contains(told), "{}", err(&failed));
    }
    let twice = run(&daemon, &["run", "-q", "--json", "say hello"]);
    assert_eq!(twice.status.code(), Some(2), "{}", err(&twice));
}

/// What a shell is offered behind these words.
fn offered(daemon: &TestDaemon, shell: &str, words: &[&str]) -> Vec<String> {
    let mut command = daemon.command(&["--", "cc-executor"]);
    command.args(words).env("CC_EXECUTOR_COMPLETE", shell);
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let output = command.output().expect("it runs");
    assert_eq!(
        (output.status.code(), err(&output).as_str()),
        (Some(0), ""),
        "{shell} {words:?}"
    );
    // zsh and fish are told what each means as well.
    let value = |line: &str| line.split(['\t', ':']).next().unwrap_or_default().to_owned();
    out(&output).lines().map(value).collect()
}

#[test]
fn completions_offer_flags_below_the_verb_and_what_the_daemon_knows() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission true ;; say done ;; max-turns");
    daemon.question(&id);
    let short = &id[28..];
    let offers = |words: &[&str], wanted: &str| {
        for shell in ["bash", "zsh", "fish"] {
            let found = offered(&daemon, shell, words);
            assert!(found.iter().any(|one| one == wanted), "{shell} {words:?}: {found:?}");
        }
    };
    offers(&["run", "--perm"], "--permission-mode");
    offers(&["run", "--permission-mode", "pl"], "plan");
    offers(&["token", "create", "--ro"], "--role");
    offers(&["status", ""], short);
    offers(&["answer", &short[..4]], short);
    offers(&["answer", short, ""], "q1");
    assert!(
        !offered(&daemon, "bash", &["rm", ""]).iter().any(|one| one == short),
        "it has not ended"
    );
    daemon.answer(&id, "q1", &json!({"action": "allow"}));
    let view = daemon.wait_for(&id, "failed");
    offers(&["resume", short, "--at", ""], &view["checkpoint"].to_string());
    offers(&["rm", ""], short);
}

#[test]
fn completions_say_nothing_without_a_daemon() {
    let daemon = TestDaemon::stopped(&[]);
    assert!(offered(&daemon, "bash", &["cancel", "a"]).is_empty());
    assert!(offered(&daemon, "fish", &["cancel", "--js"]).contains(&"--json".to_owned()));
}

#[test]
fn the_scripts_of_completions_work_in_their_shells() {
    let daemon = TestDaemon::stopped(&[]);
    let folder = Path::new(BINARY).parent().expect("a folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let in_shell = |shell: &str, script: &str| {
        let mut command: Command = daemon.command_of(Path::new(shell));
        let output = command
            .args(["-c", script])
            .env("PATH", &path)
            .output()
            .expect("the shell runs");
        assert_eq!(err(&output), "", "{shell}: {script}");
        out(&output)
    };
    let offered = in_shell(
        "bash",
        "source <(cc-executor completions bash)
         COMP_WORDS=(cc-executor run --permission-m) COMP_CWORD=2
         $(complete -p cc-executor | sed 's/.*-F \\([^ ]*\\).*/\\1/') cc-executor --permission-m run
         printf '%s\\n' \"${COMPREPLY[@]}\"",
    );
    assert_eq!(offered.trim(), "--permission-mode");
    for (shell, known_by) in [("zsh", "#compdef cc-executor"), ("fish", "complete --keep-order")] {
        let script = out(&run(&daemon, &["completions", shell]));
        assert!(
            script.contains(known_by) && script.contains("CC_EXECUTOR_COMPLETE"),
            "{shell}: {script}"
        );
        let is_there = std::env::split_paths(&path).any(|folder| folder.join(shell).is_file());
        if shell == "fish" && is_there {
            let script = "cc-executor completions fish | source; complete -C 'cc-executor run --permission-m'";
            assert!(in_shell("fish", script).starts_with("--permission-mode"));
        }
        if shell == "zsh" && is_there {
            let script = "autoload -U compinit; compinit -D; source <(cc-executor completions zsh); whence -w $_comps[cc-executor]";
            assert!(in_shell("zsh", script).contains("function"));
        }
    }
}
