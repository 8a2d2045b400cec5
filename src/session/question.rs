//! Questions: what an agent needs a person for, what may be answered, and what an answer means.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::excerpt;
use super::form;
use super::grant::{Grant, Pick, Suggestion};
use super::id::QuestionId;
use super::nesting;

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
    /// The content of the question.
    #[serde(flatten)]
    pub kind: QuestionKind,
}

/// The content of a question, by its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum QuestionKind {
    /// May this tool call go ahead?
    Permission {
        /// The tool.
        tool: String,
        /// Its whole input: what would really run.
        input: Value,
        /// The reason that the agent gives.
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
        /// The message.
        message: String,
        /// JSON Schema of the content.
        schema: Value,
        /// The keys of its fields, in the order in which the server lists them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        order: Vec<String>,
        /// The address that the server wants a person to open instead of filling in a form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
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
    /// The explanation of the option.
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
        /// Grant all rules that the question suggests, for this session only: the like is not asked again. The
        /// permission mode and directories have to be named in `grant`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        remember: bool,
        /// Grant these suggestions of the question, for this session only: each by its place in `suggestions`, from 0,
        /// or by its line in `offers`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        grant: Vec<Pick>,
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
    /// A question of ours about a project was answered with something else than what it offers.
    #[error("choose one of the options that this question offers, in its words, or deny")]
    NotOffered,
    /// A question was left out.
    #[error("the question {0:?} is not answered")]
    Unanswered(String),
    /// A form was answered without content.
    #[error("this question is a form: submit its content, or deny")]
    NeedsForm,
    /// It grants something that the question does not suggest, or no longer does.
    #[error("this question does not suggest {picked} to grant; {}", offered(.offers))]
    NoSuchGrant {
        /// The name or number that was given.
        picked: String,
        /// What could be granted.
        offers: Vec<String>,
    },
    /// The form in which it was allowed cannot show all that is asked.
    #[error("this form cannot show all that is asked, so it can only be denied here: allow it on the page")]
    NotShown,
    /// What it holds is nested deeper than what reads it can follow.
    #[error("the answer has more than {} levels", nesting::LEVELS_MAX)]
    Deep,
    /// It could not be written to the agent.
    #[error(
        "the answer takes {bytes} bytes with all that goes with it, and an agent can be told {bytes_max} at once: give a shorter one, or deny"
    )]
    Long {
        /// Its size in bytes.
        bytes: usize,
        /// The most there may be.
        bytes_max: usize,
    },
    /// A form's content does not fit its schema.
    #[error("the form's content does not fit: {0}")]
    BadForm(String),
}

fn offered(offers: &[String]) -> String {
    if offers.is_empty() {
        return "nothing can be granted along with it".to_owned();
    }
    format!("it suggests: {}", offers.join("; "))
}

