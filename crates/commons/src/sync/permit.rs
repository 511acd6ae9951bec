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
//! | 8 to 15 | the state: in 32 bits the units, above them in 30 bits the generation, in 2 bits the stage |
//!
//! # Stages
//!
//! | stage       | means                                            | next                                             |
//! | ----------- | ------------------------------------------------ | ------------------------------------------------ |
//! | `IDLE`      | it has no units                                  | holder 0 to its own; `CLAIMED`, next generation  |
//! | `CLAIMED`   | it is to take its units from the value           | takes them in one step, naming (entry, generation) in the word; `HELD` |
//! | `HELD`      | it has its units                                 | `RELEASING`                                      |
//! | `RELEASING` | it is to give its units to the value             | gives them in one step, naming (entry, generation, `GIVE`); `IDLE`, holder 0 |
//!
//! If the value is found too small, an entry goes back from `CLAIMED` to its `IDLE` of before, so that the generation
//! counts operations that were done.
//!
//! # Why a crash between any two steps is safe
//!
//! Three things are written one after the other, and a death may come between any two. What counts is whether the
//! step on the count was done. That is always to be seen, since **whoever is about to put another operation into the
//! count first *helps* the one that stands there**: reads the count W, reads the state of the entry that it names,
//! and if W says that (entry, generation) has taken, and the state is `CLAIMED` in that generation, makes it `HELD`;
//! for `GIVE`, `RELEASING` is made `IDLE`. Only then it replaces W, by a compare-and-swap. (Signalling without
//! permits leaves the operation in W as it is.) Where W names what the author's own entry did last, helping would find another
//! stage than it waits for, the author's own, and is left out. So of an entry whose holder is dead:
//!
//! > its operation was done if and only if the count still names it, or its stage has gone on.
//!
//! *If*: the name is put there by the very step; the stage goes on only by the holder, after its step, or by who read
//! a count that names the operation. *Only if*: as long as the count names it, it is seen there. It can be replaced
//! only by a compare-and-swap on a count that names it, whose author helped before: and between that author's reading
//! and its swap the operation stood there all the time, since once replaced it never comes back (its generation
//! passes once, see below). All changes of the count are read-modify-writes with at least release and acquire order,
//! so that whoever reads a count in which it is replaced also sees the helped stage.
//!
//! *Recovery* of a dead holder's entry, by R: (1) holder, from the dead one's number to R's, by a compare-and-swap; R
//! goes on only if that succeeds, so there is one R. (2) Reads the count, and helps. (3) Reads the state. `IDLE` or
//! `CLAIMED`: there are no units to give back. `HELD`: R drops the permit, in the steps above. `RELEASING`: not
//! done yet, by (2), so R does the rest of these steps. (4) Holder 0. If R dies after (1) the entry is that of a dead
//! holder, its stage tells all that there is to know, and the next recoverer goes on from there; so no unit is given
//! twice, and none is lost. A dead holder's steps come before its death, which comes before the kernel gives up its
//! slot, before R is told that nobody has that: R sees all of them.
//!
//! A death after a claim and before `CLAIMED` leaves the stage that was there, `IDLE`: a free entry has no other,
//! since who frees it says `IDLE` first.
//!
//! Living holders are left alone: they change the state by plain stores, which nobody but helpers competes with, and a
//! helper's swap fails unless the state is the one that it saw.
//!
//! # What is left open
//!
//! *A stopped helper.* One that read the count and the state, and is stopped before its swap, does harm if at its
//! waking the entry has the same stage and generation again, its 2^30th use later (at least ten seconds), and in
//! that use its step is not done yet, and the holder dies within these few instructions: then a unit too many is
//! given back, or one too few. One that is stopped between its two reads needs 2^25 uses for the same.
//!
//! *A slot's number comes again.* A number is the process's id and a counter of 16 bits that starts at random. If a
//! new process gets a dead one's id, and the counter agrees, then the dead one's permits stay out as long as the
//! new process has that slot; and a recoverer that is stopped between asking who lives and its swap would take a
//! permit from the living, if that has just the same entry. Within a process numbers come again after 65,536
//! seats.
//!
//! *A kernel that errs.* If the kernel says that a living holder's slot is nobody's, its permit is given back while
//! it is in use, and its drop does nothing: the entry is no longer its own.
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

const IDLE: u64 = 0;
const CLAIMED: u64 = 1;
const HELD: u64 = 2;
const RELEASING: u64 = 3;

/// An entry's state: its stage in the upper two bits, the generation, and the units below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u64);

const GENERATION: u64 = (1 << 30) - 1;
const STAGE_AT: u32 = 62;

impl State {
    #[inline]
    fn new(stage: u64, generation: u64, units: u32) -> State {
        State(stage << STAGE_AT | (generation & GENERATION) << 32 | u64::from(units))
    }

    #[inline]
    fn stage(self) -> u64 {
        self.0 >> STAGE_AT
    }

    #[inline]
    fn generation(self) -> u64 {
        self.0 >> 32 & GENERATION
    }

