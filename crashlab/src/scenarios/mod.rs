//! All scenarios: a module for each floor or kind of lock. One more is one more line in its module's list.

pub(crate) mod gpl;
mod mutex;
pub(crate) mod nspr;
mod once;
mod peers;
mod planted;
mod rwlock;
mod segment;
mod semaphore;
mod seqlock;
mod shared;
mod signals;
mod snapshot;
pub(crate) mod system_v;
pub(crate) mod system_v_sem;

use crate::scenario::Scenario;

/// Those of Commons, in the order in which they are run.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    let lists = [
        segment::SCENARIOS,
        snapshot::SCENARIOS,
        shared::SCENARIOS,
        mutex::SCENARIOS,
        rwlock::SCENARIOS,
        semaphore::SCENARIOS,
        signals::SCENARIOS,
        once::SCENARIOS,
        seqlock::SCENARIOS,
        system_v::SCENARIOS,
        system_v_sem::SCENARIOS,
        gpl::SCENARIOS,
        nspr::SCENARIOS,
    ];
    lists.into_iter().flatten()
}

/// Those of other libraries, to compare with.
pub(crate) fn peers() -> impl Iterator<Item = &'static Scenario> {
    peers::SCENARIOS.iter()
}

/// Those with a mistake in them.
pub(crate) fn planted() -> impl Iterator<Item = &'static Scenario> {
    planted::SCENARIOS.iter()
}
