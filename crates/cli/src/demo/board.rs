//! What the demo's segment looks like: a header, a board of chunks, then the bytes to count.
//!
//! All words of the header and the board are 8 bytes and atomic.
//!
//! | word of a chunk | what it says                                                                        |
//! | --------------- | ----------------------------------------------------------------------------------- |
//! | `STATE`         | `FREE` (0), the number of the worker that counts it, or `DONE`                      |
//! | `START`, `LEN`  | where its bytes are in the segment; they never cross the border between two files   |
//! | `FIRST`         | 1 if it begins a file, so that the byte before it is not of its text                |
//! | `COUNTS`, 3     | lines, words, bytes: what its worker has counted, valid once the state is `DONE`    |
//! | `WORKER`        | who has counted it                                                                  |
//!
//! `FREE` → worker → `DONE`, each by one compare-and-exchange. A worker stores its counts before it says
//! `DONE`, and nobody reads them earlier: one that is killed at any point leaves either a chunk that is done,
//! or one with its number. `DONE` is said with the lock of the [totals](super::totals) held. After the kernel has
//! said that the worker ended, `DONE` stays, and its number turns to `FREE`; whoever takes the chunk next counts it
//! from its beginning. A worker killed after it advanced the cursor and before it took the chunk leaves it `FREE`.
//! So each chunk is counted into the sum exactly once.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::SeqCst};

use commons::Attachment;

use super::count::Counts;
use super::input::Input;
use crate::failure::{Failure, Outcome};

/// How many workers there are; their numbers are 1 to this.
pub(super) const WORKERS: usize = 4;

const WORD: usize = size_of::<u64>();
/// Words of the header.
const HEADER: usize = 16;
/// How many chunks there are.
const CHUNKS: usize = 0;
/// The first chunk that no worker has gone for yet.
const CURSOR: usize = 1;
/// How many workers have a chunk each, and wait for the others.
const READY: usize = 2;
/// For each worker a word: 1 once it has stopped to be killed.
const STOPPED: usize = 8;

/// Words of a chunk: a cache line.
const CHUNK: usize = 8;
const STATE: usize = 0;
const START: usize = 1;
const LEN: usize = 2;
const FIRST: usize = 3;
const COUNTS: usize = 4;
const WORKER: usize = 7;

const FREE: u64 = 0;
const DONE: u64 = u64::MAX;

/// About how many chunks the text is cut into.
const PIECES: usize = 64;
/// So many that each worker has one, even if there is nothing to count.
const FEWEST: usize = 2 * WORKERS;

/// How the inputs are laid out in a segment.
pub(super) struct Plan {
    /// Start, length, and whether it begins a file, of each chunk.
    chunks: Vec<(usize, usize, bool)>,
    /// Where the inputs begin, in bytes.
    data: usize,
    /// Bytes in all.
    size: usize,
}

impl Plan {
    pub(super) fn new(inputs: &[Input]) -> Plan {
        let total: usize = inputs.iter().map(|input| input.bytes.len()).sum();
        let most = total.div_ceil(PIECES).max(1);
        let mut chunks = Vec::new();
        let mut at = 0;
        for input in inputs {
            let len = input.bytes.len();
            let starts = (0..len).step_by(most);
            chunks.extend(starts.map(|start| (at + start, most.min(len - start), start == 0)));
            at += len;
        }
        while chunks.len() < FEWEST {
            chunks.push((at, 0, true));
        }
        let data = (HEADER + chunks.len() * CHUNK) * WORD;
        for (start, _, _) in &mut chunks {
            *start += data;
        }
        Plan { chunks, data, size: data + total }
    }

    pub(super) fn size(&self) -> u64 {
        self.size as u64
    }

    /// Writes all of it into the new segment's bytes, which are zero.
    pub(super) fn fill(&self, inputs: &[Input], bytes: &mut [u8]) {
        let mut put = |word: usize, value: usize| {
            bytes[word * WORD..][..WORD].copy_from_slice(&(value as u64).to_ne_bytes());
        };
        put(CHUNKS, self.chunks.len());
        for (index, (start, len, first)) in self.chunks.iter().enumerate() {
            let chunk = HEADER + index * CHUNK;
            put(chunk + START, *start);
            put(chunk + LEN, *len);
            put(chunk + FIRST, usize::from(*first));
        }
        let mut at = self.data;
        for input in inputs {
            bytes[at..][..input.bytes.len()].copy_from_slice(&input.bytes);
            at += input.bytes.len();
        }
    }
}

/// The header and the chunks of the attached segment.
pub(super) struct Board<'a> {
    attachment: &'a Attachment,
    header: &'a [AtomicU64],
    chunks: &'a [AtomicU64],
}

