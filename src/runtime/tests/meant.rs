//! Which session a name means.

use super::agent::{Agent, script};
use super::world::{World, simulate};
use crate::runtime::refusal::CallError;
use crate::session::id::SessionId;
use crate::session::shown::Shown;

/// Sessions whose agents work for ever.
fn world() -> World {
    World::new(script(|agent: Agent| async move {
        agent.says_a_line();
        std::future::pending::<()>().await;
    }))
}

async fn start(world: &World, name: &str) -> SessionId {
    let id = world.create(|request| request.name = Some(name.to_owned())).await;
    world.shown(id, "running").await;
    id
}

async fn end(world: &World, id: SessionId) {
    world.handle().cancel(None, id, "test".to_owned()).await.unwrap();
    world.ended(id).await;
}

#[test]
fn a_name_means_the_only_session_that_has_it_or_the_only_live_one() {
    simulate(async {
        let world = world();
        let unknown = world.handle().resolve("build").await;
        assert_eq!(unknown, Err(CallError::NoSuchSession("build".to_owned())));
        let first = start(&world, "build").await;
        assert_eq!(world.handle().resolve("build").await, Ok(first));
        end(&world, first).await;
        assert_eq!(
            world.handle().resolve("build").await,
            Ok(first),
            "ended, and the only one"
        );
        let second = start(&world, "build").await;
        let other = start(&world, "other").await;
        assert_eq!(world.handle().resolve("build").await, Ok(second), "the only live one");
        for close in ["Build", "build ", "", "buil"] {
            let found = world.handle().resolve(close).await;
            assert_eq!(found, Err(CallError::NoSuchSession(close.to_owned())));
        }
        for id in [second, other] {
            end(&world, id).await;
        }
    });
}

#[test]
fn a_name_that_means_several_lists_them_the_live_ones_first() {
    simulate(async {
        let world = world();
        let live = start(&world, "build").await;
        let ended = start(&world, "build").await;
        end(&world, ended).await;
        let last = start(&world, "build").await;
        let several = |candidates| {
            let name = "build".to_owned();
            Err(CallError::AmbiguousName { name, candidates })
        };
        let candidates = vec![
            (last, Shown::Running),
            (live, Shown::Running),
            (ended, Shown::Cancelled),
        ];
        assert_eq!(world.handle().resolve("build").await, several(candidates));
        end(&world, last).await;
        assert_eq!(world.handle().resolve("build").await, Ok(live));
        end(&world, live).await;
        let candidates = [last, ended, live].map(|id| (id, Shown::Cancelled)).to_vec();
        assert_eq!(world.handle().resolve("build").await, several(candidates));
    });
}

#[test]
fn an_id_wins_over_a_name() {
    simulate(async {
        let world = world();
        let first = start(&world, "first").await;
        let named_like_its_short_id = start(&world, &first.short()).await;
        assert_eq!(world.handle().resolve(&first.short()).await, Ok(first));
        let named_like_its_id = start(&world, &first.to_string()).await;
        assert_eq!(world.handle().resolve(&first.to_string()).await, Ok(first));
        let nobodys = SessionId::new().to_string();
        let named_like_an_id = start(&world, &nobodys).await;
        assert_eq!(world.handle().resolve(&nobodys).await, Ok(named_like_an_id));
        for id in [first, named_like_its_short_id, named_like_its_id, named_like_an_id] {
            end(&world, id).await;
        }
    });
}
