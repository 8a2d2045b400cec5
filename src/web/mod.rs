//! The HTTP faces: REST, streams, health. All routes stand in [`routes`]; the app that tests run is the app that ships.
//!
//! Read in this order: `access` (who may call), `error` (how a refusal looks), `view` (how a session looks), `api`,
//! `listing`, `stream`, `reference` (the description of all of it), `server` (the listeners), `socket`, `gate` (how many
//! may call at once). Nothing here decides anything: every call goes through [`Handle`].

pub(crate) mod access;
mod api;
mod body;
mod calls;
mod conversations;
mod days;
mod error;
mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gate;
mod health;
mod idempotency;
mod info;
mod listing;
pub mod mcp;
mod metrics;
pub(crate) mod page;
mod parameters;
mod params;
mod peer;
mod reference;
mod remedy;
mod removal;
mod schemas;
mod server;
mod socket;
mod stream;
mod view;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error, Resource, Route, guard};
use jiff::Timestamp;

use crate::config::Settings;
use crate::runtime::Handle;

pub use access::{Access, Token, TokenError, verify_audit};
use access::{manage, pages};
pub use calls::CLIENT_HEADER;
pub use health::Readiness;
pub use info::{Doctor, Finding};
pub use server::{ServeError, Server, Stopper};
use stream::Streams;
pub use view::{QuestionView, SessionView};

/// What the routes share.
#[derive(Clone)]
pub struct Faces {
    /// The door into the runtime.
    handle: Handle,
    /// Access control.
    access: Access,
    /// Whether the daemon can do its work.
    readiness: Readiness,
    /// How many streams there may be, and when they end.
    streams: Streams,
    /// The MCP face.
    mcp: Arc<mcp::Mcp>,
    /// The longest request body, in bytes.
    body_bytes_max: usize,
    /// How long a request body may take.
    body_timeout: Duration,
    /// Looks for what is in the daemon's way.
    doctor: Doctor,
    /// When this daemon began to serve.
    started_at: Timestamp,
    /// What clients are told of the settings.
    limits: info::Limits,
}

impl Faces {
    fn new(
        settings: &Settings,
        handle: Handle,
        access: Access,
        readiness: Readiness,
        streams: Streams,
        mcp: mcp::Mcp,
    ) -> Self {
        Self {
            handle,
            access,
            readiness,
            streams,
            mcp: Arc::new(mcp),
            body_bytes_max: settings.limits.body_bytes_max,
            body_timeout: Duration::from_secs(settings.server.body_timeout_seconds),
            doctor: Arc::new(Vec::new),
            started_at: Timestamp::now(),
            limits: info::Limits {
                max_live_agents: settings.limits.max_live_agents,
                queued_sessions_max: settings.limits.queued_sessions_max,
                stream_readers_max: settings.limits.stream_readers_max,
                body_bytes_max: settings.limits.body_bytes_max,
            },
        }
    }

    /// The same with a doctor.
    fn examined_by(self, doctor: Doctor) -> Self {
        Self { doctor, ..self }
    }
}

