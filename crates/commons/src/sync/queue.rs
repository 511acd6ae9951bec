//! Sleeping until there is something to take, for what is counted in another word.
//!
//! # Layout
//!
//! | bytes   | what                                                                                              |
//! | ------- | ------------------------------------------------------------------------------------------------- |
//! | 0 to 3  | the futex: 0, or `SLEEPERS` with, in the low 30 bits, the id of the thread that set it             |
//! | 4 to 63 | unused, so that it has a cache line of its own                                                    |
//!
//! `SLEEPERS` says that somebody may be asleep. It is *signed*: to the kernel the word looks like a lock that the
//! thread has which set it. If that dies as a waiter, the kernel puts `OWNER_DIED` in place of the id.
//!
//! # The protocol
//!
//! - Who *adds* to the count looks at the word afterwards. `SLEEPERS`: sets it to 0, and, if it was this thread that
//!   took the bit away, wakes one.
//! - Who *waits* signs the word, unless it is signed already; looks at the count; takes if there is something, else
//!   sleeps while the word is as it was seen; and begins again when woken.
//! - Who took in this way, and saw something left, does what one who adds does: the *passing on*.
//!
//! Adding, signing, taking, and both looks are sequentially consistent.
//!
//! # Why no wake-up is lost
//!
//! A *debtor* is a thread that has added and not yet looked, or has taken the bit away and not yet woken, or has
//! signed, or been woken, and since then has neither gone to sleep nor seen the count at 0 nor passed on. The claim:
//! **while the count is above 0 and somebody is asleep, there is a debtor**, who is awake and about to wake one of
//! the sleepers, or to take, or to make the claim another's.
//!
//! *Adding* makes a debtor of who adds. *Taking* takes away, and cannot break the claim.
//!
//! *Falling asleep.* A falls asleep, so the word has the bit. Take the last change of the word before that: X signed it
//! (X may be A); from then until now it has not changed. Whoever added, and looked before X signed, added before X
//! looked at the count. Whoever looked after X signed, and before now, saw the bit, and has not taken it away yet: a
//! debtor. So is whoever has not looked. Is neither there, then X saw all that was ever added. Saw X the count at 0,
//! then nothing was added since, and it is 0. Saw X more, then it is still a debtor, unless it passed on or saw the
//! count at 0 after taking: the latter as before, and the former would have taken the bit away.
//!
//! *A debtor looks, and finds no bit.* While A is asleep, so somebody took the bit away after A fell asleep; take the
//! last one to do so. Either it has not woken anybody yet, and is a debtor; or it has woken B (somebody was asleep:
//! A). B has not begun again, for then the word would be signed: so B is a debtor. The same if the bit was seen, but
//! gone when it was to be taken away. *A debtor finds the bit*: it remains a debtor until it has woken B, which is one
//! from then on. *A debtor sees the count at 0*, after taking or before giving up: then there is nothing to claim,
//! until somebody adds.
//!
//! This is about one unit at a time. Waiters that need several at once would need all to be woken; there are none.
//!
//! # Why a crash is safe
//!
//! From before it signs until it has passed on, a thread's `pending` names the word. As it dies, the kernel looks at
//! the word:
//!
//! - It is signed by the dead: the kernel changes it, and wakes one. Who is asleep becomes the debtor in its place;
//!   and who has looked but is not asleep yet will not fall asleep, since the word is not what it saw. (This is what
//!   signing is for. Were the bit just set, then a wake-up for the death might find nobody asleep, and A fall asleep
//!   a moment later: seen once in some 400,000 modelled runs.)
//! - It is 0: the kernel wakes one, and nobody can fall asleep on a 0.
//! - It is signed by another, E: nothing happens, and nothing has to. What the dead was woken for was added, and
//!   looked after, before the word was set to 0, so before E signed. E's look saw it: the claim is E's.
//!
//! If the thread died asleep, somebody else is woken at most, and looks in vain. Where the thread's list cannot be
//! had it signs with no id, and a death is made up for as below.
//!
//! Who adds sets no `pending`: adding is for signal handlers too, and may come in the middle of another lock's
//! step. If it dies between adding and waking, those asleep find out when they look again: after 25 ms where
//! permits can be had, elsewhere after 50 ms, growing to 1 s.
//!
//! # What a wrong word does
//!
//! Whatever the word is, waiters sleep while it is that, with `SLEEPERS` set, and look again from time to time;
//! whoever adds next sets it to 0.

