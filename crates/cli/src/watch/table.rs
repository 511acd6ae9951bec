//! The view of all segments: which rows are shown in which order, which one is selected, and what the keys do.
//!
//! The survey runs in a thread. If it takes long, it is made less often, so that it takes half the time at most.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use commons::Namespace;
use ratatui::Frame;

use crate::failure::{Failure, Outcome};
use crate::survey::{self, Scope};

use super::hex::Hexdump;
use super::keys::Key;
use super::prompt::{Prompt, Typed};
use super::rows::{self, Ledger, Row};
use super::theme::Theme;
use super::worker::{Bell, Worker};
use super::{BYTES, SEGMENTS, Step, View, reason, table_draw};

/// What can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Name,
    Kind,
    Size,
    Growth,
    Total,
    Resident,
    Holders,
    Lifetime,
    Owner,
    Age,
}

impl Column {
    /// In the order in which they stand, and of the keys 1 to 9 and 0.
    pub(crate) const ALL: [Column; 10] = [
        Column::Name,
        Column::Kind,
        Column::Size,
        Column::Growth,
        Column::Total,
        Column::Resident,
        Column::Holders,
        Column::Lifetime,
        Column::Owner,
        Column::Age,
    ];

    /// Numbers begin with the largest, unless they are turned.
    pub(crate) fn is_number(self) -> bool {
        matches!(
            self,
            Column::Size | Column::Growth | Column::Total | Column::Resident | Column::Holders | Column::Age
        )
    }

    fn place(self) -> usize {
        self as usize
    }

    fn compare(self, one: &Row, other: &Row) -> Ordering {
        match self {
            Column::Name => one.title.cmp(&other.title),
            Column::Kind => one.record.kind.cmp(&other.record.kind),
            Column::Size => one.record.size.cmp(&other.record.size),
            Column::Growth => one.growth.cmp(&other.growth),
            Column::Total => one.total.cmp(&other.total),
            Column::Resident => one.record.resident.cmp(&other.record.resident),
            Column::Holders => one.record.holders.cmp(&other.record.holders),
            // Orphans first: somebody has to see to them.
            Column::Lifetime => {
                let place = |row: &Row| (!row.record.orphan, crate::record::lifetime(row.record.lifetime));
                place(one).cmp(&place(other))
            }
            Column::Owner => one.owner.cmp(&other.owner),
            // The earlier it was modified, the older.
            Column::Age => other.record.modified.cmp(&one.record.modified),
        }
    }
}

/// The order of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sorting {
    pub(crate) column: Column,
    /// From the smallest.
    pub(crate) rising: bool,
}

impl Sorting {
    fn by(column: Column) -> Sorting {
        Sorting { column, rising: !column.is_number() }
    }

    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let order = self.column.compare(one, other);
        let order = if self.rising { order } else { order.reverse() };
        // Rows that are alike do not change places.
        order.then_with(|| one.title.cmp(&other.title)).then_with(|| one.key.cmp(&other.key))
    }
}

/// What a survey gave, and how long it took.
type Survey = (Outcome<Vec<Arc<Row>>>, Duration);

pub(crate) struct Table {
    pub(crate) namespace: Namespace,
    bell: Bell,
    /// What was asked for on the command line.
    asked: Option<Duration>,
    worker: Worker<Survey>,
    begun: Instant,
    /// `None` before the first survey.
    pub(crate) took: Option<Duration>,
    next: Instant,
    rows: Vec<Arc<Row>>,
    /// The rows that are shown, in order.
    pub(crate) shown: Vec<Arc<Row>>,
    pub(crate) sorting: Sorting,
    pub(crate) filter: String,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) selected: Option<rows::Key>,
    /// Where it is among those that are shown.
    pub(crate) place: usize,
    /// The first row on the screen, and how many there are.
    pub(crate) top: usize,
    pub(crate) height: usize,
    pub(crate) message: Option<String>,
    pub(crate) trouble: Option<String>,
    pub(crate) help: bool,
}

impl Table {
    pub(crate) fn open(
        namespace: &Namespace,
        asked_for: bool,
        asked: Option<Duration>,
        bell: &Bell,
    ) -> Outcome<Table> {
        // A namespace that cannot be listed is an error while there is a line to say it on.
        namespace.list()?;
        let scope = Scope::new(namespace, asked_for, &[]);
        let mut ledger = Ledger::default();
        let worker = Worker::start(bell, move || {
            let begun = Instant::now();
            let found = survey::everything(&scope).map(|records| ledger.enter(records, begun));
            (found, begun.elapsed())
        });
        let worker = worker.map_err(|error| Failure::system("start a thread", &error))?;
        let now = Instant::now();
        Ok(Table {
            namespace: namespace.clone(),
            bell: bell.clone(),
            asked,
            worker,
            begun: now,
            took: None,
            next: now,
            rows: Vec::new(),
            shown: Vec::new(),
            sorting: Sorting::by(Column::Name),
            filter: String::new(),
            prompt: None,
            selected: None,
            place: 0,
            top: 0,
            height: 1,
            message: None,
            trouble: None,
            help: false,
        })
    }

