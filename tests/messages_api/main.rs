//! The scripted Messages API, proven against the real `claude` run directly, so that a failure of the end-to-end suite
//! is the daemon's and not its tools'.

mod cli;
mod script;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};

use cli::Cli;
use support::messages_api::MessagesApi;
use support::messages_api::answer::{CUT_TEXT, INPUT_TOKENS, OUTPUT_TOKENS};
use support::wait;

/// Runs one prompt to its result, with everything allowed.
fn run(api: &MessagesApi, prompt: &str) -> (Value, Cli) {
    let mut cli = Cli::start(api, "bypassPermissions");
    cli.prompt(prompt);
    let result = cli.result();
    (result, cli)
}

fn assert_succeeded(result: &Value, text: &str) {
    assert_eq!(result["is_error"], false, "{result:#}");
    assert_eq!(result["terminal_reason"], "completed", "{result:#}");
    assert_eq!(result["result"], text, "{result:#}");
}

#[test]
fn text_is_streamed_in_several_deltas_with_a_known_usage() {
    let api = MessagesApi::start();
    let (result, cli) = run(&api, "FAKE: think hmm hmm ;; say one two three");
    assert_succeeded(&result, "one two three");
    assert_eq!(cli.text_deltas(), ["one ", "two ", "three"]);
    assert_eq!(result["usage"]["input_tokens"], INPUT_TOKENS);
    assert_eq!(result["usage"]["output_tokens"], OUTPUT_TOKENS);
    let thought = |message: &Value| message["message"]["content"][0]["thinking"] == "hmm hmm";
    assert!(cli.seen.iter().any(thought), "{:#?}", cli.seen);
}

#[test]
fn a_prompt_without_a_script_is_answered_with_ok_also_after_a_script() {
    let api = MessagesApi::start();
    let (result, mut cli) = run(&api, "FAKE: say scripted");
    assert_succeeded(&result, "scripted");
    cli.prompt("hello");
    assert_succeeded(&cli.result(), "ok");
    assert_eq!(api.model_requests().len(), 2);
}

#[test]
fn each_tool_call_is_a_round_and_the_tools_really_run() {
    let api = MessagesApi::start();
    let (result, cli) = run(
        &api,
        "FAKE: say first ;; bash echo hi > made ;; write note a\\nb ;; read note ;; say done",
    );
    assert_succeeded(&result, "done");
    let read = |name| std::fs::read_to_string(cli.folder().join(name)).expect("the tool wrote it");
    assert_eq!((read("made").as_str(), read("note").as_str()), ("hi\n", "a\nb"));
    assert_eq!(api.model_requests().len(), 4);
}

#[test]
fn calls_of_one_answer_run_and_come_back_together() {
    let api = MessagesApi::start();
    let (result, cli) = run(&api, "FAKE: bash touch a ;+ bash touch b ;; say both");
    assert_succeeded(&result, "both");
    assert!(cli.folder().join("a").exists() && cli.folder().join("b").exists());
    assert_eq!(api.model_requests().len(), 2);
}

#[test]
fn a_permission_is_asked_on_stdio_and_granted() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "default");
    cli.prompt("FAKE: bash touch asked ;; say done");
    let request = cli.permission_request();
    assert_eq!(request["request"]["tool_name"], "Bash");
    assert!(!cli.folder().join("asked").exists());
    cli.allow(&request, &request["request"]["input"]);
    assert_succeeded(&cli.result(), "done");
    assert!(cli.folder().join("asked").exists());
}

#[test]
fn a_question_is_asked_and_its_answer_reaches_the_model() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "default");
    cli.prompt("FAKE: ask Which colour? | Red | Blue ;; say thanks");
    let request = cli.permission_request();
    assert_eq!(request["request"]["tool_name"], "AskUserQuestion");
    let mut input = request["request"]["input"].clone();
    assert_eq!(input["questions"][0]["options"][1]["label"], "Blue");
    input["answers"] = json!({ "Which colour?": "Blue" });
    cli.allow(&request, &input);
    assert_succeeded(&cli.result(), "thanks");
    let last_request = api.model_requests().pop().expect("the model was asked");
    assert!(
        last_request["messages"]
            .to_string()
            .contains(r#"\"Which colour?\"=\"Blue\""#),
        "{last_request:#}"
    );
}

#[test]
fn a_plan_is_put_up_for_approval() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "plan");
    cli.prompt("FAKE: plan ;; say planned");
    let request = cli.permission_request();
    assert_eq!(request["request"]["tool_name"], "ExitPlanMode");
    cli.allow(&request, &request["request"]["input"]);
    assert_succeeded(&cli.result(), "planned");
}

#[test]
fn a_subagent_follows_its_own_script_and_its_notice_is_answered() {
    let api = MessagesApi::start();
    let (result, mut cli) = run(&api, "FAKE: agent bash touch inside ,, say sub ;; say started");
    assert_succeeded(&result, "started");
    let noticed = cli.result();
    assert_eq!(noticed["origin"]["kind"], "task-notification", "{noticed:#}");
    assert_succeeded(&noticed, "ok");
    assert!(cli.folder().join("inside").exists());
}

