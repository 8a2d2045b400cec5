//! Tips behind the errors of the command line: what was meant, where that can be told.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;

/// Verbs that people know from other programs, and what does it here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["delete", "del", "remove"],
        "`cc-executor rm ID` removes a session that has ended",
    ),
    (
        &["prune", "clean", "cleanup", "purge"],
        "`cc-executor gc` removes sessions that ended long ago",
    ),
    (
        &["set", "config", "settings"],
        "`cc-executor serve --set section.key=value` starts the daemon with another setting",
    ),
    (
        &["send", "message", "msg", "tell", "say", "input", "reply"],
        "`cc-executor answer ID` answers a question, and `cc-executor resume ID \"…\"` tells a session that has ended \
         what to do",
    ),
    (
        &["approve", "allow"],
        "`cc-executor answer ID --allow` allows what a session asks for",
    ),
    (
        &["deny", "reject"],
        "`cc-executor answer ID --deny \"why\"` refuses what a session asks for",
    ),
    (
        &["new", "create", "exec", "execute", "start", "submit", "ask"],
        "`cc-executor run \"task\"` starts a session",
    ),
    (
        &["show", "inspect", "info", "get", "describe"],
        "`cc-executor status ID` shows a session",
    ),
    (
        &["follow", "watch", "tail", "stream", "join"],
        "`cc-executor attach ID` follows a session",
    ),
    (
        &["log", "records", "cat"],
        "`cc-executor logs ID` prints a session's records",
    ),
    (
        &["abort", "terminate", "end"],
        "`cc-executor cancel ID` cancels a session, `cc-executor stop` stops the daemon",
    ),
    (
        &["continue", "retry", "rerun"],
        "`cc-executor resume ID` goes on with a session that has ended",
    ),
    (
        &["branch", "clone", "copy"],
        "`cc-executor fork ID` begins a session in a copy of another one's conversation",
    ),
    (
        &["checkpoint", "rewind", "undo"],
        "`cc-executor checkpoints ID` lists where `resume --at` and `fork --at` can begin",
    ),
    (&["sessions", "jobs"], "`cc-executor ls` lists sessions"),
    (
        &["questions", "pending"],
        "`cc-executor ls --state awaiting_input` lists the sessions that ask something",
    ),
    (
        &["daemon", "server", "up"],
        "`cc-executor serve` runs the daemon; `cc-executor run` starts one by itself",
    ),
    (
        &["down", "shutdown", "quit"],
        "`cc-executor stop` stops the daemon; agents go on",
    ),
    (&["reload"], "`cc-executor restart` replaces the daemon; agents go on"),
    (
        &["ui", "web", "dashboard", "page", "login"],
        "`cc-executor open` opens the page, signed in",
    ),
    (&["version"], "`cc-executor --version` shows the version"),
];

/// The same error, with a tip where one fits better than clap's own.
pub(super) fn with_tip(mut error: clap::Error) -> clap::Error {
    if let Some(tip) = tip(&error) {
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    } else if let Some(verb) = with_the_same_letters(&error) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![verb]));
    }
    error
}

/// The verb that was typed with letters in another order, which clap finds in long words only.
fn with_the_same_letters(error: &clap::Error) -> Option<String> {
    let is_unknown =
        error.kind() == ErrorKind::InvalidSubcommand && error.get(ContextKind::SuggestedSubcommand).is_none();
    let typed = error
        .get(ContextKind::InvalidSubcommand)
        .filter(|_| is_unknown)?
        .to_string();
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let command = Cli::command();
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let mut names = verbs.map(clap::Command::get_name);
    names.find(|name| letters(name) == letters(&typed)).map(str::to_owned)
}

fn tip(error: &clap::Error) -> Option<String> {
    let told = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = told(ContextKind::InvalidSubcommand).to_lowercase();
            // A verb of `token` or `bench` is another thing.
            let is_of_a_verb = told(ContextKind::Usage).contains("cc-executor token")
                || told(ContextKind::Usage).contains("cc-executor bench");
            let known = ELSEWHERE.iter().find(|(words, _)| words.contains(&typed.as_str()));
            known.filter(|_| !is_of_a_verb).map(|(_, tip)| (*tip).to_owned())
        }
        // The words of a task that stand without quotes look like further arguments.
        ErrorKind::UnknownArgument => {
            let usage = told(ContextKind::Usage);
            let takes_words = ["[TASK]", "[INSTRUCTION]"]
                .iter()
                .any(|argument| usage.contains(argument));
            let is_word = !told(ContextKind::InvalidArg).starts_with('-');
            let tip = "several words are one argument when they stand in quotes";
            (takes_words && is_word).then(|| tip.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn told(typed: &[&str]) -> String {
        let error = Cli::try_parse_from([&["cc-executor"], typed].concat()).unwrap_err();
        with_tip(error).to_string()
    }

    #[test]
    fn a_verb_from_elsewhere_and_a_mistyped_one_get_a_fitting_hint() {
        for (typed, hint) in [
            ("set", "serve --set section.key=value"),
            ("send", "answer ID"),
            ("delete", "cc-executor rm ID"),
            ("rnu", "run"),
            ("attahc", "attach"),
        ] {
            let told = told(&[typed, "x"]);
            assert!(told.contains("tip:") && told.contains(hint), "{typed}: {told}");
        }
        let told = told(&["run", "tidy", "up"]);
        assert!(told.contains("in quotes"), "{told}");
    }

    #[test]
    fn hints_are_for_verbs_that_are_not_there_and_name_verbs_that_are() {
        let command = Cli::command();
        let mut seen = std::collections::BTreeSet::new();
        for (words, tip) in ELSEWHERE {
            for word in *words {
                let here = command.find_subcommand(word);
                assert!(here.is_none_or(clap::Command::is_hide_set), "{word} is a verb");
                assert!(seen.insert(word), "{word} twice");
            }
            for named in tip.split("cc-executor ").skip(1) {
                let verb = named.split([' ', '`']).next().unwrap();
                assert!(verb == "--version" || command.find_subcommand(verb).is_some(), "{tip}");
            }
        }
    }
}
