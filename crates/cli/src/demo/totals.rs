//! The demo's totals: an object with a type, in a segment of its own, behind a lock.
//!
//! Whoever has counted a chunk locks the totals, adds its counts, and *still with the lock* says on the [board] that
//! the chunk is done. So while the lock is free, the totals are the sum of the chunks that are done. An owner that is
//! killed leaves the lock together with that news, and perhaps half an addition. Whoever is next makes the totals good
//! by adding up the chunks that are done: if the dead one got as far as saying so, its chunk is among them; if not, the
//! chunk is counted anew.
//!
//! [board]: super::board

use commons::sync::{Mutex, MutexGuard};
use commons::{Namespace, Shareable, Shared, SharedOptions};

use super::board::{Board, Chunk};
use super::count::Counts;
use crate::failure::{Failure, Outcome};

#[repr(C)]
#[derive(Shareable)]
struct Object {
    sums: Mutex<Sums>,
}

#[repr(C)]
#[derive(Clone, Copy, Shareable)]
pub(super) struct Sums {
    lines: u64,
    words: u64,
    bytes: u64,
    /// The number of the worker that has made them good after an owner died.
    mender: u64,
    /// How many lines too many it found.
    excess: u64,
}

pub(super) struct Totals {
    shared: Shared<Object>,
}

impl Totals {
    pub(super) fn create(namespace: &Namespace, demo: &str) -> Outcome<Totals> {
        let shared = SharedOptions::new().namespace(namespace).create(Totals::name(demo))?;
        Totals::guarded(shared)
    }

    pub(super) fn open(namespace: &Namespace, demo: &str) -> Outcome<Totals> {
        let shared = SharedOptions::new().namespace(namespace).open(Totals::name(demo))?;
        Totals::guarded(shared)
    }

    /// The name of the segment that belongs to the demo's.
    pub(super) fn name(demo: &str) -> String {
        format!("{demo}-totals")
    }

    fn guarded(shared: Shared<Object>) -> Outcome<Totals> {
        shared.attachment().guard()?;
        Ok(Totals { shared })
    }

    /// Locks them, and makes them good if the last owner died.
    fn lock(&self, board: &Board<'_>, worker: u64) -> Outcome<MutexGuard<'_, Sums>> {
        let mend = |sums: &mut Sums| {
            let done = board.done();
            let Counts { lines, words, bytes } = done;
            *sums = Sums { lines, words, bytes, mender: worker, excess: sums.lines.saturating_sub(lines) };
        };
        Ok(self.shared.sums.lock_or_recover(mend).map_err(commons::Error::from)?)
    }

    /// Adds a chunk's counts and says that it is done.
    pub(super) fn add(
        &self,
        board: &Board<'_>,
        chunk: &Chunk<'_>,
        worker: u64,
        counts: Counts,
    ) -> Outcome<()> {
        let mut sums = self.lock(board, worker)?;
        sums.lines += counts.lines;
        sums.words += counts.words;
        sums.bytes += counts.bytes;
        if !chunk.finish(worker) {
            return Err(Failure::new("the demo does not add up: a chunk was taken from a living worker"));
        }
        Ok(())
    }

    /// Adds the lines only, and keeps the lock: the worker is to be killed now.
    pub(super) fn add_half(
        &self,
        board: &Board<'_>,
        worker: u64,
        counts: Counts,
    ) -> Outcome<MutexGuard<'_, Sums>> {
        let mut sums = self.lock(board, worker)?;
        sums.lines += counts.lines;
        Ok(sums)
    }

    /// What they are when all is done, who made them good after an owner died, and how many lines too many it found.
    pub(super) fn result(&self, board: &Board<'_>) -> Outcome<(Counts, u64, u64)> {
        let Sums { lines, words, bytes, mender, excess } = *self.lock(board, 0)?;
        self.shared.attachment().check()?;
        let counts = Counts { lines, words, bytes };
        if counts != board.total()? {
            return Err(Failure::new("the demo does not add up: the totals are not what the chunks have"));
        }
        Ok((counts, mender, excess))
    }
}
