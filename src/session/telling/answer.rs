//! The words of questions and their answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{DetailBody, DetailPlace, Telling, Topic, Weight, told};
use crate::session::grant::{Grant, in_words};
use crate::session::journal::Answered;
use crate::session::question::{Answer, Question};

/// An answer as a participle, and what else it says.
pub fn answer_words<'a>(answer: &'a Answer, granted: &[Grant]) -> (&'static str, Cow<'a, str>) {
    match answer {
        Answer::Allow { updated_input, .. } => {
            let word = match updated_input {
                Some(_) => "allowed with changes",
                None => "allowed",
            };
            if granted.is_empty() {
                return (word, "".into());
            }
            (
                word,
                format!("for the rest of the session also {}", in_words(granted)).into(),
            )
        }
        Answer::Deny { reason, .. } => ("denied", reason.as_deref().unwrap_or_default().into()),
        Answer::Choose { answers } => {
            // Several stand with their questions, which have another order there.
            let told = match answers.len() {
                1 => answers.values().cloned().collect(),
                _ => each_choice(answers).collect::<Vec<_>>().join("; "),
            };
            ("answered", told.into())
        }
        Answer::Submit { content } => ("answered", content.to_string().into()),
    }
}

fn each_choice(answers: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    answers.iter().map(|(asked, chosen)| format!("{asked} {chosen}"))
}

pub(super) fn tell_question(question: &Question) -> Telling<'_> {
    let label = format!("question {}", question.question_id);
    told(Topic::Question, Weight::Major, label, question.kind.headline())
        .with(DetailPlace::Behind, "details", DetailBody::Question(question))
        .of_question(question.question_id)
}

pub(super) fn tell_answer(answered: &Answered) -> Telling<'_> {
    let (word, line) = answer_words(&answered.answer, &answered.granted);
    let label = format!("question {} {word} by {}", answered.question_id, answered.by);
    let mut told = told(Topic::Answer, Weight::Major, label, line).of_question(answered.question_id);
    let value = match &answered.answer {
        Answer::Allow { updated_input, .. } => updated_input.as_ref(),
        Answer::Submit { content } => Some(content),
        Answer::Deny { .. } | Answer::Choose { .. } => None,
    };
    if let Some(value) = value {
        told = told.with(DetailPlace::Below, "", DetailBody::Json(Cow::Borrowed(value)));
    }
    if let Answer::Choose { answers } = &answered.answer {
        let each = each_choice(answers).map(Cow::from).collect();
        told = told.with(DetailPlace::Below, "", DetailBody::List(each));
    }
    told
}
