//! Questions: as details in the transcript, and as forms while they are open. What would run is shown in full, with
//! everything that is hidden in it made visible.

use maud::{Markup, html};
use serde_json::Value;

use super::forms::fields;
use super::once::once;
use super::text::{self, TextRoom, exact as visible};
use super::words::{self, Form, time};
use super::{markdown, tool};
use crate::session::grant::Suggestion;
use crate::session::id::SessionId;
use crate::session::question::{Choice, Question, QuestionKind};
use crate::session::state::State;
use crate::session::summary::{Summary, Waiting};
use crate::session::telling::question as telling;

/// All of a question, for those who have no form before them.
pub(super) fn whole_of(kind: &QuestionKind, room: TextRoom<'_>) -> Markup {
    html! { (content(kind, room)) (offered(kind)) (as_it_came(kind, room)) }
}

/// The open questions of a session with their forms; `near` is where a list of several sessions says whose they are.
pub(super) fn cards(summary: &Summary, may_act: bool, near: Near) -> Markup {
    html! { @for waiting in summary.questions.values() { (card(summary, waiting, may_act, near)) } }
}

/// Whether a question stands on the page of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Near {
    /// It does.
    ItsSession,
    /// It stands among those of other sessions.
    OtherSessions,
}

fn card(summary: &Summary, waiting: &Waiting, may_act: bool, near: Near) -> Markup {
    let question = &waiting.question;
    let session = summary.session_id;
    let name = format!("{}-{}", session.short(), question.question_id);
    let status = status(summary, waiting);
    let has_form = may_act && waiting.answer.is_none();
    html! {
        section.question id={ "question-" (name) } aria-labelledby={ "question-" (name) "-title" }
            data-session=(session) data-question=(question.question_id) data-ask=(ask(&question.kind))
            data-status=(status.0)
        {
            header {
                h3 id={ "question-" (name) "-title" } { (title(&question.kind)) }
                p.about {
                    @if near == Near::OtherSessions {
                        a href={ "/execution/" (session) } { (text::name(&summary.name)) } " · "
                    }
                    (question.question_id) " · asked " (time(waiting.asked_at, Form::Ago))
                }
                p.status hidden[status.1.is_empty()] { (status.1) }
            }
            div.asked {
                (whole(&question.kind, has_form))
            }
            @if has_form { (form(session, &name, question)) }
        }
    }
}

/// All of a question but its form, rendered once for all who look at it.
fn whole(kind: &QuestionKind, has_form: bool) -> Markup {
    let json = serde_json::to_string(kind).unwrap_or_default();
    let what = if has_form { "question with a form" } else { "question" };
    once(what, &[&json], || {
        html! {
            @if has_form { (content(kind, TextRoom::WHOLE)) (as_it_came(kind, TextRoom::WHOLE)) }
            @else { (whole_of(kind, TextRoom::WHOLE)) }
        }
    })
}

/// What is to be said about where the question stands: for scripts, and for people.
fn status(summary: &Summary, waiting: &Waiting) -> (&'static str, &'static str) {
    let lifecycle = &summary.lifecycle;
    // Our own question about the task waits for no agent.
    let is_kept = lifecycle.state.has_agent() || lifecycle.state == State::Asking;
    let is_orphaned = !is_kept || waiting.attempt != lifecycle.attempt;
    match (&waiting.answer, is_orphaned) {
        (Some(_), _) => ("answered", "Answered; the answer is on its way to the agent."),
        (None, true) => (
            "orphaned",
            "The agent that asked is gone. An answer is kept for the one that goes on.",
        ),
        (None, false) => ("open", ""),
    }
}

fn ask(kind: &QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Permission { .. } => "permission",
        QuestionKind::Choice { .. } => "choice",
        QuestionKind::Plan { .. } => "plan",
        QuestionKind::Form { .. } => "form",
    }
}

