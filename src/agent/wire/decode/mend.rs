//! Lines with half a character in them.
//!
//! JavaScript counts text in halves of characters: whatever cuts a text there may leave one half of an emoji, which
//! it writes as an escape that no JSON reader takes for text. What a tool printed may have been cut between bytes too.

/// How long an escape like `\ud83d` is, in bytes.
const ESCAPE_BYTES: usize = 6;

/// Which half of a character an escape stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

/// The line with a replacement character for each half of one; none where there is nothing to mend.
pub(super) fn mend(line: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let mut mended = String::with_capacity(text.len());
    let mut rest = &*text;
    let mut is_mended = text.as_bytes() != line;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        mended.push_str(&rest[..at]);
        let bytes = match (half(escape), half(escape.get(ESCAPE_BYTES..).unwrap_or_default())) {
            (Some(Half::First), Some(Half::Second)) => 2 * ESCAPE_BYTES,
            (Some(_), _) => {
                is_mended = true;
                mended.push(char::REPLACEMENT_CHARACTER);
                rest = &escape[ESCAPE_BYTES..];
                continue;
            }
            // The character that is escaped may itself be a backslash.
            (None, _) => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        mended.push_str(&escape[..bytes]);
        rest = &escape[bytes..];
    }
    mended.push_str(rest);
    is_mended.then(|| mended.into_bytes())
}

fn half(escape: &str) -> Option<Half> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::First),
        0xdc00..=0xdfff => Some(Half::Second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(line: &str) -> Option<String> {
        mend(line.as_bytes()).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn only_halves_of_characters_are_replaced() {
        for whole in [r"a \ud83d\ude00 b", r"\\ud83d", r#"\" \n A \"#, "é\\é", r"\u12", ""] {
            assert_eq!(mended(whole), None, "{whole}");
        }
        assert_eq!(mended(r"a \ud83d b").as_deref(), Some("a \u{fffd} b"));
        assert_eq!(
            mended(r"\ude00\ud83d\ud83d\ude00").as_deref(),
            Some("\u{fffd}\u{fffd}\\ud83d\\ude00")
        );
        assert_eq!(mended(r"\\\ud83d").as_deref(), Some("\\\\\u{fffd}"));
        assert_eq!(mend(b"a\xff").as_deref(), Some("a\u{fffd}".as_bytes()));
    }
}
