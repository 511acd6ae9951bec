//! The word that every lock here is made of: taken by one thread, given back by the kernel if that dies.
//!
//! # Layout
//!
//! | bytes    | what                                                                                         |
//! | -------- | -------------------------------------------------------------------------------------------- |
//! | 0 to 3   | the word: in its low 30 bits the owner's thread id, above them `OWNER_DIED` and `WAITERS`    |
//! | 4 to 7   | flags, for whoever builds on it; `UNRECOVERABLE` is the lowest bit                           |
//! | 8 to 11  | `sleepers`: 0, or the id of whoever asked last to be woken, and `READY` when that is sure    |
//! | 12 to 15 | `eager`: 0, or the id of a thread that looks at the word all the time, to have it next       |
//! | 16 to 19 | [`place`](super::place): 0, or what is known of memory that may be one process's alone       |
//! | 20 to 23 | the node of the kernel's list in a 32-bit process                                            |
//! | 32 to 39 | the node in a 64-bit process                                                                 |
//!
//! All zero is free. Word and node are as far apart as in glibc's `pthread_mutex_t`, since one distance holds for
//! all locks in a thread's list.
//!
//! # States
//!
//! | word                       | means                                                                          |
//! | -------------------------- | ------------------------------------------------------------------------------ |
//! | `0`                        | free                                                                           |
//! | `id`                       | taken                                                                          |
//! | `id + WAITERS`             | taken, and somebody may be asleep: the kernel wakes one if the owner ends      |
//! | `OWNER_DIED` (+ `WAITERS`) | free; the owner died, or gave it up unmended (then `UNRECOVERABLE` is set)     |
//!
//! | from                  | to                       | by                                                             |
//! | --------------------- | ------------------------ | -------------------------------------------------------------- |
//! | `0`                   | `id`                     | who takes it; `id + WAITERS` if it has slept                   |
//! | `id`                  | `id + WAITERS`           | who is about to sleep; who took it and finds `sleepers` not 0  |
//! | `id (+ WAITERS)`      | `0`, or `OWNER_DIED`     | who gives it back, in order or unmended                        |
//! | `OWNER_DIED…`         | `id (+ WAITERS)`         | who takes it; with `WAITERS` if it was there or it has slept   |
//! | `id (+ WAITERS)`      | `OWNER_DIED (+ WAITERS)` | the kernel as the owner ends; it then wakes one                |
//! | `id (+ WAITERS)`      | `OWNER_DIED + WAITERS`   | who finds that the owner is no more ([`owner`]), or takes it from one by force |
//! | `id (+ WAITERS)`      | `0 (+ WAITERS)`          | who gives it back and wakes nobody: a place in a barrier       |
//!
//! A `WAITERS` without an owner is kept by whoever takes it, and goes when that one gives it back.
//!
//! # Giving back is a store
//!
//! An exchange costs as much as all the rest of taking and giving back. So the owner, if the word is its id and nothing
//! else, stores 0, and then looks at `sleepers`, without a barrier in between: its processor may look before others see the store. Who is about to sleep
//! makes up for that. It puts its id into `sleepers`, has the kernel put a barrier into every running thread of every
//! process that has taken a lock (`membarrier(2)`; a thread that does not run passed one when it stopped), and only then sets
//! `READY`, looks at the word, and sleeps. The barrier falls somewhere into the owner's program. If behind its store,
//! then the sleeper sees the word free, and does not sleep. If before it, then the look at `sleepers` comes after the
//! barrier too, and finds the id. Which of the two, does not matter.
//!
//! The store may wipe out a `WAITERS` that was set an instant ago: that bit is for the kernel alone, in case the owner
//! ends. Who gives back goes by `sleepers`. Whoever takes the word looks there too, and sets the bit again.
//!
//! `READY` is set by compare-and-swap from the own id: whoever finds 0 there begins anew with a barrier of its own, and
//! whoever finds another's id sleeps for a millisecond at most, after which that one will be done. So `READY` is never set on
//! the strength of a barrier that came before somebody cleared it, and of several that ask at once none waits for long.
//!
//! Where the kernel has no such barrier, for the owner's process, the owner uses a fence; for the sleeper's, it sleeps for
//! a millisecond at most. And the kernel's barrier has a hole: a processor that last ran the owner's process before that
//! registered, and nothing but its own idle loop since, is left out. (Linux keeps a note for each processor, and brings it up
//! to date when another process's memory is loaded there.) The owner's store would have to stay in its processor's buffer for
//! longer than the sleeper's whole call into the kernel takes; not seen, and not ruled out. So the first sleep behind an own
//! barrier, too, is for a millisecond at most, by which time the store is out.
//!
//! # Why no wake-up is lost
//!
//! Whoever is asleep for more than a millisecond sleeps on two words at once: the lock's, while it has an owner and
//! `WAITERS`, and `sleepers`, while that is what it saw, with `READY`. So as long as anybody is asleep, `sleepers` is not 0:
//! it is cleared in one step of the kernel's together with everybody's sleep (`FUTEX_WAKE_OP`), by who has given the lock
//! back, and has woken nobody, or all. And as long as it is not 0, whoever gives the lock back wakes one (or all, or leaves
//! the lock to somebody who will, as is said below). Who was woken takes the lock, with `WAITERS`, or finds it taken, sees to
//! the bit, and sleeps again; or its time is over, and it leaves `sleepers` as they are.
//!
//! A woken waiter that is killed before it takes the lock would swallow that wake-up. But all the while it waits,
//! `pending` in the head of its list names this lock, and the kernel, finding the lock so named without an owner,
//! wakes one more. If it has an owner by then, that one will find `sleepers` not 0, and wake one.
//!
//! Where the kernel cannot let a thread sleep on two words (before Linux 5.16), it sleeps on the lock's alone, for 50 ms
//! at most: somebody can have cleared `sleepers` meanwhile.
//!
//! # Leaving it to others
//!
//! An owner that gives the lock back and takes it again at once does so within its own cache: another processor that looks
//! at the word, however often, finds it taken. So who has looked in vain for a microsecond puts its id into `eager` and
//! looks on for a while; whoever gives the lock back and sees that leaves the lock alone until somebody has it who will see
//! to the sleepers, or for a while at most. Nothing rests on it but the length of waits: the id may be overwritten, be that of a dead thread, or
//! stay behind, at the cost of one such while. Who has left the lock to somebody need not wake anybody if that one has
//! set `WAITERS`, or there are no sleepers: it will find them when it gives the lock back, or the kernel will.
//!
//! # Why a crash between any two steps is safe
//!
//! Taking: before the compare-and-swap nothing has changed; after it, `pending` or the list tells the kernel. `pending`
//! does not go on naming a lock once that is in the list: the kernel would leave it out in its walk and look at it only
//! after that, which it does not come to if a neighbour has cut the list further down.
//! Giving back: until the store the word has the owner's id, and `pending` tells the kernel to mark it; after it the lock
//! is free, and should the wake-up not have been sent, the kernel sends it, since `pending` names a lock without an owner.
//! If another has taken it by then, that one sends it when it gives the lock back, or, having set `WAITERS`, when it ends.
//! Asking to be woken: `sleepers` without a sleeper costs whoever gives the lock back next a call that wakes nobody.
//!
//! *Two* deaths can put a wake-up off: a thread dies after its store and before it wakes, and another that took the lock in
//! that instant dies before it has set `WAITERS`, within some nanoseconds each. Whoever is asleep then finds the lock free
//! when it looks by itself, 50 ms to a second later.
//!
//! # The race at giving back
//!
//! Between the store and the clearing of `pending` the lock may be another's already, and even its memory
//! another object's. If the thread dies just then, the kernel looks at the word: were it to hold this thread's id *as
//! data of that other object*, the kernel would take it for a lock and mark it. In this process nobody can unmap or
//! reuse the memory in between, since the thread still borrows the lock. Another process can, if it gives the segment
//! a new layout while others use the old one, or if the file's bytes are reused; it takes a thread that is killed
//! within some nanoseconds, and a word of data that happens to be its id. glibc's mutexes have the same race; the
//! kernel offers no way without it, short of a call for each lock.
//!
//! The same holds for `sleepers` and `eager`, which are looked at, and set to 0, after the lock was given back. Who gives
//! the bytes of a lock to another object while some process may still be giving it back can lose what stands there.
//!
//! And if somebody takes the lock from a living owner by force, in the instant between that one's look at the word and its
//! store, the store frees the lock of whoever has it by then.
//!
//! # What a wrong word does
//!
//! Others may write anything, at any time. A word that names an owner which is not there is found out ([`owner`]) where
//! that can be told, and waited for elsewhere, a word that was changed while this thread had the lock is left as it is found, and the node is never
//! read. A wrong `sleepers` puts wake-ups off until the sleepers look by themselves, 50 ms to a second later; a wrong `eager`
//! costs whoever gives the lock back some microseconds.

