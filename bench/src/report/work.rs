//! One work, and who did it in what time: Commons, the floor that hardware and kernel set, and peers.

use super::unit::{Unit, times};
use crate::statistics::{Limit, Series, Summary, Verdict};

/// The subject that is measured.
pub(crate) const COMMONS: &str = "commons";
/// What hardware and kernel take for the same, whoever asks.
pub(crate) const FLOOR: &str = "floor";

/// One work, done by several subjects.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    /// Why Commons takes longer than some peer, where it does.
    pub(crate) why: Option<&'static str>,
    /// The figure that grows from work to work, in works that tell how cost grows.
    pub(crate) growth: Option<Growth>,
}

/// What a work tells of how cost grows: works of one `name` are points of one line.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    pub(crate) name: &'static str,
    /// What grows.
    pub(crate) axis: &'static str,
    pub(crate) at: f64,
}

/// What one subject takes.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) subject: String,
    /// Or why there are no figures.
    pub(crate) measured: Result<Measured, String>,
    pub(crate) claims: Vec<Claim>,
}

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) series: Series,
    pub(crate) summary: Summary,
    /// What Commons takes over what this subject takes, round by round; none of Commons itself.
    pub(crate) ratio: Option<Summary>,
}

/// A bound, and the figure that has to keep it.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) limit: Limit,
    /// A ratio, or, of Commons alone, what it takes. None of a peer that is missing.
    pub(crate) figure: Option<Summary>,
    /// How many nanoseconds or bytes a 1 in `limit` is, if it is no ratio.
    pub(crate) unit: Option<Unit>,
}

/// Above which width a ratio's interval says more than the ratio.
const WIDE: f64 = 1.5;

/// A ratio for people: the interval instead, where it is wide.
pub(crate) fn ratio(summary: &Summary) -> String {
    let (low, high) = summary.interval;
    if is_wide(summary) {
        format!("spread too wide: {} – {}", times(low), times(high))
    } else {
        times(summary.median)
    }
}

/// Whether the rounds spread too far to give one figure.
pub(crate) fn is_wide(summary: &Summary) -> bool {
    let (low, high) = summary.interval;
    high.is_nan() || high > low * WIDE
}

impl Claim {
    /// The bound in words; `subject` is whom it is against.
    pub(crate) fn bound(&self, subject: &str) -> String {
        let against = if subject == FLOOR { "the floor" } else { subject };
        match (self.unit, self.limit) {
            (Some(unit), Limit::AtMost(most)) => {
                format!("at most {most} {}", unit.symbol()).trim_end().into()
            }
            (Some(unit), Limit::AtLeast(least)) => {
                format!("at least {least} {}", unit.symbol()).trim_end().into()
            }
            (None, Limit::AtMost(most)) => format!("at most {most}× {against}"),
            (None, Limit::AtLeast(least)) => format!("at least {least}× as fast as {against}"),
        }
    }

    /// None if the peer is missing.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let scale = self.unit.map_or(1.0, Unit::scale);
        let limit = match self.limit {
            Limit::AtMost(most) => Limit::AtMost(most * scale),
            Limit::AtLeast(least) => Limit::AtLeast(least * scale),
        };
        self.figure.as_ref().map(|figure| limit.verdict(figure))
    }
}

impl Work {
    /// A work without figures yet. Its name is unlike every other's in all tables. Commons' row comes first.
    pub(crate) fn new(name: impl Into<String>, unit: Unit) -> Work {
        Work { name: name.into(), unit, rows: Vec::new(), notes: Vec::new(), why: None, growth: None }
    }

    /// Adds what a subject takes: [`COMMONS`], [`FLOOR`] or a peer.
    pub(crate) fn row(mut self, subject: impl Into<String>, series: &Series) -> Work {
        let subject = subject.into();
        let commons = self.commons();
        let ratio = commons.map(|commons| Summary::of(&commons.series.over(series)));
        let measured = Measured { series: series.clone(), summary: Summary::of(series), ratio };
        self.rows.push(Row { subject, measured: Ok(measured), claims: Vec::new() });
        self
    }

    /// Adds a peer that could not be measured, and why.
    pub(crate) fn missing(mut self, subject: impl Into<String>, why: impl Into<String>) -> Work {
        self.rows.push(Row { subject: subject.into(), measured: Err(why.into()), claims: Vec::new() });
        self
    }

    pub(crate) fn commons(&self) -> Option<&Measured> {
        self.rows.iter().find(|row| row.subject == COMMONS)?.measured.as_ref().ok()
    }

    /// Bounds what Commons takes: in the work's unit if `subject` is Commons itself, else as a ratio. `AtMost`
    /// is of time, `AtLeast` of speed. One that has no row is named as missing.
    pub(crate) fn bound(mut self, subject: &str, limit: Limit) -> Work {
        let commons = self.commons().cloned();
        if !self.rows.iter().any(|row| row.subject == subject) {
            self = self.missing(subject, "not measured");
        }
        let unit = (subject == COMMONS).then_some(self.unit);
        let Some(row) = self.rows.iter_mut().find(|row| row.subject == subject) else { return self };
        let figure = match (&row.measured, commons, limit) {
            (Ok(own), _, _) if unit.is_some() => Some(own.summary),
            (Ok(other), Some(commons), Limit::AtMost(_)) => {
                Some(Summary::of(&commons.series.over(&other.series)))
            }
            (Ok(other), Some(commons), Limit::AtLeast(_)) => {
                Some(Summary::of(&other.series.over(&commons.series)))
            }
            _ => None,
        };
        row.claims.push(Claim { limit, figure, unit });
        self
    }

    /// Adds a remark.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Work {
        self.notes.push(note.into());
        self
    }

    /// Says why Commons takes longer than some peer, to be told where it does.
    pub(crate) fn why(mut self, why: &'static str) -> Work {
        self.why = Some(why);
        self
    }

    /// The peers that certainly are faster, with what Commons takes over what they take.
    pub(crate) fn behind(&self) -> impl Iterator<Item = (&str, &Summary)> {
        self.rows.iter().filter(|row| row.subject != FLOOR).filter_map(|row| {
            let ratio = row.measured.as_ref().ok()?.ratio.as_ref()?;
            (ratio.interval.0 > 1.02).then_some((row.subject.as_str(), ratio))
        })
    }

    /// Makes the work a point of a line.
    pub(crate) fn growth(mut self, name: &'static str, axis: &'static str, at: f64) -> Work {
        self.growth = Some(Growth { name, axis, at });
        self
    }
}
