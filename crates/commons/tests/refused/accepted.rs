//! What compiles, so that what does not fails for its own reason.

use commons::shared::NoPadding;
use commons::sync::Mutex;
use commons::{Shareable, Shared};
use std::sync::atomic::AtomicU64;

#[repr(C)]
#[derive(Shareable)]
pub struct Board {
    hits: AtomicU64,
    totals: Mutex<Totals>,
}

#[repr(C)]
#[derive(Clone, Copy, Shareable, NoPadding)]
struct Totals {
    count: u64,
    sum: f64,
}

pub fn open() -> commons::Result<Shared<Board>> {
    Shared::<Board>::open("board")
}
