//! What goes wrong between a daemon and its hosts, and how far they have come.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::host::Name;

/// What goes wrong with all links.
#[derive(Default)]
pub(super) struct Troubles {
    stutter: AtomicBool,
    agents_first: AtomicBool,
    /// The next host that is to end leftovers dies of it.
    dies_of_leftovers: AtomicBool,
    /// How often hosts were killed.
    kills: AtomicU32,
    /// How many links have broken, while they do.
    broken: Mutex<Option<u32>>,
    /// How far the output of each attempt's agent was sent.
    sent: Mutex<BTreeMap<Name, u64>>,
}

impl Troubles {
    /// From now on hosts send all that they read twice.
    pub(super) fn stutter(&self) {
        self.stutter.store(true, Ordering::Relaxed);
    }

    pub(super) fn stutters(&self) -> bool {
        self.stutter.load(Ordering::Relaxed)
    }

    /// From now on agents are quicker than the news of what they have been told.
    pub(super) fn let_agents_say_first(&self) {
        self.agents_first.store(true, Ordering::Relaxed);
    }

    pub(super) fn lets_agents_say_first(&self) -> bool {
        self.agents_first.load(Ordering::Relaxed)
    }

    /// The next host that is to end what an agent left behind dies of it.
    pub(super) fn make_leftovers_deadly(&self) {
        self.dies_of_leftovers.store(true, Ordering::Relaxed);
    }

    pub(super) fn dies_of_leftovers(&self) -> bool {
        self.dies_of_leftovers.swap(false, Ordering::Relaxed)
    }

    pub(super) fn note_kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    /// How often hosts were killed.
    pub(super) fn kills(&self) -> u32 {
        self.kills.load(Ordering::Relaxed)
    }

    /// From now on links break before their host says anything.
    pub(super) fn break_links(&self) {
        *self.broken.lock().unwrap() = Some(0);
    }

    /// Links hold again; how many have broken.
    pub(super) fn mend_links(&self) -> u32 {
        self.broken.lock().unwrap().take().unwrap_or_default()
    }

    /// Whether the link that is made now breaks.
    pub(super) fn breaks_link(&self) -> bool {
        let mut broken = self.broken.lock().unwrap();
        broken.as_mut().map(|broken| *broken += 1).is_some()
    }

    pub(super) fn note_sent(&self, name: Name, bytes: u64) {
        self.sent.lock().unwrap().insert(name, bytes);
    }

    /// How far the output of this attempt's agent was sent, in bytes.
    pub(super) fn bytes_sent(&self, name: Name) -> u64 {
        self.sent.lock().unwrap().get(&name).copied().unwrap_or_default()
    }
}
