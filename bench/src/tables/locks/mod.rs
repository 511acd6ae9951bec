//! Locks: what surviving an owner's death costs, beside the C library's locks, robust and not.

mod contended;
mod deaths;
mod readers;
mod uncontended;

use super::Table;

pub(super) static TABLE: Table = Table {
    name: "locks",
    about: "what locks cost that survive their owners",
    works: &[
        ("locking alone", uncontended::measure),
        ("contending", contended::throughput),
        ("waiting", contended::waits),
        ("reading", readers::measure),
        ("counting", uncontended::semaphores),
        ("dying", deaths::measure),
    ],
    roles: &[],
};

/// What becomes of a lock of Commons that is not had, or with the news of a death: nobody here dies while measured.
#[cold]
fn not_had<E, G>(_: E) -> G {
    panic!("a lock that nobody has could not be had")
}
