//! One place lists the kinds of records: a new kind is declared in the journal, worded in the telling, and made by whoever
//! writes it. Folds take the kinds that they need, and faces style what the telling says.

use super::SourceFile;
use super::shape::before_tests;

/// The file that words every kind.
const TELLING: &str = "src/session/telling.rs";

/// Kinds that are only told.
const ONLY_TOLD: [&str; 3] = ["AgentUnknown", "Control", "RetryScheduled"];

/// The names of all kinds, as the journal declares them.
pub(super) fn kinds(journal: &SourceFile) -> Vec<String> {
    let declared = journal.text.split_once("\nentries! {\n").map_or("", |(_, rest)| rest);
    let declared = declared.split_once("\n}\n").map_or("", |(list, _)| list);
    let name = |line: &str| Some(line.trim_start().split_once('(')?.0.to_owned());
    let lines = declared.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.filter_map(name).collect()
}

/// Files that list the kinds beside the telling: a face may name half of them, a fold three quarters.
pub(super) fn complaints(kinds: &[String], files: &[SourceFile]) -> Vec<String> {
    assert!(kinds.len() > 20, "the journal declares its kinds: {kinds:?}");
    let listing = files.iter().filter_map(|file| {
        let named = kinds.iter().filter(|kind| names(file, kind)).count();
        let is_face = ["src/cli/", "src/web/"].iter().any(|face| file.path.starts_with(face));
        let most = if is_face { kinds.len() / 2 } else { kinds.len() * 3 / 4 };
        let is_list = named > most && file.path != TELLING;
        is_list.then(|| format!("{}: names {named} kinds of records, at most {most}", file.path))
    });
    let told = ONLY_TOLD.iter().filter_map(|kind| {
        let files: Vec<_> = files
            .iter()
            .filter(|file| names(file, kind))
            .map(|file| &file.path)
            .collect();
        (files.len() != 2).then(|| format!("{kind} is only told: its telling and one writer name it, not {files:?}"))
    });
    listing.chain(told).collect()
}

/// True if a file of the program names the kind outside its tests.
fn names(file: &SourceFile, kind: &str) -> bool {
    let is_test = [
        "/tests",
        "/walk",
        "/contract",
        "/samples.rs",
        "/stories.rs",
        "/folds.rs",
    ];
    let named = format!("Entry::{kind}(");
    !is_test.iter().any(|part| file.path.contains(part)) && before_tests(&file.text).contains(&named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, kinds: &[String]) -> SourceFile {
        let arms: String = kinds.iter().map(|kind| format!("Entry::{kind}(_) => {{}}\n")).collect();
        SourceFile {
            path: path.into(),
            text: arms,
        }
    }

    #[test]
    fn a_second_list_of_the_kinds_is_found() {
        let text =
            "macro_rules! entries {}\nentries! {\n    /// One.\n    One(Box<A>) = \"one\",\n    Two(B) = \"two\",\n}\n";
        let path = "src/session/journal.rs".to_owned();
        let declared = kinds(&SourceFile {
            path,
            text: text.into(),
        });
        assert_eq!(declared, ["One", "Two"]);

        let mut all: Vec<String> = (0..25).map(|n| format!("Kind{n}")).collect();
        all.extend(ONLY_TOLD.map(str::to_owned));
        let telling = file(TELLING, &all);
        let writer = file("src/session/state/decide.rs", &all[25..]);
        assert!(
            complaints(&all, &[file("src/cli/a.rs", &all[..14])]).len() == 3,
            "nothing tells the last three"
        );
        let listed = [
            telling,
            writer,
            file("src/cli/a.rs", &all[..15]),
            file("src/session/b.rs", &all[..22]),
        ];
        assert_eq!(complaints(&all, &listed).len(), 2);
    }
}
