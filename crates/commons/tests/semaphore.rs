//! Random `kill -9` of processes that have permits: never more inside than there are units, and each unit comes back
//! once, soon enough for somebody who waits; posting and waiting between processes; forks.
//!
//! `cargo test --release -p commons --test semaphore -- --kills 20000` is the full form; without arguments a short
//! one runs. `--seed N` chooses the campaign.
//!
//! A process with one thread forks the workers, so this has its own `main`.

mod common;

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use common::campaign::{self, Random};
use common::{Private, fork};
use commons::sync::{Semaphore, SyncError};
use commons::{Attachment, Segment};

const UNITS: u32 = 3;
const WORKERS: usize = 6;
const SIZE: u64 = 8192;
/// No worker is without a permit for so long, or it counts as a hang.
const HANG: Duration = Duration::from_secs(10);

/// What lies in the segment.
#[repr(C)]
struct Room {
    semaphore: Semaphore,
    /// Plain signalling, one way and back.
    there: Semaphore,
    back: Semaphore,
    /// A bit for each worker that is inside; above bit 32, one for each that is about to be killed.
    inside: AtomicU64,
    rounds: [AtomicU64; WORKERS],
    too_many: AtomicU64,
    errors: AtomicU64,
    most_inside: AtomicU32,
}

fn attach(segment: &Segment) -> Attachment {
    let attachment = segment.attach().unwrap();
    attachment.register();
    attachment
}

fn room(attachment: &Attachment) -> &Room {
    assert!(size_of::<Room>() as u64 <= SIZE);
    // SAFETY: the attachment is large enough and page-aligned, and lives as long as the reference; the structure has
    // nothing but atomics, for which any bytes are valid.
    unsafe { &*attachment.as_ptr().cast::<Room>() }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Acquires and gives back for ever, in a process that opened the segment itself or was forked from one that did.
fn worker(room: &Room, number: usize, seed: u64) -> ! {
    let mut random = Random(seed | 1);
    let me = 1 << number;
    loop {
        let permit = match random.below(4) {
            0 => room.semaphore.try_acquire(),
            1 => room.semaphore.acquire_timeout(Duration::from_millis(random.below(3))),
            _ => room.semaphore.acquire(),
        };
        match permit {
            Ok(permit) => {
                let inside = room.inside.fetch_or(me, SeqCst) | me;
                let living = (inside & !(inside >> 32) & 0xffff_ffff).count_ones();
                room.most_inside.fetch_max(living, Relaxed);
                if living > UNITS {
                    room.too_many.fetch_add(1, Relaxed);
                }
                if random.once_in(8) {
                    std::thread::sleep(Duration::from_micros(random.below(200)));
                }
                room.inside.fetch_and(!me, SeqCst);
                drop(permit);
                room.rounds[number].fetch_add(1, Relaxed);
            }
            Err(SyncError::WouldBlock | SyncError::TimedOut) => {}
            Err(error) => {
                if room.errors.fetch_add(1, Relaxed) < 5 {
                    eprintln!("unexpected: {error}");
                }
            }
        }
    }
}

/// The campaign; whether all promises were kept.
fn campaign(private: &Private, kills: u64, seed: u64) -> bool {
    let segment = private.options().size(SIZE).create("campaign").unwrap();
    let attachment = attach(&segment);
    let room = room(&attachment);
    room.semaphore.post(UNITS).unwrap();
    let mut random = Random(seed | 1);
    let start = |number: usize, random: &mut Random| -> i32 {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64;
        // Half of them use what they inherit.
        let inherits = random.once_in(2);
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                if inherits {
                    worker(room, number, seed)
                }
                let own = private.options().open("campaign").unwrap();
                let attachment = attach(&own);
                worker(self::room(&attachment), number, seed)
            }
            pid => pid,
        }
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..WORKERS).map(|number| start(number, &mut random)).collect();
    let mut seen = [(0, Instant::now()); WORKERS];
    let (mut hangs, mut died) = (0, 0);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        for (number, seen) in seen.iter_mut().enumerate() {
            let rounds = room.rounds[number].load(Relaxed);
            if rounds != seen.0 || seen.1.elapsed() > HANG {
                hangs += u64::from(rounds == seen.0);
                *seen = (rounds, Instant::now());
            }
        }
        let victim = random.below(WORKERS as u64) as usize;
        // It no longer counts, before its unit can be given to somebody else.
        let bits = 1_u64 << victim | 1 << (victim + 32);
        room.inside.fetch_or(bits & !0xffff_ffff, SeqCst);
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(workers[victim], libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: as above.
        unsafe { libc::waitpid(workers[victim], &raw mut status, 0) };
        died += u64::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL));
        room.inside.fetch_and(!bits, SeqCst);
        workers[victim] = start(victim, &mut random);
        seen[victim].1 = Instant::now();
    }
    room.inside.fetch_or(!0xffff_ffff, SeqCst);
    for worker in workers {
        // SAFETY: as above.
        unsafe {
            libc::kill(worker, libc::SIGKILL);
            libc::waitpid(worker, std::ptr::null_mut(), 0);
        }
    }
    // Takes all, bringing back what the dead had; one more there is not.
    let all: Vec<_> =
        (0..UNITS).map_while(|_| room.semaphore.acquire_timeout(Duration::from_secs(1)).ok()).collect();
    let got = all.len() as u32;
    let more = room.semaphore.try_acquire().is_ok();
    drop(all);
    let (value, held) = (room.semaphore.value(), room.semaphore.holders().count());
    let rounds: u64 = room.rounds.iter().map(|rounds| rounds.load(Relaxed)).sum();
    let (too_many, errors) = (room.too_many.load(Relaxed), room.errors.load(Relaxed));
    println!(
        "{kills} kills of {WORKERS} processes in {:.1} s: {rounds} permits, most inside {} of {UNITS}",
        begun.elapsed().as_secs_f64(),
        room.most_inside.load(Relaxed),
    );
    println!(
        "  too many inside {too_many}, unexpected errors {errors}, hangs {hangs}, died by themselves {died}, value at the end {value}, entries not free {held}"
    );
    too_many + errors + hangs + died == 0
        && got == UNITS
        && !more
        && value == UNITS
        && held == 0
        && rounds > 0
}

