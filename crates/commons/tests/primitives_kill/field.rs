//! What all trials share: processes that work, are killed at random and start again at once, with robust mutexes of
//! glibc's in the mix; and whoever looks that none of them waits for ever.

use std::cell::UnsafeCell;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use commons::sync::SyncError;

use crate::common::Private;
use crate::common::campaign::Random;

/// No round takes longer than this, or it counts as a hang.
pub const HANG: Duration = Duration::from_secs(4);
/// Whoever goes on this long after it could was not woken, but looked again by itself, 50 ms after it fell asleep; or the
/// machine was busy.
pub const LATE: Duration = Duration::from_millis(40);
pub const MOST: usize = 16;
const MUTEXES: usize = 4;

/// One kind of lock, and what is done with it.
///
/// # Safety
///
/// All zero is a value of it.
pub unsafe trait Trial: Sync {
    const NAME: &'static str;
    /// Before anybody works.
    fn prepare(&self, _processes: usize) {}
    /// What a worker does until it is killed; each round is to be counted.
    fn work(&self, me: &mut Me<'_>) -> !;
    /// What the killer does between two kills.
    fn between(&self, _common: &Common, _processes: usize, _random: &mut Random) {}
    /// A worker is about to be killed.
    fn before_kill(&self, _number: usize) {}
    /// It is dead, and nobody has started in its place.
    fn after_kill(&self, _common: &Common, _number: usize) {}
    /// Whether all is to be made anew, after all have been killed.
    fn is_used_up(&self) -> bool {
        false
    }
    /// All are dead: what has to be so now, and what there was.
    fn end(&self, common: &Common, processes: usize) -> String;
}

/// What every trial counts, and what is not Commons'.
#[repr(C)]
pub struct Common {
    glibc: [UnsafeCell<libc::pthread_mutex_t>; MUTEXES],
    glibc_died: AtomicU64,
    pub rounds: [AtomicU64; MOST],
    /// How many of each worker's incarnations have been told to die.
    doomed: [AtomicU64; MOST],
    broken: AtomicU64,
    errors: AtomicU64,
    late: AtomicU64,
    longest: AtomicU64,
}

impl Common {
    /// A promise, kept or not.
    pub fn expect(&self, kept: bool, what: &str) {
        if !kept && self.broken.fetch_add(1, Relaxed) < 5 {
            eprintln!("broken: {what}");
        }
    }

    pub fn fail(&self, error: SyncError) {
        if self.errors.fetch_add(1, Relaxed) < 5 {
            eprintln!("unexpected: {error}");
        }
    }

    /// How long somebody waited for what was there.
    pub fn waited(&self, time: Duration) {
        self.longest.fetch_max(time.as_micros() as u64, Relaxed);
        self.late.fetch_add(u64::from(time >= LATE), Relaxed);
    }

    /// Whether this incarnation lives, as far as whoever kills has said.
    pub fn lives(&self, incarnation: u64) -> bool {
        let (number, life) = (incarnation as usize % MOST, incarnation / MOST as u64);
        self.doomed[number].load(SeqCst) < life
    }
}

/// Something that all have to see, again and again, before it changes: phases.
#[repr(C)]
pub struct Phases {
    now: AtomicU64,
    /// The last one that each worker saw.
    seen: [AtomicU64; MOST],
    /// When all that there are now could see it.
    since: AtomicU64,
}

impl Phases {
    pub fn now(&self) -> u64 {
        self.now.load(SeqCst)
    }

    pub fn enter(&self, phase: u64) {
        self.since.store(now(), Relaxed);
        self.now.store(phase, SeqCst);
    }

    pub fn see(&self, number: usize, phase: u64) {
        self.seen[number].store(phase, SeqCst);
    }

    /// Whoever comes in the place of one that was killed has to see it, too.
    pub fn forget(&self, number: usize) {
        self.see(number, 0);
        self.since.store(now(), Relaxed);
    }

    /// Waits until all have seen it; `false` if that takes too long, or somebody is to be killed before.
    pub fn all_have_seen(&self, common: &Common, processes: usize, random: &mut Random) -> bool {
        let (phase, since) = (self.now(), Instant::now());
        let patient = !random.once_in(4);
        while self.seen[..processes].iter().any(|seen| seen.load(SeqCst) != phase) {
            if since.elapsed() > HANG || !patient && since.elapsed() < Duration::from_millis(30) {
                return false;
            }
            std::thread::yield_now();
        }
        common.waited(Duration::from_nanos(now() - self.since.load(Relaxed)));
        // Time to fall asleep for those who wait for the next one.
        std::thread::sleep(Duration::from_micros(random.below(300)));
        true
    }
}

/// A worker, as it knows itself.
pub struct Me<'f> {
    pub common: &'f Common,
    pub number: usize,
    /// Never 0.
    pub incarnation: u64,
    pub random: Random,
}

