//! The clock of a silent tool: what keeps it waiting and what does not.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::agent::{Agent, Script, script};
use super::lines;
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::attempt::AttemptSettings;
use crate::runtime::settings::RuntimeSettings;
use crate::session::id::SessionId;
use crate::session::outcome::Outcome;
use crate::session::stall::StallTimeouts;

/// The silences of every simulated daemon, as long as the daemon's own defaults.
const STALL: StallTimeouts = StallTimeouts {
    first_message: Duration::from_secs(120),
    headers: Duration::from_secs(420),
    stream: Duration::from_secs(300),
    tool: Duration::from_secs(600),
    mcp_tool: Duration::from_secs(3600),
};

/// What is on by default for attempts, but for checkpoints.
pub(super) fn attempt_settings() -> AttemptSettings {
    AttemptSettings {
        stop_grace: Duration::from_secs(10),
        term_grace: Duration::from_secs(5),
        stall: STALL,
        quota_hold: Duration::from_secs(600),
        api_hold: Duration::from_secs(1800),
        checkpoint_interval: Duration::from_secs(24 * 3600),
        background_grace: Duration::from_secs(60),
        ..RuntimeSettings::for_tests().attempt
    }
}

/// How the attempts ended, and how often a silence was told of.
fn ends(world: &World, id: SessionId) -> (Vec<&'static str>, usize) {
    (world.endings(id), world.notices(id).len())
}

/// The only session of an agent that calls one tool beside a process that began before the call. In between something
/// happens to the world.
async fn ends_after(play: Script, happens: impl FnOnce(&mut World)) -> (Vec<&'static str>, usize) {
    let mut world = World::new(play);
    let id = world.create(|_| {}).await;
    world.until(id, |summary| summary.work.open_tool().is_some()).await;
    pass(5 * MINUTE).await;
    happens(&mut world);
    assert_eq!(world.ended(id).await.0, Outcome::Completed);
    ends(&world, id)
}

/// Starts a server, and calls a silent tool that has a process of its own or none.
fn silent_beside_a_server(has_process: bool) -> Script {
    script(move |agent: Agent| async move {
        if agent.is_first("silence") {
            agent.starts_process("an MCP server");
            agent.works(SECOND).await;
            agent.says_a_line();
            // This agent does not tell when it calls a tool: then the line before is what is known.
            agent.works(SECOND).await;
            agent.runs_silently("make", has_process, 3 * HOUR).await;
        }
        agent.finishes();
    })
}

#[test]
fn a_process_that_began_before_a_silent_tool_does_not_keep_it_alive() {
    let happenings: [fn(&mut World); 4] = [
        |_| {},
        World::restart,
        |world| world.sleeps(8 * HOUR),
        |world| world.sleeps(-5 * HOUR),
    ];
    for happens in happenings {
        simulate(async move {
            let hung = ends_after(silent_beside_a_server(false), happens).await;
            assert_eq!(hung, (vec!["stalled", "finished"], 1));
        });
        simulate(async move {
            let at_work = ends_after(silent_beside_a_server(true), happens).await;
            assert_eq!(at_work, (vec!["finished"], 0));
        });
    }
}

#[test]
fn a_tool_whose_call_a_daemon_reads_long_after_it_was_made_is_at_work_as_long_as_its_process() {
    simulate(async {
        let mut world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.works(MINUTE).await;
            agent.runs_silently("make", true, 5 * HOUR).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |_| !world.lines(id).is_empty()).await;
        world.is_without_daemon_for(2 * HOUR).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(ends(&world, id), (vec!["finished"], 0));
    });
}

#[test]
fn any_process_counts_where_the_host_is_of_the_version_before() {
    simulate(async {
        let hung = script(|agent: Agent| async move {
            agent.says_a_line();
            agent.starts_process("an MCP server");
            agent.has_older_host();
            agent.works(SECOND).await;
            agent.runs_silently("make", false, 3 * HOUR).await;
            agent.finishes();
        });
        assert_eq!(ends_after(hung, |_| {}).await, (vec!["finished"], 0));
    });
}