use std::ptr;
use std::time::Duration;

use super::backoff::{Backoff, Deadline, Pace};
use super::error::SyncError;
use super::owner;
use super::place::Place;
use super::primitive::{
    self, AtomicU32,
    Ordering::{self, Acquire, Relaxed, Release},
    Waited, constructor,
};
use super::thread::Record;

/// Somebody may be asleep.
pub(crate) const WAITERS: u32 = 0x8000_0000;
/// The last owner died, or gave the lock up without mending the data.
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
/// The owner's thread id.
pub(crate) const OWNER: u32 = 0x3fff_ffff;

/// In `sleepers`: every thread has passed a barrier since somebody asked to be woken.
const READY: u32 = 0x8000_0000;

/// How long to sleep at most where the barrier is not sure to have reached the owner.
const UNSURE: Duration = Duration::from_millis(1);

/// How often to try to get a barrier of one's own before sleeping for a short while without one.
const TURNS: u32 = if primitive::MODEL { u32::MAX } else { 4 };

/// How often to find the lock free and lose it to others before sleeping.
const REQUESTS: u32 = 3;

/// How often to look for what another processor is about to do.
const LOOKS: u32 = if primitive::MODEL { 1 } else { 128 };

/// In the flags: somebody gave the lock up without mending the data.
pub(super) const UNRECOVERABLE: u32 = 1;