#[test]
fn a_background_shell_outlives_the_result_and_its_notice_is_answered() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "bypassPermissions");
    let go = cli.folder().join("go");
    cli.prompt(&format!(
        "FAKE: bashbg {}; touch gone ;; say started",
        wait::shell_until_exists(&go)
    ));
    assert_succeeded(&cli.result(), "started");
    std::fs::write(go, "").expect("the folder is ours");
    let noticed = cli.result();
    assert_eq!(noticed["origin"]["kind"], "task-notification", "{noticed:#}");
    assert_succeeded(&noticed, "ok");
    assert!(cli.folder().join("gone").exists());
}

#[test]
fn held_text_comes_in_two_halves_with_the_file_between_them() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "default");
    let file = cli.folder().join("go");
    cli.prompt(&format!("FAKE: hold {} abcdef ;; slow 1 g h", file.display()));
    cli.next("first half", |message| message["event"]["delta"]["text"] == "abc");
    std::fs::write(file, "").expect("the folder is ours");
    assert_succeeded(&cli.result(), "g h");
    assert_eq!(cli.text_deltas(), ["abc", "def", "g ", "h"]);
}

#[test]
fn an_overloaded_api_is_asked_again() {
    let api = MessagesApi::start();
    let (result, cli) = run(&api, "FAKE: error 529 ;; say done");
    assert_succeeded(&result, "done");
    let retried = |message: &Value| message["subtype"] == "api_retry" && message["error_status"] == 529;
    assert_eq!(cli.seen.iter().filter(|message| retried(message)).count(), 1);
    assert_eq!(api.model_requests().len(), 2);
}

#[test]
fn a_bad_request_fails_the_turn() {
    let api = MessagesApi::start();
    let (result, _cli) = run(&api, "FAKE: error 400 always");
    assert_eq!(result["is_error"], true, "{result:#}");
    assert_eq!(result["api_error_status"], 400, "{result:#}");
}

#[test]
fn a_cut_stream_is_asked_for_again_and_gives_the_text_once() {
    let api = MessagesApi::start();
    let (result, cli) = run(&api, "FAKE: cut ;; say whole");
    assert_succeeded(&result, "whole");
    assert_eq!(cli.text_deltas(), ["whole"]);
    assert!(
        cli.seen.iter().any(|message| message["subtype"] == "api_retry"),
        "{:#?}",
        cli.seen
    );
    assert_eq!(api.model_requests().len(), 2);
}

#[test]
fn a_stream_cut_after_a_delta_was_shown_abandons_it() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "default");
    let file = cli.folder().join("go");
    cli.prompt(&format!("FAKE: cutafter {} ;; say whole", file.display()));
    cli.next("delta", |message| message["event"]["delta"]["text"] == CUT_TEXT);
    std::fs::write(file, "").expect("the folder is ours");
    cli.next("abandoned draft", |message| {
        message["abandoned_blocks"]["from_block_index"] == 0
    });
    assert_succeeded(&cli.result(), "whole");
}

#[test]
fn a_silent_stream_ends_with_the_api() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "default");
    cli.prompt("FAKE: silence ;; say never");
    cli.next("message_start", |message| message["event"]["type"] == "message_start");
    drop(api);
    cli.next("api_retry", |message| message["subtype"] == "api_retry");
    assert!(cli.text_deltas().is_empty());
}

#[test]
fn a_prompt_sent_during_a_turn_takes_over_the_script() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "bypassPermissions");
    let folder = cli.folder().to_owned();
    let go = folder.join("go");
    cli.prompt(&format!(
        "FAKE: bash touch begun; {} ;; say not this",
        wait::shell_until_exists(&go)
    ));
    wait::until("the shell", || folder.join("begun").exists().then_some(()));
    cli.prompt("FAKE: say folded");
    cli.next("queued", |message| {
        message["type"] == "command_lifecycle" && message["state"] == "queued"
    });
    std::fs::write(go, "").expect("the folder is ours");
    assert_succeeded(&cli.result(), "folded");
}

#[test]
fn a_turn_cut_by_a_kill_goes_on_with_its_script_in_the_resumed_process() {
    let api = MessagesApi::start();
    let mut cli = Cli::start(&api, "bypassPermissions");
    let go = cli.folder().join("go");
    cli.prompt(&format!("FAKE: bash echo run >> runs ;; hold {} abcdef", go.display()));
    cli.next("first half", |message| message["event"]["delta"]["text"] == "abc");
    wait::until("the tool's result in the transcript", || {
        cli.transcript().contains("tool_result").then_some(())
    });
    let mut resumed = cli.killed_and_resumed(&api);
    resumed.next("first half again", |message| message["event"]["delta"]["text"] == "abc");
    std::fs::write(go, "").expect("the folder is ours");
    assert_succeeded(&resumed.result(), "abcdef");
    let runs = std::fs::read_to_string(resumed.folder().join("runs")).expect("the tool wrote it");
    assert_eq!(runs, "run\n");
}
