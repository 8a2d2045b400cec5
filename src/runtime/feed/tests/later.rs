//! What readers are shown that come later, and what ends a stream.

use super::*;
use crate::session::outcome::Ending;
use crate::session::samples::attempt_ended;
use crate::store::PAGE_RECORDS_MAX;

#[test]
fn a_record_that_was_on_disk_when_the_feed_began_is_not_shown_again() {
    run(async {
        let world = World::new();
        world.publish.hold();
        world.append(vec![notice("one")]);
        // The feed begins with this reader, who has the record from the journal.
        let mut seen = Seen::by(world.read(0), 0);
        seen.take(usize::MAX, world.head()).await;
        world.publish.go_on();
        world.append(vec![notice("two")]);
        seen.take(usize::MAX, world.head()).await;
        assert_eq!(seen.after, 3);
    });
}

#[test]
fn the_feed_of_a_session_goes_with_its_end() {
    let world = World::new();
    drop(world.read(0));
    world.append(vec![end()]);
    assert!(lock(&world.feeds.sessions).is_empty());
}

#[test]
fn who_comes_later_is_shown_what_is_still_being_written_and_nothing_else() {
    run(async {
        let world = World::new();
        let block = |message: &str, block| {
            let delta = Delta {
                message_id: message.to_owned(),
                block,
                part: DeltaPart::Text,
                text: "text".to_owned(),
            };
            world.feeds.delta(world.session, world.head(), Attempt(1), &delta);
        };
        let late = async || {
            let mut seen = Seen::by(world.read(0), 0);
            seen.take(usize::MAX, world.head()).await;
            seen.drafts.into_keys().collect::<Vec<_>>()
        };
        block("whole", 0);
        world.append(vec![whole("whole", "text")]);
        assert_eq!(late().await, [""; 0]);
        (0..3).for_each(|n| block("dropped", n));
        let dropped = |from_block| {
            let message_id = "dropped".to_owned();
            Entry::DraftDropped(DroppedDraft { message_id, from_block })
        };
        world.append(vec![dropped(1)]);
        assert_eq!(late().await, ["dropped"], "the block before it goes on");
        world.append(vec![dropped(0)]);
        assert_eq!(late().await, [""; 0]);
        block("cut", 0);
        world.append(vec![attempt_ended(Ending::Crashed)]);
        assert_eq!(late().await, [""; 0], "nobody writes it any more");
    });
}

#[test]
fn places_in_partial_text_count_characters() {
    run(async {
        let world = World::new();
        let mut reader = world.read(1);
        assert!(matches!(reader.next().await, Some(FeedItem::Hello(_))));
        assert!(reader.next().now_or_never().is_none(), "it waits for more");
        world.delta("m", "\u{1f980}\u{e9}");
        world.delta("m", "and on");
        let mut offsets = Vec::new();
        for _ in 0..2 {
            let Some(FeedItem::Delta(json)) = reader.next().await else {
                panic!("nothing else is shown");
            };
            let delta: Value = serde_json::from_slice(&json).unwrap();
            offsets.push(delta["offset"].as_u64().unwrap());
        }
        assert_eq!(offsets.last(), Some(&2), "{offsets:?}");
    });
}

#[test]
fn who_reads_a_session_that_is_removed_is_told_that_nothing_follows() {
    run(async {
        let world = World::new();
        let mut seen = Seen::by(world.read(1), 1);
        seen.take(usize::MAX, world.head()).await;
        let mut next = Box::pin(seen.reader.next());
        assert!((&mut next).now_or_never().is_none(), "it waits");
        world.feeds.forget(world.session);
        assert!(matches!(next.now_or_never(), Some(None)));
    });
}

#[test]
fn an_end_that_was_not_the_last_word_ends_no_stream() {
    run(async {
        let world = World::new();
        // The last record of a page.
        world.append((2..PAGE_RECORDS_MAX).map(|n| notice(n.to_string())).collect());
        world.append(vec![end()]);
        world.append(vec![notice("it was resumed")]);
        let mut seen = Seen::by(world.read(0), 0);
        seen.take(usize::MAX, world.head()).await;
        assert_eq!((seen.after, seen.has_ended), (PAGE_RECORDS_MAX as u64 + 1, false));
    });
}
