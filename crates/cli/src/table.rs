//! Columns for people: aligned, coloured on a terminal, and quick for a hundred thousand rows.

use std::borrow::Cow;
use std::iter::repeat_n;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use crate::failure::Outcome;
use crate::output::{HEADING, Output};

/// A column: its title, and whether its cells are numbers, which stand at the right.
pub(crate) struct Column(pub(crate) &'static str, pub(crate) bool);

/// A cell: its text, and the style that it has where there are colours.
pub(crate) struct Cell {
    text: Cow<'static, str>,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<Cow<'static, str>>) -> Cell {
        Cell::styled(Style::new(), text)
    }

    pub(crate) fn styled(style: Style, text: impl Into<Cow<'static, str>>) -> Cell {
        Cell { text: text.into(), style }
    }
}

/// Prints a title row and the rows, with two spaces between columns.
pub(crate) fn print<const N: usize>(
    output: &mut Output,
    columns: &[Column; N],
    rows: &[[Cell; N]],
) -> Outcome<()> {
    let mut widths = columns.each_ref().map(|column| column.0.width());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.text.width().max(*width);
        }
    }
    let titles = columns.each_ref().map(|column| Cell::styled(HEADING, column.0));
    let mut line = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        line.clear();
        for (index, cell) in row.iter().enumerate() {
            let padding = repeat_n(' ', widths[index] - cell.text.width());
            let right = columns[index].1;
            if right {
                line.extend(padding.clone());
            }
            // The padding stays unstyled.
            line.push_str(&output.styled(cell.style, &*cell.text));
            if index + 1 < N {
                if !right {
                    line.extend(padding);
                }
                line.push_str("  ");
            }
        }
        output.line(line.trim_end())?;
    }
    Ok(())
}
