//! The keys, over what is shown.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Clear, Widget};
use unicode_width::UnicodeWidthStr;

use super::theme::{Theme, put};

/// A key, and what it does; for a line without a key, a remark.
pub(crate) type Line = (&'static str, &'static str);

/// What holds for all that `watch` shows.
const COMMON: [Line; 7] = [
    ("?", "this help"),
    ("Ctrl-Z", "stop, and go on with 'fg'"),
    ("Ctrl-L", "draw anew"),
    ("q Ctrl-C", "quit"),
    ("", ""),
    ("", "After a 'kill -9' of watch the terminal is"),
    ("", "as watch had it: type 'reset' and Enter."),
];

/// Draws a box with the keys of a view, as far as there is room.
pub(crate) fn draw(frame: &mut Frame, theme: Theme, title: &str, keys: &[Line]) {
    let lines = || keys.iter().chain(&COMMON);
    let left = lines().map(|(key, _)| key.width()).max().unwrap_or(0);
    let right = lines().map(|(key, does)| if key.is_empty() { 0 } else { does.width() }).max().unwrap_or(0);
    let remarks = lines().map(|(_, does)| does.width()).max().unwrap_or(0);
    let number = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    let width = number((left + 2 + right).max(remarks) + 4);
    let area = middle(frame.area(), width, number(lines().count() + 2));
    let block = Block::bordered().title(format!(" {title} ")).border_style(theme.quiet());
    let inner = block.inner(area);
    let buffer = frame.buffer_mut();
    Clear.render(area, buffer);
    block.render(area, buffer);
    for (row, (key, does)) in lines().enumerate() {
        let row = number(row);
        put(buffer, inner, 1, row, key, theme.strong());
        let column = if key.is_empty() { 1 } else { number(left + 3) };
        put(buffer, inner, column, row, does, if key.is_empty() { theme.quiet() } else { theme.plain() });
    }
}

fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let width = width.min(area.width);
    let height = height.min(area.height);
    Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height)
}