fn title(kind: &QuestionKind) -> String {
    match kind {
        QuestionKind::Permission { tool, .. } => format!("May it use {}?", telling::tool_in_words(tool)),
        QuestionKind::Choice { questions, .. } if questions.len() > 1 => "It asks you to choose".to_owned(),
        QuestionKind::Choice { .. } => "It asks you".to_owned(),
        QuestionKind::Plan { .. } => "Do you approve this plan?".to_owned(),
        QuestionKind::Form {
            server, url: Some(_), ..
        } => format!("{} asks you to open", text::name(server)),
        QuestionKind::Form { server, .. } => format!("{} asks for", text::name(server)),
    }
}

/// What is asked, in full, but for what stands in the form: see [`offered`].
fn content(kind: &QuestionKind, room: TextRoom<'_>) -> Markup {
    match kind {
        QuestionKind::Permission {
            tool, input, reason, ..
        } => html! {
            (tool::input(tool, input, room))
            @if let Some(reason) = reason { p.reason { (visible(reason)) } }
        },
        QuestionKind::Choice { .. } => html! {},
        QuestionKind::Plan { plan: Some(plan), .. } => {
            html! {
                div.markdown { (markdown::render(room.cut(plan))) }
                (room.rest(plan))
            }
        }
        QuestionKind::Plan { plan: None, input } if input.as_object().is_none_or(serde_json::Map::is_empty) => {
            html! { p { "The plan is what it wrote last." } }
        }
        QuestionKind::Plan { plan: None, input } => tool::json(input, room),
        QuestionKind::Form { message, url, .. } => html! {
            @if let Some(url) = url { p.path { code { (text::name(url)) } } }
            p { (visible(message)) }
        },
    }
}

/// Everything that is asked, as it came: the script shows it when it is unfolded. What a person may change stands in the
/// form already.
fn as_it_came(kind: &QuestionKind, room: TextRoom<'_>) -> Markup {
    let json = telling::pretty(&serde_json::to_value(kind).unwrap_or_default());
    if json.len() > room.bytes_max {
        return room.rest(&json);
    }
    html! {
        details.raw data-raw=(json) {
            summary { "All that is asked, as JSON (" (words::bytes(json.len())) ")" }
            pre.text {}
        }
    }
}

/// What an answer can be chosen from, for those who have no form before them.
fn offered(kind: &QuestionKind) -> Markup {
    match kind {
        QuestionKind::Choice { questions, .. } => html! {
            @for choice in questions {
                p { (visible(&choice.question)) }
                ul.offered { @for option in &choice.options {
                    li {
                        (visible(&option.label))
                        @if !option.description.is_empty() { span.hint { (visible(&option.description)) } }
                    }
                } }
            }
        },
        QuestionKind::Permission { .. } => html! {
            @let offers = kind.offers();
            @if !offers.is_empty() {
                p { "An answer can also grant, for the rest of the session:" }
                ul.offered { @for offer in &offers { li { (visible(&offer.words)) } } }
            }
        },
        QuestionKind::Plan { .. } | QuestionKind::Form { .. } => html! {},
    }
}

/// What stands above the questions that wait.
pub(super) fn heading(may_act: bool) -> &'static str {
    if may_act { "Needs you" } else { "Waits for an answer" }
}

fn form(session: SessionId, name: &str, question: &Question) -> Markup {
    let action = format!("/api/sessions/{session}/questions/{}/answer", question.question_id);
    html! {
        form.answer data-answer=(ask(&question.kind)) data-action=(action) novalidate {
            @match &question.kind {
                QuestionKind::Permission { input, .. } => (permission(name, input, &question.kind.offers())),
                QuestionKind::Choice { questions, .. } => (choices(name, questions)),
                QuestionKind::Plan { .. } => (plan(name)),
                QuestionKind::Form { url: Some(_), .. } => (opened()),
                QuestionKind::Form { schema, order, .. } => (filled(name, schema, order)),
            }
            p.problem role="alert" hidden {}
        }
    }
}

