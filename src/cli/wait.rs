//! `wait`: for the end of sessions, or for a question of theirs.

use std::path::Path;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::args::{Until, WaitArgs};
use super::clean::clean;
use super::client::{Client, read};
use super::exit::{Exit, Failure};
use super::follow::{Follow, Happening};
use super::screen::{eprint, print};
use super::sessions::{print_object, shown_state};
use super::view::View;

/// `wait`
pub(crate) async fn wait(state_dir: &Path, args: &WaitArgs) -> Result<Exit, Failure> {
    let deadline = args
        .timeout
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut worst = Exit::Ok;
    for id in &args.ids {
        let waiting = wait_for(Client::find(state_dir)?, id, args.until);
        let raw = match deadline {
            None => waiting.await?,
            Some(deadline) => match timeout_at(deadline, waiting).await {
                Ok(raw) => raw?,
                Err(_) => {
                    eprint(&format!("error: the time is up; session {} goes on", clean(id)));
                    return Ok(worst.worse(Exit::TimedOut));
                }
            },
        };
        let view: View = read(&raw)?;
        if args.json {
            print_object(&raw)?;
        } else {
            print(&format!("{} {}\n", view.session_id.short(), shown_state(&view)))?;
        }
        worst = worst.worse(Exit::of_outcome(view.ended_as()));
    }
    Ok(worst)
}

/// Follows a session's stream, without looking at what is said; through daemons that come and go.
async fn wait_for(client: Client, id: &str, until: Until) -> Result<Box<RawValue>, Failure> {
    let raw = client.get_raw(id).await?;
    let view: View = read(&raw)?;
    if view.has_ended() || is_asked(&view, until) {
        return Ok(raw);
    }
    let id = view.session_id.to_string();
    let mut follow = Follow::new(client, id.clone(), view.head);
    while let Some(happening) = follow.next().await? {
        let Happening::Record(record, _) = happening else {
            continue;
        };
        if record.kind != "question.asked" {
            continue;
        }
        // It may be answered already, or the daemon gone again: then there is more to follow.
        let Ok(raw) = follow.client().get_raw(&id).await else {
            continue;
        };
        if is_asked(&read(&raw)?, until) {
            return Ok(raw);
        }
    }
    follow.client().get_raw(&id).await
}

fn is_asked(view: &View, until: Until) -> bool {
    until == Until::Question && view.unanswered().next().is_some()
}
