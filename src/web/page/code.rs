//! Code with its syntax marked by classes; the colours are in the style sheet.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use maud::{Markup, PreEscaped, html};
use syntect::html::{ClassStyle, ClassedHTMLGenerator};
use syntect::parsing::{SyntaxReference, SyntaxSet};
use syntect::util::LinesWithEndings;

use super::text::visible;
use crate::store::lock;

/// All our classes of code begin with this, which is how they are told from others.
pub(super) const CLASS_PREFIX: &str = "hl-";

const STYLE: ClassStyle = ClassStyle::SpacedPrefixed { prefix: CLASS_PREFIX };

/// Longer code is shown plain, in bytes: marking costs time.
const MARKED_BYTES_MAX: usize = 64 * 1024;

/// Lines longer than this are no code that anybody reads, and expensive to parse, in bytes.
const LINE_BYTES_MAX: usize = 2 * 1024;

/// How long a page waits for the syntaxes, which are loaded once in a thread of their own; then it shows plain code.
const LOAD_PATIENCE: Duration = Duration::from_millis(300);

static SYNTAXES: OnceLock<SyntaxSet> = OnceLock::new();

/// Where the loading thread tells that it is done. Whoever asks first starts it.
static LOADING: LazyLock<Mutex<mpsc::Receiver<()>>> = LazyLock::new(|| {
    let (done, loaded) = mpsc::channel();
    let load = move || {
        SYNTAXES.get_or_init(SyntaxSet::load_defaults_newlines);
        drop(done);
    };
    // Without a thread there are no colours; that is all.
    let _ = thread::Builder::new().name("syntaxes".to_owned()).spawn(load);
    Mutex::new(loaded)
});

/// A block of code in a language that goes by this name or file ending; plain where that is unknown.
pub(super) fn block(code: &str, language: &str) -> Markup {
    html! { pre.code { code { (marked(code, language)) } } }
}

/// The code itself as HTML.
pub(super) fn marked(code: &str, language: &str) -> Markup {
    mark(code, language).map_or_else(|| html! { (visible(code)) }, PreEscaped)
}

fn mark(code: &str, language: &str) -> Option<String> {
    let is_bounded = code.len() <= MARKED_BYTES_MAX && code.lines().all(|line| line.len() <= LINE_BYTES_MAX);
    if language.is_empty() || !is_bounded {
        return None;
    }
    let syntaxes = syntaxes()?;
    let syntax = find(syntaxes, language)?;
    let mut generator = ClassedHTMLGenerator::new_with_class_style(syntax, syntaxes, STYLE);
    let mut code = visible(code);
    if !code.ends_with('\n') {
        code.push('\n');
    }
    for line in LinesWithEndings::from(&code) {
        generator.parse_html_for_line_which_includes_newline(line).ok()?;
    }
    Some(generator.finalize())
}

/// The syntaxes, once they are loaded.
fn syntaxes() -> Option<&'static SyntaxSet> {
    if let Some(syntaxes) = SYNTAXES.get() {
        return Some(syntaxes);
    }
    match lock(&LOADING).recv_timeout(LOAD_PATIENCE) {
        Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => SYNTAXES.get(),
    }
}

fn find<'a>(syntaxes: &'a SyntaxSet, language: &str) -> Option<&'a SyntaxReference> {
    let known_as = match language.to_ascii_lowercase().as_str() {
        "typescript" | "ts" | "tsx" | "jsx" | "mjs" => "js",
        "shell" | "zsh" | "console" | "sh-session" => "sh",
        "jsonl" | "json5" => "json",
        "c++" => "cpp",
        _ => language,
    };
    syntaxes.find_syntax_by_token(known_as)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn wait_for_syntaxes() {
        let deadline = Instant::now() + Duration::from_secs(60);
        while syntaxes().is_none() {
            assert!(Instant::now() < deadline, "the syntaxes are loaded");
        }
    }

    #[test]
    fn known_code_is_marked_and_nothing_in_it_is_markup() {
        wait_for_syntaxes();
        let html = block("let x = \"<script>\"; // </code>", "rust").into_string();
        assert!(html.contains("hl-string") && html.contains("hl-comment"), "{html}");
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script>"), "{html}");
        assert_eq!(html.matches("</code>").count(), 1, "{html}");
    }

    #[test]
    fn unknown_or_endless_code_is_plain() {
        assert_eq!(marked("<x>", "nonesuch").into_string(), "&lt;x&gt;");
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert_eq!(marked(&long, "rust").into_string(), long);
    }
}
