//! `Shared<T>`: an object under a name.

use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Deref;

use super::options::SharedOptions;
use super::traits::InPlace;
use crate::error::Result;
use crate::segment::{Attachment, Name};

/// An object that programs share under a name.
///
/// The first one to open or create it makes it, all zero or with [an initial value](SharedOptions::initialize), before
/// anybody can open it. It goes with its last holder, however that one ends, unless its
/// [lifetime](SharedOptions::lifetime) is another. Dropping it detaches.
///
/// ```
/// use commons::Shared;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// # let name = &format!("doc-shared-{}", std::process::id());
/// # /*
/// let hits = Shared::<AtomicU64>::open_or_create("hits")?;
/// # */ let hits = Shared::<AtomicU64>::open_or_create(name)?;
/// hits.fetch_add(1, Relaxed);
/// # Ok::<(), commons::Error>(())
/// ```
///
/// With a lock, which tells if its owner died:
///
/// ```
/// use commons::{Shareable, Shared, sync::Mutex};
///
/// #[repr(C)]
/// #[derive(Shareable)]
/// struct Board {
///     totals: Mutex<Totals>,
/// }
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Shareable)]
/// struct Totals {
///     count: u64,
///     sum: f64,
/// }
///
/// # let name = &format!("doc-board-{}", std::process::id());
/// let board = Shared::<Board>::open_or_create(name)?;
/// let mut totals = board.totals.lock_or_recover(|totals| *totals = Totals { count: 0, sum: 0.0 })?;
/// totals.count += 1;
/// totals.sum += 0.5;
/// # Ok::<(), commons::Error>(())
/// ```
///
/// # In the segment
///
/// The object is at offset 0, as a C program sees its struct; behind it stand its layout as text, and a tag. Who opens
/// it as another type, or another version of the type, gets [`Error::WrongLayout`](crate::Error::WrongLayout). Growing
/// the segment hides the tag, so do not.
///
/// # Only what others may change
///
/// Other processes change the object at any time. So only atomics, locks, and structures and arrays of these can be
/// shared as they are: `Shared<u64>` does not compile.
///
/// ```compile_fail,E0277
/// let number = commons::Shared::<u64>::open_or_create("number");
/// ```
#[doc(alias = "shm_open")]
#[doc(alias = "managed_shared_memory")]
pub struct Shared<T: InPlace> {
    attachment: Attachment,
    created: bool,
    object: PhantomData<&'static T>,
}

impl<T: InPlace> Shared<T> {
    /// The object in an attachment that was checked to hold one at its beginning.
    pub(super) fn new(attachment: Attachment, created: bool) -> Result<Shared<T>> {
        attachment.object::<T>(0)?;
        Ok(Shared { attachment, created, object: PhantomData })
    }

    /// Opens the object, or creates it, all zero, if there is none; [`was_created`](Shared::was_created) says which.
    ///
    /// # Errors
    ///
    /// As [`SharedOptions::open_or_create`].
    pub fn open_or_create(name: impl AsRef<OsStr>) -> Result<Shared<T>> {
        SharedOptions::new().open_or_create(name)
    }

    /// Creates the object, all zero.
    ///
    /// # Errors
    ///
    /// As [`SharedOptions::create`].
    pub fn create(name: impl AsRef<OsStr>) -> Result<Shared<T>> {
        SharedOptions::new().create(name)
    }

    /// Opens the object.
    ///
    /// # Errors
    ///
    /// As [`SharedOptions::open`].
    pub fn open(name: impl AsRef<OsStr>) -> Result<Shared<T>> {
        SharedOptions::new().open(name)
    }

    /// Whether the constructor created the object, rather than opening one that was there.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// The segment's name.
    pub fn segment_name(&self) -> Option<Name> {
        self.attachment.hold().map(|hold| hold.place.name())
    }

    /// The attachment that the object lies in, of the whole segment.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }
}

impl<T: InPlace> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `new` saw the object to be there; an attachment neither moves nor becomes smaller, and it is borrowed.
        unsafe { &*self.attachment.as_ptr().cast::<T>() }
    }
}

impl<T: InPlace> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: InPlace + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.segment_name()).field("object", &**self).finish()
    }
}

/// An object of another program's, attached for reading only; made by [`SharedOptions::open_read_only`].
///
/// There is no `&T` of it: an atomic can be stored to, and a lock taken, through a `&T`, and a store to memory that is
/// only readable ends the process. What there is are copies.
pub struct SharedReader<T: InPlace> {
    attachment: Attachment,
    object: PhantomData<fn() -> T>,
}

impl<T: InPlace> SharedReader<T> {
    /// `attachment` was checked to hold a `T` at its beginning.
    pub(super) fn new(attachment: Attachment) -> SharedReader<T> {
        SharedReader { attachment, object: PhantomData }
    }

    /// A copy of the object as it is now.
    ///
    /// Atomics are copied whole, each at its moment: two of them may be of different ones. Data behind a lock is copied
    /// without taking the lock, and may be half changed. A lock in the copy is as it was found, perhaps locked by a
    /// thread that will never unlock the copy: use `get_mut` to get at its data. A [`SeqLock`](crate::sync::SeqLock) is no
    /// exception: what its copy `read`s may be torn, if it was written meanwhile. Copy twice, and compare, or open the
    /// object for writing and `read` in place.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`](crate::Error::Truncated) if a [guard](Attachment::guard) has found bytes gone.
    pub fn copy(&self) -> Result<T> {
        let mut copy = MaybeUninit::<T>::zeroed();
        // SAFETY: these are the bytes of `copy`, all of them set, and borrowed alone while the slice lives.
        let bytes = unsafe { std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
        self.attachment.read_at(0, bytes)?;
        // SAFETY: a `Shareable` type is valid whatever its bits, and a copy of its bytes is a value of its own.
        Ok(unsafe { copy.assume_init() })
    }

    /// The segment's name.
    pub fn segment_name(&self) -> Option<Name> {
        self.attachment.hold().map(|hold| hold.place.name())
    }

    /// The attachment that the object lies in, of the whole segment.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }
}

impl<T: InPlace> fmt::Debug for SharedReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedReader").field("name", &self.segment_name()).finish_non_exhaustive()
    }
}
