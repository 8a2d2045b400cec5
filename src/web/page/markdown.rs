//! What an agent writes as Markdown, made into HTML that can do nothing: raw HTML in it is shown as text, images become
//! links, and what comes out is sanitised once more.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use maud::{Markup, PreEscaped};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};

use super::code::{self, CLASS_PREFIX};
use super::text::{one_line, visible};
use crate::session::summary::cut;

/// The level of the first heading in a text: below those of the page itself.
const HEADING_LEVEL_FIRST: usize = 3;

/// Renders Markdown.
pub(super) fn render(text: &str) -> Markup {
    let text = visible(text);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut rendered = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut rendered, Tamed::new(Parser::new_ext(&text, options)));
    PreEscaped(SANITISER.clean(&rendered).to_string())
}

/// The words of Markdown in one line, without its marks; at most so many characters.
pub(super) fn plain(text: &str, chars_max: usize) -> String {
    // No character is longer than four bytes, and marks are few.
    let text = cut(text, chars_max.saturating_mul(8));
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
}

impl<'a> Tamed<'a> {
    fn new(events: Parser<'a>) -> Self {
        Self {
            events,
            code: None,
            headings: Vec::new(),
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
            Event::Start(Tag::Image { dest_url, title, .. }) => Event::Start(Tag::Link {
                link_type: LinkType::Inline,
                dest_url,
                title,
                id: CowStr::Borrowed(""),
            }),
            Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
            Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
            Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
            Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
            Event::TaskListMarker(is_done) => own_html(if is_done { "☑ " } else { "☐ " }),
            other => other,
        })
    }

    fn end_code(&mut self) -> Option<Event<'a>> {
        let (text, language) = self.code.take()?;
        let block = code::block(&text, &language).into_string();
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
            if let Some(tamed) = self.tame(event) {
                return Some(tamed);
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

    #[test]
    fn direction_overrides_are_visible() {
        check("a\u{202e}b", "<p>a⟨U+202E⟩b</p>");
    }

    #[test]
    fn classes_from_outside_are_dropped() {
        assert_eq!(own_classes("hl-string question code"), "hl-string code");
    }
}
