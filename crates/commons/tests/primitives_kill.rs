//! Random `kill -9` over everything but mutexes and reader-writer locks, with glibc's robust and inheriting mutexes had
//! before, during and after: condition variables, events, barriers, what is done once, sequence locks, permits.
//!
//! `cargo test --release -p commons --test primitives_kill -- --kills 20000` is the full form, so many kills for each;
//! without arguments a short one runs. `--only NAME` runs one of them, `--processes N` and `--seed N` choose others than
//! usual. For each, a line says what there was, and one what was wrong.
//!
//! A process with one thread forks the workers, so this has its own `main`.

#![allow(unreachable_pub, reason = "each trial is a module of this file")]

#[path = "primitives_kill/barrier.rs"]
mod barrier;
mod common;
#[path = "primitives_kill/condvar.rs"]
mod condvar;
#[path = "primitives_kill/event.rs"]
mod event;
#[path = "primitives_kill/field.rs"]
mod field;
#[path = "primitives_kill/once.rs"]
mod once;
#[path = "primitives_kill/permits.rs"]
mod permits;
#[path = "primitives_kill/seqlock.rs"]
mod seqlock;

use common::{Private, campaign};
use field::{MOST, Trial};

type Run = fn(&Private, u64, usize, u64) -> bool;

fn trial<T: Trial>() -> (&'static str, Run) {
    (T::NAME, field::run::<T>)
}

fn main() {
    let Some(arguments) = campaign::arguments("primitives_kill") else { return };
    let number = |name: &str| campaign::number(&arguments, name);
    let only = arguments.iter().position(|argument| argument == "--only").map(|at| &arguments[at + 1]);
    let kills = number("--kills").unwrap_or(300);
    let processes = (number("--processes").unwrap_or(4) as usize).clamp(2, MOST);
    let seed = number("--seed").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let private = Private::new();
    let trials = [
        trial::<condvar::Shop>(),
        trial::<condvar::Herald>(),
        trial::<event::Gates>(),
        trial::<event::Turnstile>(),
        trial::<barrier::Meeting>(),
        trial::<once::Cells>(),
        trial::<seqlock::Value>(),
        trial::<permits::Room>(),
    ];
    let mut kept = true;
    for (name, run) in trials {
        if only.is_none_or(|only| only == name) {
            kept &= run(&private, kills, processes, seed);
        }
    }
    if !kept {
        eprintln!("a promise was broken");
        std::process::exit(1);
    }
}
