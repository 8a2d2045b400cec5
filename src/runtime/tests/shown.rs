//! What those who watch a session are shown: records, and partial text that never overtakes them.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::agent::{Agent, script};
use super::faults::acknowledged_late;
use super::lines;
use super::world::{MINUTE, SECOND, World, pass, simulate};
use crate::runtime::feed::FeedItem;
use crate::session::id::{Seq, SessionId};
use crate::session::journal::Entry;
use crate::session::outcome::Outcome;
use crate::store::memory::Fault;

/// Everything that somebody is shown who reads the session's stream from its beginning.
#[derive(Clone, Default)]
struct Watched(Rc<RefCell<Vec<Shown>>>);

/// One item of a stream.
#[derive(Clone, Debug)]
enum Shown {
    Record(Value),
    Delta(Value),
}

/// A block of a message, and text of it.
type Block = (String, u64, String);

impl Watched {
    async fn of(world: &World, id: SessionId) -> Self {
        let watched = Self::default();
        let mut reader = world.handle().stream(id, Seq(0)).await.expect("there is a stream");
        let shown = watched.clone();
        actix_rt::spawn(async move {
            while let Some(item) = reader.next().await {
                let item = match item {
                    FeedItem::Hello(_) => continue,
                    FeedItem::Record(record) => Shown::Record(serde_json::from_slice(&record.json).expect("JSON")),
                    FeedItem::Delta(delta) => Shown::Delta(serde_json::from_slice(&delta).expect("JSON")),
                };
                shown.0.borrow_mut().push(item);
            }
        });
        watched
    }

    fn deltas(&self) -> Vec<Block> {
        let shown = self.0.borrow();
        shown.iter().filter_map(Shown::delta).collect()
    }

    /// Whether partial text is shown behind all that was said before it, and never behind the block that it became.
    fn check(&self, context: &str) {
        let shown = self.0.borrow();
        let mut whole: Vec<Block> = Vec::new();
        for item in shown.iter() {
            whole.extend(item.whole());
            let Some((message, block, text)) = item.delta() else {
                continue;
            };
            let is_whole = whole.iter().any(|(of, at, _)| (of, at) == (&message, &block));
            assert!(!is_whole, "{context}: {text:?} behind its block: {shown:#?}");
            let line: usize = text.trim_start_matches("line ").parse().expect("the number of a line");
            let is_behind = line == 1 || whole.iter().any(|(.., text)| *text == format!("line {}", line - 1));
            assert!(is_behind, "{context}: {text:?} before the line before it: {shown:#?}");
        }
    }
}

impl Shown {
    fn delta(&self) -> Option<Block> {
        match self {
            Self::Delta(delta) => Some((
                delta["message_id"].as_str()?.to_owned(),
                delta["block"].as_u64()?,
                delta["text"].as_str()?.to_owned(),
            )),
            Self::Record(_) => None,
        }
    }

    fn whole(&self) -> Option<Block> {
        let Self::Record(record) = self else { return None };
        let message = &record["data"]["message"];
        let text = message["text"].as_str()?;
        Some((
            message["message_id"].as_str()?.to_owned(),
            message["block"].as_u64()?,
            text.to_owned(),
        ))
    }
}

/// Says short lines and long ones at once, so that much of it is read together.
async fn says_much(agent: Agent) {
    for _ in 0..3 {
        agent.says_a_line();
        agent.says_a_line();
        agent.writes_for(MINUTE).await;
    }
    agent.says_a_line();
    agent.finishes();
}

#[test]
fn partial_text_is_shown_behind_what_was_said_before_it_and_never_behind_its_own_block() {
    for nth in 1..=20 {
        simulate(async {
            let world = World::new(script(says_much));
            let id = world.create(|_| {}).await;
            world.fail_at(nth, Fault::AcknowledgedLate);
            let watched = Watched::of(&world, id).await;
            acknowledged_late(&world, async {
                assert_eq!(world.ended(id).await.0, Outcome::Completed);
                pass(SECOND).await;
            })
            .await;
            watched.check(&format!("late at {nth}"));
            assert!(
                watched.deltas().len() >= 3,
                "text that is written for long is shown meanwhile"
            );
        });
    }
}

#[test]
fn text_is_shown_while_it_is_written_and_its_whole_block_takes_its_place() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.writes_for(10 * MINUTE).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        let watched = Watched::of(&world, id).await;
        world.until(id, |summary| summary.work.uncounted_rounds() == 1).await;
        pass(MINUTE).await;
        let written = watched.deltas();
        assert!(
            written.iter().any(|(.., text)| text == "line 2"),
            "nothing follows it for minutes: {written:?}"
        );
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let dropped = world.told(id, |entry| match entry {
            Entry::DraftDropped(dropped) => Some(dropped),
            _ => None,
        });
        assert_eq!(dropped, [], "each is whole");
    });
}

/// Begins to write a block that is not the first of its message.
fn begins_block(agent: &Agent, text: &str) -> Vec<Value> {
    let mut written = lines::text(&agent.make_id("msg"), text);
    for line in &mut written {
        if line["type"] == "stream_event" {
            line["event"]["index"] = json!(3);
        }
    }
    let rest = written.split_off(2);
    written.into_iter().for_each(|line| agent.print(line));
    rest
}

#[test]
fn a_whole_block_has_the_number_of_its_partial_text_and_what_never_becomes_whole_is_dropped() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            if !agent.is_first("death") {
                return agent.finishes();
            }
            let rest = begins_block(&agent, "line 1");
            agent.works(SECOND).await;
            rest.into_iter().for_each(|line| agent.print(line));
            begins_block(&agent, "line 2");
            agent.works(SECOND).await;
            agent.crashes();
        }));
        let id = world.create(|_| {}).await;
        let watched = Watched::of(&world, id).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        pass(SECOND).await;
        let deltas = watched.deltas();
        let whole: Vec<_> = watched.0.borrow().iter().filter_map(Shown::whole).collect();
        assert_eq!((deltas.len(), whole.len()), (2, 1), "{deltas:?} {whole:?}");
        assert_eq!(deltas[0], whole[0]);
        let dropped = world.told(id, |entry| match entry {
            Entry::DraftDropped(dropped) => Some((dropped.message_id, u64::from(dropped.from_block))),
            _ => None,
        });
        assert_eq!(dropped, [(deltas[1].0.clone(), deltas[1].1)]);
    });
}

#[test]
fn text_that_the_model_begins_anew_is_dropped_once() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let message = agent.make_id("msg");
            let written = lines::text(&message, "line 1");
            written.into_iter().take(2).for_each(|line| agent.print(line));
            agent.works(SECOND).await;
            agent.print(lines::abandons(&message, 0));
            agent.says_a_line();
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        let dropped = world.told(id, |entry| match entry {
            Entry::DraftDropped(dropped) => Some(dropped.from_block),
            _ => None,
        });
        assert_eq!(dropped, [0]);
    });
}