impl Answer {
    /// Yes, and nothing else.
    pub fn allow() -> Self {
        Self::Allow {
            updated_input: None,
            remember: false,
            grant: Vec::new(),
        }
    }

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
            (Self::Permission { .. } | Self::Plan { .. }, Answer::Allow { .. }) => self.granted(answer).map(drop),
            (Self::Permission { .. } | Self::Plan { .. }, Answer::Choose { .. } | Answer::Submit { .. }) => {
                Err(AnswerMismatch::NeedsYesOrNo)
            }
            (Self::Choice { questions, .. }, Answer::Choose { answers }) => check_choice(questions, answers),
            (Self::Choice { .. }, Answer::Allow { .. } | Answer::Submit { .. }) => Err(AnswerMismatch::NeedsChoice),
            (Self::Form { schema, .. }, Answer::Submit { content }) => {
                form::check(schema, content).map_err(AnswerMismatch::BadForm)
            }
            // There is nothing to fill in: opened or not is all there is to say.
            (Self::Form { url: Some(_), .. }, Answer::Allow { .. }) => Ok(()),
            (Self::Form { .. }, Answer::Allow { .. } | Answer::Choose { .. }) => Err(AnswerMismatch::NeedsForm),
        }
    }

    /// The suggestions of a permission, each in plain words.
    pub fn offers(&self) -> Vec<Suggestion> {
        match self {
            Self::Permission { suggestions, .. } => suggestions.iter().map(Suggestion::of).collect(),
            Self::Choice { .. } | Self::Plan { .. } | Self::Form { .. } => Vec::new(),
        }
    }

    /// What an answer grants along with its yes.
    pub fn granted(&self, answer: &Answer) -> Result<Vec<Grant>, AnswerMismatch> {
        let Answer::Allow { remember, grant, .. } = answer else {
            return Ok(Vec::new());
        };
        let offers = self.offers();
        let mut granted: Vec<Grant> = Vec::new();
        for pick in grant {
            let meant = offers
                .iter()
                .enumerate()
                .find(|(place, offer)| offer.is_meant(*place, pick));
            let found = meant.and_then(|(_, offer)| offer.grant.clone());
            granted.push(found.ok_or_else(|| no_such_grant(pick, &offers))?);
        }
        let rules = offers.into_iter().filter_map(|offer| offer.grant);
        granted.extend(rules.filter(|grant| *remember && grant.is_of_rules()));
        let mut once: Vec<Grant> = Vec::new();
        for grant in granted {
            if !once.contains(&grant) {
                once.push(grant);
            }
        }
        Ok(once)
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
                    order: _,
                    url,
                },
                Self::Form {
                    server: server2,
                    message: message2,
                    schema: schema2,
                    order: _,
                    url: url2,
                },
            ) => server == server2 && message == message2 && schema == schema2 && url == url2,
            (Self::Permission { .. } | Self::Choice { .. } | Self::Plan { .. } | Self::Form { .. }, _) => false,
        }
    }

    /// The question as it is asked anew, where the answer to it as `earlier` may have had its effect: it says so.
    pub fn asked_again_after(mut self, earlier: QuestionId) -> Self {
        let remark = format!(
            "This was answered before, as question {earlier}. The agent died before it told the result, so this may \
             already be done."
        );
        let behind = |text: &str| format!("{text}\n\n({remark})");
        match &mut self {
            Self::Permission { reason, .. } => {
                *reason = Some(match reason {
                    Some(reason) => format!("{remark} {reason}"),
                    None => remark,
                });
            }
            Self::Plan { plan, .. } => *plan = Some(behind(plan.as_deref().unwrap_or_default())),
            Self::Form { message, .. } => *message = behind(message),
            // A choice that was made does no harm twice.
            Self::Choice { .. } => {}
        }
        self
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
            Self::Form {
                server, url: Some(url), ..
            } => format!("{server}: open {url}"),
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

/// Fields of a tool's input that say what it touches, in the order in which they are shown.
pub const TOUCHED: [&str; 6] = ["command", "file_path", "notebook_path", "url", "path", "pattern"];

/// The most characters of a tool's input in one line.
const HEADLINE_CHARS_MAX: usize = 200;

/// The telling part of a tool's input: its command, file, pattern, path or first question, else the JSON.
pub fn headline_of_input(input: &Value) -> String {
    let others = ["description", "prompt"];
    let of_choice = || input.pointer("/questions/0/question")?.as_str();
    let found = TOUCHED
        .iter()
        .chain(&others)
        .find_map(|key| input.get(key)?.as_str())
        .or_else(of_choice);
    let text = found.map_or_else(|| Cow::Owned(input.to_string()), Cow::Borrowed);
    excerpt::first_line(&text, HEADLINE_CHARS_MAX)
}

fn no_such_grant(pick: &Pick, offers: &[Suggestion]) -> AnswerMismatch {
    let picked = match pick {
        Pick::Place(place) => format!("number {place}"),
        Pick::Words(words) => format!("{words:?}"),
    };
    let can_be = offers.iter().enumerate().filter(|(_, offer)| offer.grant.is_some());
    let offers = can_be
        .map(|(place, offer)| format!("{place}: {}", offer.words))
        .collect();
    AnswerMismatch::NoSuchGrant { picked, offers }
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
        let allow = Answer::allow();
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

    fn permission() -> QuestionKind {
        let rule = |content: &str| json!([{"toolName": "Bash", "ruleContent": content}]);
        QuestionKind::Permission {
            tool: "Bash".into(),
            input: json!({}),
            reason: None,
            suggestions: vec![
                json!({"type": "addRules", "behavior": "allow", "rules": rule("ls *"), "destination": "localSettings"}),
                json!({"type": "addDirectories", "directories": ["/srv"], "destination": "session"}),
                json!({"type": "setMode", "mode": "acceptEdits", "destination": "session"}),
                json!({"type": "new"}),
            ],
        }
    }

    fn granted(kind: &QuestionKind, remember: bool, grant: &[Pick]) -> Result<Vec<String>, AnswerMismatch> {
        let answer = Answer::Allow {
            updated_input: None,
            remember,
            grant: grant.to_vec(),
        };
        assert_eq!(kind.check(&answer).is_ok(), kind.granted(&answer).is_ok());
        let granted = kind.granted(&answer)?;
        Ok(granted.iter().map(Grant::words).collect())
    }

    #[test]
    fn an_answer_grants_the_suggestions_that_it_names_and_no_other() {
        let lines: Vec<String> = permission().offers().into_iter().map(|offer| offer.words).collect();
        let words = |place: usize| Pick::Words(lines[place].clone());
        assert_eq!(granted(&permission(), false, &[]), Ok(vec![]));
        assert_eq!(
            granted(&permission(), false, &[Pick::Place(1)]),
            Ok(vec![lines[1].clone()])
        );
        assert_eq!(
            granted(&permission(), false, &[words(2), Pick::Place(2)]),
            Ok(vec![lines[2].clone()])
        );
        for pick in [Pick::Place(3), Pick::Place(4), Pick::Words("all".into()), words(3)] {
            let refused = granted(&permission(), false, std::slice::from_ref(&pick)).unwrap_err();
            assert!(refused.to_string().contains(&lines[0]), "{pick:?}: {refused}");
        }
        let plan = QuestionKind::Plan {
            plan: None,
            input: json!({}),
        };
        assert!(granted(&plan, false, &[Pick::Place(0)]).is_err());
    }

    #[test]
    fn to_remember_grants_rules_and_neither_the_mode_nor_directories() {
        let lines = granted(&permission(), true, &[]).unwrap();
        assert_eq!(lines, ["do not ask again for Bash(ls *)"]);
    }

    #[test]
    fn an_answer_of_the_version_before_is_read() {
        let answer: Answer = serde_json::from_value(json!({"action": "allow", "remember": true})).unwrap();
        assert_eq!(permission().granted(&answer).map(|granted| granted.len()), Ok(1));
        let both = json!({"action": "allow", "grant": [0, "let the agent work in /srv"]});
        let answer: Answer = serde_json::from_value(both).unwrap();
        assert_eq!(permission().granted(&answer).map(|granted| granted.len()), Ok(2));
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
