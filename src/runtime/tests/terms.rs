//! What is settled during an attempt holds in the next one.

use super::agent::{Agent, script};
use super::world::{MINUTE, World, pass, simulate};
use crate::session::id::SessionId;
use crate::session::journal::Entry;
use crate::session::message::Message;
use crate::session::outcome::Outcome;
use crate::session::request::PermissionMode;

/// The first agent goes over to plan mode by itself after two minutes and dies a minute later.
async fn plans_and_dies(agent: Agent) {
    agent.says_a_line();
    if agent.is_first("death") {
        agent.uses_tool("look", 2 * MINUTE).await;
        agent.changes_mode("plan");
        agent.uses_tool("read", MINUTE).await;
        return agent.crashes();
    }
    agent.finishes();
}

async fn begin(world: &World) -> SessionId {
    let bypass = Some(PermissionMode::BypassPermissions);
    world.create(|request| request.permission_mode = bypass).await
}

fn mode_of(world: &World, id: SessionId, attempt: u32) -> String {
    let argv = world.argv(id, attempt);
    let mut flags = argv.iter().filter_map(|flag| flag.strip_prefix("--permission-mode="));
    flags.next().expect("each start names the mode").to_owned()
}

#[test]
fn a_mode_that_has_become_narrower_holds_in_the_next_attempt() {
    simulate(async {
        let world = World::new(script(plans_and_dies));
        let id = begin(&world).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(mode_of(&world, id, 1), "bypassPermissions");
        assert_eq!(mode_of(&world, id, 2), "plan");
    });
}

#[test]
fn a_mode_that_changes_while_no_daemon_runs_holds_in_the_next_attempt() {
    simulate(async {
        let mut world = World::new(script(plans_and_dies));
        let id = begin(&world).await;
        pass(MINUTE).await;
        world.is_without_daemon_for(4 * MINUTE).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(mode_of(&world, id, 2), "plan");
    });
}

#[test]
fn a_daemon_that_comes_after_the_change_knows_of_it() {
    simulate(async {
        let mut world = World::new(script(plans_and_dies));
        let id = begin(&world).await;
        pass(2 * MINUTE + MINUTE / 2).await;
        world.restart();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(mode_of(&world, id, 2), "plan");
    });
}

#[test]
fn a_mode_that_is_told_again_and_again_stands_in_the_journal_once() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            for mode in ["plan", "plan", "acceptEdits", "acceptEdits", "plan"] {
                agent.changes_mode(mode);
            }
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let modes = world.told(id, |entry| match entry {
            Entry::AgentMessage(said) => match said.message {
                Message::ModeChanged { permission_mode } => Some(permission_mode),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(modes, ["plan", "acceptEdits", "plan"]);
    });
}
