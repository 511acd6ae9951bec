//! Drawing one segment: its header, its bytes, and what the last line says.

use std::time::{Duration, Instant};

use commons::Lifetime;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Sparkline, Widget};
use unicode_width::UnicodeWidthStr;

use crate::output;
use crate::record;

use super::bytes::{Byte, Glow};
use super::file::Name;
use super::hex::Hexdump;
use super::layout::Parts;
use super::theme::{Theme, cut, put, put_all};
use super::{help, hints, span, status, values_draw};

/// How long a new size is lit.
const RESIZED: Duration = Duration::from_secs(2);

const KEYS: [help::Line; 12] = [
    ("arrows hjkl", "move"),
    ("PageUp PageDown", "a page up, down"),
    ("Home End", "to the first byte, the last"),
    ("g", "to an offset: 64, 0x40"),
    ("n N", "to the next, the previous byte that changed"),
    ("Space", "pause, go on"),
    ("e", "turn the order of bytes in numbers"),
    ("r", "open what has the name now"),
    ("Esc", "back to the table, or quit"),
    ("", "What changes faster than it is looked at"),
    ("", "is seen once at each look."),
    ("", ""),
];

const HINTS: [(&str, &str); 7] = [
    ("?", "help"),
    ("q", "quit"),
    ("g", "go to"),
    ("n/N", "next change"),
    ("space", "pause"),
    ("e", "byte order"),
    ("Esc", "table"),
];

pub(crate) fn draw(view: &mut Hexdump, frame: &mut Frame, theme: Theme, now: Instant) {
    let parts = Parts::of(frame.area());
    view.fit(&parts);
    let buffer = frame.buffer_mut();
    header(view, buffer, parts.header, theme, now);
    rate(view, buffer, parts.rate, theme);
    ruler(view, buffer, parts.ruler, theme);
    bytes(view, buffer, parts.bytes, theme, now);
    values_draw::draw(view, buffer, parts.values, theme, now);
    footer(view, frame, parts.status, theme);
    if view.help {
        help::draw(frame, theme, "watch NAME", &KEYS);
    }
}

fn header(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme, now: Instant) {
    let name = cut(&view.watched.title(), usize::from(area.width / 2));
    let gap = ("  ", theme.plain());
    let mut pieces = vec![(name, theme.strong())];
    match view.name {
        Name::Own => {}
        Name::Gone => pieces.push(("deleted".to_owned(), theme.alarm())),
        Name::Another => pieces.push(("deleted and made anew: r opens it".to_owned(), theme.alarm())),
    }
    let resized = view.resized.is_some_and(|then| now.saturating_duration_since(then) < RESIZED);
    let size = if resized { theme.lit(Glow::Warm) } else { theme.plain() };
    pieces.push((output::short_size(view.size), size));
    if view.size < view.largest {
        let text = format!("truncated, was {}", output::short_size(view.largest));
        pieces.push((text, theme.alarm()));
    }
    if let Some(look) = view.look {
        if look.is_orphan() {
            pieces.push(("orphan".to_owned(), theme.alarm()));
        } else {
            pieces.push((record::lifetime(look.info.lifetime).to_owned(), theme.plain()));
        }
        let plural = if look.holders == 1 { "" } else { "s" };
        // One that stays has no need of holders.
        let needed = look.info.lifetime == Lifetime::UntilLastDetach || look.holders > 0;
        let style = if needed { theme.plain() } else { theme.quiet() };
        pieces.push((format!("{} holder{plural}", look.holders), style));
        if let Some(resident) = look.resident {
            pieces.push((format!("{} resident", output::short_size(resident)), theme.plain()));
        }
    }
    let spaced: Vec<(&str, Style)> =
        pieces.iter().flat_map(|(text, style)| [(text.as_str(), *style), gap]).collect();
    let end = put_all(buffer, area, 0, &spaced);
    let directory = view.watched.directory();
    let at = usize::from(area.width).saturating_sub(directory.width());
    if at > usize::from(end) {
        put(buffer, area, at as u16, 0, &directory, theme.quiet());
    }
}

