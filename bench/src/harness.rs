//! Rounds: the variants of a work run in turn, a short batch each, so that whatever the machine does to one it
//! does to all; many rounds, of which the first only warm up.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::interrupt;
use crate::placement::Placement;
use crate::statistics::Series;

/// What every work is given.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) placement: Placement,
    /// Fewer rounds.
    pub(crate) quick: bool,
}

impl Context {
    /// So many rounds that count, a tenth of it (one at least) to warm up before; fewer where it has to be
    /// quick.
    pub(crate) fn rounds(&self, full: usize, quick: usize) -> Rounds {
        let count = if self.quick { quick } else { full };
        Rounds { warm_up: (count / 10).max(1), count }
    }
}

/// How many rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) warm_up: usize,
    pub(crate) count: usize,
}

/// One way to do a work. What it returns of one round are `PARTS` figures, usually nanoseconds.
pub(crate) struct Variant<'a, const PARTS: usize = 1> {
    subject: &'static str,
    run: Box<dyn FnMut() -> Result<[f64; PARTS]> + 'a>,
}

impl<'a, const PARTS: usize> Variant<'a, PARTS> {
    /// A variant that measures itself.
    pub(crate) fn new(subject: &'static str, run: impl FnMut() -> Result<[f64; PARTS]> + 'a) -> Self {
        Variant { subject, run: Box::new(run) }
    }

    /// What or who does the work.
    pub(crate) fn subject(&self) -> &'static str {
        self.subject
    }
}

/// Nanoseconds since then.
pub(crate) fn nanoseconds(started: Instant) -> f64 {
    started.elapsed().as_nanos() as f64
}

/// Nanoseconds on the monotonic clock, which all processes share.
pub(crate) fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The call itself, as a program without Commons would make it.
pub(crate) fn futex(word: &AtomicU32, operation: i32, value: u32) {
    // SAFETY: the word lives as long as the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, std::ptr::null::<libc::timespec>())
    };
}

/// Runs all variants in all rounds. Each round begins with another variant, so that none always comes after
/// the same one. Gives, for each variant, a series for each part.
///
/// # Errors
///
/// That of a variant, with its subject; being interrupted.
pub(crate) fn interleave<const PARTS: usize>(
    rounds: Rounds,
    variants: &mut [Variant<'_, PARTS>],
) -> Result<Vec<[Series; PARTS]>> {
    let mut all: Vec<[Series; PARTS]> =
        variants.iter().map(|_| std::array::from_fn(|_| Series::default())).collect();
    for round in 0..rounds.warm_up + rounds.count {
        interrupt::check()?;
        for turn in 0..variants.len() {
            let which = (round + turn) % variants.len();
            let Variant { subject, run } = &mut variants[which];
            let figures = run().with_context(|| format!("measuring {subject}"))?;
            for (series, figure) in all[which].iter_mut().zip(figures) {
                let part = if round < rounds.warm_up { &mut series.warm_up } else { &mut series.rounds };
                part.push(figure);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn variants_take_turns_and_warm_up_rounds_are_kept_apart() {
        let order = RefCell::new(String::new());
        let variant = |subject: &'static str| {
            Variant::new(subject, || {
                order.borrow_mut().push_str(subject);
                Ok([order.borrow().len() as f64, 0.0])
            })
        };
        let mut variants = [variant("a"), variant("b"), variant("c")];
        let series = interleave(Rounds { warm_up: 1, count: 3 }, &mut variants).unwrap();
        assert_eq!(*order.borrow(), "abcbcacababc");
        assert_eq!(series[1][0].warm_up, [2.0]);
        assert_eq!(series[1][0].rounds, [4.0, 9.0, 11.0]);
        assert_eq!(series[1][1].rounds, [0.0; 3]);
    }

    #[test]
    fn an_error_names_the_variant() {
        let mut variants = [Variant::<1>::new("the odd one", || anyhow::bail!("no"))];
        let error = interleave(Rounds { warm_up: 0, count: 1 }, &mut variants).unwrap_err();
        assert!(format!("{error:#}").contains("the odd one: no"));
    }
}
