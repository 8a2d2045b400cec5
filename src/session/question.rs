//! Questions: what an agent needs a person for, what may be answered, and what an answer means.

use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::id::QuestionId;
use super::nesting;

/// How many faults of a form's content are told at once.
const FAULTS_MAX: usize = 5;

/// A question as it is journalled and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Question {
    /// Its name in the session.
    pub question_id: QuestionId,
    /// The agent's id of the request.
    pub request_id: String,
    /// The tool call it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_use_id: Option<String>,
    /// What is asked.
    #[serde(flatten)]
    pub kind: QuestionKind,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum QuestionKind {
    /// May this tool call go ahead?
    Permission {
        /// The tool.
        tool: String,
        /// Its whole input: what would really run.
        input: Value,
        /// Why it is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Rights that could be granted along with it, as the CLI suggests them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        suggestions: Vec<Value>,
    },
    /// Which of these?
    Choice {
        /// The questions, one to four.
        questions: Vec<Choice>,
        /// The tool's input, which an answer completes.
        input: Value,
    },
    /// Is this plan approved?
    Plan {
        /// The plan, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<String>,
        /// The tool's input.
        input: Value,
    },
    /// A form that an MCP server of the agent wants filled in.
    Form {
        /// The MCP server.
        server: String,
        /// What it says.
        message: String,
        /// JSON Schema of the content.
        schema: Value,
    },
}

/// One question with options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// The question.
    pub question: String,
    /// A short heading.
    #[serde(default)]
    pub header: String,
    /// What can be chosen; other text is allowed too.
    #[serde(default)]
    pub options: Vec<ChoiceOption>,
    /// More than one may be chosen.
    #[serde(default, rename = "multiSelect")]
    pub multi_select: bool,
}

/// One option of a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChoiceOption {
    /// Its name; this is what an answer says.
    pub label: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
}

/// An answer, as it is given and journalled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "allow"}))]
pub enum Answer {
    /// Yes, go ahead.
    Allow {
        /// Runs instead of what was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        updated_input: Option<Value>,
        /// Grant what the question suggests too, for this session only.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remember: bool,
    },
    /// No.
    Deny {
        /// Told to the agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// End the turn as well.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        interrupt: bool,
    },
    /// These, by question text; several labels of one question are joined by a comma and a space.
    Choose {
        /// Question text to chosen label, or text of one's own.
        answers: BTreeMap<String, String>,
    },
    /// The form's content.
    Submit {
        /// Fits the form's schema.
        content: Value,
    },
}

/// Why an answer does not fit its question; each says what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerMismatch {
    /// A permission or plan was answered with something else than yes or no.
    #[error("this question asks for permission: answer with allow or deny")]
    NeedsYesOrNo,
    /// A choice was answered without choosing.
    #[error("this question offers a choice: choose for each of its questions, or deny")]
    NeedsChoice,
    /// A choice names a question that was not asked.
    #[error("there is no question {0:?}: name each question by its whole text")]
    UnknownQuestion(String),
    /// A question was left out.
    #[error("the question {0:?} is not answered")]
    Unanswered(String),
    /// A form was answered without content.
    #[error("this question is a form: submit its content, or deny")]
    NeedsForm,
    /// What it holds is nested deeper than what reads it can follow.
    #[error("the answer has more than {} levels", nesting::LEVELS_MAX)]
    Deep,
    /// It could not be written to the agent.
    #[error(
        "the answer takes {bytes} bytes with all that goes with it, and an agent can be told {bytes_max} at once: give a shorter one, or deny"
    )]
    Long {
        /// How many it takes.
        bytes: usize,
        /// The most there may be.
        bytes_max: usize,
    },
    /// A form's content does not fit its schema.
    #[error("the form's content does not fit: {0}")]
    BadForm(String),
}

impl Answer {
    /// Whether what it holds can be read again where it is kept.
    fn is_kept_whole(&self) -> bool {
        match self {
            Self::Allow {
                updated_input: Some(value),
                ..
            }
            | Self::Submit { content: value } => nesting::is_within(value),
            Self::Allow {
                updated_input: None, ..
            }
            | Self::Deny { .. }
            | Self::Choose { .. } => true,
        }
    }
}

