//! Code with its syntax marked by classes; the colours are in the style sheet.
//!
//! Marking is bounded: in bytes, in the length of a line, in the depth of elements, and in time. What is beyond is shown
//! plain.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use maud::{Escaper, Markup, PreEscaped, html};
use syntect::parsing::{ParseState, Scope, ScopeStack, ScopeStackOp, SyntaxReference, SyntaxSet};
use syntect::util::LinesWithEndings;

use super::once::{once, unfinished};
use super::text::exact;
use crate::session::visible;
use crate::store::lock;

/// Most bytes of HTML for a byte of code before the rest of it is plain. Each mark of a hidden character is several tokens.
const GROWTH_MAX: usize = 100;

/// All our classes of code begin with this, which is how they are told from others.
pub(super) const CLASS_PREFIX: &str = "hl-";

/// Longer code is shown plain, in bytes: marking costs time.
pub(super) const MARKED_BYTES_MAX: usize = 64 * 1024;

/// Lines longer than this are no code that anybody reads, and expensive to parse, in bytes.
const LINE_BYTES_MAX: usize = 512;

/// How long marking the code of one text may take; what is not marked by then is shown plain.
const MARKING_TIME_MAX: Duration = Duration::from_millis(500);

/// How deep elements are nested in marked code. Browsers and the sanitiser take long over deeper ones.
const DEPTH_MAX: usize = 32;

/// Code that is nested deeper is shown plain from there on: the parser walks through all levels at each line.
const NESTING_MAX: usize = 200;

/// How long a page waits for the syntaxes, which are loaded in a thread of their own; then it shows plain code.
const LOAD_PATIENCE: Duration = Duration::from_secs(2);

thread_local! {
    /// The time that marking took of late, for the text that this thread renders.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The syntaxes, which take some 20 MB with what is compiled of them: nobody keeps them without need.
#[derive(Default)]
enum Syntaxes {
    #[default]
    Absent,
    Loading,
    Loaded {
        set: Arc<SyntaxSet>,
        used_at: Instant,
    },
}

static SYNTAXES: LazyLock<(Mutex<Syntaxes>, Condvar)> = LazyLock::new(Default::default);

/// Begins a text of several pieces of code, which share the time that marking may take.
pub(super) fn begin_text() {
    SPENT.set(Duration::ZERO);
}

/// A block of code in a language that goes by this name or file ending; plain where that is unknown.
pub(super) fn block(code: &str, language: &str) -> Markup {
    html! { pre.code { code { (marked(code, language)) } } }
}

/// The code itself as HTML.
pub(super) fn marked(code: &str, language: &str) -> Markup {
    begin_text();
    inner(&exact(code), language)
}

/// A block of a text that was begun, and that was made visible as a whole.
pub(super) fn piece(code: &str, language: &str) -> Markup {
    html! { pre.code { code { (inner(&visible::guard(code), language)) } } }
}

fn inner(code: &str, language: &str) -> Markup {
    let plain = || html! { (code) };
    if language.is_empty() || !is_bounded(code) {
        return plain();
    }
    once("code", &[language, code], || {
        mark(code, language, MARKING_TIME_MAX).unwrap_or_else(plain)
    })
}

fn is_bounded(code: &str) -> bool {
    code.len() <= MARKED_BYTES_MAX && code.lines().all(|line| line.len() <= LINE_BYTES_MAX)
}

/// Marks it anew, however long it takes.
pub(super) fn made(code: &str, language: &str) -> Markup {
    let code = exact(code);
    mark(&code, language, Duration::MAX).unwrap_or_else(|| html! { (code) })
}

/// Marks code that was made visible. Returns none if nothing is known of the language.
fn mark(code: &str, language: &str, time_max: Duration) -> Option<Markup> {
    let syntaxes = syntaxes()?;
    let syntax = find(&syntaxes, language)?;
    let bytes_max = visible::read(code).len().saturating_mul(GROWTH_MAX);
    let mut marker = Marker::new(syntax, bytes_max);
    let mut rest = code;
    for line in LinesWithEndings::from(code) {
        let begun = Instant::now();
        if SPENT.get() > time_max || marker.depth > NESTING_MAX || marker.is_full() {
            break;
        }
        marker.line(line, &syntaxes)?;
        rest = &rest[line.len()..];
        SPENT.set(SPENT.get() + begun.elapsed());
    }
    Some(PreEscaped(marker.finish(rest)))
}

/// Puts elements around what a parser finds in lines.
struct Marker {
    state: ParseState,
    stack: ScopeStack,
    html: String,
    /// How many scopes are open, and how many of those are elements.
    depth: usize,
    /// Bytes of HTML beyond which the rest is plain.
    bytes_max: usize,
}

impl Marker {
    fn new(syntax: &SyntaxReference, bytes_max: usize) -> Self {
        Self {
            state: ParseState::new(syntax),
            stack: ScopeStack::new(),
            html: String::new(),
            depth: 0,
            bytes_max,
        }
    }

    fn line(&mut self, line: &str, syntaxes: &SyntaxSet) -> Option<()> {
        let found = self.state.parse_line(line, syntaxes).ok()?;
        let mut at = 0;
        for (place, op) in &found {
            if self.is_full() {
                break;
            }
            self.escaped(line.get(at..*place)?);
            at = *place;
            self.apply(op)?;
        }
        self.escaped(line.get(at..)?);
        Some(())
    }

    fn is_full(&self) -> bool {
        self.html.len() > self.bytes_max
    }

    fn apply(&mut self, op: &ScopeStackOp) -> Option<()> {
        let (html, depth) = (&mut self.html, &mut self.depth);
        let applied = self.stack.apply_with_hook(op, |step, _| match step {
            syntect::parsing::BasicScopeStackOp::Push(scope) => {
                if *depth < DEPTH_MAX {
                    open(html, scope);
                }
                *depth += 1;
            }
            syntect::parsing::BasicScopeStackOp::Pop => {
                *depth = depth.saturating_sub(1);
                if *depth < DEPTH_MAX {
                    html.push_str("</span>");
                }
            }
        });
        applied.ok()
    }

    fn escaped(&mut self, text: &str) {
        // A string takes every write.
        let _ = Escaper::new(&mut self.html).write_str(text);
    }

    /// All of it, with the rest as it is.
    fn finish(mut self, rest: &str) -> String {
        for _ in 0..self.depth.min(DEPTH_MAX) {
            self.html.push_str("</span>");
        }
        self.escaped(rest);
        self.html
    }
}

fn open(html: &mut String, scope: Scope) {
    html.push_str("<span class=\"");
    let name = scope.build_string();
    for (place, part) in name.split('.').enumerate() {
        if place > 0 {
            html.push(' ');
        }
        html.push_str(CLASS_PREFIX);
        html.push_str(part);
    }
    html.push_str("\">");
}

/// The syntaxes, once they are loaded.
fn syntaxes() -> Option<Arc<SyntaxSet>> {
    let (syntaxes, loaded) = &*SYNTAXES;
    let mut now = lock(syntaxes);
    if matches!(*now, Syntaxes::Absent) {
        let load = move || {
            let set = Arc::new(SyntaxSet::load_defaults_newlines());
            let used_at = Instant::now();
            *lock(syntaxes) = Syntaxes::Loaded { set, used_at };
            loaded.notify_all();
        };
        // Without a thread there are no colours; that is all.
        if thread::Builder::new().name("syntaxes".to_owned()).spawn(load).is_ok() {
            *now = Syntaxes::Loading;
        }
    }
    let is_loading = |now: &mut Syntaxes| matches!(now, Syntaxes::Loading);
    let waited = loaded.wait_timeout_while(now, LOAD_PATIENCE, is_loading);
    let mut now = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(now, _)| now);
    match &mut *now {
        Syntaxes::Loaded { set, used_at } => {
            *used_at = Instant::now();
            Some(Arc::clone(set))
        }
        Syntaxes::Absent | Syntaxes::Loading => {
            unfinished();
            None
        }
    }
}

