//! Lists in columns, which give way where a terminal is too narrow for them.

use console::{Term, measure_text_width};

use crate::session::visible;

/// What stands between two columns.
const GAP: &str = "  ";

/// A column that can be cut is never cut below this, in terminal columns.
const CUT_WIDTH_MIN: usize = 12;

/// One column of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    /// Where its values are cut when there is too little room.
    cut: Option<Cut>,
    /// When it goes, the lowest first; none for one that always stays.
    goes: Option<u8>,
    /// Its values stand at its right edge, as figures do.
    is_right: bool,
}

/// Which end of a value is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The beginning, as of a path.
    Start,
    /// The end, as of a name.
    End,
}

impl Column {
    /// A column that stays as it is.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self {
            title,
            cut: None,
            goes: None,
            is_right: false,
        }
    }

    /// The same, whose values may be cut.
    pub(crate) const fn cut(self, cut: Cut) -> Self {
        Self { cut: Some(cut), ..self }
    }

    /// The same, which is left out where even cutting does not help; those with a lower number before.
    pub(crate) const fn goes(self, order: u8) -> Self {
        Self {
            goes: Some(order),
            ..self
        }
    }

    /// The same, whose values stand at its right edge.
    pub(crate) const fn right(self) -> Self {
        Self { is_right: true, ..self }
    }
}

/// How wide the terminal is that standard output goes to; none where it is no terminal.
pub(crate) fn width_of_stdout() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

/// The rows under their titles, each in a line of its own whatever its values hold; where there is a greatest width, in
/// lines that fit it as far as possible.
pub(crate) fn list<const N: usize>(columns: [Column; N], rows: &[[String; N]], width_max: Option<usize>) -> String {
    let visible = |row: &[String; N]| row.each_ref().map(|value| visible::guard_line(value).into_owned());
    let rows: Vec<[String; N]> = rows.iter().map(visible).collect();
    let mut kept: Vec<ShownColumn> = (0..N)
        .map(|place| ShownColumn::new(columns[place], place, &rows))
        .collect();
    if let Some(width_max) = width_max {
        leave_out(&mut kept, width_max);
        shorten(&mut kept, width_max);
    }
    let titles = line(&kept, |kept| kept.column.title.to_owned());
    let rows = rows.iter().map(|row| line(&kept, |kept| kept.fit(&row[kept.place])));
    std::iter::once(titles).chain(rows).collect()
}

/// A column that is shown.
struct ShownColumn {
    column: Column,
    place: usize,
    width: usize,
}

impl ShownColumn {
    fn new<const N: usize>(column: Column, place: usize, rows: &[[String; N]]) -> Self {
        let widths = rows.iter().map(|row| measure_text_width(&row[place]));
        let width = widths.max().unwrap_or(0).max(column.title.len());
        Self { column, place, width }
    }

    /// The least width that it can be cut to.
    fn width_min(&self) -> usize {
        match self.column.cut {
            Some(_) => self.width.min(CUT_WIDTH_MIN),
            None => self.width,
        }
    }

    /// The value, no wider than the column.
    fn fit(&self, value: &str) -> String {
        if measure_text_width(value) <= self.width {
            return value.to_owned();
        }
        match self.column.cut {
            None => value.to_owned(),
            Some(Cut::End) => format!("{}…", within(value.chars(), self.width - 1)),
            Some(Cut::Start) => {
                let end: Vec<char> = within(value.chars().rev(), self.width - 1).chars().collect();
                std::iter::once(&'…').chain(end.iter().rev()).collect()
            }
        }
    }
}

/// The first of these characters that fit into a width.
fn within(chars: impl Iterator<Item = char>, width_max: usize) -> String {
    let mut text = String::new();
    for c in chars {
        text.push(c);
        if measure_text_width(&text) > width_max {
            text.pop();
            break;
        }
    }
    text
}

/// Leaves out columns, one by one, until the others can be made to fit.
fn leave_out(kept: &mut Vec<ShownColumn>, width_max: usize) {
    while total(kept, ShownColumn::width_min) > width_max {
        let next = kept.iter().filter_map(|kept| kept.column.goes).min();
        let Some(next) = next else { return };
        kept.retain(|kept| kept.column.goes != Some(next));
    }
}