impl QuestionKind {
    /// Whether `answer` can be given to this question.
    pub fn check(&self, answer: &Answer) -> Result<(), AnswerMismatch> {
        if !answer.is_kept_whole() {
            return Err(AnswerMismatch::Deep);
        }
        match (self, answer) {
            (_, Answer::Deny { .. }) => Ok(()),
            (Self::Permission { .. } | Self::Plan { .. }, Answer::Allow { .. }) => Ok(()),
            (Self::Permission { .. } | Self::Plan { .. }, Answer::Choose { .. } | Answer::Submit { .. }) => {
                Err(AnswerMismatch::NeedsYesOrNo)
            }
            (Self::Choice { questions, .. }, Answer::Choose { answers }) => check_choice(questions, answers),
            (Self::Choice { .. }, Answer::Allow { .. } | Answer::Submit { .. }) => Err(AnswerMismatch::NeedsChoice),
            (Self::Form { schema, .. }, Answer::Submit { content }) => check_form(schema, content),
            (Self::Form { .. }, Answer::Allow { .. } | Answer::Choose { .. }) => Err(AnswerMismatch::NeedsForm),
        }
    }

    /// Whether this is the same question asked again: the same tool with equal input, or equal questions.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Permission { tool, input, .. },
                Self::Permission {
                    tool: tool2,
                    input: input2,
                    ..
                },
            ) => tool == tool2 && input == input2,
            (
                Self::Choice { questions, .. },
                Self::Choice {
                    questions: questions2, ..
                },
            ) => questions == questions2,
            // A resumed agent may ask for the plan's approval without saying it again.
            (Self::Plan { plan, .. }, Self::Plan { plan: plan2, .. }) => plan2.is_none() || plan == plan2,
            (
                Self::Form {
                    server,
                    message,
                    schema,
                },
                Self::Form {
                    server: server2,
                    message: message2,
                    schema: schema2,
                },
            ) => server == server2 && message == message2 && schema == schema2,
            (Self::Permission { .. } | Self::Choice { .. } | Self::Plan { .. } | Self::Form { .. }, _) => false,
        }
    }

    /// The question in one line, for lists and logs.
    pub fn headline(&self) -> String {
        match self {
            Self::Permission { tool, input, .. } => format!("{tool}: {}", headline_of_input(input)),
            Self::Choice { questions, .. } => questions
                .iter()
                .map(|q| q.question.as_str())
                .collect::<Vec<_>>()
                .join(" / "),
            Self::Plan { .. } => "approve the plan?".to_owned(),
            Self::Form { server, message, .. } => format!("{server}: {message}"),
        }
    }

    /// The answer that takes the first option of every choice.
    pub fn first_options(&self) -> Option<Answer> {
        let Self::Choice { questions, .. } = self else {
            return None;
        };
        let first = |q: &Choice| Some((q.question.clone(), q.options.first()?.label.clone()));
        Some(Answer::Choose {
            answers: questions.iter().map(first).collect::<Option<_>>()?,
        })
    }
}