    /// How often there is a survey, of which each takes half of that at most.
    pub(crate) fn interval(&self) -> Duration {
        self.asked.unwrap_or(SEGMENTS).max(2 * self.took.unwrap_or_default())
    }

    /// All rows, shown or not.
    pub(crate) fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    pub(crate) fn take(&mut self, rows: Vec<Arc<Row>>) {
        self.rows = rows;
        self.arrange();
    }

    /// Chooses the rows that are shown and sorts them; the selected one stays selected while it is there.
    fn arrange(&mut self) {
        let matches = |row: &&Arc<Row>| self.filter.is_empty() || row.title.contains(&self.filter);
        self.shown = self.rows.iter().filter(matches).cloned().collect();
        let sorting = self.sorting;
        self.shown.sort_unstable_by(|one, other| sorting.compare(one, other));
        let found = self.shown.iter().position(|row| Some(&row.key) == self.selected.as_ref());
        self.select(found.unwrap_or(self.place));
    }

    fn select(&mut self, place: usize) {
        self.place = place.min(self.shown.len().saturating_sub(1));
        // What is filtered out is not forgotten.
        if let Some(row) = self.shown.get(self.place) {
            self.selected = Some(row.key.clone());
        }
    }

    /// Keeps the selected row on the screen.
    pub(crate) fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        let most = self.shown.len().saturating_sub(self.height);
        self.top = self.top.min(most).clamp((self.place + 1).saturating_sub(self.height), self.place);
    }

    fn sort(&mut self, sorting: Sorting) {
        self.sorting = sorting;
        self.arrange();
    }

    fn sort_beside(&mut self, forwards: bool) {
        let count = Column::ALL.len();
        let step = if forwards { 1 } else { count - 1 };
        self.sort(Sorting::by(Column::ALL[(self.sorting.column.place() + step) % count]));
    }

    fn filter(&mut self, text: &str) {
        text.clone_into(&mut self.filter);
        self.arrange();
    }

    /// Opens the hexdump of the selected row.
    fn enter(&mut self) -> Step {
        let Some(row) = self.shown.get(self.place) else { return Step::Stay };
        let Some(directory) = &row.record.namespace else {
            self.message = Some(format!("{} is in no namespace: its bytes cannot be watched", row.title));
            return Step::Stay;
        };
        let interval = self.asked.unwrap_or(BYTES);
        let opened = Namespace::at(directory)
            .map_err(Failure::from)
            .and_then(|namespace| Hexdump::open(&namespace, &row.record.name, 0, interval, &self.bell));
        match opened {
            Ok(mut view) => {
                view.has_table = true;
                Step::Show(Box::new(view))
            }
            Err(failure) => {
                self.message = Some(reason(&failure));
                Step::Stay
            }
        }
    }

    fn type_filter(&mut self, key: Key) {
        let Some(prompt) = &mut self.prompt else { return };
        let typed = prompt.key(key);
        let text = prompt.text.clone();
        match typed {
            Typed::More => self.filter(&text),
            Typed::Done => self.prompt = None,
            Typed::Never => {
                self.prompt = None;
                self.filter("");
            }
        }
    }
}

