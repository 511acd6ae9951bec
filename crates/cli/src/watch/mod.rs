//! `watch`: a segment's bytes as they change, or all segments as they grow.
//!
//! One loop waits for keys, signals, threads and the time, and shows a [`View`] on a [`Screen`]: the
//! [hexdump](hex) of one segment, or the [table](table) of all, which opens hexdumps. Models know nothing of
//! the terminal; what may take long is done by [workers](worker).

mod bytes;
mod file;
mod help;
mod hex;
mod hex_draw;
mod keys;
mod layout;
mod prompt;
mod rate;
mod rows;
mod screen;
mod signals;
mod sorting;
mod table;
mod table_draw;
mod theme;
mod values;
mod values_draw;
mod worker;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use commons::Namespace;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::args;
use crate::failure::{Failure, Outcome};

use hex::Hexdump;
use keys::{Key, Keys};
use screen::Screen;
use signals::{Signal, Signals};
use table::Table;
use theme::{Theme, put, put_all};
use worker::Bell;

/// How often a segment's bytes are looked at, unless it is said.
const BYTES: Duration = Duration::from_millis(250);
/// How often all segments are.
const SEGMENTS: Duration = Duration::from_secs(1);

/// How long the rest of a key may take to come. Then an Escape is an Escape.
const REST_OF_KEY: Duration = Duration::from_millis(40);

/// What is to be shown next.
pub(crate) enum Step {
    Stay,
    /// The view before; without one, quit.
    Back,
    Quit,
    Show(Box<dyn View>),
}

/// Something that fills the screen.
pub(crate) trait View {
    fn key(&mut self, key: Key, now: Instant) -> Step;
    /// Does what is due.
    fn tick(&mut self, now: Instant);
    /// When something will be due, other than an answer of a worker's.
    fn due(&self, now: Instant) -> Option<Instant>;
    fn draw(&mut self, frame: &mut Frame, theme: Theme, now: Instant);
}

pub(crate) fn watch(namespace: &Namespace, asked_for: bool, watch: &args::Watch) -> Outcome<ExitCode> {
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !terminal || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(Failure::new(match &watch.name {
            Some(name) => format!(
                "cannot watch: this is no terminal to draw on; 'commons dump {}' prints the bytes",
                name.to_string_lossy()
            ),
            None => {
                "cannot watch: this is no terminal to draw on; 'commons ls' prints the segments".to_owned()
            }
        }));
    }
    // Before there are threads, which would take them.
    let signals = Signals::begin().map_err(|error| Failure::system("watch for signals", &error))?;
    let bell = Bell::new().map_err(|error| Failure::system("make a descriptor", &error))?;
    let interval = watch.interval.map(Duration::from_millis);
    let view: Box<dyn View> = match &watch.name {
        Some(name) => {
            let interval = interval.unwrap_or(BYTES);
            Box::new(Hexdump::open(namespace, name, watch.offset, interval, &bell)?)
        }
        None => Box::new(Table::open(namespace, asked_for, interval, &bell)?),
    };
    let mut screen = Screen::take().map_err(|error| Failure::system("take the terminal", &error))?;
    let end = run(view, &mut screen, &signals, &bell);
    drop(screen);
    match end {
        Ok(None) => Ok(ExitCode::SUCCESS),
        Ok(Some(signal)) => {
            signals::by_default(signal);
            // The first process of a container is not ended by it.
            Ok(ExitCode::from(128 + u8::try_from(signal).unwrap_or(0)))
        }
        Err(error) => Err(Failure::system("go on watching: the terminal is gone", &error)),
    }
}

