//! A menu at the terminal: one or several of a few lines, or a key that opens what is not shown.

use console::{Key, Term};
use dialoguer::theme::{ColorfulTheme, Theme};

/// Columns of a menu's line that are marks.
const MARK_COLUMNS: usize = 12;

/// Rows of the terminal that are not the menu's.
const OTHER_ROWS: usize = 2;

/// A menu of lines, which are visible text already.
pub(crate) struct Menu<'a> {
    pub(crate) prompt: &'a str,
    pub(crate) items: Vec<String>,
    /// More than one item can be chosen.
    pub(crate) several: bool,
    /// A key that ends the menu without a choice.
    pub(crate) key: Option<char>,
}

/// What came of a menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// The places of the items.
    Items(Vec<usize>),
    /// The key was pressed.
    Key,
    /// Nothing for now.
    Later,
}

/// What a key does to a menu.
enum Step {
    Stay,
    End(Chosen),
}

impl Menu<'_> {
    /// Asks at the terminal.
    pub(crate) fn ask(&self) -> dialoguer::Result<Chosen> {
        let term = Term::stderr();
        if !term.is_term() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotConnected, "not a terminal").into());
        }
        let mut at = 0;
        let mut marked = vec![false; self.items.len()];
        term.hide_cursor()?;
        let chosen = loop {
            let lines = self.lines(at, &marked, usize::from(term.size().0));
            for line in &lines {
                term.write_line(line)?;
            }
            let key = term.read_key()?;
            term.clear_last_lines(lines.len())?;
            match self.press(&key, &mut at, &mut marked) {
                Step::Stay => {}
                Step::End(chosen) => break chosen,
            }
        };
        if let Chosen::Items(places) = &chosen {
            term.write_line(&self.report(places))?;
        }
        term.show_cursor()?;
        Ok(chosen)
    }

    fn press(&self, key: &Key, at: &mut usize, marked: &mut [bool]) -> Step {
        let count = self.items.len().max(1);
        match key {
            Key::ArrowDown | Key::Tab | Key::Char('j') => *at = (*at + 1) % count,
            Key::ArrowUp | Key::BackTab | Key::Char('k') => *at = (*at + count - 1) % count,
            Key::Char(' ') if self.several => {
                if let Some(mark) = marked.get_mut(*at) {
                    *mark = !*mark;
                }
            }
            Key::Enter | Key::Char(' ') => return Step::End(Chosen::Items(self.places(*at, marked))),
            Key::Escape | Key::Char('q') => return Step::End(Chosen::Later),
            Key::Char(typed) if self.key == Some(*typed) => return Step::End(Chosen::Key),
            _ => {}
        }
        Step::Stay
    }

    fn places(&self, at: usize, marked: &[bool]) -> Vec<usize> {
        if !self.several {
            return vec![at];
        }
        let places = marked.iter().enumerate();
        places
            .filter_map(|(place, is_marked)| is_marked.then_some(place))
            .collect()
    }

    /// The prompt, and as many items around the one that is pointed at as the terminal has rows for.
    fn lines(&self, at: usize, marked: &[bool], rows: usize) -> Vec<String> {
        let theme = theme();
        let mut prompt = String::new();
        let prompted = fitting(self.prompt);
        // A string takes every write.
        let _ = match self.several {
            true => theme.format_multi_select_prompt(&mut prompt, &prompted),
            false => theme.format_select_prompt(&mut prompt, &prompted),
        };
        let room = rows.saturating_sub(OTHER_ROWS).max(1);
        let first = (at + 1).saturating_sub(room);
        let items = self.items.iter().enumerate().skip(first).take(room);
        let line = |(place, item): (usize, &String)| {
            let (mut line, text) = (String::new(), fitting(item));
            let is_marked = marked.get(place).copied().unwrap_or_default();
            let _ = match self.several {
                true => theme.format_multi_select_prompt_item(&mut line, &text, is_marked, place == at),
                false => theme.format_select_prompt_item(&mut line, &text, place == at),
            };
            line
        };
        std::iter::once(prompt).chain(items.map(line)).collect()
    }

    fn report(&self, places: &[usize]) -> String {
        let theme = theme();
        let items: Vec<String> = places
            .iter()
            .filter_map(|place| self.items.get(*place))
            .map(|item| fitting(item))
            .collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let mut line = String::new();
        let prompt = fitting(self.prompt);
        let _ = match self.several {
            true => theme.format_multi_select_prompt_selection(&mut line, &prompt, &items),
            false => theme.format_select_prompt_selection(&mut line, &prompt, &items.concat()),
        };
        line
    }
}

/// A line of a menu, cut where it would wrap: a menu that is drawn anew counts its lines, not the rows they take.
pub(crate) fn fitting(line: &str) -> String {
    console::truncate_str(line, room(), "…").into_owned()
}

/// Whether a line of a menu is shown whole.
pub(crate) fn fits(line: &str) -> bool {
    console::measure_text_width(line) <= room()
}

fn room() -> usize {
    let columns = usize::from(Term::stderr().size().1);
    columns.saturating_sub(MARK_COLUMNS).max(1)
}

pub(crate) fn theme() -> ColorfulTheme {
    ColorfulTheme::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu(several: bool) -> Menu<'static> {
        Menu {
            prompt: "Which?",
            items: ["a", "b", "c"].map(str::to_owned).into(),
            several,
            key: Some('o'),
        }
    }

    fn pressed(several: bool, keys: &[Key]) -> Option<Chosen> {
        let (mut at, mut marked) = (0, vec![false; 3]);
        for key in keys {
            if let Step::End(chosen) = menu(several).press(key, &mut at, &mut marked) {
                return Some(chosen);
            }
        }
        None
    }

    #[test]
    fn keys_choose_open_and_leave() {
        let down = Key::ArrowDown;
        assert_eq!(
            pressed(false, &[down.clone(), Key::Enter]),
            Some(Chosen::Items(vec![1]))
        );
        assert_eq!(
            pressed(false, &[Key::ArrowUp, Key::Enter]),
            Some(Chosen::Items(vec![2]))
        );
        assert_eq!(pressed(false, &[Key::Char('o')]), Some(Chosen::Key));
        assert_eq!(pressed(false, &[Key::Char('x'), Key::Escape]), Some(Chosen::Later));
        let space = Key::Char(' ');
        let keys = [space.clone(), down.clone(), down, space, Key::Enter];
        assert_eq!(pressed(true, &keys), Some(Chosen::Items(vec![0, 2])));
        assert_eq!(pressed(true, &[Key::Enter]), Some(Chosen::Items(vec![])));
    }

    #[test]
    fn a_menu_is_never_longer_than_the_terminal() {
        let menu = Menu {
            items: (0..500).map(|n| n.to_string()).collect(),
            ..menu(false)
        };
        let lines = menu.lines(499, &[], 24);
        assert_eq!(lines.len(), 23);
        assert!(lines.last().unwrap().contains("499"));
    }
}
