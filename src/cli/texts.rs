//! Texts that begin with a hyphen: a task such as `- [ ] tidy up`, a name, a reason, an option's label.
//!
//! clap takes a word that begins with a hyphen for a flag. This reads the command line first, with the same knowledge of
//! flags, and writes it so that clap takes each text for what it is: a value is joined to its option by `=`, and
//! positional texts go behind `--`. Known flags stay flags. A single word that only looks like a flag stays one as well,
//! so that a mistyped flag is an error and never a task.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// A command line, word by word.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The words as clap reads them best.
    words: Vec<OsString>,
    /// The words that are no positional values: program, verb, flags and their values.
    flags: Vec<OsString>,
    /// The positional values, in their order.
    pub(super) positionals: Vec<OsString>,
    /// The values of options, each under the option's id.
    pub(super) values: Vec<(String, OsString)>,
    /// A positional value that stands before any `--` begins with a hyphen.
    has_text: bool,
}

impl Words {
    /// Reads the words that a person typed, the program's name first. `root` must be built.
    pub(super) fn read(root: &Command, typed: impl IntoIterator<Item = OsString>) -> Self {
        let mut line = Self::default();
        let mut command = root;
        let mut rest = typed.into_iter().peekable();
        if let Some(program) = rest.next() {
            line.take_flag(program);
        }
        while let Some(word) = rest.next() {
            if word == "--" {
                line.words.push(word);
                for word in rest.by_ref() {
                    line.words.push(word.clone());
                    line.positionals.push(word);
                }
                break;
            }
            if let Some(verb) = command.find_subcommand(&word) {
                command = verb;
                line.take_flag(word);
                continue;
            }
            match meaning(command, &word) {
                FlagMeaning::Option(option) => {
                    let value = rest.next_if(|next| is_value_of(command, option, next));
                    line.take_option(option, word, value);
                }
                FlagMeaning::Flag => line.take_flag(word),
                FlagMeaning::Text => line.take_positional(word),
            }
        }
        line
    }

    /// The words in the order in which clap takes them as they are meant.
    pub(super) fn into_words(self) -> Vec<OsString> {
        if !self.has_text {
            return self.words;
        }
        let mut words = self.flags;
        words.push("--".into());
        words.extend(self.positionals);
        words
    }

    fn take_flag(&mut self, word: OsString) {
        self.words.push(word.clone());
        self.flags.push(word);
    }

    fn take_option(&mut self, option: &Arg, word: OsString, value: Option<OsString>) {
        let Some(value) = value else {
            return self.take_flag(word);
        };
        self.values.push((option.get_id().to_string(), value.clone()));
        if begins_with_hyphen(&value) {
            let mut joined = word;
            joined.push("=");
            joined.push(value);
            self.take_flag(joined);
        } else {
            self.take_flag(word);
            self.take_flag(value);
        }
    }

    fn take_positional(&mut self, word: OsString) {
        self.has_text |= begins_with_hyphen(&word);
        self.words.push(word.clone());
        self.positionals.push(word);
    }
}

/// What a word is that is no value of an option.
enum FlagMeaning<'a> {
    /// An option whose value is the next word.
    Option(&'a Arg),
    /// A flag, or an option that holds its value, or a word that looks like one of them.
    Flag,
    /// A positional value.
    Text,
}

fn meaning<'a>(command: &'a Command, word: &OsStr) -> FlagMeaning<'a> {
    if !begins_with_hyphen(word) {
        return FlagMeaning::Text;
    }
    match known(command, word) {
        Some(KnownFlag { arg, has_value: false }) if takes_value(arg) => FlagMeaning::Option(arg),
        Some(_) => FlagMeaning::Flag,
        None if looks_like_a_flag(word) => FlagMeaning::Flag,
        None => FlagMeaning::Text,
    }
}

