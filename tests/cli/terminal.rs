//! The command line at a terminal: `script` gives a command one, and what is typed into `script` is typed there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use uuid::Uuid;

use crate::support::daemon::{BINARY, TestDaemon};
use crate::support::wait::until;
use crate::{out, run};

/// Ctrl-C as a terminal takes it.
const CTRL_C: &str = "\u{3}";
/// Ctrl-D, at the beginning of a line: the end of the input.
const CTRL_D: &str = "\u{4}";
const ESCAPE: &str = "\u{1b}";
const ENTER: &str = "\r";
const DOWN: &str = "\u{1b}[B";

/// A shell command at a terminal of its own.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    /// All that it was sent, escapes included.
    screen: PathBuf,
}

impl Terminal {
    /// `$CC` in the command is this program.
    fn start(daemon: &TestDaemon, columns: u16, command: &str) -> Self {
        let screen = daemon.root().join(format!("screen-{}", Uuid::new_v4()));
        let command = format!("stty rows 24 cols {columns}; {command}");
        let mut script = daemon.command_of(Path::new("script"));
        script.args(["--quiet", "--flush", "--return", "--command", &command]);
        script
            .arg(&screen)
            .env("CC", BINARY)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh");
        let mut child = script
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`script` runs: it is in the package bsdutils");
        let keys = child.stdin.take();
        Self { child, keys, screen }
    }

    /// What is on the screen, without the first line, in which `script` repeats the command.
    fn seen(&self) -> String {
        let seen = fs::read(&self.screen).unwrap_or_default();
        let seen = String::from_utf8_lossy(&seen);
        seen.split_once('\n')
            .map(|(_, seen)| seen.to_owned())
            .unwrap_or_default()
    }

    fn wait_for(&self, text: &str) {
        self.wait_for_more(0, text);
    }

    /// The same behind the first `from` bytes that were seen.
    fn wait_for_more(&self, from: usize, text: &str) {
        let what = format!("{text:?} on the screen");
        until(&what, || self.seen().get(from..)?.contains(text).then_some(()));
    }

    /// Types, and waits for what comes of it.
    fn press_for(&mut self, keys: &str, text: &str) {
        let from = self.seen().len();
        self.press(keys);
        self.wait_for_more(from, text);
    }

    /// Types; a command that has ended takes no more keys.
    fn press(&mut self, keys: &str) {
        let terminal = self.keys.as_mut().expect("it is open");
        let _ = terminal.write_all(keys.as_bytes());
    }

    /// Waits for the end, and answers the exit code and all that was seen.
    fn end(mut self) -> (Option<i32>, String) {
        let status = until("the end of the command", || self.child.try_wait().expect("it is ours"));
        (status.code(), self.seen())
    }
}

#[test]
fn ctrl_c_leaves_the_session_and_the_line_that_was_being_written_once() {
    let daemon = TestDaemon::start();
    let command = "trap : INT; \"$CC\" run 'slow 50 ;; deltas 100000'; echo \"exit $?\"; stty -a";
    let mut terminal = Terminal::start(&daemon, 80, command);
    terminal.wait_for("running");
    terminal.press(CTRL_C);
    let (_, seen) = terminal.end();
    let (followed, left) = seen.split_once("exit 0").expect("it was waited for");
    assert!(!followed.contains("^C"), "it would push the status line on: {followed}");
    assert!(followed.contains("Come back with `cc-executor attach"), "{followed}");
    assert!(!left.contains("-echoctl"), "the terminal is left as it was: {left}");
    let id = out(&run(&daemon, &["ls", "--quiet"]));
    daemon.cancel(id.trim());
    daemon.wait_for(id.trim(), "cancelled");
}

#[test]
fn a_second_ctrl_c_cancels_the_session() {
    let daemon = TestDaemon::start();
    let mut terminal = Terminal::start(&daemon, 80, "exec \"$CC\" run 'say hello ;; silence'");
    terminal.wait_for("hello");
    let id = out(&run(&daemon, &["ls", "--quiet"]));
    terminal.press(CTRL_C);
    terminal.wait_for("Ctrl-C again");
    // Two presses that are very close together count as one. `script` outlives its command for as long as keys keep
    // coming, so the session says when it is enough.
    until("the session's end", || {
        terminal.press(CTRL_C);
        (daemon.view(id.trim())["state"] == "cancelled").then_some(())
    });
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(130), "{seen}");
}

