//! The words of an `RwLock`: one for the writer, and a slot for each reader.
//!
//! # States
//!
//! Each word has the states of [`word`](super::super::word). What they mean here:
//!
//! | writer's word        | means                                                                              |
//! | -------------------- | ---------------------------------------------------------------------------------- |
//! | `0`                  | no writer: readers come and go                                                     |
//! | `id (+ WAITERS)`     | a thread writes, or waits until the readers have gone; no reader comes in          |
//! | `OWNER_DIED…`        | a writer died; whoever comes next, to read or to write, takes the word and is told |
//!
//! | a slot               | means                                                                              |
//! | -------------------- | ---------------------------------------------------------------------------------- |
//! | `0`                  | free                                                                               |
//! | `id (+ WAITERS)`     | a thread reads, or has not seen yet that there is a writer                         |
//! | `OWNER_DIED…`        | free: its reader died, which changed nothing                                       |
//!
//! *Reading* is: take a slot, then look at the writer's word. Nobody writes: in. Otherwise: give the slot back, sleep
//! on the writer's word, try again. *Writing* is: take the writer's word, then look at one slot after the other, and
//! sleep on each that is taken until it is free. All slots seen free: in. Giving back is giving the one word back.
//!
//! *Downgrading* is: take a slot, then give the writer's word back. *Upgrading* is: take the writer's word, look at the
//! other slots, give the own one back; or, where that would need waiting, give the writer's word back.
//!
//! # Why a writer is alone
//!
//! Taking a slot and taking the writer's word, and the look at the other afterwards, are sequentially consistent. So in
//! their one order either the reader's slot was taken before the writer looked at it, and the writer waits; or the
//! writer's word was taken before the reader looked at it, and the reader goes back. A reader that goes back has not
//! touched the data. That it shows up in a slot that the writer has looked at already does not matter: it goes back.
//! Two writers exclude each other by their word. What a reader read is ordered before what the next writer writes,
//! since the reader's giving back is a release, and the look that finds its slot free an acquire. Marked by the kernel,
//! a slot is as good as given back.
//!
//! A writer does not starve: once it has its word, no new reader comes in. For its word it contends like everybody who
//! locks a mutex. A reader that a stream of writers keeps out finds its chance between two of them, no sooner.
//!
//! # Why no wake-up is lost
//!
//! On the writer's word sleep writers, to take it, and readers, until it is free. On a slot sleeps the writer that
//! has its word, until the slot is free, and readers that found all slots taken. So whoever gives a word back wakes
//! *all* that sleep there, and nobody depends on one that was woken but is stopped; that the word's `sleepers` tell of
//! them, and stay while they sleep, is argued in [`word`](super::super::word).
//!
//! The kernel, marking the word of a dead thread, wakes only *one*; so it does where a thread died after it gave a word
//! back and before it woke anybody. Whoever that is must not keep the wake-up for itself: a reader that was woken on the
//! writer's word takes a slot, and a writer that was woken on a slot goes on to the next, so that neither would ever give
//! back the word that it slept on. So who slept on a word that it does not mean to take, and finds it free, wakes all
//! others there before it does anything else. Until it has, `pending` names that word, and the kernel would wake one more
//! if it died. If it finds the word taken instead, then by somebody who will find the `sleepers`, and wake all.
//!
//! Passing a wake-up on leaves the `sleepers` as they are, for whoever gives the word back next. In the writer's word it
//! costs readers nothing: they only look for an owner.
//!
//! # Why a crash between any two steps is safe
//!
//! Each word by itself: see [`word`](super::super::word). Together:
//!
//! - *Reader, anywhere between taking the slot and giving it back*: the kernel marks the slot and wakes one, the writer
//!   if it is that which sleeps there; else a reader, which passes it on. Nothing was changed, nobody is told.
//! - *Writer, from taking its word to giving it back*: the word is marked, and the next one is told. That is so even if
//!   it died while it still waited for readers, and had changed nothing: who takes the word over mends what is in order
//!   already. It, too, waits for the readers that are still in.
//! - *Taken over, and dead or out of time before it got as far as telling*: the word is marked again, or given back as
//!   it was found. The news is for whoever comes next.
//! - *Downgrading*: with both words, dead, the writer's is marked and the next one is told, although the writer was
//!   done; after the writer's word was given back, a reader died. One that found no free slot reads with the writer's
//!   word, and counts as a writer until it has done.
//! - *Upgrading*: as soon as the writer's word is taken, a writer dies; before, a reader.
//! - *Sleeping*: holds nothing, or holds the writer's word while it sleeps on a slot: the writer's word is in the list,
//!   `pending` names the slot.
//!
//! A *stopped* process is one that is in no hurry. Stopped with a slot, it keeps writers out, as one that reads for long
//! does; also if it has not looked at the writer's word yet.
//!
//! # What a wrong word does
//!
//! A slot that names a thread which does not read is one slot less for readers, and a wait for the writer, which ends as
//! every wait for an owner that is no more ([`owner`]). A slot that is freed behind its reader's back lets a writer in;
//! no lock can hold against that. Whether this thread reads or writes already is never asked of these words, but of its
//! private record.

