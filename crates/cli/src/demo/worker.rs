//! A worker of the demo: a process that counts chunks until all are done.

use std::thread;
use std::time::Duration;

use commons::{Namespace, SegmentOptions};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::board::{Board, Chunk};
use super::count::{Counter, Counts};
use super::totals::Totals;
use crate::args::{Stop, Worker};
use crate::failure::{Failure, Outcome};

/// How long to sleep before looking again.
const PAUSE: Duration = Duration::from_micros(500);
/// Bytes that are copied at once.
const BUFFER: usize = 64 << 10;

pub(crate) fn work(namespace: &Namespace, worker: &Worker) -> Outcome<()> {
    // The kernel kills it when its parent ends, by whatever end; and if that was before it was asked, there is
    // nothing to do.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::system("ask to end with the parent", &error.into()))?;
    let parent = i32::try_from(worker.parent).ok().and_then(Pid::from_raw);
    if parent.is_none() || getppid() != parent {
        return Ok(());
    }
    let name = worker.name.to_string_lossy();
    let segment = SegmentOptions::new().namespace(namespace).open(&worker.name)?;
    let attachment = segment.attach()?;
    // From here on the attachment alone holds the segment.
    drop(segment);
    let board = Board::new(&attachment)?;
    let totals = Totals::open(namespace, &name)?;
    let mut next = board.take(worker.number);
    board.say_ready();
    while !board.all_ready() {
        thread::sleep(PAUSE);
    }
    loop {
        match &next {
            Some(chunk) => match worker.stop {
                None => {
                    let counts = count(chunk, worker.number, chunk.len())?;
                    totals.add(&board, chunk, worker.number, counts)?;
                }
                Some(Stop::InChunk) => {
                    count(chunk, worker.number, chunk.len() / 2)?;
                    wait_for_the_end(&board, worker.number);
                }
                Some(Stop::WithLock) => {
                    let counts = count(chunk, worker.number, chunk.len())?;
                    let _locked = totals.add_half(&board, worker.number, counts)?;
                    wait_for_the_end(&board, worker.number);
                }
            },
            None if board.is_done() => return Ok(()),
            // Others are counting the last chunks, and may die of it.
            None => thread::sleep(PAUSE),
        }
        next = board.take(worker.number);
    }
}

/// Counts the first `len` bytes of a chunk, and notes that.
fn count(chunk: &Chunk<'_>, worker: u64, len: usize) -> Outcome<Counts> {
    let mut counter = Counter::after(chunk.before()?);
    count_some(chunk, &mut counter, len)?;
    chunk.note(worker, counter.counts);
    Ok(counter.counts)
}

/// Says that it has stopped, and waits to be killed.
fn wait_for_the_end(board: &Board<'_>, worker: u64) -> ! {
    board.say_stopped(worker);
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Counts the first `len` bytes.
fn count_some(chunk: &Chunk<'_>, counter: &mut Counter, len: usize) -> Outcome<()> {
    let mut buffer = vec![0; BUFFER.min(len)];
    let mut at = 0;
    while at < len {
        let part = (len - at).min(BUFFER);
        chunk.read(at, &mut buffer[..part])?;
        counter.take(&buffer[..part]);
        at += part;
    }
    Ok(())
}
