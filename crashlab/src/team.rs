//! Processes that work all the time, and are killed, stopped and started anew; what they have done, and what they found.
//!
//! All of it is in one shared mapping of plain atomics, of which none is Commons': the model of what must be true stands
//! beside what is examined, and no crash of a worker tears it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{self, Child};
use crate::random::Random;

pub(crate) const MOST: usize = 16;
const EVENTS: usize = 1 << 14;
const TEXT: usize = 300;
/// A worker that is not stopped does something within this time.
const HANG: Duration = Duration::from_secs(10);

/// What all see.
#[repr(C)]
pub(crate) struct Ledger {
    begun: AtomicU64,
    /// Steps that each worker has done.
    steps: [AtomicU64; MOST],
    /// What each is doing.
    doing: [AtomicU32; MOST],
    /// The last events: nanoseconds, and worker and operation.
    events: [(AtomicU64, AtomicU64); EVENTS],
    next_event: AtomicU64,
    /// Violations: how many, and what the first ones were.
    pub(crate) violations: AtomicU64,
    texts: [[AtomicU8; TEXT]; 8],
    /// What the runs keep: counts and models.
    pub(crate) counts: [AtomicU64; 64],
    /// The process of each worker, until it is about to be killed.
    living: [AtomicU64; MOST],
}

impl Ledger {
    pub(crate) fn new() -> std::io::Result<&'static Ledger> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        // SAFETY: a new mapping, somewhere.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                size_of::<Ledger>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )?
        };
        // SAFETY: large enough, aligned to a page, all zero, which is a `Ledger`; and it stays.
        Ok(unsafe { &*base.cast::<Ledger>() })
    }

    /// A worker begins an operation.
    pub(crate) fn step(&self, worker: usize, operation: u32) {
        self.doing[worker].store(operation, Relaxed);
        self.steps[worker].fetch_add(1, Release);
        self.event(worker, operation);
    }

    fn event(&self, worker: usize, operation: u32) {
        let at = self.next_event.fetch_add(1, Relaxed) as usize % EVENTS;
        self.events[at].0.store(now(), Relaxed);
        self.events[at].1.store((worker as u64) << 32 | u64::from(operation), Relaxed);
    }

    /// Whether a process is a worker that is not about to be killed. Only the laboratory writes who is.
    pub(crate) fn is_living(&self, pid: u64) -> bool {
        self.living.iter().any(|living| living.load(Acquire) == pid)
    }

    /// A promise was broken.
    pub(crate) fn violation(&self, worker: usize, text: &str) {
        let number = self.violations.fetch_add(1, Relaxed) as usize;
        self.event(worker, u32::MAX);
        let Some(place) = self.texts.get(number) else { return };
        for (place, byte) in place.iter().zip(text.as_bytes()) {
            place.store(*byte, Relaxed);
        }
    }

    fn texts(&self) -> Vec<String> {
        let shown = (self.violations.load(Relaxed) as usize).min(self.texts.len());
        self.texts[..shown]
            .iter()
            .map(|text| {
                let bytes: Vec<u8> =
                    text.iter().map(|byte| byte.load(Relaxed)).take_while(|byte| *byte != 0).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            })
            .collect()
    }
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// See the module.
pub(crate) struct Team<'w> {
    ledger: &'static Ledger,
    work: &'w dyn Fn(usize, u64),
    members: Vec<Member>,
    random: Random,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
}

struct Member {
    child: Child,
    seen: (u64, Instant),
    stopped_until: Option<Instant>,
}

/// The number of an event that is the laboratory's.
const KILLED: u32 = 1000;
const STOPPED: u32 = 1001;

