//! Random `kill -9` over reading and writing, going from the one to the other, by several processes: a writer is
//! always alone; each one that dies is told of once, dead readers never; the data is good after it was mended; nobody
//! waits for ever.
//!
//! `cargo test --release -p commons --test rwlock_kill -- --kills 20000` is the full form; without arguments a short one
//! runs. `--processes N` and `--seed N` choose others than usual.
//!
//! A process with one thread forks the workers, so this has its own `main`.

mod common;

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use common::campaign::{self, Random, wait_for_any};
use commons::SegmentOptions;
use commons::sync::{LockError, LockState, RwLock, RwLockWriteGuard, SyncError};

/// No attempt to lock takes longer than this, or it counts as a hang.
const HANG: Duration = Duration::from_secs(2);
const MOST: usize = 16;

/// What the lock guards. Atomics, so that a lock which does not keep its promise is noticed, and not undefined.
#[repr(C)]
struct Data {
    /// Equal but while somebody writes.
    pair: [AtomicU64; 2],
    /// One more than the number of who writes.
    writer: AtomicU64,
}

/// Where a worker is, as it says itself.
const OUTSIDE: u64 = 0;
const READING: u64 = 1;
/// From before it has the lock to after it gave it back.
const WRITING: u64 = 2;

#[repr(C)]
struct Worker {
    rounds: AtomicU64,
    whereabouts: AtomicU64,
    /// It has the lock, to write, for certain.
    inside: AtomicU64,
}

#[repr(C)]
struct Ground {
    lock: RwLock<Data>,
    workers: [Worker; MOST],
    reads: AtomicU64,
    writes: AtomicU64,
    downgraded: AtomicU64,
    upgraded: AtomicU64,
    /// A dead writer was told of.
    told: AtomicU64,
    told_to_readers: AtomicU64,
    /// A writer was not alone, or the death of one was not told.
    broken: AtomicU64,
    errors: AtomicU64,
    /// The longest that anybody waited, in microseconds, and how many waited so long that only looking again can have
    /// helped them.
    longest: AtomicU64,
    late: AtomicU64,
}

impl Ground {
    fn expect(&self, good: bool, what: &str) {
        if !good && self.broken.fetch_add(1, Relaxed) < 5 {
            eprintln!("broken: {what}");
        }
    }

    fn fail(&self, error: SyncError) {
        if self.errors.fetch_add(1, Relaxed) < 5 {
            eprintln!("unexpected: {error}");
        }
    }

    fn waited(&self, since: Instant) {
        let micros = since.elapsed().as_micros() as u64;
        self.longest.fetch_max(micros, Relaxed);
        self.late.fetch_add(u64::from(micros >= 49_000), Relaxed);
    }

    fn look(&self, data: &Data) {
        let first = data.pair[0].load(SeqCst);
        self.expect(data.writer.load(SeqCst) == 0, "somebody writes, or died unnoticed");
        self.expect(data.pair[1].load(SeqCst) == first, "a reader saw half a change");
        self.expect(data.pair[0].load(SeqCst) == first, "a writer came in");
    }

    fn change(&self, data: &Data, number: usize) {
        let me = number as u64 + 1;
        self.workers[number].inside.store(1, SeqCst);
        self.expect(data.writer.swap(me, SeqCst) == 0, "two write, or one died unnoticed");
        let next = data.pair[0].load(SeqCst) + 1;
        self.expect(data.pair[1].load(SeqCst) == next - 1, "a writer saw half a change");
        data.pair[0].store(next, SeqCst);
        if next % 8 == 0 {
            std::thread::yield_now();
        }
        data.pair[1].store(next, SeqCst);
        self.expect(data.writer.swap(0, SeqCst) == me, "two write");
        self.workers[number].inside.store(0, SeqCst);
    }

