//! Asks a person at the terminal, in a process of its own.
//!
//! Somebody else may answer first, and a prompt that blocks in a read of the terminal can be taken back only with its
//! process. The question goes in by standard input (the terminal is opened by its device), the answer comes out of
//! standard output, and what the person sees is on standard error.

use std::collections::BTreeMap;
use std::io::{self, Read};

use console::Term;
use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, MultiSelect, Select};
use serde_json::{Map, Value};

use crate::session::form::{self, Field, FieldKind, Offer};
use crate::session::grant::{Pick, Suggestion};
use crate::session::question::{Answer, Choice, QuestionKind};

use super::clean::{clean, one_line};
use super::exit::{Exit, Failure};
use super::screen::{eprint, print};

/// How many lines of a plan or of a tool's input are shown.
const LINES_MAX: usize = 200;

/// Maximum length of an option that is explained, in characters.
const ITEM_CHARS_MAX: usize = 2000;

/// Columns of a menu's line that are marks.
const MARK_COLUMNS: usize = 12;

/// What leaves a field of choices empty.
const LEFT_OUT: &str = "(left out)";

/// Answers: given, or left for later.
type Given<T> = dialoguer::Result<Option<T>>;

/// The process of the prompt: reads a question, asks, writes the answer, or nothing when it is left for later.
pub(crate) fn main() -> Result<Exit, Failure> {
    let mut json = String::new();
    io::stdin().lock().read_to_string(&mut json)?;
    let kind: QuestionKind =
        serde_json::from_str(&json).map_err(|error| Failure::Usage(format!("not a question: {error}")))?;
    match ask_until_it_fits(&kind) {
        Ok(Some(answer)) => {
            let json = serde_json::to_string(&answer).map_err(io::Error::other)?;
            print(&json)?;
            Ok(Exit::Ok)
        }
        Ok(None) => Ok(Exit::Ok),
        Err(dialoguer::Error::IO(error)) => Err(error.into()),
    }
}

/// An answer that would be refused is told why, and asked for again.
fn ask_until_it_fits(kind: &QuestionKind) -> Given<Answer> {
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

/// What a person is shown before they choose, line by line.
pub(crate) fn explain(kind: &QuestionKind) -> Vec<String> {
    let text = match kind {
        QuestionKind::Permission {
            tool, input, reason, ..
        } => {
            let reason = reason
                .as_deref()
                .map(|reason| format!("\n({reason})"))
                .unwrap_or_default();
            format!("The agent wants to use {tool}:\n{}{reason}", explain_input(input))
        }
        QuestionKind::Choice { questions, .. } => questions.iter().map(explain_choice).collect::<Vec<_>>().join("\n"),
        QuestionKind::Plan { plan, .. } => format!(
            "The agent has a plan:\n{}",
            plan.as_deref().unwrap_or("(it stands in the text above)")
        ),
        QuestionKind::Form { server, message, .. } => format!("The MCP server {server} asks:\n{message}"),
    };
    let text = clean(&text);
    let count = text.lines().count();
    let mut lines: Vec<_> = text.lines().take(LINES_MAX).map(str::to_owned).collect();
    if count > LINES_MAX {
        lines.push(format!(
            "… ({} more lines; `cc-executor logs --json` has all)",
            count - LINES_MAX
        ));
    }
    lines.extend(explain_offers(kind));
    lines
}

/// What can be granted along with a yes, with the numbers of `--grant`.
fn explain_offers(kind: &QuestionKind) -> Vec<String> {
    let offers = kind.offers();
    let line = |(place, offer): (usize, &Suggestion)| {
        format!("  {}. {}", place + 1, clean(&offer.words).replace('\n', "\n     "))
    };
    let head = (!offers.is_empty()).then(|| "You can also grant, for the rest of the session:".to_owned());
    head.into_iter().chain(offers.iter().enumerate().map(line)).collect()
}

/// A tool's whole input: what would really run. A single text stands as it is.
fn explain_input(input: &Value) -> String {
    let Some(fields) = input.as_object() else {
        return format!("  {input}");
    };
    let tell = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) => format!("  {name}: {}", text.replace('\n', "\n    ")),
        None => format!("  {name}: {value}"),
    };
    fields.iter().map(tell).collect::<Vec<_>>().join("\n")
}

