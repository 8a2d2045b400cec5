//! How deep values may be nested that others give us and that we keep.
//!
//! What reads JSON refuses values that are nested deeper than it can follow, and in our records, rows and views such a
//! value lies a few levels deeper than where it came from: one that could just be read once could never be again.

use serde_json::Value;

/// How many levels a value has at most; what reads JSON follows 127, ours included.
pub const LEVELS_MAX: usize = 100;

/// Whether a value is nested no deeper than it may be.
pub fn is_within(value: &Value) -> bool {
    has_at_most(value, LEVELS_MAX)
}

fn has_at_most(value: &Value, levels: usize) -> bool {
    let inner = |value: &Value| levels > 0 && has_at_most(value, levels - 1);
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(inner),
        Value::Object(fields) => levels > 0 && fields.values().all(inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_and_the_last_one_that_may_be_may_be() {
        let nested = |levels| serde_json::from_str(&("[".repeat(levels) + &"]".repeat(levels))).unwrap();
        assert!(is_within(&nested(LEVELS_MAX)));
        assert!(!is_within(&nested(LEVELS_MAX + 1)));
        assert!(is_within(&Value::Null));
    }
}