    fn mend<'l>(&self, guard: RwLockWriteGuard<'l, Data>, number: usize) -> RwLockWriteGuard<'l, Data> {
        self.workers[number].whereabouts.store(WRITING, SeqCst);
        self.told.fetch_add(1, SeqCst);
        self.workers[number].inside.store(1, SeqCst);
        guard.pair[1].store(guard.pair[0].load(SeqCst), SeqCst);
        guard.writer.store(0, SeqCst);
        let guard = guard.recover();
        self.workers[number].inside.store(0, SeqCst);
        guard
    }

    fn read(&self, number: usize, random: &mut Random) {
        let whereabouts = &self.workers[number].whereabouts;
        whereabouts.store(READING, SeqCst);
        let since = Instant::now();
        let guard = match self.lock.read() {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(guard)) => {
                self.told_to_readers.fetch_add(1, Relaxed);
                let guard = self.mend(guard, number).downgrade();
                whereabouts.store(READING, SeqCst);
                guard
            }
            Err(LockError::Failed(error)) => return self.fail(error),
        };
        self.waited(since);
        self.look(&guard);
        if may_write(number) && random.once_in(8) {
            whereabouts.store(WRITING, SeqCst);
            match guard.try_upgrade() {
                Ok(guard) => {
                    self.change(&guard, number);
                    self.upgraded.fetch_add(1, Relaxed);
                }
                Err(guard) => self.look(&guard),
            }
        }
        self.reads.fetch_add(1, Relaxed);
    }

    fn write(&self, number: usize, random: &mut Random) {
        self.workers[number].whereabouts.store(WRITING, SeqCst);
        let since = Instant::now();
        let result = match random.below(6) {
            0 => self.lock.try_write(),
            1 => self.lock.write_timeout(Duration::from_micros(random.below(300))),
            _ => self.lock.write(),
        };
        let guard = match result {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(guard)) => self.mend(guard, number),
            Err(LockError::Failed(SyncError::WouldBlock | SyncError::TimedOut)) => return,
            Err(LockError::Failed(error)) => return self.fail(error),
        };
        self.waited(since);
        self.change(&guard, number);
        self.writes.fetch_add(1, Relaxed);
        if random.once_in(4) {
            let guard = guard.downgrade();
            self.workers[number].whereabouts.store(READING, SeqCst);
            self.look(&guard);
            self.downgraded.fetch_add(1, Relaxed);
        }
    }
}

/// The first half only reads.
fn may_write(number: usize) -> bool {
    number % 2 == 1
}

fn worker(ground: &Ground, number: usize, seed: u64) -> ! {
    let mut random = Random(seed | 1);
    loop {
        if may_write(number) && random.once_in(3) {
            ground.write(number, &mut random);
        } else {
            ground.read(number, &mut random);
        }
        ground.workers[number].whereabouts.store(OUTSIDE, SeqCst);
        ground.workers[number].rounds.fetch_add(1, Relaxed);
    }
}

/// What is known of those that were killed.
#[derive(Default)]
struct Dead {
    /// Had the lock to write.
    writers: u64,
    /// Had it, or may have had it.
    perhaps: u64,
}

impl Dead {
    /// Kills a worker; whether it was alive until then.
    fn kill(&mut self, pid: i32, worker: &Worker) -> bool {
        let mut status = 0;
        // SAFETY: our own child, not reaped yet.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, &raw mut status, 0);
        }
        self.writers += worker.inside.swap(0, SeqCst);
        self.perhaps += u64::from(worker.whereabouts.swap(OUTSIDE, SeqCst) == WRITING);
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
    }
}

