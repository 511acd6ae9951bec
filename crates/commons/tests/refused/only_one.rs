// errors: 1
use commons::{Shareable, Shared, sync::Mutex};
use std::sync::atomic::AtomicU64;

#[repr(C)]
#[derive(Shareable)]
pub struct Stats {
    hits: AtomicU64,
    on: bool, //~ field `on`: `bool` is not valid for every bit pattern: use u8 or AtomicU8
}

#[repr(C)]
#[derive(Shareable)]
pub struct All {
    stats: Mutex<Stats>,
}

pub fn hits() -> u64 {
    let stats = Shared::<Stats>::open_or_create("stats").unwrap();
    let all = Shared::<All>::open_or_create("all").unwrap();
    stats.hits.load(std::sync::atomic::Ordering::Relaxed) + u64::from(all.stats.lock().is_ok())
}
