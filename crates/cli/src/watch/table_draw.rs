//! Drawing all segments: only the rows that are on the screen, and as many columns as there is room for.

use std::time::{Instant, SystemTime};

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthStr;

use crate::failure;
use crate::output;
use crate::record;

use super::bytes::Glow;
use super::rows::{Mark, Row};
use super::sorting::Column;
use super::table::{Table, Totals};
use super::theme::{Theme, cut, put, put_all};
use super::{help, hints, prompt_line, span, status};

/// Columns that the name has at least, and at most while others want room.
const NAME: (u16, u16) = (16, 48);

/// The columns beside the name, those first that stay longest where it is narrow.
const BY_WORTH: [Column; 9] = [
    Column::Size,
    Column::Growth,
    Column::Holders,
    Column::Lifetime,
    Column::Resident,
    Column::Age,
    Column::Owner,
    Column::Total,
    Column::Kind,
];

const KEYS: [help::Line; 10] = [
    ("Up Down j k", "select; PageUp, PageDown, Home, End as well"),
    ("Enter", "watch the bytes of the selected one"),
    ("1 ... 9, 0", "sort by a column: name, kind, size, growth,"),
    ("", "              total, resident, holders, lifetime, owner, age"),
    ("< >", "sort by the column before, the next"),
    ("r", "reverse the order"),
    ("/", "show only names with a text in them"),
    ("Esc", "show all again, or quit"),
    ("", "Growth is of memory allocated, a second and in all."),
    ("", ""),
];

const HINTS: [(&str, &str); 6] = [
    ("?", "help"),
    ("q", "quit"),
    ("Enter", "bytes"),
    ("1-9 < >", "sort"),
    ("r", "reverse"),
    ("/", "filter"),
];

fn title(column: Column) -> &'static str {
    match column {
        Column::Name => "name",
        Column::Kind => "kind",
        Column::Size => "size",
        Column::Growth => "growth/s",
        Column::Total => "grown",
        Column::Resident => "resident",
        Column::Holders => "holders",
        Column::Lifetime => "lifetime",
        Column::Owner => "owner",
        Column::Age => "age",
    }
}

/// Columns of the screen that it takes, with the mark of the sorting.
fn width(column: Column) -> u16 {
    match column {
        Column::Name => NAME.0,
        Column::Kind => 7,
        Column::Size => 7,
        Column::Total => 8,
        Column::Growth | Column::Resident => 9,
        Column::Holders => 8,
        Column::Lifetime => 17,
        Column::Owner => 10,
        Column::Age => 4,
    }
}

/// The columns that fit, in the order in which they stand, with their widths.
fn columns(room: u16, longest: u16) -> Vec<(Column, u16)> {
    let mut chosen = vec![Column::Name];
    let mut left = room.saturating_sub(NAME.0 + 2);
    for column in BY_WORTH {
        let Some(rest) = left.checked_sub(width(column) + 2) else { break };
        left = rest;
        chosen.push(column);
    }
    let name = (NAME.0 + left).min(longest.clamp(NAME.0, NAME.1).max(NAME.0));
    let all = Column::ALL.into_iter().filter(|column| chosen.contains(column));
    all.map(|column| (column, if column == Column::Name { name } else { width(column) })).collect()
}

pub(crate) fn draw(table: &mut Table, frame: &mut Frame, theme: Theme, now: Instant) {
    let area = frame.area();
    let part = |y: u16, height: u16| Rect::new(area.x, area.y + y, area.width, height);
    let has = |needed: u16| u16::from(area.height >= needed);
    let (header, titles, footer) = (has(4), has(2), has(3));
    let height = area.height - header - titles - footer;
    table.fit(usize::from(height));
    let shown = table.shown.iter().skip(table.top).take(usize::from(height));
    // The name is as wide as those on the screen, so that a long one elsewhere takes no room.
    let longest = shown.clone().map(|row| row.width).max().unwrap_or(0);
    let columns = columns(area.width, u16::try_from(longest).unwrap_or(u16::MAX));
    let buffer = frame.buffer_mut();
    summary(table, buffer, part(0, header), theme);
    headings(table, buffer, part(header, titles), &columns, theme);
    let rows = part(header + titles, height);
    let clock = SystemTime::now();
    for (line, row) in shown.enumerate() {
        let selected = table.top + line == table.place;
        draw_row(row, buffer, rows, line as u16, &columns, selected, theme, (now, clock));
    }
    if table.shown.is_empty() {
        let text = match (table.took, table.filter.is_empty()) {
            (None, _) => "looking...",
            (Some(_), true) => "no segments",
            (Some(_), false) => "no segment has that in its name; Esc shows all",
        };
        put(buffer, rows, 2, 0, text, theme.quiet());
    }
    let status_area = part(header + titles + height, footer);
    if let Some(prompt) = &table.prompt {
        prompt_line(frame, status_area, "/", &prompt.text, theme);
    } else {
        let buffer = frame.buffer_mut();
        match (&table.message, &table.trouble) {
            (Some(message), _) => status(buffer, status_area, message, theme.strong()),
            (None, Some(trouble)) => status(buffer, status_area, trouble, theme.alarm()),
            (None, None) => hints(buffer, status_area, &HINTS, theme),
        }
    }
    if table.help {
        help::draw(frame, theme, "watch", &KEYS);
    }
}

