//! Values that are given on the command line or in a file: tasks, JSON, lists of tool rules.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use serde_json::Value;

use super::exit::Failure;

/// A value that is neither JSON nor a file holding JSON.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadJson {
    /// The file cannot be read.
    #[error("cannot read the file {0:?}: {1}")]
    File(String, io::Error),
    /// It is not JSON.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads JSON: the text itself when it is an object or array, else the file that it names, with or without `@`.
pub(crate) fn read_json(text: &str) -> Result<Value, BadJson> {
    if is_inline_json(text) {
        return Ok(serde_json::from_str(text)?);
    }
    let path = text.strip_prefix('@').unwrap_or(text);
    let content = fs::read_to_string(path).map_err(|error| BadJson::File(path.to_owned(), error))?;
    Ok(serde_json::from_str(&content)?)
}

/// Whether this is JSON itself and not the path of a file.
pub(crate) fn is_inline_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// The task: given in words, as `-` or nothing for standard input, or as a file. Nobody is kept waiting at a terminal.
pub(crate) fn read_task(words: Option<&str>, file: Option<&Path>) -> Result<String, Failure> {
    match (words, file) {
        (_, Some(file)) => fs::read_to_string(file)
            .map_err(|error| Failure::Usage(format!("cannot read the task from {file:?}: {error}"))),
        (None, None) if io::stdin().is_terminal() => Err(Failure::Usage(
            "no task: give it in quotes, as - for standard input, or by --file".to_owned(),
        )),
        (Some("-") | None, None) => {
            let mut task = String::new();
            let read = io::stdin().lock().read_to_string(&mut task);
            read.map_err(|error| Failure::Usage(format!("cannot read the task from standard input: {error}")))?;
            Ok(task)
        }
        (Some(words), None) => Ok(words.to_owned()),
    }
}

/// Cuts a list of tool rules at commas and spaces, except within parentheses: `Edit, Bash(git log:*)`.
pub(crate) fn split_rules(list: &str) -> Vec<String> {
    let mut rules = vec![String::new()];
    let mut depth = 0_usize;
    for c in list.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match rules.last_mut() {
            Some(rule) if depth > 0 || !(c == ',' || c.is_whitespace()) => rule.push(c),
            _ => rules.push(String::new()),
        }
    }
    rules.retain(|rule| !rule.is_empty());
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_cut_outside_of_parentheses() {
        assert_eq!(
            split_rules("Edit, Bash(git log:*),Read"),
            ["Edit", "Bash(git log:*)", "Read"]
        );
        assert_eq!(split_rules("Bash(npm run a, b) Edit"), ["Bash(npm run a, b)", "Edit"]);
        assert!(split_rules(" , ").is_empty());
    }

    #[test]
    fn json_comes_from_the_text_or_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("schema.json");
        fs::write(&path, r#"{"type":"object"}"#).unwrap();
        let path = path.to_str().unwrap();
        for text in [r#" {"type":"object"}"#, path, &format!("@{path}")] {
            assert_eq!(read_json(text).unwrap()["type"], "object", "{text}");
        }
        assert!(matches!(read_json("{"), Err(BadJson::Json(_))));
        assert!(matches!(read_json("@missing"), Err(BadJson::File(..))));
    }

    #[test]
    fn a_task_comes_from_words_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task");
        fs::write(&path, "from a file").unwrap();
        assert_eq!(read_task(Some("tidy up"), None).unwrap(), "tidy up");
        assert_eq!(read_task(None, Some(&path)).unwrap(), "from a file");
        assert_eq!(
            read_task(None, Some(&dir.path().join("no"))).unwrap_err().exit().code(),
            2
        );
    }
}
