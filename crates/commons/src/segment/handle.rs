//! The handle of a segment.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use super::attach_options::AttachOptions;
use super::attachment::Attachment;
use super::entry::Info;
use super::holders::{self, Holders};
use super::name::Name;
use super::namespace::Namespace;
use super::options::SegmentOptions;
use super::patience::PATIENCE;
use super::place::Place;
use super::policy::{Lifetime, OwnerPolicy};
use super::protocol::{self, Held, Hold, Manner};
use super::slot::Slot;
use crate::error::{Attempt, Error, NotASegment, Result};
use crate::sys::file::{self, Access, Identity, Kind, Stat};
use crate::sys::{Errno, filesystem, lock, process};

/// A handle to a segment: keeps it alive, maps nothing.
///
/// It is closed by dropping it; attachments made from it live on, and keep the segment alive themselves,
/// without a descriptor. When the last of a segment's handles and attachments in all processes has gone,
/// so has a segment [`UntilLastDetach`](Lifetime::UntilLastDetach).
///
/// `Send` and `Sync`. After a `fork` both processes hold the segment. A handle is one file descriptor,
/// closed on `exec`.
///
/// ```
/// use commons::Segment;
///
/// # let name = &format!("doc-segment-{}", std::process::id());
/// let segment = Segment::create(name, 4096)?;
/// segment.attach()?.write_at(0, b"hello")?;
///
/// // In another process:
/// let mut greeting = [0; 5];
/// Segment::open(name)?.attach()?.read_at(0, &mut greeting)?;
/// assert_eq!(&greeting, b"hello");
/// # Ok::<(), commons::Error>(())
/// ```
#[doc(alias = "PRSharedMemory")]
#[doc(alias = "SharedMemory")]
pub struct Segment {
    /// `None` only while it is being dropped.
    fd: Option<OwnedFd>,
    identity: Identity,
    /// What it was when it was opened or created.
    known: Stat,
    /// When that was.
    opened: u64,
    /// Whether anything was asked of it or done with it since, so that the size in `known` no longer serves.
    used: AtomicBool,
    access: Access,
    pub(super) sparse: bool,
    /// What this handle and its attachments share; `None` for an anonymous segment, which has no name to
    /// lose.
    hold: Option<Arc<Hold>>,
    lifetime: Lifetime,
    created: bool,
    /// Whether a thread is deleting through this handle's description.
    deleting: AtomicBool,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("name", &self.name())
            .field("namespace", &self.namespace().map(Namespace::directory))
            .field("lifetime", &self.lifetime)
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}

/// How much memory a segment has and uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of the segment.
    pub size: u64,
    /// Bytes of memory or disk that are allocated to it, in whole pages, touched or not.
    pub reserved: u64,
    /// Bytes that are in memory now, and not in swap or only on disk; `None` where the kernel does not say
    /// (before 6.5, or on hugetlbfs).
    pub resident: Option<u64>,
}

impl Segment {
    /// Creates a segment of `size` bytes, mode 0600, that lives until its last holder leaves.
    ///
    /// # Errors
    ///
    /// As [`SegmentOptions::create`].
    pub fn create(name: impl AsRef<OsStr>, size: u64) -> Result<Segment> {
        SegmentOptions::new().size(size).create(name)
    }

    /// Opens a segment of this user for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`SegmentOptions::open`].
    pub fn open(name: impl AsRef<OsStr>) -> Result<Segment> {
        // As `SegmentOptions::new().open(name)`, without building the options.
        let place = Namespace::from_env()?.into_place(name)?;
        let manner = Manner {
            access: Access::ReadWrite,
            owner: OwnerPolicy::Me,
            size: 0,
            verb: "open",
            counted: true,
        };
        Segment::open_place(place, manner, PATIENCE, false)
    }

