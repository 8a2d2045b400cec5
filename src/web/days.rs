//! Days. All faces count them in one zone, which is that of the daemon, and name it.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The zone in which days are counted.
pub(super) fn zone() -> TimeZone {
    TimeZone::system()
}

/// The zone's name, such as `Europe/Berlin`; the distance from UTC at this moment where it has none.
pub(super) fn zone_name() -> String {
    named(&zone(), Timestamp::now())
}

fn named(zone: &TimeZone, now: Timestamp) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => format!("UTC{}", zone.to_offset(now)),
    }
}

/// The day of a moment.
pub(super) fn of(at: Timestamp) -> Date {
    at.to_zoned(zone()).date()
}

/// When a day begins; none for a day that cannot be counted.
pub(super) fn beginning(day: Date) -> Option<Timestamp> {
    Some(day.to_zoned(zone()).ok()?.timestamp())
}

/// When a day ends; none for the last day that can be counted.
pub(super) fn end(day: Date) -> Option<Timestamp> {
    beginning(day.tomorrow().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_a_name() {
        let now: Timestamp = "2027-01-31T10:00:00Z".parse().unwrap();
        assert_eq!(named(&TimeZone::UTC, now), "UTC");
        assert_eq!(named(&TimeZone::fixed(jiff::tz::offset(2)), now), "UTC+02");
        assert!(!zone_name().is_empty());
    }

    #[test]
    fn a_day_is_from_its_beginning_to_that_of_the_next() {
        let day = Date::constant(2027, 1, 31);
        let (begin, end) = (beginning(day).unwrap(), end(day).unwrap());
        assert_eq!(of(begin), day);
        assert_eq!(of(end), day.tomorrow().unwrap());
        assert_eq!(super::end(Date::MAX), None);
    }
}
