//! Random `kill -9` over saving, loading and checking, by several processes on the same few files and names: files
//! and new segments are whole or not there; a segment that is loaded into is untouched until all was checked; no
//! temporary is left after the next save, and nothing that nobody holds after one sweep.
//!
//! `cargo test --release -p commons --test snapshot_kill -- --kills 5000` is the full form; without arguments a
//! short one runs. `--processes N` and `--seed N` choose one campaign instead of the usual one.
//!
//! Every other process has no nameless files, as on filesystems that lack them. A load into a segment that is killed
//! while it copies leaves a part of either, as the library says; these are counted apart, and loaded again.
//!
//! A process with one thread forks the workers, so this has its own `main`.

mod common;
#[path = "snapshot_kill/content.rs"]
mod content;
#[path = "snapshot_kill/verify.rs"]
mod verify;
#[path = "snapshot_kill/worker.rs"]
mod worker;

use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use common::campaign::{self, Random, wait_for_any};
use common::{Private, without_nameless};
use commons::snapshot::SaveOptions;
use commons::{Segment, SegmentOptions};
use content::{Contents, SEEDS, SIZES, fill};
use verify::{Found, Verifier, source};
use worker::{Doing, FILES, KINDS, OFTEN, Tally, Words, Worker, World};

/// No round takes longer than this, or it counts as a hang.
const HANG: Duration = Duration::from_secs(30);
/// After so many kills all workers are killed, and what is left is looked at in peace.
const REST: u64 = 100;

struct Campaign {
    kills: u64,
    processes: usize,
    seed: u64,
}

/// The world that the workers work in, and a snapshot in each file.
fn world(private: &Private, files: &tempfile::TempDir) -> World {
    let contents = Contents::new();
    let create = |size: usize, seed: u64| {
        let content = contents.get(size, seed);
        let options = private.options().size(SIZES[size]).initialize(|bytes| {
            fill(bytes, content);
            Ok(())
        });
        options.create(source(size, seed)).unwrap()
    };
    let sources: Vec<Vec<Segment>> =
        (0..SIZES.len()).map(|size| (0..SEEDS).map(|seed| create(size, seed)).collect()).collect();
    for file in FILES {
        let options = SaveOptions::new().raw(file.raw);
        options.save_file(&sources[1][0], files.path().join(file.name)).unwrap();
    }
    World { contents, namespace: private.namespace.clone(), files: files.path().to_owned(), sources }
}

/// A segment of each size for one worker, half of them sparse.
fn targets(private: &Private, world: &World, number: usize) -> Vec<Segment> {
    let create = |size: usize| {
        let content = world.contents.get(size, 0);
        let options = private.staying().size(SIZES[size]).sparse(size % 2 == 1).initialize(|bytes| {
            fill(bytes, content);
            Ok(())
        });
        options.create(format!("target-{number}-{size}")).unwrap()
    };
    (0..SIZES.len()).map(create).collect()
}

/// Waits until the worker does what chance has chosen, and then from some microseconds to some milliseconds: left to
/// chance alone, most kills would fall into what takes longest.
fn wait_for(words: &Words, random: &mut Random) {
    let wanted = OFTEN[random.below(OFTEN.len() as u64) as usize];
    let begun = Instant::now();
    while words.doing() != wanted && begun.elapsed() < Duration::from_millis(20) {
        std::thread::sleep(Duration::from_micros(10));
    }
    let longest = 1 << (2 + random.below(12));
    std::thread::sleep(Duration::from_micros(random.below(longest)));
}

