//! A semaphore: never more inside than there are permits, and each comes back once when its process is killed, whatever
//! mutexes of glibc's that had; plain units beside permits.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use commons::sync::{Semaphore, SyncError};

use crate::field::{Common, HANG, MOST, Me, Trial, dawdle};

const UNITS: u32 = 2;

#[repr(C)]
pub struct Room {
    seats: Semaphore,
    /// The incarnation that is inside, for each worker.
    inside: [AtomicU64; MOST],
    had: AtomicU64,
}

// SAFETY: a semaphore and numbers.
unsafe impl Trial for Room {
    const NAME: &'static str = "permits";

    fn prepare(&self, _processes: usize) {
        self.seats.post(UNITS).unwrap();
    }

    fn work(&self, me: &mut Me<'_>) -> ! {
        loop {
            let mut theirs = me.theirs();
            let permit = match me.random.below(4) {
                0 => self.seats.try_acquire(),
                1 => self.seats.acquire_timeout(Duration::from_micros(me.random.below(3000))),
                _ => self.seats.acquire(),
            };
            match permit {
                Ok(permit) => {
                    self.inside[me.number].store(me.incarnation, SeqCst);
                    theirs.middle();
                    let there = self.inside.iter().map(|inside| inside.load(SeqCst));
                    let living = there.filter(|there| *there != 0 && me.common.lives(*there)).count();
                    me.common.expect(living <= UNITS as usize, "more are inside than there are permits");
                    dawdle(&mut me.random);
                    self.inside[me.number].store(0, SeqCst);
                    drop(permit);
                    self.had.fetch_add(1, Relaxed);
                }
                Err(SyncError::WouldBlock | SyncError::TimedOut) => {}
                Err(error) => me.common.fail(error),
            }
            drop(theirs);
            me.count();
        }
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let all: Vec<_> =
            (0..UNITS).map_while(|_| self.seats.acquire_timeout(Duration::from_secs(1)).ok()).collect();
        common.expect(all.len() == UNITS as usize, "a permit did not come back");
        common.expect(self.seats.try_acquire().is_err(), "a permit came back twice");
        drop(all);
        common.expect(self.seats.value() == UNITS && self.seats.holders().count() == 0, "units at the end");
        common.expect(self.seats.wait_timeout(HANG).is_ok(), "no unit");
        format!("permits had {}", self.had.load(Relaxed))
    }
}
