//! `bench`: what Commons takes on this machine, beside what hardware and kernel take at least; within 20 seconds.
//!
//! Whoever compares with other libraries too runs the benchmarks in the repository, which keep processes on cores of
//! their own. This one measures threads wherever they run, as a program's do.

use std::fs::File;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use std::thread;
use std::time::{Duration, Instant};

use commons::snapshot::SaveOptions;
use commons::sync::{AutoEvent, Mutex};
use commons::{Lifetime, Namespace, Segment, SegmentOptions, Shareable};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::table::{self, Cell, Column};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Relaxed);
}

const PAGE: u64 = 4096;
const SAVED: usize = 128 << 20;

#[repr(C)]
#[derive(Shareable)]
struct Board {
    mutex: Mutex<u64>,
    event: AutoEvent,
}

/// One line of the table; times in nanoseconds, throughput in bytes each second.
#[derive(Serialize)]
struct Row {
    work: &'static str,
    commons: f64,
    floor: f64,
    unit: &'static str,
    /// What the floor is.
    beside: &'static str,
}

pub(crate) fn bench(namespace: &Namespace, json: bool) -> Outcome<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // So that nothing is left in the namespace.
        // SAFETY: the handler stores to an atomic.
        unsafe { libc::signal(signal, interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
    let scene = Scene::new(namespace)?;
    let rows =
        [scene.create()?, scene.open()?, scene.lock()?, scene.contend()?, scene.wake()?, scene.save()?];
    let mut output = Output::new()?;
    if json {
        output.json(&rows)?;
    } else {
        let columns = [
            Column("WORK", false),
            Column("COMMONS", true),
            Column("AT LEAST", true),
            Column("THAT IS", false),
        ];
        let cells = rows.each_ref().map(|row| {
            [row.work.into(), shown(row.commons, row.unit), shown(row.floor, row.unit), row.beside.into()]
                .map(|text: String| Cell::new(text))
        });
        table::print(&mut output, &columns, &cells)?;
    }
    output.finish()
}

fn shown(figure: f64, unit: &str) -> String {
    match figure {
        _ if unit != "ns" => format!("{:.1} GiB/s", figure / f64::from(1 << 30)),
        ..1e3 => format!("{figure:.1} ns"),
        _ => format!("{:.1} µs", figure / 1e3),
    }
}

/// The median of so many rounds, after some that only warm up; both ways take turns.
fn medians(
    rounds: usize,
    mut commons: impl FnMut() -> Outcome<f64>,
    mut floor: impl FnMut() -> Outcome<f64>,
) -> Outcome<[f64; 2]> {
    let mut figures = [Vec::new(), Vec::new()];
    for round in 0..rounds + rounds.div_ceil(10) {
        if INTERRUPTED.load(Relaxed) {
            return Err(Failure::new("interrupted"));
        }
        let both = [commons()?, floor()?];
        if round >= rounds.div_ceil(10) {
            figures.iter_mut().zip(both).for_each(|(figures, figure)| figures.push(figure));
        }
    }
    Ok(figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }))
}

/// Nanoseconds for each of many.
fn each(count: u32, mut operation: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let begun = Instant::now();
    for _ in 0..count {
        operation()?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(count))
}

fn plain(error: std::io::Error) -> Failure {
    Failure::system("make and remove a plain file", &error)
}

struct Scene<'n> {
    namespace: &'n Namespace,
    name: String,
    /// A file beside the segments.
    file: PathBuf,
    board: commons::Attachment,
}

impl<'n> Scene<'n> {
    fn new(namespace: &'n Namespace) -> Outcome<Scene<'n>> {
        let name = format!("commons-bench-{}", std::process::id());
        let file = namespace.directory().join(format!("{name}-plain"));
        Ok(Scene { namespace, name, file, board: Segment::anonymous(PAGE)?.attach()? })
    }

    fn board(&self) -> Outcome<&Board> {
        Ok(self.board.object(0)?)
    }

    fn options(&self) -> SegmentOptions<'static> {
        SegmentOptions::new().size(PAGE).namespace(self.namespace)
    }

    fn create(&self) -> Outcome<Row> {
        let options = self.options();
        let commons = || each(100, || Ok(options.create(&self.name)?.attach()?.detach()?));
        let floor = || {
            each(100, || {
                File::create_new(&self.file).and_then(|file| file.set_len(PAGE)).map_err(plain)?;
                std::fs::remove_file(&self.file).map_err(plain)
            })
        };
        let [commons, floor] = medians(200, commons, floor)?;
        let work = "create, attach, detach, delete 4 KiB";
        Ok(Row { work, commons, floor, unit: "ns", beside: "a file, neither mapped nor reserved" })
    }

