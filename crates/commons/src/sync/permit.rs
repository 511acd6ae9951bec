//! Permits: units of a semaphore that come back when their process dies.
//!
//! # Layout
//!
//! The semaphore's count is a 64-bit word:
//!
//! | bits     | what                                                                                        |
//! | -------- | ------------------------------------------------------------------------------------------- |
//! | 0 to 30  | the value                                                                                   |
//! | 31       | unused                                                                                      |
//! | 32 to 63 | the last *operation* of a permit: 25 bits of its generation, 1 bit `GIVE`, 6 bits of its entry |
//!
//! For each permit that is out there is an entry, 16 bytes:
//!
//! | bytes   | what                                                                                       |
//! | ------- | ------------------------------------------------------------------------------------------ |
//! | 0 to 7  | the holder: the number of its [slot](crate::slot), 0 if the entry is free                  |
//! | 8 to 15 | the state: above 39 the generation in 25 bits, in 32 and 33 the stage, below how often that came round |
//!
//! # Stages
//!
//! | stage       | means                                      | its holder's next step                                             |
//! | ----------- | ------------------------------------------ | ------------------------------------------------------------------ |
//! | `IDLE`      | it has no unit                             | holder 0 to its own; then `CLAIMED`, next generation               |
//! | `CLAIMED`   | it takes a unit from the value, or has it  | takes it in one step, naming (entry, generation) in the count      |
//! | `HELD`      | it has its unit                            | `RELEASING`                                                        |
//! | `RELEASING` | it gives its unit to the value, or gave it | gives it in one step, naming (entry, generation, `GIVE`); holder 0 |
//!
//! A holder does not write `HELD` after its taking, nor `IDLE` after its giving: the count names the operation, which
//! says the same, and whoever makes it name another writes it first. So a thread that takes and gives alone writes
//! two stages instead of four.
//!
//! If the value is found too small, an entry goes back from `CLAIMED` to its `IDLE` of before.
//!
//! # Why a crash between any two steps is safe
//!
//! Holder, state and count are written one after the other, and a death may come between any two. What counts is
//! whether the step on the count was done. That is always to be seen, since **whoever is about to put another
//! operation into the count first *helps* the one that stands there**: reads the count W, reads the state of the entry
//! that it names, and if W says that (entry, generation) has taken, and the state is `CLAIMED` in that generation,
//! makes it `HELD`; for `GIVE`, `RELEASING` is made `IDLE`. Only then it replaces W, by a compare-and-swap.
//! (Signalling without permits leaves the operation in W as it is.) Where W names what the author's own entry did
//! last, the author has already written the stage that follows, so that helping would find nothing to do, and is left
//! out. So of an entry whose holder is dead:
//!
//! > its operation was done if and only if the count still names it, or its stage has gone on.
//!
//! *If*: the name is put there by the very step; the stage goes on only by the holder, whose next step is after that,
//! or by who read a count that names the operation. *Only if*: as long as the count names it, it is seen there. It can
//! be replaced only by a compare-and-swap on a count that names it, whose author helped before: and between that
//! author's reading and its swap the operation stood there all the time, since once replaced it never comes back (its
//! generation passes once, see below). All changes of the count are read-modify-writes with at least release and
//! acquire order, so that whoever reads a count in which it is replaced also sees the helped stage.
//!
//! *Recovery* of a dead holder's entry, by R: (1) holder, from the dead one's number to R's, by a compare-and-swap; R
//! goes on only if that succeeds, so there is one R. (2) Reads the count, and helps. (3) Reads the state. `IDLE` or
//! `CLAIMED`: by (2) nothing was taken, so there is no unit to give back. `HELD`: R drops the permit, in the steps
//! above. `RELEASING`: not done yet, by (2), so R does the rest of these steps. (4) Holder 0. If R dies after (1) the
//! entry is that of a dead holder, its stage and the count tell all that there is to know, and the next recoverer goes
//! on from there; so no unit is given twice, and none is lost. A dead holder's steps come before its death, which comes
//! before the kernel gives up its slot, before R is told that nobody has that: R sees all of them.
//!
//! A death after a claim and before `CLAIMED` leaves the stage that was there: `IDLE`, or the `RELEASING` of a giving
//! that was done before the entry was free; (2) finds that named, or somebody has helped it, and it is `IDLE`.
//!
//! Living holders are left alone: they change the state by plain stores, which nobody but helpers competes with, and a
//! helper's swap fails unless the state is the one that it saw. A helper that comes between a holder's reading of the
//! state and its store writes what the holder is past already, `HELD` or `IDLE`, and is overwritten.
//!
//! # What is left open
//!
//! *A stopped helper.* One that read the count and the state, and is stopped before its swap, does harm if at its
//! waking the entry has the same state again, its 2^57th use later: never. One that is stopped after it read the count
//! may find there at its waking, the entry's 2^25th use later or a multiple of that (a third of a second at least),
//! the same count in all its 64 bits, and then helps, or has helped, another use than the one that it replaces. So it
//! helps again after its swap: the operation stood there at that moment. What is left is that in that very use its
//! holder dies within the few instructions in which its step is not done yet, or the helper dies between its swap and
//! that second help and then the holder without another step: then a unit too many is given back, or one too few.
//!
//! *A slot's number comes again.* A number is the process's id and a counter of 16 bits that starts at random. If a
//! new process gets a dead one's id, and the counter agrees, then the dead one's permits stay out as long as the
//! new process has that slot; and a recoverer that is stopped between asking who lives and its swap would take a
//! permit from the living, if that has just the same entry. Within a process numbers come again after 65,536
//! seats.
//!
//! *A kernel that errs.* If the kernel says that a living holder's slot is nobody's, its permit is given back while
//! it is in use, and its drop does nothing: the entry is no longer in that generation. A drop while the recoverer is at
//! it may give a second time, and the recoverer may then take the entry from whoever claimed it next.
//!
//! *Bytes that others write.* Any value of any word is a state: a permit whose entry is not as it left it gives
//! nothing back; an entry with a holder that was never a slot is recovered, and its units are given; the value stays
//! within its 31 bits. So the value may be wrong, and nothing else.