/// Shows views until the last is left; gives the signal that ended it, if one did. An error is the terminal's.
fn run(
    first: Box<dyn View>,
    screen: &mut Screen,
    signals: &Signals,
    bell: &Bell,
) -> io::Result<Option<std::ffi::c_int>> {
    let theme = Theme::new();
    let mut views = vec![first];
    let mut keys = Keys::default();
    while let Some(view) = views.last_mut() {
        let now = Instant::now();
        view.tick(now);
        screen.draw(|frame| view.draw(frame, theme, now))?;
        let rest = keys.is_waiting().then(|| now + REST_OF_KEY);
        let due = [view.due(now), rest].into_iter().flatten().min();
        let has_input = wait(screen, signals, bell, due)?;
        bell.heard();
        while let Some(signal) = signals.next() {
            match signal {
                Signal::End(signal) => return Ok(Some(signal)),
                Signal::Stop => {
                    screen.give_back();
                    signals::stop();
                    screen.take_again()?;
                }
                Signal::Continue => screen.take_again()?,
                Signal::Resize => screen.resize()?,
            }
        }
        let now = Instant::now();
        let mut typed = None;
        if has_input {
            keys.take(screen.read(&mut [0; 1024])?);
            typed = keys.next();
        } else if rest.is_some_and(|rest| now >= rest) {
            typed = keys.give_up();
        }
        while let (Some(key), Some(view)) = (typed, views.last_mut()) {
            match key {
                Key::Control('c') => return Ok(None),
                Key::Control('z') => signals::stop_all(),
                Key::Control('l') => screen.resize()?,
                key => match view.key(key, now) {
                    Step::Stay => {}
                    Step::Back => drop(views.pop()),
                    Step::Show(view) => views.push(view),
                    Step::Quit => return Ok(None),
                },
            }
            typed = keys.next();
        }
    }
    Ok(None)
}

/// Waits until something can be done; gives whether something was typed, or an error if the terminal is gone.
fn wait(screen: &mut Screen, signals: &Signals, bell: &Bell, due: Option<Instant>) -> io::Result<bool> {
    let timeout = due.map(|due| {
        let left = due.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
    });
    let output = if screen.is_behind() { PollFlags::OUT } else { PollFlags::empty() };
    let events = {
        let (input, terminal) = (screen.input(), screen.output());
        let mut fds = [
            PollFd::from_borrowed_fd(input, PollFlags::IN),
            PollFd::from_borrowed_fd(terminal, output),
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(bell, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        fds.map(|fd| fd.revents())
    };
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let signal = events[2].contains(PollFlags::IN);
    // A hangup sends a signal as well, which says more.
    if (events[0] | events[1]).intersects(gone) && !signal {
        return Err(Errno::IO.into());
    }
    Ok(events[0].contains(PollFlags::IN) && !events[0].intersects(gone))
}

/// Why something failed, for a line of the screen.
fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Usage(text) | Failure::Failed(text) => crate::failure::one_line(text),
        Failure::NobodyReads => String::new(),
    }
}

/// A span of time in few characters: `250ms`, `1s`, `1.5s`.
fn span(span: Duration) -> String {
    match span.as_millis() {
        milliseconds @ 0..1000 => format!("{milliseconds}ms"),
        milliseconds if milliseconds % 1000 == 0 => format!("{}s", milliseconds / 1000),
        _ => format!("{:.1}s", span.as_secs_f64()),
    }
}

/// A message in the last line.
fn status(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    put(buffer, area, 0, 0, &theme::cut(text, usize::from(area.width)), style);
}

/// The keys in the last line, as many as there is room for.
fn hints(buffer: &mut Buffer, area: Rect, hints: &[(&str, &str)], theme: Theme) {
    let mut column = 0;
    for (key, does) in hints {
        let rest = Rect { x: area.x + column, width: area.width - column, ..area };
        let pieces = [(*key, theme.strong()), (" ", theme.plain()), (*does, theme.quiet())];
        if key.len() + 1 + does.len() > usize::from(rest.width) {
            break;
        }
        column = (column + put_all(buffer, rest, 0, &pieces) + 2).min(area.width);
    }
}

/// A line that is being typed, with the terminal's cursor at its end.
fn prompt_line(frame: &mut Frame, area: Rect, title: &str, text: &str, theme: Theme) {
    let buffer = frame.buffer_mut();
    let begin = put(buffer, area, 0, 0, title, theme.strong());
    let end = put(buffer, area, begin, 0, text, theme.plain());
    if area.height > 0 && area.width > 0 {
        frame.set_cursor_position((area.x + end.min(area.width - 1), area.y));
    }
}