/// Who is to be woken by whoever gives a lock back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// Waiters take it one after the other.
    One,
    /// Waiters wait for it to be free, not to take it.
    All,
}

/// How a lock was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Taken {
    Clean,
    /// The owner before died.
    OwnerDied,
}

/// What a guard says of the data behind it. As wide as a register: a byte that is stored, and read as a part of more while
/// a guard is handed on through memory, makes the processor wait for the store to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Data {
    /// As a dead owner left it.
    Unmended,
    InOrder,
}

/// See the module.
#[repr(C, align(8))]
pub(crate) struct Word {
    word: AtomicU32,
    flags: AtomicU32,
    sleepers: AtomicU32,
    eager: AtomicU32,
    place: Place,
    #[cfg(not(commons_model))]
    node32: AtomicU32,
    #[cfg(not(commons_model))]
    unused_too: [u32; 2],
    #[cfg(not(commons_model))]
    node64: std::sync::atomic::AtomicU64,
    #[cfg(commons_model)]
    node: std::sync::atomic::AtomicUsize,
}

#[cfg(not(commons_model))]
const _: () = {
    assert!(size_of::<Word>() == 40 && align_of::<Word>() == 8);
    assert!(std::mem::offset_of!(Word, word) == 0 && std::mem::offset_of!(Word, flags) == 4);
    assert!(std::mem::offset_of!(Word, eager) == 12 && std::mem::offset_of!(Word, place) == 16);
    assert!(
        std::mem::offset_of!(Word, sleepers) == 8
            && std::mem::offset_of!(Word, node32) == 20
            && std::mem::offset_of!(Word, node64) == 32
    );
};

impl Word {
    constructor! {
        /// Free.
        pub(crate) fn new() -> Self {
            Word {
                word: AtomicU32::new(0),
                flags: AtomicU32::new(0),
                sleepers: AtomicU32::new(0),
                eager: AtomicU32::new(0),
                place: Place::new(),
                #[cfg(not(commons_model))]
                node32: AtomicU32::new(0),
                #[cfg(not(commons_model))]
                unused_too: [0; 2],
                #[cfg(not(commons_model))]
                node64: std::sync::atomic::AtomicU64::new(0),
                #[cfg(commons_model)]
                node: std::sync::atomic::AtomicUsize::new(0),
            }
        }
    }

    /// From the node to the word.
    pub(super) const OFFSET: isize = {
        #[cfg(commons_model)]
        let node = std::mem::offset_of!(Word, node);
        #[cfg(all(not(commons_model), target_pointer_width = "64"))]
        let node = std::mem::offset_of!(Word, node64);
        #[cfg(all(not(commons_model), not(target_pointer_width = "64")))]
        let node = std::mem::offset_of!(Word, node32);
        std::mem::offset_of!(Word, word) as isize - node as isize
    };

    /// The address of the node of the kernel's list.
    #[inline]
    pub(super) fn node(&self) -> usize {
        Word::node_of(&self.word)
    }