/// How long after the kill of a holder somebody who waits goes on.
fn resumes(private: &Private, times: u32) -> bool {
    let segment = private.options().size(SIZE).create("resumes").unwrap();
    let attachment = attach(&segment);
    let room = room(&attachment);
    room.semaphore.post(1).unwrap();
    let mut took = Vec::new();
    for time in 0..times {
        let mut holder = fork(|line| {
            let _permit = room.semaphore.acquire().unwrap();
            line.say();
            line.hear();
        });
        holder.hear();
        let begun = AtomicU64::new(0);
        let start = Instant::now();
        let plain = time % 2 == 1;
        let resumed = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                if plain {
                    room.semaphore.wait();
                    let resumed = start.elapsed();
                    room.semaphore.post(1).unwrap();
                    return resumed;
                }
                let permit = room.semaphore.acquire().unwrap();
                let resumed = start.elapsed();
                drop(permit);
                resumed
            });
            // At any point of the waiter's rhythm.
            std::thread::sleep(Duration::from_micros(20_000 + u64::from(time) * 7919 % 30_000));
            begun.store(start.elapsed().as_nanos() as u64, Relaxed);
            holder.kill();
            waiter.join().unwrap()
        });
        took.push(resumed - Duration::from_nanos(begun.load(Relaxed)));
    }
    took.sort();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "killed to resumed, {times} times: median {:.1} ms, maximum {:.1} ms",
        milliseconds(median),
        milliseconds(most)
    );
    // A busy machine may let a process wait for its turn; the rhythm itself is 25 ms.
    median <= Duration::from_millis(50) && most <= Duration::from_millis(500) && room.semaphore.value() == 1
}

/// Two processes in turns, by plain signalling alone.
fn turns(private: &Private, turns: u32) {
    let segment = private.options().size(SIZE).create("turns").unwrap();
    let attachment = attach(&segment);
    let room = room(&attachment);
    let other = fork(|_| {
        let own = private.options().open("turns").unwrap().attach().unwrap();
        let room = self::room(&own);
        for _ in 0..turns {
            room.there.wait();
            room.back.post(1).unwrap();
        }
    });
    let begun = Instant::now();
    for _ in 0..turns {
        room.there.post(1).unwrap();
        room.back.wait_timeout(HANG).unwrap();
    }
    other.succeed();
    println!("{turns} turns of two processes in {:.1} ms", milliseconds(begun.elapsed()));
    assert_eq!((room.there.value(), room.back.value()), (0, 0));
}

