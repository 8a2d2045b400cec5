//! `list_executions`: sessions in few words, and what each waits for.

use std::collections::BTreeMap;

use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;

use super::ToolError;
use super::arguments::ListArguments;
use crate::session::amounts::money;
use crate::session::excerpt;
use crate::session::outcome::Outcome;
use crate::session::shown::Shown;
use crate::session::summary::Summary;
use crate::web::mcp::services::Services;

/// Number of sessions that are listed when the caller does not say.
const LISTED: usize = 20;

/// Maximum number of sessions that are listed.
const LISTED_MAX: usize = 100;

/// Maximum length of a task, a name, a result or a question in a list, in bytes.
const WORDS_BYTES_MAX: usize = 160;

/// Maximum length of a list's first lines, in bytes.
const ABOUT_BYTES_MAX: usize = 1000;

/// Sessions, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    /// How many there are in each state, and which wait for a person
    about: String,
    sessions: Vec<Brief>,
    /// What to give as `before` for more; absent where there is no more
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<String>,
}

/// A session in a list.
#[derive(Debug, Serialize, JsonSchema)]
struct Brief {
    /// Names the session in every other tool
    session_id: String,
    /// What a person calls it
    name: String,
    /// The beginning of its task
    task: String,
    /// The directory it works in
    directory: String,
    /// The state, in the words that `state` takes
    #[schemars(with = "String")]
    state: Shown,
    /// Who or what it waits for, such as a person, a limit or a free place; absent where it waits for nothing
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    /// When it goes on by itself
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_until: Option<String>,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// The beginning of its answer
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    /// When it was asked for
    created_at: String,
    /// When an agent began to work
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    /// When anything happened last
    updated_at: String,
    /// When it ended
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Model rounds so far
    turns: u32,
    /// What it cost so far, in US dollars
    cost_usd: f64,
}

/// `list_executions`
pub(super) async fn list(
    services: &Services,
    arguments: Result<ListArguments, ToolError>,
) -> Result<CallToolResponse, ToolError> {
    let ListArguments {
        state,
        all,
        before,
        limit,
    } = arguments?;
    let read = |name: String| {
        name.parse::<Shown>()
            .map_err(|error| ToolError::Arguments(format!("state: {error}")))
    };
    let state = state.map(read).transpose()?;
    let limit = limit.unwrap_or(LISTED).clamp(1, LISTED_MAX);
    let before = match before {
        Some(id) => Some(services.handle.resolve(&id).await?),
        None => None,
    };
    let mut next_before = None;
    let found = if all || before.is_some() {
        let found = services.handle.recent(before, limit).await?;
        next_before = found
            .last()
            .filter(|_| found.len() == limit)
            .map(|last| last.session_id.to_string());
        found
    } else {
        services.handle.list().await?
    };
    let wanted = found
        .iter()
        .filter(|summary| state.is_none_or(|state| state == summary.shown_state()));
    let sessions: Vec<Brief> = wanted.take(limit).map(|summary| Brief::of(summary)).collect();
    Ok(Listed::new(sessions, next_before).into_result().into())
}

impl Listed {
    fn new(sessions: Vec<Brief>, next_before: Option<String>) -> Self {
        Self {
            about: about(&sessions),
            sessions,
            next_before,
        }
    }

    fn into_result(self) -> CallToolResult {
        let lines = self.sessions.iter().map(Brief::line);
        let mut text = [self.about.clone()]
            .into_iter()
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n\n");
        if let Some(before) = &self.next_before {
            text.push_str(&format!("\n\nThere are more: call again with before: \"{before}\""));
        }
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = serde_json::to_value(self).ok();
        result
    }
}

fn about(sessions: &[Brief]) -> String {
    let mut states: BTreeMap<Shown, usize> = BTreeMap::new();
    for session in sessions {
        *states.entry(session.state).or_default() += 1;
    }
    let counts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = match sessions.len() {
        0 => return "There are no such sessions.".to_owned(),
        _ => format!("Sessions, newest first: {}.", counts.join(", ")),
    };
    let asking = sessions.iter().filter(|session| session.state == Shown::AwaitingInput);
    for Brief {
        session_id,
        name,
        waits_for,
        ..
    } in asking
    {
        let what = waits_for.as_deref().unwrap_or_default();
        text.push_str(&format!("\n{session_id} ({name}) waits for {what}"));
    }
    excerpt::head(&text, ABOUT_BYTES_MAX).to_owned()
}