impl<'f> Me<'f> {
    pub fn count(&self) {
        self.common.rounds[self.number].fetch_add(1, Relaxed);
    }

    /// A mutex of glibc's for some rounds: had before, in the middle or until after what is done with ours.
    pub fn theirs(&mut self) -> Theirs<'f> {
        let mode = self.random.below(6);
        let (lock_at, unlock_at) = match mode {
            0 => (0, 2),
            1 => (0, 1),
            2 => (1, 2),
            3 => (1, 1),
            _ => (9, 9),
        };
        let which = self.random.below(MUTEXES as u64) as usize;
        let mut theirs = Theirs { common: self.common, which, lock_at, unlock_at, had: false };
        theirs.reach(0);
        theirs
    }
}

/// See [`Me::theirs`].
pub struct Theirs<'f> {
    common: &'f Common,
    which: usize,
    lock_at: u8,
    unlock_at: u8,
    had: bool,
}

impl Theirs<'_> {
    /// To be called while ours is had.
    pub fn middle(&mut self) {
        self.reach(1);
    }

    fn reach(&mut self, point: u8) {
        let mutex = self.common.glibc[self.which].get();
        if point == self.lock_at {
            // Without waiting: the order of theirs and ours is any.
            // SAFETY: initialised before the workers were forked; this thread does not have it.
            self.had = match unsafe { libc::pthread_mutex_trylock(mutex) } {
                0 => true,
                libc::EOWNERDEAD => {
                    self.common.glibc_died.fetch_add(1, Relaxed);
                    // SAFETY: this thread has it.
                    unsafe { libc::pthread_mutex_consistent(mutex) == 0 }
                }
                _ => false,
            };
        }
        if point >= self.unlock_at && self.had {
            self.had = false;
            // SAFETY: this thread has it.
            unsafe { libc::pthread_mutex_unlock(mutex) };
        }
    }
}

impl Drop for Theirs<'_> {
    fn drop(&mut self) {
        self.unlock_at = 0;
        self.reach(2);
    }
}

#[repr(C)]
struct Field<T> {
    common: Common,
    trial: T,
}

fn make_mutexes(common: &Common) {
    for (number, mutex) in common.glibc.iter().enumerate() {
        // SAFETY: nobody uses the mutex yet; it lies in memory that is zero, or was one before.
        unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            if number % 2 == 1 {
                libc::pthread_mutexattr_setprotocol(&raw mut attributes, libc::PTHREAD_PRIO_INHERIT);
            }
            libc::pthread_mutex_init(mutex.get(), &raw const attributes);
        }
    }
}

/// The processes that work.
struct Workers<'f, T> {
    field: &'f Field<T>,
    pids: Vec<i32>,
    seen: Vec<(u64, Instant)>,
    hangs: u64,
    by_themselves: u64,
}

