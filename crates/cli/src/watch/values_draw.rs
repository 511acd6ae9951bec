//! Drawing the values under the cursor, lit as the bytes that they are made of.

use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use super::bytes::Glow;
use super::hex::Hexdump;
use super::layout::TABLE;
use super::theme::{Theme, cut, put, put_all};
use super::values::{self, Value};

pub(crate) fn draw(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme, now: Instant) {
    if area.x == 0 {
        below(view, buffer, area, theme, now);
    } else {
        beside(view, buffer, area, theme, now);
    }
}

/// The values as a table of four, or one after the other where that is too wide.
fn below(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme, now: Instant) {
    if area.height == 0 {
        return;
    }
    let rule = "─".repeat(usize::from(area.width));
    put(buffer, area, 0, 0, &rule, theme.quiet());
    let order = format!(" {} ", view.order.name());
    put_all(buffer, area, 0, &[("─ ", theme.quiet()), (&place(view), theme.strong())]);
    let right = usize::from(area.width).saturating_sub(order.width() + 1) as u16;
    if usize::from(right) > place(view).width() + 2 {
        put(buffer, area, right, 0, &order, theme.plain());
    }
    let bytes = view.bytes.from(view.cursor);
    let numbers = values::numbers(&bytes, view.order);
    if area.width >= TABLE {
        // Two rows of four integers, and one of what is longer; the columns are as wide as their values get.
        let columns = [0, 12, 26, 44, 0, 12, 26, 44, 0, 20, 50];
        for (place, value) in numbers.iter().enumerate() {
            let row = 1 + (place / 4) as u16;
            number(view, buffer, area, (columns[place], row), value, theme, now);
        }
        text(view, buffer, area, (0, 4), &bytes, theme, now);
        return;
    }
    let widths = [6, 9, 14, 24, 7, 10, 15, 24, 18, 28, 22];
    // Signed beside unsigned: the small ones are seen where there is little room.
    let order = [0, 4, 1, 5, 2, 6, 3, 7, 8, 9, 10];
    let (mut column, mut row) = (0, 1);
    for place in order {
        if column > 0 && column + widths[place] > area.width {
            column = 0;
            row += 1;
        }
        number(view, buffer, area, (column, row), &numbers[place], theme, now);
        column += widths[place] + 2;
    }
    text(view, buffer, area, (0, row + 1), &bytes, theme, now);
}

/// The values one below the other.
fn beside(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme, now: Instant) {
    let bytes = view.bytes.from(view.cursor);
    put(buffer, area, 0, 0, &place(view), theme.strong());
    put(buffer, area, 0, 1, view.order.name(), theme.quiet());
    let mut row = 3;
    for (place, value) in values::numbers(&bytes, view.order).iter().enumerate() {
        // Unsigned, signed, the rest.
        if place == 4 || place == 8 {
            row += 1;
        }
        number(view, buffer, area, (0, row), value, theme, now);
        row += 1;
    }
    text(view, buffer, area, (0, row + 1), &bytes, theme, now);
}

fn place(view: &Hexdump) -> String {
    let past = if view.cursor >= view.size { "past the end " } else { "" };
    format!("{0:#x} = {0} {past}", view.cursor)
}

/// Writes a number with its title at a column and row.
fn number(
    view: &Hexdump,
    buffer: &mut Buffer,
    area: Rect,
    (column, row): (u16, u16),
    value: &Value,
    theme: Theme,
    now: Instant,
) {
    put(buffer, area, column, row, value.title, theme.quiet());
    match &value.text {
        Some(text) => {
            put(buffer, area, column + 4, row, text, lit(view, value.bytes, theme, now));
        }
        None => {
            put(buffer, area, column + 4, row, "-", theme.quiet());
        }
    }
}

fn text(
    view: &Hexdump,
    buffer: &mut Buffer,
    area: Rect,
    (column, row): (u16, u16),
    bytes: &[u8],
    theme: Theme,
    now: Instant,
) {
    put(buffer, area, column, row, "str", theme.quiet());
    let room = usize::from(area.width.saturating_sub(column + 4));
    // No more of it than can be seen.
    let own = &bytes[..values::string_length(bytes).min(4 * room)];
    let style = lit(view, own.len().min(room), theme, now);
    put(buffer, area, column + 4, row, &cut(&values::string(own), room), style);
}

/// As the brightest of the bytes from the cursor on.
fn lit(view: &Hexdump, bytes: usize, theme: Theme, now: Instant) -> Style {
    let glows = (view.cursor..).take(bytes).map(|offset| view.bytes.glow(offset, now));
    theme.lit(glows.max().unwrap_or(Glow::Dark))
}
