//! Amounts as the page and the terminal both write them.

pub(crate) use crate::session::amounts::{duration, usd};

/// `12.3k`.
pub(crate) fn amount(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        _ => format!("{:.1}M", count as f64 / 1e6),
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
    }
}
