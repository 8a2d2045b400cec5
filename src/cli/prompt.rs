//! Asks a person at the terminal, in a process of its own.
//!
//! Somebody else may answer first, and a prompt that blocks in a read of the terminal can be taken back only with its
//! process. The question goes in by standard input (the terminal is opened by its device), the answer comes out of
//! standard output, and what the person sees is on standard error.

use std::collections::BTreeMap;
use std::io::{self, Read};

use console::Term;
use dialoguer::{Confirm, Input};
use serde_json::{Map, Value};

use crate::session::form::{self, Field, FieldKind, Offer};
use crate::session::grant::{Pick, Suggestion};
use crate::session::question::{Answer, Choice, QuestionKind};
use crate::session::telling::question::{self, QuestionLines, lines_of};
use crate::session::visible;

use super::clean::name;
use super::exit::{Exit, Failure};
use super::menu::{Chosen, Menu, fits, fitting, theme};
use super::screen::{eprint, print_json};
use super::unfold::{self, TerminalSize, Unfolding};

/// How a line break in a line of a menu is shown.
const MARK_OF_LINE: &str = "⟨U+000A⟩";

/// What leaves a field of choices empty.
const LEFT_OUT: &str = "(left out)";

/// Answers: given, or left for later.
type GivenOrLater<T> = dialoguer::Result<Option<T>>;

/// The process of the prompt: reads a question, asks, writes the answer, or nothing when it is left for later.
pub(crate) fn main() -> Result<Exit, Failure> {
    let mut json = String::new();
    io::stdin().lock().read_to_string(&mut json)?;
    let kind: QuestionKind =
        serde_json::from_str(&json).map_err(|error| Failure::Usage(format!("not a question: {error}")))?;
    match ask_until_it_fits(&kind) {
        Ok(Some(answer)) => {
            let json = serde_json::to_string(&answer).map_err(io::Error::other)?;
            print_json(&json)?;
            Ok(Exit::Ok)
        }
        Ok(None) => Ok(Exit::Ok),
        Err(dialoguer::Error::IO(error)) => Err(error.into()),
    }
}

/// An answer that would be refused is told why, and asked for again.
fn ask_until_it_fits(kind: &QuestionKind) -> GivenOrLater<Answer> {
    loop {
        match ask(kind)? {
            Some(answer) => match kind.check(&answer) {
                Ok(()) => return Ok(Some(answer)),
                Err(refused) => eprint(&format!("  {refused}")),
            },
            None => return Ok(None),
        }
    }
}

/// A question whose lines are not all shown.
struct FoldedQuestion(Unfolding);

impl FoldedQuestion {
    /// Shows what there is room for.
    fn new(told: QuestionLines) -> Self {
        let shown_first = told.shown.len();
        let mut unfolding = Unfolding::new(told.opened());
        let size = Term::stderr().size_checked().map(|(rows, columns)| TerminalSize {
            rows: rows.into(),
            columns: columns.into(),
        });
        unfolding.first(shown_first, size).iter().for_each(|line| eprint(line));
        let shown = Self(unfolding);
        shown.hint();
        shown
    }

    fn hint(&self) {
        let rest = self.0.left();
        let rest = rest.map(|left| format!(", {} shows what is not shown yet: {left}", unfold::KEY));
        eprint(&format!(
            "(Enter chooses, Esc leaves it for later{})",
            rest.unwrap_or_default()
        ));
    }

    fn select(&mut self, prompt: &str, items: &[&str]) -> GivenOrLater<usize> {
        let items = items.iter().map(|item| (*item).to_owned()).collect();
        Ok(self
            .choose(prompt, items, false)?
            .and_then(|places| places.first().copied()))
    }

