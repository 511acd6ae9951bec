//! The view of all segments: which rows are shown in which order, which one is selected, and what the keys do.
//!
//! The survey runs in a thread. If it takes long, it is made less often, so that it takes half the time at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use commons::Namespace;
use ratatui::Frame;

use crate::dropins;
use crate::failure::{Failure, Outcome};
use crate::survey::{self, Scope};

use super::hex::Hexdump;
use super::keys::Key;
use super::prompt::{Prompt, Typed};
use super::rows::{self, Ledger, Mark, Row};
use super::sorting::{Column, Sorting};
use super::theme::Theme;
use super::worker::{Bell, Worker};
use super::{BYTES, SEGMENTS, Step, View, reason, table_draw};

/// What a survey gave, and how long it took.
type Survey = (Outcome<Vec<Arc<Row>>>, Duration);

/// What there is in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) count: usize,
    pub(crate) reserved: u64,
    pub(crate) growth: i64,
    pub(crate) orphans: usize,
}

impl Totals {
    fn of(rows: &[Arc<Row>], now: Instant) -> Totals {
        let mut totals = Totals::default();
        for row in rows.iter().filter(|row| row.mark(now) != Mark::Gone) {
            totals.count += 1;
            totals.reserved = totals.reserved.saturating_add(row.record.reserved);
            totals.growth = totals.growth.saturating_add(row.growth);
            totals.orphans += usize::from(row.record.orphan);
        }
        totals
    }
}

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
    /// All rows, by name.
    rows: Vec<Arc<Row>>,
    pub(crate) totals: Totals,
    /// When the next row that is gone is taken away.
    next_over: Option<Instant>,
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
            totals: Totals::default(),
            next_over: None,
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

    /// Takes over what a survey found, by name.
    pub(crate) fn take(&mut self, rows: Vec<Arc<Row>>, now: Instant) {
        self.totals = Totals::of(&rows, now);
        self.next_over = rows.iter().filter_map(|row| row.over()).min();
        self.rows = rows;
        self.arrange();
    }

    /// Chooses the rows that are shown and sorts them; the selected one stays selected while it is there.
    fn arrange(&mut self) {
        let matches = |row: &&Arc<Row>| self.filter.is_empty() || row.title.contains(&self.filter);
        self.shown = self.rows.iter().filter(matches).cloned().collect();
        self.sorting.sort(&mut self.shown);
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
        let opened = Namespace::at(directory).map_err(Failure::from).and_then(|namespace| {
            let name = match dropins::meant(&row.record.name) {
                Some(_) => dropins::segment(&namespace, &row.record.name)?,
                None => row.record.name.clone(),
            };
            Hexdump::open(&namespace, &name, 0, interval, &self.bell)
        });
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
            Key::Left | Key::Char('<') => self.sort(self.sorting.beside(false)),
            Key::Right | Key::Char('>') => self.sort(self.sorting.beside(true)),
            Key::Char('r') => self.sort(self.sorting.reversed()),
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
                    self.take(rows, now);
                }
                Err(failure) => self.trouble = Some(reason(&failure)),
            }
        }
        if now >= self.next && !self.worker.is_busy() {
            self.begun = now;
            self.worker.ask();
        }
        if self.next_over.is_some_and(|over| over <= now) {
            let mut rows = std::mem::take(&mut self.rows);
            rows.retain(|row| row.over().is_none_or(|over| over > now));
            self.take(rows, now);
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
        table.take(ledger.enter(names.iter().map(|(name, size)| record(name, *size)).collect(), now), now);
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
    fn keys_choose_the_column_and_the_order() {
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
        press(&mut table, "0");
        assert_eq!(table.sorting.column, Column::Age);
    }

    #[test]
    fn totals_are_of_what_is_there() {
        let (mut table, mut ledger) = table(&[("a", 10), ("b", 20)]);
        let now = Instant::now() + Duration::from_secs(1);
        survey(&mut table, &mut ledger, &[("b", 50)], now);
        assert_eq!((table.totals.count, table.totals.reserved, table.totals.orphans), (1, 50, 0));
        assert!(table.totals.growth > 0);
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
        let now = Instant::now();
        table.take(ledger.enter(vec![record], now), now);
        assert!(matches!(table.key(Key::Enter, Instant::now()), Step::Stay));
        assert!(table.message.as_ref().unwrap().contains("sysv:7"));
    }
}