    #[inline]
    fn units(self) -> u32 {
        self.0 as u32
    }

    /// The same in another stage.
    #[inline]
    fn at(self, stage: u64) -> State {
        State(self.0 & !(3 << STAGE_AT) | stage << STAGE_AT)
    }
}

/// The operation's bits in the count.
const OPERATION: u64 = !0xffff_ffff;

/// An operation, in the place that it has in the count.
#[inline]
fn operation(entry: usize, give: bool, generation: u64) -> u64 {
    (generation << 7 | u64::from(give) << 6 | entry as u64) << 32
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
}

/// Bytes of one permit's place, of which the holder's number is the first 8.
#[cfg(not(commons_model))]
pub(super) const ENTRY: usize = size_of::<Entry>();

/// The entries of all permits that are out.
#[repr(C, align(64))]
pub(super) struct Entries([Entry; ENTRIES]);

/// A permit's entry, as its holder knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    entry: usize,
    state: State,
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

    /// Takes one unit for a permit.
    #[inline]
    pub(super) fn take(&self, count: &AtomicU64, seat: &Seat) -> Result<(Claim, u32), Lacking> {
        let mut seen = count.load(SeqCst);
        if seen & VALUE == 0 {
            return Err(Lacking::Value);
        }
        let (index, before) = self.claim(seat).ok_or(Lacking::Entry)?;
        let entry = &self.0[index];
        let claimed = State::new(CLAIMED, before.generation() + 1, 1);
        entry.state.store(claimed.0, Release);
        // What this entry did last is over, since it was free.
        let over = operation(index, true, before.generation());
        loop {
            let Some(left) = (seen & VALUE).checked_sub(1) else {
                entry.state.store(before.at(IDLE).0, Release);
                entry.holder.store(0, Release);
                return Err(Lacking::Value);
            };
            self.help_unless(over, seen);
            let taken = operation(index, false, claimed.generation()) | left;
            match count.compare_exchange_weak(seen, taken, SeqCst, SeqCst) {
                Ok(_) => {
                    let state = claimed.at(HELD);
                    entry.state.store(state.0, Release);
                    return Ok((Claim { entry: index, state }, left as u32));
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Makes a free entry this process's; it, and the state that it has.
    #[inline]
    fn claim(&self, seat: &Seat) -> Option<(usize, State)> {
        // The one that this thread had last is likely to be free, and near.
        let hint = primitive::hint();
        let first = if hint < ENTRIES { hint } else { first(seat) };
        for step in 0..ENTRIES {
            let index = first.wrapping_add(step) % ENTRIES;
            let entry = &self.0[index];
            if entry.holder.load(Relaxed) == 0
                && entry.holder.compare_exchange(0, seat.number(), AcqRel, Relaxed).is_ok()
            {
                if index != hint {
                    primitive::set_hint(index);
                }
                return Some((index, State(entry.state.load(Relaxed))));
            }
        }
        None
    }

    /// As [`help`](Entries::help), unless the count names an operation that is known to be over.
    #[inline]
    fn help_unless(&self, over: u64, count: u64) {
        if count & OPERATION != over {
            self.help(count);
        }
    }

    /// Lets the entry that the count names go on to the stage that this says, before the count names another.
    #[inline]
    fn help(&self, count: u64) {
        let named = (count >> 32 & 0x3f) as usize % ENTRIES;
        let give = count >> 38 & 1 == 1;
        let (before, after) = if give { (RELEASING, IDLE) } else { (CLAIMED, HELD) };
        let word = self.0[named].state.load(Acquire);
        let state = State(word);
        if state.stage() == before && operation(named, give, state.generation()) == count & OPERATION {
            let _ = self.0[named].state.compare_exchange(word, state.at(after).0, AcqRel, Relaxed);
        }
    }

    /// Gives a permit's units back, if the entry is as it was left; whether it was.
    #[inline]
    pub(super) fn give(&self, count: &AtomicU64, seat: &Seat, claim: Claim) -> bool {
        let entry = &self.0[claim.entry];
        if entry.holder.load(Relaxed) != seat.number() || entry.state.load(Relaxed) != claim.state.0 {
            return false;
        }
        entry.state.store(claim.state.at(RELEASING).0, Release);
        self.give_released(count, claim.entry, claim.state);
        true
    }

    /// The steps from `RELEASING` on, which the state says already.
    #[inline]
    fn give_released(&self, count: &AtomicU64, index: usize, state: State) {
        let entry = &self.0[index];
        // Of what this entry did last, its taking, it knows.
        let over = operation(index, false, state.generation());
        let mut seen = count.load(Acquire);
        loop {
            self.help_unless(over, seen);
            let value = ((seen & VALUE) + u64::from(state.units())).min(VALUE);
            let given = operation(index, true, state.generation()) | value;
            match count.compare_exchange_weak(seen, given, SeqCst, Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        entry.state.store(state.at(IDLE).0, Release);
        entry.holder.store(0, Release);
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
                entry.state.store(state.at(RELEASING).0, Release);
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
