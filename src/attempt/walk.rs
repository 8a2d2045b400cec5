//! A walk over the orders in which an attempt may hear of things: the usual one, and every one in which something is late,
//! early, doubled, cut in parts or missing at one place, and something breaks at another. Lost links, still hosts, dead
//! agents, dead daemons and a cancel are among what breaks. The promises are asserted on each step.

use std::collections::{BTreeSet, HashMap};

use self::world::{Event, World};

mod agent;
mod promises;
mod world;

/// Steps within which every run has to end.
const STEPS_MAX: usize = 400;

/// The walk, as far as it has come.
#[derive(Default)]
struct Walk {
    /// Nodes, each with how often a run may still leave the usual order there.
    seen: HashMap<u64, u8>,
    ends: usize,
    states: BTreeSet<&'static str>,
}

impl Walk {
    /// Goes on in the usual order until the attempt is over, and leaves it wherever that may be.
    fn go(&mut self, mut world: World, detours: u8, one: &[String]) {
        for _ in 0..STEPS_MAX {
            let node = world.fingerprint();
            if self.seen.get(&node).is_some_and(|seen| *seen >= detours) {
                return;
            }
            self.seen.insert(node, detours);
            self.states.insert(world.state());
            for event in other_events(&world, detours) {
                let mut other = world.clone();
                other.take(event);
                self.go(other, detours - 1, one);
            }
            let Some(event) = world.usual() else {
                world.check_end(one);
                self.ends += 1;
                return;
            };
            world.take(event);
        }
        panic!("it does not end: {}", world.story());
    }
}

/// What happens instead of the usual: at first anything, then something breaks.
fn other_events(world: &World, detours: u8) -> Vec<Event> {
    match detours {
        0 => Vec::new(),
        1 => world.faults(),
        _ => world.faults().into_iter().chain(world.detours()).collect(),
    }
}

/// What one daemon journals of what the agent says, when nothing goes wrong.
fn journal_of_one(mut world: World) -> Vec<String> {
    for _ in 0..STEPS_MAX {
        let Some(event) = world.usual() else {
            return world.said();
        };
        world.take(event);
    }
    panic!("it does not end: {}", world.story());
}

#[test]
fn every_order_keeps_the_promises() {
    let one = journal_of_one(World::new());
    assert!(one.len() >= 5, "the agent says what it has to say: {one:?}");
    let mut walk = Walk::default();
    walk.go(World::new(), 2, &one);
    let states = ["Closing", "Greeting", "Reaching", "Released", "Working"];
    assert!(walk.states.iter().eq(&states), "{:?}", walk.states);
    assert!(walk.ends > 1000, "{} runs came to their end", walk.ends);
}