impl Brief {
    fn of(summary: &Summary) -> Self {
        let at = |at: jiff::Timestamp| format!("{at:.0}");
        let words = |text: &str| excerpt::head(text.trim(), WORDS_BYTES_MAX).to_owned();
        let cause = summary.lifecycle.state.outcome().and_then(Outcome::cause);
        Self {
            session_id: summary.session_id.to_string(),
            name: words(&summary.name),
            task: words(&summary.task),
            directory: summary.cwd.display().to_string(),
            state: summary.shown_state(),
            waits_for: waits_for(summary),
            waits_until: summary.waits_until().map(at),
            cause: cause.map(|cause| cause.name().to_owned()),
            result: summary.result.as_deref().map(words),
            created_at: at(summary.created_at),
            started_at: summary.started_at.map(at),
            updated_at: at(summary.updated_at),
            ended_at: summary.ended_at.map(at),
            turns: summary.turns_by_now(),
            cost_usd: money(summary.usage.cost_usd),
        }
    }

    /// The session in a few lines.
    fn line(&self) -> String {
        let mut text = format!("{} {}: {}", self.session_id, self.state, self.name);
        if self.task != self.name {
            text.push_str(&format!("\n  task: {}", self.task.replace('\n', " ")));
        }
        text.push_str(&format!("\n  in {}, asked for at {}", self.directory, self.created_at));
        match (&self.ended_at, &self.waits_for, &self.waits_until) {
            (Some(ended), _, _) => text.push_str(&format!(", ended at {ended}")),
            (None, Some(what), Some(until)) => text.push_str(&format!("\n  waits for {what}, until {until}")),
            (None, Some(what), None) => text.push_str(&format!("\n  waits for {what}")),
            (None, None, _) => text.push_str(&format!(", last news at {}", self.updated_at)),
        }
        text
    }
}

/// Who or what a session waits for.
fn waits_for(summary: &Summary) -> Option<String> {
    let mut open = summary.questions.values().filter(|waiting| waiting.answer.is_none());
    if let Some(waiting) = open.next() {
        let question = &waiting.question;
        let headline = excerpt::head(&question.kind.headline(), WORDS_BYTES_MAX).to_owned();
        let more = match open.count() {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        return Some(format!(
            "a person, to answer {}: {headline}{more}",
            question.question_id
        ));
    }
    let what = match summary.shown_state() {
        Shown::Queued => "a free place among the agents that work",
        Shown::Starting => "its agent's first word",
        Shown::WaitingQuota => "the reset of a usage limit",
        Shown::WaitingApi => "an API that answers",
        Shown::WaitingLogin => "a login that is accepted",
        Shown::WaitingTimer => "a timer that its agent has set",
        Shown::Paused => "room on the disk",
        Shown::WaitingRetry => "its next attempt",
        Shown::Stopping => "its agent's end",
        Shown::Running
        | Shown::AwaitingInput
        | Shown::Completed
        | Shown::Failed
        | Shown::Cancelled
        | Shown::TimedOut => return None,
    };
    Some(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::Created;
    use crate::session::request::Request;
    use crate::session::samples::ask_permission;
    use crate::session::state::State;

    fn summary(name: &str) -> Summary {
        let request = Request {
            task: format!("the task of {name}: {}", "x".repeat(5000)),
            cwd: "/srv/me".into(),
            name: Some(name.to_owned()),
            ..Request::default()
        };
        let created = Created {
            request,
            by: "a test".into(),
            claim: None,
            project: None,
        };
        Summary::new(SessionId::new(), &created, "2027-01-31T10:00:00Z".parse().unwrap())
    }

    fn asking(name: &str) -> Summary {
        let mut summary = summary(name);
        summary.lifecycle.state = State::Running;
        ask_permission(&mut summary, "make install");
        summary
    }

    #[test]
    fn a_list_has_what_tells_sessions_apart_and_says_who_waits_for_what() {
        let sessions = [summary("tidy up"), asking("install")];
        let briefs = sessions.iter().map(Brief::of).collect();
        let result = serde_json::to_value(Listed::new(briefs, None).into_result()).unwrap();
        let text = result["content"][0]["text"].as_str().unwrap();
        for part in [
            "tidy up",
            "/srv/me",
            "2027-01-31T10:00:00Z",
            "the task of tidy up",
            "a free place",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let first: String = text.chars().take(2000).collect();
        assert!(
            first.contains("(install) waits for a person, to answer q1: Bash: make install"),
            "{first}"
        );
        let listed = &result["structuredContent"]["sessions"];
        assert_eq!(
            (&listed[1]["state"], &listed[1]["name"]),
            (&"awaiting_input".into(), &"install".into())
        );
        assert_eq!(listed[0]["directory"], "/srv/me");
        assert!(listed[0]["task"].as_str().unwrap().len() <= WORDS_BYTES_MAX, "{listed}");
        let json = result["structuredContent"].to_string();
        assert!(json[..300].contains("waits for a person"), "{json}");
    }
}
