//! Random `kill -9` over programs in C that make, find, check, save, load and give up shared memory and named objects on
//! a few names: no ghost references, no stale identifiers, no half-made entries, no stuck locks.
//!
//! `cargo test --release -p commons-gpl --test kill -- --kills 20000` is the full form; without arguments a short one
//! runs. `--processes N` and `--seed N` choose. Every 25 kills all processes are killed, and what is left is looked at.
//!
//! A process with one thread starts and reaps the workers, so this has its own `main`.

mod common;

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::campaign::{self, Random, wait_for_any};
use common::{Linked, Place, compile};
use commons::Namespace;
use commons_compat::gpl;

const WORKERS: usize = 16;
const IDS: usize = 64;

/// As in `c/worker.c`.
#[repr(C)]
struct Tally {
    created: AtomicU64,
    found: AtomicU64,
    committed: AtomicU64,
    aborted: AtomicU64,
    forked: AtomicU64,
    saved: AtomicU64,
    loaded: AtomicU64,
    half_made: AtomicU64,
    miscounted: AtomicU64,
    errors: AtomicU64,
    rounds: [AtomicU64; WORKERS],
    ids: [[AtomicI32; IDS]; WORKERS],
}

/// No round takes longer than this, or it counts as a hang.
const HANG: Duration = Duration::from_secs(10);
/// Kills between two looks at what is left.
const STAGE: u64 = 25;

fn kill(worker: &mut Child) -> bool {
    use std::os::unix::process::ExitStatusExt;
    worker.kill().unwrap();
    worker.wait().unwrap().signal() == Some(libc::SIGKILL)
}

/// How many segments somebody holds.
fn held(database: &Path) -> usize {
    let entries = Namespace::at(database).unwrap().list().unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().look().is_some_and(|look| look.holders > 0)).count()
}

fn main() {
    let Some(arguments) = campaign::arguments("kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    // SAFETY: makes orphaned grandchildren children of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let kills = number("--kills").unwrap_or(400);
    let processes = number("--processes").unwrap_or(5).clamp(1, WORKERS as u64) as usize;
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let mut random = Random(seed | 1);

    let place = Place::new();
    let program = compile("worker.c", place.files.path(), Linked::Shared);
    let namespace = Namespace::at(place.files.path()).unwrap();
    let options = commons::SegmentOptions::new().size(size_of::<Tally>() as u64).namespace(&namespace);
    let shared = options.lifetime(commons::Lifetime::UntilDeleted).create("tally").unwrap().attach().unwrap();
    // SAFETY: the attachment is large enough, page-aligned and zero, lives until the end, and the structure has nothing
    // but atomics.
    let tally: &Tally = unsafe { &*shared.as_ptr().cast() };
    let start = |number: usize, random: &mut Random| -> Child {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64;
        let mut worker = Command::new(&program);
        worker.env("COMMONS_GPL_NAMESPACE", place.database.path()).current_dir(place.files.path());
        worker.arg("tally").arg(number.to_string()).arg(seed.to_string()).spawn().unwrap()
    };

    let begun = Instant::now();
    let (mut hangs, mut died, mut ghosts, mut stale, mut left, mut looks, mut late) = (0, 0, 0, 0, 0, 0, 0);
    let mut killed = 0;
    while killed < kills {
        let mut workers: Vec<Child> = (0..processes).map(|number| start(number, &mut random)).collect();
        let mut seen = vec![(0, Instant::now()); processes];
        for _ in 0..STAGE.min(kills - killed) {
            std::thread::sleep(Duration::from_micros(random.below(6000)));
            for (number, seen) in seen.iter_mut().enumerate() {
                let rounds = tally.rounds[number].load(Relaxed);
                if rounds != seen.0 {
                    *seen = (rounds, Instant::now());
                } else if seen.1.elapsed() > HANG {
                    hangs += 1;
                    *seen = (rounds, Instant::now());
                }
            }
            let victim = random.below(processes as u64) as usize;
            died += u64::from(!kill(&mut workers[victim]));
            killed += 1;
            workers[victim] = start(victim, &mut random);
            seen[victim].1 = Instant::now();
        }
        // Whoever still lives must come on: a lock that died with its owner would keep them all.
        let rounds: Vec<u64> = tally.rounds.iter().map(|rounds| rounds.load(Relaxed)).collect();
        let deadline = Instant::now() + HANG;
        while (0..processes).any(|number| tally.rounds[number].load(Relaxed) < rounds[number] + 3) {
            if Instant::now() > deadline {
                hangs += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        for worker in &mut workers {
            died += u64::from(!kill(worker));
        }
        killed += processes as u64;
        // What they forked comes to this process.
        while wait_for_any(0) {}

        looks += 1;
        let database = place.database.path();
        // The kernel lets go of the dead a moment later if somebody looks into their maps just then, as other tests on
        // this machine do.
        let deadline = Instant::now() + Duration::from_secs(1);
        while held(database) > 0 && Instant::now() < deadline {
            late += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        ghosts += held(database);
        for id in tally.ids.iter().flatten().map(|id| id.load(Relaxed)).filter(|id| *id != 0) {
            stale += u64::from(gpl::find_in(database, id).is_some());
        }
        let check = place.command(&program).arg("--check").status().unwrap();
        ghosts += usize::from(!check.success());
        left += place.names().len();
    }
    Namespace::at(place.database.path()).unwrap().sweep().unwrap();
    left += place.database.path().read_dir().unwrap().count();
    // Killed between naming and renaming, of which the next one to save removes what is left.
    let others = place.files.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let parts = others.filter(|name| name.to_string_lossy().ends_with(".gpl-part")).count();
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "{killed} kills of {processes} processes, {looks} looks, in {:.1} s: created {} found {} committed {} aborted {} forked {} saved {} loaded {}",
        begun.elapsed().as_secs_f64(),
        get(&tally.created),
        get(&tally.found),
        get(&tally.committed),
        get(&tally.aborted),
        get(&tally.forked),
        get(&tally.saved),
        get(&tally.loaded),
    );
    let (half, miscounted, errors) = (get(&tally.half_made), get(&tally.miscounted), get(&tally.errors));
    println!(
        "  ghosts {ghosts}, stale ids {stale}, half-made {half}, miscounted {miscounted}, unexpected errors {errors}, hangs {hangs}, died by themselves {died}, left {left}, part files {parts}; waited for the kernel {late} times"
    );
    let fine = ghosts == 0
        && stale + half + miscounted + errors + hangs + died == 0
        && left == 0
        && parts <= processes;
    let used = [&tally.created, &tally.found, &tally.committed, &tally.aborted].map(get);
    if !fine || used.contains(&0) {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