impl View for Table {
    fn key(&mut self, key: Key, _: Instant) -> Step {
        self.message = None;
        if self.help {
            self.help = false;
            return Step::Stay;
        }
        if self.prompt.is_some() {
            self.type_filter(key);
            return Step::Stay;
        }
        let page = self.height.saturating_sub(1).max(1);
        match key {
            Key::Char('q') => return Step::Quit,
            Key::Escape if !self.filter.is_empty() => self.filter(""),
            Key::Escape => return Step::Quit,
            Key::Enter => return self.enter(),
            Key::Up | Key::Char('k') => self.select(self.place.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.select(self.place.saturating_add(1)),
            Key::PageUp => self.select(self.place.saturating_sub(page)),
            Key::PageDown => self.select(self.place.saturating_add(page)),
            Key::Home => self.select(0),
            Key::End => self.select(usize::MAX),
            Key::Left | Key::Char('<') => self.sort_beside(false),
            Key::Right | Key::Char('>') => self.sort_beside(true),
            Key::Char('r') => self.sort(Sorting { rising: !self.sorting.rising, ..self.sorting }),
            Key::Char('/') => self.prompt = Some(Prompt { text: self.filter.clone() }),
            Key::Char('?') => self.help = true,
            Key::Char(digit @ '0'..='9') => {
                // 1 is the first, 0 comes after 9.
                let place = (digit as usize - '0' as usize + 9) % 10;
                self.sort(Sorting::by(Column::ALL[place]));
            }
            _ => {}
        }
        Step::Stay
    }

    fn tick(&mut self, now: Instant) {
        if let Some((found, took)) = self.worker.answer() {
            self.took = Some(took);
            self.next = (self.begun + self.interval()).max(now);
            match found {
                Ok(rows) => {
                    self.trouble = None;
                    self.take(rows);
                }
                Err(failure) => self.trouble = Some(reason(&failure)),
            }
        }
        if now >= self.next && !self.worker.is_busy() {
            self.begun = now;
            self.worker.ask();
        }
        if self.rows.iter().any(|row| row.is_over(now)) {
            self.rows.retain(|row| !row.is_over(now));
            self.arrange();
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        // While it is looked, or is just there, marks and ages go on.
        if self.worker.is_busy() { Some(now + SEGMENTS) } else { Some(self.next.min(now + SEGMENTS)) }
    }

    fn draw(&mut self, frame: &mut Frame, theme: Theme, now: Instant) {
        table_draw::draw(self, frame, theme, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::record;
    use super::*;

    fn table(names: &[(&str, u64)]) -> (Table, Ledger) {
        let namespace = Namespace::at("/dev/shm").unwrap();
        let mut table = Table::open(&namespace, true, None, &Bell::new().unwrap()).unwrap();
        let mut ledger = Ledger::default();
        survey(&mut table, &mut ledger, names, Instant::now());
        (table, ledger)
    }

    fn survey(table: &mut Table, ledger: &mut Ledger, names: &[(&str, u64)], now: Instant) {
        table.take(ledger.enter(names.iter().map(|(name, size)| record(name, *size)).collect(), now));
    }

    fn shown(table: &Table) -> Vec<&str> {
        table.shown.iter().map(|row| row.title.as_str()).collect()
    }

    fn press(table: &mut Table, keys: &str) {
        for key in keys.chars() {
            table.key(if key == '\n' { Key::Enter } else { Key::Char(key) }, Instant::now());
        }
    }

    #[test]
    fn rows_are_sorted_by_any_column_and_turned() {
        let (mut table, _) = table(&[("b", 30), ("a", 10), ("c", 20), ("d", 20)]);
        assert_eq!(shown(&table), ["a", "b", "c", "d"]);
        press(&mut table, "3");
        assert_eq!(shown(&table), ["b", "c", "d", "a"], "the largest first, then by name");
        press(&mut table, "r");
        assert_eq!(shown(&table), ["a", "c", "d", "b"]);
        press(&mut table, ">");
        assert_eq!(table.sorting.column, Column::Growth);
        press(&mut table, "<<<");
        assert_eq!(table.sorting.column, Column::Name);
        press(&mut table, "<");
        assert_eq!(table.sorting.column, Column::Age);
        press(&mut table, "0");
        assert_eq!(table.sorting.column, Column::Age);
    }

    #[test]
    fn the_selected_row_stays_selected_while_rows_move() {
        let (mut table, mut ledger) = table(&[("a", 10), ("b", 20), ("c", 30)]);
        press(&mut table, "3jj");
        assert_eq!(table.selected.as_ref().unwrap().1, "a");
        survey(&mut table, &mut ledger, &[("a", 100), ("b", 20), ("c", 30)], Instant::now());
        assert_eq!((shown(&table), table.place), (vec!["a", "c", "b"], 0));
        press(&mut table, "/b");
        assert_eq!((shown(&table), table.place), (vec!["b"], 0));
        press(&mut table, "\n");
        table.key(Key::Escape, Instant::now());
        assert_eq!((table.shown.len(), table.place), (3, 2), "and the filter is gone");
    }

    #[test]
    fn what_vanishes_goes_after_a_moment() {
        let (mut table, mut ledger) = table(&[("a", 10), ("b", 20)]);
        let now = Instant::now();
        survey(&mut table, &mut ledger, &[("b", 20)], now);
        assert_eq!(shown(&table), ["a", "b"]);
        table.next = now + Duration::from_secs(1000);
        table.tick(now + rows::MOMENT);
        assert_eq!(shown(&table), ["b"]);
        survey(&mut table, &mut ledger, &[], now + 2 * rows::MOMENT);
        table.tick(now + 4 * rows::MOMENT);
        assert!(shown(&table).is_empty());
        press(&mut table, "jk\n");
    }

    #[test]
    fn a_survey_that_takes_long_is_made_less_often() {
        let (mut table, _) = table(&[]);
        assert_eq!(table.interval(), SEGMENTS);
        table.took = Some(Duration::from_millis(400));
        assert_eq!(table.interval(), SEGMENTS);
        table.took = Some(Duration::from_secs(3));
        assert_eq!(table.interval(), Duration::from_secs(6));
    }

    #[test]
    fn what_is_in_no_namespace_is_not_opened() {
        let (mut table, mut ledger) = table(&[]);
        let mut record = record("sysv:7", 10);
        record.namespace = None;
        table.take(ledger.enter(vec![record], Instant::now()));
        assert!(matches!(table.key(Key::Enter, Instant::now()), Step::Stay));
        assert!(table.message.as_ref().unwrap().contains("sysv:7"));
    }
}
