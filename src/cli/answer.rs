//! What is typed on the command line as an answer, made into an [`Answer`] that fits the question.

use std::collections::BTreeMap;

use clap::Args;

use crate::session::grant::{Grant, Pick, Suggestion};
use crate::session::question::{Answer, AnswerMismatch, Choice, QuestionKind};

use super::clean::one_line;
use super::input::{BadJson, read_json};

/// The flags of `answer` that say what the answer is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AnswerFlags {
    /// Yes, go ahead (a permission, a plan)
    #[arg(long, group = "answer_action")]
    pub(crate) allow: bool,
    /// With --allow: grant all rules that the question suggests, for this session only. The agent no longer asks for
    /// what these rules cover
    #[arg(long, requires = "allow", conflicts_with_all = ["deny", "choice", "text", "form"])]
    pub(crate) remember: bool,
    /// With --allow: grant this suggestion of the question, by the number that `status` shows, for this session only
    #[arg(long, value_name = "N", requires = "allow", conflicts_with_all = ["deny", "choice", "text", "form"])]
    pub(crate) grant: Vec<usize>,
    /// No; the reason is told to the agent
    #[arg(long, value_name = "REASON", num_args = 0..=1, group = "answer_action")]
    pub(crate) deny: Option<Option<String>>,
    /// Choose an option by its label or its number, more than one where several may be chosen; with several questions
    /// "question=option"
    #[arg(long, value_name = "X", group = "answer_action")]
    pub(crate) choice: Vec<String>,
    /// Answer a choice in your own words, also beside --choice where several may be chosen; with several questions
    /// "question=text"
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["allow", "deny", "form"])]
    pub(crate) text: Vec<String>,
    /// Fill in a form: its content as JSON, or @FILE
    #[arg(long, value_name = "JSON", group = "answer_action")]
    pub(crate) form: Option<String>,
}

