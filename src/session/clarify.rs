//! Clarifying a task before it is run: an agent reads what is there and says whether the task is ambiguous, a person
//! is asked if it is, and the task is run as it was settled.
//!
//! ```text
//!  analysing ──(clear, or no verdict)──────────────► settled: the task is run
//!      └──(ambiguous)─► asking ──(answer, or none)──────┘
//! ```
//!
//! All of it is a fold of the journal: `attempt.ended`, `question.asked`, `task.refined`. An analysis that crashes is
//! restarted like any attempt.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::excerpt;
use super::id::QuestionId;
use super::question::{Answer, Choice, ChoiceOption};
use super::request::{PermissionMode, Request};

/// The most questions that are asked about one task.
pub const QUESTIONS_MAX: usize = 4;

/// The most options of one question.
pub const OPTIONS_MAX: usize = 6;

/// The longest question or option, in bytes.
const LINE_BYTES_MAX: usize = 500;

/// The longest answer that becomes part of the task, in bytes; the record of the answer has all of it.
const ANSWER_BYTES_MAX: usize = 4096;

/// Tools that an analysis has no use for: those that change files, and those by which an agent asks by itself.
const NOT_FOR_ANALYSIS: [&str; 5] = ["Edit", "Write", "NotebookEdit", "ExitPlanMode", "AskUserQuestion"];

/// How far the clarification of a task has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Clarify {
    /// Nobody asked for it: the task is run as it stands.
    #[default]
    Unasked,
    /// An agent reads what is there, changes nothing, and says whether the task is ambiguous.
    Analysing,
    /// A person is asked.
    Asking {
        /// The id of the question.
        question: QuestionId,
    },
    /// The task is settled, and run.
    Settled,
}

/// What an analysis says about a task.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Verdict {
    /// The task can be understood in more than one way.
    pub ambiguous: bool,
    /// The ways.
    #[serde(default)]
    pub interpretations: Vec<String>,
    /// What would settle it.
    #[serde(default)]
    pub questions: Vec<Choice>,
}

/// The end of an analysis, with what is needed to go on from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// What it says; none where that cannot be read.
    pub verdict: Option<Verdict>,
    /// The task as it was asked for.
    pub task: String,
    /// The name of the next question.
    pub question_id: QuestionId,
    /// The id of the next message.
    pub uuid: Uuid,
}

/// What was made clear about a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Clarifications {
    /// Question to answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
    /// Why the questions stayed without an answer, where they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_open: Option<String>,
}

impl Verdict {
    /// Reads a verdict from the structured output of an analysis, else from its text: the JSON may stand between fences
    /// or other words.
    pub fn read(structured: Option<&Value>, text: Option<&str>) -> Option<Self> {
        let structured = structured.and_then(|value| serde_json::from_value(value.clone()).ok());
        structured.or_else(|| text.and_then(read_text))
    }

    /// The questions for a person; none where the task is clear. Bounded, and each one asked once.
    pub fn choices(&self) -> Vec<Choice> {
        if !self.ambiguous {
            return Vec::new();
        }
        let mut choices: Vec<Choice> = Vec::new();
        for choice in self.questions.iter().filter_map(sound) {
            if choices.len() < QUESTIONS_MAX && !choices.iter().any(|known| known.question == choice.question) {
                choices.push(choice);
            }
        }
        if choices.is_empty() {
            choices.extend(self.which_interpretation());
        }
        choices
    }

    fn which_interpretation(&self) -> Option<Choice> {
        let option = |text: &String| ChoiceOption {
            label: text.clone(),
            description: String::new(),
        };
        let choice = Choice {
            question: "What is meant?".to_owned(),
            header: "Task".to_owned(),
            options: self.interpretations.iter().map(option).collect(),
            multi_select: false,
        };
        sound(&choice).filter(|choice| !choice.options.is_empty())
    }
}

/// The JSON object in a text: the whole of it, or from the first brace to the last one.
fn read_text(text: &str) -> Option<Verdict> {
    let (from, through) = (text.find('{')?, text.rfind('}')?);
    serde_json::from_str(text.get(from..=through)?).ok()
}

