//! A model checker's atomics and threads, and a model of the two things of the kernel's that locks rest on: futexes,
//! and the walk along the list of held locks when a thread ends.
//!
//! Under shuttle a thread that was made [`mortal`] may end at any step: before any access to a word, and between any
//! two changes of its list. Then the kernel's walk is done, as the real one does it, and the thread never goes on.
//! [`Fate::Stops`] leaves out the walk: the process is stopped, not dead.
//!
//! Each thread is a process, too: it has a [`Seat`], unless it is [`homeless`], and the seat is free when it has died.
//! Nothing times out, but for this: whoever sleeps with a limit is woken, as one whose time is over, after each death.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};
use std::sync::{Arc, LazyLock, Mutex as StdMutex};
use std::time::{Duration, Instant};

#[cfg(commons_loom)]
use loom as checker;
#[cfg(commons_shuttle)]
use shuttle as checker;

use crate::sync::thread::Record;
use crate::sync::word::{OWNER, OWNER_DIED, WAITERS};
use crate::sys;

pub(crate) use crate::sys::futex::{Change, Waited};
pub(crate) use crate::sys::robust::Head;
pub(crate) use checker::sync::atomic::fence;

use super::Ordering;

macro_rules! atomic {
    ($name:ident, $inner:path, $int:ty) => {
        /// An atomic each access to which is a step.
        #[derive(Debug)]
        pub(crate) struct $name($inner);

        #[allow(dead_code, reason = "not all locks use all of them")]
        impl $name {
            pub(crate) fn new(value: $int) -> Self {
                $name(<$inner>::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $int {
                if is_over() {
                    return 0;
                }
                step();
                #[cfg(commons_loom)]
                in_order::before_load(ordering);
                self.0.load(ordering)
            }

            pub(crate) fn store(&self, value: $int, ordering: Ordering) {
                if is_over() {
                    return;
                }
                step();
                self.0.store(value, ordering);
            }

            pub(crate) fn swap(&self, value: $int, ordering: Ordering) -> $int {
                if is_over() {
                    return 0;
                }
                step();
                self.0.swap(value, ordering)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                if is_over() {
                    return Ok(current);
                }
                step();
                #[cfg(commons_loom)]
                in_order::before_exchange(success);
                self.0.compare_exchange(current, new, success, failure)
            }

            /// Never fails for no reason: that would only be one more turn of the loop around it.
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.compare_exchange(current, new, success, failure)
            }

            pub(crate) fn fetch_or(&self, value: $int, ordering: Ordering) -> $int {
                if is_over() {
                    return 0;
                }
                step();
                self.0.fetch_or(value, ordering)
            }

            pub(crate) fn fetch_and(&self, value: $int, ordering: Ordering) -> $int {
                if is_over() {
                    return 0;
                }
                step();
                self.0.fetch_and(value, ordering)
            }

            pub(crate) fn fetch_add(&self, value: $int, ordering: Ordering) -> $int {
                if is_over() {
                    return 0;
                }
                step();
                self.0.fetch_add(value, ordering)
            }

            pub(crate) fn fetch_sub(&self, value: $int, ordering: Ordering) -> $int {
                if is_over() {
                    return 0;
                }
                step();
                self.0.fetch_sub(value, ordering)
            }
        }
    };
}
atomic!(AtomicU32, checker::sync::atomic::AtomicU32, u32);
atomic!(AtomicU64, checker::sync::atomic::AtomicU64, u64);

/// Loom takes `SeqCst` for `AcqRel`, except in fences. What it is used for here is that of two threads, each of which
/// writes one word and then looks at the other's, at least one sees the other; so a fence is put where a thread that did
/// the one in order does the other in order.
#[cfg(commons_loom)]
mod in_order {
    use super::{Cell, Ordering, checker, fence};

    checker::thread_local! {
        static EXCHANGED: Cell<bool> = Cell::new(false);
    }

    pub(super) fn before_exchange(ordering: Ordering) {
        EXCHANGED.with(|exchanged| exchanged.set(ordering == Ordering::SeqCst));
    }

    pub(super) fn before_load(ordering: Ordering) {
        if ordering == Ordering::SeqCst && EXCHANGED.with(Cell::get) {
            fence(Ordering::SeqCst);
        }
    }
}

checker::thread_local! {
    static CURRENT: Cell<*const Record> = Cell::new(Record::none());
    static ID: Cell<u32> = Cell::new(0);
    static MORTAL: Cell<Option<(Fate, u32)>> = Cell::new(None);
    /// How many deaths there had been when the thread's time was over last.
    static LOOKED: Cell<u32> = Cell::new(0);
}

/// Whether the thread is only being cleared away, at the end of an execution or after a failure: then destructors run
/// that would never run in a thread that died, and they may do nothing.
fn is_over() -> bool {
    std::thread::panicking()
}

/// The next thread's id; begins anew with each execution.
static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

/// To be called at the beginning of each execution.
pub(crate) fn begin() {
    NEXT.store(1, StdOrdering::Relaxed);
    sleepers().clear();
    dead().clear();
    STOPS.store(0, StdOrdering::Relaxed);
    HOMELESS.store(false, StdOrdering::Relaxed);
}

pub(crate) fn current() -> *const Record {
    if is_over() {
        return Record::none();
    }
    CURRENT.with(Cell::get)
}

pub(crate) fn set_current(record: *const Record) {
    CURRENT.with(|current| current.set(record));
}

pub(crate) fn thread_key() -> usize {
    thread_id() as usize
}

pub(crate) unsafe fn list_head(own: *mut Head) -> sys::Result<*mut Head> {
    Ok(own)
}

pub(crate) fn thread_id() -> u32 {
    ID.with(|id| {
        if id.get() == 0 {
            id.set(NEXT.fetch_add(1, StdOrdering::Relaxed));
        }
        id.get()
    })
}

#[cfg(commons_loom)]
loom::lazy_static! {
    static ref BUCKET: loom::sync::atomic::AtomicUsize = loom::sync::atomic::AtomicUsize::new(0);
}

/// The lock of the kernel's under which it looks at a word, puts somebody to sleep and wakes: what was done before it is
/// seen by whoever comes to it later.
fn bucket() {
    #[cfg(commons_loom)]
    BUCKET.fetch_add(1, Ordering::AcqRel);
}

/// Whoever sleeps on a word, by its address, the longest first.
type Sleepers = HashMap<usize, VecDeque<Arc<Sleeper>>>;

struct Sleeper {
    thread: checker::thread::Thread,
    woken: AtomicBool,
    /// Whether it sleeps with a limit.
    limited: bool,
    /// Whether it looks again after a second death.
    looks_again: bool,
    timed_out: AtomicBool,
}

fn sleepers() -> std::sync::MutexGuard<'static, Sleepers> {
    static SLEEPERS: LazyLock<StdMutex<Sleepers>> = LazyLock::new(Default::default);
    // One thread runs at a time, and none lets another run with this locked: it is never waited for.
    SLEEPERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn wait(word: &AtomicU32, value: u32, most: Option<Duration>) -> Waited {
    if is_over() {
        return Waited::Over;
    }
    let limited = most.is_some();
    bucket();
    // The kernel looks at the newest value, and puts the thread among the sleepers in the same step.
    if word.fetch_or(0, Ordering::SeqCst) != value {
        return Waited::Over;
    }
    if limited && is_late() {
        return Waited::TimedOut;
    }
    let sleeper = Arc::new(Sleeper {
        thread: checker::thread::current(),
        woken: AtomicBool::new(false),
        limited,
        looks_again: false,
        timed_out: AtomicBool::new(false),
    });
    sleepers().entry(std::ptr::from_ref(word).addr()).or_default().push_back(sleeper.clone());
    while !sleeper.woken.load(StdOrdering::Relaxed) {
        step();
        checker::thread::park();
    }
    bucket();
    step();
    if sleeper.timed_out.load(StdOrdering::Relaxed) && is_late() { Waited::TimedOut } else { Waited::Over }
}

pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], _: Option<Duration>, _: Duration) -> Waited {
    wait_for(words, false)
}

