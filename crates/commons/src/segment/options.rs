//! How segments are created and opened.

use std::error::Error as StdError;
use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::handle::Segment;
use super::namespace::Namespace;
use super::patience::{PATIENCE, Patience};
use super::place::Place;
use super::policy::{Lifetime, MOST, OwnerPolicy, TOO_LARGE};
use super::protocol::{self, Hold, Manner, Step};
use super::publish::{self, Means, Unpublished};
use super::reserve::{self, Plan};
use crate::error::{Attempt, Error, Result};
use crate::sys::file::{self, Access};
use crate::sys::watch::Watch;
use crate::sys::{Errno, filesystem};

/// What an initialiser returns.
pub type InitializerResult = Result<(), Box<dyn StdError + Send + Sync>>;

type Initializer<'i> = dyn Fn(&mut [u8]) -> InitializerResult + 'i;

/// Whether a new file of this inode number will do.
type Fits<'i> = dyn Fn(u64) -> bool + 'i;

/// How many files are made in search of one that will do.
const CANDIDATES: usize = 64;

/// A new segment that has its size and memory, and no name yet.
pub(crate) struct Unfilled<'u> {
    pub(crate) fd: BorrowedFd<'u>,
    pub(crate) place: &'u Place,
    pub(crate) kind: filesystem::Kind,
    /// Bytes.
    pub(crate) size: u64,
}

/// How a segment is created or opened.
///
/// ```
/// use commons::{Lifetime, SegmentOptions};
///
/// let options = SegmentOptions::new()
///     .size(1 << 20)
///     .mode(0o640)
///     .lifetime(Lifetime::UntilLastDetach)
///     .initialize(|bytes| {
///         bytes[..5].copy_from_slice(b"ready"); // before anybody can open it
///         Ok(())
///     });
/// # let name = format!("doc-options-{}", std::process::id());
/// let segment = options.open_or_create(name)?;
/// let mut found = [0; 5];
/// segment.attach()?.read_at(0, &mut found)?;
/// assert_eq!(&found, b"ready");
/// # Ok::<(), commons::Error>(())
/// ```
pub struct SegmentOptions<'i> {
    size: Option<u64>,
    /// Whether what is opened has to be so large too.
    size_if_opened: bool,
    mode: u32,
    lifetime: Lifetime,
    read_only: bool,
    sparse: bool,
    huge_pages: bool,
    owner: OwnerPolicy,
    counted: bool,
    namespace: Option<Namespace>,
    initializer: Option<Box<Initializer<'i>>>,
    patience: Duration,
    means: Means,
    fits: Option<Box<Fits<'i>>>,
}

impl fmt::Debug for SegmentOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentOptions")
            .field("size", &self.size)
            .field("mode", &format_args!("{:#o}", self.mode))
            .field("lifetime", &self.lifetime)
            .field("read_only", &self.read_only)
            .field("sparse", &self.sparse)
            .field("huge_pages", &self.huge_pages)
            .field("owner", &self.owner)
            .field("namespace", &self.namespace)
            .field("initializer", &self.initializer.is_some())
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Default for SegmentOptions<'_> {
    fn default() -> Self {
        SegmentOptions::new()
    }
}

