//! Ids as the CLI makes them, quick enough for a flood: one seed a process, no system call an id.

use std::hash::{BuildHasher, RandomState};

/// A source of ids that do not meet those of another process.
pub(super) struct Ids {
    state: [u64; 2],
}

impl Ids {
    pub(super) fn new() -> Self {
        // Every RandomState has keys of its own, from the system's random numbers.
        Self {
            state: [1, 2].map(|word: u64| RandomState::new().hash_one((word, std::process::id()))),
        }
    }

    pub(super) fn uuid(&mut self) -> uuid::Uuid {
        let high = self.next(0);
        let low = self.next(1);
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
    }

    /// `msg_…`, `toolu_…`, and the like.
    pub(super) fn prefixed(&mut self, prefix: &str) -> String {
        format!("{prefix}_{:016x}{:08x}", self.next(0), self.next(1) >> 32)
    }

    /// The step of SplitMix64.
    fn next(&mut self, word: usize) -> u64 {
        self.state[word] = self.state[word].wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state[word];
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