/// A parent's permit comes back although its child lives and has the segment attached; so does a child's.
fn forks_hold_their_own(private: &Private) {
    let segment = private.options().size(SIZE).create("forks").unwrap();
    let attachment = attach(&segment);
    let room = room(&attachment);
    room.semaphore.post(2).unwrap();
    let mine = room.semaphore.acquire().unwrap();
    // A parent that dies, with a child that goes on.
    let mut parent = fork(|line| {
        let permit = room.semaphore.acquire().unwrap();
        // SAFETY: this process has one thread.
        if unsafe { libc::fork() } == 0 {
            // It has inherited its parent's permit, and its grandparent's: neither is its own.
            drop(permit);
            line.say();
            let _ = room.there.wait_timeout(HANG);
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        line.hear();
    });
    parent.hear();
    assert_eq!(room.semaphore.value(), 0, "a permit that a child inherited was given back");
    parent.kill();
    let back = room.semaphore.acquire_timeout(Duration::from_secs(1)).unwrap();
    drop((mine, back));
    assert_eq!(room.semaphore.value(), 2);
    room.there.post(1).unwrap();
    // The grandchild came to this process, its reaper.
    while campaign::wait_for_any(0) {}
}

/// What is not in a segment with a name gives no permits, and says so.
fn no_permits_elsewhere(private: &Private) {
    let here = Semaphore::new(1);
    assert_eq!(here.acquire().err(), Some(SyncError::NoSegment));
    assert_eq!(here.try_acquire().err(), Some(SyncError::NoSegment));
    here.wait();
    assert_eq!(here.wait_timeout(Duration::from_millis(1)), Err(SyncError::TimedOut));
    let anonymous = attach(&private.options().size(SIZE).anonymous("x").unwrap());
    assert_eq!(room(&anonymous).semaphore.acquire().err(), Some(SyncError::NoSegment));
    let segment = private.options().size(SIZE).create("detached").unwrap();
    let attachment = attach(&segment);
    let room = room(&attachment);
    room.semaphore.post(1).unwrap();
    let permit = room.semaphore.acquire().unwrap();
    assert_eq!(room.semaphore.holders().map(|slot| slot.pid()).collect::<Vec<_>>(), [std::process::id()]);
    // Forgotten, it comes back as the process detaches.
    std::mem::forget(permit);
    attachment.detach().unwrap();
    let attachment = attach(&segment);
    let room = self::room(&attachment);
    assert_eq!(room.semaphore.value(), 0);
    drop(room.semaphore.try_acquire().unwrap());
    assert_eq!(room.semaphore.value(), 1);
}

/// Whatever the bytes are, nothing worse comes of it than a wrong value.
fn any_bytes_will_do(private: &Private, seed: u64) {
    let segment = private.options().size(SIZE).create("bytes").unwrap();
    let attachment = attach(&segment);
    let semaphore = &room(&attachment).semaphore;
    let mut random = Random(seed | 1);
    let len = size_of::<Semaphore>() / 8;
    let words = &attachment.atomics::<AtomicU64>(..).unwrap()[..len];
    for _ in 0..2000 {
        let permit = semaphore.try_acquire();
        for _ in 0..=random.below(20) {
            let value = random.below(u64::MAX >> 31) << 32 | random.below(u64::MAX >> 31);
            // Small numbers mean more to it.
            let value = if random.once_in(2) { value } else { value >> random.below(64) };
            words[random.below(len as u64) as usize].store(value, Relaxed);
        }
        drop(permit);
        drop(semaphore.try_acquire());
        drop(semaphore.acquire_timeout(Duration::from_micros(100)));
        let _ = semaphore.wait_timeout(Duration::from_micros(100));
        let _ = semaphore.post(random.below(1 << 31) as u32);
        assert!(semaphore.value() <= Semaphore::MAX && !format!("{semaphore:?}").is_empty());
    }
}

fn main() {
    let Some(arguments) = campaign::arguments("semaphore") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    // SAFETY: makes orphaned grandchildren children of this process; and ends it should it hang.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::alarm(3600);
    }
    let kills = number("--kills").unwrap_or(1000);
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let private = Private::new();
    no_permits_elsewhere(&private);
    fork(|_| any_bytes_will_do(&private, seed)).succeed();
    turns(&private, 5000);
    forks_hold_their_own(&private);
    let mut kept = campaign(&private, kills, seed);
    kept &= resumes(&private, if kills > 1000 { 200 } else { 20 });
    if !kept {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