impl<'w> Team<'w> {
    /// Starts so many.
    pub(crate) fn new(
        ledger: &'static Ledger,
        processes: usize,
        seed: u64,
        work: &'w dyn Fn(usize, u64),
    ) -> Team<'w> {
        ledger.begun.store(now(), Relaxed);
        let mut team =
            Team { ledger, work, members: Vec::new(), random: Random::new(seed), kills: 0, stops: 0 };
        for worker in 0..processes.clamp(1, MOST) {
            let member = team.start(worker);
            team.members.push(member);
        }
        team
    }

    fn start(&mut self, worker: usize) -> Member {
        let seed = self.random.next();
        let parent = rustix::process::getpid();
        let ledger = self.ledger;
        // SAFETY: the laboratory has one thread.
        let child = match unsafe { libc::fork() } {
            0 => {
                process::leave_with(parent);
                let work = std::panic::AssertUnwindSafe(|| (self.work)(worker, seed));
                std::panic::set_hook(Box::new(move |info| {
                    ledger.violation(worker, &format!("worker {worker} panicked: {info}").replace('\n', " "));
                }));
                let _ = std::panic::catch_unwind(work);
                process::exit(1)
            }
            pid => Child::of(pid),
        };
        self.ledger.living[worker].store(child.pid() as u64, Release);
        Member { child, seen: (0, Instant::now()), stopped_until: None }
    }

    /// Lets a moment pass, and does something to somebody. To be called again and again.
    pub(crate) fn disturb(&mut self, killing: bool) {
        std::thread::sleep(Duration::from_micros(self.random.below(1500)));
        self.look();
        let victim = self.random.below(self.members.len() as u64) as usize;
        if self.random.once_in(6) {
            if self.members[victim].stopped_until.is_none() {
                let time = Duration::from_micros(self.random.below(30_000));
                self.members[victim].child.signal(Signal::STOP);
                self.members[victim].stopped_until = Some(Instant::now() + time);
                self.ledger.event(victim, STOPPED);
                self.stops += 1;
            }
        } else if killing {
            // A quarter of them stopped first, so that it dies while it stands still.
            self.kill(victim);
            self.ledger.event(victim, KILLED);
            self.kills += 1;
            self.members[victim] = self.start(victim);
        }
    }

    /// Lets go on who was stopped for long enough, and looks whether anybody hangs or has died by itself.
    fn look(&mut self) {
        for worker in 0..self.members.len() {
            let member = &mut self.members[worker];
            if member.stopped_until.is_some_and(|until| until <= Instant::now()) {
                member.child.signal(Signal::CONT);
                member.stopped_until = None;
                member.seen.1 = Instant::now();
            }
            let steps = self.ledger.steps[worker].load(Relaxed);
            if steps != member.seen.0 {
                member.seen = (steps, Instant::now());
            } else if member.seen.1.elapsed() > HANG {
                let doing = self.ledger.doing[worker].load(Relaxed);
                self.ledger.violation(worker, &format!("worker {worker} hangs, in operation {doing}"));
                self.kill(worker);
            }
            if let Some(ended) = self.members[worker].child.wait(Duration::ZERO) {
                let doing = self.ledger.doing[worker].load(Relaxed);
                self.ledger.violation(
                    worker,
                    &format!("worker {worker} died by itself, in operation {doing}: {ended:?}"),
                );
                self.members[worker] = self.start(worker);
            }
        }
    }

    /// Kills all.
    pub(crate) fn end(&mut self) {
        for worker in 0..self.members.len() {
            self.kill(worker);
        }
    }

    /// Kills one, and waits until it is gone; it is noted before that it does not live.
    fn kill(&mut self, worker: usize) {
        self.ledger.living[worker].store(0, Release);
        self.members[worker].child.kill();
    }

    /// How many operations were done.
    pub(crate) fn operations(&self) -> u64 {
        self.ledger.next_event.load(Relaxed)
    }
}

/// Writes what is known of a failed run to a file in the temporary directory, and says where.
pub(crate) fn leave_trace(ledger: &Ledger, run: &str, seed: u64, operations: &[&str]) -> std::io::Result<()> {
    let texts = ledger.texts();
    for text in &texts {
        println!("FOUND  {text}");
    }
    let path: PathBuf = std::env::temp_dir().join(format!("crashlab-{run}-{seed}.trace"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    writeln!(file, "crashlab {run} --seed {seed}")?;
    for text in texts {
        writeln!(file, "violation: {text}")?;
    }
    let begun = ledger.begun.load(Relaxed);
    let next = ledger.next_event.load(Relaxed) as usize;
    for at in next.saturating_sub(EVENTS)..next {
        let (time, event) = &ledger.events[at % EVENTS];
        let (time, event) = (time.load(Relaxed).saturating_sub(begun), event.load(Relaxed));
        let name = match event as u32 {
            u32::MAX => "VIOLATION",
            KILLED => "killed",
            STOPPED => "stopped",
            operation => operations.get(operation as usize).copied().unwrap_or("?"),
        };
        writeln!(file, "{:>12.6} s  worker {:>2}  {name}", time as f64 / 1e9, event >> 32)?;
    }
    file.flush()?;
    println!("its trace is in {}", path.display());
    Ok(())
}
