//! Where a lock lies: in memory that processes share, or in this one's alone.
//!
//! The kernel's list leads through the [words](super::word) themselves, so a word in it has to stay where it is, also if
//! its guard was forgotten. A segment stays mapped for that. Nothing keeps a heap or a stack in place: safe code can
//! forget a guard, and then move or free the lock. So a word in memory that is this process's alone is never put into the
//! list. It needs no list: nobody else can write there, so that the word itself says whether a thread has it, and the
//! kernel ends all of its threads together, but for one that returns while it has a lock. Who waits for that one finds
//! out ([`owner`](super::owner)).
//!
//! What `new` makes says [`NEW`]; zeroed memory does not. Whoever takes the word and finds something there looks where it
//! lies, while it has it: in a registered attachment or another shared mapping (it was moved there with an initial value,
//! say), then it becomes 0, for all; anywhere else, then it becomes [`PRIVATE`]. A neighbour who writes here changes
//! nothing for a word in an attached object, and elsewhere takes away what he could take away otherwise: the kernel's
//! help.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::primitive;

/// Made by `new`, and nobody has looked yet where it lies.
const NEW: u32 = 1;

/// In memory of this process alone, and in no list.
const PRIVATE: u32 = 2;

/// See the module. 0 is memory that others may have.
#[repr(transparent)]
pub(super) struct Place(AtomicU32);

impl Place {
    /// Of a word that `new` makes. A model's locks are all shared.
    pub(super) const fn new() -> Place {
        Place(AtomicU32::new(if primitive::MODEL { 0 } else { NEW }))
    }

    /// Whether it may be memory of this process alone: then it has to be [looked for](Place::find_private) before the word
    /// goes into the list.
    #[inline]
    pub(super) fn may_be_private(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Whether it was found to be memory of this process alone.
    pub(super) fn is_private(&self) -> bool {
        self.0.load(Relaxed) == PRIVATE
    }

    /// Looks where it is; whether in memory of this process alone, as far as can be known. For the thread that has the
    /// word.
    #[cold]
    pub(super) fn find_private(&self) -> bool {
        let is_private = primitive::home(self).is_none()
            && (self.is_private() || primitive::lies_in_shared_memory(self) != Some(true));
        self.0.store(if is_private { PRIVATE } else { 0 }, Relaxed);
        is_private
    }
}
