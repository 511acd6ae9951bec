//! Counts visitors and games across processes. The README shows it.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use commons::sync::Mutex;
use commons::{Shareable, Shared};

#[repr(C)]
#[derive(Shareable)]
struct Board {
    visitors: AtomicU64,
    scores: Mutex<Scores>,
}

#[repr(C)]
#[derive(Shareable)]
struct Scores {
    games: u64,
    points: u64, // three for each game
}

fn main() -> Result<(), Box<dyn Error>> {
    // The first process to come makes it, all zero; the others open it. Nobody can see it half-made.
    let board = Shared::<Board>::open_or_create("example-board")?;
    println!("You are visitor {}.", board.visitors.fetch_add(1, Relaxed) + 1);

    // Whoever is killed in here leaves the lock to the next one, who is told, and makes the data good.
    let mut scores = board.scores.lock_or_recover(|scores| scores.points = 3 * scores.games)?;
    scores.games += 1;
    scores.points += 3;
    println!("{} games, {} points. Press Enter to leave.", scores.games, scores.points);
    drop(scores); // unlocks

    std::io::stdin().read_line(&mut String::new())?;
    Ok(()) // the board goes with its last holder
}