    /// The same, as an address that [`of_node`](Word::of_node) takes.
    #[inline]
    pub(super) fn exposed_node(&self) -> usize {
        ptr::from_ref(self).expose_provenance().wrapping_add_signed(-Word::OFFSET)
    }

    /// The lock with this node.
    ///
    /// # Safety
    ///
    /// The address is one that [`exposed_node`](Word::exposed_node) gave, of a lock that is mapped still.
    pub(super) unsafe fn of_node<'w>(node: usize) -> &'w Word {
        // SAFETY: as the caller promises.
        unsafe { &*ptr::with_exposed_provenance(node.wrapping_add_signed(Word::OFFSET)) }
    }

    /// Where the node of a lock with this futex is, or would be: a futex that is only ever waited for needs none.
    #[inline]
    pub(super) fn node_of(futex: &AtomicU32) -> usize {
        ptr::from_ref(futex).addr().wrapping_add_signed(Word::OFFSET.wrapping_neg())
    }

    /// Tells the kernel which node comes behind this one.
    #[inline]
    pub(super) fn set_next(&self, node: usize) {
        #[cfg(commons_model)]
        self.node.store(node, Relaxed);
        #[cfg(all(not(commons_model), target_pointer_width = "64"))]
        self.node64.store(node as u64, Relaxed);
        #[cfg(all(not(commons_model), not(target_pointer_width = "64")))]
        self.node32.store(node as u32, Relaxed);
    }

    /// The word as it is.
    #[inline]
    pub(super) fn load(&self, ordering: Ordering) -> u32 {
        self.word.load(ordering)
    }

    /// The futex.
    #[inline]
    pub(super) fn futex(&self) -> &AtomicU32 {
        &self.word
    }

    /// Where it lies.
    #[inline]
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The flags.
    #[inline]
    pub(super) fn flags(&self) -> &AtomicU32 {
        &self.flags
    }

    /// Takes it, waiting until the deadline at most.
    #[inline]
    pub(super) fn lock(&self, deadline: Deadline) -> Result<Taken, SyncError> {
        if self.lock_free(Acquire).is_some() { Ok(Taken::Clean) } else { self.lock_slowly(deadline, Acquire) }
    }

    /// The same, ordered with all other sequentially consistent operations.
    #[inline]
    pub(super) fn lock_in_order(&self, deadline: Deadline) -> Result<Taken, SyncError> {
        let ordering = Ordering::SeqCst;
        if self.lock_free(ordering).is_some() {
            Ok(Taken::Clean)
        } else {
            self.lock_slowly(deadline, ordering)
        }
    }

    /// Takes it if it is plainly free. `None` says only that it takes more.
    #[inline]
    pub(super) fn lock_free(&self, success: Ordering) -> Option<()> {
        let record = Record::current();
        let pending = record.pending()?;
        if !record.has_room() {
            return None;
        }
        pending.set(&self.word);
        if self.word.compare_exchange(0, record.id(), success, Relaxed).is_err() {
            pending.clear();
            return None;
        }
        record.push(self);
        self.keep_sleepers();
        pending.clear();
        Some(())
    }

    /// Just taken: if somebody may be asleep, the word has to say so, for the kernel.
    #[inline]
    pub(super) fn keep_sleepers(&self) {
        if self.sleepers.load(Relaxed) != 0 {
            self.mark_sleepers();
        }
    }

    #[cold]
    fn mark_sleepers(&self) {
        self.word.fetch_or(WAITERS, Relaxed);
    }

    /// Takes it in whatever way it takes.
    #[cold]
    pub(super) fn lock_slowly(&self, deadline: Deadline, success: Ordering) -> Result<Taken, SyncError> {
        let record = Record::ready()?;
        if !record.has_room() {
            return Err(SyncError::TooManyLocks);
        }
        if record.holds(self) {
            return Err(SyncError::WouldDeadlock);
        }
        record.set_pending(&self.word);
        let taken = self.contend(record, deadline, success);
        if taken.is_ok() {
            record.push(self);
            self.keep_sleepers();
        }
        record.clear_pending();
        taken
    }

