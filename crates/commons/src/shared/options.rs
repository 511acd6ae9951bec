//! How an object is created or opened.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::AsFd;
use std::ptr;
use std::time::Duration;

use super::description::{self, Description};
use super::handle::{Shared, SharedReader};
use super::tag::{LARGEST_ALIGN, Plan, UNTAGGED};
use super::traits::InPlace;
use crate::error::{Error, Result};
use crate::segment::{
    AttachOptions, Attachment, InitializerResult, Lifetime, Namespace, OwnerPolicy, Segment, SegmentOptions,
};

type Initializer<'i, T> = dyn Fn(&mut T) -> InitializerResult + 'i;

/// How a [shared object](Shared) is created or opened.
///
/// ```
/// use commons::{Lifetime, Shared, SharedOptions};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// # let name = format!("doc-shared-options-{}", std::process::id());
/// let next = SharedOptions::<AtomicU64>::new()
///     .lifetime(Lifetime::UntilLastDetach)
///     .mode(0o660)
///     .initialize(|next| {
///         *next.get_mut() = 1000; // before anybody can open it
///         Ok(())
///     })
///     .open_or_create(name)?;
/// assert_eq!(next.fetch_add(1, Relaxed), 1000);
/// # Ok::<(), commons::Error>(())
/// ```
pub struct SharedOptions<'i, T: InPlace> {
    mode: u32,
    lifetime: Lifetime,
    owner: OwnerPolicy,
    namespace: Option<Namespace>,
    prefault: bool,
    initializer: Option<Box<Initializer<'i, T>>>,
}

impl<T: InPlace> fmt::Debug for SharedOptions<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedOptions")
            .field("mode", &format_args!("{:#o}", self.mode))
            .field("lifetime", &self.lifetime)
            .field("owner", &self.owner)
            .field("namespace", &self.namespace)
            .field("prefault", &self.prefault)
            .field("initializer", &self.initializer.is_some())
            .finish()
    }
}

impl<T: InPlace> Default for SharedOptions<'_, T> {
    fn default() -> Self {
        SharedOptions::new()
    }
}