/// Whoever sleeps so looks again after a second death, and each one after that, as in what ships it does when a while
/// has passed: one death never costs a wake-up, two within the same few instructions may.
pub(crate) fn wait_both(
    first: (&AtomicU32, u32),
    second: (&AtomicU32, u32),
    _: Option<Duration>,
    _: Duration,
) -> Waited {
    wait_for(&[first, second], true)
}

fn wait_for(words: &[(&AtomicU32, u32)], looks_again: bool) -> Waited {
    if is_over() {
        return Waited::Over;
    }
    let sleeper = Arc::new(Sleeper {
        thread: checker::thread::current(),
        woken: AtomicBool::new(false),
        limited: false,
        looks_again,
        timed_out: AtomicBool::new(false),
    });
    bucket();
    // The kernel looks at one word after the other, and puts the thread among its sleepers in the same step.
    let asleep = words.iter().all(|(word, value)| {
        let same = word.fetch_or(0, Ordering::SeqCst) == *value;
        if same {
            sleepers().entry(std::ptr::from_ref(*word).addr()).or_default().push_back(sleeper.clone());
        }
        same
    });
    while asleep && !sleeper.woken.load(StdOrdering::Relaxed) {
        step();
        checker::thread::park();
    }
    bucket();
    step();
    // Until now it was a sleeper on the other words, and whoever wakes one may have chosen it there.
    for queue in sleepers().values_mut() {
        queue.retain(|other| !Arc::ptr_eq(other, &sleeper));
    }
    Waited::Over
}