fn explain_choice(choice: &Choice) -> String {
    let mut text = choice.question.clone();
    for (index, option) in choice.options.iter().enumerate() {
        text += &format!("\n  {}. {}", index + 1, item(&option.label, &option.description));
    }
    text
}

fn ask(kind: &QuestionKind) -> Given<Answer> {
    show(kind);
    match kind {
        QuestionKind::Permission { .. } => ask_permission(&kind.offers()),
        QuestionKind::Choice { questions, .. } => ask_choices(questions),
        QuestionKind::Plan { .. } => {
            ask_yes_or_no("Approve the plan?", &["Approve", "Keep planning: say what is missing"])
        }
        QuestionKind::Form { schema, order, .. } => ask_form(schema, order),
    }
}

/// What is asked, except where the menu says it all.
fn show(kind: &QuestionKind) {
    if !matches!(kind, QuestionKind::Choice { .. }) {
        explain(kind).iter().for_each(|line| eprint(line));
    }
    eprint("(Enter chooses, Esc leaves it for later)");
}

fn ask_permission(offers: &[Suggestion]) -> Given<Answer> {
    let can_be: Vec<_> = offers.iter().filter(|offer| offer.grant.is_some()).collect();
    if can_be.is_empty() {
        return ask_yes_or_no("Allow it?", &["Allow", "Deny"]);
    }
    match select("Allow it?", &["Allow", "Allow, and choose what else to grant", "Deny"])? {
        Some(0) => Ok(Some(Answer::allow())),
        Some(1) => ask_grants(&can_be),
        Some(_) => deny().map(Some),
        None => Ok(None),
    }
}

/// Each suggestion can be taken alone; none is marked at first.
fn ask_grants(offers: &[&Suggestion]) -> Given<Answer> {
    let items: Vec<_> = offers.iter().map(|offer| item(&offer.words, "")).collect();
    let chosen = MultiSelect::with_theme(&theme())
        .with_prompt("For the rest of the session (space marks, enter answers)")
        .items(&items)
        .interact_opt()?;
    let Some(chosen) = chosen else { return Ok(None) };
    let grant = chosen.iter().filter_map(|index| offers.get(*index));
    Ok(Some(Answer::Allow {
        updated_input: None,
        remember: false,
        grant: grant.map(|offer| Pick::Words(offer.words.clone())).collect(),
    }))
}

