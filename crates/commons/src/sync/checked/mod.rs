//! The locks under a model checker: `.ci/model` builds and runs these. A file for each kind of lock.
//!
//! Under shuttle, [`explore`] tries many random interleavings, in which threads that were made mortal die at any step.
//! Nothing times out, so that a wake-up that is lost shows as a deadlock. What failed prints how to play it again.

mod barrier;
mod condvar;
mod event;
mod mutex;
mod once;
mod rwlock;
mod semaphore;
mod seqlock;

#[cfg(commons_shuttle)]
use super::primitive::model;

/// So many interleavings, chosen at random; `COMMONS_MODEL_RUNS` says another number.
#[cfg(commons_shuttle)]
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let runs = std::env::var("COMMONS_MODEL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(3_000);
    shuttle::check_random(
        move || {
            model::begin();
            body();
        },
        runs,
    );
}

/// All orderings that the memory model allows, with threads that are interrupted three times at most, or as often as
/// `LOOM_MAX_PREEMPTIONS` says: more takes hours.
#[cfg(commons_loom)]
fn explore(body: impl Fn() + Send + Sync + 'static) {
    explore_within(3, body);
}

/// The same, with threads that are interrupted so often at most.
#[cfg(commons_loom)]
fn explore_within(interruptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = explorer.preemption_bound.or(Some(interruptions));
    explorer.check(move || {
        super::primitive::model::begin();
        body();
    });
}

/// Spawns a thread that nobody waits for, since it may die.
#[cfg(commons_shuttle)]
fn spawn_mortal(fate: model::Fate, body: impl FnOnce() + Send + 'static) {
    // Of shuttle's threads all are waited for; of its tasks only those that somebody asks.
    drop(shuttle::future::spawn(async move {
        model::mortal(fate, 24);
        body();
        model::immortal();
    }));
}