/// Whether somebody died since the thread's time was over last.
fn is_late() -> bool {
    let deaths = dead().len() as u32;
    LOOKED.with(|looked| looked.replace(deaths)) != deaths
}

/// The ids of the threads that died.
fn dead() -> std::sync::MutexGuard<'static, Vec<u32>> {
    static DEAD: StdMutex<Vec<u32>> = StdMutex::new(Vec::new());
    // As for the sleepers.
    DEAD.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many threads have died.
#[cfg(commons_shuttle)]
pub(crate) fn deaths() -> u32 {
    dead().len() as u32
}

/// Whether the thread of this id has died.
#[cfg(commons_shuttle)]
pub(crate) fn is_dead(id: u32) -> bool {
    dead().contains(&id)
}

/// How many threads have been stopped.
#[cfg(commons_shuttle)]
pub(crate) fn stops() -> u32 {
    STOPS.load(StdOrdering::Relaxed)
}

static STOPS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// A dead thread's seat is free, and the time of all who sleep with a limit is over.
#[cfg(commons_shuttle)]
fn bury() {
    dead().push(thread_id());
    let again = deaths() > 1;
    let mut late = Vec::new();
    for queue in sleepers().values_mut() {
        let over = |sleeper: &Arc<Sleeper>| sleeper.limited || again && sleeper.looks_again;
        let (over, on) = queue.drain(..).partition(over);
        late.extend::<VecDeque<_>>(over);
        *queue = on;
    }
    for sleeper in late {
        sleeper.timed_out.store(true, StdOrdering::Relaxed);
        sleeper.woken.store(true, StdOrdering::Relaxed);
        sleeper.thread.unpark();
    }
}

static HOMELESS: AtomicBool = AtomicBool::new(false);

/// No object lies in a segment, for the rest of this execution.
pub(crate) fn homeless() {
    HOMELESS.store(true, StdOrdering::Relaxed);
}

/// The segment that an object lies in.
#[derive(Clone, Copy)]
pub(crate) struct Home<'o>(std::marker::PhantomData<&'o ()>);

/// What is free when the thread is no more.
#[derive(Debug)]
pub(crate) struct Seat(u32);

pub(crate) fn home<T: ?Sized>(_: &T) -> Option<Home<'_>> {
    (!HOMELESS.load(StdOrdering::Relaxed)).then_some(Home(std::marker::PhantomData))
}

impl<'o> Home<'o> {
    pub(crate) fn seat(&self) -> Option<&'o Seat> {
        // Leaked: a few bytes each time.
        Some(Box::leak(Box::new(Seat(thread_id()))))
    }

    pub(crate) fn look(&self) -> Option<Look> {
        Some(Look)
    }
}

impl Seat {
    pub(crate) fn number(&self) -> u64 {
        self.0.into()
    }

    pub(crate) fn image(&self) -> u64 {
        self.0.into()
    }
}

/// What tells the calling process from others.
pub(crate) fn image() -> u64 {
    thread_id().into()
}

pub(crate) struct Look;

impl Look {
    pub(crate) fn alive(&self, number: u64) -> Option<bool> {
        step();
        Some(!dead().iter().any(|dead| u64::from(*dead) == number))
    }
}

/// Loom takes sequentially consistent accesses for acquire and release only; its fences are what they should be.
pub(crate) fn in_order() {
    #[cfg(commons_loom)]
    fence(Ordering::SeqCst);
}

pub(crate) fn thread_exists(_: u32) -> bool {
    true
}

pub(crate) fn thread_exists_here(_: u32) -> bool {
    true
}

pub(crate) fn lies_in_shared_memory<T>(_: &T) -> Option<bool> {
    Some(true)
}

pub(crate) fn pause(_: Duration) {
    checker::thread::yield_now();
}

/// Always the same, so that threads meet.
pub(crate) fn hint() -> usize {
    0
}

pub(crate) fn set_hint(_: usize) {}

pub(crate) fn wake(word: &AtomicU32, most: u32) -> u32 {
    if is_over() {
        return 0;
    }
    // Nothing is read here; but others may act before the kernel does.
    #[cfg(commons_shuttle)]
    word.load(Ordering::Relaxed);
    step();
    wake_now(word, most)
}

