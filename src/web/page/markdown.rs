//! What an agent writes as Markdown, made into HTML that can do nothing: raw HTML in it is shown as text, images become
//! links, and what comes out is sanitised once more.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};

use super::code::{self, CLASS_PREFIX};
use super::once::once;
use super::text::one_line;
use crate::session::excerpt;
use crate::session::visible;

/// The level of the first heading in a text: below those of the page itself.
const HEADING_LEVEL_FIRST: usize = 3;

/// Longer texts are shown as they are, in bytes.
pub(super) const RENDERED_BYTES_MAX: usize = 64 * 1024;

/// How deep elements are nested; what is deeper stands in the deepest one.
const DEPTH_MAX: usize = 64;

/// How many lists and quotes one line begins; further ones are text.
const BEGUN_IN_LINE_MAX: usize = 32;

/// How far a line is indented, in columns: an indent makes lists deeper, too.
const INDENT_MAX: usize = 64;

/// Renders Markdown, in time that grows with its length alone.
pub(super) fn render(text: &str) -> Markup {
    if text.len() > RENDERED_BYTES_MAX {
        return html! { pre.text { (visible::prose(text)) } };
    }
    once("markdown", &[text], || made(text))
}

/// Renders it anew.
pub(super) fn made(text: &str) -> Markup {
    code::begin_text();
    let text = visible::prose(text);
    let text = flattened(&text);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut rendered = String::with_capacity(text.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut rendered, Tamed::new(Parser::new_ext(&text, options)));
    PreEscaped(from_stand_ins(&SANITISER.clean(&rendered).to_string()))
}

/// Stand for characters while the sanitiser works: it looks at all of the rest of a text for each that it escapes.
const STAND_INS: u32 = 0xf_0000;

/// A text of an event with nothing hidden in it, which an entity may have been.
fn stand_in_text(text: &str) -> CowStr<'static> {
    to_stand_ins(&visible::guard(text)).into()
}

fn to_stand_ins(text: &str) -> String {
    text.chars().map(stand_in).collect()
}

fn stand_in(c: char) -> char {
    match c {
        '&' | '\u{a0}'..='\u{bf}' => char::from_u32(STAND_INS + u32::from(c)).unwrap_or(c),
        c => c,
    }
}

/// The same for HTML of our own, in which an ampersand begins an entity.
fn stand_in_html(html: &str) -> String {
    let stand_in = |c| if c == '&' { c } else { stand_in(c) };
    html.replace("&amp;", "\u{f0026}").chars().map(stand_in).collect()
}

fn from_stand_ins(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    for c in html.chars() {
        match u32::from(c).checked_sub(STAND_INS).and_then(char::from_u32) {
            Some('&') => text.push_str("&amp;"),
            Some(stood_for @ '\u{a0}'..='\u{bf}') => text.push(stood_for),
            Some(_) | None => text.push(c),
        }
    }
    text
}

/// Longer addresses lead nowhere, in bytes.
const ADDRESS_BYTES_MAX: usize = 2_048;

fn link<'a>(link_type: LinkType, dest_url: CowStr<'a>, title: CowStr<'a>) -> Tag<'a> {
    Tag::Link {
        link_type,
        dest_url: bounded_address(dest_url),
        title: bounded_address(title),
        id: CowStr::Borrowed(""),
    }
}

fn bounded_address(address: CowStr<'_>) -> CowStr<'_> {
    if address.len() > ADDRESS_BYTES_MAX {
        return CowStr::Borrowed("");
    }
    address
}

/// The text with as many lists and quotes in each other as anybody reads: a parser walks through all of them at each
/// line.
fn flattened(text: &str) -> Cow<'_, str> {
    if !text.lines().any(is_deep) {
        return Cow::Borrowed(text);
    }
    let mut flat = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        let (indent, rest) = line.split_at(line.len() - line.trim_start_matches([' ', '\t']).len());
        let kept = indent.floor_char_boundary(INDENT_MAX.min(indent.len()));
        flat.push_str(&indent[..kept]);
        match beginnings(rest).nth(BEGUN_IN_LINE_MAX) {
            Some(at) => {
                flat.push_str(&rest[..at]);
                flat.push('\\');
                flat.push_str(&rest[at..]);
            }
            None => flat.push_str(rest),
        }
    }
    Cow::Owned(flat)
}

fn is_deep(line: &str) -> bool {
    let rest = line.trim_start_matches([' ', '\t']);
    line.len() - rest.len() > INDENT_MAX || beginnings(rest).nth(BEGUN_IN_LINE_MAX).is_some()
}

