//! Catching `SIGBUS` in address ranges that were registered.
//!
//! Touching a mapping past the end of its file, or a hole for which there is no room, is `SIGBUS`. The
//! handler here looks whether the address lies in a registered range; if so it marks the range, puts a private
//! page of zeros there, and lets the instruction run again. All other faults go on to whoever
//! handled the signal before.
//!
//! The ranges are in a [table](super::super::table). A row that a thread's own access relies on cannot change
//! meanwhile, since its owner borrows the attachment.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::{self, NonNull, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::super::table::{Blank, Row, Table};
use super::super::{Errno, Result};
use super::map;

/// What is known of a range.
struct Watched {
    /// Bytes in a page of this mapping.
    page: AtomicUsize,
    faulted: AtomicBool,
    /// How many faults were caught.
    faults: AtomicUsize,
    /// A mapping of the file that is never replaced, so that the segment stays held though all pages may be.
    anchor: AtomicUsize,
}

impl Blank for Watched {
    const BLANK: Watched = Watched {
        page: AtomicUsize::new(0),
        faulted: AtomicBool::new(false),
        faults: AtomicUsize::new(0),
        anchor: AtomicUsize::new(0),
    };
}

type Entry = Row<Watched>;

static TABLE: Table<Watched> = Table::new();

/// A registered range; no longer registered once dropped.
pub(crate) struct Guarded(&'static Entry);

impl Drop for Guarded {
    fn drop(&mut self) {
        let page = self.0.of.page.load(Relaxed);
        write(self.0, 0, 0, 0);
        if let Some(anchor) = NonNull::new(ptr::without_provenance_mut(self.0.of.anchor.swap(0, Relaxed))) {
            // SAFETY: made by `guard` with that length, and nothing refers to it.
            let _ = unsafe { map::unmap(anchor, page) };
        }
        self.0.release();
    }
}

/// A place for a guard that is set once, by whichever thread is first.
pub(crate) struct GuardCell(AtomicPtr<Entry>);

impl GuardCell {
    pub(crate) const fn new() -> GuardCell {
        GuardCell(AtomicPtr::new(null_mut()))
    }

    pub(crate) fn set(&self, guarded: Guarded) {
        let entry = ptr::from_ref(guarded.0).cast_mut();
        if self.0.compare_exchange(null_mut(), entry, AcqRel, Relaxed).is_ok() {
            std::mem::forget(guarded);
        }
    }

    /// Whether it is set, and has caught a fault.
    #[inline]
    pub(crate) fn state(&self) -> Option<bool> {
        // SAFETY: a non-null pointer is to an entry, which lives for ever.
        unsafe { self.0.load(Acquire).as_ref() }.map(|entry| entry.of.faulted.load(Relaxed))
    }

    pub(crate) fn take(&mut self) -> Option<Guarded> {
        let entry = std::mem::replace(self.0.get_mut(), null_mut());
        // SAFETY: as above; `set` gave up its claim on the entry, which passes to the caller.
        unsafe { entry.as_ref() }.map(Guarded)
    }
}

/// Registers `start .. start + len`, mapped in pages of `page` bytes.
pub(crate) fn guard(start: usize, len: usize, page: usize) -> Result<Guarded> {
    install()?;
    let entry = TABLE.claim();
    write(entry, start, len, page);
    let guarded = Guarded(entry);
    let first = NonNull::new(ptr::without_provenance_mut(start)).ok_or(Errno::INVAL)?;
    let anchor = map::anchor(first, page)?;
    entry.of.anchor.store(anchor.addr().get(), Relaxed);
    Ok(guarded)
}

fn write(entry: &Entry, start: usize, len: usize, page: usize) {
    entry.write(start, len, |of| {
        of.page.store(page, Relaxed);
        of.faulted.store(false, Relaxed);
        of.faults.store(0, Relaxed);
    });
}

/// Marks all entries whose range holds `address`; the addresses that are to be replaced, if there are any.
fn mark(address: usize) -> Option<Range<usize>> {
    let mut found = None;
    for entry in TABLE.rows() {
        let Some((start, len, page)) = entry.covering(address, |of| of.page.load(Relaxed)) else { continue };
        // Before the zeros come, so that whoever reads those can already see that they are not the
        // segment's.
        entry.of.faulted.store(true, Release);
        let from = address & !(page - 1);
        // Each page that is replaced alone splits the mapping, of which there are only so many.
        let many = entry.of.faults.fetch_add(1, Relaxed) >= SINGLE;
        found = Some(from..if many { start + len } else { from + page });
    }
    found
}

/// So many pages of an attachment are replaced one by one; from then on, all that lies behind.
const SINGLE: usize = 64;

/// Who handled the signal before; written once, before the handler is in place.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());
/// The signal that is being passed on to the previous handler (its `siginfo_t`), and how deep in the stack
/// that was done.
static PASSED_ON: AtomicUsize = AtomicUsize::new(0);
static PASSED_AT: AtomicUsize = AtomicUsize::new(0);

/// Puts the handler in place, once.
///
/// Several threads may be here at once, and a fork may come in between: each step can be done again.
fn install() -> Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Acquire) {
        return Ok(());
    }
    if PREVIOUS.load(Acquire).is_null() {
        // SAFETY: all-zero bytes are a valid value of this structure.
        let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks, and the structure outlives the call.
        if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
            return Err(Errno::INVAL);
        }
        if previous.sa_sigaction != handler() {
            let previous = Box::into_raw(Box::new(previous));
            if PREVIOUS.compare_exchange(null_mut(), previous, AcqRel, Relaxed).is_err() {
                // SAFETY: made above, and shown to nobody.
                drop(unsafe { Box::from_raw(previous) });
            }
        }
    }
    // SAFETY: all-zero bytes are a valid value of this structure.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = handler();
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART | libc::SA_NODEFER;
    // SAFETY: the handler is async-signal-safe: it uses atomics and calls `mmap`, `signal`, `raise`,
    // `pthread_sigmask` (all on the list of signal-safety(7), or bare system calls) and the handler that was
    // there before.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, null_mut()) } != 0 {
        return Err(Errno::INVAL);
    }
    INSTALLED.store(true, Release);
    Ok(())
}