    fn open(&self) -> Outcome<Row> {
        let options = self.options().lifetime(Lifetime::UntilDeleted);
        let segment = options.create(&self.name)?;
        let path = self.namespace.directory().join(&self.name);
        let commons = || each(100, || Ok(options.open(&self.name)?.attach()?.detach()?));
        let floor = || each(100, || File::open(&path).map(drop).map_err(plain));
        let measured = medians(200, commons, floor);
        segment.delete()?;
        let [commons, floor] = measured?;
        Ok(Row {
            work: "open, attach, detach",
            commons,
            floor,
            unit: "ns",
            beside: "the file opened, not mapped",
        })
    }

    fn lock(&self) -> Outcome<Row> {
        let board = self.board()?;
        let word = AtomicU32::new(0);
        let commons = || {
            each(20_000, || {
                drop(board.mutex.lock());
                Ok(())
            })
        };
        let floor = || {
            each(20_000, || {
                let _ = black_box(&word).compare_exchange(0, 1, Acquire, Relaxed);
                word.store(0, Release);
                Ok(())
            })
        };
        let [commons, floor] = medians(200, commons, floor)?;
        let work = "lock and unlock a mutex";
        Ok(Row { work, commons, floor, unit: "ns", beside: "a compare-and-swap and a store" })
    }

    fn contend(&self) -> Outcome<Row> {
        let board = self.board()?;
        let counter = AtomicU64::new(0);
        let two = |visit: &(dyn Fn() + Sync)| {
            let visits = AtomicU64::new(0);
            let stop = AtomicBool::new(false);
            let begun = Instant::now();
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mut own = 0;
                        while !stop.load(Relaxed) {
                            visit();
                            own += 1;
                        }
                        visits.fetch_add(own, Relaxed);
                    });
                }
                thread::sleep(Duration::from_millis(20));
                stop.store(true, Relaxed);
            });
            begun.elapsed().as_nanos() as f64 / visits.load(Relaxed).max(1) as f64
        };
        let lock = || {
            if let Ok(mut count) = board.mutex.lock() {
                *count += 1;
            }
        };
        let add = || {
            counter.fetch_add(1, Relaxed);
        };
        let [commons, floor] = medians(40, || Ok(two(&lock)), || Ok(two(&add)))?;
        let work = "two threads contend for a mutex, each visit";
        Ok(Row { work, commons, floor, unit: "ns", beside: "two threads that add to one word" })
    }

    fn wake(&self) -> Outcome<Row> {
        let board = self.board()?;
        let begun = Instant::now();
        let now = || begun.elapsed().as_nanos() as u64;
        let sent = AtomicU64::new(0);
        let woken = |wait: &dyn Fn(), wake: &(dyn Fn(&thread::Thread) + Sync)| {
            let sleeper = thread::current();
            thread::scope(|scope| {
                scope.spawn(|| {
                    // Until whoever waits is asleep.
                    thread::sleep(Duration::from_millis(1));
                    sent.store(now(), SeqCst);
                    wake(&sleeper);
                });
                wait();
                (now() - sent.load(SeqCst)) as f64
            })
        };
        let commons = || Ok(woken(&|| board.event.wait(), &|_| board.event.set()));
        let flag = AtomicBool::new(false);
        let park = || {
            while !flag.swap(false, SeqCst) {
                thread::park();
            }
        };
        let unpark = |sleeper: &thread::Thread| {
            flag.store(true, SeqCst);
            sleeper.unpark();
        };
        let [commons, floor] = medians(300, commons, || Ok(woken(&park, &unpark)))?;
        let work = "wake a thread that is asleep";
        Ok(Row { work, commons, floor, unit: "ns", beside: "a thread parked by the standard library" })
    }

    fn save(&self) -> Outcome<Row> {
        let segment = Segment::anonymous(SAVED as u64)?;
        let attachment = segment.attach()?;
        let bytes: Vec<u8> = (0..SAVED).map(|at| at as u8).collect();
        attachment.write_at(0, &bytes)?;
        let mut copy = vec![1; SAVED];
        let rate = |begun: Instant| SAVED as f64 / begun.elapsed().as_secs_f64();
        let commons = || {
            let failed = |error: rustix::io::Errno| Failure::system("make a memfd", &error.into());
            let target = File::from(memfd_create(c"commons-bench", MemfdFlags::CLOEXEC).map_err(failed)?);
            let begun = Instant::now();
            SaveOptions::new().sync(false).save(&segment, target)?;
            Ok(rate(begun))
        };
        let floor = || {
            let begun = Instant::now();
            copy.copy_from_slice(black_box(&bytes));
            black_box(&mut copy);
            Ok(rate(begun))
        };
        let [commons, floor] = medians(10, commons, floor)?;
        let work = "save 128 MiB, with checksums";
        Ok(Row { work, commons, floor, unit: "bytes/s", beside: "memcpy to memory that is there" })
    }
}
