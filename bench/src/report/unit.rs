//! What figures are given in, and how they are shown.

/// Series of time are kept in nanoseconds, those of memory in bytes, and shown in one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Mebibytes,
    /// How many there are.
    Count,
}

impl Unit {
    /// How many nanoseconds, or bytes, there are in one.
    pub(crate) fn scale(self) -> f64 {
        match self {
            Unit::Nanoseconds | Unit::Count => 1.0,
            Unit::Microseconds => 1e3,
            Unit::Milliseconds => 1e6,
            Unit::Seconds => 1e9,
            Unit::Mebibytes => f64::from(1 << 20),
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Mebibytes => "MiB",
            Unit::Count => "",
        }
    }

    /// Whether it is a unit of time.
    pub(crate) fn is_time(self) -> bool {
        !matches!(self, Unit::Mebibytes | Unit::Count)
    }

    /// A figure with its unit, such as `12.3 µs`.
    pub(crate) fn show(self, figure: f64) -> String {
        let figure = figure / self.scale();
        if self == Unit::Count {
            format!("{figure:.0}")
        } else {
            format!("{} {}", digits(figure), self.symbol())
        }
    }
}

/// A ratio, such as `1.23×`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// Nanoseconds in the unit that suits them.
pub(crate) fn time(nanoseconds: f64) -> String {
    let unit = match nanoseconds {
        ..1e3 => Unit::Nanoseconds,
        1e3..1e6 => Unit::Microseconds,
        1e6..1e9 => Unit::Milliseconds,
        _ => Unit::Seconds,
    };
    unit.show(nanoseconds)
}

/// Three digits that mean something.
fn digits(figure: f64) -> String {
    let places = match figure.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{figure:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_their_unit() {
        assert_eq!(Unit::Microseconds.show(2000.0), "2.00 µs");
        assert_eq!(Unit::Count.show(3.0), "3");
        assert_eq!(times(12.34), "12.3×");
        assert_eq!(
            (time(123.4), time(1.5e6), time(2e9)),
            ("123 ns".into(), "1.50 ms".into(), "2.00 s".into())
        );
    }
}