/// True if the word behind `option` is its value.
fn is_value_of(command: &Command, option: &Arg, word: &OsStr) -> bool {
    let may_stand_alone = option.get_num_args().is_some_and(|count| count.min_values() == 0);
    match begins_with_hyphen(word) {
        false => true,
        true if word == "--" || known(command, word).is_some() => false,
        // A word that looks like a flag is no reason that may be left out.
        true => !(may_stand_alone && looks_like_a_flag(word)),
    }
}

/// A flag that the command has.
struct KnownFlag<'a> {
    arg: &'a Arg,
    /// The word holds the flag's value as well.
    has_value: bool,
}

fn known<'a>(command: &'a Command, word: &OsStr) -> Option<KnownFlag<'a>> {
    let word = word.to_str()?;
    if let Some(long) = word.strip_prefix("--") {
        let (name, has_value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        let is_named = |arg: &&Arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(name) || aliases.contains(&name)
        };
        let arg = command.get_arguments().find(is_named)?;
        return Some(KnownFlag { arg, has_value });
    }
    let mut letters = word.strip_prefix('-')?.chars();
    loop {
        let letter = letters.next()?;
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter))?;
        let is_last = letters.as_str().is_empty();
        if is_last || takes_value(arg) {
            return Some(KnownFlag {
                arg,
                has_value: !is_last,
            });
        }
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|count| count.takes_values())
}

/// True for more than the hyphen alone, which stands for standard input.
fn begins_with_hyphen(word: &OsStr) -> bool {
    word.as_encoded_bytes().first() == Some(&b'-') && word.len() > 1
}