    /// A menu, again and again while its key opens what is not shown yet.
    fn choose(&mut self, prompt: &str, items: Vec<String>, several: bool) -> GivenOrLater<Vec<usize>> {
        let mut menu = Menu {
            prompt,
            items,
            several,
            key: None,
        };
        loop {
            menu.key = self.0.left().map(|_| unfold::KEY);
            match menu.ask()? {
                Chosen::Items(places) => return Ok(Some(places)),
                Chosen::Later => return Ok(None),
                Chosen::Key => {
                    self.0.open().iter().for_each(|line| eprint(line));
                    self.hint();
                }
            }
        }
    }
}

/// What a person is shown who cannot be asked here, line by line.
pub(crate) fn explain(kind: &QuestionKind) -> Vec<String> {
    let told = lines_of(kind);
    let count = told.shown.len();
    let mut unfolding = Unfolding::new(told.opened());
    let mut lines = unfolding.first(count, None);
    if let Some(left) = unfolding.left() {
        lines.push(format!(
            "… not shown: {left}; `cc-executor answer` at a terminal shows all, and so does `cc-executor status --json`"
        ));
    }
    lines.extend(question::offers(kind));
    lines
}

fn ask(kind: &QuestionKind) -> GivenOrLater<Answer> {
    match kind {
        QuestionKind::Permission { .. } => {
            let mut told = lines_of(kind);
            told.shown.extend(question::offers(kind));
            ask_permission(&mut FoldedQuestion::new(told), &kind.offers())
        }
        QuestionKind::Choice { questions, .. } => ask_choices(questions, lines_of(kind).more),
        QuestionKind::Plan { .. } => {
            let items = ["Approve", "Keep planning: say what is missing"];
            ask_yes_or_no(&mut FoldedQuestion::new(lines_of(kind)), "Approve the plan?", &items)
        }
        QuestionKind::Form { url: Some(_), .. } => {
            let mut shown = FoldedQuestion::new(lines_of(kind));
            ask_yes_or_no(
                &mut shown,
                "Go on once you have opened it",
                &["I have opened it", "Decline"],
            )
        }
        QuestionKind::Form { schema, order, .. } => ask_form(&mut FoldedQuestion::new(lines_of(kind)), schema, order),
    }
}

fn ask_permission(shown: &mut FoldedQuestion, offers: &[Suggestion]) -> GivenOrLater<Answer> {
    let can_be: Vec<_> = offers.iter().filter(|offer| offer.grant.is_some()).collect();
    if can_be.is_empty() {
        return ask_yes_or_no(shown, "Allow it?", &["Allow", "Deny"]);
    }
    match shown.select("Allow it?", &["Allow", "Allow, and choose what else to grant", "Deny"])? {
        Some(0) => Ok(Some(Answer::allow())),
        Some(1) => ask_grants(shown, &can_be),
        Some(_) => deny().map(Some),
        None => Ok(None),
    }
}

/// Each suggestion can be taken alone; none is marked at first.
fn ask_grants(shown: &mut FoldedQuestion, offers: &[&Suggestion]) -> GivenOrLater<Answer> {
    let items: Vec<_> = offers.iter().map(|offer| item(&offer.words, "")).collect();
    let prompt = "For the rest of the session (space marks, enter answers)";
    let Some(chosen) = shown.choose(prompt, items, true)? else {
        return Ok(None);
    };
    let grant = chosen.iter().filter_map(|index| offers.get(*index));
    Ok(Some(Answer::Allow {
        updated_input: None,
        remember: false,
        grant: grant.map(|offer| Pick::Words(offer.words.clone())).collect(),
    }))
}

fn ask_yes_or_no(shown: &mut FoldedQuestion, prompt: &str, items: &[&str; 2]) -> GivenOrLater<Answer> {
    match shown.select(prompt, items)? {
        Some(0) => Ok(Some(Answer::allow())),
        Some(_) => deny().map(Some),
        None => Ok(None),
    }
}

fn deny() -> dialoguer::Result<Answer> {
    let reason = input("What should the agent know? (may be empty)", None, true)?;
    Ok(Answer::Deny {
        reason: Some(reason).filter(|reason| !reason.trim().is_empty()),
        interrupt: false,
    })
}