/// Runs it; whether all promises were kept.
fn run(kills: u64, processes: usize, seed: u64, only_readers: bool) -> bool {
    let size = size_of::<Ground>() as u64;
    let shared = SegmentOptions::new().size(size).anonymous("ground").unwrap().attach().unwrap();
    // SAFETY: the attachment is large enough, page-aligned and zero, lives until the end, and the structure has
    // nothing but a lock and atomics.
    let ground: &Ground = unsafe { &*shared.as_ptr().cast() };
    let mut random = Random(seed | 1);
    let start = |number: usize, random: &mut Random| -> i32 {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                worker(ground, number, seed)
            }
            pid => pid,
        }
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..processes).map(|number| start(number, &mut random)).collect();
    let mut seen: Vec<(u64, Instant)> = vec![(0, begun); processes];
    let mut dead = Dead::default();
    let (mut hangs, mut by_themselves) = (0, 0);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        for (number, seen) in seen.iter_mut().enumerate() {
            let rounds = ground.workers[number].rounds.load(Relaxed);
            if rounds != seen.0 {
                *seen = (rounds, Instant::now());
            } else if seen.1.elapsed() > HANG {
                hangs += 1;
                eprintln!("worker {number} hangs: {:?}", ground.lock);
                *seen = (rounds, Instant::now());
            }
        }
        let mut victim = random.below(processes as u64) as usize;
        if only_readers {
            victim &= !1;
        }
        by_themselves += u64::from(!dead.kill(workers[victim], &ground.workers[victim]));
        workers[victim] = start(victim, &mut random);
        // A killed worker starts its count of patience anew.
        seen[victim].1 = Instant::now();
    }
    // The last ones all get through once more.
    let before: Vec<_> = ground.workers.iter().map(|worker| worker.rounds.load(Relaxed)).collect();
    let since = Instant::now();
    let all_went_on =
        || (0..processes).all(|number| ground.workers[number].rounds.load(Relaxed) > before[number] + 10);
    while !all_went_on() && since.elapsed() < HANG {
        std::thread::sleep(Duration::from_millis(1));
    }
    hangs += u64::from(!all_went_on());
    let told_before_the_end = ground.told.load(SeqCst);
    for (number, pid) in workers.into_iter().enumerate() {
        by_themselves += u64::from(!dead.kill(pid, &ground.workers[number]));
    }
    while wait_for_any(0) {}
    match ground.lock.write_timeout(HANG) {
        Ok(guard) => ground.look(&guard),
        Err(LockError::OwnerDied(guard)) => ground.look(&ground.mend(guard, 0)),
        Err(LockError::Failed(error)) => ground.fail(error),
    }
    let took = begun.elapsed();
    let free = ground.lock.state() == LockState::Free && ground.lock.readers().next().is_none();
    let get = |counter: &AtomicU64| counter.load(SeqCst);
    let whom = if only_readers { "of those that only read, of" } else { "of" };
    println!(
        "{kills} kills {whom} {processes} processes in {:.1} s: read {} written {} downgraded {} upgraded {}, longest wait {:.1} ms, late {}",
        took.as_secs_f64(),
        get(&ground.reads),
        get(&ground.writes),
        get(&ground.downgraded),
        get(&ground.upgraded),
        get(&ground.longest) as f64 / 1e3,
        get(&ground.late),
    );
    let (told, broken, errors) = (get(&ground.told), get(&ground.broken), get(&ground.errors));
    println!(
        "  died writing {}, perhaps {}, told {told}, of it to readers {}; broken {broken}, unexpected errors {errors}, hangs {hangs}, died by themselves {by_themselves}, left free {free}",
        dead.writers,
        dead.perhaps,
        get(&ground.told_to_readers),
    );
    let told_right = if only_readers {
        told_before_the_end == 0
    } else {
        (dead.writers..=dead.perhaps).contains(&told) && told > 0
    };
    told_right && broken + errors + hangs + by_themselves == 0 && free && get(&ground.writes) > 0
}

fn main() {
    let Some(arguments) = campaign::arguments("rwlock_kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    let kills = number("--kills").unwrap_or(1200);
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    let processes = (number("--processes").unwrap_or(4) as usize).clamp(2, MOST);
    println!("seed {seed}");
    let kept = run(kills / 4, processes, seed, true) & run(kills - kills / 4, processes, seed, false);
    if !kept {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