/// What there is in all.
fn summary(table: &Table, buffer: &mut Buffer, area: Rect, theme: Theme) {
    let Totals { count, reserved, growth, orphans } = table.totals;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let directory: std::path::PathBuf = table.namespace.directory().components().collect();
    let directory = cut(&failure::one_line(&directory.to_string_lossy()), usize::from(area.width / 2));
    let mut pieces = vec![(directory, theme.strong())];
    pieces.push((format!("{count} segment{}", plural(count)), theme.plain()));
    pieces.push((output::short_size(reserved), theme.plain()));
    if growth != 0 {
        pieces.push((format!("{}/s", signed(growth)), theme.lit(Glow::Warm)));
    }
    if orphans > 0 {
        pieces.push((format!("{orphans} orphan{}", plural(orphans)), theme.alarm()));
    }
    if !table.filter.is_empty() {
        let shown = table.shown.len();
        pieces.push((format!("{shown} with \"{}\"", failure::one_line(&table.filter)), theme.good()));
    }
    let gap = ("  ", theme.plain());
    let spaced: Vec<(&str, Style)> =
        pieces.iter().flat_map(|(text, style)| [(text.as_str(), *style), gap]).collect();
    let end = put_all(buffer, area, 0, &spaced);
    let mut every = format!("every {}", span(table.interval()));
    if let Some(took) = table.took.filter(|took| *took * 2 >= table.interval()) {
        every.push_str(&format!(": a look takes {}", span(took)));
    }
    let at = usize::from(area.width).saturating_sub(every.width());
    if at > usize::from(end) {
        put(buffer, area, at as u16, 0, &every, theme.quiet());
    }
}

fn headings(table: &Table, buffer: &mut Buffer, area: Rect, columns: &[(Column, u16)], theme: Theme) {
    let mut at = 2;
    for (column, width) in columns {
        let sorted = table.sorting.column == *column;
        let mark = match (sorted, table.sorting.rising) {
            (false, _) => "",
            (true, true) => "▲",
            (true, false) => "▼",
        };
        let style = if sorted { theme.strong() } else { theme.quiet() };
        let text = format!("{}{mark}", title(*column));
        cell(buffer, area, (at, 0), *width, &text, column.is_number(), style);
        at += width + 2;
    }
}

#[allow(clippy::too_many_arguments, reason = "each row is drawn with all of it")]
fn draw_row(
    row: &Row,
    buffer: &mut Buffer,
    area: Rect,
    line: u16,
    columns: &[(Column, u16)],
    selected: bool,
    theme: Theme,
    (now, clock): (Instant, SystemTime),
) {
    let mark = row.mark(now);
    let (sign, whole) = match mark {
        Mark::New => ("+", theme.good()),
        Mark::Gone => ("-", theme.quiet().add_modifier(Modifier::CROSSED_OUT)),
        Mark::None => (" ", theme.plain()),
    };
    put(buffer, area, 0, line, sign, whole);
    let mut at = 2;
    for (column, width) in columns {
        let (text, own) = text(row, *column, theme, clock);
        let style = match mark {
            Mark::Gone => whole,
            Mark::New if *column == Column::Name => whole,
            _ => own,
        };
        cell(buffer, area, (at, line), *width, &text, column.is_number(), style);
        at += width + 2;
    }
    if selected {
        let line = Rect { y: area.y + line, height: 1, ..area };
        buffer
            .set_style(line, theme.strong().add_modifier(Modifier::REVERSED).remove_modifier(Modifier::DIM));
    }
}