    #[inline]
    pub(crate) fn open_place(
        place: Place,
        manner: Manner,
        patience: Duration,
        sparse: bool,
    ) -> Result<Segment> {
        match protocol::open(Hold::of(place), manner, patience)? {
            Ok(held) => Ok(Segment::named(held, false, sparse)),
            Err(hold) => Err(Error::NotFound(hold.place.attempt("open"))),
        }
    }

    /// Opens a segment of at least `size` bytes, or creates one of `size` bytes; [`was_created`](Segment::was_created)
    /// says which.
    ///
    /// # Errors
    ///
    /// As [`SegmentOptions::open_or_create`].
    pub fn open_or_create(name: impl AsRef<OsStr>, size: u64) -> Result<Segment> {
        SegmentOptions::new().size(size).open_or_create(name)
    }

    /// Opens a segment as soon as it exists, waiting `timeout` at most.
    ///
    /// # Errors
    ///
    /// As [`SegmentOptions::open_wait`].
    pub fn open_wait(name: impl AsRef<OsStr>, timeout: Duration) -> Result<Segment> {
        SegmentOptions::new().open_wait(name, timeout)
    }

    /// Creates a segment without a name, to be handed on by descriptor.
    ///
    /// # Errors
    ///
    /// As [`SegmentOptions::anonymous`].
    pub fn anonymous(size: u64) -> Result<Segment> {
        SegmentOptions::new().size(size).anonymous("commons")
    }

    /// The segment behind a descriptor that was inherited or received: one of
    /// [`anonymous`](Segment::anonymous), or any regular file without a name. Where no seal forbids that it
    /// shrinks, whoever else has it can truncate it: see [`Attachment::guard`].
    ///
    /// # Errors
    ///
    /// [`Error::NotASegment`] if it is no regular file, or has a name: then
    /// [`open`](Segment::open) it by that, since only so its lifetime is kept.
    pub fn from_fd(fd: impl Into<OwnedFd>) -> Result<Segment> {
        let fd = fd.into();
        let os = |error: Errno| Error::Os { attempt: Attempt::anonymous("open"), source: error.into() };
        let stat = file::stat(fd.as_fd()).map_err(os)?;
        let what = match stat.kind {
            Kind::Regular if stat.names > 0 => Some(NotASegment::Named),
            _ => protocol::no_segment(&stat),
        };
        if let Some(what) = what {
            return Err(Error::NotASegment { attempt: Attempt::anonymous("open"), what });
        }
        let access =
            if file::is_writable(fd.as_fd()).map_err(os)? { Access::ReadWrite } else { Access::ReadOnly };
        Ok(Segment::anonymous_from(fd, &stat, false, access, false))
    }

    #[inline]
    pub(crate) fn named(held: Held, created: bool, sparse: bool) -> Segment {
        let Held { fd, stat, hold } = held;
        let (access, lifetime) = (hold.access(), hold.lifetime());
        let mut segment = Segment::anonymous_from(fd, &stat, created, access, sparse);
        (segment.lifetime, segment.hold) = (lifetime, Some(hold));
        segment
    }

    #[inline]
    pub(crate) fn anonymous_from(
        fd: OwnedFd,
        stat: &Stat,
        created: bool,
        access: Access,
        sparse: bool,
    ) -> Segment {
        Segment {
            fd: Some(fd),
            identity: stat.identity,
            known: *stat,
            opened: process::moment(),
            used: AtomicBool::new(false),
            access,
            sparse,
            hold: None,
            lifetime: Lifetime::UntilLastDetach,
            created,
            deleting: AtomicBool::new(false),
        }
    }

    /// Its name; `None` for an anonymous segment.
    pub fn name(&self) -> Option<Name> {
        self.hold.as_ref().map(|hold| hold.place.name())
    }

    /// The namespace that its name lives in; `None` for an anonymous segment.
    pub fn namespace(&self) -> Option<&Namespace> {
        self.hold.as_ref().map(|hold| &hold.place.namespace)
    }

