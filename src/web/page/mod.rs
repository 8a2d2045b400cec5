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

use actix_web::web::{self, ServiceConfig};

use super::at;

/// The routes of the page; all but the assets need a caller who signed in.
pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(at("/", "GET").route(web::get().to(sessions::page)))
        .service(at("/parts", "GET").route(web::get().to(sessions::parts)))
        .service(at("/history", "GET").route(web::get().to(history::page)))
        .service(at("/assets/{name}", "GET").route(web::get().to(assets::get)))
        .service(at("/execution/{id}", "GET").route(web::get().to(session::page)))
        .service(at("/execution/{id}/parts", "GET").route(web::get().to(session::parts)))
        .service(at("/execution/{id}/timeline", "GET").route(web::get().to(timeline::fragment)))
        .service(at("/execution/{id}/transcript", "GET").route(web::get().to(transcript::fragment)));
}
