//! A contest: Commons, the floor and the peers do the same work in turn. A peer that is not there, or fails, is
//! named with the reason; Commons and the floor may not fail.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::harness::{Rounds, nanoseconds};
use crate::interrupt;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::statistics::Series;

/// Does a work for one round; gives nanoseconds.
pub(crate) type Run<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// So many times the same short operation; nanoseconds for each.
pub(crate) fn batch<'a>(count: u32, mut operation: impl FnMut() -> Result<()> + 'a) -> Run<'a> {
    Box::new(move || {
        let started = Instant::now();
        for _ in 0..count {
            black_box(operation()?);
        }
        Ok(nanoseconds(started) / f64::from(count))
    })
}

/// Who takes part.
#[derive(Default)]
pub(crate) struct Contest<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    subject: String,
    /// Whether it may be missing.
    peer: bool,
    run: Result<Run<'a>, String>,
    series: Series,
}

impl<'a> Contest<'a> {
    pub(crate) fn new() -> Contest<'a> {
        Contest::default()
    }

    /// Adds Commons (`commons`, or `commons, HOW` if it takes part in several ways) or the floor.
    pub(crate) fn add(mut self, subject: impl Into<String>, run: impl FnMut() -> Result<f64> + 'a) -> Self {
        self.push(subject.into(), false, Ok(Box::new(run)));
        self
    }

    /// Adds a peer, which may be missing: the error says why.
    pub(crate) fn peer(mut self, subject: impl Into<String>, run: Result<Run<'a>>) -> Self {
        self.push(subject.into(), true, run.map_err(|why| format!("{why:#}")));
        self
    }

    /// Adds Commons as a library or program that may not have been built, of which the error says so. Once it runs it
    /// may not fail.
    pub(crate) fn built(mut self, subject: impl Into<String>, run: Result<Run<'a>>) -> Self {
        self.push(subject.into(), false, run.map_err(|why| format!("{why:#}")));
        self
    }

    fn push(&mut self, subject: String, peer: bool, run: Result<Run<'a>, String>) {
        self.entries.push(Entry { subject, peer, run, series: Series::default() });
    }

    /// Runs all rounds. Each begins with another subject, so that none always comes after the same one.
    ///
    /// # Errors
    ///
    /// That of Commons or the floor; being interrupted.
    pub(crate) fn run(mut self, rounds: Rounds) -> Result<Results> {
        let count = self.entries.len();
        for round in 0..rounds.warm_up + rounds.count {
            for turn in 0..count {
                interrupt::check()?;
                let entry = &mut self.entries[(round + turn) % count];
                let Ok(run) = &mut entry.run else { continue };
                match run() {
                    Ok(figure) if round < rounds.warm_up => entry.series.warm_up.push(figure),
                    Ok(figure) => entry.series.rounds.push(figure),
                    Err(error) if entry.peer => {
                        interrupt::check()?;
                        entry.run = Err(format!("{error:#}"));
                    }
                    Err(error) => return Err(error.context(format!("measuring {}", entry.subject))),
                }
            }
        }
        let entries = self.entries.into_iter();
        Ok(Results(entries.map(|entry| (entry.subject, entry.run.map(|_| entry.series))).collect()))
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Results(Vec<(String, Result<Series, String>)>);

impl Results {
    /// All of it as a work, of which one way of Commons (its full name) is the subject.
    pub(crate) fn work(&self, name: impl Into<String>, unit: Unit, commons: &str) -> Result<Work> {
        self.work_against(name, unit, commons, |_| true)
    }

    /// The same against some only.
    pub(crate) fn work_against(
        &self,
        name: impl Into<String>,
        unit: Unit,
        commons: &str,
        with: impl Fn(&str) -> bool,
    ) -> Result<Work> {
        let (_, own) =
            self.0.iter().find(|(subject, _)| subject == commons).context("a subject that took part")?;
        let mut work = Work::new(name, unit);
        work = match own {
            Ok(series) => work.row(COMMONS, series),
            Err(why) => work.missing(COMMONS, why),
        };
        // The floor comes first, in whichever order they ran.
        let (floor, peers): (Vec<_>, Vec<_>) = self.0.iter().partition(|(subject, _)| subject == FLOOR);
        for (subject, figures) in floor.into_iter().chain(peers) {
            if subject.starts_with(COMMONS) || !with(subject) {
                continue;
            }
            work = match figures {
                Ok(series) => work.row(subject, series),
                Err(why) => work.missing(subject, why),
            };
        }
        Ok(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Limit;

    const ROUNDS: Rounds = Rounds { warm_up: 1, count: 5 };

    #[test]
    fn a_peer_that_is_missing_or_fails_is_named() -> Result<()> {
        let mut left = 3;
        let results = Contest::new()
            .add("commons", || Ok(2.0))
            .add("floor", || Ok(1.0))
            .peer("absent", Err(anyhow::anyhow!("not installed")))
            .peer(
                "failing",
                Ok(Box::new(move || {
                    left -= 1;
                    anyhow::ensure!(left > 0, "it broke");
                    Ok(1.0)
                })),
            )
            .run(ROUNDS)?;
        let work = results.work("w", Unit::Nanoseconds, "commons")?.bound("absent", Limit::AtMost(1.0));
        let whys: Vec<_> = work.rows.iter().filter_map(|row| row.measured.as_ref().err()).collect();
        assert_eq!(whys, ["not installed", "it broke"]);
        assert_eq!(work.rows[2].claims[0].verdict(), None);
        Ok(())
    }

    #[test]
    fn commons_may_not_fail() {
        let failed = Contest::new().add("commons", || anyhow::bail!("no")).run(ROUNDS);
        assert!(format!("{:#}", failed.unwrap_err()).contains("measuring commons: no"));
    }

    #[test]
    fn commons_may_not_have_been_built_but_then_may_not_fail() -> Result<()> {
        let absent = Contest::new().built("commons", Err(anyhow::anyhow!("not built"))).run(ROUNDS)?;
        let work = absent.work("w", Unit::Nanoseconds, "commons")?;
        assert_eq!(work.rows[0].measured.as_ref().err().map(String::as_str), Some("not built"));
        let failed = Contest::new().built("commons", Ok(Box::new(|| anyhow::bail!("no")))).run(ROUNDS);
        assert!(format!("{:#}", failed.unwrap_err()).contains("measuring commons: no"));
        Ok(())
    }
}
