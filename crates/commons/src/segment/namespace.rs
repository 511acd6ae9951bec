//! Namespaces: directories in which segments have their names.

use std::ffi::{CStr, CString, OsStr};
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

use super::entry::{Entries, Entry};
use super::name::Name;
use super::patience::PATIENCE;
use super::place::Place;
use super::protocol;
use crate::error::{Attempt, Error, NotASegment, Result};
use crate::sys::{Errno, file, filesystem, process};

/// Where POSIX shared memory lives.
const POSIX: &str = "/dev/shm";

/// The environment variable that names another default namespace.
const VARIABLE: &str = "COMMONS_NAMESPACE";

/// What is tried with a namespace that the caller named.
const NAMED: &str = "use the namespace";

/// Where names live: a directory.
///
/// The default is POSIX shared memory (`/dev/shm`), or the directory that the environment variable
/// `COMMONS_NAMESPACE` names (read once; set-uid programs ignore it). Any directory is a namespace. Segments
/// [`UntilLastDetach`](crate::Lifetime::UntilLastDetach) need a filesystem on which a mapping keeps a lock:
/// tmpfs, hugetlbfs, ext4, xfs, btrfs. Elsewhere (overlayfs, NFS…) segments are
/// [`UntilDeleted`](crate::Lifetime::UntilDeleted), and asking for the other is an error that says so.
///
/// Cheap to clone; keeps no descriptor. Any thread may use it.
///
/// ```
/// use commons::{Namespace, SegmentOptions};
///
/// let directory = tempfile::tempdir().unwrap();
/// let namespace = Namespace::at(directory.path())?;
/// let jobs = SegmentOptions::new().size(4096).namespace(&namespace).create("jobs")?;
/// assert!(namespace.exists("jobs")?);
/// drop(jobs); // nobody holds it any more
/// assert!(!namespace.exists("jobs")?);
/// # Ok::<(), commons::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Namespace {
    inner: Shared,
}

/// The default namespace lives for ever, and is shared without counting.
#[derive(Clone, Debug)]
enum Shared {
    Static(&'static Inner),
    Counted(Arc<Inner>),
}

impl Deref for Shared {
    type Target = Inner;

    #[inline]
    fn deref(&self) -> &Inner {
        match self {
            Shared::Static(inner) => inner,
            Shared::Counted(inner) => inner,
        }
    }
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    c_directory: CString,
    kind: filesystem::Kind,
    /// Bytes in a block of that filesystem.
    block: u64,
    /// The device number of that filesystem.
    device: u64,
    posix: bool,
}

impl Inner {
    /// `verb` says who named it.
    fn of(directory: &Path, verb: &'static str) -> Result<Inner> {
        let os = |source: std::io::Error| {
            let attempt = Attempt::directory(verb, directory);
            match source.kind() {
                std::io::ErrorKind::PermissionDenied => Error::PermissionDenied { attempt, source },
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    Error::NoNamespace { attempt, source }
                }
                _ => Error::Os { attempt, source },
            }
        };
        // Without a slash at the end, so that one directory has one spelling.
        let absolute: PathBuf = std::path::absolute(directory).map_err(os)?.components().collect();
        let c_directory = CString::new(absolute.as_os_str().as_bytes())
            .map_err(|_| os(std::io::ErrorKind::InvalidInput.into()))?;
        let metadata = std::fs::metadata(&absolute).map_err(os)?;
        if !metadata.is_dir() {
            return Err(os(std::io::ErrorKind::NotADirectory.into()));
        }
        let filesystem = filesystem::of_path(&c_directory).map_err(|error| os(error.into()))?;
        let device = std::os::unix::fs::MetadataExt::dev(&metadata);
        let posix = absolute == Path::new(POSIX);
        let (kind, block) = (filesystem.kind, filesystem.block);
        Ok(Inner { directory: absolute, c_directory, kind, block, device, posix })
    }
}

impl Namespace {
    /// The namespace in `directory`, which must exist.
    ///
    /// # Errors
    ///
    /// [`Error::NoNamespace`] if there is no such directory; [`Error::PermissionDenied`] if it may not be searched.
    pub fn at(directory: impl AsRef<Path>) -> Result<Namespace> {
        Ok(Namespace { inner: Shared::Counted(Arc::new(Inner::of(directory.as_ref(), NAMED)?)) })
    }

    /// POSIX shared memory: what `shm_open` uses.
    ///
    /// # Errors
    ///
    /// As [`at`](Namespace::at), where `/dev/shm` is missing.
    #[doc(alias = "shm_open")]
    pub fn posix() -> Result<Namespace> {
        Namespace::at(POSIX)
    }

