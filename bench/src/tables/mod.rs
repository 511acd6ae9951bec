//! The tables: each is a set of works, and the roles of the children that help with them. One more table is
//! one more module here, and its name in [`ALL`].

mod dropins;
mod lifecycle;
mod locks;
mod scale;
mod section;
mod snapshots;
mod wake;

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::child::Role;
use crate::harness::Context;
use crate::report::Work;

/// A set of works that are measured together.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// What it is about, in half a line.
    pub(crate) about: &'static str,
    /// Each with a label that is shown while it runs; in the order of the report.
    pub(crate) works: &'static [(&'static str, Measure)],
    /// What children of these works do, by names that no other table has.
    pub(crate) roles: &'static [(&'static str, Role)],
}

/// Measures something, and tells of it as one or several works.
pub(crate) type Measure = fn(&Context) -> Result<Vec<Work>>;

const ALL: &[&Table] =
    &[&lifecycle::TABLE, &locks::TABLE, &wake::TABLE, &dropins::TABLE, &scale::TABLE, &snapshots::TABLE];

/// What can be chosen on the command line.
pub(crate) fn choices() -> PossibleValuesParser {
    std::iter::once("all").chain(ALL.iter().map(|table| table.name)).collect::<Vec<_>>().into()
}

/// The tables that a choice means.
pub(crate) fn chosen(choice: &str) -> impl Iterator<Item = &'static Table> {
    ALL.iter().copied().filter(move |table| choice == "all" || choice == table.name)
}

/// The roles of all tables.
pub(crate) fn roles() -> impl Iterator<Item = (&'static str, Role)> {
    ALL.iter().flat_map(|table| table.roles.iter().copied())
}
