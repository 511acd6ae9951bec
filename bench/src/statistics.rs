//! What a handful of noisy figures can be trusted to say: median, quartiles, an interval that the true median
//! lies in, and what follows from it for a bound.

/// One figure for each round, of warm-up rounds and of those that count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Of the rounds that only warm up caches, allocators and clocks.
    pub(crate) warm_up: Vec<f64>,
    /// Of the rounds that count.
    pub(crate) rounds: Vec<f64>,
}

impl Series {
    /// Figures that needed no warming up.
    pub(crate) fn of(rounds: Vec<f64>) -> Series {
        Series { warm_up: Vec::new(), rounds }
    }

    /// This series over another, round by round: what disturbs a whole round falls out.
    pub(crate) fn over(&self, other: &Series) -> Series {
        let divide = |these: &[f64], those: &[f64]| these.iter().zip(those).map(|(a, b)| a / b).collect();
        Series { warm_up: divide(&self.warm_up, &other.warm_up), rounds: divide(&self.rounds, &other.rounds) }
    }
}

/// What a series comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    /// The lower and the upper quartile.
    pub(crate) quartiles: (f64, f64),
    /// Where the median lies with 99 % confidence, whatever the distribution of the noise.
    pub(crate) interval: (f64, f64),
    /// How many rounds counted.
    pub(crate) rounds: usize,
    /// The median of the warm-up rounds, if there were any.
    pub(crate) warm_up: Option<f64>,
}

impl Summary {
    /// Sums a series up; of an empty one all figures are NaN.
    pub(crate) fn of(series: &Series) -> Summary {
        let sorted = sorted(&series.rounds);
        let warm_up = sorted_nonempty(&series.warm_up).map(|sorted| quantile(&sorted, 0.5));
        Summary {
            median: quantile(&sorted, 0.5),
            quartiles: (quantile(&sorted, 0.25), quantile(&sorted, 0.75)),
            interval: interval(&sorted),
            rounds: sorted.len(),
            warm_up,
        }
    }
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn sorted_nonempty(figures: &[f64]) -> Option<Vec<f64>> {
    (!figures.is_empty()).then(|| sorted(figures))
}

/// The quantile `at` (0 to 1) of sorted figures, linear between neighbours.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = at * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// The order statistics between which the median lies with 99 % confidence: how many figures fall below the
/// median is binomial, so that its normal approximation gives the ranks. With few figures it is all of them.
fn interval(sorted: &[f64]) -> (f64, f64) {
    const Z: f64 = 2.576;
    let count = sorted.len();
    if count == 0 {
        return (f64::NAN, f64::NAN);
    }
    let n = count as f64;
    let rank = ((n - Z * n.sqrt()) / 2.0).floor().max(0.0) as usize;
    (sorted[rank], sorted[count - 1 - rank])
}

/// What a figure may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// Whether a figure keeps its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Missed,
    /// The rounds spread too far to tell.
    Unclear,
}

impl Limit {
    /// Only an interval that lies wholly on one side of the limit says something.
    pub(crate) fn verdict(self, summary: &Summary) -> Verdict {
        let (low, high) = summary.interval;
        let (inside, outside) = match self {
            Limit::AtMost(most) => (high <= most, low > most),
            Limit::AtLeast(least) => (low >= least, high < least),
        };
        match (inside, outside) {
            (true, _) => Verdict::Holds,
            (_, true) => Verdict::Missed,
            _ => Verdict::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(rounds: &[f64]) -> Summary {
        Summary::of(&Series::of(rounds.to_vec()))
    }

    #[test]
    fn median_and_quartiles_lie_between_neighbours() {
        let four = summary(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(four.median, 2.5);
        assert_eq!(four.quartiles, (1.75, 3.25));
        let one = summary(&[7.0]);
        assert_eq!((one.median, one.quartiles, one.interval), (7.0, (7.0, 7.0), (7.0, 7.0)));
        assert!(summary(&[]).median.is_nan());
    }

    #[test]
    fn a_few_outliers_move_neither_median_nor_interval() {
        let mut rounds: Vec<f64> = (0..100).map(|n| 100.0 + f64::from(n % 10)).collect();
        let calm = summary(&rounds);
        rounds[..3].fill(1e9);
        let shaken = summary(&rounds);
        assert!((calm.median - shaken.median).abs() <= 1.0);
        assert!(shaken.interval.1 < 110.0);
    }

    #[test]
    fn the_interval_is_everything_for_few_rounds_and_narrows_with_many() {
        assert_eq!(summary(&[1.0, 2.0, 3.0, 4.0, 5.0]).interval, (1.0, 5.0));
        let hundred: Vec<f64> = (0..100).map(f64::from).collect();
        // Ranks 38 and 63 of 100 (counted from 1) enclose the median with 99 %.
        assert_eq!(summary(&hundred).interval, (37.0, 62.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine slows down by ten in the second half; each round's ratio is 2 all the same.
        let base = Series { warm_up: vec![5.0], rounds: vec![1.0, 1.0, 10.0, 10.0] };
        let other = Series { warm_up: vec![50.0], rounds: vec![2.0, 2.0, 20.0, 20.0] };
        let ratio = Summary::of(&other.over(&base));
        assert_eq!((ratio.median, ratio.interval), (2.0, (2.0, 2.0)));
        assert_eq!(ratio.warm_up, Some(10.0));
    }

    #[test]
    fn a_verdict_needs_the_whole_interval_on_one_side() {
        let calm = summary(&[1.4, 1.5, 1.5]);
        assert_eq!(Limit::AtMost(1.6).verdict(&calm), Verdict::Holds);
        assert_eq!(Limit::AtMost(1.3).verdict(&calm), Verdict::Missed);
        assert_eq!(Limit::AtMost(1.45).verdict(&calm), Verdict::Unclear);
        assert_eq!(Limit::AtLeast(1.3).verdict(&calm), Verdict::Holds);
        assert_eq!(Limit::AtLeast(1.6).verdict(&calm), Verdict::Missed);
        assert_eq!(Limit::AtMost(0.0).verdict(&summary(&[0.0])), Verdict::Holds);
        assert_eq!(Limit::AtMost(1.0).verdict(&summary(&[])), Verdict::Unclear);
    }
}