use super::primitive::{
    self, AtomicU64, Home,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    Seat, constructor,
};

/// How many permits of a semaphore can be out at a time.
pub(super) const ENTRIES: usize = if cfg!(commons_model) { 3 } else { 64 };

/// The value's bits.
pub(super) const VALUE: u64 = 0x7fff_ffff;

/// The operation's bits in the count.
const OPERATION: u64 = !0xffff_ffff;
/// In an operation, in a state and in a claim: where the generation stands, which is the upper 25 bits.
const GENERATION: u64 = 1 << 39;
/// What tells a giving from the taking before it. Twice that tells it from the giving before.
const GIVE: u64 = 1 << 38;
/// In an operation and in a claim: where the entry's index stands, in 6 bits.
const INDEX_AT: u32 = 32;

const IDLE: u64 = 0;
const CLAIMED: u64 = 1;
const HELD: u64 = 2;
const RELEASING: u64 = 3;
/// In a state: where the stage stands, in 2 bits.
const STAGE_AT: u32 = 32;

/// An entry's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u64);

impl State {
    #[inline]
    fn stage(self) -> u64 {
        self.0 >> STAGE_AT & 3
    }

    /// The same in another stage.
    #[inline]
    fn at(self, stage: u64) -> State {
        State(self.0 & !(3 << STAGE_AT) | stage << STAGE_AT)
    }

    /// The next generation, in the same stage.
    #[inline]
    fn next(self) -> State {
        let (next, round) = self.0.overflowing_add(GENERATION);
        State(next.wrapping_add(round.into()))
    }

    /// What the entry of this index takes in this generation, in the place that it has in the count.
    #[inline]
    fn taking(self, index: usize) -> u64 {
        self.0 & GENERATION.wrapping_neg() | (index as u64) << INDEX_AT
    }

    /// What it gives then.
    #[inline]
    fn giving(self, index: usize) -> u64 {
        self.taking(index) | GIVE
    }
}

/// One permit's place.
#[repr(C)]
struct Entry {
    holder: AtomicU64,
    state: AtomicU64,
}

impl Entry {
    constructor! {
        fn new() -> Self {
            Entry { holder: AtomicU64::new(0), state: AtomicU64::new(0) }
        }
    }

