//! Each step read as `script.md` says.

use super::*;
use serde_json::json;

fn check(source: &str, expected: Step) {
    assert_eq!(parse(source), Ok(Script::Steps(vec![expected])), "{source}");
}

#[test]
fn every_step_is_read_as_documented() {
    let ms = Duration::from_millis;
    check("say two\\nlines", Step::Say("two\nlines".into()));
    check("think hm", Step::Think("hm".into()));
    check("deltas 7", Step::Deltas(7));
    check("stamps 7", Step::Stamps(7));
    check("line 16m", Step::Line(16 << 20));
    check(
        "flood 10",
        Step::Flood {
            lines: 10,
            bytes: FLOOD_LINE_BYTES,
        },
    );
    check("flood 10 1k", Step::Flood { lines: 10, bytes: 1024 });
    check("slow 5", Step::Slow(ms(5)));
    check(
        r#"tool Read {"file_path":"a b"} => it is => so"#,
        Step::Tool {
            name: "Read".into(),
            input: json!({"file_path": "a b"}),
            result: "it is => so".into(),
        },
    );
    check("bash echo a | cat", Step::Bash("echo a | cat".into()));
    check("ask-permission rm x", Step::AskPermission("rm x".into()));
    check(
        "write a.txt b c",
        Step::Write {
            path: "a.txt".into(),
            text: "b c".into(),
        },
    );
}

#[test]
fn every_other_step_is_read_as_documented() {
    let ms = Duration::from_millis;
    let options = vec!["Red".to_owned(), "Deep blue".to_owned()];
    let question = |multi| Step::Question {
        text: "Which one?".into(),
        options: options.clone(),
        multi,
    };
    check("question Which one? | Red | Deep blue", question(false));
    check("question --multi Which one? | Red | Deep blue", question(true));
    check("plan", Step::Plan(None));
    check("plan-of > a", Step::Plan(Some("> a".into())));
    check(
        "open Sign in | https://e.example",
        Step::Open {
            message: "Sign in".into(),
            url: "https://e.example".into(),
        },
    );
    check("background 1500", Step::Background("sleep 1.500".into()));
    check(
        "background /x",
        Step::Background("until [ -e '/x' ]; do sleep 0.05; done".into()),
    );
    check("subagent 20", Step::Subagent(ms(20)));
    check(
        "usage 1 2 0.5",
        Step::Usage {
            input: 1,
            output: 2,
            cost_usd: 0.5,
        },
    );
    check("wait 9", Step::Wait(ms(9)));
    check("wait-file /a", Step::WaitFile("/a".into()));
    check("touch /a", Step::Act(Act::Touch("/a".into())));
    check("usage-limit 3", Step::UsageLimit(ms(3000)));
    check(
        "api-retry 2",
        Step::ApiRetry {
            count: 2,
            apart: API_RETRY_APART,
        },
    );
    check(
        "api-retry 2 10",
        Step::ApiRetry {
            count: 2,
            apart: ms(10),
        },
    );
    check("exit 3", Step::Exit(3));
    check("error no luck", Step::Error("no luck".into()));
    check("leave sleep 100", Step::Act(Act::Leave("sleep 100".into())));
    check("stderr oh", Step::Act(Act::Stderr("oh".into())));
    for (word, step) in [
        ("garbage", Step::Act(Act::Garbage)),
        ("unknown", Step::Act(Act::Unknown)),
        ("silence", Step::Silence),
        ("max-turns", Step::MaxTurns),
        ("refuse", Step::Refuse),
        ("not-signed-in", Step::NotSignedIn),
        ("linger", Step::Act(Act::Linger)),
        ("linger-term", Step::Act(Act::LingerTerm)),
    ] {
        check(word, step);
    }
}

#[test]
fn a_crash_says_when_where_and_by_what() {
    let crash = |once, place, by| Step::Act(Act::Crash(Crash { once, place, by }));
    check(
        "crash",
        crash(false, CrashPlace::BetweenSteps, Death::Signal(libc::SIGKILL)),
    );
    check("crash once 3", crash(true, CrashPlace::BetweenSteps, Death::Code(3)));
    check(
        "crash text SIGTERM",
        crash(false, CrashPlace::MidText, Death::Signal(libc::SIGTERM)),
    );
    check(
        "crash once tool",
        crash(true, CrashPlace::MidTool, Death::Signal(libc::SIGKILL)),
    );
    check(
        "crash unsaved ABRT",
        crash(false, CrashPlace::Unsaved, Death::Signal(libc::SIGABRT)),
    );
}

#[test]
fn steps_are_divided_by_lines_and_double_semicolons() {
    let steps = vec![Step::Say("a".into()), Step::Wait(Duration::ZERO), Step::Say("b".into())];
    assert_eq!(
        parse("# intro\n say a ;; wait 0\n\n#\nsay b;;\n"),
        Ok(Script::Steps(steps))
    );
}

#[test]
fn only_an_unknown_first_word_makes_a_message_plain() {
    for plain in ["", "  \n", "Fix the tests, please", "Say hello"] {
        assert_eq!(parse(plain), Ok(Script::Plain), "{plain:?}");
    }
    assert_eq!(parse("say a ;; sya b"), Err(ScriptError::UnknownStep("sya".into())));
}

#[test]
fn a_step_with_wrong_arguments_is_refused() {
    for wrong in [
        "say",
        "flood x",
        "flood 1 2q",
        "line",
        "tool Read => x",
        "tool Read [] => x",
        "question A? | one",
        "usage 1 2",
        "usage 1 2 nan",
        "crash often",
        "exit now",
        "plan the work",
        "wait -1",
        "background",
    ] {
        assert!(matches!(parse(wrong), Err(ScriptError::Malformed { .. })), "{wrong}");
    }
}

#[test]
fn a_file_is_divided_into_turns() {
    assert_eq!(sections("say a\n---\nsay b"), ["say a\n", "say b\n"]);
}

#[test]
fn what_is_added_to_a_script_in_a_paragraph_of_its_own_is_prose() {
    let check = |text: &str, script: &str| assert_eq!(without_prose(text), script, "{text:?}");
    check("say a ;; say b\n\nAn earlier run said c.\n\n- say d", "say a ;; say b");
    check("say a\n\nsay b", "say a\n\nsay b");
    check("An earlier run\n\nsay b", "An earlier run\n\nsay b");
    check("say a\nsya b\n\nsay c", "say a\nsya b\n\nsay c");
}