/// Makes columns that can be cut as narrow as need be, the last of them first.
fn shorten(kept: &mut [ShownColumn], width_max: usize) {
    let mut excess = total(kept, |kept| kept.width).saturating_sub(width_max);
    for kept in kept.iter_mut().rev() {
        let less = excess.min(kept.width - kept.width_min());
        kept.width -= less;
        excess -= less;
    }
}

fn total(kept: &[ShownColumn], width: impl Fn(&ShownColumn) -> usize) -> usize {
    let gaps = GAP.len() * kept.len().saturating_sub(1);
    kept.iter().map(width).sum::<usize>() + gaps
}

fn line(kept: &[ShownColumn], value: impl Fn(&ShownColumn) -> String) -> String {
    let padded = kept.iter().map(|kept| {
        let value = value(kept);
        let missing = " ".repeat(kept.width.saturating_sub(measure_text_width(&value)));
        match kept.column.is_right {
            true => missing + &value,
            false => value + &missing,
        }
    });
    let line = padded.collect::<Vec<_>>().join(GAP);
    line.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::new("ID"),
        Column::new("NAME").cut(Cut::End),
        Column::new("TURNS").goes(1),
        Column::new("DIRECTORY").cut(Cut::Start).goes(2),
    ];

    fn shown(width_max: Option<usize>) -> String {
        let row = |id: &str, name: &str, dir: &str| [id.to_owned(), name.to_owned(), "1".to_owned(), dir.to_owned()];
        let rows = [
            row("a1", "a name of twenty-six chars", "/srv/a/directory/far/down"),
            row("b2", "", "/srv"),
        ];
        list(COLUMNS, &rows, width_max)
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        insta::assert_snapshot!(shown(None), @r"
        ID  NAME                        TURNS  DIRECTORY
        a1  a name of twenty-six chars  1      /srv/a/directory/far/down
        b2                              1      /srv
        ");
    }

    #[test]
    fn paths_are_cut_before_names_and_keep_their_ends() {
        insta::assert_snapshot!(shown(Some(58)), @r"
        ID  NAME                        TURNS  DIRECTORY
        a1  a name of twenty-six chars  1      …directory/far/down
        b2                              1      /srv
        ");
        insta::assert_snapshot!(shown(Some(45)), @r"
        ID  NAME                  TURNS  DIRECTORY
        a1  a name of twenty-si…  1      …ry/far/down
        b2                        1      /srv
        ");
    }

    #[test]
    fn columns_go_in_their_order_and_no_line_is_too_long() {
        insta::assert_snapshot!(shown(Some(30)), @r"
        ID  NAME          DIRECTORY
        a1  a name of t…  …ry/far/down
        b2                /srv
        ");
        insta::assert_snapshot!(shown(Some(20)), @r"
        ID  NAME
        a1  a name of twent…
        b2
        ");
        for width_max in 16..100 {
            let lines = shown(Some(width_max));
            assert!(
                lines.lines().all(|line| measure_text_width(line) <= width_max),
                "{lines}"
            );
        }
    }

    #[test]
    fn a_line_break_in_a_value_breaks_no_row() {
        let rows = [["a\nb\u{1b}[2J".to_owned()]];
        assert_eq!(
            list([Column::new("NAME")], &rows, None),
            "NAME\na⟨U+000A⟩b⟨U+001B⟩[2J\n"
        );
    }

    #[test]
    fn figures_stand_at_the_right() {
        let columns = [Column::new(""), Column::new("figure").right(), Column::new("")];
        let rows = [["lines", "137,095", "lines/s"], ["delay", "0.53", "ms"]];
        insta::assert_snapshot!(list(columns, &rows.map(|row| row.map(str::to_owned)), None), @r"
                figure
        lines  137,095  lines/s
        delay     0.53  ms
        ");
    }

    #[test]
    fn wide_characters_count_twice() {
        let rows = [["日本語日本語日本語".to_owned()]];
        let lines = list([Column::new("NAME").cut(Cut::End)], &rows, Some(13));
        assert_eq!(lines, "NAME\n日本語日本語…\n");
    }
}
