//! The link: the attempt is prepared, its host found or started, and frames go to and fro.

use std::sync::Arc;
use std::time::Duration;

use actix::io::{SinkWrite, WriteHandler};
use actix::prelude::*;
use actix_http::ws::{Item, ProtocolError};
use awc::ws;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::Execution;
use super::prepare::{Prepared, Unprepared, prepare};
use crate::agent::launch::LaunchError;
use crate::agent::socket::HostSocket;
use crate::agent_host::protocol::{OFFSET_BYTES, ToHost, files};
use crate::attempt::{AttemptInput, Unreachable};
use crate::runtime::spools::SpoolGrew;

/// The most executions that connect at once.
pub(in crate::runtime) const CONNECTING_MAX: usize = 32;

/// A host is nudged no more often than this: by itself it looks again 2 ms after each nudge.
const NUDGE_PERIOD: Duration = Duration::from_millis(1);

impl Execution {
    /// Prepares the attempt where that has not happened, and opens the link.
    pub(super) fn connect(&mut self, ctx: &mut Context<Self>) {
        let (directory, hosts) = (self.directory(), Arc::clone(&self.context.outside.hosts));
        let (settings, request) = (Arc::clone(&self.context.settings), Arc::clone(&self.task.request));
        let slots = Arc::clone(&self.context.connecting);
        let (summary, attempt, known) = (Arc::clone(&self.task.summary), self.task.attempt, self.plan.clone());
        let (store, known_groundwork) = (Arc::clone(&self.context.store), self.groundwork.clone());
        let connecting = async move {
            // The semaphore is never closed.
            let _slot = slots.acquire().await.ok();
            let prepared = match known {
                Some(plan) => Prepared {
                    plan,
                    groundwork: known_groundwork,
                },
                None => {
                    let prepare = move || prepare(&settings, &*store, &request, &summary, attempt);
                    let prepared = tokio::task::spawn_blocking(prepare).await;
                    prepared.map_err(|error| LaunchError::Plan {
                        path: directory.clone(),
                        why: error.to_string(),
                    })??
                }
            };
            let socket = hosts.reach(&directory, &prepared.plan).await?;
            Ok((prepared, socket))
        };
        ctx.spawn(
            connecting
                .into_actor(self)
                .map(|connected, act, ctx| act.connected(connected, ctx)),
        );
    }

    fn connected(&mut self, connected: Result<(Prepared, HostSocket), Unprepared>, ctx: &mut Context<Self>) {
        match connected {
            Ok((Prepared { plan, groundwork }, socket)) => {
                self.plan = Some(plan);
                self.groundwork = groundwork.clone();
                self.open_link(socket, ctx);
                self.step(AttemptInput::Linked(Box::new(groundwork)), ctx);
            }
            Err(error) => {
                let unreachable = Unreachable {
                    ending: error.ending(),
                    why: error.to_string(),
                    may_pass: error.is_for_want_of_means(),
                };
                self.step(AttemptInput::Unreachable(unreachable), ctx);
            }
        }
    }

    fn open_link(&mut self, socket: HostSocket, ctx: &mut Context<Self>) {
        let (sink, stream) = socket.split();
        self.sink = Some(SinkWrite::new(sink, ctx));
        // A frame that was cut off by the host's death is reported again and again: the first error is the last item.
        let until_error = stream.scan(false, |has_failed, frame| {
            let item = (!*has_failed).then_some(frame);
            *has_failed = item.as_ref().is_none_or(Result::is_err);
            std::future::ready(item)
        });
        ctx.add_stream(until_error);
    }

    pub(super) fn write(&mut self, message: ws::Message) {
        if let Some(sink) = &mut self.sink {
            // A sink that is closed means a lost link, which is noticed where the stream ends.
            drop(sink.write(message));
        }
    }

    pub(super) fn send(&mut self, message: &ToHost) {
        match serde_json::to_string(message) {
            Ok(json) => self.write(ws::Message::Text(json.into())),
            Err(error) => tracing::error!(%error, "a message to the agent host cannot be written"),
        }
    }

    /// Has the spool sent, and begins to watch it, which is there since the host has one open. What it holds already is
    /// read anyway.
    pub(super) fn read_spool(&mut self, from: u64, through: u64, ctx: &mut Context<Self>) {
        if self.watching.is_none() {
            let reader = ctx.address().downgrade().recipient();
            let path = self.directory().join(files::SPOOL);
            self.watching = self.context.spools.watch(&path, reader);
        }
        let nudged = self.watching.is_some();
        self.send(&ToHost::Read { from, through, nudged });
    }
}

impl StreamHandler<Result<ws::Frame, ProtocolError>> for Execution {
    fn handle(&mut self, frame: Result<ws::Frame, ProtocolError>, ctx: &mut Self::Context) {
        match frame {
            Ok(ws::Frame::Binary(bytes)) => match bytes.split_first_chunk::<OFFSET_BYTES>() {
                Some((offset, bytes)) => {
                    let offset = u64::from_le_bytes(*offset);
                    return self.step(AttemptInput::Bytes { offset, bytes }, ctx);
                }
                None => tracing::error!("a spool frame without an offset"),
            },
            Ok(ws::Frame::Text(json)) => match serde_json::from_slice(&json) {
                Ok(message) => return self.step(AttemptInput::Host(message), ctx),
                // A newer host may say more than we know.
                Err(error) => tracing::warn!(%error, "a message of the agent host is not understood"),
            },
            Ok(ws::Frame::Ping(payload)) => self.write(ws::Message::Pong(payload)),
            Ok(ws::Frame::Continuation(
                Item::FirstText(_) | Item::FirstBinary(_) | Item::Continue(_) | Item::Last(_),
            )) => {
                tracing::error!("the agent host sent a fragmented frame, which it never does");
            }
            Ok(ws::Frame::Pong(_) | ws::Frame::Close(_)) => {}
            Err(error) => return tracing::warn!(%error, "the link to the agent host failed"),
        }
        self.step(AttemptInput::Heard, ctx);
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        if let Some(mut sink) = self.sink.take() {
            sink.close();
        }
        self.step(AttemptInput::LinkLost, ctx);
    }
}

impl Handler<SpoolGrew> for Execution {
    type Result = ();

    /// A host that was nudged looks again soon by itself.
    fn handle(&mut self, _: SpoolGrew, _: &mut Self::Context) {
        let is_due = self.nudged_at.is_none_or(|at| at.elapsed() >= NUDGE_PERIOD);
        if is_due && self.attempt.hears_host() {
            self.nudged_at = Some(Instant::now());
            self.send(&ToHost::Nudge);
        }
    }
}

impl WriteHandler<ProtocolError> for Execution {
    fn error(&mut self, error: ProtocolError, _: &mut Self::Context) -> Running {
        tracing::warn!(%error, "cannot write to the agent host");
        // The end of the stream says what follows; nothing more can be written.
        Running::Stop
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