    /// Makes it this process's, if it is free; whether it was.
    #[inline]
    fn claim(&self, seat: &Seat) -> bool {
        self.holder.load(Relaxed) == 0
            && self.holder.compare_exchange(0, seat.number(), AcqRel, Relaxed).is_ok()
    }
}

/// Bytes of one permit's place, of which the holder's number is the first 8.
#[cfg(not(commons_model))]
pub(super) const ENTRY: usize = size_of::<Entry>();

/// The entries of all permits that are out.
#[repr(C, align(64))]
pub(super) struct Entries([Entry; ENTRIES]);

/// A permit, as its holder knows it: the operation that took it, and below that the process, as 32 bits of its
/// [image](super::primitive::image).
///
/// One word, so that a permit is two and stays in registers: what is written to memory just before a locked
/// instruction takes its time to get there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim(u64);

impl Claim {
    #[inline]
    fn new(taking: u64, image: u64) -> Claim {
        Claim(taking | u64::from(image as u32))
    }

    /// Whether this process made it, and not one that it was forked from.
    #[inline]
    pub(super) fn is_mine(self) -> bool {
        primitive::image() as u32 == self.0 as u32
    }

    #[inline]
    fn index(self) -> usize {
        index_in(self.0)
    }
}

/// The entry that an operation names, in the count or in a claim.
#[inline]
fn index_in(word: u64) -> usize {
    (word >> INDEX_AT) as usize % 64 % ENTRIES
}

/// Why no permit was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    Value,
    Entry,
}

