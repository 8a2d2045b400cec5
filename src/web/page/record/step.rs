//! How the conversation looks in the transcript: what the agent says and thinks, and what it calls tools for.

use maud::{Markup, html};

use super::{LINE_CHARS_MAX, ReadRecord, details};
use crate::session::telling::DetailBody;
use crate::web::page::text::{one_line, visible};
use crate::web::page::{tool, words};

pub(super) fn said(item: &ReadRecord<'_>) -> Markup {
    let told = item.telling;
    html! {
        @if told.origin.by_subagent { p.who { "Subagent" } }
        (details(item))
        @if !told.label.is_empty() { p.rest { (super::label(told)) } }
    }
}

pub(super) fn thought(item: &ReadRecord<'_>) -> Markup {
    let told = item.telling;
    if told.details.is_empty() {
        return html! { p.line { "Thinking, which the model keeps to itself" } };
    }
    html! {
        details {
            summary { span.label { (super::label(told)) } " " span.headline { (one_line(&told.line, LINE_CHARS_MAX)) } }
            (details(item))
        }
    }
}

/// A tool call is folded; its results are moved into it.
pub(super) fn call(item: &ReadRecord<'_>) -> Markup {
    let status = match item.failed {
        None => "",
        Some(false) => "done",
        Some(true) => "failed",
    };
    html! {
        details data-status=(status) {
            summary {
                span.label { (visible(&item.telling.label)) } " "
                @for detail in &item.telling.details {
                    @if let DetailBody::Input(name, input) = detail.body {
                        span.headline { (tool::headline(name, input)) }
                        @if let Some(size) = tool::size(name, input) {
                            " " span.size { span.added { "+" (size.added) } " " span.removed { "−" (size.removed) } }
                        }
                    }
                }
                " " span.outcome { (if item.failed == Some(true) { "failed" } else { "" }) }
            }
            (details(item))
            div.results { @for result in &item.results { (result) } }
        }
    }
}

pub(super) fn result(item: &ReadRecord<'_>) -> Markup {
    let told = item.telling;
    let lines = told.line.lines().count();
    html! {
        details open[lines <= 1] {
            summary {
                span.label { (super::label(told)) } " "
                span.headline { (one_line(&told.line, LINE_CHARS_MAX)) }
                @if lines > 1 { " " span.size { (words::count(lines as u64, "line", "lines")) } }
            }
            @if told.line.trim().is_empty() { p.rest { "No output" } } @else { (details(item)) }
        }
    }
}
