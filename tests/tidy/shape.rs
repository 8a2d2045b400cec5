//! How long files and functions may be, and that each file says what it is for.

use super::SourceFile;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The part of a file before its unit tests.
pub(super) fn before_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

pub(super) fn file_complaints(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    if !file.text.starts_with("//! ") {
        complaints.push(format!("{}: does not start with `//!` and what it is for", file.path));
    }
    let lines = before_tests(&file.text).lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!(
            "{}: {lines} lines before its tests, at most {FILE_LINES_MAX}",
            file.path
        ));
    }
    complaints
}

/// In formatted code a function ends with the first closing brace at its own depth.
pub(super) fn function_complaints(file: &SourceFile) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let long = lines.iter().enumerate().filter_map(|(start, line)| {
        let name = function_name(line)?;
        let length = function_length(&lines[start..])?;
        let complaint = || {
            format!(
                "{}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}",
                file.path
            )
        };
        (length > FUNCTION_LINES_MAX).then(complaint)
    });
    long.collect()
}

fn function_name(line: &str) -> Option<&str> {
    const QUALIFIERS: [&str; 8] = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "async",
        "const",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    let mut words = line.split_whitespace().skip_while(|word| QUALIFIERS.contains(word));
    (words.next()? == "fn").then_some(())?;
    words.next()?.split(['(', '<']).next()
}

/// Lines from the head to the closing brace, or nothing for a function without a body or with one on the same line.
fn function_length(lines: &[&str]) -> Option<usize> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let head = lines.first()?;
    if head.ends_with([';', '}']) {
        return None;
    }
    let ends_here = |line: &&str| depth(line) == depth(head) && (line.trim_start() == "}" || line.ends_with(';'));
    let end = lines.iter().skip(1).position(ends_here)? + 1;
    (lines[end].trim_start() == "}").then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: String) -> SourceFile {
        SourceFile {
            path: "src/x.rs".to_owned(),
            text,
        }
    }

    #[test]
    fn a_file_without_a_head_and_a_long_one_are_found() {
        let long = "\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(file_complaints(&file(long.clone())).len(), 2);
        let in_tests = format!("//! Head.\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(file_complaints(&file(in_tests)), [""; 0]);
    }

    #[test]
    fn a_long_function_is_found_and_a_row_of_short_ones_is_not() {
        let body = |lines| "        work();\n".repeat(lines);
        let long = format!(
            "impl X {{\n    pub(crate) async fn long(\n        a: u8,\n    ) {{\n{}    }}\n}}\n",
            body(68)
        );
        let complaints = function_complaints(&file(long));
        assert!(
            complaints.len() == 1 && complaints[0].contains("`long` has 72 lines"),
            "{complaints:?}"
        );
        let short = format!(
            "    fn short(&self) {{\n{}    }}\n    fn one(&self);\n    fn two() {{}}\n",
            body(60)
        );
        assert_eq!(function_complaints(&file(short.repeat(5))), [""; 0]);
    }
}
