//! Texts that are made to take long to render, for `bench render`.

use maud::Markup;

use super::diff::Work;
use super::{code, diff, markdown};
use crate::session::telling::question as telling;
use crate::web::page::text::TextRoom;

/// A kind of text, in any size.
pub(crate) struct Load {
    /// The name of the part.
    pub(crate) name: String,
    /// Whether it is Markdown, or in which language it is code.
    kind: PartKind,
    /// Ways to write it: what stands at its beginning, so often, and what stands at its end, as often.
    ways: Vec<(String, String)>,
}

enum PartKind {
    Markdown,
    Code(String),
    Diff,
    Json,
}

impl Load {
    fn markdown(name: &str, begin: &str, end: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: PartKind::Markdown,
            ways: vec![(begin.to_owned(), end.to_owned())],
        }
    }

    /// Texts of about so many bytes, one for each way to write it.
    pub(crate) fn texts(&self, bytes: usize) -> Vec<String> {
        let text = |(begin, end): &(String, String)| {
            let count = (bytes / (begin.len() + end.len()).max(1)).max(1);
            begin.repeat(count) + &end.repeat(count)
        };
        self.ways.iter().map(text).collect()
    }

    /// The most bytes of it that are rendered as more than plain text.
    pub(crate) fn bytes_max(&self) -> usize {
        match self.kind {
            PartKind::Markdown => markdown::RENDERED_BYTES_MAX,
            PartKind::Code(_) => code::MARKED_BYTES_MAX,
            PartKind::Diff | PartKind::Json => usize::MAX,
        }
    }

    /// Renders it anew, and says how many bytes came of it.
    pub(crate) fn render(&self, text: &str) -> usize {
        let rendered: Markup = match &self.kind {
            PartKind::Markdown => markdown::made(text),
            PartKind::Code(language) => code::made(text, language),
            PartKind::Diff => diff::lines(text, &text.replace('a', "b"), TextRoom::WHOLE, &mut Work::of_input()),
            PartKind::Json => maud::PreEscaped(telling::pretty(&text.into())),
        };
        rendered.into_string().len()
    }
}

/// All kinds of texts.
pub(crate) fn loads() -> Vec<Load> {
    let mut loads = vec![
        Load::markdown("quotes in quotes", ">", ""),
        Load::markdown("quotes in quotes, lines below", "> ", "\n"),
        Load::markdown("lists in lists", "- ", "\n"),
        Load::markdown("numbers in numbers", "1. ", "\n\n"),
        Load::markdown("lists and quotes in turn", "1) - > * ", "x\n"),
        Load::markdown("a long list", "- a\n", ""),
        Load::markdown("a list of paragraphs", "- a\n\n", ""),
        Load::markdown("a table of many rows", "|a|b|\n|-|-|\n", "|c|d|\n"),
        Load::markdown("a table of many columns", "|a", "|-"),
        Load::markdown("emphasis that opens", "*a **b ", ""),
        Load::markdown("emphasis that closes", "a* b** ", ""),
        Load::markdown("emphasis in emphasis", "*a **b ", "c** d*"),
        Load::markdown("emphasis of both marks", "*_a", "_*b"),
        Load::markdown("struck through", "~~a ~b ", ""),
        Load::markdown("links in links", "[a", "](b)"),
        Load::markdown("brackets that open", "[", ""),
        Load::markdown("pictures in pictures", "![a", "](b)"),
        Load::markdown("addresses that do not end", "[a](<b", ""),
        Load::markdown("backquotes", "`a``b", "```c"),
        Load::markdown("comments that do not end", "<!-- a", ""),
        Load::markdown("tags that do not end", "<a b='", ""),
        Load::markdown("declarations that do not end", "<?a <!A <![CDATA[", ""),
        Load::markdown("references", "[a]: b\n", "[a]"),
        Load::markdown("entities", "&amp;&#", ""),
        Load::markdown("backslashes", "\\", ""),
        Load::markdown("headings", "# a\n", "a\n=\n"),
        Load::markdown("code in fences", "```rust\nfn\n```\n", ""),
        Load::markdown("fences that do not end", "```a\n", ""),
    ];
    loads.push(Load {
        name: "a diff".to_owned(),
        kind: PartKind::Diff,
        ways: vec![("a line\nanother\n".to_owned(), String::new())],
    });
    loads.push(Load {
        name: "hidden characters".to_owned(),
        kind: PartKind::Json,
        ways: vec![("\u{202e}\\".to_owned(), String::new())],
    });
    let lines = [
        "(",
        "{",
        "[",
        "<",
        "\"",
        "'",
        "a ",
        "- ",
        "/*",
        "\\",
        "a.b(c, \"d\") { // e ",
    ];
    let code = |language: String| Load {
        name: format!("code in {language}"),
        kind: PartKind::Code(language),
        ways: lines
            .iter()
            .map(|part| (part.repeat(60) + "\n", String::new()))
            .collect(),
    };
    loads.extend(code::languages().into_iter().map(code));
    loads
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than this many times what it is made from, and the time to send it is what it costs.
    const GROWTH_MAX: usize = 60;

    #[test]
    fn what_is_rendered_grows_with_the_text_alone() {
        for load in loads().iter().filter(|load| !matches!(load.kind, PartKind::Code(_))) {
            let (half, whole) = (&load.texts(8 * 1024)[0], &load.texts(16 * 1024)[0]);
            let (of_half, of_whole) = (load.render(half), load.render(whole));
            let name = &load.name;
            assert!(
                of_whole <= of_half * 5 / 2 + 1024,
                "{name}: {of_half} and {of_whole} bytes"
            );
            assert!(of_whole <= whole.len() * GROWTH_MAX, "{name}: {of_whole} bytes");
        }
    }
}
