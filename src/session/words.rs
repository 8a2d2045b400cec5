//! A person's own words in a message to an agent, apart from what this program writes around them.

/// Told to an agent that has no message of ours left to work on.
pub const CONTINUE: &str = "Continue from where you left off. The last run of this task was interrupted; \
check what had taken effect before you repeat anything.";

/// The beginning of a message about a run that was cut.
pub const CUT: &str = "The last run of this task ended uncleanly";

/// The beginning of the same behind a task, where nothing of the conversation was kept.
pub(super) const CUT_BEHIND_TASK: &str = "\n\nAn earlier run of this task ended uncleanly";

/// The beginning of a rebuilt conversation.
pub const REBUILT: &str = "You take over a task from an agent whose conversation was lost";

/// The beginning of a message about the timers of the agent before.
pub const TIMERS_LOST: &str = "The agent process of this task ended while timers of yours were set";

/// Stands before a person's message where one message to the agent also holds what came before it. The agent must know
/// the later one before it begins with the rest.
const LATER: &str = "\n\nThe user sent this message later. Follow it first:\n\n";

/// One message that ends with a person's later message.
pub fn with_later(before: &str, later: &str) -> String {
    format!("{before}{LATER}{later}")
}

/// Returns true if a message begins with what this program tells.
pub fn is_told_by_us(text: &str) -> bool {
    [CUT, REBUILT, TIMERS_LOST].iter().any(|head| text.starts_with(head))
}

/// Returns what a person wrote of this message, or nothing if all of it is the program's.
pub fn own_words(text: &str) -> Option<&str> {
    if text == CONTINUE {
        return None;
    }
    if is_told_by_us(text) {
        // What the program tells quotes no message that was put behind it before.
        return text.split_once(LATER).map(|(_, later)| later);
    }
    Some(without_note(text))
}

/// A task without what was told behind it of an earlier run.
pub(super) fn without_note(text: &str) -> &str {
    text.split(CUT_BEHIND_TASK).next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::interruption;

    #[test]
    fn a_persons_words_are_found_behind_and_before_what_the_program_tells() {
        let note = interruption::Interruption::default();
        let told = note.tell();
        assert_eq!(own_words("do it"), Some("do it"));
        assert_eq!(own_words(CONTINUE), None);
        assert_eq!(own_words(&told), None);
        assert_eq!(own_words(&with_later(&told, "and this")), Some("and this"));
        let both = with_later("do it", "and this");
        assert_eq!(own_words(&both), Some(both.as_str()), "both are a person's");
        assert_eq!(own_words(&note.tell_behind(&both)), Some(both.as_str()));
    }
}
