//! One line of a stream's file, and the message that it keeps.

use std::time::Duration;

use rmcp::model::{
    CustomNotification, CustomRequest, CustomResult, ErrorData, JsonRpcError, JsonRpcMessage, JsonRpcNotification,
    JsonRpcRequest, JsonRpcResponse, RequestId, ServerJsonRpcMessage, ServerNotification, ServerRequest, ServerResult,
};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Interrupted;

/// One line of a stream's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_ms: Option<u64>,
    /// Which call the stream answers; in a line of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) of: Option<Interrupted>,
}

impl Line {
    /// The event, with the id that names it and its stream.
    pub(super) fn into_event(self, stream: &str) -> Option<ServerSseMessage> {
        let id = format!("{}@{stream}", self.number);
        let retry = self.retry_ms.map(Duration::from_millis);
        match self.message {
            Some(message) => Some(ServerSseMessage::new(id, to_message(message)?)),
            None => Some(ServerSseMessage::priming(id, retry.unwrap_or_default())),
        }
    }
}

/// A message as it was, byte for byte in meaning: read as one of the open kinds, nothing in it is lost.
pub(super) fn to_message(message: Value) -> Option<ServerJsonRpcMessage> {
    let Value::Object(mut fields) = message else {
        return None;
    };
    let id = fields
        .remove("id")
        .map(serde_json::from_value::<RequestId>)
        .transpose()
        .ok()?;
    let method = fields
        .remove("method")
        .and_then(|method| method.as_str().map(str::to_owned));
    let params = fields.remove("params");
    Some(match (method, id) {
        (Some(method), Some(id)) => {
            let request = ServerRequest::CustomRequest(CustomRequest::new(method, params));
            JsonRpcMessage::Request(JsonRpcRequest::new(id, request))
        }
        (Some(method), None) => {
            let notification = ServerNotification::CustomNotification(CustomNotification::new(method, params));
            JsonRpcMessage::Notification(JsonRpcNotification {
                jsonrpc: Default::default(),
                notification,
            })
        }
        (None, id) => match (fields.remove("result"), id) {
            (Some(result), Some(id)) => JsonRpcMessage::Response(JsonRpcResponse {
                jsonrpc: Default::default(),
                id,
                result: ServerResult::CustomResult(CustomResult(result)),
            }),
            (_, id) => {
                let error: ErrorData = serde_json::from_value(fields.remove("error")?).ok()?;
                JsonRpcMessage::Error(JsonRpcError::new(id, error))
            }
        },
    })
}

/// Whether a message answers a request of the client: nothing follows it on the stream of a call.
pub(super) fn is_answer(message: &Value) -> bool {
    message.get("method").is_none()
}