/// Where a thread's first search begins: threads begin apart.
#[cold]
fn first(seat: &Seat) -> usize {
    let mixed = (primitive::thread_key() as u64 >> 6 ^ seat.number()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % ENTRIES
}

impl Entries {
    constructor! {
        pub(super) fn new() -> Self {
            Entries(each())
        }
    }

    /// Takes one unit for a permit, and says how many are left.
    // Always: the result would go by way of memory.
    #[inline(always)]
    pub(super) fn take(&self, count: &AtomicU64, seat: &Seat) -> Result<(Claim, u32), Lacking> {
        let seen = count.load(SeqCst);
        if seen & VALUE == 0 {
            return Err(Lacking::Value);
        }
        // The one that this thread had last is likely to be free, and near.
        let hint = primitive::hint();
        let index = if hint < ENTRIES && self.0[hint].claim(seat) {
            hint
        } else {
            self.search(hint, seat).ok_or(Lacking::Entry)? % ENTRIES
        };
        let entry = &self.0[index];
        let before = State(entry.state.load(Relaxed));
        let claimed = before.next().at(CLAIMED);
        entry.state.store(claimed.0, Release);
        let claim = Claim::new(claimed.taking(index), seat.image());
        // What this entry did last is over, since it was free. `HELD` is left to whoever replaces this operation.
        let taken = seen.wrapping_add(GIVE - 1);
        if seen & OPERATION == before.giving(index)
            && count.compare_exchange(seen, taken, SeqCst, Relaxed).is_ok()
        {
            return Ok((claim, (taken & VALUE) as u32));
        }
        let left = self.take_claimed(count, index, before, claimed).ok_or(Lacking::Value)?;
        Ok((claim, left))
    }

    /// The steps from `CLAIMED` on, which the state says already; how many are left.
    #[cold]
    fn take_claimed(&self, count: &AtomicU64, index: usize, before: State, claimed: State) -> Option<u32> {
        let mut seen = count.load(SeqCst);
        loop {
            let Some(left) = (seen & VALUE).checked_sub(1) else {
                self.0[index].state.store(before.at(IDLE).0, Release);
                self.0[index].holder.store(0, Release);
                return None;
            };
            self.help(seen);
            match count.compare_exchange_weak(seen, claimed.taking(index) | left, SeqCst, SeqCst) {
                Ok(_) => {
                    self.help(seen);
                    return Some(left as u32);
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Makes a free entry this process's, and the thread's next hint; which.
    #[cold]
    fn search(&self, hint: usize, seat: &Seat) -> Option<usize> {
        let first = if hint < ENTRIES { hint } else { first(seat) };
        let index = (0..ENTRIES).map(|step| (first + step) % ENTRIES).find(|at| self.0[*at].claim(seat))?;
        primitive::set_hint(index);
        Some(index)
    }

    /// Lets the entry that the count names go on to the stage that this says, before the count names another. And once
    /// more after that, for whoever was stopped in between: see [what is left open](self).
    #[cold]
    fn help(&self, count: u64) {
        let index = index_in(count);
        let word = self.0[index].state.load(Acquire);
        let state = State(word);
        let after = match state.stage() {
            CLAIMED if state.taking(index) == count & OPERATION => HELD,
            RELEASING if state.giving(index) == count & OPERATION => IDLE,
            _ => return,
        };
        let _ = self.0[index].state.compare_exchange(word, state.at(after).0, AcqRel, Relaxed);
    }

    /// Gives a permit's unit back, if the entry is as it was left; whether it was.
    #[inline(always)]
    pub(super) fn give(&self, count: &AtomicU64, claim: Claim) -> bool {
        let index = claim.index();
        let entry = &self.0[index];
        let state = State(entry.state.load(Relaxed));
        // Nobody has replaced the taking yet; or somebody has, and helped.
        if !matches!(state.stage(), CLAIMED | HELD) || state.taking(index) != claim.0 & OPERATION {
            return false;
        }
        let state = state.at(RELEASING);
        entry.state.store(state.0, Release);
        let seen = count.load(Acquire);
        // What this entry did last, its taking, is over. `IDLE` is left to whoever replaces this operation.
        if seen & OPERATION == claim.0 & OPERATION
            && seen & VALUE != VALUE
            && count.compare_exchange(seen, seen.wrapping_add(GIVE + 1), SeqCst, Relaxed).is_ok()
        {
            entry.holder.store(0, Release);
        } else {
            self.give_released(count, index, state);
        }
        true
    }

    /// The steps from `RELEASING` on, which the state says already.
    #[cold]
    fn give_released(&self, count: &AtomicU64, index: usize, state: State) {
        let mut seen = count.load(Acquire);
        loop {
            self.help(seen);
            let given = state.giving(index) | ((seen & VALUE) + 1).min(VALUE);
            match count.compare_exchange_weak(seen, given, SeqCst, Acquire) {
                Ok(_) => {
                    self.help(seen);
                    break;
                }
                Err(now) => seen = now,
            }
        }
        self.0[index].holder.store(0, Release);
    }

    /// Gives back what dead holders had, and frees their entries; whether there was any.
    pub(super) fn recover(&self, count: &AtomicU64, home: Home<'_>) -> bool {
        let mut asking = None;
        let mut any = false;
        for (index, entry) in self.0.iter().enumerate() {
            let holder = entry.holder.load(Acquire);
            if holder == 0 {
                continue;
            }
            if asking.is_none() {
                asking = home.seat().zip(home.look());
            }
            let Some((seat, look)) = &asking else { return any };
            // An entry of this process's, or one that another of its threads is just bringing to its end.
            if holder == seat.number() {
                continue;
            }
            if look.alive(holder) == Some(false)
                && entry.holder.compare_exchange(holder, seat.number(), AcqRel, Relaxed).is_ok()
            {
                self.settle(count, index);
                any = true;
            }
        }
        any
    }

    /// Brings an entry to its end that was taken over from a dead holder.
    fn settle(&self, count: &AtomicU64, index: usize) {
        let entry = &self.0[index];
        self.help(count.load(Acquire));
        let state = State(entry.state.load(Acquire));
        match state.stage() {
            HELD => {
                let state = state.at(RELEASING);
                entry.state.store(state.0, Release);
                self.give_released(count, index, state);
            }
            RELEASING => self.give_released(count, index, state),
            _ => {
                entry.state.store(state.at(IDLE).0, Release);
                entry.holder.store(0, Release);
            }
        }
    }

    /// The numbers of the slots of those who have permits, one for each permit.
    pub(super) fn holders(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|entry| entry.holder.load(Relaxed)).filter(|holder| *holder != 0)
    }
}

#[cfg(not(commons_model))]
const fn each() -> [Entry; ENTRIES] {
    [const { Entry::new() }; ENTRIES]
}

#[cfg(commons_model)]
fn each() -> [Entry; ENTRIES] {
    std::array::from_fn(|_| Entry::new())
}

#[cfg(not(commons_model))]
const _: () = assert!(size_of::<Entries>() == 1024 && size_of::<Entry>() == 16);
