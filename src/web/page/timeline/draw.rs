//! A timeline as SVG and as a list. Places are percentages, so the picture fits any width without a script; colours
//! come from the style sheet.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::TimeRange;
use super::fold::{Bar, Lane, Picture, TimelineMark};
use crate::session::id::Seq;
use crate::web::page::words::{self, Form, time};

/// The rows, from the top: their names and how high they are, in pixels.
const LANES: [(Lane, &str); 4] = [
    (Lane::Attempts, "Attempts"),
    (Lane::Turns, "Turns"),
    (Lane::Tools, "Tools"),
    (Lane::Waits, "Waits"),
];

const LANE_HEIGHT: u32 = 20;
const BAR_HEIGHT: u32 = 12;
const AXIS_HEIGHT: u32 = 18;

/// Bars nearer to each other than this share of the whole are drawn as one.
const MERGE_SHARE: f64 = 1.0 / 800.0;

/// What is too short to be seen is drawn this wide, in percent.
const WIDTH_MIN: f64 = 0.25;

/// The most steps of the scale.
const TICKS_MAX: i64 = 6;

/// Steps of the scale, in seconds.
const STEPS: [i64; 17] = [
    1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 172_800, 604_800,
];

/// The most entries of the list.
const LIST_MAX: usize = 100;

/// The picture, the list, what is left out, and the way to it.
pub(super) fn render(picture: &Picture, shown: TimeRange) -> Markup {
    html! {
        div.timeline data-before=[shown.before] {
            div.picture {
                div.lanes aria-hidden="true" { @for (_, name) in LANES { span { (name) } } }
                (svg(picture))
            }
            (legend(picture))
            (stretches(shown))
            @if shown.is_cut { p.rest { "Of what happened very often, only the latest is in the picture." } }
            (list(picture))
        }
    }
}

/// Which part of the session is drawn, where it is not all of it, and the way to the others.
fn stretches(shown: TimeRange) -> Markup {
    let earlier =
        |from: Seq| html! { button.small type="button" data-stretch="earlier" data-before=(from) { "Earlier" } };
    html! {
        @match (shown.before, shown.from) {
            (None, None) => {},
            (None, Some(from)) => p.stretches {
                (earlier(from)) " "
                span { "Turns and tool calls before record " (from) " are left out of the picture." }
            },
            (Some(before), from) => p.stretches {
                @if let Some(from) = from { (earlier(from)) " " }
                button.small type="button" data-stretch="later" { "Later" } " "
                button.small type="button" data-stretch="whole" { "The whole session" } " "
                span { "Records " (from.map_or(1, |from| from.0)) " to " (before.0.saturating_sub(1)) }
            },
        }
    }
}

fn svg(picture: &Picture) -> Markup {
    let height = LANE_HEIGHT * LANES.len() as u32 + AXIS_HEIGHT;
    html! {
        svg role="img" aria-label=(summary(picture)) width="100%" height=(height) {
            (scale(picture, height))
            @for (row, (lane, _)) in (0u32..).zip(LANES) {
                @for bar in merged(picture, lane) { (draw_bar(picture, &bar, row)) }
            }
            @for mark in &picture.marks { (draw_mark(picture, mark)) }
        }
    }
}

/// The whole in one sentence, for those who do not see it.
fn summary(picture: &Picture) -> String {
    let attempts = picture.bars.iter().filter(|bar| bar.lane == Lane::Attempts).count();
    let waited = |class: &str| {
        let bars = picture
            .bars
            .iter()
            .filter(|bar| bar.lane == Lane::Waits && bar.class == class);
        bars.fold(SignedDuration::ZERO, |sum, bar| sum + picture.within(bar))
    };
    format!(
        "{} in {}: {}, {}, {} for people, {} for usage limits and the API. The list below says the same.",
        words::count(attempts as u64, "attempt", "attempts"),
        words::duration(picture.span()),
        words::count(picture.turns as u64, "turn", "turns"),
        words::count(picture.tools as u64, "tool call", "tool calls"),
        words::duration(waited("person")),
        words::duration(waited("quota") + waited("api")),
    )
}

fn scale(picture: &Picture, height: u32) -> Markup {
    let seconds = picture.span().as_secs().max(1);
    let begin = picture.from.duration_since(picture.zero).as_secs();
    let step = STEPS
        .into_iter()
        .find(|step| seconds / step <= TICKS_MAX)
        .unwrap_or(seconds / TICKS_MAX);
    let first = begin.div_euclid(step) + i64::from(begin % step != 0);
    // A label at the very end would be cut off.
    let ticks = (first..=(begin + seconds) / step)
        .map(|n| n * step)
        .filter(|at| (*at - begin) * 100 <= seconds * 95);
    let label_y = height - 4;
    html! {
        @for at in ticks {
            @let x = percent((at - begin) as f64 / seconds as f64 * 100.0);
            line.tick x1=(x) x2=(x) y1="0" y2=(height - AXIS_HEIGHT) {}
            text.tick x=(x) y=(label_y) dx="3" { (if at == 0 { "0".to_owned() } else { words::duration(SignedDuration::from_secs(at)) }) }
        }
    }
}