/// Where the marks stand that begin quotes and lists at the beginning of a line; of a number, its end.
fn beginnings(line: &str) -> impl Iterator<Item = usize> {
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            at += 1;
        }
        let digits = bytes[at..]
            .iter()
            .take(9)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let mark = at + digits;
        let ends = |place: usize| bytes.get(place).is_none_or(|byte| byte.is_ascii_whitespace());
        let begins = match bytes.get(mark)? {
            b'>' => digits == 0,
            b'-' | b'*' | b'+' => digits == 0 && ends(mark + 1),
            b'.' | b')' => digits > 0 && ends(mark + 1),
            _ => false,
        };
        at = mark + 1;
        begins.then_some(mark)
    })
}

/// The words of Markdown in one line, without its marks; at most so many characters.
pub(super) fn plain(text: &str, chars_max: usize) -> String {
    // No character is longer than four bytes, and marks are few.
    let text = excerpt::head(text, chars_max.saturating_mul(8));
    let mut words = String::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Text(more) | Event::Code(more) | Event::Html(more) | Event::InlineHtml(more) => {
                words.push_str(&more);
            }
            Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link) => {}
            Event::End(_) | Event::SoftBreak | Event::HardBreak => words.push(' '),
            _ => {}
        }
    }
    let words: Vec<_> = words.split_whitespace().collect();
    one_line(&words.join(" "), chars_max)
}

/// The last wall: only these elements, only these attributes, only links to the web.
static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = [
        "p",
        "br",
        "hr",
        "h3",
        "h4",
        "h5",
        "h6",
        "em",
        "strong",
        "del",
        "code",
        "pre",
        "span",
        "blockquote",
        "ul",
        "ol",
        "li",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "div",
    ];
    let attributes: [(&str, &[&str]); 6] = [
        ("a", &["href", "title"]),
        ("ol", &["start"]),
        ("span", &["class"]),
        ("pre", &["class"]),
        ("div", &["class", "role", "tabindex", "aria-label"]),
        ("code", &["class"]),
    ];
    let mut builder = Builder::empty();
    builder
        .tags(HashSet::from(tags))
        .tag_attributes(attributes.into_iter().map(to_set).collect::<HashMap<_, _>>())
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(|_, name, value| match name {
            "class" => Some(own_classes(value)),
            _ => Some(Cow::Borrowed(value)),
        });
    builder
});

fn to_set((tag, names): (&'static str, &[&'static str])) -> (&'static str, HashSet<&'static str>) {
    (tag, names.iter().copied().collect())
}

/// Classes that this module and `code` give; no others, since a class can make a thing look like another.
fn own_classes(value: &str) -> Cow<'_, str> {
    let is_own = |class: &&str| class.starts_with(CLASS_PREFIX) || matches!(*class, "code" | "table" | "task");
    let own: Vec<&str> = value.split_whitespace().filter(is_own).collect();
    Cow::Owned(own.join(" "))
}

/// The events of a parser without what could reach out of the text.
struct Tamed<'a> {
    events: Parser<'a>,
    /// The text and the language of the code block that is being read.
    code: Option<(String, String)>,
    /// Levels of the headings so far: in the text, and given.
    headings: Vec<(usize, usize)>,
    /// How many elements are open, those that are left out among them.
    depth: usize,
}

impl<'a> Tamed<'a> {
    fn new(events: Parser<'a>) -> Self {
        Self {
            events,
            code: None,
            headings: Vec::new(),
            depth: 0,
        }
    }

    /// The event, unless it begins or ends an element that is too deep; the text of such a one stays.
    fn bounded(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        match event {
            Event::Start(_) => {
                self.depth += 1;
                (self.depth <= DEPTH_MAX).then_some(event)
            }
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                match self.depth < DEPTH_MAX {
                    true => Some(event),
                    false => Some(Event::SoftBreak),
                }
            }
            event => Some(event),
        }
    }

    fn tame(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        if let Some((text, _)) = &mut self.code {
            match event {
                Event::End(TagEnd::CodeBlock) => return self.end_code(),
                Event::Text(more) => text.push_str(&more),
                _ => {}
            }
            return None;
        }
        Some(match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                self.code = Some((String::new(), language(&kind)));
                return None;
            }
            Event::Start(Tag::Heading { level, .. }) => Event::Start(heading(self.open_heading(level as usize))),
            Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Heading(self.heading_level())),
            Event::Start(Tag::Image { dest_url, title, .. }) => Event::Start(link(LinkType::Inline, dest_url, title)),
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                ..
            }) => Event::Start(link(link_type, dest_url, title)),
            Event::Text(text) => Event::Text(stand_in_text(&text)),
            Event::Code(text) => Event::Code(stand_in_text(&text)),
            Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
            Event::Html(html) | Event::InlineHtml(html) => Event::Text(stand_in_text(&html)),
            Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
            Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
            Event::TaskListMarker(is_done) => own_html(if is_done { "☑ " } else { "☐ " }),
            other => other,
        })
    }

    fn end_code(&mut self) -> Option<Event<'a>> {
        let (text, language) = self.code.take()?;
        let block = stand_in_html(&code::piece(&text, &language).into_string());
        Some(Event::Html(CowStr::from(block)))
    }

    /// Headings of a text begin below the page's own, and no level is left out on the way down.
    fn open_heading(&mut self, level: usize) -> usize {
        while self.headings.last().is_some_and(|(before, _)| *before >= level) {
            self.headings.pop();
        }
        let given = self.headings.last().map_or(HEADING_LEVEL_FIRST, |(_, given)| given + 1);
        self.headings.push((level, given.min(6)));
        given.min(6)
    }

    fn heading_level(&self) -> HeadingLevel {
        let given = self.headings.last().map_or(HEADING_LEVEL_FIRST, |(_, given)| *given);
        level_of(given)
    }
}

