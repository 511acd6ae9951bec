//! Segments that are complete and get their name later: for drop-ins, whose names are ids that are given out under
//! a lock, which nobody should hold while much memory is reserved. And small ones that have their name at once, for
//! drop-ins that say elsewhere when a segment is complete.

use std::ffi::OsStr;

use super::options::SegmentOptions;
use super::place::Place;
use super::policy::Lifetime;
use super::publish::{InPlace, Unpublished};
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
        let place = self.named_place(OsStr::new("unnamed"))?;
        self.prepare_held(&place, false).map(Unnamed)
    }

    /// Makes a segment that has its name from the beginning, and then gets its size, its memory and its first bytes:
    /// whether the name was free. Others can see it before it is complete, and a crash leaves it so: this is for callers
    /// that say elsewhere when it is complete, and remove what is there without that. On a disk it may also be found
    /// incomplete after a power failure. Lifetime and creator are as in
    /// [`create_unnamed`](SegmentOptions::create_unnamed).
    ///
    /// # Errors
    ///
    /// As [`create`](SegmentOptions::create), but that nothing is swept for want of space; nothing is left then.
    /// [`Error::BadOption`](crate::Error::BadOption) with another lifetime.
    #[doc(hidden)]
    pub fn create_in_place(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        let place = self.named_place(name.as_ref())?;
        let Some(made) = InPlace::new(&place, self.mode_if_new())? else { return Ok(false) };
        self.fill(&place, made.fd(), made.device())?;
        made.keep();
        Ok(true)
    }

    /// Where it will be, if it can be without a holder.
    fn named_place(&self, name: &OsStr) -> Result<Place> {
        let place = self.checked_place(name)?;
        if self.lifetime_if_new() != Lifetime::UntilDeleted {
            let why =
                "what nobody holds yet cannot live until its last holder leaves; use Lifetime::UntilDeleted";
            return Err(Error::BadOption { attempt: place.attempt("create"), why });
        }
        Ok(place)
    }
}
