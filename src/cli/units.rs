//! Amounts in words: durations, tokens, money, times of day; and durations as people type them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Unit};

use crate::session::amounts::{amount, count};
pub(crate) use crate::session::amounts::{duration, usd};

/// `2 turns`.
pub(crate) fn turns(turns: u32) -> String {
    count(turns.into(), "turn", "turns")
}

/// `12.3k tokens`.
pub(crate) fn tokens(tokens: u64) -> String {
    format!("{} tokens", amount(tokens))
}

/// `1.2 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let of = |unit: f64| bytes as f64 / unit;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", of(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", of(1e6)),
        _ => format!("{:.1} GB", of(1e9)),
    }
}

/// The day and the time of day here, `01-31 14:03:59`: sessions go on over nights.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string()
}

/// Reads a time as in RFC 3339, a day, or how long ago it was; answers it as the daemon takes it.
pub(crate) fn parse_when(text: &str, now: Timestamp) -> Result<String, String> {
    let text = text.trim();
    if text.parse::<Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok_and(|_| text.len() == 10) {
        return Ok(text.to_owned());
    }
    let ago = parse_seconds(text)
        .map_err(|_| format!("{text:?} is no time: write 2027-01-31, 2027-01-31T10:00:00Z, or 12h for 12 hours ago"))?;
    let ago = SignedDuration::from_secs(i64::try_from(ago).unwrap_or(i64::MAX));
    let at = now.checked_sub(ago).unwrap_or(Timestamp::MIN);
    Ok(format!("{at:.0}"))
}

/// Reads `10h`, `1h30m`, `2 days` or a bare number of seconds; at least one second.
pub(crate) fn parse_seconds(text: &str) -> Result<u64, String> {
    const EXAMPLE: &str = "write it as 90s, 30m, 10h or 1h30m";
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let span: Span = text.parse().map_err(|_| EXAMPLE.to_owned())?;
            let total = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours()));
            // Casting saturates: what is negative becomes 0 and is refused below.
            total.map_err(|_| format!("months and years have no fixed length: {EXAMPLE}"))? as u64
        }
    };
    if seconds == 0 {
        Err(format!("it must be at least a second: {EXAMPLE}"))
    } else {
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_a_moment_or_how_long_ago_it_was() {
        let now = "2027-01-31T12:00:00Z".parse().unwrap();
        let read = |text| parse_when(text, now);
        assert_eq!(read("2027-01-30").unwrap(), "2027-01-30");
        assert_eq!(read("2027-01-30T01:02:03+01:00").unwrap(), "2027-01-30T01:02:03+01:00");
        assert_eq!(read("90m").unwrap(), "2027-01-31T10:30:00Z");
        assert!(read("yesterday").unwrap_err().contains("12h"));
    }

    #[test]
    fn durations_read_as_people_type_them() {
        let cases = [
            ("90s", 90),
            ("30m", 1_800),
            ("10h", 36_000),
            ("1h30m", 5_400),
            ("2d", 172_800),
            ("45", 45),
            ("1h 5m", 3_900),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for bad in ["", "soon", "-5m", "0", "0s", "3 months", "10x"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_told_briefly() {
        assert_eq!((turns(1).as_str(), turns(2).as_str()), ("1 turn", "2 turns"));
        assert_eq!(
            [size(0), size(1_500), size(2_500_000), size(1_234_000_000)],
            ["0 B", "1.5 kB", "2.5 MB", "1.2 GB"]
        );
        assert_eq!(
            (tokens(999).as_str(), tokens(12_345).as_str()),
            ("999 tokens", "12.3k tokens")
        );
    }
}
