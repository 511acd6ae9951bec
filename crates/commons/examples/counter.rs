//! Counts its visitors in memory that they all share. Run it in several terminals at once; the count begins
//! anew once all of them have left.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use commons::Segment;

fn main() -> Result<(), Box<dyn Error>> {
    // The first process to come makes it, the others open it; nobody can see it half-made.
    let segment = Segment::open_or_create("example-visitors", 4096)?;
    let memory = segment.attach()?;

    let visitors = &memory.atomics::<AtomicU64>(..8)?[0];
    println!("You are visitor {}. Press Enter to leave.", visitors.fetch_add(1, Relaxed) + 1);
    std::io::stdin().read_line(&mut String::new())?;

    // The segment goes with its last holder.
    Ok(())
}