impl<'f, T: Trial> Workers<'f, T> {
    fn start(&mut self, number: usize, random: &mut Random) {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64 | 1 << 19;
        let common = &self.field.common;
        let life = common.doomed[number].load(SeqCst) + 1;
        // SAFETY: this process has one thread.
        let pid = match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let incarnation = life * MOST as u64 + number as u64;
                let mut me = Me { common, number, incarnation, random: Random(seed) };
                self.field.trial.work(&mut me)
            }
            pid => pid,
        };
        assert!(pid > 0, "fork");
        self.pids[number] = pid;
        self.seen[number] = (common.rounds[number].load(Relaxed), Instant::now());
    }

    fn kill(&mut self, number: usize) {
        let common = &self.field.common;
        self.field.trial.before_kill(number);
        common.doomed[number].fetch_add(1, SeqCst);
        let mut status = 0;
        // SAFETY: our own child, not reaped yet.
        unsafe {
            libc::kill(self.pids[number], libc::SIGKILL);
            libc::waitpid(self.pids[number], &raw mut status, 0);
        }
        let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        self.by_themselves += u64::from(!killed);
        self.field.trial.after_kill(common, number);
    }

    /// Counts those who have not come on for too long.
    fn look(&mut self) {
        for (number, seen) in self.seen.iter_mut().enumerate() {
            let rounds = self.field.common.rounds[number].load(Relaxed);
            if rounds != seen.0 {
                *seen = (rounds, Instant::now());
            } else if seen.1.elapsed() > HANG {
                self.hangs += 1;
                eprintln!("{}: worker {number} hangs", T::NAME);
                *seen = (rounds, Instant::now());
            }
        }
    }

    /// Whether all come on by some rounds, left alone.
    fn all_go_on(&mut self, common: &Common, random: &mut Random) -> bool {
        let before: Vec<u64> = common.rounds.iter().map(|rounds| rounds.load(Relaxed)).collect();
        let since = Instant::now();
        loop {
            let on = |number: usize| common.rounds[number].load(Relaxed) > before[number] + 3;
            if (0..self.pids.len()).all(on) {
                return true;
            }
            if since.elapsed() > HANG {
                return false;
            }
            self.field.trial.between(common, self.pids.len(), random);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Runs a trial; whether all promises were kept.
pub fn run<T: Trial>(private: &Private, kills: u64, processes: usize, seed: u64) -> bool {
    let size = size_of::<Field<T>>() as u64;
    let attachment = private.options().size(size).create(T::NAME).unwrap().attach().unwrap();
    attachment.register();
    // SAFETY: the attachment is large enough, page-aligned and zero, which is a value of all its parts (glibc's mutexes
    // are made below, before anybody uses them); it lives until the end.
    let field: &Field<T> = unsafe { &*attachment.as_ptr().cast() };
    let common = &field.common;
    make_mutexes(common);
    field.trial.prepare(processes);
    let mut random = Random(seed | 1);
    let mut workers = Workers {
        field,
        pids: vec![0; processes],
        seen: vec![(0, Instant::now()); processes],
        hangs: 0,
        by_themselves: 0,
    };
    let begun = Instant::now();
    (0..processes).for_each(|number| workers.start(number, &mut random));
    let mut killed = 0;
    // Once a promise is broken, all else takes long and says little.
    let in_trouble = |hangs: u64| hangs + common.broken.load(Relaxed) > 10;
    while killed < kills && !in_trouble(workers.hangs) {
        std::thread::sleep(Duration::from_micros(random.below(1000)));
        field.trial.between(common, processes, &mut random);
        workers.look();
        if field.trial.is_used_up() {
            (0..processes).for_each(|number| workers.kill(number));
            // SAFETY: nobody is left who uses it, and all zero is a value.
            unsafe { (&raw const field.trial).cast_mut().cast::<u8>().write_bytes(0, size_of::<T>()) };
            field.trial.prepare(processes);
            (0..processes).for_each(|number| workers.start(number, &mut random));
            killed += processes as u64;
            continue;
        }
        // Now and then several at once, or all.
        let victims = if random.once_in(16) { 1 + random.below(processes as u64) } else { 1 };
        let first = random.below(processes as u64) as usize;
        let victims: Vec<usize> = (0..victims as usize).map(|next| (first + next) % processes).collect();
        victims.iter().for_each(|victim| workers.kill(*victim));
        victims.iter().for_each(|victim| workers.start(*victim, &mut random));
        killed += victims.len() as u64;
    }
    let went_on = workers.all_go_on(common, &mut random);
    workers.hangs += u64::from(!went_on);
    (0..processes).for_each(|number| workers.kill(number));
    let took = begun.elapsed();
    let found = field.trial.end(common, processes);
    let get = |count: &AtomicU64| count.load(SeqCst);
    let (broken, errors, late) = (get(&common.broken), get(&common.errors), get(&common.late));
    let (hangs, by_themselves) = (workers.hangs, workers.by_themselves);
    println!(
        "{}: {killed} kills of {processes} processes in {:.1} s: {found}, glibc's owners died {}",
        T::NAME,
        took.as_secs_f64(),
        get(&common.glibc_died),
    );
    println!(
        "  broken {broken}, unexpected errors {errors}, hangs {hangs}, died by themselves {by_themselves}, longest wait {:.1} ms, late {late}",
        get(&common.longest) as f64 / 1e3,
    );
    // A busy machine is late at times, a lock that loses wake-ups always.
    let seldom_late = late <= 5 + killed / 500;
    if !seldom_late {
        eprintln!("{}: {late} waits ended only because who waited looked again", T::NAME);
    }
    broken + errors + hangs + by_themselves == 0 && seldom_late
}

/// Lets some time pass, in which others may run and this process may be killed: none, a little, or much.
pub fn dawdle(random: &mut Random) {
    match random.below(8) {
        0 => std::thread::sleep(Duration::from_micros(random.below(300))),
        1 => std::thread::yield_now(),
        2..5 => (0..random.below(300)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}

/// Nanoseconds on the clock that all processes share.
pub fn now() -> u64 {
    // SAFETY: fills in a variable of its own.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}