/// Why the flags are no answer to this question; each says what would be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAnswer {
    /// It does not fit the question.
    #[error(transparent)]
    Mismatch(#[from] AnswerMismatch),
    /// No option has this label or number.
    #[error("there is no option {option:?} for {question:?}: choose from {options}, or use --text")]
    NoSuchOption {
        /// The text that was typed.
        option: String,
        /// The question.
        question: String,
        /// What could be typed.
        options: String,
    },
    /// Several answers to a question that takes one.
    #[error("{0:?} takes one answer: give one --choice, or --text alone")]
    OnlyOne(String),
    /// It is not clear which of several questions is meant.
    #[error(
        "{0:?} does not say which question it answers: write --choice \"question=option\" or --text \"question=text\" for \
         each of: {1}"
    )]
    WhichQuestion(String, String),
    /// A text cannot answer this.
    #[error("--text answers a single question with options: use {0}")]
    NoText(&'static str),
    /// No suggestion has this number.
    #[error("the question has no suggestion {number} for --grant: {}", suggested(.offers))]
    NoSuchGrant {
        /// The number that was typed.
        number: usize,
        /// The lines of what is suggested.
        offers: Vec<String>,
    },
    /// The question suggests no rule.
    #[error("the question suggests no rule for --remember to grant: {}", suggested(.0))]
    NothingToRemember(Vec<String>),
    /// The form's content is not JSON.
    #[error("--form: {0}")]
    Form(#[from] BadJson),
}

impl AnswerFlags {
    /// The answer they give to this question; none when no flag says one.
    pub(crate) fn to_answer(&self, kind: &QuestionKind) -> Result<Option<Answer>, BadAnswer> {
        let answer = if self.allow {
            self.allowing(kind)?
        } else if let Some(reason) = &self.deny {
            Answer::Deny {
                reason: reason.clone(),
                interrupt: false,
            }
        } else if !(self.choice.is_empty() && self.text.is_empty()) {
            Answer::Choose {
                answers: choose(kind, &self.choice, &self.text)?,
            }
        } else if let Some(form) = &self.form {
            Answer::Submit {
                content: read_json(form)?,
            }
        } else {
            return Ok(None);
        };
        kind.check(&answer)?;
        Ok(Some(answer))
    }
}

impl AnswerFlags {
    /// Names what is granted by its words: the same place may hold another suggestion when the question is asked again.
    fn allowing(&self, kind: &QuestionKind) -> Result<Answer, BadAnswer> {
        let offers = kind.offers();
        let lines = || offers.iter().map(|offer| offer.words.clone()).collect::<Vec<_>>();
        let named = |number: &usize| {
            let offer = offers
                .get(number.checked_sub(1)?)
                .filter(|offer| offer.grant.is_some())?;
            Some(Pick::Words(offer.words.clone()))
        };
        let mut grant = Vec::new();
        for number in &self.grant {
            grant.push(named(number).ok_or_else(|| BadAnswer::NoSuchGrant {
                number: *number,
                offers: lines(),
            })?);
        }
        let is_rule = |offer: &Suggestion| offer.grant.as_ref().is_some_and(Grant::is_of_rules);
        if self.remember {
            let rules = offers.iter().filter(|offer| is_rule(offer));
            let rules: Vec<_> = rules.map(|offer| Pick::Words(offer.words.clone())).collect();
            if rules.is_empty() && matches!(kind, QuestionKind::Permission { .. }) {
                return Err(BadAnswer::NothingToRemember(lines()));
            }
            grant.extend(rules);
        }
        Ok(Answer::Allow {
            updated_input: None,
            remember: false,
            grant,
        })
    }
}

/// What a question suggests to grant, with the numbers of `--grant`.
fn suggested(offers: &[String]) -> String {
    if offers.is_empty() {
        return "it suggests nothing to grant".to_owned();
    }
    let line = |(place, words): (usize, &String)| format!("\n  {}. {}", place + 1, one_line(words, 200));
    let lines: String = offers.iter().enumerate().map(line).collect();
    format!("it suggests{lines}")
}

/// What is chosen, with the words of one's own behind the labels.
fn choose(kind: &QuestionKind, labels: &[String], texts: &[String]) -> Result<BTreeMap<String, String>, BadAnswer> {
    let QuestionKind::Choice { questions, .. } = kind else {
        return Err(match kind {
            QuestionKind::Form { url: None, .. } if labels.is_empty() => BadAnswer::NoText("--form JSON, or --deny"),
            _ => mismatch(kind),
        });
    };
    let mut chosen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut take = |question: &Choice, said: String| {
        let all = chosen.entry(question.question.clone()).or_default();
        if !all.is_empty() && !question.multi_select {
            return Err(BadAnswer::OnlyOne(question.question.clone()));
        }
        all.push(said);
        Ok(())
    };
    for typed in labels {
        let (question, option) = question_of(questions, typed)?;
        take(question, label_of(question, option)?)?;
    }
    for typed in texts {
        // Words for the only question may hold an equals sign.
        let (question, text) = match questions.as_slice() {
            [only] => (only, typed.as_str()),
            _ => question_of(questions, typed)?,
        };
        take(question, text.to_owned())?;
    }
    let joined = chosen.into_iter().map(|(question, said)| (question, said.join(", ")));
    Ok(joined.collect())
}

/// Which question `typed` answers, and with what.
fn question_of<'a>(questions: &'a [Choice], typed: &'a str) -> Result<(&'a Choice, &'a str), BadAnswer> {
    let named = questions.iter().enumerate().find_map(|(index, question)| {
        let names = [
            question.question.clone(),
            question.header.clone(),
            (index + 1).to_string(),
        ];
        let rest = names
            .iter()
            .filter(|name| !name.is_empty())
            .find_map(|name| strip_name(typed, name))?;
        Some((question, rest))
    });
    match (questions, named) {
        // A label that holds an equals sign is a label first.
        ([only], _) if only.options.iter().any(|option| option.label == typed) => Ok((only, typed)),
        (_, Some(named)) => Ok(named),
        ([only], None) => Ok((only, typed)),
        (_, None) => {
            let names: Vec<_> = questions
                .iter()
                .map(|question| one_line(&question.question, 80))
                .collect();
            Err(BadAnswer::WhichQuestion(typed.to_owned(), names.join(" / ")))
        }
    }
}

/// What follows `name=` in `typed`, upper and lower case being equal.
fn strip_name<'a>(typed: &'a str, name: &str) -> Option<&'a str> {
    let (head, rest) = (typed.get(..name.len())?, typed.get(name.len()..)?);
    rest.strip_prefix('=').filter(|_| head.eq_ignore_ascii_case(name))
}

/// The label that is meant: by itself, by its number, or by itself in another case.
fn label_of(question: &Choice, typed: &str) -> Result<String, BadAnswer> {
    let options = &question.options;
    let exact = options.iter().find(|option| option.label == typed);
    let by_number = || options.get(typed.trim().parse::<usize>().ok()?.checked_sub(1)?);
    let by_case = || {
        options
            .iter()
            .find(|option| option.label.eq_ignore_ascii_case(typed.trim()))
    };
    if let Some(option) = exact.or_else(by_number).or_else(by_case) {
        return Ok(option.label.clone());
    }
    let numbered = options
        .iter()
        .enumerate()
        .map(|(i, option)| format!("{}. {}", i + 1, one_line(&option.label, 60)));
    Err(BadAnswer::NoSuchOption {
        option: typed.to_owned(),
        question: one_line(&question.question, 80),
        options: numbered.collect::<Vec<_>>().join(", "),
    })
}