fn ask_choices(questions: &[Choice], more: Vec<String>) -> GivenOrLater<Answer> {
    let mut answers = BTreeMap::new();
    for choice in questions {
        let Some(answer) = ask_choice(choice, more.clone())? else {
            return Ok(None);
        };
        answers.insert(choice.question.clone(), answer);
    }
    Ok(Some(Answer::Choose { answers }))
}

fn ask_choice(choice: &Choice, more: Vec<String>) -> GivenOrLater<String> {
    const OWN_WORDS: &str = "Something else, in my own words";
    let question = name(&choice.question);
    let options = choice.options.iter();
    let mut items: Vec<_> = options.map(|option| item(&option.label, &option.description)).collect();
    let is_whole = |line: &String| fits(line) && !line.contains(MARK_OF_LINE);
    let all_fit = items.iter().chain([&question]).all(is_whole);
    let shown = if all_fit { Vec::new() } else { question::choice(choice) };
    let mut shown = FoldedQuestion::new(QuestionLines { shown, more });
    items.push(OWN_WORDS.to_owned());
    if choice.multi_select {
        eprint("(Space marks, Enter answers with what is marked)");
    }
    let chosen = shown.choose(&question, items, choice.multi_select)?;
    let Some(chosen) = chosen else { return Ok(None) };
    let mut labels: Vec<String> = chosen
        .iter()
        .filter_map(|index| Some(choice.options.get(*index)?.label.clone()))
        .collect();
    if labels.len() < chosen.len() || labels.is_empty() {
        labels.push(input("In your own words", None, false)?);
    }
    Ok(Some(labels.join(", ")))
}

fn ask_form(shown: &mut FoldedQuestion, schema: &Value, order: &[String]) -> GivenOrLater<Answer> {
    match shown.select("Fill in the form?", &["Fill in", "Decline"])? {
        Some(0) => {}
        Some(_) => return deny().map(Some),
        None => return Ok(None),
    }
    let Some(fields) = form::fields(schema, order) else {
        return ask_json(schema).map(|content| Some(Answer::Submit { content }));
    };
    let mut content = Map::new();
    for field in &fields {
        if let Some(value) = ask_field(field)? {
            content.insert(field.key.to_owned(), value);
        }
    }
    Ok(Some(Answer::Submit {
        content: Value::Object(content),
    }))
}

fn ask_json(schema: &Value) -> dialoguer::Result<Value> {
    eprint(&format!("Its schema: {}", question::pretty(schema)));
    loop {
        match serde_json::from_str(&input("The content, as JSON", None, false)?) {
            Ok(content) => return Ok(content),
            Err(error) => eprint(&format!("  this is no JSON: {error}")),
        }
    }
}

fn ask_field(field: &Field<'_>) -> GivenOrLater<Value> {
    let title = match field.hint {
        Some(hint) => format!("{}: {hint}", field.title),
        None => field.title.to_owned(),
    };
    let prompt = name(&title);
    if !fits(&prompt) {
        eprint(&prompt);
    }
    match &field.kind {
        FieldKind::Boolean => Ok(Confirm::with_theme(&theme())
            .with_prompt(fitting(&prompt))
            .interact_opt()?
            .map(Value::Bool)),
        FieldKind::One(offers) => {
            let left_out = (!field.required).then(|| LEFT_OUT.to_owned());
            let items: Vec<_> = offers.iter().map(named).chain(left_out).collect();
            let chosen = select(&prompt, items)?;
            Ok(chosen.and_then(|place| Some(offers.get(place)?.value.clone().into())))
        }
        FieldKind::Many(offers) => {
            let items: Vec<_> = offers.iter().map(named).collect();
            let chosen = marked(&prompt, items, true)?;
            Ok(chosen.map(|places| places.iter().map(|place| offers[*place].value.clone()).collect()))
        }
        FieldKind::Text | FieldKind::Integer | FieldKind::Number => loop {
            let text = input(&prompt, field.default, !field.required)?;
            match parse_field(&text, &field.kind) {
                Ok(value) => return Ok(value),
                Err(needed) => eprint(&format!("  {needed}")),
            }
        },
    }
}

