//! What is owed to an agent and acknowledged only by what it says next: answers are spent once, whoever dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::agent::{Agent, Script, script};
use super::lines;
use super::world::{HOUR, MINUTE, SECOND, World, pass, simulate};
use crate::agent::launch;
use crate::runtime::handle::Going;
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::Entry;
use crate::session::outcome::{Cause, Outcome};
use crate::session::question::{Answer, QuestionKind};

/// The end of the agent that has acted upon an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It dies before it says anything.
    Silent,
    /// It tells the call's result and dies behind it.
    AfterResult,
}

/// An agent that pushes when it may, and takes a minute for it. The first one dies of it. Says how often there was a push.
fn pushes(end: End) -> (Script, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let pushed = Arc::clone(&count);
    let script = script(move |agent: Agent| {
        let pushed = Arc::clone(&pushed);
        async move {
            agent.takes_answers_silently();
            let (tool, is_allowed) = agent.waits_for_leave("git push").await;
            if is_allowed {
                pushed.fetch_add(1, Ordering::Relaxed);
                agent.works(MINUTE).await;
                if agent.is_first("push") {
                    if end == End::AfterResult {
                        agent.has_done(&tool);
                    }
                    return agent.crashes();
                }
            }
            agent.has_done(&tool);
            agent.finishes();
        }
    });
    (script, count)
}

impl Agent {
    /// Asks for a permission and tells no result of the call yet; gives the call's id, and whether it was granted.
    pub(super) async fn waits_for_leave(&self, command: &str) -> (String, bool) {
        let (tool, request) = (self.calls_tool(command), self.make_id("request"));
        self.print(lines::permission_request(&request, &tool, command));
        let answer = self.until(|state| state.answers.remove(&request)).await;
        (tool, answer["behavior"] == "allow")
    }

    /// Tells the result of a call that was allowed.
    fn has_done(&self, tool: &str) {
        self.print(lines::tool_result(tool, "done", false));
    }

    fn takes_answers_silently(&self) {
        self.state().takes_answers_silently = true;
    }
}

/// Whether the agent of an attempt was to go on by itself with a turn that was cut short.
fn goes_on(world: &World, id: SessionId, attempt: u32) -> bool {
    let plan = launch::plan(&world.settings.attempt_directory(id, Attempt(attempt)));
    let plan = plan.expect("the plan is readable").expect("the attempt was prepared");
    plan.env.contains_key("CLAUDE_CODE_RESUME_INTERRUPTED_TURN")
}

async fn answer(world: &World, id: SessionId, question: u32, answer: Answer) {
    let handle = world.handle();
    let answered = handle.answer(None, id, QuestionId(question), answer, "a test".into());
    answered.await.unwrap();
}

fn allow() -> Answer {
    Answer::allow()
}

