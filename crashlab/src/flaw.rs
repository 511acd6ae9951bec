//! What can be wrong after a crash.

use std::fmt;

/// How a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody waits for a process that is dead, or stopped.
    Stuck,
    /// Something is left after one sweep.
    Leaked,
    /// Anything else: half-made, lost, told twice, counted wrongly, a process that died by itself.
    Wrong,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Stuck => "stuck",
            Kind::Leaked => "leaked",
            Kind::Wrong => "wrong",
        })
    }
}

/// A promise that was broken, and how it showed.
#[derive(Clone, Debug)]
pub(crate) struct Flaw {
    pub(crate) kind: Kind,
    pub(crate) what: String,
}

impl Flaw {
    pub(crate) fn stuck(what: impl Into<String>) -> Flaw {
        Flaw { kind: Kind::Stuck, what: what.into() }
    }

    pub(crate) fn leaked(what: impl Into<String>) -> Flaw {
        Flaw { kind: Kind::Leaked, what: what.into() }
    }

    pub(crate) fn wrong(what: impl Into<String>) -> Flaw {
        Flaw { kind: Kind::Wrong, what: what.into() }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)
    }
}

/// Whether all is as it must be.
pub(crate) type Check = Result<(), Flaw>;

/// An error where none may be.
pub(crate) trait Must<T> {
    /// What there is; an error is a flaw, said to have come from this step.
    fn must(self, step: &str) -> Result<T, Flaw>;
}

impl<T, E: fmt::Display> Must<T> for Result<T, E> {
    fn must(self, step: &str) -> Result<T, Flaw> {
        self.map_err(|error| Flaw::wrong(format!("{step}: {error}")))
    }
}

/// A flaw unless the condition holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Flaw::wrong(what())) }
}