use super::super::backoff::{Backoff, Deadline, Pace};
use super::super::error::SyncError;
use super::super::owner;
use super::super::primitive::{
    self, MODEL,
    Ordering::{Relaxed, SeqCst},
    Waited, constructor,
};
use super::super::thread::Record;
use super::super::word::{OWNER, OWNER_DIED, Taken, WAITERS, Wake, Word};

/// So many can read at a time; in a model fewer, so that it happens that all are taken.
pub(in super::super) const SLOTS: usize = if MODEL { 2 } else { 16 };

/// Bytes from one word to the next: the writer's, then the readers'.
pub(in super::super) const LINE: usize = 64;

/// A word in a cache line of its own.
#[repr(C, align(64))]
struct Line(Word);

/// See the module.
#[repr(C)]
pub(super) struct Words {
    writer: Line,
    slots: [Line; SLOTS],
}

#[cfg(not(commons_model))]
const _: () = {
    assert!(size_of::<Line>() == LINE && size_of::<Words>() == 1088 && align_of::<Words>() == 64);
    assert!(std::mem::offset_of!(Words, slots) == 64);
};

/// How a reader got in.
#[must_use]
pub(super) enum Entered<'l> {
    /// With this slot.
    Reading(&'l Word),
    /// With the writer's word, whose owner died; alone.
    OwnerDied,
}

impl Word {
    /// Takes it if it is as it was seen, with nobody's id in it. There has to be a place in the record.
    #[inline]
    fn take(&self, record: &Record, seen: u32) -> bool {
        let Some(pending) = record.pending() else { return false };
        pending.set(self.futex());
        let taken = record.id() | seen & WAITERS;
        let taken = self.futex().compare_exchange(seen, taken, SeqCst, Relaxed).is_ok();
        if taken {
            record.push(self);
            self.keep_sleepers();
        }
        pending.clear();
        taken
    }

    /// Whether some thread has it.
    #[inline]
    fn is_taken(&self) -> bool {
        self.load(SeqCst) & OWNER != 0
    }

    /// Whether it names this thread, which has it through another mapping of the same memory.
    fn is_mine_elsewhere(&self, record: &Record) -> bool {
        self.load(Relaxed) & OWNER == record.id() && record.holds_alias(self)
    }

    /// Waits until nobody has it, without taking it.
    fn wait_until_free(&self, record: &Record, deadline: Deadline) -> Result<(), SyncError> {
        let mut backoff = Backoff::new();
        let mut pace = Pace::new();
        while self.is_taken() {
            if deadline.is_now() {
                return Err(SyncError::WouldBlock);
            }
            if !backoff.spin() {
                self.nap(record, deadline, &mut pace)?;
            }
        }
        Ok(())
    }