    /// Whether this handle's constructor created the segment, rather than opening one that was there.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// How long it lives, as it was when this handle was opened.
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// Bytes that it has now: others may have made it larger since it was opened.
    ///
    /// # Errors
    ///
    /// [`Error::HandleClosed`].
    #[doc(alias = "shmSizeOf")]
    pub fn size(&self) -> Result<u64> {
        Ok(self.stat("look at")?.size)
    }

    /// Its metadata.
    ///
    /// # Errors
    ///
    /// [`Error::HandleClosed`].
    pub fn info(&self) -> Result<Info> {
        Ok(Info::new(&self.stat("look at")?))
    }

    /// Its metadata as they were when this handle was opened, which costs no call. For one that this handle created,
    /// `reserved` is 0, and `modified` from before it was filled.
    pub fn info_when_opened(&self) -> Info {
        Info::new(&self.known)
    }

    /// The device and inode of its file, by which two handles are known to be of one segment while both are open.
    pub fn file_id(&self) -> (u64, u64) {
        (self.identity.device, self.identity.inode)
    }

    /// How much memory it has and uses.
    ///
    /// # Errors
    ///
    /// [`Error::HandleClosed`].
    pub fn usage(&self) -> Result<Usage> {
        let stat = self.stat("look at")?;
        Ok(Usage { size: stat.size, reserved: stat.allocated, resident: file::resident(self.fd("look at")?) })
    }