fn mismatch(kind: &QuestionKind) -> BadAnswer {
    BadAnswer::Mismatch(match kind {
        QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => AnswerMismatch::NeedsYesOrNo,
        QuestionKind::Choice { .. } => AnswerMismatch::NeedsChoice,
        QuestionKind::Form { .. } => AnswerMismatch::NeedsForm,
    })
}

/// How this kind of question is answered on the command line, for a hint.
pub(crate) fn flags_for(kind: &QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Permission { suggestions, .. } if !suggestions.is_empty() => {
            "--allow [--grant N …] | --deny [REASON]"
        }
        QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => "--allow | --deny [REASON]",
        QuestionKind::Choice { questions, .. } if questions.len() > 1 => {
            "--choice \"question=option\" … | --deny [REASON]"
        }
        QuestionKind::Choice { questions, .. } if questions.iter().any(|question| question.multi_select) => {
            "--choice X [--choice Y] [--text TEXT] | --deny [REASON]"
        }
        QuestionKind::Choice { .. } => "--choice X | --text TEXT | --deny [REASON]",
        QuestionKind::Form { url: Some(_), .. } => "--allow | --deny [REASON]",
        QuestionKind::Form { .. } => "--form JSON | --deny [REASON]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::question::ChoiceOption;
    use serde_json::{Value, json};

    fn question(text: &str, header: &str, labels: &[&str], multi_select: bool) -> Choice {
        let option = |label: &&str| ChoiceOption {
            label: (*label).into(),
            description: String::new(),
        };
        Choice {
            question: text.into(),
            header: header.into(),
            options: labels.iter().map(option).collect(),
            multi_select,
        }
    }

    fn choice(questions: Vec<Choice>) -> QuestionKind {
        QuestionKind::Choice {
            questions,
            input: Value::Null,
        }
    }

    fn colour() -> QuestionKind {
        choice(vec![question("Which colour?", "Colour", &["Red", "a=b", "10"], false)])
    }

    fn chosen(kind: &QuestionKind, typed: &[&str]) -> Result<Vec<(String, String)>, String> {
        let flags = AnswerFlags {
            choice: typed.iter().map(|t| (*t).to_owned()).collect(),
            ..AnswerFlags::default()
        };
        match flags.to_answer(kind).map_err(|error| error.to_string())? {
            Some(Answer::Choose { answers }) => Ok(answers.into_iter().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_option_is_meant_by_its_label_or_number() {
        for (typed, label) in [
            ("Red", "Red"),
            ("red", "Red"),
            ("1", "Red"),
            ("a=b", "a=b"),
            ("10", "10"),
            ("Colour=2", "a=b"),
        ] {
            let expected = vec![("Which colour?".to_owned(), label.to_owned())];
            assert_eq!(chosen(&colour(), &[typed]), Ok(expected), "{typed}");
        }
        let error = chosen(&colour(), &["Green"]).unwrap_err();
        assert!(error.contains("1. Red") && error.contains("--text"), "{error}");
        assert!(chosen(&colour(), &["0"]).is_err());
        assert!(
            chosen(&colour(), &["Red", "10"])
                .unwrap_err()
                .contains("takes one answer")
        );
    }

    #[test]
    fn several_questions_are_answered_by_name() {
        let kind = choice(vec![
            question("Which colour?", "Colour", &["Red", "Blue"], false),
            question("Which sizes?", "Sizes", &["S", "M"], true),
        ]);
        let expected = Ok(vec![
            ("Which colour?".into(), "Blue".into()),
            ("Which sizes?".into(), "S, M".into()),
        ]);
        assert_eq!(chosen(&kind, &["Which colour?=2", "sizes=S", "2=M"]), expected);
        assert!(chosen(&kind, &["Red"]).unwrap_err().contains("Which sizes?"));
        assert!(chosen(&kind, &["Colour=Red"]).unwrap_err().contains("not answered"));
    }

    #[test]
    fn each_suggestion_is_granted_by_its_number() {
        let kind = |suggestions| QuestionKind::Permission {
            tool: "Write".into(),
            input: json!({}),
            reason: None,
            suggestions,
        };
        let mode = kind(vec![
            json!({"type": "setMode", "mode": "acceptEdits"}),
            json!({"type": "new"}),
        ]);
        let flags = |remember, grant: &[usize]| AnswerFlags {
            allow: true,
            remember,
            grant: grant.to_vec(),
            ..AnswerFlags::default()
        };
        let answer = flags(false, &[1]).to_answer(&mode).unwrap().unwrap();
        let granted: Vec<_> = mode.granted(&answer).unwrap().iter().map(Grant::words).collect();
        assert_eq!(
            granted,
            ["switch to the permission mode acceptEdits: file edits need no permission"]
        );
        for number in [0, 2, 3] {
            let error = flags(false, &[number]).to_answer(&mode).unwrap_err().to_string();
            assert!(error.contains("1. switch to the permission mode"), "{error}");
        }
        let error = flags(true, &[]).to_answer(&mode).unwrap_err().to_string();
        assert!(error.contains("no rule") && error.contains("1. switch"), "{error}");
        let error = flags(false, &[1]).to_answer(&kind(vec![])).unwrap_err().to_string();
        assert!(error.contains("nothing to grant"), "{error}");
    }

    #[test]
    fn words_of_ones_own_stand_beside_the_options_where_several_may_be_chosen() {
        let said = |kind: &QuestionKind, labels: &[&str], texts: &[&str]| {
            let [choice, text] = [labels, texts].map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            let flags = AnswerFlags {
                choice,
                text,
                ..AnswerFlags::default()
            };
            match flags.to_answer(kind).map_err(|error| error.to_string())? {
                Some(Answer::Choose { answers }) => Ok::<_, String>(answers.into_values().collect::<Vec<_>>()),
                other => panic!("{other:?}"),
            }
        };
        let fruit = choice(vec![question("Which fruit?", "Fruit", &["Apple", "Pear"], true)]);
        assert_eq!(said(&fruit, &["Apple"], &["durian"]).unwrap(), ["Apple, durian"]);
        assert_eq!(
            said(&fruit, &["2", "Apple"], &["a=b", "- x"]).unwrap(),
            ["Pear, Apple, a=b, - x"]
        );
        assert_eq!(said(&fruit, &[], &["durian"]).unwrap(), ["durian"]);
        assert!(
            said(&colour(), &["Red"], &["green"])
                .unwrap_err()
                .contains("takes one answer")
        );
        let both = choice(vec![
            question("Which colour?", "Colour", &["Red"], false),
            question("Which fruit?", "Fruit", &["Apple"], true),
        ]);
        let answers = said(&both, &["Fruit=Apple"], &["Colour=green", "Fruit=durian"]);
        assert_eq!(answers.unwrap(), ["green", "Apple, durian"]);
        assert!(
            said(&both, &["Fruit=Apple"], &["green"])
                .unwrap_err()
                .contains("question=text")
        );
    }

    #[test]
    fn flags_must_fit_the_question() {
        let permission = QuestionKind::Permission {
            tool: "Bash".into(),
            input: json!({}),
            reason: None,
            suggestions: vec![
                json!({"type": "setMode", "mode": "acceptEdits"}),
                json!({"type": "addRules", "behavior": "allow", "rules": [{"toolName": "Bash"}]}),
            ],
        };
        let form = QuestionKind::Form {
            server: "s".into(),
            message: "m".into(),
            schema: json!({"required": ["name"]}),
            order: vec![],
            url: None,
        };
        let none = AnswerFlags::default();
        let allow = AnswerFlags {
            allow: true,
            remember: true,
            ..none.clone()
        };
        let deny = AnswerFlags {
            deny: Some(Some("no".into())),
            ..none.clone()
        };
        let text = AnswerFlags {
            text: vec!["green".into()],
            ..none.clone()
        };
        let filled = AnswerFlags {
            form: Some(r#"{"name":"Bob"}"#.into()),
            ..none.clone()
        };
        assert!(none.to_answer(&permission).unwrap().is_none());
        assert!(matches!(
            allow.to_answer(&permission),
            Ok(Some(Answer::Allow { grant, .. })) if grant == [Pick::Words("do not ask again for Bash".into())]
        ));
        assert!(matches!(
            deny.to_answer(&colour()),
            Ok(Some(Answer::Deny { reason: Some(_), .. }))
        ));
        assert!(matches!(text.to_answer(&colour()), Ok(Some(Answer::Choose { .. }))));
        assert!(matches!(filled.to_answer(&form), Ok(Some(Answer::Submit { .. }))));
        assert!(allow.to_answer(&colour()).unwrap_err().to_string().contains("choose"));
        assert!(
            text.to_answer(&permission)
                .unwrap_err()
                .to_string()
                .contains("allow or deny")
        );
        assert!(text.to_answer(&form).unwrap_err().to_string().contains("--form"));
        let broken = AnswerFlags {
            form: Some("{".into()),
            ..none
        };
        assert!(broken.to_answer(&form).unwrap_err().to_string().starts_with("--form"));
    }
}
