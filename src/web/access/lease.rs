//! What lets a caller in does so for as long as the answer lasts: what is still being sent ends with it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use jiff::Timestamp;
use tokio::time::sleep;

use super::Access;
use super::token::Fingerprint;
use crate::runtime::Handle;
use crate::runtime::handle::CallingAgent;

/// How often a stream is held against the clock: a token that ends by itself tells nobody, and clocks may be set.
const LOOK: Duration = Duration::from_secs(5);

/// The token by which a request was let through, itself or through a cookie; stands in the request's extensions.
#[derive(Clone, Copy)]
pub(in crate::web) struct SignedBy {
    /// The token.
    pub(super) token: Fingerprint,
    /// The cookie that stands for it, where the request has one.
    pub(super) cookie: Option<Fingerprint>,
}

/// A caller's right to be answered.
#[derive(Clone)]
pub(super) struct Lease {
    access: Access,
    by: SignedBy,
    /// The agent whose right it is, where one calls: its right ends with it.
    agent: Option<(Handle, CallingAgent)>,
}

impl Lease {
    /// The right of who was let in by this.
    pub(super) fn new(access: Access, by: SignedBy) -> Self {
        let agent = None;
        Self { access, by, agent }
    }

    /// The same right of an agent, where one calls.
    pub(super) fn of_agent(self, handle: &Handle, agent: Option<CallingAgent>) -> Self {
        let agent = agent.map(|agent| (handle.clone(), agent));
        Self { agent, ..self }
    }

    /// The answer, of which a stream ends with the right; the next try is refused.
    pub(super) fn bound(self, answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        match answer.response().body().size() {
            BodySize::Stream => answer.map_body(|head, body| {
                let kind = head.headers().get(CONTENT_TYPE);
                let is_events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
                BoxBody::new(Leased::new(body, self, is_events))
            }),
            BodySize::None | BodySize::Sized(_) => answer,
        }
    }

    /// Whether it still is one.
    pub(super) fn holds(&self) -> bool {
        self.access.lets_in(&self.by, Timestamp::now())
    }

    async fn is_agent_alive(&self) -> bool {
        match &self.agent {
            Some((handle, agent)) => handle.is_running(*agent).await,
            None => true,
        }
    }

    /// Resolves once it is no right any more.
    async fn end(self) {
        let mut tokens = self.access.0.tokens.changes();
        let mut sign_ins = self.access.0.sign_ins.changes();
        while self.holds() && self.is_agent_alive().await {
            tokio::select! {
                _ = tokens.changed() => {}
                _ = sign_ins.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// A body that ends with its reader's right.
struct Leased {
    /// None once it has ended: what it is made from goes at once.
    body: Option<BoxBody>,
    end: Fuse<BoxFuture<'static, ()>>,
    /// Events may end anywhere. A part of anything else must not pass for the whole.
    is_events: bool,
}

impl Leased {
    fn new(body: BoxBody, lease: Lease, is_events: bool) -> Self {
        Self {
            body: Some(body),
            end: lease.end().boxed().fuse(),
            is_events,
        }
    }
}

impl MessageBody for Leased {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.end.poll_unpin(cx).is_ready() {
            self.body = None;
            if !self.is_events {
                return Poll::Ready(Some(Err("whoever reads this may not any more".into())));
            }
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}
