//! The lines of a question as they come to a terminal: as many at first as it has room for, the rest for a key.

use console::measure_text_width;

/// The key that shows the rest.
pub(crate) const KEY: char = 'o';

/// How many rows a question may take where nobody can press a key, and at most anywhere.
const ROWS_MAX: usize = 200;

/// Rows that are left to the menu below a question.
const MENU_ROWS: usize = 10;

/// Rows that a question has at least, however small the terminal is.
const ROWS_MIN: usize = 10;

/// How many lines one press of the key shows.
const OPENED_LINES: usize = 5_000;

/// Lines that are shown bit by bit; each is shown whole at some time.
pub(crate) struct Unfolding {
    lines: Vec<String>,
    /// The first line that was not shown whole.
    next: usize,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TerminalSize {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Unfolding {
    pub(crate) fn new(lines: Vec<String>) -> Self {
        Self { lines, next: 0 }
    }

    /// What is shown at first. A line that is too long for the room is cut, and counts as one that is not shown.
    pub(crate) fn first(&mut self, shown_first: usize, size: Option<TerminalSize>) -> Vec<String> {
        let columns = size.map_or(usize::MAX, |size| size.columns.max(1));
        let rows = size.map_or(ROWS_MAX, |size| size.rows.saturating_sub(MENU_ROWS));
        let mut room = rows.clamp(ROWS_MIN, ROWS_MAX);
        let mut shown = Vec::new();
        for line in &self.lines[..shown_first.min(self.lines.len())] {
            let rows = measure_text_width(line).div_ceil(columns).max(1);
            if rows > room {
                if room > 0 {
                    let columns = columns.saturating_mul(room).saturating_sub(1);
                    shown.push(console::truncate_str(line, columns, "…").into_owned());
                }
                break;
            }
            room -= rows;
            shown.push(line.clone());
            self.next += 1;
        }
        shown
    }

    /// The next lines, whole.
    pub(crate) fn open(&mut self) -> Vec<String> {
        let end = self.lines.len().min(self.next + OPENED_LINES);
        let opened = self.lines[self.next..end].to_vec();
        self.next = end;
        opened
    }

    /// What was not shown whole, counted; none where nothing is left.
    pub(crate) fn left(&self) -> Option<String> {
        let left = &self.lines[self.next..];
        let bytes: usize = left.iter().map(|line| line.len() + 1).sum();
        match left.len() {
            0 => None,
            1 => Some(format!("1 line ({bytes} bytes)")),
            count => Some(format!("{count} lines ({bytes} bytes)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::telling::question::lines_of;
    use crate::session::telling::question::tests::{any_question, read_back};
    use proptest::prelude::*;

    const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|n| n.to_string()).collect()
    }

    #[test]
    fn what_has_room_is_shown_and_the_rest_is_counted() {
        let mut all = Unfolding::new(lines(5));
        assert_eq!((all.first(5, Some(SIZE)).len(), all.left()), (5, None));
        let mut some = Unfolding::new(lines(1_000));
        assert_eq!(some.first(1_000, Some(SIZE)).len(), 14);
        assert_eq!(some.left().unwrap(), "986 lines (3858 bytes)");
        assert_eq!((some.open().len(), some.left()), (986, None));
        let mut without = Unfolding::new(lines(1_000));
        assert_eq!(without.first(1_000, None).len(), ROWS_MAX);
        let mut later = Unfolding::new(lines(5));
        assert_eq!(later.first(3, None).len(), 3);
        assert_eq!(later.left().unwrap(), "2 lines (4 bytes)");
    }

    #[test]
    fn a_long_line_is_cut_and_shown_whole_later() {
        let long = "x".repeat(10_000);
        let mut unfolding = Unfolding::new(vec!["head".to_owned(), long.clone(), "end".to_owned()]);
        let first = unfolding.first(3, Some(SIZE));
        assert_eq!(first.len(), 2);
        assert!(first[1].ends_with('…') && first[1].len() < 2_000);
        assert_eq!(unfolding.left().unwrap(), "2 lines (10005 bytes)");
        assert_eq!(unfolding.open(), [long, "end".to_owned()]);
    }

    proptest! {
        #[test]
        fn the_opened_form_is_the_question(kind in any_question(), rows in 0usize..40, columns in 1usize..90) {
            let told = lines_of(&kind);
            let count = told.shown.len();
            let mut unfolding = Unfolding::new(told.opened());
            let mut seen = unfolding.first(count, Some(TerminalSize { rows, columns }));
            seen.truncate(unfolding.next);
            while unfolding.left().is_some() {
                seen.extend(unfolding.open());
            }
            prop_assert_eq!(read_back(&seen), kind);
        }
    }
}
