//! That the page can be used by whoever comes: on a phone, by the keyboard, in light and dark, with a screen reader.

use serde_json::{Value, json};

use crate::browser::Script;
use crate::support::daemon::TestDaemon;

/// A session of everything that a transcript shows.
const EVERYTHING: &str = r#"think let me see
say # A heading\n\nSome *words* and `code`:\n\n```rust\nfn main() { println!("{}", 1); }\n```\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |
tool Read {"file_path": "/etc/hostname"} => host
tool Edit {"file_path": "/tmp/some/quite/long/path/of/a/file.rs", "old_string": "let one = 1;\nlet two = 2;", "new_string": "let one = 1;\nlet three = 3;"} => done
tool Grep {"pattern": "x"} => {"found": [1, 2, 3]}
bash echo hello; false
stderr a line on stderr
unknown
crash once
say after the crash
usage 1000 200 0.5
max-turns"#;

/// Sessions of every look: one that ended after all that can happen, and two that ask.
fn sessions(daemon: &TestDaemon) -> Value {
    let ended = daemon.create_with(json!({"task": EVERYTHING, "name": "everything there is"}));
    daemon.wait_for(&ended, "failed");
    let done = daemon.create("say a needle in the hay");
    daemon.wait_for(&done, "completed");
    let allowing = daemon.create("say may I? ;; ask-permission echo hello ;; say thanks");
    let asking = daemon.create("question Which? | this one | that one ;; say over");
    daemon.question(&allowing);
    daemon.question(&asking);
    json!({"ended": ended, "done": done, "allowing": allowing, "asking": asking})
}

fn look(script: &str, left: &[&str]) {
    let daemon = TestDaemon::start();
    let sessions = sessions(&daemon);
    Script::run(&daemon, script, &sessions);
    for name in ["allowing", "asking"] {
        let id = sessions[name].as_str().expect("an id");
        if left.contains(&name) {
            daemon.cancel(id);
            daemon.wait_for(id, "cancelled");
        } else {
            daemon.wait_for(id, "completed");
        }
    }
}

#[test]
fn axe_finds_nothing_on_any_page_in_light_or_dark_or_on_a_phone() {
    look("axe", &["allowing", "asking"]);
}

#[test]
fn everything_is_within_reach_on_a_phone() {
    look("phone", &["asking"]);
}

#[test]
fn a_keyboard_is_enough() {
    look("keyboard", &["asking"]);
}

#[test]
fn the_history_is_searched() {
    look("search", &["allowing", "asking"]);
}
