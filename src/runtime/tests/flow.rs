//! How far an agent's output is read: no further beyond the disk than the window, and always on.

use super::agent::{Agent, script};
use super::lines;
use super::world::{MINUTE, SECOND, World, pass, simulate};
use crate::agent_host::protocol::{CHUNK_BYTES_MAX, WINDOW_BYTES};
use crate::session::id::Attempt;
use crate::session::outcome::Outcome;
use crate::store::memory::Fault;

/// So many bytes are more than a window has.
const MANY_BYTES: u64 = 4 * WINDOW_BYTES;

#[test]
fn no_more_is_read_beyond_what_is_on_disk_than_the_window_has() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            agent.says_a_line();
            agent.works(MINUTE).await;
            while agent.spool_bytes() < MANY_BYTES {
                agent.says_a_line();
            }
            agent.works(2 * MINUTE).await;
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        let before = world.until(id, |summary| summary.work.uncounted_rounds() == 1).await;
        pass(10 * SECOND).await;
        // The disk takes all from here on, and tells nobody.
        (1..=1000).for_each(|nth| world.fail_at(nth, Fault::AcknowledgedLate));
        pass(MINUTE + 20 * SECOND).await;
        let read = world.machine.troubles.bytes_sent((id, Attempt(1))) - before.through_offset;
        let bound = 2 * WINDOW_BYTES + CHUNK_BYTES_MAX as u64;
        assert!(read > WINDOW_BYTES / 2 && read < bound, "{read}");
        let acknowledging = async {
            loop {
                pass(SECOND).await;
                world.acknowledge();
            }
        };
        tokio::select! {
            (outcome, _) = world.ended(id) => assert_eq!(outcome, Outcome::Completed),
            () = acknowledging => {}
        }
    });
}

#[test]
fn output_that_leaves_no_record_is_read_on_however_long_it_is() {
    simulate(async {
        let world = World::new(script(|agent: Agent| async move {
            let mut written = lines::text(&agent.make_id("msg"), "line 1");
            let whole = written.split_off(2);
            let begun = written.split_off(1);
            written.into_iter().for_each(|line| agent.print(line));
            while agent.spool_bytes() < MANY_BYTES {
                begun.iter().cloned().for_each(|line| agent.print(line));
            }
            agent.works(MINUTE).await;
            whole.into_iter().for_each(|line| agent.print(line));
            agent.finishes();
        }));
        let id = world.create(|_| {}).await;
        world.until(id, |summary| summary.lifecycle.attempt == Attempt(1)).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert_eq!(world.endings(id), ["finished"], "{:?}", world.notices(id));
    });
}
