//! Amounts, times and states in words.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};

pub(super) use crate::session::amounts::{amount, count, duration, usd};
use crate::session::shown::Shown;
use crate::session::summary::Summary;

/// How a script shows a time; without one it stands there in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The time of day.
    Clock,
    /// Date and time of day.
    Date,
    /// How long ago it was.
    Ago,
    /// The date, and the time that is left until then.
    Left,
}

/// A time that the page's script shows in the reader's own time zone.
pub(super) fn time(at: Timestamp, form: Form) -> Markup {
    let (form, plain) = match form {
        Form::Clock => ("clock", at.strftime("%H:%M:%S")),
        Form::Date => ("date", at.strftime("%Y-%m-%d %H:%M UTC")),
        Form::Ago => ("ago", at.strftime("%Y-%m-%d %H:%M UTC")),
        Form::Left => ("left", at.strftime("%Y-%m-%d %H:%M UTC")),
    };
    html! { time datetime=(format!("{at:.3}")) data-form=(form) { (plain) } }
}

/// The state as a word; the colour says the same once more.
pub(super) fn state_word(state: Shown) -> &'static str {
    match state {
        Shown::Queued => "Queued",
        Shown::Starting => "Starting",
        Shown::Running => "Running",
        Shown::AwaitingInput => "Needs an answer",
        Shown::WaitingQuota => "Waits for the usage limit",
        Shown::WaitingApi => "Waits for the API",
        Shown::WaitingTimer => "Waits for a timer",
        Shown::WaitingLogin => "Waits for the login",
        Shown::Paused => "Paused",
        Shown::WaitingRetry => "Waits to try again",
        Shown::Stopping => "Stopping",
        Shown::Completed => "Completed",
        Shown::Failed => "Failed",
        Shown::Cancelled => "Cancelled",
        Shown::TimedOut => "Timed out",
    }
}

/// The state of a session as a badge.
pub(super) fn badge(state: Shown) -> Markup {
    html! { span.state data-state=(state) { (state_word(state)) } }
}

/// `12 B`, `3.4 KiB`.
pub(super) fn bytes(count: usize) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// Time at work of a session. While its agent works, the page's script lets it go on.
pub(super) fn active(summary: &Summary, now: Timestamp) -> Markup {
    let text = summary.at_work(now);
    let begin = summary
        .active_since
        .and_then(|since| since.checked_sub(Duration::from_millis(summary.active_ms)).ok());
    html! {
        @if let Some(begin) = begin { time datetime=(format!("{begin:.3}")) data-form="worked" { (text) } }
        @else { (text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::samples::created;

    #[test]
    fn sizes_are_short() {
        assert_eq!([bytes(12), bytes(2_048)], ["12 B", "2.0 KiB"]);
    }

    #[test]
    fn time_at_work_goes_on_while_an_agent_works() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at(0));
        summary.active_ms = 60_000;
        assert_eq!(active(&summary, at(9_000)).into_string(), "1 min");
        summary.active_since = Some(at(100));
        let expected = r#"<time datetime="1970-01-01T00:00:40.000Z" data-form="worked">1 h 2 min</time>"#;
        assert_eq!(active(&summary, at(40 + 3_720)).into_string(), expected);
    }

    #[test]
    fn a_time_can_be_read_by_people_and_scripts() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        insta::assert_snapshot!(time(at, Form::Date).into_string(), @r#"<time datetime="2027-01-15T08:00:00.000Z" data-form="date">2027-01-15 08:00 UTC</time>"#);
    }
}
