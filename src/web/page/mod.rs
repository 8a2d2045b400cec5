//! The page: HTML made here, kept alive by small ES modules that are served from the binary; no network is needed.
//!
//! Read in this order: `layout` (the frame of every page and its security headers), `sessions` and `history` (lists),
//! `session` (one session: its head, its questions, its controls), `transcript` (records as HTML, a window at a time),
//! `record` and `tool` (how each looks), `timeline` (the picture). What an agent or a person wrote is untrusted: it is
//! escaped by `maud`, or goes through `markdown`, and never reaches an attribute that a browser acts on.

mod assets;
mod caller;
mod code;
mod diff;
mod doing;
mod forms;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod history;
mod layout;
pub(crate) mod load;
mod markdown;
mod once;
mod question;
mod record;
mod session;
mod sessions;
mod side;
mod text;
mod timeline;
mod tool;
mod transcript;
mod words;

use std::sync::LazyLock;
use std::time::Duration;

use actix_web::web;
use tokio::sync::Semaphore;

use crate::runtime::CallError;

pub(super) use self::assets::get as asset;
pub(super) use self::history::page as history;
pub(super) use self::session::{page as session, parts as session_parts};
pub(super) use self::sessions::{page as sessions, parts as sessions_parts};
pub(super) use self::timeline::fragment as timeline;
pub(super) use self::transcript::fragment as transcript;

/// How many texts are rendered at once; others wait for their turn.
const RENDERED_AT_ONCE: usize = 4;

/// Renders in a thread of its own: what an agent wrote may take a while, and the threads that serve requests have others
/// to serve.
pub(in crate::web) async fn off_the_workers<T: Send + 'static>(
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CallError> {
    static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(RENDERED_AT_ONCE));
    let turn = TURNS.acquire().await.map_err(|_| CallError::Stopping)?;
    let made = web::block(move || {
        // The turn lasts as long as the work, also where nobody waits for it any more.
        let _turn = turn;
        make()
    });
    made.await.map_err(|_| CallError::Stopping)
}

/// Lets go of what was rendered, and of what rendering needs, where nobody has used it for so long.
pub(crate) fn sweep(unused_for: Duration) {
    once::sweep(unused_for);
    code::sweep(unused_for);
}
