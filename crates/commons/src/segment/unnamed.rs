//! Segments that are complete and get their name later: for drop-ins, whose names are ids that are given out under
//! a lock, which nobody should hold while memory is reserved.

use std::ffi::OsStr;

use super::handle::Segment;
use super::options::SegmentOptions;
use super::publish::Unpublished;
use crate::error::Result;

/// A segment that has all but its name. Dropped, it leaves nothing.
#[doc(hidden)]
#[derive(Debug)]
pub struct Unnamed {
    prepared: Unpublished,
    sparse: bool,
}

impl Unnamed {
    pub(super) fn new(prepared: Unpublished, sparse: bool) -> Unnamed {
        Unnamed { prepared, sparse }
    }

    /// Gives it a name in the namespace that it was prepared in, in one step; `Err` gives it back if that is taken.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`](crate::Error::BadName), and those of [`SegmentOptions::create`].
    pub fn publish(mut self, name: impl AsRef<OsStr>) -> Result<Result<Segment, Unnamed>> {
        self.prepared.name(name.as_ref())?;
        let sparse = self.sparse;
        Ok(match self.prepared.publish()? {
            Ok(held) => Ok(Segment::named(held, true, sparse)),
            Err(prepared) => Err(Unnamed { prepared, sparse }),
        })
    }
}

impl SegmentOptions<'_> {
    /// A segment as [`create`](SegmentOptions::create) makes it, but for its name.
    ///
    /// # Errors
    ///
    /// As [`create`](SegmentOptions::create), without those about names.
    #[doc(hidden)]
    pub fn create_unnamed(&self) -> Result<Unnamed> {
        let place = self.checked_place("unnamed")?;
        Ok(Unnamed::new(self.prepare(&place)?, self.is_sparse()))
    }
}
