//! Segments that are complete and get their name later: for drop-ins, whose names are ids that are given out under
//! a lock, which nobody should hold while memory is reserved.

use std::ffi::OsStr;

use super::options::SegmentOptions;
use super::policy::Lifetime;
use super::publish::Unpublished;
use crate::error::{Error, Result};

/// A segment that has all but its name. Dropped, it leaves nothing.
#[doc(hidden)]
#[derive(Debug)]
pub struct Unnamed(Unpublished);

impl Unnamed {
    /// Gives it a name in the namespace that it was prepared in, in one step, and leaves it to whoever opens it; `Err`
    /// gives it back if the name is taken.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`](crate::Error::BadName), and those of [`SegmentOptions::create`].
    pub fn publish(mut self, name: impl AsRef<OsStr>) -> Result<Result<(), Unnamed>> {
        self.0.name(name.as_ref())?;
        Ok(self.0.publish()?.map(drop).map_err(Unnamed))
    }
}

impl SegmentOptions<'_> {
    /// A segment as [`create`](SegmentOptions::create) makes it, but for its name. It is going to be
    /// [`UntilDeleted`](Lifetime::UntilDeleted), and its creator does not hold it.
    ///
    /// # Errors
    ///
    /// As [`create`](SegmentOptions::create), without those about names.
    /// [`Error::BadOption`](crate::Error::BadOption) with another lifetime.
    #[doc(hidden)]
    pub fn create_unnamed(&self) -> Result<Unnamed> {
        let place = self.checked_place("unnamed")?;
        if self.lifetime_if_new() != Lifetime::UntilDeleted {
            let why =
                "what nobody holds yet cannot live until its last holder leaves; use Lifetime::UntilDeleted";
            return Err(Error::BadOption { attempt: place.attempt("create"), why });
        }
        self.prepare_held(&place, false).map(Unnamed)
    }
}
