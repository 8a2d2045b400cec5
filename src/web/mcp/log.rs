//! Log messages to clients, where they asked for them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotification, LoggingMessageNotificationParam, ServerNotification};
use rmcp::service::{OriginatingRequestId, RequestContext, ServiceError};
use serde_json::Value;

use super::aside::Bookmark;
use super::caller::{Era, McpCaller};
use super::level::Level;

/// The most MCP sessions whose level is remembered.
const LEVELS_MAX: usize = 4096;

/// The level that each MCP session asked for, by `logging/setLevel`.
#[derive(Default)]
pub(super) struct Levels(Mutex<HashMap<String, Level>>);

impl Levels {
    /// Remembers a level.
    pub(super) fn set(&self, mcp_session: String, level: Option<Level>) {
        let mut levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= LEVELS_MAX {
            // Who asks again is served again; better than to grow without end.
            levels.clear();
        }
        match level {
            Some(level) => levels.insert(mcp_session, level),
            None => levels.remove(&mcp_session),
        };
    }

    /// True for a client that has not said which messages it wants. A client of the session era is then told what
    /// matters; one of the stateless era is told nothing.
    fn may_be_told_unasked(&self, caller: &McpCaller) -> bool {
        let session = caller.mcp_session.as_ref().filter(|_| caller.era == Era::Sessions);
        let levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        session.is_some_and(|session| !levels.contains_key(session))
    }

    fn of(&self, caller: &McpCaller) -> Option<Level> {
        match caller.era {
            Era::Stateless => caller.log_level,
            Era::Sessions => {
                let levels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                levels.get(caller.mcp_session.as_ref()?).copied()
            }
        }
    }
}

/// Sends a message to the caller if it wants messages of this level.
pub(super) async fn send(
    levels: &Levels,
    context: &RequestContext<RoleServer>,
    caller: &McpCaller,
    level: Level,
    text: &str,
) {
    let wanted = levels.of(caller);
    if wanted.is_some_and(|wanted| level >= wanted) {
        deliver(context, level, text).await;
    }
}

/// Sends a message that a client needs to find its session again, also to one that has not said what it wants.
pub(super) async fn send_unasked(
    levels: &Levels,
    context: &RequestContext<RoleServer>,
    caller: &McpCaller,
    text: &str,
) {
    if levels.may_be_told_unasked(caller) {
        deliver(context, Level::Notice, text).await;
    } else {
        send(levels, context, caller, Level::Notice, text).await;
    }
}

async fn deliver(context: &RequestContext<RoleServer>, level: Level, text: &str) {
    let data = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let message = LoggingMessageNotificationParam::new(level.on_the_wire(), data).with_logger("cc-executor");
    if let Err(error) = tell(context, message).await {
        tracing::debug!(%error, "a log message is not delivered");
    }
}

/// Names a place of a call to a client that may read on from there.
pub(super) async fn tell_bookmark(context: &RequestContext<RoleServer>, bookmark: Bookmark) {
    let mut log =
        LoggingMessageNotification::new(LoggingMessageNotificationParam::new(LoggingLevel::Debug, Value::Null));
    log.extensions.insert(OriginatingRequestId(context.id.clone()));
    let is_alone = true;
    log.extensions.insert(Bookmark { is_alone, ..bookmark });
    let log = ServerNotification::LoggingMessageNotification(log);
    if let Err(error) = context.peer.send_notification(log).await {
        tracing::debug!(%error, "a call cannot be read on");
    }
}

/// Sends a log message on the stream of the call that it belongs to.
pub async fn tell(
    context: &RequestContext<RoleServer>,
    message: LoggingMessageNotificationParam,
) -> Result<(), ServiceError> {
    let mut log = LoggingMessageNotification::new(message);
    log.extensions.insert(OriginatingRequestId(context.id.clone()));
    let log = ServerNotification::LoggingMessageNotification(log);
    context.peer.send_notification(log).await
}