/// Lets go of the syntaxes where nobody has used them for so long.
pub(super) fn sweep(unused_for: Duration) {
    let mut now = lock(&SYNTAXES.0);
    if matches!(&*now, Syntaxes::Loaded { used_at, .. } if used_at.elapsed() >= unused_for) {
        *now = Syntaxes::Absent;
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

/// Names of all languages that are bundled.
pub(super) fn languages() -> Vec<String> {
    let set = SyntaxSet::load_defaults_newlines();
    let names = set.syntaxes().iter().filter(|syntax| !syntax.hidden);
    names.map(|syntax| syntax.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// How deep elements are nested in HTML, and that each is closed.
    #[track_caller]
    fn depth_of(html: &str) -> usize {
        let (mut depth, mut most) = (0_usize, 0);
        for tag in html.split('<').skip(1) {
            if tag.starts_with('/') {
                depth = depth.checked_sub(1).expect("it was opened");
            } else {
                depth += 1;
                most = most.max(depth);
            }
        }
        assert_eq!(depth, 0, "each is closed");
        most
    }

    #[test]
    fn nested_code_makes_no_deep_elements_and_loses_nothing() {
        wait_for_syntaxes();
        for (language, part) in [("json", "[\n"), ("js", "{\n"), ("rust", "(\n"), ("lisp", "(a\n")] {
            let code = part.repeat(2_000);
            let html = made(&code, language).into_string();
            assert!(depth_of(&html) <= DEPTH_MAX, "{language}");
            let text: String = html
                .split('<')
                .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
                .collect();
            assert_eq!(text, code, "{language}");
        }
    }

    #[test]
    fn the_marks_of_what_is_hidden_make_no_text_long() {
        wait_for_syntaxes();
        let code = format!("{{\"a{}", "\0".repeat(4000));
        let shown = exact(&code);
        for html in [block(&code, "json"), piece(&shown, "json")] {
            let html = html.into_string();
            assert!(html.len() < (code.len() + 1) * (GROWTH_MAX + 100), "{}", html.len());
            let tags = html
                .split('<')
                .map(|part| part.split_once('>').map_or(part, |(_, text)| text));
            let text: String = tags.collect();
            assert_eq!(
                text.matches("⟨U+0000⟩").count(),
                4000,
                "nothing is lost, or marked twice"
            );
        }
    }

    #[test]
    fn the_syntaxes_are_let_go_and_loaded_again() {
        wait_for_syntaxes();
        sweep(Duration::from_secs(3_600));
        assert!(matches!(*lock(&SYNTAXES.0), Syntaxes::Loaded { .. }));
        wait_for_syntaxes();
    }
}