/// The rate of change, its last minute as a curve, and how often it is looked.
fn rate(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme) {
    let rate = view.rate.now();
    let text = match rate.round() as u64 {
        0 if rate > 0.0 => "< 1 byte".to_owned(),
        rounded => output::size(rounded),
    };
    let style = if rate > 0.0 { theme.strong() } else { theme.quiet() };
    // As wide as it gets, so that the curve stays where it is.
    let end =
        put_all(buffer, area, 0, &[(&format!("{text}/s"), style), (" changing", theme.quiet())]).max(22);
    let (text, style) = match view.paused {
        Some(_) => (" paused ".to_owned(), theme.strong().add_modifier(Modifier::REVERSED)),
        None => (format!("every {}", span(view.interval)), theme.quiet()),
    };
    let right = usize::from(area.width).saturating_sub(text.width()) as u16;
    if right > end || view.paused.is_some() {
        put(buffer, area, right, 0, &text, style);
    }
    let room = right.saturating_sub(end + 2).min(60);
    if room >= 8 && area.height > 0 {
        let history = view.rate.history(usize::from(room));
        let curve = Rect::new(area.x + end, area.y, room, 1);
        Sparkline::default().data(&history).style(theme.curve()).render(curve, buffer);
    }
}

fn ruler(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme) {
    let shape = view.shape;
    let under = u64::from(shape.columns);
    for column in 0..shape.columns {
        let style = if u64::from(column) == view.cursor % under { theme.strong() } else { theme.quiet() };
        put(buffer, area, shape.hex_at(column), 0, &format!("{column:2x}"), style);
    }
}

fn bytes(view: &Hexdump, buffer: &mut Buffer, area: Rect, theme: Theme, now: Instant) {
    let shape = view.shape;
    for row in 0..area.height {
        let first = view.top + u64::from(row) * u64::from(shape.columns);
        // An empty segment has an offset too.
        if first >= view.largest.max(1) {
            break;
        }
        if shape.digits > 0 {
            let here = (first..first + u64::from(shape.columns)).contains(&view.cursor);
            let style = if here { theme.strong() } else { theme.quiet() };
            let width = usize::from(shape.digits);
            put(buffer, area, 0, row, &format!("{first:0width$x}"), style);
        }
        for column in 0..shape.columns {
            let offset = first + u64::from(column);
            let glow = view.bytes.glow(offset, now);
            let byte = view.bytes.byte(offset);
            let (hex, text, style) = match byte {
                Byte::Here(byte) => {
                    let (text, quiet) = match byte {
                        b' '..=b'~' => (char::from(byte), false),
                        _ => ('.', true),
                    };
                    let quiet = quiet && (byte == 0);
                    (format!("{byte:02x}"), text, if quiet { theme.quiet() } else { theme.plain() })
                }
                Byte::Gone => ("--".to_owned(), ' ', theme.alarm()),
                Byte::Unknown => ("??".to_owned(), ' ', theme.quiet()),
                Byte::Never => ("  ".to_owned(), ' ', theme.plain()),
            };
            let lit = match (offset == view.cursor, glow) {
                (true, glow) => theme.cursor(glow),
                (false, Glow::Dark) => style,
                (false, glow) => theme.lit(glow),
            };
            if byte == Byte::Never && offset != view.cursor {
                continue;
            }
            put(buffer, area, shape.hex_at(column), row, &hex, lit);
            if shape.text {
                let dots = if text == '.' && lit == theme.plain() { theme.quiet() } else { lit };
                put(buffer, area, shape.text_at(column), row, text.encode_utf8(&mut [0; 4]), dots);
            }
        }
    }
}

