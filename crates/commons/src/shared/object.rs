//! Objects in an attachment, for those who lay out a segment by hand.

use super::traits::InPlace;
use crate::error::{Error, Result};
use crate::segment::{Attachment, holders};

impl Attachment {
    /// The object that begins at this byte of the attachment.
    ///
    /// What is there is taken for a `T` as it is: every bit pattern is one, and zeros are an object that is empty and
    /// whose locks are free. Whether others take the same bytes for the same type is theirs to agree on;
    /// [`Shared`](crate::Shared) writes it into the segment and checks it. In particular, data behind a lock is only to
    /// be touched by who has the lock: not through [`write_at`](Attachment::write_at),
    /// [`atomics`](Attachment::atomics), or an object of another type that overlaps it.
    ///
    /// An object with locks in it is refused while a process of another pid namespace holds the segment, since a thread
    /// id means another thread there. For an anonymous segment, and for one of System V, that cannot be known, and it is
    /// for the caller to keep to one pid namespace.
    ///
    /// ```
    /// use commons::sync::Mutex;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// # let name = format!("doc-object-{}", std::process::id());
    /// let memory = commons::Segment::create(name, 4096)?.attach()?;
    /// memory.object::<AtomicU64>(0)?.fetch_add(1, Relaxed);
    /// let totals = memory.object::<Mutex<[u64; 8]>>(64)?;
    /// totals.lock_or_recover(|totals| totals.fill(0))?[3] += 1;
    /// # Ok::<(), commons::Error>(())
    /// ```
    ///
    /// Costs some comparisons; with locks in it, also two questions to the kernel about the segment's holders (some
    /// microseconds), so that it is better kept than asked for each time. Blocks nobody.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if it does not lie within the attachment; [`Error::Misaligned`];
    /// [`Error::ReadOnly`] for a read-only attachment, since an atomic can be stored to and a lock taken;
    /// [`Error::OtherPidNamespace`]; [`Error::Truncated`] if a [guard](Attachment::guard) has found bytes gone.
    pub fn object<T: InPlace>(&self, offset: usize) -> Result<&T> {
        let verb = "see as an object";
        let first = self.range(offset, size_of::<T>())?;
        if self.is_read_only() {
            return Err(Error::ReadOnly(self.attempt(verb)));
        }
        self.check()?;
        let alignment = align_of::<T>();
        if first.addr() % alignment != 0 {
            return Err(Error::Misaligned { address: first.addr(), alignment });
        }
        if T::LOCKS {
            self.refuse_other_pid_namespaces(verb)?;
            self.register();
        }
        // SAFETY: `range` made sure that these bytes are within the attachment, which the reference borrows and which
        // stays mapped, readable and writable, while it lives; the start is aligned; `Shareable` types are valid
        // whatever their bits, and an `InPlace` one may be changed by others at any time.
        Ok(unsafe { &*first.cast::<T>() })
    }

    /// To be called while holding the segment: who comes later looks as well, and finds this process.
    pub(super) fn refuse_other_pid_namespaces(&self, verb: &'static str) -> Result<()> {
        let Some(hold) = self.hold() else { return Ok(()) };
        match holders::any_elsewhere(hold) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::OtherPidNamespace(self.attempt(verb))),
            Err(error) => Err(hold.place.error(verb, error)),
        }
    }
}
