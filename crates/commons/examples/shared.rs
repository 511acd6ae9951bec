//! Several processes keep one board: a mutex around what belongs together, an atomic for what stands alone. One of them
//! is killed while it has the lock; the next one is told, and mends what was half done.

use std::error::Error;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use commons::sync::{LockError, Mutex};
use commons::{Shareable, Shared, SharedOptions};

#[repr(C)]
#[derive(Shareable)]
struct Board {
    totals: Mutex<Totals>,
    visits: AtomicU64,
    /// Whether the process that is going to be killed has the lock.
    stuck: AtomicU32,
}

#[repr(C)]
#[derive(Clone, Copy, Shareable)]
struct Totals {
    /// How many numbers were added.
    count: u64,
    /// Their sum. All of them are 2, so that it can be told from `count`.
    sum: u64,
}

const WORKERS: u64 = 3;
const ROUNDS: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [] => lead(),
        [name] => work(name),
        [name, ..] => get_stuck(name),
    }
}

fn lead() -> Result<(), Box<dyn Error>> {
    let name = format!("example-board-{}", std::process::id());
    // Filled before anybody can open it. Without a value it would be all zero, which is an empty board too.
    let board = SharedOptions::new()
        .value(Board {
            totals: Mutex::new(Totals { count: 0, sum: 0 }),
            visits: AtomicU64::new(0),
            stuck: AtomicU32::new(0),
        })
        .create(&name)?;

    let this = std::env::current_exe()?;
    let mut stuck = Command::new(&this).args([&name, "stuck"]).spawn()?;
    wait_until(|| board.stuck.load(Relaxed) == 1);
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Command::new(&this).arg(&name).spawn()?);
    }
    // All of them want the lock now, or are about to.
    wait_until(|| board.visits.load(Relaxed) == WORKERS);
    stuck.kill()?;
    stuck.wait()?;
    for mut worker in workers {
        if !worker.wait()?.success() {
            return Err("a worker failed".into());
        }
    }

    let totals = board.totals.lock_or_recover(mend)?;
    println!("{} visits; {} numbers, sum {}", board.visits.load(Relaxed), totals.count, totals.sum);
    if (totals.count, totals.sum) != (WORKERS * ROUNDS, 2 * WORKERS * ROUNDS) {
        return Err("the totals are wrong".into());
    }
    Ok(())
}

fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn work(name: &str) -> Result<(), Box<dyn Error>> {
    let board = Shared::<Board>::open(name)?;
    board.visits.fetch_add(1, Relaxed);
    for _ in 0..ROUNDS {
        let mut totals = match board.totals.lock() {
            Ok(totals) => totals,
            Err(LockError::OwnerDied(mut totals)) => {
                println!("process {}: the owner died, the totals are mended", std::process::id());
                mend(&mut totals);
                totals.recover()
            }
            Err(LockError::Failed(error)) => return Err(error.into()),
        };
        totals.sum += 2;
        totals.count += 1;
    }
    Ok(())
}

/// The sum goes first: what was added without being counted is taken away again.
fn mend(totals: &mut Totals) {
    totals.sum = 2 * totals.count;
}

fn get_stuck(name: &str) -> Result<(), Box<dyn Error>> {
    let board = Shared::<Board>::open(name)?;
    let mut totals = board.totals.lock_or_recover(mend)?;
    totals.sum += 2;
    board.stuck.store(1, Relaxed);
    loop {
        std::thread::park();
    }
}