fn footer(view: &Hexdump, frame: &mut Frame, area: Rect, theme: Theme) {
    if let Some(prompt) = &view.prompt {
        return super::prompt_line(frame, area, "go to offset: ", &prompt.text, theme);
    }
    let buffer = frame.buffer_mut();
    match (&view.message, &view.trouble) {
        (Some(message), _) => status(buffer, area, message, theme.strong()),
        (None, Some(trouble)) => status(buffer, area, trouble, theme.alarm()),
        (None, None) => {
            let count = HINTS.len() - usize::from(!view.has_table);
            hints(buffer, area, &HINTS[..count], theme);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use commons::Namespace;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::View;
    use super::super::keys::Key;
    use super::super::worker::Bell;
    use super::*;

    struct Fixture {
        directory: tempfile::TempDir,
        view: Hexdump,
        now: Instant,
    }

    impl Fixture {
        fn new(bytes: &[u8]) -> Fixture {
            let directory = tempfile::tempdir_in("/dev/shm").unwrap();
            fs::write(directory.path().join("x"), bytes).unwrap();
            let namespace = Namespace::at(directory.path()).unwrap();
            let bell = Bell::new().unwrap();
            let interval = Duration::from_millis(250);
            let view = Hexdump::open(&namespace, OsStr::new("x"), 0, interval, &bell).unwrap();
            Fixture { directory, view, now: Instant::now() }
        }

        fn write(&self, bytes: &[u8]) {
            fs::write(self.directory.path().join("x"), bytes).unwrap();
        }

        /// The screen after one more interval.
        fn draw(&mut self, width: u16, height: u16, theme: Theme) -> Buffer {
            self.now += Duration::from_millis(250);
            self.view.tick(self.now);
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| self.view.draw(frame, theme, self.now)).unwrap();
            terminal.backend().buffer().clone()
        }

        fn text(&mut self, width: u16, height: u16) -> String {
            let buffer = self.draw(width, height, Theme::with_colours(true));
            let rows = buffer.content().chunks(usize::from(width).max(1));
            rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
        }

        fn press(&mut self, keys: &[Key]) {
            for key in keys {
                self.view.key(*key, self.now);
            }
        }
    }

    #[test]
    fn bytes_and_values_are_shown() {
        let mut fixture = Fixture::new(b"hello, world\n\0\0\0\x2a\0\0\0\0\0\0\0rest");
        let text = fixture.text(80, 24);
        let row = "00000000  68 65 6c 6c 6f 2c 20 77  6f 72 6c 64 0a 00 00 00  hello, world....";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("00000010  2a 00"), "{text}");
        assert!(text.contains("u8  104") && text.contains("\"hello, world\\n\""), "{text}");
        fixture.press(&[Key::Down]);
        let text = fixture.text(80, 24);
        assert!(text.contains("u64 42") && text.contains("0x10 = 16"), "{text}");
        fixture.press(&[Key::Char('e')]);
        assert!(fixture.text(80, 24).contains("u32 704643072"));
        let text = fixture.text(120, 40);
        assert!(text.contains("big-endian") && text.contains("u16 10752"), "{text}");
    }

    #[test]
    fn what_changed_is_lit_with_colours_and_without() {
        for coloured in [true, false] {
            let theme = Theme::with_colours(coloured);
            let mut fixture = Fixture::new(b"abcdefgh");
            let before = fixture.draw(80, 24, theme);
            fixture.write(b"abcdeXgh");
            let after = fixture.draw(80, 24, theme);
            let row = Parts::of(Rect::new(0, 0, 80, 24)).bytes.y;
            let changed = |column: u16| before[(column, row)].style() != after[(column, row)].style();
            let lit: Vec<u16> = (0..80).filter(|column| changed(*column)).collect();
            assert_eq!(lit, [25, 26, 65], "coloured: {coloured}");
            assert_eq!(after[(25, row)].symbol(), "5");
            let coloured_cells = after
                .content()
                .iter()
                .any(|cell| cell.fg != Default::default() || cell.bg != Default::default());
            assert_eq!(coloured_cells, coloured);
        }
    }

    #[test]
    fn what_is_cut_off_or_deleted_is_said() {
        let mut fixture = Fixture::new(b"abcdefgh");
        fixture.text(80, 24);
        fixture.write(b"abcd");
        let text = fixture.text(80, 24);
        assert!(text.contains("61 62 63 64 -- -- -- --"), "{text}");
        assert!(text.contains("truncated, was 8"), "{text}");
        fs::remove_file(fixture.directory.path().join("x")).unwrap();
        let text = fixture.text(80, 24);
        assert!(text.contains("deleted") && text.contains("61 62 63 64"), "{text}");
        fixture.write(b"new!");
        assert!(fixture.text(80, 24).contains("made anew"));
        fixture.press(&[Key::Char('r')]);
        let text = fixture.text(80, 24);
        assert!(text.contains("6e 65 77 21") && !text.contains("made anew"), "{text}");
    }

    #[test]
    fn a_pause_freezes_what_is_shown() {
        let mut fixture = Fixture::new(b"abcdefgh");
        fixture.text(80, 24);
        fixture.press(&[Key::Char(' ')]);
        fixture.write(b"ABCDEFGH");
        let text = fixture.text(80, 24);
        assert!(text.contains("abcdefgh") && text.contains("paused"), "{text}");
        assert_eq!(fixture.view.due(fixture.now), None);
        fixture.press(&[Key::Char(' ')]);
        assert!(fixture.text(80, 24).contains("ABCDEFGH"));
        assert_eq!(fixture.view.rate.now(), 0.0, "a pause is no second");
    }

    #[test]
    fn offsets_that_are_typed_are_gone_to_or_refused_with_a_reason() {
        let mut fixture = Fixture::new(&[b'z'; 5000]);
        fixture.text(80, 24);
        let go = |fixture: &mut Fixture, text: &str| {
            fixture.press(&[Key::Char('g')]);
            fixture.press(&text.chars().map(Key::Char).collect::<Vec<_>>());
            assert!(fixture.text(80, 24).contains("go to offset: "));
            fixture.press(&[Key::Enter]);
            fixture.text(80, 24)
        };
        assert!(go(&mut fixture, "0x1000").contains("00001000"));
        assert_eq!(fixture.view.cursor, 4096);
        assert!(go(&mut fixture, "5000").contains("beyond the end: there are 5000 bytes"));
        assert!(go(&mut fixture, "twelve").contains("\"twelve\" is no offset"));
        assert_eq!(fixture.view.cursor, 4096);
    }

    #[test]
    fn no_size_and_no_key_is_a_panic() {
        for bytes in [&b""[..], b"x", &[7; 100_000]] {
            let mut fixture = Fixture::new(bytes);
            for (width, height) in [(0, 0), (1, 1), (2, 2), (3, 50), (20, 5), (40, 10), (300, 3), (80, 24)] {
                for key in [
                    Key::End,
                    Key::Down,
                    Key::Right,
                    Key::PageDown,
                    Key::Char('n'),
                    Key::Char('N'),
                    Key::Char('?'),
                    Key::Enter,
                    Key::Char('g'),
                    Key::Escape,
                    Key::Char('r'),
                    Key::PageUp,
                    Key::Up,
                    Key::Left,
                    Key::Home,
                    Key::Up,
                    Key::PageUp,
                ] {
                    fixture.press(&[key]);
                    fixture.draw(width, height, Theme::with_colours(true));
                    assert!(fixture.view.cursor <= bytes.len() as u64);
                }
            }
        }
    }

    #[test]
    fn paging_reaches_the_end_and_comes_back() {
        let mut fixture = Fixture::new(&[b'z'; 10_000]);
        fixture.text(80, 24);
        let mut pages = 0;
        while fixture.view.cursor != 9999 {
            fixture.press(&[Key::PageDown]);
            fixture.text(80, 24);
            pages += 1;
            assert!(pages < 1000);
        }
        assert!(fixture.text(80, 24).contains("00002700"));
        while fixture.view.cursor >= 16 {
            fixture.press(&[Key::PageUp]);
            fixture.text(80, 24);
            pages += 1;
            assert!(pages < 1000);
        }
        assert!(fixture.text(80, 24).contains("00000000"));
    }
}