impl<'a> Board<'a> {
    pub(super) fn new(attachment: &'a Attachment) -> Outcome<Board<'a>> {
        let bad = || Failure::new("the demo's segment is not laid out as it should be");
        attachment.guard()?;
        let words = attachment.atomics::<AtomicU64>(..)?;
        let (header, behind) = words.split_at_checked(HEADER).ok_or_else(bad)?;
        let count = usize::try_from(header[CHUNKS].load(Relaxed)).ok();
        let count = count.and_then(|count| count.checked_mul(CHUNK)).ok_or_else(bad)?;
        let chunks = behind.get(..count).ok_or_else(bad)?;
        Ok(Board { attachment, header, chunks })
    }

    /// All chunks, in the order of their bytes.
    pub(super) fn chunks(&self) -> impl ExactSizeIterator<Item = Chunk<'a>> + use<'a> {
        let attachment = self.attachment;
        let chunks = self.chunks.chunks_exact(CHUNK).enumerate();
        chunks.map(move |(index, words)| Chunk { index, words, attachment })
    }

    /// The next chunk for this worker; `None` if there is none to be had just now.
    pub(super) fn take(&self, worker: u64) -> Option<Chunk<'a>> {
        let mut chunks = self.chunks();
        if self.header[CURSOR].load(Relaxed) < chunks.len() as u64 {
            let index = self.header[CURSOR].fetch_add(1, SeqCst);
            let next = usize::try_from(index).ok().and_then(|index| chunks.nth(index));
            if let Some(chunk) = next.filter(|chunk| chunk.change(FREE, worker)) {
                return Some(chunk);
            }
        }
        // All were gone for; those of the dead are free again.
        self.chunks().find(|chunk| chunk.change(FREE, worker))
    }

    /// Whether all chunks have been counted.
    pub(super) fn is_done(&self) -> bool {
        self.chunks().all(|chunk| chunk.is(DONE))
    }

    /// Frees what a worker had taken that is known to have ended; which chunks.
    pub(super) fn free(&self, worker: u64) -> Vec<Chunk<'a>> {
        self.chunks().filter(|chunk| chunk.change(worker, FREE)).collect()
    }

    pub(super) fn say_ready(&self) {
        self.header[READY].fetch_add(1, SeqCst);
    }

    /// Whether every worker has a chunk.
    pub(super) fn all_ready(&self) -> bool {
        self.header[READY].load(SeqCst) >= WORKERS as u64
    }

    pub(super) fn say_stopped(&self, worker: u64) {
        if let Some(word) = self.stopped(worker) {
            word.store(1, SeqCst);
        }
    }

    pub(super) fn has_stopped(&self, worker: u64) -> bool {
        self.stopped(worker).is_some_and(|word| word.load(SeqCst) == 1)
    }

    fn stopped(&self, worker: u64) -> Option<&AtomicU64> {
        self.header[STOPPED..].get(usize::try_from(worker).ok()?)
    }

    /// What the chunks have that are done.
    pub(super) fn done(&self) -> Counts {
        self.chunks().filter(|chunk| chunk.is(DONE)).map(|chunk| chunk.counts()).sum()
    }

    /// What all chunks have, if all were counted.
    pub(super) fn total(&self) -> Outcome<Counts> {
        if !self.is_done() {
            return Err(Failure::new("the demo does not add up: not all chunks were counted"));
        }
        let total = self.done();
        self.attachment.check()?;
        Ok(total)
    }
}

/// A chunk on the board.
pub(super) struct Chunk<'b> {
    pub(super) index: usize,
    words: &'b [AtomicU64],
    attachment: &'b Attachment,
}

impl Chunk<'_> {
    fn is(&self, state: u64) -> bool {
        // Pairs with the exchange in `finish`, so that the counts are seen as well.
        self.words[STATE].load(Acquire) == state
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.words[STATE].compare_exchange(from, to, SeqCst, Relaxed).is_ok()
    }

    fn number(&self, word: usize) -> usize {
        usize::try_from(self.words[word].load(Relaxed)).unwrap_or(usize::MAX)
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.number(LEN)
    }

    /// Copies bytes out of it, from `at` on.
    pub(super) fn read(&self, at: usize, buffer: &mut [u8]) -> Outcome<()> {
        Ok(self.attachment.read_at(self.number(START).saturating_add(at), buffer)?)
    }

    /// The byte before it, if that is of the same file.
    pub(super) fn before(&self) -> Outcome<Option<u8>> {
        if self.number(FIRST) == 1 {
            return Ok(None);
        }
        let mut byte = [0];
        self.attachment.read_at(self.number(START).saturating_sub(1), &mut byte)?;
        Ok(Some(byte[0]))
    }

    /// Stores what has been counted so far.
    pub(super) fn note(&self, worker: u64, counts: Counts) {
        let Counts { lines, words, bytes } = counts;
        for (place, value) in [lines, words, bytes].into_iter().enumerate() {
            self.words[COUNTS + place].store(value, Relaxed);
        }
        self.words[WORKER].store(worker, Relaxed);
    }

    /// Says that what was noted is all; fails if the chunk is not this worker's any more.
    pub(super) fn finish(&self, worker: u64) -> bool {
        self.change(worker, DONE)
    }

    pub(super) fn counts(&self) -> Counts {
        let [lines, words, bytes] = [0, 1, 2].map(|place| self.words[COUNTS + place].load(Relaxed));
        Counts { lines, words, bytes }
    }

    /// The number of the worker that has counted it.
    pub(super) fn worker(&self) -> u64 {
        self.words[WORKER].load(Relaxed)
    }
}
