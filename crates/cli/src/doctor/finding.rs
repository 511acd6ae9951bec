//! What a look at the machine gives: findings, each with a reason to care and a command that mends it.

use std::borrow::Cow;

use serde::Serialize;

/// How bad it is; the worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It hurts now, or will soon.
    Wrong,
    /// It may hurt.
    Warning,
    /// It could not be looked at.
    Unknown,
    /// It was looked at, and is good.
    Fine,
}

impl Severity {
    pub(super) const ALL: [Severity; 4] =
        [Severity::Wrong, Severity::Warning, Severity::Unknown, Severity::Fine];

    pub(super) fn name(self) -> &'static str {
        match self {
            Severity::Wrong => "wrong",
            Severity::Warning => "warning",
            Severity::Unknown => "unknown",
            Severity::Fine => "fine",
        }
    }
}

/// What was found. As JSON, the keys are an interface: keep them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at, for scripts: `shm-space`.
    pub(super) check: Cow<'static, str>,
    pub(super) severity: Severity,
    /// What is so, with figures.
    pub(super) what: String,
    /// Why it matters.
    pub(super) why: Cow<'static, str>,
    /// What to type to mend it.
    pub(super) command: Option<String>,
}

/// Something to look at: its identifier for scripts, and why it matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check(pub(super) &'static str, pub(super) &'static str);

impl Check {
    pub(super) fn finding(self, severity: Severity, what: impl Into<String>) -> Finding {
        Finding { check: self.0.into(), severity, what: what.into(), why: self.1.into(), command: None }
    }

    pub(super) fn wrong(self, what: impl Into<String>) -> Finding {
        self.finding(Severity::Wrong, what)
    }

    pub(super) fn warning(self, what: impl Into<String>) -> Finding {
        self.finding(Severity::Warning, what)
    }

    pub(super) fn fine(self, what: impl Into<String>) -> Finding {
        self.finding(Severity::Fine, what)
    }

    pub(super) fn unknown(self, reason: impl Into<String>) -> Finding {
        self.finding(Severity::Unknown, reason)
    }
}

impl Finding {
    pub(super) fn mend(mut self, command: impl Into<String>) -> Finding {
        self.command = Some(command.into());
        self
    }

    /// As [`mend`](Finding::mend), where there may be no command.
    pub(super) fn mend_if(mut self, command: Option<String>) -> Finding {
        self.command = command;
        self
    }

    /// One more sentence on why it matters, or on how to mend it for good.
    pub(super) fn more(mut self, sentence: &str) -> Finding {
        self.why.to_mut().push_str(sentence);
        self
    }
}
