//! Durations, counts and sums of money as every face writes them.

use jiff::SignedDuration;

/// Units of a sum of money that are kept, per US dollar. The cheapest token costs more than one of them.
const MONEY_UNITS: f64 = 1e9;

/// From this sum on, in US dollars, a number has no digits left for those units.
const ROUNDED_BELOW: f64 = 1e6;

/// `1 h 2 min`, `2 min 13 s`, `7 s`: the two largest units; the smaller one is left out where it is zero.
pub fn duration(duration: SignedDuration) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = duration.as_secs().max(0);
    let large = UNITS.iter().position(|(length, _)| seconds >= *length).unwrap_or(3);
    let (length, unit) = UNITS[large];
    let mut text = format!("{} {unit}", seconds / length);
    if let Some((small, unit)) = UNITS.get(large + 1)
        && seconds % length >= *small
    {
        text += &format!(" {} {unit}", seconds % length / small);
    }
    text
}

/// `$0.0421`, and `$12.30` from a dollar on; nothing is `$0.00`.
pub fn usd(amount: f64) -> String {
    if amount == 0.0 || amount.abs() >= 1.0 {
        format!("${amount:.2}")
    } else {
        format!("${amount:.4}")
    }
}

/// `12.3k`.
pub fn amount(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

/// `1 turn`, `2 turns`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    let word = if n == 1 { one } else { many };
    format!("{n} {word}")
}

/// A sum of money without the noise of binary fractions: `0.1 + 0.2` is `0.3`. What is no number, or too large to be
/// written down, becomes the nearest sum that can be.
pub fn money(amount: f64) -> f64 {
    if amount.abs() < ROUNDED_BELOW {
        (amount * MONEY_UNITS).round() / MONEY_UNITS
    } else {
        amount.clamp(f64::MIN, f64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        let of = |seconds| duration(SignedDuration::from_secs(seconds));
        assert_eq!(
            [0, 7, 60, 133, 3_600, 3_720, 3_659, 90_000, 86_400, -5].map(of),
            [
                "0 s",
                "7 s",
                "1 min",
                "2 min 13 s",
                "1 h",
                "1 h 2 min",
                "1 h",
                "1 d 1 h",
                "1 d",
                "0 s"
            ]
        );
    }

    #[test]
    fn small_sums_have_more_digits() {
        assert_eq!([usd(0.0), usd(0.04211), usd(12.3)], ["$0.00", "$0.0421", "$12.30"]);
    }

    #[test]
    fn sums_have_no_noise() {
        assert_eq!(money(0.1 + 0.2), 0.3);
        assert_eq!(money(0.001_574_999_999_999_999_8), 0.001_575);
        assert_eq!(money(f64::INFINITY), f64::MAX);
        for sum in [0.3, 0.001_575, 999_999.123_456_789, 12_345_678.9] {
            assert_eq!(money(money(sum)), money(sum));
        }
        let written = serde_json::to_string(&money(3.0 * 0.012_345)).unwrap();
        assert_eq!(written, "0.037035");
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            [amount(999), amount(12_345), amount(2_500_000)],
            ["999", "12.3k", "2.5M"]
        );
    }
}
