//! Random `kill -9` over create, open, attach, fork, detach, delete, grow and sweep, by several processes on
//! the same few names: at no time does anybody see a half-made segment or wait for ever; what lives keeps its
//! name; after one sweep nothing is left.
//!
//! `cargo test --release -p commons --test kill -- --kills 20000` is the full form; without arguments a
//! short one runs. `--processes N` and `--seed N` choose one campaign instead of the usual ones.
//!
//! A process with one thread forks the workers, so this has its own `main`.

mod common;

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::Private;
use common::campaign::{self, Random, wait_for_any};
use commons::{Attachment, Error, Lifetime, Segment, SegmentOptions};

/// What the workers count, in memory that they share with the campaign.
#[repr(C)]
#[derive(Default)]
struct Tally {
    opened: AtomicU64,
    created: AtomicU64,
    forked: AtomicU64,
    grown: AtomicU64,
    deleted: AtomicU64,
    swept: AtomicU64,
    /// A segment that was not whole.
    half_made: AtomicU64,
    /// A held segment whose name was gone or meant another.
    taken: AtomicU64,
    /// An error that no step may give here.
    errors: AtomicU64,
    busy: AtomicU64,
    /// One for each worker: how many rounds it has done.
    rounds: [AtomicU64; 16],
}

const SIZE: usize = 8192;
const MARK: u64 = 0x5eed_0000_c0ff_ee00;
/// No round takes longer than this, or it counts as a hang.
const HANG: Duration = Duration::from_secs(10);

/// Names under which nobody deletes: there, who holds one must always find its name.
const KEPT: [&str; 2] = ["kept", "kept/too"];
/// A name under which everything happens.
const WILD: &str = "wild";

fn fill(bytes: &mut [u8]) {
    for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(MARK + index as u64).to_ne_bytes());
    }
}

/// Whether the first `SIZE` bytes are what the initialiser wrote, and all others zero.
fn is_whole(attachment: &Attachment) -> bool {
    let words = attachment.atomics::<AtomicU64>(..).unwrap();
    words.len() * 8 >= SIZE
        && words.iter().enumerate().all(|(index, word)| {
            let expected = if index * 8 < SIZE { MARK + index as u64 } else { 0 };
            word.load(Relaxed) == expected
        })
}

fn worker(private: &Private, tally: &Tally, number: usize, seed: u64) -> ! {
    let mut random = Random(seed | 1);
    let initialized = |renaming: bool| {
        let options =
            SegmentOptions::new().size(SIZE as u64).namespace(&private.namespace).initialize(|bytes| {
                fill(bytes);
                Ok(())
            });
        if renaming { options.publish_by_renaming() } else { options }
    };
    let ways = [initialized(false), initialized(true)];
    loop {
        let kept = random.below(3) != 0;
        let name = if kept { KEPT[random.below(2) as usize] } else { WILD };
        let options = &ways[usize::from(random.below(4) == 0)];
        let opened = match random.below(10) {
            0 => options.open(name),
            1 => options.create(name),
            2 if !kept => options.open_wait(name, Duration::from_millis(2)),
            _ => options.open_or_create(name),
        };
        match opened {
            Ok(segment) => {
                let counter = if segment.was_created() { &tally.created } else { &tally.opened };
                counter.fetch_add(1, Relaxed);
                hold(private, tally, segment, name, kept, &mut random);
            }
            Err(Error::NotFound(_) | Error::Exists(_) | Error::TimedOut { .. }) => {}
            Err(error) => count_error(tally, &error),
        }
        if random.below(50) == 0 {
            match private.namespace.sweep() {
                Ok(sweep) => drop(tally.swept.fetch_add(sweep.segments, Relaxed)),
                Err(error) => count_error(tally, &error),
            }
        }
        while wait_for_any(libc::WNOHANG) {}
        tally.rounds[number].fetch_add(1, Relaxed);
    }
}

fn count_error(tally: &Tally, error: &Error) {
    if matches!(error, Error::Busy { .. }) {
        tally.busy.fetch_add(1, Relaxed);
    } else if tally.errors.fetch_add(1, Relaxed) < 5 {
        eprintln!("unexpected: {error}");
    }
}