#[test]
fn a_question_can_be_left_for_later_and_is_asked_again_by_answer() {
    let daemon = TestDaemon::start();
    let task = "question Which colour? | Red | Blue ;; say thanks";
    let mut followed = Terminal::start(&daemon, 80, &format!("exec \"$CC\" run '{task}'"));
    followed.wait_for("Esc leaves it for later");
    followed.wait_for("Something else");
    followed.press(ESCAPE);
    followed.wait_for("the session waits; answer with");
    let mut answer = Terminal::start(&daemon, 80, "exec \"$CC\" answer");
    answer.wait_for("Something else");
    answer.press(ENTER);
    let (code, seen) = answer.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("is answered: Red"), "{seen}");
    let (code, seen) = followed.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("AskUserQuestion  Which colour?"), "{seen}");
}

#[test]
fn an_answer_that_is_given_while_the_daemon_is_gone_is_given_to_the_next_one() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("question Which colour? | Red | Blue ;; say thanks");
    let mut followed = Terminal::start(&daemon, 80, "exec \"$CC\" attach");
    followed.wait_for("Something else");
    daemon.kill();
    followed.wait_for("the daemon is gone");
    followed.press(ENTER);
    followed.wait_for("the answer to q1 is kept here");
    daemon.launch();
    let (code, seen) = followed.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("the daemon is back"), "{seen}");
    assert_eq!(daemon.view(&id)["state"], "completed");
}

#[test]
fn a_form_is_filled_in_until_it_fits() {
    let daemon = TestDaemon::start();
    let schema = r#"{"properties": {
        "age": {"type": "integer", "title": "Age", "minimum": 18},
        "size": {"type": "string", "title": "Size", "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]}
    }, "required": ["age", "size"]}"#;
    let task = format!("form Who shall sign? | {} ;; say done", schema.replace('\n', " "));
    let mut terminal = Terminal::start(&daemon, 80, &format!("exec \"$CC\" run '{task}'"));
    terminal.wait_for("Decline");
    terminal.press_for(ENTER, "Age");
    terminal.press_for(&format!("7{ENTER}"), "Large");
    terminal.press_for(&format!("{DOWN}{ENTER}"), "Decline");
    terminal.wait_for("age: 7 is less than the minimum of 18");
    terminal.press_for(ENTER, "Age");
    terminal.press_for(&format!("47{ENTER}"), "Large");
    terminal.press(&format!("{DOWN}{ENTER}"));
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0), "{seen}");
    let id = out(&run(&daemon, &["ls", "--quiet"]));
    let answers = daemon.records_of(id.trim(), "question.answered");
    let content = serde_json::json!({"age": 47, "size": "l"});
    assert_eq!(answers[0]["data"]["answer"]["content"], content, "{seen}");
}

#[test]
fn a_menu_that_is_drawn_anew_leaves_no_stale_line_in_a_narrow_terminal() {
    let daemon = TestDaemon::start();
    let question = "Which of these fruits shall stand on the table when all guests have come?";
    let apple = "An apple of the tall old tree behind the house";
    let task = format!("question --multi {question} | {apple} | Pear ;; say done");
    let columns = 40;
    let mut terminal = Terminal::start(&daemon, columns, &format!("exec \"$CC\" run '{task}'"));
    terminal.wait_for("Something else");
    terminal.press_for(" ", "Something else");
    terminal.press_for(DOWN, "Something else");
    terminal.press_for(DOWN, "Something else");
    terminal.press_for(" ", "Something else");
    terminal.press_for(ENTER, "In your own words");
    terminal.press(&format!("durian{ENTER}"));
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0), "{seen}");
    let seen = console::strip_ansi_codes(&seen).replace('\r', "\n");
    let menu: Vec<&str> = seen.lines().filter(|line| line.contains('\u{2b1a}')).collect();
    assert!(menu.len() >= 8, "drawn anew: {seen}");
    for line in menu {
        assert!(
            console::measure_text_width(line) <= usize::from(columns),
            "it wraps: {line:?}"
        );
    }
    assert!(
        seen.contains(question) && seen.contains(apple),
        "what is cut in the menu stands above it: {seen}"
    );
    let id = out(&run(&daemon, &["ls", "--quiet"]));
    let answers = daemon.records_of(id.trim(), "question.answered");
    assert_eq!(
        answers[0]["data"]["answer"]["answers"][question],
        format!("{apple}, durian")
    );
}