/// A choice that can be shown: cut to its bounds, without options that say nothing or the same; none without a question.
fn sound(choice: &Choice) -> Option<Choice> {
    let line = |text: &str| excerpt::head(text.trim(), LINE_BYTES_MAX).to_owned();
    let question = line(&choice.question);
    let mut options: Vec<ChoiceOption> = Vec::new();
    for option in &choice.options {
        let label = line(&option.label);
        let is_new = !label.is_empty() && !options.iter().any(|known| known.label == label);
        if is_new && options.len() < OPTIONS_MAX {
            let description = line(&option.description);
            options.push(ChoiceOption { label, description });
        }
    }
    (!question.is_empty()).then(|| Choice {
        question,
        header: line(&choice.header),
        options,
        multi_select: choice.multi_select,
    })
}

impl Clarifications {
    /// What an answer to our question makes clear.
    pub fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Choose { answers } => Self {
                answers: answers
                    .iter()
                    .map(|(question, answer)| (question.clone(), excerpt::head(answer, ANSWER_BYTES_MAX).to_owned()))
                    .collect(),
                left_open: None,
            },
            Answer::Deny { reason, .. } => Self {
                answers: BTreeMap::new(),
                left_open: Some(
                    reason
                        .clone()
                        .unwrap_or_else(|| "the person did not want to say".to_owned()),
                ),
            },
            Answer::Allow { .. } | Answer::Submit { .. } => Self::default(),
        }
    }

    /// The task with what was made clear about it.
    pub fn refine(&self, task: &str) -> String {
        let mut refined = task.to_owned();
        if !self.answers.is_empty() {
            refined.push_str("\n\nWhat was asked about this task, and the answer to it:");
        }
        for (question, answer) in &self.answers {
            refined.push_str(&format!("\n\n{question}\n{answer}"));
        }
        if let Some(why) = &self.left_open {
            refined.push_str(&format!(
                "\n\nThe questions about this task stayed without an answer ({}). Decide for yourself what is most \
                 likely meant, and say at the end what you took it to mean.",
                excerpt::head(why, LINE_BYTES_MAX)
            ));
        }
        refined
    }
}

/// What the agent is told first: the task, to be analysed, to be run as it was settled, or as it stands.
pub fn told<'a>(task: &'a str, clarify: Clarify, clarifications: &Clarifications) -> Cow<'a, str> {
    match clarify {
        Clarify::Unasked => Cow::Borrowed(task),
        Clarify::Analysing | Clarify::Asking { .. } => Cow::Owned(analysis_prompt(task)),
        Clarify::Settled => Cow::Owned(run_prompt(&clarifications.refine(task))),
    }
}

/// Asks for a verdict about a task.
fn analysis_prompt(task: &str) -> String {
    format!(
        "Below is a task. Do not do it yet: find out whether it is ambiguous. Look at whatever you need to understand it, \
         and change nothing. It is ambiguous only if what you find leaves open two or more readings that lead to \
         different work, and a person would be annoyed by the wrong one; what you can look up or sensibly decide \
         yourself is not.\n\n\
         Then give your verdict as one JSON object and nothing else: \"ambiguous\" (true or false), \"interpretations\" \
         (each reading in a sentence), and, if it is ambiguous, \"questions\": at most {QUESTIONS_MAX}, each with \
         \"question\", a short \"header\", \"options\" (two to {OPTIONS_MAX}, each with \"label\" and \"description\", the most \
         likely one first) and \"multiSelect\".\n\n\
         The task:\n\n{task}"
    )
}

/// Tells the agent that analysed a task to do it.
pub fn run_prompt(refined: &str) -> String {
    format!("The analysis is over, and you may make changes now. Do this task:\n\n{refined}")
}

/// The request as an analysis runs it: nothing is changed, no rule grants anything, and the answer is a verdict.
pub fn for_analysis(request: &Request) -> Request {
    let mut request = request.clone();
    request.permission_mode = Some(PermissionMode::Plan);
    request.allowed_tools.clear();
    request.disallowed_tools.extend(NOT_FOR_ANALYSIS.map(str::to_owned));
    request.json_schema = Some(verdict_schema());
    request
}

