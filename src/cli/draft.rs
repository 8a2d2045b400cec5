//! Text that is shown while it is being written: what of it a reader has seen, so that nothing is shown twice.
//!
//! A record of a text names its message but not its block: blocks are completed in their order, so it is the first
//! one of the message that is still open and whose shown text it begins with.

use std::collections::BTreeMap;

use super::view::{SeenPart, WireDelta};
use crate::session::visible::Pieces;

/// The drafts of one session.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    message_id: String,
    /// Text blocks of that message, by their number.
    blocks: BTreeMap<u32, TextBlock>,
}

/// One text block.
#[derive(Debug, Default)]
struct TextBlock {
    /// What was shown, as the agent wrote it.
    text: String,
    /// How many characters `text` has.
    chars: u64,
    /// Its record has come.
    done: bool,
    /// What was shown last, for what follows it.
    pieces: Pieces,
}

/// What a record adds to what was shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing of it was shown: the whole text, made visible.
    Whole(String),
    /// Its beginning was shown: the rest, made visible.
    Remainder(String),
}

impl Drafts {
    /// What a delta adds, made visible. Nothing for what was shown already, and nothing behind a gap: the record has it all.
    pub(crate) fn take_delta(&mut self, delta: &WireDelta) -> Option<String> {
        if delta.part != SeenPart::Text {
            return None;
        }
        if self.message_id != delta.message_id {
            self.message_id.clone_from(&delta.message_id);
            self.blocks.clear();
        }
        let draft = self.blocks.entry(delta.block).or_default();
        let known = draft.chars.checked_sub(delta.offset)?;
        let known = usize::try_from(known).ok()?;
        let new = match delta.text.char_indices().nth(known) {
            Some((start, _)) if !draft.done => &delta.text[start..],
            Some(_) | None => return None,
        };
        draft.text.push_str(new);
        draft.chars += new.chars().count() as u64;
        Some(draft.pieces.push(new))
    }

    /// What the record of a text adds.
    pub(crate) fn take_text(&mut self, message_id: &str, text: &str) -> Rest {
        if let Some(draft) = self.draft_of(message_id, text) {
            draft.done = true;
            let shown = std::mem::take(&mut draft.text);
            return Rest::Remainder(draft.pieces.push(&text[shown.len()..]));
        }
        Rest::Whole(Pieces::default().push(text))
    }

    /// Forgets text that will not be completed; answers whether any of it was shown.
    pub(crate) fn drop_from(&mut self, message_id: &str, from_block: u32) -> bool {
        if self.message_id != message_id {
            return false;
        }
        let dropped = self.blocks.split_off(&from_block);
        dropped.values().any(|draft| !draft.done && draft.chars > 0)
    }

    fn draft_of(&mut self, message_id: &str, text: &str) -> Option<&mut TextBlock> {
        if self.message_id != message_id {
            return None;
        }
        let mut open = self.blocks.values_mut().filter(|draft| !draft.done && draft.chars > 0);
        open.find(|draft| text.starts_with(&draft.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delta(block: u32, offset: u64, text: &str) -> WireDelta {
        WireDelta {
            message_id: "m1".into(),
            block,
            part: SeenPart::Text,
            offset,
            text: text.into(),
        }
    }

    #[test]
    fn a_record_adds_only_what_was_not_shown() {
        let mut drafts = Drafts::default();
        assert_eq!(drafts.take_delta(&delta(0, 0, "Hel")).as_deref(), Some("Hel"));
        assert_eq!(drafts.take_delta(&delta(0, 3, "lo ")).as_deref(), Some("lo "));
        assert_eq!(drafts.take_text("m1", "Hello you"), Rest::Remainder("you".into()));
        assert_eq!(
            drafts.take_delta(&delta(0, 6, "you")),
            None,
            "a late delta of a finished block"
        );
    }

    #[test]
    fn the_draft_sent_to_a_new_reader_is_not_shown_twice() {
        let mut drafts = Drafts::default();
        drafts.take_delta(&delta(0, 0, "Hällo"));
        assert_eq!(drafts.take_delta(&delta(0, 0, "Hällo")), None);
        assert_eq!(drafts.take_delta(&delta(0, 0, "Hällo you")).as_deref(), Some(" you"));
        assert_eq!(drafts.take_delta(&delta(0, 20, "behind a gap")), None);
        assert_eq!(
            drafts.take_text("m1", "Hällo you there"),
            Rest::Remainder(" there".into())
        );
    }

    #[test]
    fn each_block_has_its_own_record() {
        let mut drafts = Drafts::default();
        drafts.take_delta(&delta(0, 0, "one"));
        assert_eq!(drafts.take_text("m1", "one"), Rest::Remainder(String::new()));
        drafts.take_delta(&delta(2, 0, "two"));
        assert_eq!(drafts.take_text("m1", "two"), Rest::Remainder(String::new()));
        assert_eq!(
            drafts.take_text("m1", "one"),
            Rest::Whole("one".into()),
            "a third block of the same text"
        );
        assert_eq!(drafts.take_text("m2", "two"), Rest::Whole("two".into()));
    }

    #[test]
    fn a_dropped_draft_is_forgotten() {
        let mut drafts = Drafts::default();
        drafts.take_delta(&delta(1, 0, "half"));
        assert!(!drafts.drop_from("m2", 0));
        assert!(drafts.drop_from("m1", 0));
        assert!(!drafts.drop_from("m1", 0), "nothing is left to drop");
        assert_eq!(drafts.take_delta(&delta(1, 0, "again")).as_deref(), Some("again"));
    }

    proptest! {
        #[test]
        fn deltas_and_record_make_the_text_once(text in "[a-zé✓ ]{1,40}", cuts in prop::collection::vec(0usize..40, 0..6), shown in 0usize..40) {
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(chars.len())).collect();
            cuts.sort_unstable();
            let mut drafts = Drafts::default();
            let mut seen = String::new();
            // Overlapping deltas: each begins anywhere before its end.
            for cut in cuts.into_iter().filter(|cut| *cut <= shown) {
                let from = cut / 2;
                let piece: String = chars[from..cut].iter().collect();
                seen += &drafts.take_delta(&delta(0, from as u64, &piece)).unwrap_or_default();
            }
            match drafts.take_text("m1", &text) {
                Rest::Whole(rest) | Rest::Remainder(rest) => seen += &rest,
            }
            prop_assert_eq!(seen, text);
        }
    }
}