    /// The namespace that is used where none is named: POSIX shared memory, or what `COMMONS_NAMESPACE`
    /// says.
    ///
    /// # Errors
    ///
    /// As [`at`](Namespace::at).
    #[inline]
    pub fn from_env() -> Result<Namespace> {
        // Not a `OnceLock`: a child that is forked while another thread fills it would wait for ever.
        static DEFAULT: AtomicPtr<Inner> = AtomicPtr::new(std::ptr::null_mut());
        // SAFETY: what it points to, once it does, was leaked below.
        match unsafe { DEFAULT.load(Acquire).as_ref() } {
            Some(known) => Ok(Namespace { inner: Shared::Static(known) }),
            None => Namespace::read_env(&DEFAULT),
        }
    }

    #[cold]
    fn read_env(default: &AtomicPtr<Inner>) -> Result<Namespace> {
        let named = std::env::var_os(VARIABLE);
        let named = named.filter(|value| !value.is_empty() && !process::is_privileged_by_exec());
        let found = match &named {
            Some(named) => Inner::of(Path::new(named), "use the namespace that COMMONS_NAMESPACE names,")?,
            None => Inner::of(Path::new(POSIX), NAMED)?,
        };
        let ours = Box::into_raw(Box::new(found));
        // If another thread was first, with the same answer, this one stays for ever as well.
        let _ = default.compare_exchange(std::ptr::null_mut(), ours, Release, Relaxed);
        // SAFETY: leaked just now.
        Ok(Namespace { inner: Shared::Static(unsafe { &*ours }) })
    }

    /// Its directory, absolute.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// What kind of filesystem it is on: `"tmpfs"`, `"ext4"`…
    pub fn filesystem_name(&self) -> String {
        self.inner.kind.name()
    }

    /// Whether segments can be [`UntilLastDetach`](crate::Lifetime::UntilLastDetach) here.
    pub fn keeps_count_of_holders(&self) -> bool {
        self.inner.kind.mapping_keeps_lock()
    }

    /// Whether what lies here is gone with the machine's memory: no power failure leaves half of it.
    #[doc(hidden)]
    pub fn is_in_memory(&self) -> bool {
        self.inner.kind.is_memory()
    }

    /// Whether there is a segment with this name that could be opened, as far as can be seen without opening
    /// it: an orphan, which opening would remove, does not count.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::PermissionDenied`] if the directory may not be searched.
    pub fn exists(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        let place = self.place(name)?;
        let stat = match file::stat_path(place.path()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(place.error("look for", error)),
        };
        if protocol::no_segment(&stat).is_some() {
            return Ok(false);
        }
        if !stat.is_sticky() {
            return Ok(true);
        }
        // What cannot be looked into is taken to live.
        Ok(!matches!(protocol::sweep(&place, true), Ok(protocol::Swept::Orphan(_))))
    }

    /// The segment with this name, to look at without holding it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotASegment`] for a directory, link, fifo and the like;
    /// [`Error::PermissionDenied`] if the directory may not be searched; [`Error::BadName`].
    pub fn entry(&self, name: impl AsRef<OsStr>) -> Result<Entry> {
        let place = self.place(name)?;
        let stat = file::stat_path(place.path()).map_err(|error| place.error("look at", error))?;
        match protocol::no_segment(&stat) {
            None | Some(NotASegment::HardLinked) => Ok(Entry::new(place)),
            Some(what) => Err(Error::NotASegment { attempt: place.attempt("look at"), what }),
        }
    }

    /// All segments here, one after the other, in no order; nothing is collected, so that a hundred
    /// thousand cost no memory. What is made or deleted meanwhile may or may not be among them.
    ///
    /// # Errors
    ///
    /// [`Error::PermissionDenied`] if the directory may not be read.
    pub fn list(&self) -> Result<Entries> {
        Entries::new(self)
    }

    /// Removes the name; the memory goes when the last attachment and handle have gone.
    ///
    /// May wait, [a second](crate::SegmentOptions::patience) at most, while others create or delete it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotASegment`] for a directory, link, fifo and the like, which stay;
    /// [`Error::PermissionDenied`]; [`Error::Busy`]; [`Error::BadName`].
    #[doc(alias = "shm_unlink")]
    #[doc(alias = "PR_DeleteSharedMemory")]
    pub fn delete(&self, name: impl AsRef<OsStr>) -> Result<()> {
        protocol::delete(&self.place(name)?, PATIENCE)
    }

