//! Gives memory back that a burst has left behind.
//!
//! What is freed stays with the allocator, in pieces between what is still used, and what was rendered is kept for a while.
//! So a thread lets go of what nobody used of late, and has the allocator give free pages back whenever the process has
//! grown or shrunk.

use std::thread;
use std::time::Duration;

use crate::web;

/// How often the daemon looks at its memory.
const PERIOD: Duration = Duration::from_secs(5);

/// How long what was rendered is kept after its last use.
const RENDERED_KEPT: Duration = Duration::from_secs(15);

/// A change that is worth a look, in bytes.
const CHANGE_MIN: u64 = 1024 * 1024;

/// Begins to look, in a thread that lasts as long as the process.
pub(super) fn keep_small() {
    bound_arenas();
    let look = || {
        let mut before = resident();
        loop {
            thread::sleep(PERIOD);
            web::page::sweep(RENDERED_KEPT);
            if resident().abs_diff(before) >= CHANGE_MIN {
                give_back();
                before = resident();
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("memory".to_owned()).spawn(look) {
        tracing::warn!(%error, "memory is not given back");
    }
}

/// The memory that this process has of the machine, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Lets the threads share a few arenas: each holds free pages of its own.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt is a call of the C library")]
fn bound_arenas() {
    const ARENAS_MAX: libc::c_int = 4;
    const MMAP_THRESHOLD: libc::c_int = 256 * 1024;
    // SAFETY: both only set a number, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
        // A big piece is a mapping of its own, and gone when it is freed.
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}

#[cfg(not(target_env = "gnu"))]
fn bound_arenas() {}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim is a call of the C library")]
fn give_back() {
    // SAFETY: it gives back pages that nothing uses, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_known_and_can_be_given_back() {
        let pieces: Vec<Vec<u8>> = (0..20_000).map(|_| vec![1; 4_000]).collect();
        let full = resident();
        assert!(full > 80_000_000, "{full}");
        drop(pieces);
        give_back();
        assert!(resident() < full, "{full}");
    }
}