/// True for `--word`, `-w` and `--word=anything`; texts hold spaces, or no letter behind the hyphens.
fn looks_like_a_flag(word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    let name = word.trim_start_matches('-');
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    let hyphens = word.len() - word.trim_start_matches('-').len();
    hyphens <= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, TokenVerb, Verb};
    use clap::{CommandFactory, Parser};

    fn command() -> Command {
        let mut command = Cli::command();
        command.build();
        command
    }

    fn parse(typed: &[&str]) -> Result<Verb, clap::Error> {
        let words = [&["cc-executor"], typed].concat();
        let line = Words::read(&command(), words.into_iter().map(OsString::from));
        Ok(Cli::try_parse_from(line.into_words())?.verb)
    }

    /// Every command, those of other commands too, with the words that lead to it.
    fn every_command() -> Vec<(Vec<String>, Command)> {
        let mut found = Vec::new();
        let mut left = vec![(Vec::new(), command())];
        while let Some((words, command)) = left.pop() {
            for next in command.get_subcommands().filter(|next| next.get_name() != "help") {
                let words = [&words[..], &[next.get_name().to_owned()]].concat();
                left.push((words.clone(), next.clone()));
                found.push((words, next.clone()));
            }
        }
        found
    }

    #[test]
    fn every_option_of_every_verb_takes_a_value_that_begins_with_a_hyphen() {
        let mut tried = 0;
        for (words, found) in every_command() {
            for option in found.get_opts() {
                let flag = format!("--{}", option.get_long().unwrap());
                for text in ["- x", "-1", "--- a b", "- [ ] tidy up"] {
                    let typed = words.iter().map(String::as_str).chain([flag.as_str(), text, "--help"]);
                    let typed = ["cc-executor"].into_iter().chain(typed).map(OsString::from);
                    let words = Words::read(&command(), typed).into_words();
                    let [.., value, help] = words.as_slice() else {
                        panic!("{words:?}")
                    };
                    assert_eq!(
                        (value.to_str().unwrap(), help.to_str()),
                        (&*format!("{flag}={text}"), Some("--help"))
                    );
                    tried += 1;
                }
            }
        }
        assert!(tried > 100, "{tried}");
    }

    #[test]
    fn a_task_and_an_instruction_may_begin_with_a_hyphen() {
        let Verb::Run(run) = parse(&["run", "- [ ] tidy up\n- [ ] test", "--name", "- x", "--json"]).unwrap() else {
            panic!()
        };
        assert_eq!(run.task.as_deref(), Some("- [ ] tidy up\n- [ ] test"));
        assert_eq!((run.name.as_deref(), run.shown.json), (Some("- x"), true));
        let Verb::Run(run) = parse(&["run", "--append-system-prompt", "- be kind", "-1 is wrong"]).unwrap() else {
            panic!()
        };
        assert_eq!(run.append_system_prompt.as_deref(), Some("- be kind"));
        assert_eq!(run.task.as_deref(), Some("-1 is wrong"));
        let Verb::Run(run) = parse(&["run", "--json is broken, mend it", "-d"]).unwrap() else {
            panic!()
        };
        assert_eq!(run.task.as_deref(), Some("--json is broken, mend it"));
        assert!(run.shown.detach && !run.shown.json);
        let Verb::Resume(resume) = parse(&["resume", "ab12", "- first this", "--at", "7"]).unwrap() else {
            panic!()
        };
        assert_eq!(
            (resume.instruction.as_deref(), resume.at),
            (Some("- first this"), Some(7))
        );
        let Verb::Wait(wait) = parse(&["wait", "- a name", "ab12", "--json"]).unwrap() else {
            panic!()
        };
        assert_eq!(
            (wait.ids, wait.json),
            (vec!["- a name".to_owned(), "ab12".to_owned()], true)
        );
        let Verb::Token(token) = parse(&["token", "create", "- x", "--role", "viewer"]).unwrap() else {
            panic!()
        };
        assert!(matches!(token.what, Some(TokenVerb::Create { name, .. }) if name == "- x"));
    }

    #[test]
    fn an_answer_may_begin_with_a_hyphen() {
        let Verb::Answer(answer) = parse(&["answer", "ab12", "q1", "--choice", "-1", "--choice", "-v"]).unwrap() else {
            panic!()
        };
        assert_eq!(answer.flags.choice, ["-1", "-v"]);
        let Verb::Answer(answer) = parse(&["answer", "--deny", "- not now", "--json"]).unwrap() else {
            panic!()
        };
        assert_eq!(
            (answer.flags.deny, answer.json),
            (Some(Some("- not now".to_owned())), true)
        );
        let Verb::Answer(answer) = parse(&["answer", "--deny", "--json"]).unwrap() else {
            panic!()
        };
        assert_eq!((answer.flags.deny, answer.json), (Some(None), true));
    }

    #[test]
    fn flags_stay_flags_and_a_mistyped_one_is_no_task() {
        use clap::error::ErrorKind;
        for (typed, kind) in [
            (&["run", "--help"][..], ErrorKind::DisplayHelp),
            (&["run", "- x", "--help"], ErrorKind::DisplayHelp),
            (&["run", "--detatch", "x"], ErrorKind::UnknownArgument),
            (&["run", "--jsn"], ErrorKind::UnknownArgument),
            (&["run", "-x"], ErrorKind::UnknownArgument),
            (&["run", "x", "--name", "--json"], ErrorKind::InvalidValue),
            (&["answer", "--deny", "--jsn"], ErrorKind::UnknownArgument),
        ] {
            assert_eq!(parse(typed).unwrap_err().kind(), kind, "{typed:?}");
        }
        let Verb::Run(run) = parse(&["run", "-"]).unwrap() else {
            panic!()
        };
        assert_eq!(run.task.as_deref(), Some("-"), "standard input");
        let Verb::Run(run) = parse(&["run", "--json", "--", "--help"]).unwrap() else {
            panic!()
        };
        assert_eq!((run.task.as_deref(), run.shown.json), (Some("--help"), true));
    }

    #[test]
    fn what_stands_before_the_cursor_is_known_to_completions() {
        let typed = ["cc-executor", "--state-dir", "/s", "resume", "ab12", "--at", ""].map(OsString::from);
        let line = Words::read(&command(), typed);
        assert_eq!(line.positionals, ["ab12"]);
        assert_eq!(line.values[0], ("state_dir".to_owned(), OsString::from("/s")));
    }
}
