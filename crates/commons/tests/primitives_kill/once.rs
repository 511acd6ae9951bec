//! What is done once: by one at a time, seen by all alike, done anew if whoever did it was killed.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use commons::sync::{Once, OnceLock};

use crate::field::{Common, Me, Trial, dawdle};

const CELLS: usize = 1 << 14;

#[repr(C)]
struct Cell {
    once: Once,
    lock: OnceLock<[u64; 4]>,
    /// Who is doing it, for either.
    inside: [AtomicU64; 2],
    /// Whether `once` was done, as told by who did it last of all.
    done: AtomicU64,
    /// What the first one found that read it.
    seen: AtomicU64,
}

/// All do the same cell, then the next.
#[repr(C)]
pub struct Cells {
    at: AtomicU64,
    done: AtomicU64,
    again: AtomicU64,
    cells: [Cell; CELLS],
}

/// Does something that takes a while, and finds out whether another one does it, too.
fn make(me: &mut Me<'_>, cells: &Cells, inside: &AtomicU64, mut middle: impl FnMut()) -> u64 {
    let before = inside.swap(me.incarnation, SeqCst);
    if before != 0 {
        me.common.expect(!me.common.lives(before), "two do it at once, or it is done twice");
        cells.again.fetch_add(1, Relaxed);
    }
    dawdle(&mut me.random);
    middle();
    dawdle(&mut me.random);
    me.random.below(u64::MAX >> 33) + 1
}

// SAFETY: locks and numbers.
unsafe impl Trial for Cells {
    const NAME: &'static str = "once";

    fn work(&self, me: &mut Me<'_>) -> ! {
        loop {
            let at = self.at.load(SeqCst);
            let Some(cell) = self.cells.get(at as usize) else {
                std::thread::yield_now();
                me.count();
                continue;
            };
            let mut theirs = me.theirs();
            let common = me.common;
            let done = cell.once.call_once(|| {
                make(me, self, &cell.inside[0], || theirs.middle());
                cell.done.store(1, SeqCst);
            });
            let value = cell.lock.get_or_init(|| [make(me, self, &cell.inside[1], || {}); 4]);
            match (done, value) {
                (Ok(()), Ok(value)) => {
                    common.expect(cell.done.load(SeqCst) == 1 && cell.once.is_completed(), "it was not done");
                    common.expect(value.iter().all(|part| *part == value[0]), "half a value");
                    let first = cell.seen.compare_exchange(0, value[0], SeqCst, SeqCst);
                    common.expect(first.is_ok_and(|_| true) || first == Err(value[0]), "two values");
                }
                (Err(error), _) | (_, Err(error)) => common.fail(error),
            }
            if self.at.compare_exchange(at, at + 1, SeqCst, SeqCst).is_ok() {
                self.done.fetch_add(1, Relaxed);
            }
            drop(theirs);
            me.count();
        }
    }

    fn is_used_up(&self) -> bool {
        self.at.load(SeqCst) >= CELLS as u64
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let (done, again) = (self.done.load(Relaxed), self.again.load(Relaxed));
        common.expect(done > 0, "nothing happened");
        format!("done {done} since the cells were last made anew, of these again after a death {again}")
    }
}