impl<'i> SegmentOptions<'i> {
    /// The defaults: mode 0600, [`Lifetime::UntilLastDetach`], read-write, memory reserved at creation, only
    /// segments of this user, [`Namespace::from_env`].
    pub fn new() -> SegmentOptions<'i> {
        SegmentOptions {
            size: None,
            size_if_opened: true,
            mode: 0o600,
            lifetime: Lifetime::UntilLastDetach,
            read_only: false,
            sparse: false,
            huge_pages: false,
            owner: OwnerPolicy::Me,
            counted: true,
            namespace: None,
            initializer: None,
            patience: PATIENCE,
            means: Means::Link,
            fits: None,
        }
    }

    /// Bytes: a new segment has exactly so many (on hugetlbfs rounded up to whole huge pages), and one that is
    /// opened has at least so many.
    pub fn size(mut self, bytes: u64) -> Self {
        (self.size, self.size_if_opened) = (Some(bytes), true);
        self
    }

    /// The size of a new segment; one that is opened may have any.
    pub(crate) fn size_if_new(mut self, bytes: u64) -> Self {
        (self.size, self.size_if_opened) = (Some(bytes), false);
        self
    }

    /// Permission bits of a new segment, `0o777` at most, exactly these whatever the umask.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// How long a new segment lives.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Opens for reading only, so that no attachment of it can be written through, whatever `mprotect`
    /// says. A new segment cannot be read-only.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Does not reserve memory for a new segment, or for what [`grow`](Segment::grow) adds: pages come as they
    /// are touched, and touching one for which there is no room is `SIGBUS` (see
    /// [`Attachment::guard`](crate::Attachment::guard)). What is larger than the whole filesystem is refused all
    /// the same.
    pub fn sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }

    /// Reserves a new segment in huge pages where the machine lets it; small ones otherwise. A tmpfs decides
    /// by its mount option `huge=`, an [anonymous](SegmentOptions::anonymous) segment by
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` (`advise` or more).
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Whose segments may be opened.
    pub fn owner(mut self, owner: OwnerPolicy) -> Self {
        self.owner = owner;
        self
    }

    /// With `false`, opens a segment `UntilDeleted` without being counted among its holders: others see only which
    /// processes have it mapped. Spares a microsecond in programs that open and close all the time. Changes nothing for
    /// other segments, and for new ones. For the drop-ins: not for segments with permits in them, which come
    /// back when their holder's slot has gone.
    #[doc(hidden)]
    pub fn counted(mut self, counted: bool) -> Self {
        self.counted = counted;
        self
    }

    /// Where the name lives.
    pub fn namespace(mut self, namespace: &Namespace) -> Self {
        self.namespace = Some(namespace.clone());
        self
    }

    /// Fills a new segment before anybody can open it. Sees all bytes, zero at first, and is the only one
    /// that does. If it fails or panics, nothing was created. Where several processes create at once, each
    /// runs its own, and the bytes of one are published.
    pub fn initialize(mut self, initializer: impl Fn(&mut [u8]) -> InitializerResult + 'i) -> Self {
        self.initializer = Some(Box::new(initializer));
        self
    }

    /// How long to try while others are in the middle of creating or deleting the segment, before
    /// [`Error::Busy`]. A second at first; only a stopped or starved process takes longer than some
    /// microseconds.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Publishes by renaming, as on filesystems without nameless files. For tests of that way.
    #[doc(hidden)]
    pub fn publish_by_renaming(mut self) -> Self {
        self.means = Means::Rename;
        self
    }

    /// Makes a new segment of a file whose inode number `fits`: for drop-ins that derive a segment's id from that
    /// number, and must not give out one that another segment has. Up to 64 files are tried.
    #[doc(hidden)]
    pub fn inode(mut self, fits: impl Fn(u64) -> bool + 'i) -> Self {
        self.fits = Some(Box::new(fits));
        self
    }

    /// Creates a segment. Nobody can open it before it is complete.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`]; [`Error::NoSpace`] and [`Error::BeyondLimit`] if its memory cannot be had (orphans were
    /// swept before giving up); [`Error::NotASegment`] if the name names something else;
    /// [`Error::ForeignOrphan`]; [`Error::Unsupported`] if the filesystem cannot keep the lifetime;
    /// [`Error::Initializer`]; [`Error::BadOption`] without a size, or with a mode whose owner may not read
    /// and write while the segment is to be deleted by its last holder; [`Error::BadName`];
    /// [`Error::PermissionDenied`]; [`Error::Busy`].
    #[doc(alias = "shm_open")]
    #[doc(alias = "shmget")]
    #[doc(alias = "O_EXCL")]
    pub fn create(&self, name: impl AsRef<OsStr>) -> Result<Segment> {
        self.create_with(name, |_| Ok(()))
    }

    /// Creates a segment whose bytes are what `fill` puts there, once its memory is had. Nobody sees them before.
    pub(crate) fn create_with(
        &self,
        name: impl AsRef<OsStr>,
        fill: impl FnOnce(&Unfilled<'_>) -> Result<()>,
    ) -> Result<Segment> {
        let place = self.place(name)?;
        self.check(true, &|| place.attempt("create"))?;
        // For a large one it is worth a call to find out before its memory is reserved.
        if self.size > Some(1 << 16) && file::stat_path(place.path()).is_ok() {
            publish::make_way(&place)?;
        }
        let mut prepared = self.prepare(&place)?;
        let (kind, _) = place.namespace.kind_and_block(prepared.stat().identity.device, prepared.fd());
        fill(&Unfilled { fd: prepared.fd(), place: &place, kind, size: prepared.stat().size })?;
        let mut patience = Patience::new(self.patience);
        loop {
            match prepared.publish()? {
                Ok(held) => return Ok(Segment::named(held, true, self.sparse)),
                Err(back) => prepared = back,
            }
            publish::make_way(&place)?;
            if !patience.pause() {
                return Err(patience.busy(&place, "create"));
            }
        }
    }

    /// Opens a segment. If a [size](SegmentOptions::size) was given, it has at least so many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::TooSmall`]; [`Error::ForeignOwner`]; [`Error::PermissionDenied`];
    /// [`Error::NotASegment`]; [`Error::ForeignOrphan`]; [`Error::Busy`]; [`Error::BadName`];
    /// [`Error::Unsupported`] for one marked `UntilLastDetach` on a filesystem that cannot keep that.
    #[doc(alias = "shm_open")]
    #[doc(alias = "shmget")]
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Segment> {
        Segment::open_place(self.place(name)?, self.manner("open"), self.patience, self.sparse)
    }

    /// Opens a segment that was [listed](Namespace::list): also one of another program's whose file name no
    /// [`Name`](crate::Name) is encoded to. The namespace of these options is not used.
    ///
    /// # Errors
    ///
    /// As [`open`](SegmentOptions::open).
    pub fn open_entry(&self, entry: &Entry) -> Result<Segment> {
        Segment::open_place(entry.place().clone(), self.manner("open"), self.patience, self.sparse)
    }

    /// Opens a segment, or creates it if there is none; [`Segment::was_created`] says which.
    ///
    /// # Errors
    ///
    /// As [`open`](SegmentOptions::open) and [`create`](SegmentOptions::create), but for `NotFound` and
    /// `Exists`.
    #[doc(alias = "O_CREAT")]
    #[doc(alias = "PR_OpenSharedMemory")]
    #[doc(alias = "shmCreate")]
    pub fn open_or_create(&self, name: impl AsRef<OsStr>) -> Result<Segment> {
        let verb = "open or create";
        let place = self.place(name)?;
        self.check(true, &|| place.attempt(verb))?;
        let mut hold = Hold::of(place);
        let mut prepared = None;
        let mut patience = Patience::new(self.patience);
        loop {
            match protocol::try_open(hold, self.manner(verb))? {
                Step::Open(held) => return Ok(Segment::named(held, false, self.sparse)),
                Step::Again(back) => hold = back,
                Step::Absent(back) => {
                    hold = back;
                    let ready = match prepared.take() {
                        Some(ready) => ready,
                        None => self.prepare(&hold.place)?,
                    };
                    match ready.publish()? {
                        Ok(held) => return Ok(Segment::named(held, true, self.sparse)),
                        Err(back) => prepared = Some(back),
                    }
                }
            }
            if !patience.pause() {
                return Err(patience.busy(&hold.place, verb));
            }
        }
    }

    /// Opens a segment as soon as somebody has created it, waiting `timeout` at most. One that is smaller than
    /// the [size](SegmentOptions::size) asked for (made by a program that sizes it later) is waited for too.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; otherwise as [`open`](SegmentOptions::open).
    pub fn open_wait(&self, name: impl AsRef<OsStr>, timeout: Duration) -> Result<Segment> {
        let place = self.place(name)?;
        let mut hold = Some(Hold::of(place.clone()));
        let manner = self.manner("open");
        let started = Instant::now();
        let mut watch = None;
        loop {
            let unheld = hold.take().unwrap_or_else(|| Hold::of(place.clone()));
            let missing = match protocol::open(unheld, manner, self.patience) {
                Ok(Ok(held)) => return Ok(Segment::named(held, false, self.sparse)),
                Ok(Err(back)) => {
                    hold = Some(back);
                    None
                }
                Err(error @ (Error::TooSmall { .. } | Error::Busy { .. })) => Some(error),
                Err(error) => return Err(error),
            };
            let waited = started.elapsed();
            let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Err(missing.unwrap_or(Error::TimedOut { attempt: place.attempt("open"), waited }));
            };
            match &watch {
                // Look once more after the watch began: it may have come in between.
                None => watch = Some(Watch::new(place.namespace.c_directory())),
                // A change that the watch does not show is found by looking from time to time.
                Some(watch) => Watch::wait(watch, left.min(Duration::from_millis(50))),
            }
        }
    }

    /// Creates a segment without a name, to be handed on by descriptor: inherited by a child
    /// ([`Segment::inherit`]) or sent over a socket ([`Segment::as_fd`](std::os::fd::AsFd)). It can grow, and a
    /// seal forbids that anybody truncates it. It goes with the last descriptor and mapping.
    ///
    /// `label` shows in `/proc`, for people only.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::BeyondLimit`], [`Error::Initializer`], [`Error::BadOption`] as for
    /// [`create`](SegmentOptions::create).
    #[doc(alias = "memfd_create")]
    pub fn anonymous(&self, label: &str) -> Result<Segment> {
        let attempt = || Attempt::anonymous("create");
        let size = self.check(false, &attempt)?;
        let os = |error: Errno| Error::Os { attempt: attempt(), source: error.into() };
        let mut label = CString::new(label).map_err(|_| Error::BadOption {
            attempt: attempt(),
            why: "a label has no NUL byte; leave it out",
        })?;
        if label.as_bytes().len() > 249 {
            label = CString::new(&label.as_bytes()[..249]).unwrap_or_default();
        }
        let fd = file::create_memory(&label, self.mode & 0o111 != 0).map_err(os)?;
        file::set_mode(fd.as_fd(), self.mode).map_err(os)?;
        let no_space =
            || Error::NoSpace { attempt: attempt(), wanted: size, free: 0, total: 0, free_files: None };
        let plan = Plan {
            size,
            sparse: self.sparse,
            huge_pages: self.huge_pages,
            kind: filesystem::Kind::Tmpfs,
            block: 1,
        };
        reserve::fill(fd.as_fd(), plan, &attempt, &no_space)?;
        self.initialize_through(fd.as_fd(), size, &attempt)?;
        file::seal_size(fd.as_fd()).map_err(os)?;
        let stat = file::stat(fd.as_fd()).map_err(os)?;
        Ok(Segment::anonymous_from(fd, &stat, true, Access::ReadWrite, self.sparse))
    }

    pub(crate) fn is_sparse(&self) -> bool {
        self.sparse
    }

    #[inline]
    fn place(&self, name: impl AsRef<OsStr>) -> Result<Place> {
        match &self.namespace {
            Some(namespace) => namespace.place(name),
            None => Namespace::from_env()?.into_place(name),
        }
    }

    fn manner(&self, verb: &'static str) -> Manner {
        let access = if self.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let size = self.size.filter(|_| self.size_if_opened).unwrap_or(0);
        Manner { access, owner: self.owner, size, verb, counted: self.counted }
    }

    /// The size of a new segment, if these options can make one.
    fn check(&self, named: bool, attempt: &dyn Fn() -> Box<Attempt>) -> Result<u64> {
        let bad = |why| Err(Error::BadOption { attempt: attempt(), why });
        if self.mode > 0o777 {
            return bad("a mode has the bits 0o777 at most");
        }
        if named && self.lifetime == Lifetime::UntilLastDetach && self.mode & 0o600 != 0o600 {
            return bad(
                "with Lifetime::UntilLastDetach the mode must let the owner read and write (0o600), or the last holder could not delete it",
            );
        }
        if self.read_only {
            return bad("a new segment cannot be read-only; create it, then attach it for reading only");
        }
        match self.size {
            None | Some(0) => bad("a new segment needs a size of at least one byte"),
            Some(size) if size > MOST => bad(TOO_LARGE),
            Some(size) => Ok(size),
        }
    }

    pub(super) fn lifetime_if_new(&self) -> Lifetime {
        self.lifetime
    }

    pub(super) fn mode_if_new(&self) -> u32 {
        self.mode
    }

    /// The place of a new segment, if these options can make one.
    pub(super) fn checked_place(&self, name: &OsStr) -> Result<Place> {
        let place = self.place(name)?;
        self.check(true, &|| place.attempt("create"))?;
        Ok(place)
    }

    /// A complete segment that only lacks its name. Short of space, sweeps and tries once more.
    fn prepare(&self, place: &Place) -> Result<Unpublished> {
        self.prepare_held(place, true)
    }

    /// The same; `holds` says whether its creator is going to hold it.
    pub(super) fn prepare_held(&self, place: &Place, holds: bool) -> Result<Unpublished> {
        match self.prepare_once(place, holds) {
            Err(error @ (Error::NoSpace { .. } | Error::BeyondLimit { .. })) => match place.namespace.sweep()
            {
                Ok(sweep) if sweep.segments > 0 => self.prepare_once(place, holds),
                _ => Err(error),
            },
            other => other,
        }
    }

    fn prepare_once(&self, place: &Place, holds: bool) -> Result<Unpublished> {
        let attempt = || place.attempt("create");
        let made = self.make(place, holds);
        let mut unpublished = made.map_err(|error| match error {
            Error::NoSpace { .. } => place.namespace.no_space(attempt(), self.size.unwrap_or(0)),
            error => error,
        })?;
        let size = self.fill(place, unpublished.fd(), unpublished.stat().identity.device)?;
        unpublished.set_size(size);
        Ok(unpublished)
    }

    /// Gives a new, empty file size, memory and first bytes; the size that it got.
    pub(super) fn fill(&self, place: &Place, fd: BorrowedFd<'_>, device: u64) -> Result<u64> {
        let attempt = || place.attempt("create");
        let (kind, block) = place.namespace.kind_and_block(device, fd);
        let size = self.size.unwrap_or(0);
        let plan = Plan { size, sparse: self.sparse, huge_pages: self.huge_pages, kind, block };
        let no_space = || place.namespace.no_space(attempt(), size);
        let size = reserve::fill(fd, plan, &attempt, &no_space)?;
        self.initialize_through(fd, size, &attempt)?;
        Ok(size)
    }

    /// An empty file, whose inode number fits if that matters.
    fn make(&self, place: &Place, holds: bool) -> Result<Unpublished> {
        let new = || Unpublished::new(place, self.mode, self.lifetime, self.means, holds);
        let Some(fits) = &self.fits else { return new() };
        // Those that do not fit are kept meanwhile, so that none gets the same number again.
        let mut others = Vec::new();
        loop {
            let made = new()?;
            if fits(made.stat().identity.inode) {
                return Ok(made);
            }
            others.push(made);
            if others.len() == CANDIDATES {
                return Err(place.error("create", Errno::AGAIN));
            }
        }
    }

    fn initialize_through(
        &self,
        fd: BorrowedFd<'_>,
        size: u64,
        attempt: &dyn Fn() -> Box<Attempt>,
    ) -> Result<()> {
        let Some(initializer) = &self.initializer else { return Ok(()) };
        reserve::with_bytes(fd, size, attempt, |bytes| {
            initializer(bytes).map_err(|source| Error::Initializer { attempt: attempt(), source })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> (tempfile::TempDir, Namespace) {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let namespace = Namespace::at(directory.path()).unwrap();
        (directory, namespace)
    }

    #[test]
    fn publishing_by_renaming_keeps_the_same_promises() {
        let (directory, namespace) = namespace();
        let options = SegmentOptions::new().size(4096).namespace(&namespace).publish_by_renaming();
        let one = options.create("x").unwrap();
        assert!(matches!(options.create("x"), Err(Error::Exists(_))));
        assert!(!options.open_or_create("x").unwrap().was_created());
        assert_eq!(directory.path().read_dir().unwrap().count(), 1, "no temporary name is left");
        drop(one);
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn files_are_made_until_one_fits() {
        use std::os::unix::fs::MetadataExt;
        let (directory, namespace) = namespace();
        let seen = std::cell::RefCell::new(Vec::new());
        let options = SegmentOptions::new().size(1).namespace(&namespace);
        let options = options.inode(|inode| {
            seen.borrow_mut().push(inode);
            seen.borrow().len() == 4
        });
        let segment = options.create("x").unwrap();
        let inode = directory.path().join("x").metadata().unwrap().ino();
        let mut seen = seen.take();
        assert_eq!(seen.last(), Some(&inode));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4, "no number came twice");
        drop(segment);

        let options = SegmentOptions::new().size(1).namespace(&namespace).inode(|_| false);
        assert_eq!(options.create("x").unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_half_made_file_is_swept_once_nobody_holds_it() {
        let (directory, namespace) = namespace();
        let place = namespace.place("x").unwrap();
        let half = Unpublished::new(&place, 0o600, Lifetime::UntilDeleted, Means::Rename, true).unwrap();
        assert_eq!(namespace.list().unwrap().count(), 0, "nobody sees it");
        assert_eq!(namespace.sweep().unwrap().segments, 0, "its creator lives");
        let (fd, temporary) = half.abandon();
        drop(fd);
        assert_eq!(namespace.sweep().unwrap().segments, 1);
        assert!(!temporary.exists());
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }
}
