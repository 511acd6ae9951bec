//! This process: its id, its pid namespace, whether it forked, who it runs as.

use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
};

/// How often a fork began or ended, in this process and those that it was forked from.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// How many forks are under way: begun, and the process perhaps copied already, or not yet.
static UNDER_WAY: AtomicU32 = AtomicU32::new(0);
/// This process's id, or 0 when it has not been asked for since the last fork.
static PID: AtomicU32 = AtomicU32::new(0);
/// The inode of the pid namespace, or 0 when it has not been asked for since the last fork.
static NAMESPACE: AtomicU64 = AtomicU64::new(0);

extern "C" fn before_fork() {
    UNDER_WAY.fetch_add(1, SeqCst);
    FORKS.fetch_add(1, SeqCst);
}

extern "C" fn in_parent() {
    FORKS.fetch_add(1, SeqCst);
    // Not below zero, should a C library call this for a fork that it did not announce.
    let _ = UNDER_WAY.fetch_update(SeqCst, SeqCst, |forks| forks.checked_sub(1));
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, SeqCst);
    UNDER_WAY.store(0, SeqCst);
    PID.store(0, Relaxed);
    NAMESPACE.store(0, Relaxed);
    for function in &MORE_IN_CHILD {
        let function = function.load(Relaxed);
        if !function.is_null() {
            // SAFETY: only `in_child_too` stores something here, and that is such a function.
            unsafe { std::mem::transmute::<*mut (), extern "C" fn()>(function)() };
        }
    }
}

/// What else a forked child does; functions, or null.
static MORE_IN_CHILD: [AtomicPtr<()>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// Has forked children call this, too. There are two such functions at most; they may only do what a signal handler
/// may.
pub(crate) fn in_child_too(function: extern "C" fn()) {
    forks(); // so that the handlers are registered
    let function = function as *mut ();
    for place in &MORE_IN_CHILD {
        match place.compare_exchange(std::ptr::null_mut(), function, Relaxed, Relaxed) {
            Err(there) if there != function => {}
            _ => return,
        }
    }
}

/// A word that a forked child finds zero; null until it is asked for.
static WIPED: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// The newest image's number, in this process or those that it was forked from.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// A number that tells this process from all that it was forked from, by `_Fork` too. Costs two loads.
#[inline]
pub(crate) fn image() -> u64 {
    // SAFETY: a non-null pointer is to a word that is never freed.
    let known = unsafe { WIPED.load(Acquire).as_ref() }.map_or(0, |word| word.load(Relaxed));
    if known == 0 { number_image() } else { known }
}

/// Whether this process is the one whose [`image`] said that.
#[inline]
pub(crate) fn image_is(number: u64) -> bool {
    // SAFETY: as in `image`. A forked child finds 0 there until it has asked for its own number, which is another one.
    unsafe { WIPED.load(Acquire).as_ref() }.is_some_and(|word| word.load(Relaxed) == number)
}

#[cold]
fn number_image() -> u64 {
    if WIPED.load(Acquire).is_null() {
        /// Serves where no memory is to be had, or none that the kernel wipes.
        static SPARE: AtomicU64 = AtomicU64::new(0);
        extern "C" fn wipe() {
            SPARE.store(0, Relaxed);
        }
        let word = match super::map::zeroed_in_children(size_of::<AtomicU64>()) {
            Ok((memory, true)) => memory.cast().as_ptr(),
            // What was mapped in vain stays; it is once.
            _ => {
                in_child_too(wipe);
                (&raw const SPARE).cast_mut()
            }
        };
        // Of two threads that do this at once, one has made a page in vain.
        let _ = WIPED.compare_exchange(std::ptr::null_mut(), word, AcqRel, Acquire);
    }
    // SAFETY: not null any more, and never freed.
    let word = unsafe { &*WIPED.load(Acquire) };
    let number = NEWEST.fetch_add(1, Relaxed) + 1;
    match word.compare_exchange(0, number, Relaxed, Relaxed) {
        Ok(_) => number,
        Err(known) => known,
    }
}

/// Whether the handlers are registered.
static WATCHING: AtomicBool = AtomicBool::new(false);

extern "C" fn watch_forks() {
    // SAFETY: the handlers only change atomics, which is fine in any thread and after a fork.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    WATCHING.store(true, Relaxed);
}

/// Runs as the program, or the library that holds this code, is loaded: so that no fork can already be under
/// way when a segment is first used.
///
/// The section holds addresses of functions of this type, to be called once each.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = watch_forks;

/// What [`forks`] says while a fork is under way: equal to no later answer.
pub(crate) const FORKING: u64 = u64::MAX;

/// How many forks there have been; [`FORKING`] if one is under way. Two equal answers, other than that, mean:
/// no `fork` of libc's began or ended in between, so that nothing had since the first is shared with a child.
///
/// A fork behind libc's back (raw `clone`, `_Fork`) is not seen.
#[inline]
pub(crate) fn forks() -> u64 {
    if !WATCHING.load(Relaxed) {
        // Where the loader did not call it. Two threads may both do this, and a fork may come in between: being
        // told twice does no harm, while a `Once` would leave a child for ever waiting for a thread that it
        // does not have.
        watch_forks();
    }
    let forks = FORKS.load(SeqCst);
    if UNDER_WAY.load(SeqCst) == 0 { forks } else { FORKING }
}

/// This process's id in its own pid namespace.
#[inline]
pub(crate) fn id() -> u32 {
    forks(); // so that a child forgets its parent's answer
    match PID.load(Relaxed) {
        0 => {
            let id = std::process::id();
            PID.store(id, Relaxed);
            id
        }
        id => id,
    }
}

/// The inode number of this process's pid namespace; 0 without `/proc`.
#[inline]
pub(crate) fn pid_namespace() -> u64 {
    forks();
    match NAMESPACE.load(Relaxed) {
        0 => {
            let inode = rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino);
            NAMESPACE.store(inode, Relaxed);
            inode
        }
        inode => inode,
    }
}

/// A number that differs from one program image to the next, also after `exec`.
pub(crate) fn random() -> u64 {
    // SAFETY: `getauxval` only reads the process's auxiliary vector.
    let address = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u8; 16];
    if address.is_null() {
        return u64::from(std::process::id());
    }
    // SAFETY: the kernel puts 16 random bytes there for the life of the program image.
    let bytes = unsafe { address.read() };
    u64::from_le_bytes([bytes[1], bytes[3], bytes[5], bytes[7], bytes[9], bytes[11], bytes[13], bytes[15]])
}

/// The monotonic clock in milliseconds, in steps of up to ten: without a system call.
#[inline]
pub(crate) fn milliseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure, which outlives it; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// A moment, to ask later whether it is [recent](is_recent). Costs no system call, and less than a clock.
#[inline]
pub(crate) fn moment() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the processor's counter of time, which every processor of this architecture has.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    milliseconds()
}

/// Whether a moment was within the last milliseconds: ten, more or less. A counter that jumped says no.
#[inline]
pub(crate) fn is_recent(then: u64) -> bool {
    /// Ten milliseconds, at two billion steps a second.
    const STEPS: u64 = if cfg!(target_arch = "x86_64") { 20_000_000 } else { 10 };
    moment().wrapping_sub(then) < STEPS
}

/// The effective user id.
#[inline]
pub(crate) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether the program gained privileges by being executed (set-uid and the like), so that its
/// environment is not to be trusted.
pub(crate) fn is_privileged_by_exec() -> bool {
    // SAFETY: `getauxval` only reads the process's auxiliary vector.
    (unsafe { libc::getauxval(libc::AT_SECURE) }) != 0
}
