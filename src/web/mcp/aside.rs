//! What is told beside the answer of a call: it goes to the call's own stream, in the era of sessions too.
//!
//! rmcp sends progress and cancellations on the stream of the call that they name, and everything else on the session's
//! standing stream, which a client need not have opened (and what is told while it has none, it never hears). A message
//! that says where it belongs is therefore dressed as a cancellation of its call on the way through rmcp's session, and
//! undressed behind it, before anybody sees or keeps it.

use std::borrow::Cow;
use std::future::Future;

use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, JsonRpcMessage, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::service::OriginatingRequestId;
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;

/// What the reason of a cancellation begins with that is none.
const DRESS: &str = "cc-executor carries ";

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

fn dressed(message: ServerJsonRpcMessage) -> ServerJsonRpcMessage {
    let JsonRpcMessage::Notification(told) = &message else {
        return message;
    };
    let ServerNotification::LoggingMessageNotification(log) = &told.notification else {
        return message;
    };
    let call = log.extensions.get::<OriginatingRequestId>().cloned();
    match (call, serde_json::to_string(&message)) {
        (Some(OriginatingRequestId(call)), Ok(json)) => {
            let dress = CancelledNotificationParam::new(Some(call), Some(format!("{DRESS}{json}")));
            let dress = ServerNotification::CancelledNotification(CancelledNotification::new(dress));
            JsonRpcMessage::notification(dress)
        }
        (None, _) | (_, Err(_)) => message,
    }
}

/// The message as the client is to see it.
pub(super) fn undressed(message: &ServerJsonRpcMessage) -> Cow<'_, ServerJsonRpcMessage> {
    carried(message).map_or(Cow::Borrowed(message), Cow::Owned)
}

/// The event as the client is to see it.
pub(super) fn undressed_event(mut event: ServerSseMessage) -> ServerSseMessage {
    if let Some(message) = event.message.as_deref().and_then(carried) {
        event.message = Some(message.into());
    }
    event
}

fn carried(message: &ServerJsonRpcMessage) -> Option<ServerJsonRpcMessage> {
    let JsonRpcMessage::Notification(told) = message else {
        return None;
    };
    let ServerNotification::CancelledNotification(cancelled) = &told.notification else {
        return None;
    };
    let json = cancelled.params.reason.as_deref()?.strip_prefix(DRESS)?;
    serde_json::from_str(json).ok()
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
        let of_call = dressed(message(Some(7)));
        assert_eq!(json(&of_call)["params"]["requestId"], 7);
        assert_eq!(json(&undressed(&of_call)), json(&message(None)));
        assert_eq!(json(&dressed(message(None))), json(&message(None)));
        let cancelled = CancelledNotificationParam::new(Some(RequestId::Number(7)), Some("late".into()));
        let cancelled = ServerNotification::CancelledNotification(CancelledNotification::new(cancelled));
        let cancelled = JsonRpcMessage::notification(cancelled);
        assert_eq!(json(&undressed(&cancelled)), json(&cancelled));
    }
}