/// Runs it; whether all promises were kept.
fn run(campaign: &Campaign) -> bool {
    let private = Private::new();
    let files = tempfile::tempdir().unwrap();
    let world = &world(&private, &files);
    let targets: Vec<Vec<Segment>> =
        (0..campaign.processes).map(|number| targets(&private, world, number)).collect();
    let shared =
        SegmentOptions::new().size(size_of::<Tally>() as u64).anonymous("tally").unwrap().attach().unwrap();
    // SAFETY: the attachment is large enough, page-aligned and zero, lives until the end, and the structure
    // has nothing but atomics.
    let tally: &Tally = unsafe { &*shared.as_ptr().cast() };
    let golden_files = tempfile::tempdir().unwrap();
    let golden: Vec<_> = (0..SIZES.len()).map(|size| golden_files.path().join(size.to_string())).collect();
    for (size, path) in golden.iter().enumerate() {
        SaveOptions::new().save_file(&world.sources[size][1], path).unwrap();
    }
    let scratch = SIZES.iter().map(|size| Segment::anonymous(*size).unwrap()).collect();
    let mut verifier =
        Verifier { world, tally, scratch, golden, known: HashSet::new(), found: Found::default() };
    let mut random = Random(campaign.seed | 1);
    let start = |number: usize, random: &mut Random| -> i32 {
        let seed = random.below(u64::MAX >> 33) << 20 | number as u64;
        let words = &tally.workers[number];
        words.begin(Doing::Between);
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: asks for a signal, and to be less in the way of who looks at what was left.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::nice(10);
                }
                if number % 2 == 1 && !without_nameless::forbid() && tally.said.fetch_add(1, SeqCst) == 0 {
                    eprintln!("SKIPPED: snapshot_kill without nameless files: needs seccomp");
                }
                Worker { world, tally, number, targets: &targets[number], random: Random(seed | 1) }.work()
            }
            pid => pid,
        }
    };
    let begun = Instant::now();
    let mut workers: Vec<i32> = (0..campaign.processes).map(|number| start(number, &mut random)).collect();
    let mut seen: Vec<(u64, Instant)> = vec![(0, begun); campaign.processes];
    let (mut hangs, mut died) = (0, 0);
    let mut killed_in = [0; KINDS];
    for kill in 1..=campaign.kills {
        let victim = random.below(campaign.processes as u64) as usize;
        wait_for(&tally.workers[victim], &mut random);
        for (number, seen) in seen.iter_mut().enumerate() {
            let rounds = tally.workers[number].rounds.load(SeqCst);
            if rounds != seen.0 {
                *seen = (rounds, Instant::now());
            } else if seen.1.elapsed() > HANG {
                hangs += 1;
                *seen = (rounds, Instant::now());
            }
        }
        let rest = kill % REST == 0 || kill == campaign.kills;
        if rest {
            // Then all is looked at again.
            verifier.known.clear();
        }
        let mut kill_and_look = |victim: usize| {
            // SAFETY: our own child, not reaped yet.
            unsafe { libc::kill(workers[victim], libc::SIGKILL) };
            let mut status = 0;
            // SAFETY: as above.
            unsafe { libc::waitpid(workers[victim], &raw mut status, 0) };
            died += u64::from(!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL));
            let words = &tally.workers[victim];
            killed_in[words.doing() as usize] += 1;
            verifier.look(workers[victim], words, &targets[victim]);
        };
        if rest {
            (0..campaign.processes).for_each(&mut kill_and_look);
            verifier.look_at_rest();
            if kill < campaign.kills {
                workers = (0..campaign.processes).map(|number| start(number, &mut random)).collect();
            }
            seen.iter_mut().for_each(|seen| seen.1 = Instant::now());
        } else {
            kill_and_look(victim);
            workers[victim] = start(victim, &mut random);
            // A killed worker starts its count of patience anew.
            seen[victim].1 = Instant::now();
        }
    }
    while wait_for_any(0) {}
    let found = &verifier.found;
    let done = Doing::ALL.map(|doing| tally.done[doing as usize].load(SeqCst));
    let counts: Vec<String> = Doing::ALL[1..]
        .iter()
        .map(|doing| format!("{doing:?} {} ({})", done[*doing as usize], killed_in[*doing as usize]))
        .collect();
    println!(
        "{} kills of {} processes in {:.1} s: done (killed in) {}, between ({}); files looked at {}, segments {}, \
         untouched before copying {}, old or new while copying {}, mixed while copying {}, temporaries left and \
         removed {}, swept {}; hangs {hangs}, died by themselves {died}, broken promises {}",
        killed_in.iter().sum::<u64>(),
        campaign.processes,
        begun.elapsed().as_secs_f64(),
        counts.join(" "),
        killed_in[0],
        found.files,
        found.segments,
        found.untouched,
        found.either,
        found.mixed,
        found.leftovers,
        tally.swept.load(SeqCst),
        tally.broken.load(SeqCst),
    );
    // A campaign that hits nothing has shown nothing.
    let hit =
        done[1..].iter().all(|done| *done > 0) && killed_in[1..].iter().sum::<u64>() > campaign.kills / 2;
    if !hit {
        eprintln!("the kills fell beside the operations");
    }
    hangs + died + tally.broken.load(SeqCst) == 0 && hit
}

fn main() {
    let Some(arguments) = campaign::arguments("snapshot_kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    let kills = number("--kills").unwrap_or(300);
    let processes = (number("--processes").unwrap_or(4) as usize).clamp(1, 16);
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    if !run(&Campaign { kills, processes, seed }) {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
