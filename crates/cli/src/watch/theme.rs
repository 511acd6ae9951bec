//! How things look, in the terminal's own sixteen colours, so that they suit a dark terminal and a light one;
//! without colours, bold, underlined and reversed say the same.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

use super::bytes::Glow;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    coloured: bool,
}

impl Theme {
    /// As `NO_COLOR` and the terminal want it.
    pub(crate) fn new() -> Theme {
        let choice = anstream::AutoStream::choice(&std::io::stdout());
        Theme { coloured: choice != anstream::ColorChoice::Never }
    }

    #[cfg(test)]
    pub(crate) fn with_colours(coloured: bool) -> Theme {
        Theme { coloured }
    }

    pub(crate) fn plain(self) -> Style {
        Style::new()
    }

    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is there for completeness.
    pub(crate) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What needs attention.
    pub(crate) fn alarm(self) -> Style {
        if self.coloured {
            self.strong().fg(Color::Red)
        } else {
            self.strong().add_modifier(Modifier::REVERSED)
        }
    }

    /// What is new and welcome.
    pub(crate) fn good(self) -> Style {
        if self.coloured { self.strong().fg(Color::Green) } else { self.strong() }
    }

    /// A curve.
    pub(crate) fn curve(self) -> Style {
        if self.coloured { Style::new().fg(Color::Cyan) } else { Style::new() }
    }

    /// What changed, by how long ago. Colours come in pairs, so that they can be read on any background.
    pub(crate) fn lit(self, glow: Glow) -> Style {
        let pair = |background| Style::new().fg(Color::Black).bg(background);
        let mark = |modifier| Style::new().add_modifier(modifier);
        match (glow, self.coloured) {
            (Glow::Dark, _) => Style::new(),
            (Glow::Bright, true) => pair(Color::LightYellow).add_modifier(Modifier::BOLD),
            (Glow::Warm, true) => pair(Color::Yellow),
            (Glow::Faint, true) | (Glow::Warm, false) => mark(Modifier::UNDERLINED),
            (Glow::Bright, false) => mark(Modifier::BOLD | Modifier::UNDERLINED),
            (Glow::Faint, false) => mark(Modifier::BOLD),
        }
    }

    /// What the cursor is on, lit as it is.
    pub(crate) fn cursor(self, glow: Glow) -> Style {
        match (glow, self.coloured) {
            (_, false) => self.lit(glow).add_modifier(Modifier::REVERSED),
            (Glow::Bright | Glow::Warm, true) => self.strong().fg(Color::LightYellow).bg(Color::Blue),
            (Glow::Faint | Glow::Dark, true) => self.strong().fg(Color::White).bg(Color::Blue),
        }
    }
}

/// Writes `text` at a place in `area`, as far as it is inside; gives the column behind it.
pub(crate) fn put(buffer: &mut Buffer, area: Rect, column: u16, row: u16, text: &str, style: Style) -> u16 {
    let area = area.intersection(buffer.area);
    if row >= area.height || column >= area.width {
        return column;
    }
    let room = usize::from(area.width - column);
    let (end, _) = buffer.set_stringn(area.x + column, area.y + row, text, room, style);
    end - area.x
}

/// Writes pieces on a row one after the other, as long as they fit whole.
pub(crate) fn put_all(buffer: &mut Buffer, area: Rect, row: u16, pieces: &[(&str, Style)]) -> u16 {
    let mut column = 0;
    for (text, style) in pieces {
        let width = u16::try_from(text.width()).unwrap_or(u16::MAX);
        if width > area.width.saturating_sub(column) {
            break;
        }
        column = put(buffer, area, column, row, text, *style);
    }
    column
}

/// `text` in `width` columns at most; what is cut off is marked.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut room = width.saturating_sub(1);
    for character in text.chars() {
        let mut own = [0; 4];
        let Some(left) = room.checked_sub(character.encode_utf8(&mut own).width()) else { break };
        short.push(character);
        room = left;
    }
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_marked_and_fits() {
        for (text, width, expected) in [
            ("jobs", 4, "jobs"),
            ("jobs", 3, "jo…"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("jobs", 0, ""),
        ] {
            assert_eq!(cut(text, width), expected);
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 2));
        let area = Rect::new(1, 0, 9, 9);
        put(&mut buffer, area, 0, 0, "abcdef", Style::new());
        put(&mut buffer, area, 0, 2, "below", Style::new());
        put(&mut buffer, area, 8, 0, "right", Style::new());
        assert_eq!(buffer, Buffer::with_lines([" abc", "    "]));
    }
}