fn permission(name: &str, input: &Value, offers: &[Suggestion]) -> Markup {
    html! {
        @if !offers.is_empty() { (grants(name, offers)) }
        (message_field(name, "If you deny: what to do instead"))
        p.field.check {
            input type="checkbox" id={ (name) "-interrupt" } name="interrupt";
            label for={ (name) "-interrupt" } { "If you deny: stop the turn as well" }
        }
        details {
            summary { "Edit before allowing" }
            label.visually-hidden for={ (name) "-input" } { "The input of the tool, as JSON" }
            textarea.mono id={ (name) "-input" } name="updated_input" rows="6" spellcheck="false" {
                (telling::pretty(input))
            }
        }
        p.buttons {
            button.primary type="submit" value="allow" { "Allow" }
            button type="submit" value="deny" { "Deny" }
        }
    }
}

/// A box for each right that can be granted along with a yes; what is not understood is shown without one.
fn grants(name: &str, offers: &[Suggestion]) -> Markup {
    html! {
        fieldset.grants {
            legend { "If you allow: for the rest of this session also" }
            @for (place, offer) in offers.iter().enumerate() {
                @let id = format!("{name}-grant-{place}");
                p.field.check {
                    @if offer.grant.is_some() {
                        input type="checkbox" id=(id) name="grant" value=(offer.words);
                        label for=(id) { (visible(&offer.words)) }
                    } @else { (visible(&offer.words)) }
                }
            }
        }
    }
}

fn plan(name: &str) -> Markup {
    html! {
        (message_field(name, "If you reject it: what to change"))
        p.buttons {
            button.primary type="submit" value="allow" { "Approve" }
            button type="submit" value="deny" { "Reject" }
        }
    }
}

fn choices(name: &str, questions: &[Choice]) -> Markup {
    html! {
        @for (place, choice) in questions.iter().enumerate() { (one_choice(&format!("{name}-{place}"), choice)) }
        p.buttons {
            button.primary type="submit" value="choose" { "Answer" }
            button type="submit" value="deny" { "Decline" }
        }
    }
}

fn one_choice(name: &str, choice: &Choice) -> Markup {
    let kind = if choice.multi_select { "checkbox" } else { "radio" };
    let own = format!("{name}-own");
    html! {
        fieldset data-choice=(choice.question) {
            legend {
                @if !choice.header.is_empty() { span.label { (visible(&choice.header)) } " " }
                (visible(&choice.question))
                @if choice.multi_select { span.hint { " (several may be chosen)" } }
            }
            @for (place, option) in choice.options.iter().enumerate() {
                @let id = format!("{name}-{place}");
                p.field.check {
                    input type=(kind) id=(id) name=(name) value=(option.label);
                    label for=(id) {
                        (visible(&option.label))
                        @if !option.description.is_empty() { span.hint { (visible(&option.description)) } }
                    }
                }
            }
            p.field {
                label for=(own) { "Something else" }
                input type="text" id=(own) name=(own) data-own autocomplete="off";
            }
        }
    }
}

/// An address that is opened elsewhere, so that nothing is opened by one press.
fn opened() -> Markup {
    html! {
        p.buttons {
            button.primary type="submit" value="allow" { "I have opened it" }
            button type="submit" value="deny" { "Decline" }
        }
    }
}

/// A form of an MCP server: fields where its schema is simple, JSON where it is not.
fn filled(name: &str, schema: &Value, order: &[String]) -> Markup {
    html! {
        @match fields(name, schema, order) {
            Some(fields) => (fields),
            None => {
                p.field {
                    label for={ (name) "-content" } { "The content, as JSON" }
                    textarea.mono id={ (name) "-content" } name="content" rows="8" spellcheck="false" { "{}" }
                }
                details { summary { "Schema" } (tool::json(schema, TextRoom::WHOLE)) }
            }
        }
        p.buttons {
            button.primary type="submit" value="submit" { "Send" }
            button type="submit" value="deny" { "Decline" }
        }
    }
}

fn message_field(name: &str, label: &str) -> Markup {
    html! {
        p.field {
            label for={ (name) "-reason" } { (label) }
            input type="text" id={ (name) "-reason" } name="reason" autocomplete="off";
        }
    }
}

#[cfg(test)]
mod tests;
