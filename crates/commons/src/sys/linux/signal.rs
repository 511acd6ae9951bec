//! Catching `SIGBUS` in address ranges that were registered.
//!
//! Touching a mapping past the end of its file, or a hole for which there is no room, is `SIGBUS`. The
//! handler here looks whether the address lies in a registered range; if so it puts a private page of
//! zeros there, marks the range, and lets the instruction run again. All other faults go on to whoever
//! handled the signal before.
//!
//! # The table
//!
//! A list of blocks of entries that only ever grows, read by the handler without locks. An entry's
//! `version` is odd while it changes; the handler takes an entry only if the version was even and the
//! same before and after it read the range. An entry that a thread's own access relies on cannot change
//! meanwhile, since its owner borrows the attachment: what the handler may meet half-written are other
//! threads' entries, and those it skips.

use std::ffi::{c_int, c_void};
use std::ptr::{self, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use super::super::{Errno, Result};

const ENTRIES: usize = 64;

struct Entry {
    version: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    /// Bytes in a page of this mapping.
    page: AtomicUsize,
    faulted: AtomicBool,
}

impl Entry {
    const fn new() -> Entry {
        Entry {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            page: AtomicUsize::new(0),
            faulted: AtomicBool::new(false),
        }
    }
}

struct Block {
    entries: [Entry; ENTRIES],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Block {
        Block { entries: [const { Entry::new() }; ENTRIES], next: AtomicPtr::new(null_mut()) }
    }
}

static FIRST: Block = Block::new();
/// Entries that nobody uses, and whoever changes the table holds it. The handler never does.
static FREE: Mutex<Vec<&'static Entry>> = Mutex::new(Vec::new());

/// A registered range; no longer registered once dropped.
pub(crate) struct Guarded(&'static Entry);

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("faulted", &self.faulted()).finish()
    }
}

impl Guarded {
    /// Whether a fault was caught in the range since it was registered.
    pub(crate) fn faulted(&self) -> bool {
        self.0.faulted.load(Relaxed)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        write(self.0, 0, 0, 0);
        FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(self.0);
    }
}

/// Registers `start .. start + len`, mapped in pages of `page` bytes.
pub(crate) fn guard(start: usize, len: usize, page: usize) -> Result<Guarded> {
    let mut free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    install()?;
    if free.is_empty() {
        let block = if FIRST.entries[0].version.load(Relaxed) == 0 { &FIRST } else { append() };
        free.extend(block.entries.iter().rev());
    }
    let Some(entry) = free.pop() else { return Err(Errno::NOMEM) };
    write(entry, start, len, page);
    Ok(Guarded(entry))
}

fn append() -> &'static Block {
    let block: &'static Block = Box::leak(Box::new(Block::new()));
    let mut last = &FIRST;
    // SAFETY: a non-null `next` points to a leaked block.
    while let Some(next) = unsafe { last.next.load(Acquire).as_ref() } {
        last = next;
    }
    last.next.store(ptr::from_ref(block).cast_mut(), Release);
    block
}

fn write(entry: &Entry, start: usize, len: usize, page: usize) {
    let version = entry.version.load(Relaxed);
    entry.version.store(version.wrapping_add(1), Relaxed);
    fence(Release);
    entry.start.store(start, Relaxed);
    entry.len.store(len, Relaxed);
    entry.page.store(page, Relaxed);
    entry.faulted.store(false, Relaxed);
    entry.version.store(version.wrapping_add(2), Release);
}

/// The entry whose range holds `address`, with the address of the page around it and that page's size.
fn find(address: usize) -> Option<(&'static Entry, usize, usize)> {
    let mut block = Some(&FIRST);
    while let Some(now) = block {
        for entry in &now.entries {
            let version = entry.version.load(Acquire);
            let (start, len, page) =
                (entry.start.load(Relaxed), entry.len.load(Relaxed), entry.page.load(Relaxed));
            fence(Acquire);
            let steady = version % 2 == 0 && entry.version.load(Relaxed) == version;
            if steady && page != 0 && address.wrapping_sub(start) < len {
                return Some((entry, address & !(page - 1), page));
            }
        }
        // SAFETY: a non-null `next` points to a leaked block.
        block = unsafe { now.next.load(Acquire).as_ref() };
    }
    None
}

/// Who handled the signal before; written once, before the handler is in place.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());
/// The signal that is being passed on to the previous handler (its `siginfo_t`), and how deep in the stack
/// that was done.
static PASSED_ON: AtomicUsize = AtomicUsize::new(0);
static PASSED_AT: AtomicUsize = AtomicUsize::new(0);

fn install() -> Result<()> {
    if !PREVIOUS.load(Acquire).is_null() {
        return Ok(());
    }
    // SAFETY: all-zero bytes are a valid value of this structure.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only asks, and the structure outlives the call.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
        return Err(Errno::INVAL);
    }
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Release);
    // SAFETY: as above.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
    ours.sa_sigaction = handler as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART | libc::SA_NODEFER;
    // SAFETY: the handler is async-signal-safe: it reads atomics and calls `mmap`, `gettid`, `sigaction`
    // and the handler that was there before.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, null_mut()) } != 0 {
        return Err(Errno::INVAL);
    }
    Ok(())
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the address of this thread's `errno` is valid; what was interrupted must find it unchanged.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *errno };
    // SAFETY: the kernel passes a valid structure. Only faults (positive codes) have an address in it.
    let (fault, address) = unsafe { ((*info).si_code > 0, (*info).si_addr() as usize) };
    if !(fault && replace_page(address)) {
        pass_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

/// Puts zeros under `address` if a registered range holds it.
fn replace_page(address: usize) -> bool {
    let Some((entry, page, len)) = find(address) else { return false };
    // Set first, so that whoever reads the zeros can already see that they are not the segment's.
    entry.faulted.store(true, Release);
    // SAFETY: the page lies in a mapping whose owner registered it, and whose bytes could not be read: it
    // holds nothing that anybody could lose.
    let got = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(page),
            len,
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