    fn contend(&self, record: &Record, deadline: Deadline, success: Ordering) -> Result<Taken, SyncError> {
        let mut backoff = Backoff::new();
        let mut pace = Pace::new();
        let mut slept = 0;
        let mut requests = 0;
        loop {
            let seen = self.word.load(Relaxed);
            if seen & OWNER == 0 {
                let taken = record.id() | seen & WAITERS | slept;
                if self.word.compare_exchange_weak(seen, taken, success, Relaxed).is_ok() {
                    if self.eager.load(Relaxed) == record.id() {
                        self.eager.store(0, Relaxed);
                    }
                    return Ok(if seen & OWNER_DIED == 0 { Taken::Clean } else { Taken::OwnerDied });
                }
                continue;
            }
            if deadline.is_now() {
                return Err(SyncError::WouldBlock);
            }
            if seen & OWNER == record.id() && record.holds_alias(self) {
                return Err(SyncError::WouldDeadlock);
            }
            if backoff.spin() {
                continue;
            }
            if requests < REQUESTS && self.is_left_to(record) {
                requests += 1;
                continue;
            }
            requests = 0;
            match self.sleep(record, seen, deadline, &mut pace)? {
                Waited::TimedOut => owner::look_after(self, record.id()),
                Waited::Over => {}
            }
            slept = WAITERS;
        }
    }

    /// Asks the owner to leave the lock to this thread, and looks for a short while whether it does.
    ///
    /// Who gives the lock back and takes it again at once does so within its own cache, too quickly for others to see.
    #[cold]
    fn is_left_to(&self, record: &Record) -> bool {
        self.eager.store(record.id(), Relaxed);
        for _ in 0..LOOKS {
            if self.word.load(Relaxed) & OWNER == 0 {
                return true;
            }
            primitive::spin();
        }
        if self.eager.load(Relaxed) == record.id() {
            self.eager.store(0, Relaxed);
        }
        false
    }

    /// Just given back: whether somebody who asked for it has taken it, and will see to the sleepers.
    fn is_taken_by_eager(&self) -> bool {
        self.eager.store(0, Relaxed);
        for _ in 0..LOOKS {
            let seen = self.word.load(Relaxed);
            if seen & OWNER != 0 && (seen & WAITERS != 0 || self.sleepers.load(Relaxed) == 0) {
                return true;
            }
            primitive::spin();
        }
        false
    }

    /// Sleeps while the word, which has an owner, is as it was seen; a while at most.
    ///
    /// The words are seen to also when the time is over: this thread may have been woken, and others still be asleep.
    pub(super) fn sleep(
        &self,
        record: &Record,
        seen: u32,
        deadline: Deadline,
        pace: &mut Pace,
    ) -> Result<Waited, SyncError> {
        let (ready, sure) = self.ask_to_be_woken(record);
        let told = seen | WAITERS;
        if seen != told && self.word.compare_exchange(seen, told, Relaxed, Relaxed).is_err() {
            return Ok(Waited::Over);
        }
        let left = deadline.left()?;
        let words = ((&self.word, told), (&self.sleepers, ready));
        if sure {
            return Ok(primitive::wait_both(words.0, words.1, pace.next(left), LOOK.0));
        }
        let most = left.map_or(UNSURE, |left| left.min(UNSURE));
        primitive::wait_both(words.0, words.1, Some(most), UNSURE);
        Ok(Waited::Over)
    }

    /// Sees to it that whoever gives the word back from now on looks at `sleepers` and finds something there. What
    /// stands there, and whether one may sleep for long on the strength of it.
    ///
    /// Where others ask at the same time, or write there all the time, it ends without being sure: the lock may be free
    /// by then.
    fn ask_to_be_woken(&self, record: &Record) -> (u32, bool) {
        let asked = record.id();
        let mut seen = self.sleepers.load(Relaxed);
        for _ in 0..TURNS {
            if seen & READY != 0 {
                return (seen, true);
            }
            if let Err(now) = self.sleepers.compare_exchange(seen, asked, Relaxed, Relaxed) {
                seen = now;
                continue;
            }
            if !primitive::heavy_barrier() {
                return (asked, false);
            }
            let ready = asked | READY;
            match self.sleepers.compare_exchange(asked, ready, Relaxed, Relaxed) {
                // The barrier may have left out a processor: see the module.
                Ok(_) => return (ready, primitive::MODEL),
                // Somebody else is asking just now.
                Err(now) if now != 0 && now & READY == 0 => return (now, false),
                Err(now) => seen = now,
            }
        }
        (seen, false)
    }

    /// Gives it back, if this thread has it; a guard that a forked child inherited gives nothing back.
    #[inline]
    pub(super) fn unlock(&self, wake: Wake) {
        let record = Record::current();
        let Some(pending) = record.pending().filter(|_| record.is_newest(self)) else {
            return self.unlock_slowly(record, 0, wake);
        };
        pending.set(&self.word);
        record.pop();
        if self.word.load(Relaxed) == record.id() {
            primitive::give_back(&self.word);
            record.light_barrier();
            if self.sleepers.load(Relaxed) | self.eager.load(Relaxed) != 0 {
                self.wake_waiters(wake, false);
            }
        } else {
            self.hand_over(record, 0, wake);
        }
        pending.clear();
    }

