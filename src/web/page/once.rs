//! Texts that were rendered, so that each is rendered once for all who look at it at the same time or soon after.
//!
//! What is kept is bounded, and what nobody has looked at for a while is let go ([`sweep`]).

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use maud::{Markup, PreEscaped};
use sha2::{Digest, Sha256};

use crate::store::lock;

/// How many bytes of rendered text are kept.
const KEPT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How long a rendered text is at most to be kept, in bytes: it would push out too many others.
const TEXT_BYTES_MAX: usize = KEPT_BYTES_MAX / 2;

/// How many rendered texts are kept.
const KEPT_TEXTS_MAX: usize = 1_000;

type TextDigest = [u8; 32];

static KEPT: LazyLock<Mutex<HashMap<TextDigest, RenderedText>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// How many texts of this thread were not rendered as well as they can be.
    static UNFINISHED: Cell<u64> = const { Cell::new(0) };
}

struct RenderedText {
    rendered: Arc<OnceLock<Arc<str>>>,
    used_at: Instant,
}

/// What `make` makes of these parts, made once however many ask for it at the same time. `what` names the way in which
/// it is rendered.
pub(super) fn once(what: &str, parts: &[&str], make: impl FnOnce() -> Markup) -> Markup {
    let key = key(what, parts);
    let rendered = {
        let mut kept = lock(&KEPT);
        let now = Instant::now();
        let found = kept.entry(key).or_insert_with(|| RenderedText {
            rendered: Arc::default(),
            used_at: now,
        });
        found.used_at = now;
        Arc::clone(&found.rendered)
    };
    let mut is_new = false;
    let unfinished = UNFINISHED.get();
    let text = rendered.get_or_init(|| {
        is_new = true;
        Arc::from(make().into_string())
    });
    if is_new {
        let is_finished = UNFINISHED.get() == unfinished;
        settle(&key, is_finished && text.len() <= TEXT_BYTES_MAX);
    }
    PreEscaped(text.to_string())
}

/// Says that what this thread renders could be rendered better later, so that it is not kept.
pub(super) fn unfinished() {
    UNFINISHED.set(UNFINISHED.get() + 1);
}

/// Lets go of what nobody has looked at for so long.
pub(super) fn sweep(unused_for: Duration) {
    let mut kept = lock(&KEPT);
    kept.retain(|_, kept| kept.used_at.elapsed() < unused_for);
    kept.shrink_to_fit();
}

fn key(what: &str, parts: &[&str]) -> TextDigest {
    let mut digest = Sha256::new();
    for part in std::iter::once(&what).chain(parts) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

/// Keeps what was just made where it is to be kept, and lets go of what was used least lately where there is too much.
fn settle(key: &TextDigest, is_kept: bool) {
    let mut kept = lock(&KEPT);
    if !is_kept {
        kept.remove(key);
        return;
    }
    let bytes = |kept: &RenderedText| kept.rendered.get().map_or(0, |text| text.len());
    let mut total: usize = kept.values().map(bytes).sum();
    while total > KEPT_BYTES_MAX || kept.len() > KEPT_TEXTS_MAX {
        let made = kept.iter().filter(|(_, kept)| kept.rendered.get().is_some());
        let Some(oldest) = made.min_by_key(|(_, kept)| kept.used_at).map(|(key, _)| *key) else {
            return;
        };
        total -= kept.remove(&oldest).map_or(0, |kept| bytes(&kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_text_is_rendered_once_for_all_who_ask_at_the_same_time() {
        let (made, barrier) = (AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let rendered = once("test", &["the same"], || {
                        made.fetch_add(1, Ordering::Relaxed);
                        PreEscaped("x".to_owned())
                    });
                    assert_eq!(rendered.into_string(), "x");
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_could_be_better_is_not_kept() {
        let mut made = 0;
        for _ in 0..2 {
            once("test", &["unfinished"], || {
                made += 1;
                unfinished();
                PreEscaped(String::new())
            });
        }
        assert_eq!(made, 2);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let big = "x".repeat(KEPT_BYTES_MAX / 4);
        for n in 0..20 {
            once("test", &[&n.to_string(), "big"], || PreEscaped(big.clone()));
        }
        let kept = lock(&KEPT);
        let bytes: usize = kept.values().filter_map(|kept| Some(kept.rendered.get()?.len())).sum();
        assert!(bytes <= KEPT_BYTES_MAX, "{bytes}");
    }
}
