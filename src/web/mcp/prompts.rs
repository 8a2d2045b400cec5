//! Prompts, for people who pick them from a menu, and completion of their arguments and of those of resources.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rmcp::ErrorData;
use rmcp::model::{
    CompleteRequestParams, CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResult, Prompt,
    PromptArgument, PromptMessage, Role,
};

use super::resources::refused;
use crate::runtime::Handle;
use crate::session::outcome::Outcome;
use crate::session::summary::Summary;

/// How many sessions are looked through for a completion.
const LOOKED_THROUGH: usize = 500;

/// How many days are offered.
const DAYS: usize = 30;

/// Every prompt.
pub(super) fn all() -> Vec<Prompt> {
    let argument = |name: &str, what: &str| PromptArgument::new(name).with_description(what).with_required(true);
    vec![
        Prompt::new(
            "run_task",
            Some("Run a task with Claude Code on this machine, and stay with it"),
            Some(vec![argument("task", "What is to be done")]),
        ),
        Prompt::new(
            "resume_interrupted",
            Some("Go on with a session that was interrupted"),
            Some(vec![argument(
                "session_id",
                "The session, by its id or its last digits",
            )]),
        ),
    ]
}

/// `prompts/get`
pub(super) async fn get(handle: &Handle, params: GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    let argument = |name: &str| {
        let given = params
            .arguments
            .as_ref()
            .and_then(|arguments| arguments.get(name)?.as_str());
        given.ok_or_else(|| ErrorData::invalid_params(format!("the argument {name:?} is missing"), None))
    };
    let text = match params.name.as_str() {
        "run_task" => format!(
            "Run this task with the tool execute_resumable of cc-executor, tell me how it goes, and ask me whatever it \
             asks:\n\n{}",
            argument("task")?
        ),
        "resume_interrupted" => {
            let id = handle.resolve(argument("session_id")?).await.map_err(refused)?;
            let summary = handle.get(id).await.map_err(refused)?;
            resume_text(&summary)
        }
        other => return Err(ErrorData::invalid_params(format!("there is no prompt {other:?}"), None)),
    };
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]))
}

fn resume_text(summary: &Summary) -> String {
    let (id, state) = (summary.session_id, summary.shown_state());
    let note = summary.shown_note().unwrap_or("nothing more is known".into());
    format!(
        "Session {id} of cc-executor worked on this in {}:\n\n{}\n\nIt is {state}: {note}.\n\nLook at it with \
         get_execution. If it has ended without being completed, go on with it by resume_execution; if it asks \
         something, ask me and answer it; then stay with it until its end.",
        summary.cwd.display(),
        summary.task
    )
}

/// `completion/complete`: ids of sessions and dates, by their beginnings.
pub(super) async fn complete(handle: &Handle, params: CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let typed = &params.argument.value;
    let offered: Vec<String> = match params.argument.name.as_str() {
        "session_id" => {
            let found = handle.recent(None, LOOKED_THROUGH).await.map_err(refused)?;
            let is_prompt = matches!(params.r#ref, rmcp::model::Reference::Prompt(_));
            // What is completed cannot be gone on with.
            let fits = |summary: &Summary| !is_prompt || summary.lifecycle.state.outcome() != Some(Outcome::Completed);
            found
                .iter()
                .filter(|summary| fits(summary))
                .map(|summary| summary.session_id.to_string())
                .collect()
        }
        "date" => last_days(),
        _ => Vec::new(),
    };
    let fitting: Vec<String> = offered
        .into_iter()
        .filter(|value| value.starts_with(typed.as_str()))
        .collect();
    let total = fitting.len();
    let shown: Vec<String> = fitting.into_iter().take(CompletionInfo::MAX_VALUES).collect();
    let mut info = CompletionInfo::new(shown).map_err(|error| ErrorData::internal_error(error, None))?;
    info.total = u32::try_from(total).ok();
    info.has_more = Some(total > CompletionInfo::MAX_VALUES);
    Ok(CompleteResult::new(info))
}

fn last_days() -> Vec<String> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    std::iter::successors(Some(today), |day| day.yesterday().ok())
        .take(DAYS)
        .map(|day| day.to_string())
        .collect()
}
