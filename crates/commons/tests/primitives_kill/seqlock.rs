//! A value that is replaced as a whole: readers never wait, never see half of it, and never go back, whichever writer is
//! killed half way.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use commons::sync::{SeqLock, SyncError};

use crate::field::{Common, Me, Trial, dawdle};

const LENGTH: usize = 32;

#[repr(C)]
pub struct Value {
    value: SeqLock<[u64; LENGTH]>,
    /// What was written, by who lived to say so.
    written: AtomicU64,
    writes: AtomicU64,
    reads: AtomicU64,
}

fn of(number: u64) -> [u64; LENGTH] {
    std::array::from_fn(|index| number.wrapping_mul(2 * index as u64 + 1))
}

// SAFETY: a lock and numbers.
unsafe impl Trial for Value {
    const NAME: &'static str = "seqlock";

    fn work(&self, me: &mut Me<'_>) -> ! {
        let mut last = 0;
        loop {
            if me.number % 2 == 0 && me.random.once_in(2) {
                let mut theirs = me.theirs();
                let (common, random) = (me.common, &mut me.random);
                let mut next = 0;
                let result = match random.below(4) {
                    0 => {
                        // Fails if another one writes, and otherwise replaces what is there by the same.
                        let there = self.value.update(|value| {
                            next = value[0];
                            value
                        });
                        theirs.middle();
                        there
                    }
                    _ => self.value.update(|value| {
                        common.expect(value == of(value[0]), "a writer found half a value");
                        theirs.middle();
                        dawdle(random);
                        next = value[0] + 1;
                        of(next)
                    }),
                };
                match result {
                    Ok(()) => drop(self.written.fetch_max(next, SeqCst)),
                    Err(SyncError::WouldBlock | SyncError::TimedOut) => {}
                    Err(error) => common.fail(error),
                }
                self.writes.fetch_add(1, Relaxed);
            } else {
                let written = self.written.load(SeqCst);
                let value = self.value.read();
                me.common.expect(value == of(value[0]), "half a value");
                me.common.expect(value[0] >= written, "what was written is not there");
                me.common.expect(value[0] >= last, "it went back");
                last = value[0];
                self.reads.fetch_add(1, Relaxed);
            }
            me.count();
        }
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let value = self.value.read();
        common.expect(value == of(value[0]) && value[0] >= self.written.load(SeqCst), "at the end");
        let written = self.value.write_timeout(of(1), std::time::Duration::from_secs(1));
        common.expect(written == Ok(()) && self.value.read() == of(1), "nobody can write any more");
        let (writes, reads) = (self.writes.load(Relaxed), self.reads.load(Relaxed));
        common.expect(value[0] > 0 && reads > 0, "nothing happened");
        format!("written {writes}, read {reads}")
    }
}