/// Calls this tool once, for so long, with nothing but the agent's heartbeats.
fn calls_once(name: &'static str, time: SignedDuration) -> Script {
    script(move |agent: Agent| async move {
        agent.says_a_line();
        if agent.is_first("silence") {
            agent.waits_for_tool(name, &Value::Null, time).await;
        }
        agent.finishes();
    })
}

#[test]
fn a_heartbeat_is_a_sign_of_life_of_a_subagent_and_of_no_other_tool() {
    for (tool, expected) in [
        ("Agent", (vec!["finished"], 0)),
        ("WebFetch", (vec!["stalled", "finished"], 1)),
    ] {
        simulate(async move {
            let found = ends_after(calls_once(tool, 2 * HOUR), |_| {}).await;
            assert_eq!(found, expected, "{tool}");
        });
    }
}

#[test]
fn a_tool_of_an_mcp_server_has_a_clock_of_its_own() {
    for (time, expected) in [
        (50 * MINUTE, (vec!["finished"], 0)),
        (70 * MINUTE, (vec!["stalled", "finished"], 1)),
    ] {
        simulate(async move {
            let found = ends_after(calls_once("mcp__tickets__search", time), |_| {}).await;
            assert_eq!(found, expected, "{time:?}");
        });
    }
}

const PARENT: &str = "Have it done.";
const CHILD: &str = "Do it.";

/// Sessions of which one calls our own tool with this input; the other works for three hours.
async fn calls_our_tool(input: Value, time: SignedDuration, restarts: bool) -> (Vec<&'static str>, usize) {
    let mut world = World::new(script(move |agent: Agent| {
        let input = input.clone();
        async move {
            agent.says_a_line();
            if agent.told().starts_with(CHILD) {
                agent.uses_tool("make", 3 * HOUR).await;
            } else if agent.is_first("call") {
                agent
                    .waits_for_tool("mcp__cc-executor__execute_resumable", &input, time)
                    .await;
            }
            agent.finishes();
        }
    }));
    let parent = world.create(|request| request.task = PARENT.into()).await;
    let child = world
        .create(|request| (request.task, request.parent) = (CHILD.into(), Some(parent)))
        .await;
    world.until(parent, |summary| summary.work.open_tool().is_some()).await;
    if restarts {
        pass(90 * MINUTE).await;
        world.restart();
    }
    for id in [parent, child] {
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    }
    ends(&world, parent)
}

#[test]
fn a_call_of_our_own_tools_lives_as_long_as_the_session_that_it_waits_for() {
    let nobody = json!({"session_id": SessionId::new()});
    for (input, time, expected) in [
        (json!({}), 3 * HOUR + MINUTE, (vec!["finished"], 0)),
        (json!({}), 6 * HOUR, (vec!["stalled", "finished"], 1)),
        (nobody, 3 * HOUR, (vec!["stalled", "finished"], 1)),
    ] {
        for restarts in [false, true] {
            let (input, expected) = (input.clone(), expected.clone());
            simulate(async move {
                let found = calls_our_tool(input.clone(), time, restarts).await;
                assert_eq!(found, expected, "{input} {time:?} {restarts}");
            });
        }
    }
}

#[test]
fn an_agent_that_ends_its_turn_when_it_is_interrupted_for_its_silence_has_stalled() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            if agent.is_first("silence") {
                agent.until(|state| state.is_interrupted.then_some(())).await;
                return agent.end_turn(|inputs| {
                    let mut line = lines::done(inputs, "");
                    line["subtype"] = json!("error_during_execution");
                    line["terminal_reason"] = json!("aborted_streaming");
                    line
                });
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["stalled", "finished"]);
    });
}

#[test]
fn an_agent_that_wakes_up_when_it_is_interrupted_goes_on() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.until(|state| state.is_interrupted.then_some(())).await;
            agent.works(20 * SECOND).await;
            agent.says_a_line();
            agent.works(20 * SECOND).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(ends(&world, id), (vec!["finished"], 1));
    });
}