/// Every route there is. All but those that `access` calls public need a token, or a cookie that stands for one.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(at("/healthz", "GET, HEAD").route(read().to(health::healthz)))
        .service(at("/readyz", "GET, HEAD").route(read().to(health::readyz)))
        .service(
            at("/api/sessions", "GET, HEAD, POST")
                .route(read().to(listing::list))
                .route(web::post().to(api::create)),
        )
        .service(at("/api/sessions/import", "POST").route(web::post().to(conversations::import)))
        .service(
            at("/api/sessions/{id}", "DELETE, GET, HEAD")
                .route(read().to(api::get))
                .route(web::delete().to(removal::remove)),
        )
        .service(at("/api/sessions/{id}/records", "GET, HEAD").route(read().to(api::records)))
        .service(at("/api/sessions/{id}/wait", "GET").route(web::get().to(waiting::wait)))
        .service(at("/api/sessions/{id}/export", "GET").route(web::get().to(export::export)))
        .service(at("/api/sessions/{id}/cancel", "POST").route(web::post().to(api::cancel)))
        .service(at("/api/sessions/{id}/checkpoints", "GET, HEAD").route(read().to(conversations::checkpoints)))
        .service(at("/api/sessions/{id}/resume", "POST").route(web::post().to(conversations::resume)))
        .service(at("/api/sessions/{id}/fork", "POST").route(web::post().to(conversations::fork)))
        .service(at("/api/sessions/{id}/handover", "GET, HEAD").route(read().to(conversations::handover)))
        .service(at("/api/sessions/{id}/questions/{question}/answer", "POST").route(web::post().to(api::answer)))
        .service(at("/api/history", "GET, HEAD").route(read().to(listing::history)))
        .service(at("/api/questions", "GET, HEAD").route(read().to(listing::questions)))
        .service(at("/api/gc", "POST").route(web::post().to(removal::gc)))
        .service(at("/api/info", "GET, HEAD").route(read().to(info::info)))
        .service(at("/api/doctor", "GET, HEAD").route(read().to(info::doctor)))
        .service(at("/api/openapi.json", "GET, HEAD").route(read().to(reference::openapi)))
        .service(at("/api/reference", "GET, HEAD").route(read().to(reference::page)))
        .service(at("/api/reference/style.css", "GET, HEAD").route(read().to(reference::style)))
        .service(at("/execution/{id}/stream", "GET").route(web::get().to(stream::of_session)))
        .service(
            at("/mcp", "DELETE, GET, POST")
                .route(web::get().to(mcp::handle))
                .route(web::post().to(mcp::handle))
                .route(web::delete().to(mcp::handle)),
        )
        .service(at("/metrics", "GET, HEAD").route(read().to(metrics::metrics)))
        .service(at("/events", "GET").route(web::get().to(stream::of_all)))
        .configure(access_routes)
        .configure(page_routes)
        .default_service(web::to(error::no_such_route));
}

/// Routes of the page.
fn page_routes(cfg: &mut ServiceConfig) {
    cfg.service(at("/", "GET, HEAD").route(read().to(page::sessions)))
        .service(at("/parts", "GET, HEAD").route(read().to(page::sessions_parts)))
        .service(at("/history", "GET, HEAD").route(read().to(page::history)))
        .service(at("/assets/{name}", "GET, HEAD").route(read().to(page::asset)))
        .service(at("/execution/{id}", "GET, HEAD").route(read().to(page::session)))
        .service(at("/execution/{id}/parts", "GET, HEAD").route(read().to(page::session_parts)))
        .service(at("/execution/{id}/timeline", "GET, HEAD").route(read().to(page::timeline)))
        .service(at("/execution/{id}/transcript", "GET, HEAD").route(read().to(page::transcript)));
}

/// Who may call, and how a browser signs in.
fn access_routes(cfg: &mut ServiceConfig) {
    cfg.service(
        at("/api/tokens", "GET, HEAD, POST")
            .route(read().to(manage::tokens))
            .route(web::post().to(manage::create_token)),
    )
    .service(at("/api/tokens/{name}", "DELETE").route(web::delete().to(manage::revoke_token)))
    .service(at("/api/sign-in-links", "POST").route(web::post().to(manage::create_link)))
    .service(at("/api/audit", "GET, HEAD").route(read().to(manage::audit)))
    .service(
        at("/sign-in", "GET, POST")
            .route(web::get().to(pages::use_link))
            .route(web::post().to(pages::use_token)),
    )
    .service(at("/sign-out", "POST").route(web::post().to(pages::sign_out)));
}

/// The whole application, with [`routes`]; tests may put others behind the same doors.
fn app(
    faces: &Faces,
    routes: fn(&mut ServiceConfig),
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let (access, handle) = (faces.access.clone(), faces.handle.clone());
    let body_timeout = faces.body_timeout;
    App::new()
        .app_data(web::Data::new(faces.clone()))
        .app_data(body::json_config(faces.body_bytes_max))
        .app_data(error::path_config())
        .configure(routes)
        .wrap(from_fn(move |request, next| body::in_time(body_timeout, request, next)))
        .wrap(from_fn(move |request, next| {
            access::guard(access.clone(), handle.clone(), request, next)
        }))
        .wrap(
            DefaultHeaders::new()
                .add(("X-Content-Type-Options", "nosniff"))
                // The page's name is told to no other site.
                .add(("Referrer-Policy", "no-referrer"))
                .add(("Cache-Control", "no-store")),
        )
}

/// A route for reading: HEAD is GET without the body. What does not end, or is long, has GET alone.
fn read() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A path; a method that it has not is answered with those it has.
fn at(path: &str, allowed: &'static str) -> Resource {
    let refuse = move || async move { error::method_not_allowed(allowed) };
    web::resource(path).default_service(web::to(refuse))
}

#[cfg(test)]
mod tests;
