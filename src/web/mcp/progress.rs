//! Progress notifications: never too many a second, never silent for long, never going back.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ProgressNotification, ProgressNotificationParam, ProgressToken, ServerNotification};
use rmcp::service::{Peer, RequestContext};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::aside::Bookmark;
use super::narrate::Todo;
use crate::config::McpSettings;
use crate::session::excerpt;

/// The longest message, in bytes. What does not fit is shown by its end.
const MESSAGE_BYTES_MAX: usize = 2 * 1024;

/// Tells one call's client how far it is, if it asked for that.
pub(super) struct Progress {
    to: Option<(ProgressToken, Peer<RoleServer>)>,
    scale: Scale,
    /// The least time between two notifications.
    pause: Duration,
    /// The most time between two.
    silence_max: Duration,
    last: Instant,
    last_message: String,
}

impl Progress {
    /// For the caller of this request, from where the call stands.
    pub(super) fn of(context: &RequestContext<RoleServer>, limits: &McpSettings, scale: Scale) -> Self {
        let token = context.meta.get_progress_token();
        let pause = Duration::from_secs(1) / limits.progress_per_second_max;
        Self {
            to: token.map(|token| (token, context.peer.clone())),
            scale,
            pause,
            silence_max: Duration::from_secs(limits.progress_silence_seconds),
            // The first message goes out at once.
            last: Instant::now() - pause,
            last_message: String::new(),
        }
    }

    /// Where the call stands.
    pub(super) fn scale(&self) -> Scale {
        self.scale
    }

    /// When the next notification is due.
    pub(super) fn due(&self, has_news: bool) -> Instant {
        self.last + if has_news { self.pause } else { self.silence_max }
    }

    /// Sends what is new, with the bookmark of where the call stands then; where nothing is new, what was sent last. Waits
    /// while the client does not read.
    pub(super) async fn send(&mut self, news: &str, todo: Todo, bookmark: impl FnOnce(Scale) -> Option<Bookmark>) {
        self.last = Instant::now();
        let Some((token, peer)) = &self.to else { return };
        if !news.trim().is_empty() {
            self.last_message = excerpt::tail(news.trim_end_matches('\n'), MESSAGE_BYTES_MAX).into_owned();
        }
        let (progress, total) = self.scale.step(todo);
        let mut param = ProgressNotificationParam::new(token.clone(), progress).with_message(self.last_message.clone());
        param.total = total;
        let mut told = ProgressNotification::new(param);
        if let Some(bookmark) = bookmark(self.scale) {
            told.extensions.insert(bookmark);
        }
        let told = ServerNotification::ProgressNotification(told);
        if let Err(error) = peer.send_notification(told).await {
            tracing::debug!(%error, "progress is not delivered");
        }
    }
}

/// Numbers that only grow: steps as they come and, once the agent has a list of things to do, what is done of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Scale {
    /// The steps before there was a list, and what is done of it.
    level: f64,
    /// Where the list began.
    base: Option<f64>,
    /// Steps since the last thing was done: each goes a part of the way to the next.
    since: f64,
    total: f64,
}

impl Scale {
    fn step(&mut self, todo: Todo) -> (f64, Option<f64>) {
        if todo.all == 0 && self.base.is_none() {
            self.level += 1.0;
            return (self.level, None);
        }
        let base = *self.base.get_or_insert(self.level);
        let done = base + f64::from(todo.done);
        if done > self.level {
            (self.level, self.since) = (done, 0.0);
        } else {
            self.since += 1.0;
        }
        let progress = self.level + self.since / (self.since + 1.0);
        self.total = self.total.max(base + f64::from(todo.all)).max(progress.ceil());
        (progress, Some(self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_only_grows_and_stays_within_the_total() {
        let mut scale = Scale::default();
        let lists = [
            (0, 0),
            (0, 0),
            (0, 3),
            (0, 3),
            (1, 3),
            (1, 3),
            (1, 2),
            (2, 5),
            (0, 0),
            (5, 5),
            (5, 5),
        ];
        let mut last = 0.0;
        for (done, all) in lists.into_iter().chain([(5, 5); 6000]) {
            let (progress, total) = scale.step(Todo { done, all });
            assert!(progress > last, "{progress} after {last}");
            assert!(total.is_none_or(|total| progress <= total), "{progress} of {total:?}");
            last = progress;
        }
    }
}