impl<'i, T: InPlace> SharedOptions<'i, T> {
    /// The defaults: all zero, mode 0600, [`Lifetime::UntilLastDetach`], only objects of this user,
    /// [`Namespace::from_env`].
    pub fn new() -> SharedOptions<'i, T> {
        const {
            assert!(
                align_of::<T>() <= LARGEST_ALIGN,
                "memory is shared in pages: an object cannot be aligned to more than 4096 bytes"
            );
        }
        SharedOptions {
            mode: 0o600,
            lifetime: Lifetime::UntilLastDetach,
            owner: OwnerPolicy::Me,
            namespace: None,
            prefault: false,
            initializer: None,
        }
    }

    /// Fills a new object, all zero at first, before anybody can open it. If it fails or panics, nothing was created.
    /// Where several processes create at once, each runs its own, and the object of one is published.
    pub fn initialize(mut self, initializer: impl Fn(&mut T) -> InitializerResult + 'i) -> Self {
        self.initializer = Some(Box::new(initializer));
        self
    }

    /// What a new object is, to the byte: gaps between its fields included, whatever they hold.
    pub fn value(self, value: T) -> Self
    where
        T: 'i,
    {
        self.initialize(move |object| {
            // SAFETY: both are a `T`, not the same one; a copy of a `Shareable` value's bytes is a value of its own.
            unsafe { ptr::copy_nonoverlapping(&raw const value, ptr::from_mut(object), 1) };
            Ok(())
        })
    }

    /// Permission bits of a new object's segment; see [`SegmentOptions::mode`]. Who may write to it is trusted with
    /// the data behind its locks.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// How long a new object lives.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Whose objects may be opened.
    pub fn owner(mut self, owner: OwnerPolicy) -> Self {
        self.owner = owner;
        self
    }

    /// Where the name lives.
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Brings all pages into memory and into the page table at once; see [`AttachOptions::prefault`].
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Creates the object. Nobody can open it before it is complete.
    ///
    /// # Errors
    ///
    /// As [`SegmentOptions::create`], and as [`Segment::attach`].
    pub fn create(&self, name: impl AsRef<OsStr>) -> Result<Shared<T>> {
        self.making(|options| options.create(name))
    }

    /// Opens the object.
    ///
    /// # Errors
    ///
    /// [`Error::WrongLayout`] if it is of another type; [`Error::NotTyped`] if the segment does not say what object
    /// it holds; [`Error::OtherPidNamespace`] if there are locks in it and a process of another pid namespace holds
    /// it; otherwise as [`SegmentOptions::open`], and as [`Segment::attach`].
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Shared<T>> {
        self.object(&self.segment().open(name)?)
    }

    /// Opens the object as soon as somebody has created it, waiting `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; otherwise as [`open`](SharedOptions::open).
    pub fn open_wait(&self, name: impl AsRef<OsStr>, timeout: Duration) -> Result<Shared<T>> {
        self.object(&self.segment().open_wait(name, timeout)?)
    }

    /// Opens the object, or creates it if there is none; [`Shared::was_created`] says which.
    ///
    /// # Errors
    ///
    /// As [`open`](SharedOptions::open) and [`create`](SharedOptions::create), but for `NotFound` and `Exists`.
    pub fn open_or_create(&self, name: impl AsRef<OsStr>) -> Result<Shared<T>> {
        self.making(|options| options.open_or_create(name))
    }

    /// Opens the object for reading only: for programs that may not write to it. They get copies.
    ///
    /// # Errors
    ///
    /// As [`open`](SharedOptions::open), but for `OtherPidNamespace`: locks are looked at, not taken.
    pub fn open_read_only(&self, name: impl AsRef<OsStr>) -> Result<SharedReader<T>> {
        let segment = self.segment().read_only(true).open(name)?;
        Ok(SharedReader::new(self.attach(&segment)?))
    }

    /// Makes a segment for the object, unless there is one.
    fn making(&self, make: impl FnOnce(&SegmentOptions<'_>) -> Result<Segment>) -> Result<Shared<T>> {
        let Some(plan) = Plan::new(T::LAYOUT) else {
            // No segment is large enough for it, as the options say of this size too.
            return self.object(&make(&self.segment().size_if_new(u64::MAX))?);
        };
        let options = self.segment().size_if_new(plan.segment_size as u64).initialize(|bytes| {
            plan.write(bytes)?;
            match &self.initializer {
                Some(initialize) => initialize(object_of(bytes)?),
                None => Ok(()),
            }
        });
        self.object(&make(&options)?)
    }

    fn segment<'o>(&self) -> SegmentOptions<'o> {
        let options = SegmentOptions::new().mode(self.mode).lifetime(self.lifetime).owner(self.owner);
        match &self.namespace {
            Some(namespace) => options.namespace(namespace),
            None => options,
        }
    }

    fn object(&self, segment: &Segment) -> Result<Shared<T>> {
        Shared::new(self.attach(segment)?, segment.was_created())
    }

    /// Attaches a segment that says that a `T` is in it.
    fn attach(&self, segment: &Segment) -> Result<Attachment> {
        let untyped = |why| Error::NotTyped { attempt: segment.attempt("open"), why };
        let attached = if self.prefault {
            segment.attach_with(&AttachOptions::new().prefault(true))
        } else {
            segment.attach()
        };
        let attachment = match attached {
            // It is empty.
            Err(Error::OutOfRange { .. }) => return Err(untyped(UNTAGGED)),
            attached => attached?,
        };
        // From the file, not through the mapping: nobody can have asked for a guard yet, and should somebody truncate the
        // file just now, reading it is an error then and no SIGBUS.
        let copy = |offset, bytes: &mut [u8]| description::read_file(segment.as_fd(), offset, bytes);
        let (tag, text) = description::read_from(&copy, attachment.len() as u64).map_err(untyped)?;
        let layout = T::LAYOUT;
        let same = tag.fingerprint == layout.fingerprint()
            && tag.size == layout.size() as u64
            && tag.align as usize == layout.align();
        if same {
            return Ok(attachment);
        }
        Err(Error::WrongLayout {
            attempt: segment.attempt("open"),
            found: Box::new(Description::new(tag, &text)),
            expected: Box::new(Description::of::<T>()),
        })
    }
}

/// The object in a new segment that nobody else can reach yet.
fn object_of<T: InPlace>(bytes: &mut [u8]) -> Result<&mut T, &'static str> {
    let first = bytes.as_mut_ptr();
    if bytes.len() < size_of::<T>() || first.addr() % align_of::<T>() != 0 {
        return Err("the segment is not mapped as was asked for");
    }
    // SAFETY: the bytes are there and aligned, and borrowed alone for as long; a `Shareable` type is valid whatever its
    // bits. What is written into it may leave gaps between fields unset; nobody reads them as bytes through `bytes`
    // afterwards: the slice ends with this.
    Ok(unsafe { &mut *first.cast::<T>() })
}
