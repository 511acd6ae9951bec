//! Wake-ups: what passes until another process goes on, if it is asleep, and if both wait for each other.

mod barrier;
mod ends;
mod tells;

pub(super) use ends::{Ends, Way};

use super::Table;

pub(super) static TABLE: Table = Table {
    name: "wake",
    about: "what it takes to tell another process",
    works: &[
        ("waking a sleeper", tells::asleep),
        ("passing the turn to and fro", tells::trips),
        ("meeting at a barrier", barrier::measure),
    ],
    roles: &[],
};