fn named(offer: &Offer) -> String {
    item(&offer.title, "")
}

/// What was typed as a value of this kind; none for nothing.
fn parse_field(text: &str, kind: &FieldKind) -> Result<Option<Value>, &'static str> {
    let typed = text.trim();
    match kind {
        _ if typed.is_empty() => Ok(None),
        FieldKind::Integer => typed
            .parse::<i64>()
            .map(|n| Some(n.into()))
            .map_err(|_| "a whole number is needed"),
        FieldKind::Number => typed
            .parse::<f64>()
            .map(|n| Some(n.into()))
            .map_err(|_| "a number is needed"),
        FieldKind::Text | FieldKind::Boolean | FieldKind::One(_) | FieldKind::Many(_) => Ok(Some(text.into())),
    }
}

fn select(prompt: &str, items: Vec<String>) -> GivenOrLater<usize> {
    Ok(marked(prompt, items, false)?.and_then(|places| places.first().copied()))
}

fn marked(prompt: &str, items: Vec<String>, several: bool) -> GivenOrLater<Vec<usize>> {
    let menu = Menu {
        prompt,
        items,
        several,
        key: None,
    };
    Ok(match menu.ask()? {
        Chosen::Items(places) => Some(places),
        Chosen::Key | Chosen::Later => None,
    })
}

fn input(prompt: &str, default: Option<&Value>, allow_empty: bool) -> dialoguer::Result<String> {
    let default = default.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    Input::with_theme(&theme())
        .with_prompt(fitting(prompt))
        // What stands there already is shown as it is, and can be sent without a look at it.
        .with_initial_text(
            default
                .filter(|text| !text.contains(visible::is_hidden))
                .unwrap_or_default(),
        )
        .allow_empty(allow_empty)
        .interact_text()
}

fn item(label: &str, description: &str) -> String {
    match description {
        "" => name(label),
        description => format!("{}: {}", name(label), name(description)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_permission_shows_what_would_really_run() {
        let kind = QuestionKind::Permission {
            tool: "Bash\u{1b}[2J".into(),
            input: json!({"command": "make\nrm -rf x\u{1b}[8m", "timeout": 5, "a": "b"}),
            reason: Some("not in the rules".into()),
            suggestions: vec![
                json!({"type": "setMode", "mode": "acceptEdits"}),
                json!({"type": "addDirectories", "directories": ["/srv\u{1b}[8m"]}),
            ],
        };
        insta::assert_snapshot!(explain(&kind).join("\n"), @r"
        The agent wants to use Bash⟨U+001B⟩[2J:
          command: make
            rm -rf x⟨U+001B⟩[8m
          a: b
          timeout = 5
        (not in the rules)
        You can also grant, for the rest of the session:
          1. switch to the permission mode acceptEdits: file edits need no permission
          2. let the agent work in /srv⟨U+001B⟩[8m
        ");
    }

    #[test]
    fn a_long_plan_is_cut_and_says_so() {
        let kind = QuestionKind::Plan {
            plan: Some("step\n".repeat(1_000)),
            input: Value::Null,
        };
        let lines = explain(&kind);
        assert!(lines.len() < 210, "{}", lines.len());
        assert!(lines.last().unwrap().contains("804 lines"), "{:?}", lines.last());
    }

    #[test]
    fn a_field_takes_what_its_type_allows() {
        assert_eq!(parse_field(" 5 ", &FieldKind::Integer), Ok(Some(json!(5))));
        assert_eq!(parse_field("x", &FieldKind::Integer), Err("a whole number is needed"));
        assert_eq!(parse_field("1.5", &FieldKind::Number), Ok(Some(json!(1.5))));
        assert_eq!(parse_field(" ", &FieldKind::Text), Ok(None));
        assert_eq!(parse_field("5", &FieldKind::Text), Ok(Some(json!("5"))));
    }
}
