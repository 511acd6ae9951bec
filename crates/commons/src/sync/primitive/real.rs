//! The real thing.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::sync::thread::Record;
use crate::sys::{self, robust};

pub(crate) use crate::segment::registry::{Registered as Home, Seat, find as home};
pub(crate) use crate::sys::futex::{Change, Waited};
pub(crate) use crate::sys::process::image;
pub(crate) use crate::sys::robust::{Head, thread_exists, thread_exists_here};
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};

thread_local! {
    static CURRENT: Cell<*const Record> = const { Cell::new(Record::none()) };
    static HINT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The calling thread's record; [`Record::none`] before its first lock.
#[inline]
pub(crate) fn current() -> *const Record {
    CURRENT.get()
}

pub(crate) fn set_current(record: *const Record) {
    CURRENT.set(record);
}

/// Something that no other thread that lives has.
pub(crate) fn thread_key() -> usize {
    CURRENT.with(|cell| std::ptr::from_ref(cell).addr())
}

/// The kernel's list of the calling thread; registers `own` if there is none.
///
/// # Safety
///
/// `own` stays where it is until the thread has ended.
pub(crate) unsafe fn list_head(own: *mut Head) -> sys::Result<*mut Head> {
    let head = robust::list()?;
    if !head.is_null() {
        return Ok(head);
    }
    // SAFETY: as the caller promises.
    unsafe { robust::set_list(own)? };
    Ok(own)
}

pub(crate) fn thread_id() -> u32 {
    robust::thread_id()
}

/// Whether what it refers to can be reached by other processes; `None` if that cannot be found out.
pub(crate) fn lies_in_shared_memory<T>(object: &T) -> Option<bool> {
    sys::map::is_shared(std::ptr::from_ref(object).addr())
}

/// Sleeps while the word has this value; for `most` at most, if that is given.
pub(crate) fn wait(word: &AtomicU32, value: u32, most: Option<Duration>) -> Waited {
    sys::futex::wait(word, value, most)
}

/// Wakes so many who sleep on the word; how many there were.
pub(crate) fn wake(word: &AtomicU32, most: u32) -> u32 {
    sys::futex::wake(word, most)
}

/// Changes the word and wakes so many who sleep on it, in one step that no death divides; how many there were.
pub(crate) fn change_and_wake(word: &AtomicU32, change: Change, most: u32) -> u32 {
    sys::futex::change_and_wake(word, change, most)
}

/// Sleeps while all words have their values. Where the kernel cannot do that it sleeps on the first, `blind` at most.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], most: Option<Duration>, blind: Duration) -> Waited {
    sys::futex::wait_any(words, most, blind)
}

/// The same with two words, for whom a second death may go unnoticed: see the model's.
pub(crate) fn wait_both(
    first: (&AtomicU32, u32),
    second: (&AtomicU32, u32),
    most: Option<Duration>,
    blind: Duration,
) -> Waited {
    sys::futex::wait_any(&[first, second], most, blind)
}

/// Makes a word 0 that nobody else changes from what it is, but for a bit that may be lost.
#[inline(always)]
pub(crate) fn give_back(word: &AtomicU32) {
    word.store(0, Ordering::Release);
}

/// Clears a word and wakes all who sleep on it, in one step of the kernel's.
pub(crate) fn clear_and_wake_all(word: &AtomicU32) {
    sys::futex::change_and_wake(word, Change::Zero, u32::MAX);
}

/// Whether other processes' [`heavy_barrier`] reaches this process's threads, from now on.
pub(crate) fn hear_barriers() -> bool {
    sys::barrier::register()
}

/// All threads of all processes that hear it have done what comes before it in them, or have not begun what comes after:
/// each passes a full barrier somewhere in this call. `false` if the kernel has no such thing.
pub(crate) fn heavy_barrier() -> bool {
    sys::barrier::all()
}

/// The other half of [`heavy_barrier`]: the compiler, too, leaves what is before it before it.
#[inline(always)]
pub(crate) fn light_barrier() {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// A moment within a loop that waits for another processor.
#[inline]
pub(crate) fn spin() {
    std::hint::spin_loop();
}

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A step at which a modelled thread may die; none here.
#[inline(always)]
pub(crate) fn step() {}

/// What orders a change and a look behind it, both sequentially consistent: nothing more. See the model's.
#[inline(always)]
pub(crate) fn in_order() {}

/// Lets so much time pass.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A number that the calling thread keeps; `usize::MAX` at first.
#[inline]
pub(crate) fn hint() -> usize {
    HINT.get()
}

#[inline]
pub(crate) fn set_hint(hint: usize) {
    HINT.set(hint);
}
