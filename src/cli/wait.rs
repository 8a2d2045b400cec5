//! `wait`: for the end of sessions, or for a question of theirs.

use std::path::Path;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::args::{WaitArgs, WaitUntil};
use super::clean::name;
use super::client::{Client, read};
use super::exit::{Exit, Failure};
use super::follow::{DAEMON_BACK, DAEMON_GONE, Follow, Happening};
use super::screen::{eprint, print};
use super::sessions::{print_object, shown_state};
use super::view::View;

/// `wait`
pub(crate) async fn wait(state_dir: &Path, args: &WaitArgs) -> Result<Exit, Failure> {
    let deadline = args
        .timeout
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    // All are looked up first: a mistake is told at once, and a name means the session that has it now.
    let mut follows = Vec::new();
    for id in &args.ids {
        let client = Client::find(state_dir)?;
        let view = client.view(id).await?;
        follows.push((id, Follow::new(client, view.session_id.to_string(), view.head)));
    }
    let mut worst = Exit::Ok;
    for (id, mut follow) in follows {
        let waiting = wait_for(&mut follow, args.until);
        let raw = match deadline {
            None => waiting.await?,
            Some(deadline) => match timeout_at(deadline, waiting).await {
                Ok(raw) => raw?,
                Err(_) => {
                    eprint(&format!("error: the time is up; session {} goes on", name(id)));
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
async fn wait_for(follow: &mut Follow, until: WaitUntil) -> Result<Box<RawValue>, Failure> {
    let mut is_over = false;
    loop {
        let raw = follow.session().await?;
        let view: View = read(&raw)?;
        if is_over || view.has_ended() || is_asked(&view, until) {
            return Ok(raw);
        }
        is_over = !asks(follow).await?;
    }
}

/// Waits until the session asks something; false where it has ended instead.
async fn asks(follow: &mut Follow) -> Result<bool, Failure> {
    while let Some(happening) = follow.next().await? {
        match happening {
            Happening::Record(record, _) if record.kind == "question.asked" => return Ok(true),
            Happening::DaemonGone => eprint(DAEMON_GONE),
            Happening::DaemonBack => eprint(DAEMON_BACK),
            Happening::Record(..) | Happening::Hello(_) | Happening::Delta(_) => {}
        }
    }
    Ok(false)
}

fn is_asked(view: &View, until: WaitUntil) -> bool {
    until == WaitUntil::Question && view.unanswered().next().is_some()
}