/// The handler's address.
fn handler() -> usize {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
    handler as usize
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the address of this thread's `errno` is valid; what was interrupted must find it unchanged.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    /// "Nonexistent physical address", in `asm-generic/siginfo.h`: past the end of the file, or no room.
    const BUS_ADRERR: c_int = 2;
    // SAFETY: the kernel passes a valid structure, and with that code there is an address in it.
    let (fault, address) = unsafe { ((*info).si_code == BUS_ADRERR, (*info).si_addr() as usize) };
    if !(fault && replace_page(address)) {
        pass_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Puts zeros under `address` if a registered range holds it.
fn replace_page(address: usize) -> bool {
    let Some(range) = mark(address) else { return false };
    // SAFETY: the pages lie in a mapping whose owner registered it for this. The first could not be read; those
    // behind it are past the end of the file as well, or belong to a segment that has lost bytes anyway.
    let got = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(range.start),
            range.end - range.start,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    got != libc::MAP_FAILED
}

/// Does what would have been done without this module.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: set before the handler was put in place, and never freed.
    let previous = unsafe { &*PREVIOUS.load(Acquire) };
    let handler = previous.sa_sigaction;
    // A handler that was put in place after ours and passes on to it may send the signal in circles: then
    // the same signal comes again, deeper in the stack. (After a `longjmp` out of a handler, the next one
    // has the same place for its `siginfo_t` only at the same depth.)
    let depth = (&raw const previous).addr();
    let circular = PASSED_ON.load(Relaxed) == info.addr() && depth < PASSED_AT.load(Relaxed);
    if circular || handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // SAFETY: for a fault in this thread the kernel ends the process also where the signal is ignored:
        // with the default action in place, the instruction faults again and does so.
        unsafe {
            if (*info).si_code <= 0 && handler == libc::SIG_IGN {
                return; // merely sent by somebody, and the program does not care
            }
            libc::signal(signal, libc::SIG_DFL);
            if (*info).si_code <= 0 {
                libc::raise(signal);
            }
        }
        return;
    }
    PASSED_AT.store(depth, Relaxed);
    PASSED_ON.store(info.addr(), Relaxed);
    // SAFETY: the program registered this address as its handler of the kind that the flag tells.
    unsafe {
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const previous.sa_mask, &raw mut before);
        if previous.sa_flags & libc::SA_SIGINFO != 0 {
            let call: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = std::mem::transmute(handler);
            call(signal, info, context);
        } else {
            let call: extern "C" fn(c_int) = std::mem::transmute(handler);
            call(signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut());
    }
    PASSED_ON.store(0, Relaxed);
}

/// Runs `start` with all signals blocked in this thread, so that a thread that it starts blocks them for ever.
pub(crate) fn without<T>(start: impl FnOnce() -> T) -> T {
    // SAFETY: all-zero bytes are a valid value of these structures of integers.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both structures outlive the calls, which fill the first and change this thread's mask.
    let changed = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) == 0
    };
    let result = start();
    if changed {
        // SAFETY: the call above filled the structure.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    }
    result
}
