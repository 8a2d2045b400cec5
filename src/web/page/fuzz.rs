//! Markdown that nobody vouches for.

use super::markdown::{RENDERED_BYTES_MAX, made, plain};
use crate::session::visible;

/// Bytes of HTML for a byte of Markdown, at most: an escaped character with its marks, in an element of its own.
const GROWTH_MAX: usize = 400;

/// Markdown of an agent, as the page shows it: no element of it acts, and its size is bounded.
pub fn markdown(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(RENDERED_BYTES_MAX)]);
    let shown = made(&text).into_string().to_ascii_lowercase();
    for tag in [
        "<script", "<iframe", "<img", "<form", "<svg", "<style", "<base", "<meta",
    ] {
        assert!(!shown.contains(tag), "{tag}: {shown}");
    }
    assert!(!shown.contains("href=\"javascript:"), "{shown}");
    assert!(
        shown.len() <= (text.len() + 1) * GROWTH_MAX,
        "{} of {}",
        shown.len(),
        text.len()
    );
    // A mark counts as the character that it stands for.
    assert!(visible::read(&plain(&text, 80)).chars().count() <= 81);
}
