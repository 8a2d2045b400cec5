//! Sessions that are ended by hand or by the clock, wherever they stand; and who comes too late.

use super::agent::{Agent, script};
use super::world::{SECOND, World, simulate};
use crate::runtime::handle::CallError;
use crate::session::id::QuestionId;
use crate::session::outcome::Outcome;
use crate::session::question::Answer;

const ALLOW: Answer = Answer::Allow {
    updated_input: None,
    remember: false,
};

#[test]
fn an_answer_to_a_session_that_is_being_ended_is_refused() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.does_not_listen();
            agent.asks("make install", SECOND).await;
        }));
        let id = world.create(|_| {}).await;
        world.shown(id, "awaiting_input").await;
        world.handle().cancel(id, "a test".into()).await.unwrap();
        assert_eq!(world.shown(id, "stopping").await.questions.len(), 1);
        let answer = world.handle().answer(id, QuestionId(1), ALLOW, "a test".into()).await;
        assert_eq!(answer.err(), Some(CallError::BeingEnded));
        assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
        let journal = world.journal(id);
        assert!(!journal.iter().any(|(_, entry)| entry.kind() == "question.answered"));
    });
}