    /// Which processes hold it, as far as can be known, and what is unknown. A look through `/proc`: some
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::HandleClosed`].
    pub fn holders(&self) -> Result<Holders> {
        let verb = "look at";
        self.stat(verb)?;
        let own = self.hold.as_ref().map(|hold| hold.slot);
        holders::find(self.fd(verb)?, self.identity, own).map_err(|error| self.error(verb, error))
    }

    /// Attaches the whole segment: maps it into this process, for reading and writing unless the handle is
    /// read-only.
    ///
    /// If it is the first that is done with a handle, within milliseconds of opening it, then what is attached is
    /// what the segment was when it was opened; otherwise, what it is now. To be sure to see what another
    /// process has just added, ask for the [`size`](Segment::size) before.
    ///
    /// # Errors
    ///
    /// As [`attach_with`](Segment::attach_with).
    #[doc(alias = "mmap")]
    #[doc(alias = "shmat")]
    #[doc(alias = "PR_AttachSharedMemory")]
    pub fn attach(&self) -> Result<Attachment> {
        match Attachment::plain(self) {
            Some(attachment) => Ok(attachment),
            None => self.attach_with(&AttachOptions::new()),
        }
    }

    /// Attaches all or a range of the segment, as the options say.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if the range is not within the segment or empty; [`Error::ReadOnly`];
    /// [`Error::AddressInUse`]; [`Error::TooManyMappings`]; [`Error::LockedMemoryLimit`];
    /// [`Error::NoSpace`] where pages were to be brought in and a sparse segment finds no room;
    /// [`Error::BadOption`]; [`Error::Unsupported`]; [`Error::HandleClosed`].
    pub fn attach_with(&self, options: &AttachOptions) -> Result<Attachment> {
        Attachment::new(self, options)
    }

    /// Removes the segment's name, if it still means this segment. Holders keep it, and it goes with the last
    /// of them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the name is gone, or means another segment by now;
    /// [`Error::PermissionDenied`]; [`Error::Busy`]; [`Error::BadOption`] for an anonymous segment.
    pub fn delete(&self) -> Result<()> {
        let verb = "delete";
        self.stat(verb)?;
        let Some(hold) = &self.hold else {
            let why = "an anonymous segment has no name; it goes with its last holder";
            return Err(Error::BadOption { attempt: self.attempt(verb), why });
        };
        // The gate keeps out other descriptions only: if another thread, or a forked child, may be deleting
        // through this one as well, go through a new one.
        let through = |fd: BorrowedFd<'_>| protocol::delete_file_patiently(&hold.place, fd, self.identity);
        let alone = !self.is_read_only() && !hold.forked() && !self.deleting.swap(true, Acquire);
        let deleted = if alone {
            let deleted = through(self.fd(verb)?);
            self.deleting.store(false, Release);
            deleted
        } else {
            let own = protocol::open_to_delete(&hold.place);
            through(own.map_err(|error| self.error(verb, error))?.as_fd())
        };
        if deleted? { Ok(()) } else { Err(Error::NotFound(self.attempt(verb))) }
    }

    /// Lets a child process have this segment: the descriptor of the returned number will be open in what
    /// `command` starts. There, [`from_fd`](Segment::from_fd) takes it. Tell the child the number, by an
    /// argument or in its environment. For anonymous segments; a named one is better opened by its name.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use commons::Segment;
    /// use std::os::fd::{FromRawFd, OwnedFd};
    ///
    /// let segment = Segment::anonymous(4096)?;
    /// let mut command = std::process::Command::new("worker");
    /// let number = segment.inherit(&mut command)?;
    /// command.arg(number.to_string()).spawn()?;
    ///
    /// // In the worker:
    /// let number = std::env::args().nth(1).ok_or("no descriptor")?.parse()?;
    /// // SAFETY: the parent passed this descriptor, and nothing else here uses it.
    /// let segment = Segment::from_fd(unsafe { OwnedFd::from_raw_fd(number) })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::HandleClosed`]; [`Error::Os`] if the process has no descriptor left.
    pub fn inherit(&self, command: &mut Command) -> Result<RawFd> {
        use std::os::fd::AsRawFd;
        let verb = "hand on";
        self.stat(verb)?;
        let passed = self.fd(verb)?.try_clone_to_owned();
        let passed = passed.map_err(|source| Error::Os { attempt: self.attempt(verb), source })?;
        let number = passed.as_raw_fd();
        // SAFETY: between fork and exec the closure makes one system call and touches no memory but its own.
        unsafe { command.pre_exec(move || Ok(file::keep_over_exec(passed.as_fd())?)) };
        Ok(number)
    }

    pub(crate) fn attempt(&self, verb: &'static str) -> Box<Attempt> {
        match &self.hold {
            Some(hold) => hold.place.attempt(verb),
            None => Attempt::anonymous(verb),
        }
    }

    pub(crate) fn error(&self, verb: &'static str, error: Errno) -> Error {
        match &self.hold {
            Some(hold) => hold.place.error(verb, error),
            None => Error::Os { attempt: self.attempt(verb), source: error.into() },
        }
    }

    pub(crate) fn fd(&self, verb: &'static str) -> Result<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or_else(|| Error::HandleClosed(self.attempt(verb)))
    }

    /// The file's metadata now, after making sure that the descriptor still is this segment's.
    pub(crate) fn stat(&self, verb: &'static str) -> Result<Stat> {
        self.used.store(true, Relaxed);
        match file::stat(self.fd(verb)?) {
            Ok(stat) if stat.identity == self.identity => Ok(stat),
            _ => Err(Error::HandleClosed(self.attempt(verb))),
        }
    }

    /// Bytes in a page of the file, if it is on hugetlbfs.
    pub(crate) fn huge_page_size(&self, fd: BorrowedFd<'_>) -> Option<usize> {
        let (kind, block) = match &self.hold {
            Some(hold) => hold.place.namespace.kind_and_block(self.identity.device, fd),
            None => filesystem::of_file(fd).map(|filesystem| (filesystem.kind, filesystem.block)).ok()?,
        };
        (kind == filesystem::Kind::Hugetlbfs).then_some(usize::try_from(block).ok()?)
    }

    /// The size for an attachment: as of when the handle was opened, if that was a moment ago and it is the
    /// first; otherwise as of now.
    pub(crate) fn size_to_attach(&self, verb: &'static str) -> Result<u64> {
        if self.first_attachment() { Ok(self.known.size) } else { Ok(self.stat(verb)?.size) }
    }

    /// Whether the size in `known` may serve for an attachment; it does so once.
    #[inline]
    fn first_attachment(&self) -> bool {
        let first = !self.used.load(Relaxed) && self.is_fresh();
        self.used.store(true, Relaxed);
        first
    }

    /// What a plain first attachment needs to know: descriptor, bytes, whether it is writable. `None` if the
    /// general way has to be taken.
    #[inline]
    pub(crate) fn plainly(&self) -> Option<(BorrowedFd<'_>, usize, bool)> {
        let (fd, hold) = (self.fd.as_ref()?, self.hold.as_ref()?);
        let plain = hold.place.namespace.has_small_pages(self.identity.device) && self.known.size > 0;
        let len = usize::try_from(self.known.size).ok()?;
        (plain && self.first_attachment()).then(|| (fd.as_fd(), len, !self.is_read_only()))
    }

    /// Whether the handle was opened a moment ago, so that its descriptor is taken for its own without asking.
    ///
    /// Programs that close descriptors that are not theirs do so as they become daemons: after a fork, or at
    /// some other moment that is unlikely to be within milliseconds of opening a segment.
    #[inline]
    fn is_fresh(&self) -> bool {
        let forked = self.hold.as_ref().is_some_and(|hold| hold.forked());
        !forked && process::is_recent(self.opened)
    }

    pub(crate) fn hold(&self) -> Option<&Arc<Hold>> {
        self.hold.as_ref()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The same segment through another description that is open for reading only, with a slot of its own.
    pub(crate) fn read_only_twin(&self, verb: &'static str) -> Result<(OwnedFd, Option<Hold>)> {
        let fail = |error| self.error(verb, error);
        let forks = process::forks();
        let fd = file::reopen(self.fd(verb)?, Access::ReadOnly).map_err(fail)?;
        if file::stat(fd.as_fd()).map_err(fail)?.identity != self.identity {
            return Err(Error::HandleClosed(self.attempt(verb)));
        }
        let Some(hold) = &self.hold else { return Ok((fd, None)) };
        let slot = Slot::next();
        // This handle's own slot keeps out whoever wants the whole range, so that this cannot be refused.
        if !lock::try_read(fd.as_fd(), slot.range()).map_err(fail)? {
            return Err(Error::Busy { attempt: self.attempt(verb), waited: Duration::ZERO });
        }
        Ok((fd, Some(hold.twin(slot, forks))))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let Some(fd) = self.fd.take() else { return };
        let ours = self.is_fresh() || file::stat(fd.as_fd()).is_ok_and(|stat| stat.identity == self.identity);
        let fd = if ours {
            Some(fd)
        } else {
            // Other code closed our descriptor, and the number may be somebody else's by now.
            std::mem::forget(fd);
            None
        };
        let Some(hold) = self.hold.take() else { return };
        // Attachments come from this handle only: if there is none, none can come.
        let last = Arc::strong_count(&hold) == 1;
        match fd {
            Some(fd) if last => {
                if let Some(hold) = Arc::into_inner(hold) {
                    hold.leave_with(fd);
                }
            }
            fd => {
                // The descriptor goes first, so that whoever is last, perhaps an attachment this moment, finds
                // the slot given back.
                drop(fd);
                if let Some(hold) = Arc::into_inner(hold) {
                    hold.leave();
                }
            }
        }
    }
}

/// The descriptor of the segment's file, to be sent to another process (`SCM_RIGHTS`) or asked about. Do not
/// lock, truncate or write through it. For a segment with a name, a copy of it elsewhere does not hold the
/// segment: there, open it by name.
///
/// # Panics
///
/// Never: a handle has its descriptor until it is dropped.
impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("a handle has its descriptor until it is dropped"),
        }
    }
}
