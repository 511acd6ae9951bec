//! Signals as something to read, beside the keys, so that whatever ends or stops `watch` finds the terminal
//! in order and can put it back.
//!
//! They are blocked and read from a descriptor. No handler runs, so nothing is interrupted half-way. Signals
//! that the command was started to ignore stay ignored.

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To end, as this signal ends a program.
    End(c_int),
    /// To stop, until somebody lets it go on.
    Stop,
    /// It was stopped by force, and goes on.
    Continue,
    /// The terminal has another size.
    Resize,
}

const ENDS: [c_int; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];
const OTHERS: [c_int; 3] = [libc::SIGTSTP, libc::SIGCONT, libc::SIGWINCH];

/// The descriptor that signals are read from.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// From now on signals come here; to be called before another thread is started, which would take them.
    pub(crate) fn begin() -> io::Result<Signals> {
        let ends = ENDS.into_iter().filter(|signal| !is_ignored(*signal));
        let set = set(ends.chain(OTHERS));
        mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: the set is valid, and -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(Signals { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal that came.
    pub(crate) fn next(&self) -> Option<Signal> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut bytes = [0; SIZE];
        let read = rustix::io::read(&self.fd, &mut bytes);
        if read != Ok(SIZE) {
            return None;
        }
        // The number is the first field.
        let number = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as c_int;
        Some(match number {
            libc::SIGTSTP => Signal::Stop,
            libc::SIGCONT => Signal::Continue,
            libc::SIGWINCH => Signal::Resize,
            end => Signal::End(end),
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Stops this process as Ctrl-Z does; comes back when it is let go on, or at once where nobody could let it.
pub(crate) fn stop() {
    by_default(libc::SIGTSTP);
}

/// Asks all that run in front of the terminal to stop, this process as well: what Ctrl-Z means.
pub(crate) fn stop_all() {
    // SAFETY: `kill` takes any numbers; 0 is the own process group.
    unsafe { libc::kill(0, libc::SIGTSTP) };
}

/// Lets `signal` do to this process what it does by default.
pub(crate) fn by_default(signal: c_int) {
    let set = set([signal]);
    let unblocked = mask(libc::SIG_UNBLOCK, &set);
    if unblocked.is_ok() {
        // SAFETY: `raise` takes any number.
        unsafe { libc::raise(signal) };
        let _ = mask(libc::SIG_BLOCK, &set);
    }
}

fn set(signals: impl IntoIterator<Item = c_int>) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` makes a valid set of what it is given.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: the set is valid.
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    set
}

fn mask(how: c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is valid; the old one is not asked for.
    match unsafe { libc::pthread_sigmask(how, set, null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Whether the command was started to ignore it: a blocked signal would come all the same.
fn is_ignored(signal: c_int) -> bool {
    // SAFETY: all zeros is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` is valid for writing; no new action is given.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}