fn ask_yes_or_no(prompt: &str, items: &[&str; 2]) -> Given<Answer> {
    match select(prompt, items)? {
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

fn ask_choices(questions: &[Choice]) -> Given<Answer> {
    let mut answers = BTreeMap::new();
    for choice in questions {
        let Some(answer) = ask_choice(choice)? else {
            return Ok(None);
        };
        answers.insert(choice.question.clone(), answer);
    }
    Ok(Some(Answer::Choose { answers }))
}

fn ask_choice(choice: &Choice) -> Given<String> {
    const OWN_WORDS: &str = "Something else, in my own words";
    let question = one_line(&choice.question, ITEM_CHARS_MAX);
    let options = choice.options.iter();
    let mut items: Vec<_> = options.map(|option| item(&option.label, &option.description)).collect();
    if !items.iter().chain([&question]).all(|line| fits(line)) {
        clean(&explain_choice(choice)).lines().for_each(eprint);
    }
    items.push(OWN_WORDS.to_owned());
    let chosen = if choice.multi_select {
        eprint("(Space marks, Enter answers with what is marked)");
        multi_select(&question, &items)?
    } else {
        select(&question, &items)?.map(|index| vec![index])
    };
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

fn ask_form(schema: &Value, order: &[String]) -> Given<Answer> {
    match select("Fill in the form?", &["Fill in", "Decline"])? {
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
    eprint(&format!("Its schema: {schema}"));
    loop {
        match serde_json::from_str(&input("The content, as JSON", None, false)?) {
            Ok(content) => return Ok(content),
            Err(error) => eprint(&format!("  this is no JSON: {error}")),
        }
    }
}

fn ask_field(field: &Field<'_>) -> Given<Value> {
    let title = match field.hint {
        Some(hint) => format!("{}: {hint}", field.title),
        None => field.title.to_owned(),
    };
    let prompt = one_line(&title, ITEM_CHARS_MAX);
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
            let chosen = select(&prompt, &items)?;
            Ok(chosen.and_then(|place| Some(offers.get(place)?.value.clone().into())))
        }
        FieldKind::Many(offers) => {
            let items: Vec<_> = offers.iter().map(named).collect();
            let chosen = multi_select(&prompt, &items)?;
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

fn select(prompt: &str, items: &[impl ToString]) -> dialoguer::Result<Option<usize>> {
    let items: Vec<_> = items.iter().map(|item| fitting(&item.to_string())).collect();
    Select::with_theme(&theme())
        .with_prompt(fitting(prompt))
        .items(&items)
        .default(0)
        .interact_opt()
}

fn multi_select(prompt: &str, items: &[String]) -> dialoguer::Result<Option<Vec<usize>>> {
    let items: Vec<_> = items.iter().map(|item| fitting(item)).collect();
    MultiSelect::with_theme(&theme())
        .with_prompt(fitting(prompt))
        .items(&items)
        .interact_opt()
}

/// A line of a menu, cut where it would wrap: a menu that is drawn anew counts its lines, not the rows they take.
fn fitting(line: &str) -> String {
    console::truncate_str(line, room(), "…").into_owned()
}

fn fits(line: &str) -> bool {
    console::measure_text_width(line) <= room()
}

fn room() -> usize {
    let columns = usize::from(Term::stderr().size().1);
    columns.saturating_sub(MARK_COLUMNS).max(1)
}

fn input(prompt: &str, default: Option<&Value>, allow_empty: bool) -> dialoguer::Result<String> {
    let default = default.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    Input::with_theme(&theme())
        .with_prompt(fitting(prompt))
        .with_initial_text(default.unwrap_or_default())
        .allow_empty(allow_empty)
        .interact_text()
}

fn item(label: &str, description: &str) -> String {
    match description.trim() {
        "" => one_line(label, ITEM_CHARS_MAX),
        description => one_line(&format!("{label}: {description}"), ITEM_CHARS_MAX),
    }
}

fn theme() -> ColorfulTheme {
    ColorfulTheme::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_permission_shows_what_would_really_run() {
        let kind = QuestionKind::Permission {
            tool: "Bash\u{1b}[2J".into(),
            input: json!({"command": "make\nrm -rf x\u{1b}[8m", "timeout": 5}),
            reason: Some("not in the rules".into()),
            suggestions: vec![
                json!({"type": "setMode", "mode": "acceptEdits"}),
                json!({"type": "addDirectories", "directories": ["/srv\u{1b}[8m"]}),
            ],
        };
        insta::assert_snapshot!(explain(&kind).join("\n"), @r"
        The agent wants to use Bash:
          command: make
            rm -rf x
          timeout: 5
        (not in the rules)
        You can also grant, for the rest of the session:
          1. switch to the permission mode acceptEdits: file edits need no permission
          2. let the agent work in /srv
        ");
    }

    #[test]
    fn a_long_plan_is_cut_and_says_so() {
        let kind = QuestionKind::Plan {
            plan: Some("step\n".repeat(1_000)),
            input: Value::Null,
        };
        let lines = explain(&kind);
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert!(lines.last().unwrap().contains("801 more lines"));
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