fn text(row: &Row, column: Column, theme: Theme, clock: SystemTime) -> (String, Style) {
    let record = &row.record;
    let known = |text: Option<String>| match text {
        Some(text) => (text, theme.plain()),
        None => ("-".to_owned(), theme.quiet()),
    };
    let change = |bytes: i64, style: Style| match bytes {
        0 => ("0".to_owned(), theme.quiet()),
        bytes => (signed(bytes), style),
    };
    let alarm = if record.orphan { theme.alarm() } else { theme.plain() };
    match column {
        Column::Name => (row.title.clone(), alarm),
        Column::Kind => (record.kind.name().to_owned(), theme.plain()),
        Column::Size => (output::short_size(record.size), theme.plain()),
        Column::Growth => change(row.growth, theme.lit(Glow::Warm)),
        Column::Total => change(row.total, theme.plain()),
        Column::Resident => known(record.resident.map(output::short_size)),
        Column::Holders => known(record.holders.map(|holders| holders.to_string())),
        Column::Lifetime if record.orphan => ("orphan".to_owned(), alarm),
        Column::Lifetime => (record::lifetime(record.lifetime).to_owned(), theme.plain()),
        Column::Owner => (row.owner.clone(), theme.plain()),
        Column::Age => {
            let age = record.modified.map(|then| output::age(then, clock));
            (age.unwrap_or_else(|| "-".to_owned()), theme.quiet())
        }
    }
}

fn cell(
    buffer: &mut Buffer,
    area: Rect,
    (column, row): (u16, u16),
    width: u16,
    text: &str,
    right: bool,
    style: Style,
) {
    let text = cut(text, usize::from(width));
    let padding = if right { usize::from(width).saturating_sub(text.width()) as u16 } else { 0 };
    put(buffer, area, column + padding, row, &text, style);
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", output::short_size(bytes.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use commons::Namespace;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::View;
    use super::super::keys::Key;
    use super::super::rows::Ledger;
    use super::super::rows::tests::record;
    use super::super::worker::Bell;
    use super::*;

    fn table() -> Table {
        let namespace = Namespace::at("/dev/shm").unwrap();
        let mut table = Table::open(&namespace, true, None, &Bell::new().unwrap()).unwrap();
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let orphan = record::Record { orphan: true, ..record("left", 4096) };
        ledger.enter(vec![record("jobs", 1 << 20), record("gone", 8192)], now);
        let records = vec![record("jobs", 3 << 20), orphan, record("日本\u{202e}\x1b[2J", 10)];
        let rows = ledger.enter(records, now + std::time::Duration::from_secs(1));
        table.take(rows, now);
        table.took = Some(std::time::Duration::from_millis(700));
        table
    }

    fn draw(table: &mut Table, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let theme = Theme::with_colours(false);
        terminal.draw(|frame| table.draw(frame, theme, Instant::now())).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width).max(1));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn rows_show_growth_orphans_and_what_came_and_went() {
        let mut table = table();
        let text = draw(&mut table, 120, 10);
        let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(line("jobs").contains("+2.0M"), "{text}");
        assert!(line("left").contains("orphan") && line("left").starts_with('+'), "{text}");
        assert!(line("gone").starts_with('-'), "{text}");
        assert!(text.contains("3 segments") && text.contains("1 orphan"), "{text}");
        assert!(text.contains("every 1.4s: a look takes 700ms"), "{text}");
        assert!(text.contains("name▲") && text.contains("owner"), "{text}");
        assert!(!text.contains(['\x1b', '\u{202e}']));
    }

    #[test]
    fn narrow_terminals_keep_what_matters() {
        let mut table = table();
        for (width, there, not_there) in [(80, "lifetime", "kind"), (40, "growth/s", "lifetime")] {
            let text = draw(&mut table, width, 10);
            assert!(text.contains(there) && !text.contains(not_there), "{text}");
        }
    }

    #[test]
    fn no_size_is_a_panic() {
        let mut table = table();
        for (width, height) in [(0, 0), (1, 1), (2, 2), (3, 30), (20, 5), (40, 10), (80, 24), (300, 2)] {
            for key in ['j', '?', 'x', '/', 'z', 'z', '/'] {
                table.key(Key::Char(key), Instant::now());
                draw(&mut table, width, height);
            }
            table.key(Key::Escape, Instant::now());
        }
    }
}