    /// Sleeps until it is given back; a while at most.
    fn nap(&self, record: &Record, deadline: Deadline, pace: &mut Pace) -> Result<(), SyncError> {
        let seen = self.load(Relaxed);
        if seen & OWNER == 0 {
            return Ok(());
        }
        if self.is_mine_elsewhere(record) {
            return Err(SyncError::WouldDeadlock);
        }
        record.set_pending(self.futex());
        let slept = self.sleep(record, seen, deadline, pace);
        if slept.is_ok() && !self.is_taken() {
            // The wake-up may have been for one only.
            primitive::wake(self.futex(), u32::MAX);
        }
        record.clear_pending();
        if slept? == Waited::TimedOut {
            owner::look_after(self, record.id());
        }
        Ok(())
    }
}

impl Words {
    constructor! {
        /// Nobody reads or writes.
        pub(super) fn new() -> Self {
            Words {
                writer: Line(Word::new()),
                #[cfg(not(commons_model))]
                slots: [const { Line(Word::new()) }; SLOTS],
                #[cfg(commons_model)]
                slots: std::array::from_fn(|_| Line(Word::new())),
            }
        }
    }

    /// The writer's word.
    #[inline]
    pub(super) fn writer(&self) -> &Word {
        &self.writer.0
    }

    /// The readers' words.
    #[inline]
    pub(super) fn slots(&self) -> impl Iterator<Item = &Word> {
        self.slots.iter().map(|slot| &slot.0)
    }

    /// Takes a slot if that is plain. `None` says only that it takes more. Always inlined: saving registers for a call costs
    /// half as much as all the rest.
    #[inline(always)]
    pub(super) fn read_free(&self) -> Option<&Word> {
        let record = Record::current();
        if !record.is_ready() {
            return None;
        }
        if !record.is_empty() && !self.may_be_had_beside_others(record) {
            return None;
        }
        if self.writer().place().may_be_private() {
            return None;
        }
        let slot = &self.slots[place(record)].0;
        if !slot.take(record, 0) {
            return None;
        }
        if self.is_open() {
            return Some(slot);
        }
        go_back(slot);
        None
    }

    /// Whether there is a place for one more lock, and this one is not among those that the thread has.
    #[inline(never)]
    fn may_be_had_beside_others(&self, record: &Record) -> bool {
        record.has_room() && !self.is_held(record)
    }