impl<'a> Iterator for Tamed<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            let event = self.events.next()?;
            let tamed = self.tame(event);
            if let Some(event) = tamed.and_then(|event| self.bounded(event)) {
                return Some(event);
            }
        }
    }
}

fn own_html(html: &'static str) -> Event<'static> {
    Event::Html(CowStr::Borrowed(html))
}

fn heading(level: usize) -> Tag<'static> {
    Tag::Heading {
        level: level_of(level),
        id: None,
        classes: Vec::new(),
        attrs: Vec::new(),
    }
}

fn level_of(level: usize) -> HeadingLevel {
    HeadingLevel::try_from(level).unwrap_or(HeadingLevel::H6)
}

/// The first word behind the fence.
fn language(kind: &CodeBlockKind<'_>) -> String {
    match kind {
        CodeBlockKind::Fenced(info) => {
            let word = info.split([' ', ',', '{']).next().unwrap_or_default();
            word.trim().to_owned()
        }
        CodeBlockKind::Indented => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, html: &str) {
        assert_eq!(render(text).into_string().trim(), html);
    }

    #[test]
    fn markdown_becomes_html() {
        check(
            "a **b** `c`\n\n- d\n- ~~e~~",
            "<p>a <strong>b</strong> <code>c</code></p>\n<ul>\n<li>d</li>\n<li><del>e</del></li>\n</ul>",
        );
    }

    #[test]
    fn words_are_told_without_their_marks() {
        let text = "## What I *did*\n\n- **Ported** `a_b`,\n  and [more](https://e.example)\n\n| a | b |\n|---|---|\n| 1 | 2 |";
        assert_eq!(plain(text, 100), "What I did Ported a_b, and more a b 1 2");
        assert_eq!(plain(text, 10), "What I did…");
        assert_eq!(plain("a <b> c", 100), "a <b> c");
    }

    #[test]
    fn script_is_inert_however_it_is_written() {
        let attacks = [
            "<script>alert(1)</script>",
            "x <img src=x onerror=alert(1)> y",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1) \"t\")",
            "[x](data:text/html,<script>alert(1)</script>)",
            "![x](https://elsewhere.example/pixel.png)",
            "<svg onload=alert(1)>",
            "<a href=\"javascript:alert(1)\">x</a>",
            "<style>*{display:none}</style>",
            "```html\n<script>alert(1)</script>\n```",
            "```\"><script>alert(1)</script>\nx\n```",
            "<form action=/api/sessions><button class=\"primary\">x</button></form>",
            "[a]: javascript:alert(1)\n[a]",
            "<https://e.example/\"onmouseover=alert(1)>",
        ];
        for attack in attacks {
            let html = render(attack).into_string();
            let tags = html
                .split('<')
                .skip(1)
                .map(|tag| tag.split('>').next().unwrap_or_default());
            for tag in tags.map(str::to_lowercase) {
                let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default();
                let is_harmless = !["script", "img", "svg", "style", "form", "button", "iframe"].contains(&name);
                let is_quiet = [" on", "javascript:", "data:"].iter().all(|part| !tag.contains(part));
                assert!(is_harmless && is_quiet, "{attack}: {html}");
            }
        }
    }

    #[test]
    fn a_link_leads_out_without_telling_where_from() {
        check(
            "[x](https://e.example/?a=1&b)",
            "<p><a href=\"https://e.example/?a=1&amp;b\" target=\"_blank\" rel=\"noopener noreferrer\">x</a></p>",
        );
        check(
            "[x](/api/sessions)",
            "<p><a target=\"_blank\" rel=\"noopener noreferrer\">x</a></p>",
        );
    }

    #[test]
    fn an_image_is_a_link_to_it() {
        let html = render("![a cat](https://e.example/cat.png)").into_string();
        assert!(
            html.contains("<a href=\"https://e.example/cat.png\"") && html.contains(">a cat</a>"),
            "{html}"
        );
    }

    #[test]
    fn headings_begin_below_the_pages_own_and_leave_no_level_out() {
        check(
            "# a\n### b\n## c\n# d",
            "<h3>a</h3>\n<h4>b</h4>\n<h4>c</h4>\n<h3>d</h3>",
        );
        check("###### z", "<h3>z</h3>");
    }

    /// How deep elements are nested in HTML.
    fn depth_of(html: &str) -> usize {
        let (mut depth, mut most) = (0_usize, 0);
        for tag in html.split('<').skip(1) {
            match tag.split([' ', '>']).next().unwrap_or_default() {
                "br" | "hr" => {}
                name if name.starts_with('/') => depth = depth.saturating_sub(1),
                _ => depth += 1,
            }
            most = most.max(depth);
        }
        most
    }

    /// Texts that nest as deep as they are long.
    fn nests(count: usize) -> Vec<String> {
        let steps = |part: &str| {
            (0..count.isqrt())
                .map(|n| format!("{}{part} x\n", "  ".repeat(n)))
                .collect::<String>()
        };
        vec![
            ">".repeat(count),
            "> ".repeat(count) + "x\n" + &"\n".repeat(count),
            "- ".repeat(count) + "x" + &"\n".repeat(count),
            "1. ".repeat(count) + "x",
            "1) - > * ".repeat(count / 4) + "x",
            steps("-"),
            steps("1."),
            steps(">"),
            "*a **b ".repeat(count) + &"c** d*".repeat(count),
            "[a".repeat(count) + &"](b)".repeat(count),
            "![a".repeat(count) + &"](b)".repeat(count),
            "~~a ~b ".repeat(count),
        ]
    }

    #[test]
    fn nesting_is_bounded_and_its_text_stays() {
        for text in nests(3_000) {
            let html = render(&text).into_string();
            let head: String = text.chars().take(20).collect();
            assert!(depth_of(&html) <= DEPTH_MAX + 3, "{head:?}: {}", depth_of(&html));
            let letters = |text: &str| text.chars().filter(|c| matches!(c, 'x' | 'c')).count();
            let plain: String = html
                .split('<')
                .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
                .collect();
            assert!(letters(&plain) >= letters(&text), "{head:?}");
        }
    }

    #[test]
    fn usual_nesting_stays_as_it_is() {
        let text = "> - a\n>   1. b\n>      * c\n\n```\n            deep\n```\n1. 1. 2\n* * *\n";
        assert!(matches!(flattened(text), Cow::Borrowed(_)));
        check(
            "> > a",
            "<blockquote>\n<blockquote>\n<p>a</p>\n</blockquote>\n</blockquote>",
        );
        let marks = |line| beginnings(line).collect::<Vec<_>>();
        assert_eq!(marks("> - 12. * x"), [0, 2, 6, 8]);
        assert_eq!(marks(">>>- x -"), [0, 1, 2, 3]);
        assert_eq!(marks("-x 1.x"), [0; 0]);
        assert_eq!(marks("**bold** 1. x"), [0; 0]);
    }

    #[test]
    fn a_very_long_text_is_shown_as_it_is() {
        let html = render(&"a **b** ".repeat(RENDERED_BYTES_MAX / 8 + 1)).into_string();
        assert!(html.starts_with("<pre class=\"text\">a **b** a"), "{}", &html[..60]);
    }

    #[test]
    fn direction_overrides_are_visible() {
        check("a\u{202e}b", "<p>a⟨U+202E⟩b</p>");
        check("a&#x202e;b `&#x202e;`", "<p>a⟨U+202E⟩b <code>&amp;#x202e;</code></p>");
    }

    #[test]
    fn ampersands_and_others_that_are_escaped_stand_as_they_were_written() {
        check("a & b &amp; c\u{a0}d §", "<p>a &amp; b &amp; c\u{a0}d §</p>");
        check("`&lt;` &lt;b&gt;", "<p><code>&amp;lt;</code> &lt;b&gt;</p>");
        check(
            "```\na && b\n```",
            "<pre class=\"code\"><code>a &amp;&amp; b\n</code></pre>",
        );
    }

    #[test]
    fn classes_from_outside_are_dropped() {
        assert_eq!(own_classes("hl-string question code"), "hl-string code");
    }
}
