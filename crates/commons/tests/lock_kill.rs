//! Random `kill -9` over processes that lock and unlock: never two owners, never a death untold or told twice, never
//! anybody waiting for a dead one, the data in order after `recover`; with glibc's robust mutexes in the mix.
//!
//! `cargo test --release -p commons --test lock_kill -- --operations 1000000 --kills 20000` is the full form: it runs
//! until there have been both. Without arguments a short one runs. `--processes N` and `--seed N` choose another campaign.
//!
//! A process with one thread forks the workers, so this has its own `main`.

mod common;

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::campaign::{self, Random, wait_for_any};
use commons::SegmentOptions;
use commons::sync::{LockError, LockState, Mutex, MutexGuard};

const LOCKS: usize = 4;
const WORKERS: usize = 16;
/// No operation takes longer than this, or it counts as a hang.
const HANG: Duration = Duration::from_secs(2);

/// What each lock guards. Outside a lock `inside` is 0 and the counts are equal.
#[repr(C)]
struct Account {
    /// The incarnation that is in the middle of a change.
    inside: u64,
    counts: [u64; 3],
}

#[repr(C, align(64))]
struct Place {
    mutex: Mutex<Account>,
    /// Who is inside, told without the lock: two at once show here.
    visitor: AtomicU64,
    /// The last incarnation that was told of as dead.
    buried: AtomicU64,
}

#[repr(C)]
struct Shared {
    places: [Place; LOCKS],
    glibc: [UnsafeCell<libc::pthread_mutex_t>; LOCKS],
    /// Operations that every worker has done.
    done: [AtomicU64; WORKERS],
    /// Counts of [`Found`].
    found: [AtomicU64; FOUND.len()],
    incarnations: AtomicU64,
    glibc_died: AtomicU32,
}

#[derive(Clone, Copy)]
enum Found {
    TwoInside,
    NotInOrder,
    ToldTwice,
    Failed,
    Told,
    ToldOutside,
    Changed,
}

const FOUND: [&str; 7] = [
    "two inside",
    "deaths not told",
    "deaths told twice",
    "unexpected errors",
    "deaths told",
    "of these before or after a change",
    "changes made",
];

impl Shared {
    fn note(&self, found: Found) {
        self.found[found as usize].fetch_add(1, Relaxed);
    }

    fn count(&self, found: Found) -> u64 {
        self.found[found as usize].load(Relaxed)
    }

    /// Takes what a lock gave, looks whether all is as it must be, and changes the data.
    fn change(
        &self,
        place: &Place,
        me: u64,
        taken: Result<MutexGuard<'_, Account>, LockError<MutexGuard<'_, Account>>>,
    ) {
        let mut account = match taken {
            Ok(account) => {
                if account.inside != 0 || account.counts.iter().any(|count| *count != account.counts[0]) {
                    self.note(Found::NotInOrder);
                }
                if place.visitor.swap(me, Relaxed) != 0 {
                    self.note(Found::TwoInside);
                }
                account
            }
            Err(LockError::OwnerDied(mut account)) => {
                self.note(Found::Told);
                place.visitor.store(me, Relaxed);
                let dead = account.inside;
                // From here on this one is inside: should it die as well, that is another death.
                std::hint::black_box(&mut *account).inside = me;
                if dead == 0 {
                    self.note(Found::ToldOutside);
                } else if place.buried.swap(dead, Relaxed) == dead {
                    self.note(Found::ToldTwice);
                }
                let count = account.counts[0];
                account.counts = [count; 3];
                account.inside = 0;
                account.recover()
            }
            Err(LockError::Failed(error)) => {
                if !matches!(error, commons::sync::SyncError::WouldBlock | commons::sync::SyncError::TimedOut)
                {
                    self.note(Found::Failed);
                }
                return;
            }
        };
        account.inside = me;
        for index in 0..3 {
            // One by one: a kill in between leaves them unequal.
            std::hint::black_box(&mut account).counts[index] += 1;
        }
        std::hint::black_box(&mut account).inside = 0;
        place.visitor.store(0, Relaxed);
        drop(account);
        self.note(Found::Changed);
    }
}