    /// Gives it back and wakes nobody; `WAITERS` stays as it is. For words that are slept on to learn of the owner's
    /// death, not to have them.
    #[cold]
    pub(super) fn unlock_silently(&self) {
        let record = Record::current();
        if !record.is_ready() || !record.holds(self) {
            return;
        }
        record.set_pending(&self.word);
        record.remove(self);
        let mut seen = self.word.load(Relaxed);
        while seen & OWNER == record.id() {
            match self.word.compare_exchange_weak(seen, seen & WAITERS, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        record.clear_pending();
    }

    /// Gives it back so that whoever comes next learns that the data is not in order.
    #[cold]
    pub(super) fn unlock_unmended(&self) {
        let record = Record::current();
        if record.is_ready() && record.holds(self) {
            self.flags.fetch_or(UNRECOVERABLE, Relaxed);
        }
        self.unlock_slowly(record, OWNER_DIED, Wake::All);
    }

    /// Gives it back as it was taken from a dead owner: whoever comes next is told what this thread was told.
    #[cold]
    pub(super) fn unlock_as_found(&self) {
        self.unlock_slowly(Record::current(), OWNER_DIED, Wake::All);
    }

    #[cold]
    fn unlock_slowly(&self, record: &Record, free: u32, wake: Wake) {
        if !record.is_ready() || !record.holds(self) {
            return;
        }
        record.set_pending(&self.word);
        record.remove(self);
        self.hand_over(record, free, wake);
        record.clear_pending();
    }

    /// Frees the word, and wakes who waits.
    #[cold]
    fn hand_over(&self, record: &Record, free: u32, wake: Wake) {
        let mut seen = self.word.load(Relaxed);
        loop {
            if seen & OWNER != record.id() {
                // Somebody wrote over it. Whoever sleeps there looks again, sooner or later; better sooner.
                primitive::wake(&self.word, u32::MAX);
                return;
            }
            match self.word.compare_exchange_weak(seen, free, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        record.light_barrier();
        if seen & WAITERS | self.sleepers.load(Relaxed) | self.eager.load(Relaxed) != 0 {
            self.wake_waiters(wake, seen & WAITERS != 0);
        }
    }

    /// Wakes who sleeps on a word that is free; if that was nobody, nobody is looked for the next time. `told` is whether
    /// the word itself said that somebody sleeps.
    #[cold]
    fn wake_waiters(&self, wake: Wake, told: bool) {
        if self.eager.load(Relaxed) != 0 && self.is_taken_by_eager() {
            return;
        }
        if !told && self.sleepers.load(Relaxed) == 0 {
            return;
        }
        match wake {
            Wake::One if primitive::wake(&self.word, 1) != 0 => return,
            Wake::One => {}
            // Those, too, who can sleep on one word only.
            Wake::All => drop(primitive::wake(&self.word, u32::MAX)),
        }
        primitive::clear_and_wake_all(&self.sleepers);
    }

    /// Takes it from a thread, as the kernel does when that ends, and wakes all who sleep on it; not if it is another's
    /// by now.
    pub(crate) fn take_from(&self, thread: u32) {
        let mut seen = self.word.load(Relaxed);
        while seen & OWNER == thread {
            match self.word.compare_exchange_weak(seen, OWNER_DIED | WAITERS, Relaxed, Relaxed) {
                Ok(_) => {
                    primitive::wake(&self.word, u32::MAX);
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Makes the word of an owner that is no more say so, if it still names it.
    pub(super) fn bury(&self, seen: u32) {
        let dead = OWNER_DIED | WAITERS;
        if self.word.compare_exchange(seen | WAITERS, dead, Relaxed, Relaxed).is_ok() {
            primitive::wake(&self.word, 1);
        }
    }
}

/// A word that this thread has; given back when dropped, also by a panic.
pub(super) struct Held<'w>(&'w Word);

impl<'w> Held<'w> {
    /// Of a word that was taken just now.
    #[inline]
    pub(super) fn new(word: &'w Word) -> Held<'w> {
        Held(word)
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock(Wake::One);
    }
}

/// How often whoever sleeps looks whether the owner still exists, although the kernel tells of its death.
pub(super) const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