    /// Finds the orphans, segments [`UntilLastDetach`](crate::Lifetime::UntilLastDetach) that nobody holds
    /// because their last holder ended without detaching, and deletes them. Also removes what a crashed
    /// creator left half-made, on filesystems where it can leave something. Nothing else is touched.
    ///
    /// Cheap enough to call at every start: some microseconds for each segment that is marked so.
    ///
    /// # Errors
    ///
    /// [`Error::PermissionDenied`] if the directory may not be read. Orphans that may not be removed are
    /// counted, and are no error.
    pub fn sweep(&self) -> Result<Sweep> {
        self.sweep_with(|_, _| ())
    }

    /// [`sweep`](Namespace::sweep), telling of each orphan as it goes: its name, and the bytes of memory or
    /// disk that came back.
    ///
    /// # Errors
    ///
    /// As [`sweep`](Namespace::sweep).
    pub fn sweep_with(&self, mut removed: impl FnMut(&Name, u64)) -> Result<Sweep> {
        let mut sweep = Sweep::default();
        for place in self.list()?.all_places() {
            let place = place?;
            let candidate =
                file::stat_path(place.path()).is_ok_and(|stat| protocol::can_be_orphan(&place, &stat));
            if !candidate {
                continue;
            }
            match protocol::sweep(&place, false) {
                Ok(protocol::Swept::Orphan(stat)) => {
                    removed(&place.name(), stat.allocated);
                    sweep.segments += 1;
                    sweep.bytes += stat.allocated;
                }
                Ok(protocol::Swept::Kept) => {}
                Err(_) => sweep.failed += 1,
            }
        }
        crate::trace!(?sweep, "swept");
        Ok(sweep)
    }

    #[inline]
    pub(crate) fn place(&self, name: impl AsRef<OsStr>) -> Result<Place> {
        self.clone().into_place(name)
    }

    #[inline]
    pub(crate) fn into_place(self, name: impl AsRef<OsStr>) -> Result<Place> {
        let file_name = Name::encode(name.as_ref())?;
        if self.is_semaphore(OsStr::from_bytes(&file_name)) {
            let why = "in POSIX shared memory, names with 'sem.' are those of semaphores; choose another";
            return Err(Error::BadName { name: name.as_ref().to_string_lossy().into_owned(), why });
        }
        Ok(Place::finish(self, &file_name))
    }

    /// Whether a file of this name is a POSIX semaphore (`sem_open`).
    #[inline]
    pub(crate) fn is_semaphore(&self, file_name: &OsStr) -> bool {
        self.inner.posix && file_name.as_bytes().starts_with(b"sem.")
    }

    #[inline]
    pub(crate) fn c_directory(&self) -> &CStr {
        &self.inner.c_directory
    }

    /// The filesystem's kind for a file of that device, and the bytes in its blocks: a namespace's directory
    /// may have been mounted over.
    pub(crate) fn kind_and_block(&self, device: u64, fd: BorrowedFd<'_>) -> (filesystem::Kind, u64) {
        if device == self.inner.device {
            return (self.inner.kind, self.inner.block);
        }
        let unknown = (filesystem::Kind::Other(0), 0);
        filesystem::of_file(fd).map_or(unknown, |filesystem| (filesystem.kind, filesystem.block))
    }

    /// Whether that device is the one known to have pages of the usual size.
    #[inline]
    pub(crate) fn has_small_pages(&self, device: u64) -> bool {
        device == self.inner.device && self.inner.kind != filesystem::Kind::Hugetlbfs
    }

    /// An error if a segment on that device cannot be `UntilLastDetach`.
    pub(crate) fn check_lifetime(
        &self,
        place: &Place,
        verb: &'static str,
        device: u64,
        fd: BorrowedFd<'_>,
    ) -> Result<()> {
        let (kind, _) = self.kind_and_block(device, fd);
        if kind.mapping_keeps_lock() {
            return Ok(());
        }
        Err(Error::Unsupported {
            attempt: place.attempt(verb),
            filesystem: kind.name(),
            why: "does not tell who holds a segment, so that it cannot go with its last holder: use Lifetime::UntilDeleted, or a directory on tmpfs or ext4",
        })
    }

    pub(crate) fn no_space(&self, attempt: Box<Attempt>, wanted: u64) -> Error {
        match filesystem::of_path(&self.inner.c_directory) {
            Ok(now) => Error::NoSpace {
                attempt,
                wanted,
                free: now.free,
                total: now.total,
                free_files: now.free_files,
            },
            Err(error) => Error::Os { attempt, source: error.into() },
        }
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sweep {
    /// How many orphans were deleted.
    pub segments: u64,
    /// Bytes of memory or disk that came back.
    pub bytes: u64,
    /// How many were marked [`UntilLastDetach`](crate::Lifetime::UntilLastDetach) and could not be looked into or
    /// deleted: those of other users.
    pub failed: u64,
}