fn worker(shared: &Shared, number: usize, seed: u64) -> ! {
    let mut random = Random(seed | 1);
    let me = shared.incarnations.fetch_add(1, Relaxed) + 1;
    loop {
        let which = random.below(LOCKS as u64) as usize;
        let place = &shared.places[which];
        // glibc's lock is taken before or after; given back in any order, too.
        let theirs = random.once_in(4).then(|| shared.glibc[random.below(LOCKS as u64) as usize].get());
        let lock_theirs = || {
            // SAFETY: a robust mutex that the campaign initialised, which this thread does not have.
            theirs.is_none_or(|mutex| match unsafe { libc::pthread_mutex_trylock(mutex) } {
                0 => true,
                libc::EOWNERDEAD => {
                    shared.glibc_died.fetch_add(1, Relaxed);
                    // SAFETY: as above.
                    unsafe { libc::pthread_mutex_consistent(mutex) == 0 }
                }
                _ => false,
            })
        };
        let had = lock_theirs();
        shared.change(
            place,
            me,
            match random.below(8) {
                0 => place.mutex.try_lock(),
                1 => place.mutex.lock_timeout(Duration::from_micros(random.below(300))),
                _ => place.mutex.lock(),
            },
        );
        if random.once_in(4) {
            // One lock inside another, always in the same order.
            if let Some(inner) = shared.places[which + 1..].first() {
                match place.mutex.try_lock() {
                    Ok(account) => {
                        if place.visitor.swap(me, Relaxed) != 0 {
                            shared.note(Found::TwoInside);
                        }
                        shared.change(inner, me, inner.mutex.lock());
                        place.visitor.store(0, Relaxed);
                        drop(account);
                    }
                    died @ Err(LockError::OwnerDied(_)) => shared.change(place, me, died),
                    Err(LockError::Failed(_)) => {}
                }
            }
        }
        if let (Some(mutex), true) = (theirs, had) {
            // SAFETY: had above.
            unsafe { libc::pthread_mutex_unlock(mutex) };
        }
        shared.done[number].fetch_add(1, Relaxed);
    }
}

fn main() {
    let Some(arguments) = campaign::arguments("lock_kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    let operations = number("--operations").unwrap_or(60_000);
    let most_kills = number("--kills").unwrap_or(500);
    let processes = number("--processes").map_or(4, |processes| (processes as usize).clamp(1, WORKERS));
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let attachment =
        SegmentOptions::new().size(size_of::<Shared>() as u64).anonymous("locks").unwrap().attach().unwrap();
    // SAFETY: large enough, page-aligned, zero, which all parts of it are valid as (glibc's are initialised below); it
    // lives until the end.
    let shared: &Shared = unsafe { &*attachment.as_ptr().cast() };
    for mutex in &shared.glibc {
        // SAFETY: nobody uses the mutex yet.
        unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(mutex.get(), &raw const attributes);
        }
    }
    let mut random = Random(seed | 1);
    let start = |number: usize, random: &mut Random| -> i32 {
        let seed = random.below(1 << 30) << 20 | number as u64;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                worker(shared, number, seed)
            }
            pid => pid,
        }
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..processes).map(|number| start(number, &mut random)).collect();
    let mut seen = vec![(0, begun); processes];
    let (mut kills, mut hangs, mut died) = (0_u64, 0, 0);
    let total = || shared.done.iter().map(|done| done.load(Relaxed)).sum::<u64>();
    while total() < operations || kills < most_kills {
        std::thread::sleep(Duration::from_micros(random.below(1000)));
        for (number, seen) in seen.iter_mut().enumerate() {
            let done = shared.done[number].load(Relaxed);
            if done != seen.0 {
                *seen = (done, Instant::now());
            } else if seen.1.elapsed() > HANG {
                hangs += 1;
                *seen = (done, Instant::now());
            }
        }
        let victim = random.below(processes as u64) as usize;
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(workers[victim], libc::SIGKILL) };
        let mut status = 0;
        // SAFETY: as above.
        unsafe { libc::waitpid(workers[victim], &raw mut status, 0) };
        died += u64::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL));
        kills += 1;
        workers[victim] = start(victim, &mut random);
        seen[victim].1 = Instant::now();
    }
    for worker in workers {
        // SAFETY: as above.
        unsafe { libc::kill(worker, libc::SIGKILL) };
    }
    while wait_for_any(0) {}
    // Nobody is left: each lock is free, or was its last owner's who died.
    let held =
        shared.places.iter().filter(|place| matches!(place.mutex.state(), LockState::Held { .. })).count();
    println!(
        "{} operations of {processes} processes and {kills} kills in {:.1} s; glibc told of {} deaths of its own",
        total(),
        begun.elapsed().as_secs_f64(),
        shared.glibc_died.load(Relaxed),
    );
    for (index, what) in FOUND.iter().enumerate() {
        print!("{what} {}, ", shared.found[index].load(Relaxed));
    }
    println!("hangs {hangs}, died by themselves {died}, held by nobody {held}");
    let bad = [Found::TwoInside, Found::NotInOrder, Found::ToldTwice, Found::Failed];
    let broken = bad.into_iter().map(|found| shared.count(found)).sum::<u64>() + hangs + died + held as u64;
    if broken != 0 || shared.count(Found::Told) == 0 {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
