//! The terminal: taken for the time of watching, and given back however that ends.
//!
//! It is opened anew, with descriptors of its own that do not wait, so that a terminal that takes no output
//! (a stopped one, a dead connection) never keeps `watch` from ending. What it has not taken yet stays in a
//! queue, and nothing new is drawn meanwhile. Descriptors that came from a parent are shared with it, and so
//! cannot be told not to wait.

use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::{Attribute, SetAttribute};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How long a terminal may take for what is written to it last.
const FAREWELL: Duration = Duration::from_millis(200);

/// Columns and rows that are drawn at most, whatever size a terminal says that it has.
const LARGEST: (u16, u16) = (1024, 512);

/// What it takes to give the terminal back, from wherever.
struct Before {
    input: OwnedFd,
    output: OwnedFd,
    mode: Termios,
}

static BEFORE: OnceLock<Before> = OnceLock::new();
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Output that the terminal has not taken yet.
#[derive(Clone, Default)]
struct Queue(Rc<RefCell<Vec<u8>>>);

impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal while it is `watch`'s. Dropping it gives the terminal back.
pub(crate) struct Screen {
    before: &'static Before,
    queue: Queue,
    terminal: Terminal<CrosstermBackend<Queue>>,
}

impl Screen {
    /// Takes the terminal of standard input and output.
    pub(crate) fn take() -> io::Result<Screen> {
        let before = match BEFORE.get() {
            Some(before) => before,
            None => {
                let input = own(io::stdin().as_fd(), 0)?;
                let output = own(io::stdout().as_fd(), 1)?;
                let mode = tcgetattr(&input)?;
                BEFORE.get_or_init(|| Before { input, output, mode })
            }
        };
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            hook(panic);
        }));
        let queue = Queue::default();
        let options = TerminalOptions { viewport: Viewport::Fixed(area(before)) };
        let terminal = Terminal::with_options(CrosstermBackend::new(queue.clone()), options)?;
        let mut screen = Screen { before, queue, terminal };
        screen.take_again()?;
        Ok(screen)
    }

    /// Takes the terminal anew after others may have used it.
    pub(crate) fn take_again(&mut self) -> io::Result<()> {
        // From here on it has to be given back. Entering the other screen twice would lose the cursor's place.
        if !TAKEN.swap(true, SeqCst) {
            queue!(self.queue, EnterAlternateScreen)?;
        }
        let mut raw = self.before.mode.clone();
        raw.make_raw();
        tcsetattr(&self.before.input, OptionalActions::Now, &raw)?;
        queue!(self.queue, Hide)?;
        self.resize()
    }

    /// Takes over the size that the terminal has now, and draws everything anew.
    pub(crate) fn resize(&mut self) -> io::Result<()> {
        self.terminal.resize(area(self.before))
    }

    /// Draws, unless the terminal has not yet taken what was drawn before.
    pub(crate) fn draw(&mut self, paint: impl FnOnce(&mut Frame)) -> io::Result<()> {
        // A panic of another thread may have given it back.
        if !self.is_behind() && TAKEN.load(SeqCst) {
            queue!(self.queue, BeginSynchronizedUpdate)?;
            self.terminal.draw(paint)?;
            queue!(self.queue, EndSynchronizedUpdate)?;
        }
        self.flush()
    }

    /// Whether there is output that the terminal has not taken yet.
    pub(crate) fn is_behind(&self) -> bool {
        !self.queue.0.borrow().is_empty()
    }

    /// Writes what the terminal takes now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut queue = self.queue.0.borrow_mut();
        while !queue.is_empty() {
            match rustix::io::write(&self.before.output, &queue) {
                Ok(count) => drop(queue.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what was typed; an error if the terminal is gone.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        match rustix::io::read(&self.before.input, &mut *buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => Ok(&[]),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.before.input.as_fd()
    }

    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.before.output.as_fd()
    }

    /// Gives the terminal back until it is [taken again](Screen::take_again).
    pub(crate) fn give_back(&mut self) {
        // What is half-written first, so that nothing of it is shown as text.
        let rest = std::mem::take(&mut *self.queue.0.borrow_mut());
        write_for_a_while(self.before, &rest);
        give_back();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Gives the terminal back if it is taken; from any thread.
fn give_back() {
    let Some(before) = BEFORE.get().filter(|_| TAKEN.swap(false, SeqCst)) else { return };
    let mut leave = Vec::new();
    // Nothing that is written to memory fails.
    let _ = queue!(leave, EndSynchronizedUpdate, SetAttribute(Attribute::Reset), Show, LeaveAlternateScreen);
    write_for_a_while(before, &leave);
    // There is nobody left to tell that the terminal is gone.
    let _ = tcsetattr(&before.input, OptionalActions::Now, &before.mode);
}

/// Writes it all, or as much as the terminal takes in [`FAREWELL`].
fn write_for_a_while(before: &Before, mut bytes: &[u8]) {
    let end = Instant::now() + FAREWELL;
    while !bytes.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        let mut output = [PollFd::new(&before.output, PollFlags::OUT)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut output, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            Ok(1..) => {}
            _ => return,
        }
        match rustix::io::write(&before.output, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR | Errno::AGAIN) if !left.is_zero() => {}
            Err(_) => return,
        }
    }
}

/// A descriptor of our own for a terminal, which does not wait; where it may not be opened anew (after `su`),
/// the one that is there, and then a stopped terminal is waited for.
fn own(fd: BorrowedFd<'_>, number: u8) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty()) {
        Ok(own) => Ok(own),
        Err(_) => fd.try_clone_to_owned(),
    }
}

fn area(before: &Before) -> Rect {
    let (columns, rows) = match tcgetwinsize(&before.output) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        // A terminal that does not know its size.
        _ => (80, 24),
    };
    Rect::new(0, 0, columns.min(LARGEST.0), rows.min(LARGEST.1))
}