    /// Gets in to read in whatever way it takes.
    #[cold]
    pub(super) fn read_slowly(&self, deadline: Deadline) -> Result<Entered<'_>, SyncError> {
        let record = Record::ready()?;
        if !record.has_room() {
            return Err(SyncError::TooManyLocks);
        }
        if self.is_held(record) || self.slots().any(|slot| slot.is_mine_elsewhere(record)) {
            return Err(SyncError::WouldDeadlock);
        }
        let mut backoff = Backoff::new();
        let mut pace = Pace::new();
        let mut last = place(record);
        loop {
            let seen = self.writer().load(SeqCst);
            if seen & OWNER != 0 {
                self.writer().wait_until_free(record, deadline)?;
            } else if seen & OWNER_DIED != 0 {
                if self.writer().take(record, seen) {
                    self.writer().refuse_unrecoverable()?;
                    self.wait_for_readers(record, deadline, Taken::OwnerDied)?;
                    return Ok(Entered::OwnerDied);
                }
            } else if let Some(slot) = self.take_slot(record) {
                if self.is_open() {
                    return Ok(Entered::Reading(slot));
                }
                go_back(slot);
                deadline.left()?;
            } else if deadline.is_now() || !backoff.spin() {
                // Another one each time: one reader that stays for long must not keep this one out.
                last = (last + 1) % SLOTS;
                self.slots[last].0.nap(record, deadline, &mut pace)?;
            }
        }
    }

    /// Gets in to write; asks for the deadline only if it comes to waiting.
    #[inline]
    pub(super) fn write(&self, deadline: impl FnOnce() -> Deadline) -> Result<Taken, SyncError> {
        let record = Record::current();
        if self.is_held(record) || self.writer().lock_free(SeqCst).is_none() {
            return self.write_slowly(deadline());
        }
        if self.slots().any(Word::is_taken) {
            self.wait_for_readers(record, deadline(), Taken::Clean)?;
        }
        Ok(Taken::Clean)
    }

    #[cold]
    fn write_slowly(&self, deadline: Deadline) -> Result<Taken, SyncError> {
        let record = Record::ready()?;
        if self.is_held(record) {
            return Err(SyncError::WouldDeadlock);
        }
        let taken = self.writer().lock_in_order(deadline)?;
        if taken == Taken::OwnerDied {
            self.writer().refuse_unrecoverable()?;
        }
        self.wait_for_readers(record, deadline, taken)?;
        Ok(taken)
    }

    /// With the writer's word: waits until all readers have gone, or gives the word back.
    #[cold]
    fn wait_for_readers(&self, record: &Record, deadline: Deadline, taken: Taken) -> Result<(), SyncError> {
        for slot in self.slots() {
            if let Err(error) = slot.wait_until_free(record, deadline) {
                match taken {
                    Taken::Clean => self.writer().unlock(Wake::All),
                    Taken::OwnerDied => self.writer().unlock_as_found(),
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// With the writer's word: what this thread reads with from now on. A slot; the writer's word itself if all slots
    /// are taken just now, by readers that have not gone back yet, or if this thread does not have it: a forked child.
    pub(super) fn downgrade(&self) -> &Word {
        let record = Record::current();
        if !record.is_ready() || !record.holds(self.writer()) {
            return self.writer();
        }
        let Some(slot) = self.take_slot(record) else { return self.writer() };
        self.writer().unlock(Wake::All);
        slot
    }

    /// With this word: changes it for the writer's if that needs no waiting. Not in a forked child, which does not have it.
    pub(super) fn try_upgrade(&self, mine: &Word) -> bool {
        let record = Record::current();
        if !record.is_ready() || !record.holds(mine) {
            return false;
        }
        if std::ptr::eq(mine, self.writer()) {
            return true;
        }
        let seen = self.writer().load(Relaxed);
        if seen & !WAITERS != 0 || !self.writer().take(record, seen) {
            return false;
        }
        if self.slots().any(|slot| !std::ptr::eq(slot, mine) && slot.is_taken()) {
            self.writer().unlock(Wake::All);
            return false;
        }
        mine.unlock(Wake::All);
        true
    }

    /// Takes a free slot, if there is one.
    fn take_slot(&self, record: &Record) -> Option<&Word> {
        let first = place(record);
        for step in 0..SLOTS {
            let slot = &self.slots[(first + step) % SLOTS].0;
            let seen = slot.load(Relaxed);
            if seen & OWNER == 0 && slot.take(record, seen) {
                // Whoever has the usual one may well be there the next time too.
                record.set_turn((first + step) as u32);
                return Some(slot);
            }
        }
        None
    }

    /// Whether there is no writer, dead or alive.
    #[inline]
    fn is_open(&self) -> bool {
        self.writer().load(SeqCst) & !WAITERS == 0
    }

    /// Whether this thread reads or writes already.
    #[inline]
    fn is_held(&self, record: &Record) -> bool {
        record.holds_within(std::ptr::from_ref(self).addr(), size_of::<Words>())
            || self.writer().place().may_be_private() && self.is_held_privately(record)
    }

    #[cold]
    fn is_held_privately(&self, record: &Record) -> bool {
        record.is_ready()
            && (record.holds_private(self.writer()) || self.slots().any(|slot| record.holds_private(slot)))
    }
}

/// A reader that has seen a writer gives its slot back.
#[cold]
fn go_back(slot: &Word) {
    slot.unlock(Wake::All);
}

/// Where a thread begins to look for a free slot.
#[inline]
fn place(record: &Record) -> usize {
    record.turn() as usize % SLOTS
}
