//! Futexes: sleeping until a word in shared memory changes, and waking who sleeps.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use super::super::Errno;

/// Why a wait ended. Whichever it is, the caller looks at the word again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Woken, or the word had another value.
    Over,
    /// The time is over, and nobody woke this thread.
    TimedOut,
}

/// Sleeps while the word has this value, for so long at most; woken through any mapping of the same memory.
pub(crate) fn wait(word: &AtomicU32, value: u32, most: Option<Duration>) -> Waited {
    /// As `FUTEX_WAIT`, with a moment instead of a length of time.
    const UNTIL: libc::c_int = libc::FUTEX_WAIT_BITSET;
    let until = most.map(moment);
    let until = until.as_ref().map(|until| libc::timespec {
        tv_sec: libc::time_t::try_from(until.seconds).unwrap_or(libc::time_t::MAX),
        tv_nsec: until.nanoseconds as _,
    });
    let timeout = until.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (nothing, anybody) = (ptr::null::<u32>(), u32::MAX);
    loop {
        // SAFETY: the word and the time live as long as the call; the kernel reads no other memory.
        let slept =
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), UNTIL, value, timeout, nothing, anybody) };
        if slept != -1 {
            return Waited::Over;
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            // On until the same moment: else signals, coming often enough, would put it off for ever.
            Some(Errno::INTR) if most.is_some() => {}
            Some(Errno::TIMEDOUT) => return Waited::TimedOut,
            _ => return Waited::Over,
        }
    }
}

/// Wakes so many of those who sleep on the word, at most; how many there were.
pub(crate) fn wake(word: &AtomicU32, most: u32) -> u32 {
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    // SAFETY: the kernel takes the word's address for a key, and reads or writes no memory.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
    u32::try_from(woken).unwrap_or(0)
}

/// What [`change_and_wake`] does to a word. Each with a power of two, which is what the kernel can be told for words
/// of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The word becomes this.
    Set(u32),
    /// The word becomes 0.
    Zero,
    /// This is added, wrapping around.
    Add(u32),
    /// This bit is set.
    Or(u32),
}

impl Change {
    /// As the kernel is told: `FUTEX_OP` in `futex(2)`.
    fn operation(self) -> u32 {
        let (operation, argument) = match self {
            Change::Set(value) => (libc::FUTEX_OP_SET, value),
            // Without a shift, and 0 for what the word becomes.
            Change::Zero => {
                return (libc::FUTEX_OP_SET as u32) << 28 | (libc::FUTEX_OP_CMP_EQ as u32) << 24 | 1;
            }
            Change::Add(value) => (libc::FUTEX_OP_ADD, value),
            Change::Or(value) => (libc::FUTEX_OP_OR, value),
        };
        debug_assert!(argument.is_power_of_two());
        // The last two say when more are to be woken: if the word was 1. Nobody asks for that; it harms nobody.
        let shifted = operation as u32 | libc::FUTEX_OP_OPARG_SHIFT as u32;
        shifted << 28 | (libc::FUTEX_OP_CMP_EQ as u32) << 24 | argument.trailing_zeros() << 12 | 1
    }

    fn apply(self, word: &AtomicU32) {
        match self {
            Change::Set(value) => word.swap(value, SeqCst),
            Change::Zero => word.swap(0, SeqCst),
            Change::Add(value) => word.fetch_add(value, SeqCst),
            Change::Or(value) => word.fetch_or(value, SeqCst),
        };
    }
}

/// Changes a word and wakes so many of those who sleep on it, in one step of the kernel's: nobody falls asleep in
/// between, and no thread can be killed in between. How many were woken. `SeqCst`.
pub(crate) fn change_and_wake(word: &AtomicU32, change: Change, most: u32) -> u32 {
    let nobody: libc::c_long = 0;
    let some = i32::try_from(most).unwrap_or(i32::MAX);
    // What the kernel does to the word is not known to be ordered with what this thread did before, on every machine. This
    // changes nothing, and the kernel's step follows it in the order of the word's changes: whoever sees that, acquiring,
    // sees all that was done before this. (A fence would do, but sanitizers look at neither fences nor the kernel.)
    word.fetch_or(0, SeqCst);
    // SAFETY: the word lives as long as the call; the kernel changes it atomically, and touches no other memory.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE_OP,
            some,
            nobody,
            word.as_ptr(),
            change.operation(),
        )
    };
    std::sync::atomic::fence(SeqCst);
    u32::try_from(woken).unwrap_or_else(|_| {
        // A system without this call, or without it for this memory: then it takes two steps.
        change.apply(word);
        wake(word, most)
    })
}

