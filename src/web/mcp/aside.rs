//! What is told beside the answer of a call: it goes to the call's own stream, in the era of sessions too.
//!
//! rmcp sends progress and cancellations on the stream of the call that they name, and everything else on the session's
//! standing stream, which a client need not have opened (and what is told while it has none, it never hears). A message
//! that says where it belongs is therefore dressed as a cancellation of its call on the way through rmcp's session, and
//! undressed behind it, before anybody sees or keeps it. What is no part of the protocol rides in the extensions of
//! messages, which are never written.

use std::future::Future;

use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, JsonRpcMessage, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::service::OriginatingRequestId;
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;

/// Names the place in a call from which its client may read on.
#[derive(Clone, Debug)]
pub(super) struct Bookmark {
    /// The name; no other token and no other MCP session opens it.
    pub(super) id: String,
    /// The message that carries it says nothing else, and is not for the client.
    pub(super) is_alone: bool,
}

/// The message that a cancellation carries, which is none.
#[derive(Clone)]
struct Carried(ServerJsonRpcMessage);

/// Between rmcp's service and its session.
pub(super) struct Dressing<T>(pub(super) T);

impl<T: Transport<RoleServer>> Transport<RoleServer> for Dressing<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.0.send(dressed(message))
    }

    fn receive(&mut self) -> impl Future<Output = Option<rmcp::model::ClientJsonRpcMessage>> + Send {
        self.0.receive()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.0.close()
    }
}

impl Bookmark {
    /// True if an event carries one.
    pub(super) fn is_in(event: &ServerSseMessage) -> bool {
        let message = event.message.as_deref();
        message.is_some_and(|message| Self::of(carried(message).unwrap_or(message)).is_some())
    }

    fn of(message: &ServerJsonRpcMessage) -> Option<&Self> {
        let JsonRpcMessage::Notification(told) = message else {
            return None;
        };
        match &told.notification {
            ServerNotification::LoggingMessageNotification(log) => log.extensions.get(),
            ServerNotification::ProgressNotification(progress) => progress.extensions.get(),
            _ => None,
        }
    }
}

fn dressed(message: ServerJsonRpcMessage) -> ServerJsonRpcMessage {
    let JsonRpcMessage::Notification(told) = &message else {
        return message;
    };
    let ServerNotification::LoggingMessageNotification(log) = &told.notification else {
        return message;
    };
    let Some(OriginatingRequestId(call)) = log.extensions.get().cloned() else {
        return message;
    };
    let mut dress = CancelledNotification::new(CancelledNotificationParam::new(Some(call), None));
    dress.extensions.insert(Carried(message));
    JsonRpcMessage::notification(ServerNotification::CancelledNotification(dress))
}

/// The event as the client is to see it, and the bookmark that it carries.
pub(super) fn undressed(mut event: ServerSseMessage) -> (ServerSseMessage, Option<Bookmark>) {
    let Some(message) = event.message.as_deref() else {
        return (event, None);
    };
    let carried = carried(message);
    let bookmark = Bookmark::of(carried.unwrap_or(message)).cloned();
    if let Some(carried) = carried.cloned() {
        event.message = Some(carried.into());
    }
    (event, bookmark)
}

fn carried(message: &ServerJsonRpcMessage) -> Option<&ServerJsonRpcMessage> {
    let JsonRpcMessage::Notification(told) = message else {
        return None;
    };
    let ServerNotification::CancelledNotification(cancelled) = &told.notification else {
        return None;
    };
    cancelled.extensions.get::<Carried>().map(|Carried(message)| message)
}

#[cfg(test)]
#[expect(
    deprecated,
    reason = "log messages: deprecated in 2026-07-28, and what clients of all revisions still show"
)]
mod tests {
    use super::*;
    use rmcp::model::{LoggingLevel, LoggingMessageNotification, LoggingMessageNotificationParam, RequestId};
    use serde_json::json;

    #[test]
    fn what_is_dressed_is_seen_as_it_was_and_nothing_else_is_touched() {
        let message = |call: Option<i64>| {
            let param = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!({"a": 1}));
            let mut log = LoggingMessageNotification::new(param);
            if let Some(call) = call {
                log.extensions.insert(OriginatingRequestId(RequestId::Number(call)));
            }
            JsonRpcMessage::notification(ServerNotification::LoggingMessageNotification(log))
        };
        let json = |message: &ServerJsonRpcMessage| serde_json::to_value(message).unwrap();
        let seen = |message: &ServerJsonRpcMessage| {
            let (event, _) = undressed(ServerSseMessage::from_message(message.clone()));
            json(event.message.as_deref().unwrap())
        };
        let of_call = dressed(message(Some(7)));
        assert_eq!(json(&of_call)["params"]["requestId"], 7);
        assert_eq!(seen(&of_call), json(&message(None)));
        assert_eq!(json(&dressed(message(None))), json(&message(None)));
        let cancelled = CancelledNotificationParam::new(Some(RequestId::Number(7)), Some("late".into()));
        let cancelled = ServerNotification::CancelledNotification(CancelledNotification::new(cancelled));
        let cancelled = JsonRpcMessage::notification(cancelled);
        assert_eq!(seen(&cancelled), json(&cancelled));
    }
}
