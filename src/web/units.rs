//! Amounts as the page and the terminal both write them.

use jiff::SignedDuration;

/// `12.3k`.
pub(crate) fn amount(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
    }
}

/// `$0.0421`, and `$12.30` from a dollar on; nothing is `$0.00`.
pub(crate) fn usd(amount: f64) -> String {
    if amount == 0.0 || amount.abs() >= 1.0 {
        format!("${amount:.2}")
    } else {
        format!("${amount:.4}")
    }
}

/// `1h 05m`, `2m 13s`, `7s`.
pub(crate) fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(
            [amount(999), amount(12_345), amount(2_500_000)],
            ["999", "12.3k", "2.5M"]
        );
        assert_eq!([usd(0.0), usd(0.04211), usd(12.3)], ["$0.00", "$0.0421", "$12.30"]);
        let of = |seconds| duration(SignedDuration::from_secs(seconds));
        assert_eq!(
            [of(7), of(133), of(3_900), of(90_000)],
            ["7s", "2m 13s", "1h 05m", "1d 01h"]
        );
    }
}
