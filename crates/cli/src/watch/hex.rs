//! The view of one segment: what is shown of it, and what the keys do to that.

use std::ops::Range;
use std::time::{Duration, Instant};

use commons::{Look, Namespace};
use ratatui::Frame;

use std::ffi::OsStr;

use crate::failure::{Failure, Outcome};

use super::bytes::Bytes;
use super::file::{Name, Watched};
use super::keys::Key;
use super::layout::{Parts, Shape};
use super::prompt::{Prompt, Typed};
use super::rate::Rate;
use super::theme::Theme;
use super::values::{self, Order};
use super::worker::{Bell, Worker};
use super::{Step, View, hex_draw, reason};

/// Rows that are read above and below what is shown, so that a small move finds them known.
const MARGIN: u64 = 8;

/// How often it is asked who holds it, at most.
const FACTS: Duration = Duration::from_secs(1);

/// A look at the whole segment may take a fiftieth of the time: with much memory it takes long.
const SHARE: u32 = 50;

/// What is known of the segment as a whole, and how long it took to learn.
type Facts = (Option<Look>, Duration);

pub(crate) struct Hexdump {
    pub(crate) watched: Watched,
    pub(crate) bytes: Bytes,
    pub(crate) rate: Rate,
    pub(crate) interval: Duration,
    next_look: Instant,
    facts: Worker<Facts>,
    pub(crate) look: Option<Look>,
    next_facts: Instant,
    pub(crate) name: Name,
    pub(crate) size: u64,
    /// The size that it had at most.
    pub(crate) largest: u64,
    pub(crate) resized: Option<Instant>,
    /// Why it cannot be read.
    pub(crate) trouble: Option<String>,
    pub(crate) cursor: u64,
    /// The offset of the first byte that is shown.
    pub(crate) top: u64,
    pub(crate) shape: Shape,
    rows: u64,
    pub(crate) order: Order,
    pub(crate) paused: Option<Instant>,
    /// Whether the next look is the first after a pause, and so says nothing about the rate.
    resumed: bool,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) message: Option<String>,
    pub(crate) help: bool,
    /// Whether there is a table to go back to.
    pub(crate) has_table: bool,
}

impl Hexdump {
    pub(crate) fn open(
        namespace: &Namespace,
        name: &OsStr,
        offset: u64,
        interval: Duration,
        bell: &Bell,
    ) -> Outcome<Hexdump> {
        let watched = Watched::open(namespace, name)?;
        let what = || format!("watch \"{}\" in {}", watched.title(), watched.directory());
        let size = watched.size().map_err(|error| Failure::system(what(), &error))?;
        if offset > 0 && offset >= size {
            return Err(Failure::new(format!(
                "cannot {}: it has {size} bytes, and offset {offset} lies beyond its end; ask for less",
                what()
            )));
        }
        let entry = watched.entry().clone();
        let facts = Worker::start(bell, move || {
            let begun = Instant::now();
            (entry.look(), begun.elapsed())
        });
        let facts = facts.map_err(|error| Failure::system("start a thread", &error))?;
        let now = Instant::now();
        Ok(Hexdump {
            watched,
            bytes: Bytes::default(),
            rate: Rate::new(now, interval),
            interval,
            next_look: now,
            facts,
            look: None,
            next_facts: now,
            name: Name::Own,
            size,
            largest: size,
            resized: None,
            trouble: None,
            cursor: offset,
            top: offset,
            shape: Shape::of(80, size),
            rows: 1,
            order: if cfg!(target_endian = "big") { Order::Big } else { Order::Little },
            paused: None,
            resumed: false,
            prompt: None,
            message: None,
            help: false,
            has_table: false,
        })
    }

    /// The time of what is shown.
    pub(crate) fn time(&self, now: Instant) -> Instant {
        self.paused.unwrap_or(now)
    }

    /// The bytes that are shown.
    fn shown(&self) -> Range<u64> {
        self.top..self.top + self.rows * u64::from(self.shape.columns)
    }