#[test]
fn what_reads_standard_input_says_so_at_a_terminal_or_does_without() {
    let daemon = TestDaemon::start();
    let (code, seen) = Terminal::start(&daemon, 80, "exec \"$CC\" run").end();
    assert_eq!(code, Some(2), "{seen}");
    assert!(seen.contains("no task"), "{seen}");
    let mut relay = Terminal::start(&daemon, 80, "exec \"$CC\" mcp");
    relay.wait_for("cc-executor mcp-config");
    relay.press(CTRL_D);
    let (code, seen) = relay.end();
    assert_eq!(code, Some(0), "{seen}");
}

#[test]
fn a_list_fits_the_terminal() {
    let daemon = TestDaemon::start();
    let name = "a name that needs all of its forty chars";
    let done = run(&daemon, &["run", "--name", name, "say hello"]);
    assert_eq!(done.status.code(), Some(0));
    let (_, narrow) = Terminal::start(&daemon, 50, "exec \"$CC\" ls").end();
    let row = narrow
        .lines()
        .find(|line| line.contains("a name"))
        .expect("the session");
    assert!(row.trim_end().chars().count() <= 50, "{row}");
    assert!(row.contains("completed"), "{row}");
    let (_, wide) = Terminal::start(&daemon, 300, "exec \"$CC\" ls").end();
    let directory = daemon.work().display().to_string();
    assert!(wide.contains(name) && wide.contains(&directory), "{wide}");
    assert!(
        out(&run(&daemon, &["ls"])).contains(&directory),
        "nothing is cut without a terminal"
    );
}

#[test]
fn what_is_hidden_in_a_command_is_shown_and_what_has_no_room_is_opened_by_a_key() {
    let daemon = TestDaemon::start();
    let words: String = (0..400).map(|n| format!(" word{n}")).collect();
    let id = daemon.create(&format!(
        "ask-permission touch ran\u{1b}[8m-too\u{1b}[0m\u{202e} \\u{{202e}} #{words} ;; say done"
    ));
    daemon.question(&id);
    let mut terminal = Terminal::start(&daemon, 80, "exec \"$CC\" answer");
    terminal.wait_for("o shows what is not shown yet: ");
    let first = terminal.seen();
    let shown = "command: touch ran⟨U+001B⟩[8m-too⟨U+001B⟩[0m⟨U+202E⟩ \\u{202e}";
    assert!(first.contains(shown), "in its place: {first}");
    assert!(!first.contains("word399"), "{first}");
    terminal.press_for("o", "word399");
    terminal.press(ENTER);
    let (code, seen) = terminal.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("\u{1b}[8m") && !seen.contains('\u{202e}'), "{seen:?}");
    daemon.wait_for(&id, "completed");
    for verb in [
        "logs",
        "export",
        "export --format markdown",
        "attach",
        "show",
        "ls --all",
        "status --json",
    ] {
        let (_, seen) = Terminal::start(&daemon, 80, &format!("exec \"$CC\" {verb} $(\"$CC\" ls --all --quiet)")).end();
        assert!(
            !seen.contains("\u{1b}[8m") && !seen.contains('\u{202e}'),
            "{verb}: {seen:?}"
        );
    }
    let exported = out(&run(&daemon, &["export", &id]));
    assert!(exported.contains('\u{202e}'), "a file gets what was written");
}

#[test]
fn a_line_break_in_the_name_of_a_directory_breaks_no_table() {
    let daemon = TestDaemon::start();
    let cwd = daemon.work().join("a\nID  STATE\u{1b}[2J");
    std::fs::create_dir(&cwd).unwrap();
    let request = serde_json::json!({"task": "say hello", "cwd": cwd});
    let id = daemon.create_with(request);
    daemon.wait_for(&id, "completed");
    let listed = out(&run(&daemon, &["ls", "--all"]));
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("a⟨U+000A⟩ID  STATE⟨U+001B⟩[2J"), "{listed}");
    let shown = out(&run(&daemon, &["show", &id]));
    assert!(shown.lines().all(|line| !line.starts_with("ID")), "{shown}");
    let (status, html) = daemon.get("/");
    let html = html.as_str().unwrap_or_default();
    assert!(status == 200 && html.contains("a⟨U+000A⟩ID  STATE"), "{html}");
}
