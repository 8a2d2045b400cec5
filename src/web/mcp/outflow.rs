//! What goes to a client that may be slow to read, or read nothing: its stream never holds up the session behind it.
//!
//! rmcp writes all streams of an MCP session from one task, so a client that stops reading one of them would get nothing
//! on the others, and could not even cancel. What is written is therefore taken at once. Progress that the client is too
//! slow for is left out: it is superseded by what follows, the result is complete without it, and the store of events
//! has it. Everything else waits for the client, and there is little of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{BoxStream, Stream, StreamExt};
use rmcp::model::{JsonRpcMessage, ServerNotification};
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use tokio::sync::mpsc;

/// How many messages wait for a client before progress is left out.
const WAITING_MAX: usize = 64;

/// The messages for the client. They are taken from `messages` by a task of its own, also when nobody reads any more:
/// what is sent to a client that has left goes to the store of events.
pub(super) fn unhurried(
    mut messages: impl Stream<Item = ServerSseMessage> + Send + Unpin + 'static,
) -> BoxStream<'static, ServerSseMessage> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&waiting);
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            if is_progress(&message) && waiting.load(Ordering::Relaxed) >= WAITING_MAX {
                continue;
            }
            waiting.fetch_add(1, Ordering::Relaxed);
            // Without a reader it is dropped.
            let _ = sender.send(message);
        }
    });
    futures_util::stream::unfold((receiver, taken), async |(mut receiver, taken)| {
        let message = receiver.recv().await?;
        taken.fetch_sub(1, Ordering::Relaxed);
        Some((message, (receiver, taken)))
    })
    .boxed()
}

fn is_progress(event: &ServerSseMessage) -> bool {
    let Some(JsonRpcMessage::Notification(told)) = event.message.as_deref() else {
        return false;
    };
    matches!(told.notification, ServerNotification::ProgressNotification(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use serde_json::json;

    fn event(message: serde_json::Value) -> ServerSseMessage {
        ServerSseMessage::from_message(serde_json::from_value(message).unwrap())
    }

    #[tokio::test]
    async fn progress_is_left_out_for_a_slow_client_and_nothing_else() {
        let progress = |n: usize| {
            event(json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": 1, "progress": n}}))
        };
        let ask = || event(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
        let answer = event(json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
        let (all_taken, is_taken) = tokio::sync::oneshot::channel::<()>();
        let written = (0..1000).map(progress).chain((0..100).map(|_| ask())).chain([answer]);
        let written = stream::iter(written.collect::<Vec<_>>()).chain(
            stream::once(async move {
                let _ = all_taken.send(());
                stream::empty()
            })
            .flatten()
            .boxed(),
        );
        let read = unhurried(written);
        is_taken.await.unwrap();
        let read: Vec<_> = read.collect().await;
        assert_eq!(read.iter().filter(|event| is_progress(event)).count(), WAITING_MAX);
        assert_eq!(read.len(), WAITING_MAX + 101);
    }
}