fn draw_bar(picture: &Picture, bar: &Bar, row: u32) -> Markup {
    let x = share(picture, bar.from);
    let width = (share(picture, bar.to) - x)
        .max(WIDTH_MIN)
        .min(100.0 - x.min(100.0 - WIDTH_MIN));
    let y = row * LANE_HEIGHT + (LANE_HEIGHT - BAR_HEIGHT) / 2;
    let class = format!("bar {}", bar.class);
    html! {
        rect class=(class) x=(percent(x.min(100.0 - WIDTH_MIN))) y=(y) width=(percent(width)) height=(BAR_HEIGHT) rx="2" {
            title { (bar.words) " (" (words::duration(bar.to.duration_since(bar.from))) ")" }
        }
    }
}

/// A mark of something bad goes through all rows; a checkpoint is a notch below the attempts.
fn draw_mark(picture: &Picture, mark: &TimelineMark) -> Markup {
    let x = percent(share(picture, mark.at).min(100.0 - WIDTH_MIN));
    let class = format!("mark {}", mark.class);
    let bottom = match mark.class {
        "checkpoint" => LANE_HEIGHT / 4,
        _ => LANE_HEIGHT * LANES.len() as u32,
    };
    html! { line class=(class) x1=(x) x2=(x) y1="0" y2=(bottom) { title { (mark.words) } } }
}

/// The bars of one row; those that could not be told apart are one.
fn merged(picture: &Picture, lane: Lane) -> Vec<Bar> {
    let gap = picture.span().as_secs_f64() * MERGE_SHARE;
    let mut merged: Vec<(Bar, usize)> = Vec::new();
    for bar in picture.bars.iter().filter(|bar| bar.lane == lane) {
        match merged.last_mut() {
            Some((last, count))
                if last.class == bar.class
                    && bar.from.duration_since(last.to).as_secs_f64() < gap
                    && lane != Lane::Attempts =>
            {
                last.to = last.to.max(bar.to);
                *count += 1;
            }
            _ => merged.push((bar.clone(), 1)),
        }
    }
    let named = |(mut bar, count): (Bar, usize)| {
        if count > 1 {
            bar.words = format!("{count} × {}", name_of(lane));
        }
        bar
    };
    merged.into_iter().map(named).collect()
}

fn name_of(lane: Lane) -> &'static str {
    match lane {
        Lane::Attempts => "attempt",
        Lane::Turns => "turn",
        Lane::Tools => "tool call",
        Lane::Waits => "wait",
    }
}

/// Names of the colours that are in the picture.
fn legend(picture: &Picture) -> Markup {
    let names = [
        ("attempt failed", "attempt that failed"),
        ("tool failed", "tool that failed"),
        ("person", "waits for a person"),
        ("quota", "waits for the usage limit"),
        ("api", "waits for the API"),
        ("retry", "waits to try again"),
        ("queue", "queued"),
    ];
    let is_there = |class: &str| picture.bars.iter().any(|bar| bar.class == class);
    let there: Vec<_> = names.into_iter().filter(|(class, _)| is_there(class)).collect();
    html! {
        @if !there.is_empty() {
            ul.legend {
                @for (class, name) in there { li { span class={ "swatch " (class) } aria-hidden="true" {} (name) } }
            }
        }
    }
}

/// The same in words: attempts, waits and what else is worth a look, each with its record.
fn list(picture: &Picture) -> Markup {
    let bars = picture
        .bars
        .iter()
        .filter(|bar| matches!(bar.lane, Lane::Attempts | Lane::Waits));
    let of_bar = |bar: &Bar| {
        (
            bar.from,
            bar.seq,
            bar.words.clone(),
            Some(bar.to.duration_since(bar.from)),
        )
    };
    let marks = picture.marks.iter().filter(|mark| mark.class != "checkpoint");
    let of_mark = |mark: &TimelineMark| (mark.at, mark.seq, mark.words.clone(), None);
    let mut entries: Vec<_> = bars.map(of_bar).chain(marks.map(of_mark)).collect();
    entries.sort_by_key(|(_, seq, _, _)| *seq);
    let left_out = entries.len().saturating_sub(LIST_MAX);
    html! {
        details.as-list {
            summary { "As a list" }
            @if left_out > 0 { p.rest { (left_out) " earlier entries are left out." } }
            ol {
                @for (at, seq, words, took) in entries.iter().skip(left_out) {
                    li {
                        (time(*at, Form::Clock)) " "
                        a href={ "?seq=" (seq) "#r" (seq) } { (words) }
                        @if let Some(took) = took { " (" (words::duration(*took)) ")" }
                    }
                }
            }
        }
    }
}

fn share(picture: &Picture, at: Timestamp) -> f64 {
    let since = at.duration_since(picture.from).as_secs_f64();
    (since / picture.span().as_secs_f64() * 100.0).clamp(0.0, 100.0)
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

#[cfg(test)]
mod tests;
