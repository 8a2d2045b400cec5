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
mod forms;
mod history;
mod layout;
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

pub(super) use self::assets::get as asset;
pub(super) use self::history::page as history;
pub(super) use self::session::{page as session, parts as session_parts};
pub(super) use self::sessions::{page as sessions, parts as sessions_parts};
pub(super) use self::timeline::fragment as timeline;
pub(super) use self::transcript::fragment as transcript;