/// As many words as [`wait_any`] can be given.
pub(crate) const MOST_WORDS: usize = 64;

/// As the kernel defines it: a word to sleep on, and the value that it has to have.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// The kernel's 64-bit time, on 32 bits too.
#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

/// Sleeps while all words have their values, for so long at most; woken through any of them.
///
/// A kernel before Linux 5.16 cannot do that: there it sleeps on the first word alone, for `blind` at most.
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], most: Option<Duration>, blind: Duration) -> Waited {
    match words.len() {
        0..=2 => wait_any_of::<2>(words, most, blind),
        _ => wait_any_of::<MOST_WORDS>(words, most, blind),
    }
}

fn wait_any_of<const MOST: usize>(
    words: &[(&AtomicU32, u32)],
    most: Option<Duration>,
    blind: Duration,
) -> Waited {
    /// A word of 32 bits, which processes share.
    const FLAGS: u32 = 2;
    let Some(&(first, value)) = words.first() else { return Waited::Over };
    let none = Waiter { value: 0, address: 0, flags: FLAGS, reserved: 0 };
    let mut waiters = [none; MOST];
    for (waiter, (word, value)) in waiters.iter_mut().zip(words) {
        *waiter =
            Waiter { value: (*value).into(), address: word.as_ptr().expose_provenance() as u64, ..none };
    }
    let until = most.map(moment);
    let until = until.as_ref().map_or(ptr::null(), ptr::from_ref);
    loop {
        // SAFETY: the words, the list of them and the time live as long as the call; the kernel reads no other memory.
        let slept = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waiters.as_ptr(),
                words.len().min(MOST),
                0,
                until,
                libc::CLOCK_MONOTONIC,
            )
        };
        if slept >= 0 {
            return Waited::Over;
        }
        return match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::INTR) if most.is_some() => continue,
            Some(Errno::TIMEDOUT) => Waited::TimedOut,
            Some(Errno::AGAIN | Errno::INTR) => Waited::Over,
            _ => wait(first, value, Some(most.map_or(blind, |most| most.min(blind)))),
        };
    }
}

/// So long from now, on the monotonic clock.
fn moment(most: Duration) -> Time {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time to a variable that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    #[allow(clippy::unnecessary_cast, reason = "not everywhere of 64 bits")]
    let nanoseconds = now.tv_nsec as i64 + i64::from(most.subsec_nanos());
    let seconds = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
    #[allow(clippy::unnecessary_cast, reason = "not everywhere of 64 bits")]
    let seconds = seconds.saturating_add(now.tv_sec as i64).saturating_add(nanoseconds / 1_000_000_000);
    Time { seconds, nanoseconds: nanoseconds % 1_000_000_000 }
}

#[cfg(all(test, not(commons_model)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_changed_whether_or_not_anybody_sleeps() {
        for (change, before, after) in [
            (Change::Set(1 << 30), 1 << 31, 1 << 30),
            (Change::Zero, 1 << 31 | 5, 0),
            (Change::Add(1), 7, 8),
            (Change::Add(1), u32::MAX, 0),
            (Change::Or(1 << 31), 5, 1 << 31 | 5),
        ] {
            let word = AtomicU32::new(before);
            assert_eq!(change_and_wake(&word, change, u32::MAX), 0);
            assert_eq!(word.load(SeqCst), after, "{change:?}");
        }
    }

    #[test]
    fn who_sleeps_on_several_words_is_woken_through_any_and_not_let_to_sleep_on_a_changed_one() {
        let words = [const { AtomicU32::new(1) }; 3];
        let all = words.each_ref().map(|word| (word, 1));
        let short = Duration::from_millis(20);
        assert_eq!(wait_any(&all, Some(short), short), Waited::TimedOut);
        for word in &words {
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| wait_any(&all, None, short));
                while wake(word, 1) == 0 {
                    std::thread::yield_now();
                }
                assert_eq!(sleeper.join().unwrap(), Waited::Over);
            });
        }
        words[2].store(2, SeqCst);
        assert_eq!(wait_any(&all, None, short), Waited::Over);
    }
}