/// The telling part of a tool's input: its command, file, pattern, path or first question, else the JSON.
pub fn headline_of_input(input: &Value) -> String {
    let telling = [
        "command",
        "file_path",
        "pattern",
        "path",
        "url",
        "description",
        "prompt",
    ];
    let of_choice = || input.pointer("/questions/0/question")?.as_str();
    let found = telling
        .iter()
        .find_map(|key| input.get(key)?.as_str())
        .or_else(of_choice);
    let text = found.map_or_else(|| input.to_string(), str::to_owned);
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(200).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

fn check_choice(questions: &[Choice], answers: &BTreeMap<String, String>) -> Result<(), AnswerMismatch> {
    if let Some(unknown) = answers
        .keys()
        .find(|text| !questions.iter().any(|q| q.question == **text))
    {
        return Err(AnswerMismatch::UnknownQuestion(unknown.clone()));
    }
    let unanswered = |q: &&Choice| answers.get(&q.question).is_none_or(|answer| answer.trim().is_empty());
    match questions.iter().find(unanswered) {
        Some(question) => Err(AnswerMismatch::Unanswered(question.question.clone())),
        None => Ok(()),
    }
}

/// A schema that cannot be understood, and a pattern that takes too long, refuse nothing: the server that asked looks at
/// the content too.
fn check_form(schema: &Value, content: &Value) -> Result<(), AnswerMismatch> {
    if !content.is_object() {
        return Err(AnswerMismatch::BadForm("it is no JSON object".to_owned()));
    }
    let Ok(validator) = jsonschema::options().should_validate_formats(true).build(schema) else {
        return Ok(());
    };
    let faults: Vec<_> = validator
        .iter_errors(content)
        .filter(|fault| !matches!(fault.kind(), ValidationErrorKind::BacktrackLimitExceeded { .. }))
        .take(FAULTS_MAX)
        .map(|fault| match fault.instance_path().as_str() {
            "" => fault.to_string(),
            path => format!("{}: {fault}", path.trim_start_matches('/')),
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(AnswerMismatch::BadForm(faults.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn choice() -> QuestionKind {
        let option = |label: &str| ChoiceOption {
            label: label.into(),
            description: String::new(),
        };
        let question = Choice {
            question: "Which colour?".into(),
            header: "Colour".into(),
            options: vec![option("Red"), option("Blue")],
            multi_select: false,
        };
        QuestionKind::Choice {
            questions: vec![question],
            input: json!({}),
        }
    }

    fn choose(question: &str, label: &str) -> Answer {
        Answer::Choose {
            answers: [(question.to_owned(), label.to_owned())].into(),
        }
    }

    #[test]
    fn an_answer_must_fit_its_question() {
        let permission = QuestionKind::Permission {
            tool: "Bash".into(),
            input: json!({}),
            reason: None,
            suggestions: vec![],
        };
        let allow = Answer::Allow {
            updated_input: None,
            remember: false,
        };
        assert_eq!(permission.check(&allow), Ok(()));
        assert_eq!(permission.check(&choose("x", "y")), Err(AnswerMismatch::NeedsYesOrNo));
        assert_eq!(choice().check(&allow), Err(AnswerMismatch::NeedsChoice));
        assert_eq!(choice().check(&choose("Which colour?", "green, please")), Ok(()));
        assert!(matches!(
            choice().check(&choose("Which size?", "S")),
            Err(AnswerMismatch::UnknownQuestion(_))
        ));
        assert!(matches!(
            choice().check(&choose("Which colour?", " ")),
            Err(AnswerMismatch::Unanswered(_))
        ));
    }

    #[test]
    fn a_form_must_fit_its_schema_and_is_told_where_it_does_not() {
        let check = |schema: &Value, content: Value| {
            let (server, message) = ("s".to_owned(), "m".to_owned());
            let schema = schema.clone();
            let form = QuestionKind::Form {
                server,
                message,
                schema,
            };
            form.check(&Answer::Submit { content })
        };
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 2},
                "age": {"type": "integer", "minimum": 0},
                "mail": {"type": "string", "format": "email"},
                "size": {"type": "string", "enum": ["S", "L"]},
            },
            "required": ["name"],
        });
        assert_eq!(
            check(&schema, json!({"name": "Bob", "age": 7, "mail": "b@c.de", "size": "L"})),
            Ok(())
        );
        for (content, told) in [
            (json!([]), "no JSON object"),
            (json!({}), "\"name\" is a required property"),
            (json!({"name": "B"}), "name: "),
            (json!({"name": "Bob", "age": -1}), "age: "),
            (json!({"name": "Bob", "age": "7"}), "age: "),
            (json!({"name": "Bob", "mail": "nobody"}), "mail: "),
            (json!({"name": "Bob", "size": "M"}), "size: "),
        ] {
            let refused = check(&schema, content.clone()).unwrap_err().to_string();
            assert!(refused.contains(told), "{content}: {refused}");
        }
        assert_eq!(
            check(&json!({"type": 5}), json!({"name": 7})),
            Ok(()),
            "left to the server"
        );
        let elsewhere = json!({"$ref": "http://127.0.0.1:1/schema"});
        assert_eq!(check(&elsewhere, json!({})), Ok(()), "nothing is fetched");
    }

    #[test]
    fn the_first_options_answer_a_choice_and_nothing_else() {
        assert_eq!(choice().first_options(), Some(choose("Which colour?", "Red")));
        assert_eq!(
            QuestionKind::Plan {
                plan: None,
                input: json!({})
            }
            .first_options(),
            None
        );
    }

    #[test]
    fn a_question_reads_as_it_is_written() {
        let question = Question {
            question_id: QuestionId(1),
            request_id: "r".into(),
            tool_use_id: None,
            kind: choice(),
        };
        let text = serde_json::to_string(&question).unwrap();
        assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), question);
    }

    #[test]
    fn a_tools_input_is_told_by_what_tells_most() {
        let told = |input: Value| headline_of_input(&input);
        assert_eq!(told(json!({"timeout": 5, "command": "make"})), "make");
        let choice = json!({"questions": [{"question": "Which colour?", "options": []}]});
        assert_eq!(told(choice), "Which colour?");
        assert_eq!(told(json!({"n": 1})), r#"{"n":1}"#);
    }
}