fn verdict_schema() -> Value {
    let text = json!({"type": "string"});
    let object =
        |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required});
    let option = object(json!({"label": text, "description": text}), json!(["label"]));
    let question = json!({
        "question": text,
        "header": text,
        "options": {"type": "array", "items": option},
        "multiSelect": {"type": "boolean"},
    });
    let verdict = json!({
        "ambiguous": {"type": "boolean"},
        "interpretations": {"type": "array", "items": text},
        "questions": {"type": "array", "items": object(question, json!(["question", "options"]))},
    });
    object(verdict, json!(["ambiguous"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMBIGUOUS: &str = r#"{"ambiguous": true, "interpretations": ["a", "b"],
        "questions": [{"question": "Which?", "options": [{"label": "A"}, {"label": "A"}, {"label": " "}, {"label": "B"}]}]}"#;

    fn labels(choice: &Choice) -> Vec<&str> {
        choice.options.iter().map(|option| option.label.as_str()).collect()
    }

    #[test]
    fn a_verdict_is_found_between_fences_and_other_words() {
        let fenced = format!("Here it is:\n```json\n{AMBIGUOUS}\n```\nThat is all.");
        let verdict = Verdict::read(None, Some(&fenced)).unwrap();
        assert!(verdict.ambiguous);
        let choices = verdict.choices();
        assert_eq!(
            labels(&choices[0]),
            ["A", "B"],
            "what says nothing or the same is left out"
        );
    }

    #[test]
    fn structured_output_goes_before_text_and_nonsense_is_no_verdict() {
        let clear = json!({"ambiguous": false});
        assert!(!Verdict::read(Some(&clear), Some(AMBIGUOUS)).unwrap().ambiguous);
        assert!(Verdict::read(Some(&json!("x")), Some(AMBIGUOUS)).unwrap().ambiguous);
        for nonsense in ["", "it is clear", "}{", r#"{"questions": []}"#, "{\"ambiguous\": 1}"] {
            assert_eq!(Verdict::read(None, Some(nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_asked_is_bounded_and_asked_once() {
        let question = |n: usize| json!({"question": format!("q{}", n / 2), "options": []});
        let questions: Vec<Value> = (0..20).map(question).collect();
        let verdict = Verdict::read(Some(&json!({"ambiguous": true, "questions": questions})), None).unwrap();
        assert_eq!(verdict.choices().len(), QUESTIONS_MAX);
        let clear = Verdict {
            ambiguous: false,
            ..verdict
        };
        assert!(clear.choices().is_empty());
    }

    #[test]
    fn readings_without_a_question_are_asked_for_by_themselves() {
        let verdict = json!({"ambiguous": true, "interpretations": ["the site", "the book"]});
        let choices = Verdict::read(Some(&verdict), None).unwrap().choices();
        assert_eq!(labels(&choices[0]), ["the site", "the book"]);
        let nothing = Verdict::read(Some(&json!({"ambiguous": true})), None).unwrap();
        assert!(nothing.choices().is_empty());
    }

    #[test]
    fn the_refined_task_has_the_task_and_the_answers() {
        let answer = Answer::Choose {
            answers: [("Which?".to_owned(), "B".to_owned())].into(),
        };
        let refined = Clarifications::of(&answer).refine("tidy up");
        assert!(
            refined.starts_with("tidy up\n") && refined.ends_with("Which?\nB"),
            "{refined}"
        );
        let denied = Answer::Deny {
            reason: Some("no time".into()),
            interrupt: false,
        };
        assert!(Clarifications::of(&denied).refine("tidy up").contains("no time"));
        assert_eq!(Clarifications::default().refine("tidy up"), "tidy up");
    }

    #[test]
    fn an_analysis_has_fewer_rights_than_the_request_and_never_more() {
        let request = Request {
            allowed_tools: vec!["Bash".into()],
            disallowed_tools: vec!["WebFetch".into()],
            permission_mode: Some(PermissionMode::BypassPermissions),
            ..Request::default()
        };
        let analysis = for_analysis(&request);
        assert_eq!(analysis.permission_mode, Some(PermissionMode::Plan));
        assert!(analysis.allowed_tools.is_empty());
        assert!(analysis.disallowed_tools.contains(&"WebFetch".to_owned()));
        assert!(analysis.disallowed_tools.contains(&"Write".to_owned()));
    }
}
