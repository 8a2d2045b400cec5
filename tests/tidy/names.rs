//! Type names: one meaning each.

use std::collections::BTreeMap;

use super::SourceFile;
use super::shape::before_tests;

/// Names that two files may define: the command line has shapes of its own for what it reads of the API, an attempt and a
/// session both have states, and an attempt is numbered in journals and a value in `attempt`.
const SHARED: [&str; 19] = [
    "Attempt",
    "Checkpoint",
    "Created",
    "DaemonFile",
    "Day",
    "Gone",
    "Handover",
    "Hello",
    "History",
    "Limits",
    "OpenQuestion",
    "Problem",
    "Questions",
    "State",
    "Swept",
    "Tokens",
    "Unreachable",
    "View",
    "Wanted",
];

/// One complaint per type name that several files define. Tests and the simulator, which stands for a foreign program, are
/// free.
pub(super) fn complaints(files: &[SourceFile]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_held(&file.path)) {
        for name in before_tests(&file.text).lines().filter_map(defined) {
            places.entry(name).or_default().push(&file.path);
        }
    }
    let doubled = places
        .iter()
        .filter(|(name, at)| at.len() > 1 && !SHARED.contains(name));
    doubled
        .map(|(name, at)| format!("`{name}` has {} meanings: {}", at.len(), at.join(", ")))
        .collect()
}

fn is_held(path: &str) -> bool {
    let of_tests = [
        "/tests",
        "/walk",
        "/contract",
        "/memory.rs",
        "/samples.rs",
        "/simulator/",
    ];
    !of_tests.iter().any(|part| path.contains(part))
}

/// The name of a type that a line at the left edge defines.
fn defined(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(") ")?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    rest.split(|c: char| !c.is_alphanumeric()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_two_meanings_is_found() {
        let file = |path: &str, text: &str| SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            file("src/a.rs", "pub(in crate::a) struct Item<T>(T);\nstruct State;"),
            file("src/b.rs", "    struct Inner;\nenum Item {}\npub enum State {}"),
            file("src/b/tests.rs", "struct Item;"),
        ];
        assert_eq!(complaints(&files), ["`Item` has 2 meanings: src/a.rs, src/b.rs"]);
    }
}