/// What the second question says besides what is asked, once it is open.
async fn remark_of_second(world: &World, id: SessionId) -> Option<String> {
    let asked = world
        .until(id, |summary| summary.questions.contains_key(&QuestionId(2)))
        .await;
    assert_eq!(asked.questions.len(), 1, "the first one no longer waits");
    assert_eq!(asked.shown_state().name(), "awaiting_input");
    match &asked.questions[&QuestionId(2)].question.kind {
        QuestionKind::Permission { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// How many records of this kind the journal has.
fn count(world: &World, id: SessionId, kind: &str) -> usize {
    let journal = world.journal(id);
    journal.iter().filter(|(_, entry)| entry.kind() == kind).count()
}

/// The daemon before the answer is delivered, and after it was: another one may take over in between.
async fn push_once(end: End, has_next_daemon: bool) -> (World, SessionId, Option<String>) {
    let (script, pushed) = pushes(end);
    let mut world = World::new(script);
    let id = world.create(|_| {}).await;
    world.shown(id, "awaiting_input").await;
    answer(&world, id, 1, allow()).await;
    pass(10 * SECOND).await;
    assert_eq!(pushed.load(Ordering::Relaxed), 1, "the agent has the answer");
    if has_next_daemon {
        world.restart();
    }
    let remark = remark_of_second(&world, id).await;
    pass(HOUR).await;
    assert_eq!(pushed.load(Ordering::Relaxed), 1, "nothing is done twice unasked");
    answer(&world, id, 2, allow()).await;
    assert_eq!(world.ended(id).await.0, Outcome::Completed);
    assert_eq!(pushed.load(Ordering::Relaxed), 2, "a person has allowed it again");
    (world, id, remark)
}

#[test]
fn a_permission_that_a_dead_agent_has_used_is_asked_again_and_says_so() {
    simulate(async {
        for has_next_daemon in [false, true] {
            let (_world, _, remark) = push_once(End::Silent, has_next_daemon).await;
            let remark = remark.expect("the question says why it is asked again");
            assert!(
                remark.contains("q1") && remark.contains("may already be done"),
                "{remark}"
            );
        }
    });
}

#[test]
fn a_daemon_that_reads_past_an_answer_knows_that_it_was_taken() {
    simulate(async {
        for has_next_daemon in [false, true] {
            let (world, id, remark) = push_once(End::AfterResult, has_next_daemon).await;
            assert_eq!(remark, None, "it is another question");
            assert_eq!(count(&world, id, "question.withdrawn"), 0);
            let delivered = world.told(id, |entry| match entry {
                Entry::QuestionDelivered(delivered) => Some(delivered.question_id),
                _ => None,
            });
            assert_eq!(delivered, [QuestionId(1), QuestionId(2)], "each once");
        }
    });
}

/// A session whose first question is allowed a second before the daemon goes away. Its agent goes on and dies while there
/// is no daemon.
async fn allowed_before_the_daemon_goes(end: End) -> (World, SessionId, Arc<AtomicU32>) {
    let (script, pushed) = pushes(end);
    let mut world = World::new(script);
    let id = world.create(|_| {}).await;
    world.shown(id, "awaiting_input").await;
    answer(&world, id, 1, allow()).await;
    pass(SECOND).await;
    world.is_without_daemon_for(5 * MINUTE).await;
    (world, id, pushed)
}

#[test]
fn an_answer_whose_result_is_in_the_output_that_nobody_has_read_is_taken() {
    simulate(async {
        let (world, id, pushed) = allowed_before_the_daemon_goes(End::AfterResult).await;
        assert_eq!(remark_of_second(&world, id).await, None);
        assert_eq!(
            (count(&world, id, "question.delivered"), pushed.load(Ordering::Relaxed)),
            (1, 1)
        );
        answer(&world, id, 2, allow()).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn an_answer_that_nobody_knows_to_be_taken_is_not_given_to_the_next_agent() {
    simulate(async {
        let (world, id, pushed) = allowed_before_the_daemon_goes(End::Silent).await;
        assert!(remark_of_second(&world, id).await.is_some());
        pass(HOUR).await;
        assert_eq!(pushed.load(Ordering::Relaxed), 1);
        assert_eq!(
            (
                count(&world, id, "question.delivered"),
                count(&world, id, "question.withdrawn")
            ),
            (0, 1)
        );
        answer(&world, id, 2, allow()).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn an_answer_that_was_never_written_is_used_by_the_next_agent() {
    simulate(async {
        for is_off in [false, true] {
            let mut world = World::new(script(|agent: Agent| async move {
                if agent.asks("make install", SECOND).await {
                    agent.says_a_line();
                }
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            world.shown(id, "awaiting_input").await;
            if is_off {
                world.is_off_for(HOUR).await;
            } else {
                world.kill_agents();
            }
            // The journal does not know yet that the agent is dead.
            assert_eq!(world.summary(id).shown_state().name(), "awaiting_input");
            answer(&world, id, 1, allow()).await;
            let (outcome, summary) = world.ended(id).await;
            assert_eq!((outcome, summary.questions_asked), (Outcome::Completed, 1));
            assert_eq!(world.lines(id).len(), 1, "the next agent was told that it may");
        }
    });
}

#[test]
fn an_answer_that_was_on_its_way_when_host_and_agent_went_may_have_been_used() {
    simulate(async {
        let (script, _) = pushes(End::Silent);
        let world = World::new(script);
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.stops_hosts();
        answer(&world, id, 1, allow()).await;
        pass(SECOND).await;
        world.kill_agents();
        let remark = remark_of_second(&world, id).await;
        assert!(remark.is_some_and(|remark| remark.contains("q1")));
        answer(
            &world,
            id,
            2,
            Answer::Deny {
                reason: None,
                interrupt: false,
            },
        )
        .await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

#[test]
fn a_permission_that_an_agent_died_over_is_asked_again_though_it_may_not_have_read_it() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            if agent.is_first("death") {
                agent.dies_of_the_next_answer();
            }
            if agent.asks("make install", SECOND).await {
                agent.says_a_line();
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        answer(&world, id, 1, allow()).await;
        assert!(remark_of_second(&world, id).await.is_some());
        answer(&world, id, 2, allow()).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.lines(id).len(), 1, "the next agent was told that it may");
        assert_eq!(world.endings(id), ["crashed", "finished"]);
    });
}

#[test]
fn a_turn_that_a_person_has_ended_is_not_gone_on_with_when_its_agent_dies_of_that() {
    simulate(async {
        for dies in [true, false] {
            let world = World::new(script(move |agent: Agent| async move {
                agent.says_a_line();
                if dies {
                    agent.dies_of_the_next_answer();
                }
                agent.asks("make install", SECOND).await;
                agent.says_a_line();
                agent.finishes();
            }));
            let id = world.create(|_| {}).await;
            world.shown(id, "awaiting_input").await;
            if !dies {
                world.kill_agents();
                world.shown(id, "waiting_retry").await;
            }
            let deny = Answer::Deny {
                reason: None,
                interrupt: true,
            };
            answer(&world, id, 1, deny).await;
            let cause = Cause::AgentError;
            let (outcome, summary) = world.ended(id).await;
            assert_eq!(outcome, Outcome::Failed { cause });
            assert_eq!(
                summary.note.as_deref(),
                Some("the agent ended its turn with an error: its turn was interrupted")
            );
            assert_eq!(world.lines(id).len(), 1, "nothing of the turn went on");
            if !dies {
                assert!(!goes_on(&world, id, 2));
            }
        }
    });
}

#[test]
fn an_agent_that_is_resumed_with_an_instruction_does_not_go_on_before_it_reads_that() {
    simulate(async {
        let world = World::with(
            script(|agent: Agent| async move {
                agent.says_a_line();
                if agent.is_first("death") {
                    return agent.crashes();
                }
                if agent.told() == "stop that" {
                    agent.says_a_line();
                    if agent.is_first("second death") {
                        return agent.crashes();
                    }
                }
                agent.finishes();
            }),
            |settings| {
                settings.restart.restarts_max = 0;
                settings.agent_command = vec!["2.1.332".to_owned()];
            },
        );
        let id = world.create(|_| {}).await;
        let failed = Outcome::Failed { cause: Cause::Crashed };
        assert_eq!(world.ended(id).await.0, failed);
        let handle = world.handle();
        let resume = |instruction: Option<&str>| {
            let instruction = instruction.map(str::to_owned);
            handle.resume(
                None,
                id,
                Going {
                    instruction,
                    ..Going::default()
                },
                "a test".into(),
            )
        };
        resume(Some("stop that")).await.unwrap();
        world
            .until(id, |summary| {
                summary.lifecycle.attempt == Attempt(2) && summary.lifecycle.state.outcome().is_some()
            })
            .await;
        assert!(!goes_on(&world, id, 2), "the turn before was another one");
        resume(None).await.unwrap();
        world
            .until(id, |summary| {
                summary.lifecycle.attempt == Attempt(3) && summary.lifecycle.state.outcome().is_some()
            })
            .await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert!(
            goes_on(&world, id, 3),
            "the turn that was cut is that of the instruction"
        );
        let texts = world.told(id, |entry| match entry {
            Entry::Input(input) => input.text,
            _ => None,
        });
        assert_eq!(texts, ["Say some lines.", "stop that"], "and nothing else");
    });
}