use std::time::Duration;

use super::backoff::{Backoff, Deadline, Pace};
use super::error::SyncError;
use super::primitive::{self, AtomicU32, Ordering::SeqCst, Waited, constructor};
use super::thread::Record;
use super::word::OWNER;

/// Somebody may be asleep.
pub(super) const SLEEPERS: u32 = 0x8000_0000;

/// What an attempt to take came to.
pub(super) enum Attempt<T> {
    /// It was had; and so much is left.
    Taken(T, u32),
    /// The count is 0.
    Nothing,
    /// There is something to take, but not for this one, now.
    Crowded,
}

/// How long to sleep before looking whether somebody died.
pub(super) const LOOK: Duration = Duration::from_millis(25);

/// See the module.
#[repr(C, align(64))]
pub(super) struct Queue {
    word: AtomicU32,
}

impl Queue {
    constructor! {
        /// Nobody asleep.
        pub(super) fn new() -> Self {
            Queue { word: AtomicU32::new(0) }
        }
    }

    /// To be called after something was added, in a sequentially consistent step.
    #[inline]
    pub(super) fn added(&self) {
        primitive::in_order();
        if self.word.load(SeqCst) & SLEEPERS != 0 {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
        if self.word.swap(0, SeqCst) & SLEEPERS != 0 {
            primitive::wake(&self.word, 1);
        }
    }

    /// Whether somebody may be asleep.
    pub(super) fn has_sleepers(&self) -> bool {
        self.word.load(SeqCst) & SLEEPERS != 0
    }

    /// Waits until `take` takes, or the deadline. `take` looks at the count in a sequentially consistent step.
    /// `look` brings back what the dead had, and says whether that can happen at all.
    #[cold]
    pub(super) fn wait<T>(
        &self,
        deadline: Deadline,
        mut take: impl FnMut() -> Attempt<T>,
        look: impl FnMut() -> bool,
    ) -> Result<T, SyncError> {
        let mut backoff = Backoff::new();
        while backoff.spin() {
            if let Attempt::Taken(taken, _) = take() {
                return Ok(taken);
            }
        }
        let record = Record::ready().ok();
        if let Some(record) = record {
            record.set_pending(&self.word);
        }
        let taken = self.sleep(record.map_or(0, Record::id), deadline, take, look);
        if let Some(record) = record {
            record.clear_pending();
        }
        taken
    }

    /// Says that somebody may be asleep, with this thread's id unless another's is there; the word.
    fn sign(&self, me: u32) -> u32 {
        let mut seen = self.word.load(SeqCst);
        loop {
            if seen & SLEEPERS != 0 && (seen & OWNER != 0 || me == 0) {
                return seen;
            }
            match self.word.compare_exchange_weak(seen, SLEEPERS | me, SeqCst, SeqCst) {
                Ok(_) => return SLEEPERS | me,
                Err(now) => seen = now,
            }
        }
    }

    fn sleep<T>(
        &self,
        me: u32,
        deadline: Deadline,
        mut take: impl FnMut() -> Attempt<T>,
        mut look: impl FnMut() -> bool,
    ) -> Result<T, SyncError> {
        let mut pace = Pace::new();
        let mut looks = look();
        let mut crowded = Duration::ZERO;
        loop {
            let told = self.sign(me);
            primitive::in_order();
            match take() {
                Attempt::Taken(taken, left) => {
                    if left > 0 {
                        self.added();
                    }
                    return Ok(taken);
                }
                Attempt::Crowded => {
                    // Others may be able to take it.
                    self.added();
                    looks = look();
                    let left = deadline.left()?;
                    crowded = (crowded * 2).clamp(Duration::from_micros(100), LOOK);
                    primitive::pause(left.map_or(crowded, |left| left.min(crowded)));
                    continue;
                }
                Attempt::Nothing => {}
            }
            let left = deadline.left()?;
            let most = if looks { Some(left.map_or(LOOK, |left| left.min(LOOK))) } else { pace.next(left) };
            if primitive::wait(&self.word, told, most) == Waited::TimedOut {
                looks = look();
            }
        }
    }
}