    /// Fits what is shown to the parts of the screen, with the cursor in it, and reads what is new in it.
    pub(crate) fn fit(&mut self, parts: &Parts) {
        self.shape = Shape::of(parts.bytes.width, self.largest);
        self.rows = u64::from(parts.bytes.height.max(1));
        let columns = u64::from(self.shape.columns);
        let row = self.cursor / columns;
        let top = (self.top / columns).clamp((row + 1).saturating_sub(self.rows), row);
        self.top = top * columns;
        let margin = MARGIN * columns;
        let shown = self.shown();
        self.bytes.cover(shown.start.saturating_sub(margin)..shown.end + margin);
        if self.bytes.is_incomplete() {
            if let Some(read) = self.read() {
                self.bytes.complete(&read, self.largest);
            }
        }
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let Range { start, end } = self.bytes.range();
        let mut buffer = vec![0; (end - start) as usize];
        match self.watched.read(start, &mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                self.trouble = None;
                Some(buffer)
            }
            Err(error) => {
                self.trouble = Some(format!("cannot read: {error}"));
                None
            }
        }
    }

    fn look(&mut self, now: Instant) {
        self.name = self.watched.whose_name();
        match self.watched.size() {
            Ok(size) if size != self.size => {
                self.size = size;
                self.largest = self.largest.max(size);
                self.resized = Some(now);
            }
            Ok(_) => {}
            Err(error) => self.trouble = Some(format!("cannot look at it: {error}")),
        }
        if let Some(read) = self.read() {
            let shown = if self.resumed { 0..0 } else { self.shown() };
            let changes = self.bytes.take(&read, self.largest, &shown, now);
            self.rate.add(now, changes);
            self.resumed = false;
        }
    }

    fn open_anew(&mut self, now: Instant) {
        match self.watched.open_anew() {
            Ok(watched) => {
                self.size = watched.size().unwrap_or(0);
                self.largest = self.size;
                self.cursor = self.cursor.min(self.last());
                self.watched = watched;
                self.bytes = Bytes::default();
                self.rate = Rate::new(now, self.interval);
                self.look = None;
                self.name = Name::Own;
                self.next_look = now;
                self.next_facts = now;
                self.paused = None;
                self.message = Some("this is the new one".to_owned());
            }
            Err(failure) => self.message = Some(reason(&failure)),
        }
    }

    /// The last offset that the cursor can be on.
    fn last(&self) -> u64 {
        self.largest.saturating_sub(1)
    }

    fn move_by(&mut self, bytes: u64, forwards: bool) {
        let to = if forwards {
            self.cursor.saturating_add(bytes)
        } else if bytes <= self.cursor {
            self.cursor - bytes
        } else {
            // Up from the first row stays in the column.
            self.cursor % u64::from(self.shape.columns)
        };
        // Down from the last row as well, if it is there.
        if to <= self.last() || bytes == 1 {
            self.cursor = to.min(self.last());
        } else if bytes > u64::from(self.shape.columns) {
            self.cursor = self.last();
        }
    }

    fn page(&mut self, forwards: bool) {
        let bytes = self.rows.saturating_sub(1).max(1) * u64::from(self.shape.columns);
        let top = if forwards { self.top.saturating_add(bytes) } else { self.top.saturating_sub(bytes) };
        self.move_by(bytes, forwards);
        if top <= self.last() {
            self.top = top;
        }
    }

    fn jump(&mut self, forwards: bool, now: Instant) {
        match self.bytes.next_change(self.cursor, forwards, self.time(now)) {
            Some(offset) => self.cursor = offset.min(self.last()),
            None => self.message = Some("nothing else changed here in the last minute".to_owned()),
        }
    }

    fn go(&mut self, text: &str) {
        self.message = match values::offset(text) {
            Some(offset) if offset < self.largest.max(1) => {
                self.cursor = offset;
                None
            }
            Some(offset) => Some(format!("{offset} lies beyond the end: there are {} bytes", self.size)),
            None => Some(format!("\"{text}\" is no offset: type 64, or 0x40")),
        };
    }

    fn pause(&mut self, now: Instant) {
        match self.paused.take() {
            None => self.paused = Some(now),
            Some(_) => {
                self.resumed = true;
                self.next_look = now;
            }
        }
    }
}

impl View for Hexdump {
    fn key(&mut self, key: Key, now: Instant) -> Step {
        self.message = None;
        if self.help {
            self.help = false;
            return Step::Stay;
        }
        if let Some(prompt) = &mut self.prompt {
            match prompt.key(key) {
                Typed::More => return Step::Stay,
                Typed::Never => self.prompt = None,
                Typed::Done => {
                    let text = std::mem::take(&mut prompt.text);
                    self.prompt = None;
                    self.go(&text);
                }
            }
            return Step::Stay;
        }
        let columns = u64::from(self.shape.columns);
        match key {
            Key::Char('q') => return Step::Quit,
            Key::Escape => return Step::Back,
            Key::Backspace if self.has_table => return Step::Back,
            Key::Left | Key::Char('h') => self.cursor = self.cursor.saturating_sub(1),
            Key::Right | Key::Char('l') => self.move_by(1, true),
            Key::Up | Key::Char('k') => self.move_by(columns, false),
            Key::Down | Key::Char('j') => self.move_by(columns, true),
            Key::PageUp => self.page(false),
            Key::PageDown => self.page(true),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.size.saturating_sub(1),
            Key::Char('g') => self.prompt = Some(Prompt::default()),
            Key::Char('n') => self.jump(true, now),
            Key::Char('N') => self.jump(false, now),
            Key::Char('e') => self.order = self.order.other(),
            Key::Char(' ') => self.pause(now),
            Key::Char('?') => self.help = true,
            Key::Char('r') if self.name == Name::Another => self.open_anew(now),
            Key::Char('r') => self.message = Some("no other segment has the name now".to_owned()),
            _ => {}
        }
        Step::Stay
    }

    fn tick(&mut self, now: Instant) {
        if let Some((look, took)) = self.facts.answer() {
            self.look = look.filter(|_| self.name == Name::Own);
            self.next_facts = now + FACTS.max(took * SHARE);
        }
        if self.paused.is_some() {
            return;
        }
        if now >= self.next_look {
            self.look(now);
            self.next_look = now + self.interval;
        }
        if now >= self.next_facts {
            self.facts.ask();
        }
        if self.name != Name::Own {
            self.look = None;
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        if self.paused.is_some() {
            return None;
        }
        let facts = (!self.facts.is_busy()).then_some(self.next_facts);
        let resized = self.resized.map(|then| then + Duration::from_secs(2)).filter(|then| *then > now);
        [Some(self.next_look), facts, resized, self.bytes.next_fading(now)].into_iter().flatten().min()
    }

    fn draw(&mut self, frame: &mut Frame, theme: Theme, now: Instant) {
        hex_draw::draw(self, frame, theme, self.time(now));
    }
}
