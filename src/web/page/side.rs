//! What stands beside a transcript: where the session works, and from where it can go on.

use jiff::Timestamp;
use maud::{Markup, html};

use super::record::checkpoint_controls;
use super::text::{name, visible};
use super::words::{self, Form, time};
use crate::runtime::CallError;
use crate::runtime::Handle;
use crate::session::checkpoint::Checkpoint;
use crate::session::summary::Effective;
use crate::session::summary::Summary;
use crate::session::terms::Terms;
use crate::store::StoredRecord;

/// How many checkpoints are listed; all stand in the transcript.
const CHECKPOINTS_MAX: usize = 12;

/// What the column beside the transcript is made of.
pub(super) struct Beside {
    checkpoints: Vec<(StoredRecord, Checkpoint)>,
}

impl Beside {
    pub(super) async fn of(handle: &Handle, summary: &Summary) -> Result<Self, CallError> {
        let found = handle.checkpoints(summary.session_id, None, CHECKPOINTS_MAX + 1);
        Ok(Self {
            checkpoints: found.await?,
        })
    }

    /// The column.
    pub(super) fn render(&self, summary: &Summary, may_act: bool) -> Markup {
        html! {
            aside #side aria-label="About this session" {
                section { h2 { "About" } (about(summary)) }
                section #export { h2 { "Export" } (exports(summary)) }
                section #checkpoints { h2 { "Checkpoints" } (checkpoints(&self.checkpoints, may_act)) }
            }
        }
    }
}

fn about(summary: &Summary) -> Markup {
    let (usage, now) = (&summary.usage, Timestamp::now());
    html! {
        dl.about {
            dt { "Directory" } dd.mono { (name(&summary.cwd.display().to_string())) }
            dt { "Id" } dd.mono { (summary.session_id) }
            dt { "Created" } dd { (time(summary.created_at, Form::Date)) }
            @if let Some(started) = summary.started_at { dt { "Started" } dd { (time(started, Form::Date)) } }
            @if let Some(ended) = summary.ended_at { dt { "Ended" } dd { (time(ended, Form::Date)) } }
            @if let Some(model) = &summary.model { dt { "Model" } dd { (visible(model)) } }
            (terms(&summary.effective))
            dt { "Turns, cost" }
            dd { (summary.turns_by_now()) ", " (words::usd(usage.cost_usd)) }
            dt { "At work" } dd { (words::active(summary, now)) }
            @if let Some(used) = summary.used_of_limits(now) { dt { "Limits" } dd { (used) } }
            dt { "Tokens" }
            dd {
                (words::amount(usage.input_tokens)) " in, " (words::amount(usage.output_tokens)) " out, "
                (words::amount(usage.cache_read_tokens)) " from the cache"
            }
            dt { "In a terminal" } dd.mono { "cc-executor attach " (summary.session_id.short()) }
        }
    }
}

/// What holds now instead of what was asked for, or besides it.
fn terms(effective: &Effective) -> Markup {
    let Terms {
        permission_mode,
        allowed_tools,
        add_dirs,
        model,
    } = &effective.terms;
    html! {
        @if let Some(mode) = permission_mode {
            dt { "Permission mode" }
            dd {
                (mode.name()) ": " (mode.meaning())
                @if let Some(asked) = effective.asked_mode() { span.hint { " (created with " (asked.name()) ")" } }
            }
        }
        @if !allowed_tools.is_empty() {
            dt { "Allowed without asking" }
            dd { ul { @for rule in allowed_tools { li.mono { (visible(rule)) } } } }
        }
        @if !add_dirs.is_empty() {
            dt { "Added directories" }
            dd { ul { @for directory in add_dirs { li.mono { (name(&directory.display().to_string())) } } } }
        }
        @if let Some(model) = model { dt { "Current model" } dd { (visible(model)) } }
    }
}

/// All of it as a file.
fn exports(summary: &Summary) -> Markup {
    let address = |format: &str| format!("/api/sessions/{}/export?format={format}", summary.session_id);
    html! {
        p {
            a href=(address("markdown")) download { "Markdown" } " · "
            a href=(address("json")) download { "JSON" } " · "
            a href=(address("jsonl")) download { "JSON lines" }
        }
    }
}

fn checkpoints(found: &[(StoredRecord, Checkpoint)], may_act: bool) -> Markup {
    if found.is_empty() {
        return html! { p.empty { "None yet." } };
    }
    html! {
        ol.checkpoints {
            @for (record, checkpoint) in found.iter().take(CHECKPOINTS_MAX) {
                li {
                    a href={ "?seq=" (record.seq) "#r" (record.seq) } {
                        "Record " (record.seq) ", " (words::count(u64::from(checkpoint.turns), "turn", "turns"))
                    }
                    span.when { (time(record.at, Form::Clock)) " · " (words::usd(checkpoint.usage.cost_usd)) }
                    @if may_act { (checkpoint_controls(record.seq)) }
                }
            }
        }
        @if found.len() > CHECKPOINTS_MAX { p.rest { "Earlier ones stand in the transcript." } }
    }
}