pub(crate) fn change_and_wake(word: &AtomicU32, change: Change, most: u32) -> u32 {
    if is_over() {
        return 0;
    }
    match change {
        Change::Set(value) => word.swap(value, Ordering::SeqCst),
        Change::Zero => word.swap(0, Ordering::SeqCst),
        Change::Add(value) => word.fetch_add(value, Ordering::SeqCst),
        Change::Or(value) => word.fetch_or(value, Ordering::SeqCst),
    };
    wake_now(word, most)
}

/// A store; for loom an exchange. It lets another thread's exchange find what a store has replaced already, and then takes
/// that exchange for the later of the two, which no machine does.
pub(crate) fn give_back(word: &AtomicU32) {
    #[cfg(commons_loom)]
    word.swap(0, Ordering::Release);
    #[cfg(not(commons_loom))]
    word.store(0, Ordering::Release);
}

pub(crate) fn clear_and_wake_all(word: &AtomicU32) {
    change_and_wake(word, Change::Zero, u32::MAX);
}

pub(crate) fn hear_barriers() -> bool {
    true
}

/// Shuttle's threads see all in order; loom needs a fence on both sides.
pub(crate) fn heavy_barrier() -> bool {
    #[cfg(commons_loom)]
    fence(Ordering::SeqCst);
    step();
    true
}

pub(crate) fn light_barrier() {
    #[cfg(commons_loom)]
    fence(Ordering::SeqCst);
}

/// Without a step in which anything else could happen.
fn wake_now(word: &AtomicU32, most: u32) -> u32 {
    bucket();
    let address = std::ptr::from_ref(word).addr();
    let mut woken = 0;
    while woken < most {
        let Some(sleeper) = sleepers().get_mut(&address).and_then(VecDeque::pop_front) else { break };
        sleeper.woken.store(true, StdOrdering::Relaxed);
        sleeper.thread.unpark();
        woken += 1;
    }
    woken
}

pub(crate) fn spin() {
    checker::hint::spin_loop();
}

pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What may happen to a thread at any step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "loom's threads live")]
pub(crate) enum Fate {
    /// It is killed.
    Dies,
    /// It is stopped for ever.
    Stops,
}

/// From now on the calling thread may meet its fate at any step, once in so many. Whoever spawned it must not join it.
#[cfg(commons_shuttle)]
pub(crate) fn mortal(fate: Fate, once_in: u32) {
    MORTAL.with(|mortal| mortal.set(Some((fate, once_in))));
}

/// No longer.
#[cfg(commons_shuttle)]
pub(crate) fn immortal() {
    MORTAL.with(|mortal| mortal.set(None));
}

#[cfg(commons_loom)]
pub(crate) fn step() {}

#[cfg(commons_shuttle)]
pub(crate) fn step() {
    use shuttle::rand::Rng;
    if is_over() {
        return;
    }
    let Some((fate, once_in)) = MORTAL.with(Cell::get) else { return };
    if shuttle::rand::thread_rng().gen_range(0..once_in) != 0 {
        return;
    }
    immortal();
    match fate {
        Fate::Dies => end(),
        Fate::Stops => drop(STOPS.fetch_add(1, StdOrdering::Relaxed)),
    }
    loop {
        shuttle::thread::park();
    }
}

/// What the kernel does as a thread ends: `exit_robust_list` and `handle_futex_death` in its `kernel/futex/core.c`.
#[cfg(commons_shuttle)]
fn end() {
    // SAFETY: records are never freed.
    let record = unsafe { &*current() };
    forget_sleeper();
    // The locks before the slot, as a process ends.
    walk(record);
    bury();
}

#[cfg(commons_shuttle)]
fn walk(record: &Record) {
    let Some(list) = record.as_the_kernel_sees_it() else { return };
    for (node, pending) in list {
        let word = node.wrapping_add_signed(crate::sync::word::Word::OFFSET);
        // SAFETY: the nodes in a modelled list are those of words that the test's threads share, and keep.
        let word = unsafe { &*std::ptr::with_exposed_provenance::<AtomicU32>(word) };
        loop {
            let seen = word.load(Ordering::SeqCst);
            if pending && seen & OWNER == 0 {
                wake(word, 1);
                break;
            }
            if seen & OWNER != record.id() {
                break;
            }
            let marked = seen & WAITERS | OWNER_DIED;
            if word.compare_exchange(seen, marked, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                if seen & WAITERS != 0 {
                    wake(word, 1);
                }
                break;
            }
        }
    }
}

/// A killed thread no longer sleeps, so that no wake-up is spent on it from now on.
#[cfg(commons_shuttle)]
fn forget_sleeper() {
    let me = shuttle::thread::current().id();
    for queue in sleepers().values_mut() {
        queue.retain(|sleeper| sleeper.thread.id() != me);
    }
}