/// Attaches, looks whether all is as it must be, for a while, and leaves in one of several ways.
fn hold(private: &Private, tally: &Tally, segment: Segment, name: &str, kept: bool, random: &mut Random) {
    let attachment = match segment.attach() {
        Ok(attachment) => attachment,
        Err(error) => return count_error(tally, &error),
    };
    let mine = std::fs::metadata(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&segment))
    ));
    let mine = mine.map(|metadata| metadata.ino()).unwrap_or(0);
    let path = private.path(&name.replace('/', "%2F"));
    let look = || {
        if !is_whole(&attachment) {
            tally.half_made.fetch_add(1, Relaxed);
        }
        if kept && !std::fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == mine) {
            tally.taken.fetch_add(1, Relaxed);
        }
    };
    look();
    if random.below(8) == 0 {
        let size = (SIZE as u64) * (2 + random.below(3));
        match segment.grow(size) {
            Ok(()) => drop(tally.grown.fetch_add(1, Relaxed)),
            Err(Error::Shrink { .. }) => {}
            Err(error) => count_error(tally, &error),
        }
    }
    // Most often the attachment alone holds it.
    let segment = if random.below(3) == 0 { Some(segment) } else { None };
    if random.below(8) == 0 {
        tally.forked.fetch_add(1, Relaxed);
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                std::thread::sleep(Duration::from_micros(random.below(300)));
                look();
                if random.below(2) == 0 {
                    // Leaves properly: the parent, if it still holds it, must keep it.
                    drop(segment);
                    drop(attachment);
                }
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            _ => look(),
        }
    }
    if !kept && random.below(3) == 0 {
        let deleted = match &segment {
            Some(segment) => segment.delete(),
            None => private.namespace.delete(name),
        };
        match deleted {
            Ok(()) => drop(tally.deleted.fetch_add(1, Relaxed)),
            Err(Error::NotFound(_)) => {}
            Err(error) => count_error(tally, &error),
        }
    }
    look();
    match random.below(2) {
        0 => {
            drop(segment);
            drop(attachment);
        }
        _ => {
            drop(attachment);
            drop(segment);
        }
    }
}

struct Campaign {
    kills: u64,
    processes: usize,
    seed: u64,
}

/// Runs it; whether all promises were kept.
fn run(campaign: &Campaign) -> bool {
    let private = Private::new();
    let shared =
        SegmentOptions::new().size(size_of::<Tally>() as u64).anonymous("tally").unwrap().attach().unwrap();
    // SAFETY: the attachment is large enough, page-aligned and zero, lives until the end, and the structure
    // has nothing but atomics.
    let tally: &Tally = unsafe { &*shared.as_ptr().cast() };
    let mut random = Random(campaign.seed | 1);
    let start = |number: usize, random: &mut Random| -> i32 {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                worker(&private, tally, number, seed)
            }
            pid => pid,
        }
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..campaign.processes).map(|number| start(number, &mut random)).collect();
    let mut seen: Vec<(u64, Instant)> = vec![(0, begun); campaign.processes];
    let mut hangs = 0;
    let mut died = 0;
    for _ in 0..campaign.kills {
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        for (number, seen) in seen.iter_mut().enumerate() {
            let rounds = tally.rounds[number].load(Relaxed);
            if rounds != seen.0 {
                *seen = (rounds, Instant::now());
            } else if seen.1.elapsed() > HANG {
                hangs += 1;
                *seen = (rounds, Instant::now());
            }
        }
        let victim = random.below(campaign.processes as u64) as usize;
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(workers[victim], libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: as above.
        unsafe { libc::waitpid(workers[victim], &raw mut status, 0) };
        died += u64::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL));
        workers[victim] = start(victim, &mut random);
        // A killed worker starts its count of patience anew.
        seen[victim].1 = Instant::now();
    }
    for worker in workers {
        // SAFETY: as above.
        unsafe { libc::kill(worker, libc::SIGKILL) };
    }
    // What workers forked comes to this process, which is a reaper for it: all are gone afterwards.
    while wait_for_any(0) {}
    let took = begun.elapsed();
    let mut staying = 0;
    for entry in private.namespace.list().unwrap() {
        staying += u64::from(entry.unwrap().info().unwrap().unwrap().lifetime == Lifetime::UntilDeleted);
    }
    let sweep = private.namespace.sweep().unwrap();
    let left = private.files().len();
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "{} kills of {} processes in {:.1} s: created {} opened {} forked {} grown {} deleted {} swept {}, last sweep {}",
        campaign.kills,
        campaign.processes,
        took.as_secs_f64(),
        get(&tally.created),
        get(&tally.opened),
        get(&tally.forked),
        get(&tally.grown),
        get(&tally.deleted),
        get(&tally.swept),
        sweep.segments,
    );
    let (half, taken, errors, busy) =
        (get(&tally.half_made), get(&tally.taken), get(&tally.errors), get(&tally.busy));
    println!(
        "  half-made {half}, taken from a holder {taken}, unexpected errors {errors}, busy {busy}, hangs {hangs}, died by themselves {died}, left after one sweep {left}"
    );
    half + taken + errors + busy + hangs + died + staying + left as u64 + sweep.failed == 0
        && get(&tally.created) > 0
        && get(&tally.opened) > 0
}

fn main() {
    let Some(arguments) = campaign::arguments("kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    // SAFETY: makes orphaned grandchildren children of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let kills = number("--kills").unwrap_or(1200);
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let sizes = number("--processes").map_or(vec![2, 6], |processes| vec![(processes as usize).clamp(1, 16)]);
    let campaigns = sizes.len() as u64;
    let mut kept = true;
    for processes in sizes {
        kept &= run(&Campaign { kills: kills / campaigns, processes, seed });
    }
    if !kept {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
