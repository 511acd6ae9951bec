//! What can go wrong, one variant for each thing that a caller could act on differently.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::segment::Name;
#[cfg(not(commons_model))]
use crate::shared::{self, Description};
use crate::sync::SyncError;

/// A result of Commons.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error is about, and what was being done with it.
///
/// Prints as `create "jobs" in /dev/shm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub(crate) verb: &'static str,
    pub(crate) subject: Subject,
    /// The snapshot's file, where there is one.
    pub(crate) file: Option<PathBuf>,
}

/// What was tried to do something with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Segment(Name, PathBuf),
    Anonymous,
    Namespace(PathBuf),
    Snapshot,
    /// The kernel's System V segment with this id.
    SystemV(i32),
    /// The one with this key.
    Key(i32),
    /// All of them.
    AllSystemV,
}

impl Attempt {
    fn of(verb: &'static str, subject: Subject) -> Box<Attempt> {
        Box::new(Attempt { verb, subject, file: None })
    }

    pub(crate) fn new(verb: &'static str, name: Name, directory: &Path) -> Box<Attempt> {
        Attempt::of(verb, Subject::Segment(name, directory.into()))
    }

    pub(crate) fn anonymous(verb: &'static str) -> Box<Attempt> {
        Attempt::of(verb, Subject::Anonymous)
    }

    pub(crate) fn directory(verb: &'static str, directory: &Path) -> Box<Attempt> {
        Attempt::of(verb, Subject::Namespace(directory.into()))
    }

    pub(crate) fn snapshot(verb: &'static str) -> Box<Attempt> {
        Attempt::of(verb, Subject::Snapshot)
    }

    pub(crate) fn system_v(verb: &'static str, id: i32) -> Box<Attempt> {
        Attempt::of(verb, Subject::SystemV(id))
    }

    pub(crate) fn key(verb: &'static str, key: i32) -> Box<Attempt> {
        Attempt::of(verb, Subject::Key(key))
    }

    pub(crate) fn all_system_v(verb: &'static str) -> Box<Attempt> {
        Attempt::of(verb, Subject::AllSystemV)
    }

    pub(crate) fn with_file(mut self: Box<Self>, file: Option<&Path>) -> Box<Attempt> {
        self.file = file.map(Path::to_owned);
        self
    }

    /// What was tried: "create", "open", "attach"…
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// The segment's name; `None` for an anonymous segment or a whole namespace.
    pub fn name(&self) -> Option<&Name> {
        match &self.subject {
            Subject::Segment(name, _) => Some(name),
            _ => None,
        }
    }

    /// The namespace's directory; `None` for an anonymous segment.
    pub fn namespace(&self) -> Option<&Path> {
        match &self.subject {
            Subject::Segment(_, directory) | Subject::Namespace(directory) => Some(directory),
            _ => None,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb;
        match &self.subject {
            Subject::Segment(name, directory) => write!(f, "{verb} \"{name}\" in {}", directory.display()),
            Subject::Anonymous => write!(f, "{verb} an anonymous segment"),
            Subject::Namespace(directory) => write!(f, "{verb} {}", directory.display()),
            Subject::Snapshot => write!(f, "{verb} the snapshot"),
            Subject::SystemV(id) => write!(f, "{verb} the System V segment {id}"),
            Subject::Key(key) => write!(f, "{verb} the System V segment with key {key:#x}"),
            Subject::AllSystemV => write!(f, "{verb} the System V segments"),
        }?;
        match &self.file {
            Some(file) => write!(f, " (file {})", file.display()),
            None => Ok(()),
        }
    }
}

/// What a name names that is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotASegment {
    /// A directory.
    Directory,
    /// A symbolic link; Commons never follows one.
    Symlink,
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// A file with several names (hard links), or one that may have.
    HardLinked,
    /// A descriptor's file that has a name, so that it is to be opened by it.
    Named,
}

impl fmt::Display for NotASegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotASegment::Directory => "it is a directory",
            NotASegment::Symlink => "it is a symbolic link, and those are never followed",
            NotASegment::Fifo => "it is a fifo",
            NotASegment::Socket => "it is a socket",
            NotASegment::Device => "it is a device",
            NotASegment::HardLinked => "its file has further names (hard links)",
            NotASegment::Named => "the file behind the descriptor has a name: open it by that",
        })
    }
}

/// Whose limit it is that a size would go beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// The memory limit of the cgroup with this directory.
    Cgroup(PathBuf),
    /// The memory and swap of the machine.
    Machine,
    /// `RLIMIT_FSIZE`, the process's limit on the size of files.
    FileSize,
    /// `kernel.shmmax`, the kernel's limit on the size of a System V segment.
    SystemVSize,
    /// `kernel.shmmni` or `kernel.shmall`, its limits on how many there are and on all their pages.
    SystemVTotal,
}

/// An error of Commons.
///
/// Prints on one line what was tried on which segment, why it failed and what one can do. The operating
/// system's code for it is [`raw_os_error`](Error::raw_os_error).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is taken.
    #[error("cannot {0}: the name is taken; open it, or delete it first")]
    Exists(Box<Attempt>),

    /// There is no segment with that name.
    #[error("cannot {0}: there is no such segment; check the name and the namespace, or create it")]
    NotFound(Box<Attempt>),

    /// The segment is smaller than the caller needs.
    #[error(
        "cannot {attempt}: it has {size} bytes, fewer than the {wanted} asked for; ask for less, or grow it"
    )]
    TooSmall {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Bytes that it has.
        size: u64,
        /// Bytes that were asked for.
        wanted: u64,
    },

    /// The filesystem has no room. Where it is about creating a name or growing on tmpfs, orphans have been swept
    /// already.
    #[error(
        "cannot {attempt}: {} are needed and {}; {}",
        Bytes(*wanted), Free(*free, *total), no_space_advice(attempt, *wanted, *free, *total, *free_files)
    )]
    NoSpace {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that are free there.
        free: u64,
        /// Bytes that there are in all; 0 if that is not known.
        total: u64,
        /// How many more files can be made, where that is limited.
        free_files: Option<u64>,
    },

    /// More than a limit allows: using it would have ended this process or another.
    #[error("cannot {attempt}: {} are needed and {}", Bytes(*wanted), limit_advice(limit, *most, *available))]
    BeyondLimit {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that the limit allows in all.
        most: u64,
        /// Bytes that can still be had under it.
        available: u64,
        /// Whose limit it is.
        limit: Limit,
    },

    /// The segment belongs to another user, and the caller did not say that this is fine.
    #[error(
        "cannot {attempt}: it belongs to user {owner}; if that user is trusted, allow it with OwnerPolicy::Any or User({owner})"
    )]
    ForeignOwner {
        /// What was tried.
        attempt: Box<Attempt>,
        /// The user id of its owner.
        owner: u32,
    },

    /// The system does not permit it.
    #[error("cannot {attempt}: permission denied; check its mode and owner, and the directory's")]
    PermissionDenied {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What the system said.
        source: io::Error,
    },

    /// No segment can have this name.
    #[error("bad name {name:?}: {why}")]
    BadName {
        /// The name, as far as it can be printed.
        name: String,
        /// What is wrong with it, and what would be right.
        why: &'static str,
    },

    /// There is something else under that name.
    #[error("cannot {attempt}: {what}, not a segment; remove it or choose another name")]
    NotASegment {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What it is.
        what: NotASegment,
    },

    /// Others kept the segment between two states for too long: one of them is stopped, or starved.
    #[error(
        "cannot {attempt}: others have been creating, deleting or growing it for {} ms; try again, and look for a stopped process among its holders",
        waited.as_millis()
    )]
    Busy {
        /// What was tried.
        attempt: Box<Attempt>,
        /// How long it was tried.
        waited: Duration,
    },

    /// An orphan is in the way that this user may not remove.
    #[error("cannot {attempt}: what has that name is an orphan of user {owner}, who has to sweep it")]
    ForeignOrphan {
        /// What was tried.
        attempt: Box<Attempt>,
        /// The user id of its owner.
        owner: u32,
    },

    /// The address range asked for is not free.
    #[error("cannot {attempt} at {address:#x}: something is mapped there; choose another address, or none")]
    AddressInUse {
        /// What was tried.
        attempt: Box<Attempt>,
        /// The address asked for.
        address: usize,
    },

    /// The process has as many mappings as the kernel lets it.
    #[error(
        "cannot {attempt}: this process has all the {limit} mappings it may; detach some, or raise them with 'sysctl vm.max_map_count'"
    )]
    TooManyMappings {
        /// What was tried.
        attempt: Box<Attempt>,
        /// How many it may have.
        limit: u64,
    },

    /// The process may not lock that much memory.
    #[error(
        "cannot {attempt}: locking it goes beyond the {} this process may lock; raise 'ulimit -l'", Bytes(*limit)
    )]
    LockedMemoryLimit {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Bytes it may lock.
        limit: u64,
    },

    /// The filesystem, or the kernel, cannot do this.
    #[error("cannot {attempt}: {filesystem} {why}")]
    Unsupported {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What kind of filesystem it is.
        filesystem: String,
        /// What it cannot do, and what to do instead.
        why: &'static str,
    },

    /// Options that contradict each other, or a value out of its range.
    #[error("cannot {attempt}: {why}")]
    BadOption {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What is wrong, and what would be right.
        why: &'static str,
    },

    /// Bytes outside the attachment or the segment.
    #[error(
        "{len} bytes from byte {offset} on are not within the {size} bytes that are attached; ask for fewer, or make the segment larger ('commons grow', Segment::grow)"
    )]
    OutOfRange {
        /// Where the range begins.
        offset: u64,
        /// Bytes in the range.
        len: u64,
        /// Bytes that there are.
        size: u64,
    },

    /// Something to be written was attached or opened for reading only.
    #[error("cannot {0}: it is read-only; open and attach it for writing")]
    ReadOnly(Box<Attempt>),

    /// The view asked for does not begin at a multiple of its elements' alignment.
    #[error(
        "address {address:#x} is no multiple of the alignment {alignment}; ask for a range that begins at a multiple of {alignment} bytes"
    )]
    Misaligned {
        /// Where the view would begin.
        address: usize,
        /// Bytes of alignment that its elements need.
        alignment: usize,
    },

    /// Another program truncated the segment's file, or a sparse segment found no room for a page; what was
    /// read since then may be zeros instead of data, and what was written may be lost.
    #[error(
        "{0}: bytes under the attachment are gone: its file was truncated, or a sparse segment ran out of space; detach it"
    )]
    Truncated(Box<Attempt>),

    /// A segment cannot be made smaller.
    #[error(
        "cannot {attempt}: it has {size} bytes, and a segment never shrinks to {wanted}; create a new one"
    )]
    Shrink {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Bytes that it has.
        size: u64,
        /// Bytes that were asked for.
        wanted: u64,
    },

    /// A snapshot is damaged, or none. Nothing was changed.
    #[error("cannot {attempt}: {why} (byte {position}); nothing was changed")]
    Damaged {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Where in the snapshot it was found out.
        position: u64,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A snapshot was made of a segment of another size. Nothing was changed.
    #[error(
        "cannot {attempt}: the snapshot is of {snapshot} bytes and the segment has {segment}; load it under another name"
    )]
    WrongSize {
        /// What was tried.
        attempt: Box<Attempt>,
        /// Bytes of the segment that was saved.
        snapshot: u64,
        /// Bytes of the segment that was to be loaded into.
        segment: u64,
    },

    /// Nobody created the segment in time.
    #[error("cannot {attempt}: not there after {} ms; is its creator running?", waited.as_millis())]
    TimedOut {
        /// What was tried.
        attempt: Box<Attempt>,
        /// How long it was waited for.
        waited: Duration,
    },

    /// The handle's descriptor was closed, or replaced, by other code of this process.
    #[error("cannot {0}: its descriptor was closed by other code of this program; open it again")]
    HandleClosed(Box<Attempt>),

    /// The initialiser failed; the segment was not created.
    #[error("cannot {attempt}: its initialiser failed: {source}")]
    Initializer {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What the initialiser said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The segment does not say that a typed object is in it, so that nobody can tell what its bytes mean.
    #[error(
        "cannot {attempt} as a typed object: {why}; attach it as a Segment, or delete it and create the object anew"
    )]
    NotTyped {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What it lacks.
        why: &'static str,
    },

    /// The object in the segment is of another type, or of another version of it. The alternate form, `{:#}`,
    /// prints both layouts side by side.
    #[cfg(not(commons_model))]
    #[error(fmt = shared::write_wrong_layout)]
    WrongLayout {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What the segment says about its object.
        found: Box<Description>,
        /// What the caller expected.
        expected: Box<Description>,
    },

    /// A process in another pid namespace holds the segment. Locks know their owners by thread ids, which mean other
    /// threads there.
    #[error(
        "cannot {0}: a process in another pid namespace (a container) holds it, so that locks in it could not tell whether their owners live; run both in one pid namespace, or use an object without locks"
    )]
    OtherPidNamespace(Box<Attempt>),

    /// A lock, a permit or the like could not be had.
    #[error(transparent)]
    Sync(#[from] SyncError),

    /// There is no directory where a namespace was to be.
    #[error("cannot {attempt}: there is no such directory; create it (mkdir), or name another one")]
    NoNamespace {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What the system said.
        source: io::Error,
    },

    /// Any other error of the operating system.
    #[error("cannot {attempt}: {source}")]
    Os {
        /// What was tried.
        attempt: Box<Attempt>,
        /// What the system said.
        source: io::Error,
    },
}

/// The same as `Display`: it is what a `main` that returns this error shows.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// The operating system's code for this error (`errno`), as the underlying call gave it or as a call
    /// would say it: `EEXIST` for [`Exists`](Error::Exists), `ENOSPC` for [`NoSpace`](Error::NoSpace)…
    ///
    /// `None` for an error of the initialiser's.
    pub fn raw_os_error(&self) -> Option<i32> {
        Some(match self {
            Error::Exists(_) => libc::EEXIST,
            Error::NotFound(_) => libc::ENOENT,
            Error::TooSmall { .. }
            | Error::BadOption { .. }
            | Error::OutOfRange { .. }
            | Error::Misaligned { .. }
            | Error::WrongSize { .. }
            | Error::Shrink { .. } => libc::EINVAL,
            Error::Damaged { .. } => libc::EBADMSG,
            Error::NotTyped { .. } => libc::ENOMSG,
            #[cfg(not(commons_model))]
            Error::WrongLayout { .. } => libc::EPROTOTYPE,
            Error::OtherPidNamespace(_) => libc::EOPNOTSUPP,
            Error::Sync(error) => error.raw_os_error(),
            Error::NoSpace { .. } => libc::ENOSPC,
            Error::BeyondLimit { limit: Limit::FileSize, .. } => libc::EFBIG,
            Error::BeyondLimit { limit: Limit::SystemVSize, .. } => libc::EINVAL,
            Error::BeyondLimit { limit: Limit::SystemVTotal, .. } => libc::ENOSPC,
            Error::BeyondLimit { .. } | Error::TooManyMappings { .. } | Error::LockedMemoryLimit { .. } => {
                libc::ENOMEM
            }
            Error::ForeignOwner { .. } | Error::ReadOnly(_) => libc::EACCES,
            Error::ForeignOrphan { .. } => libc::EPERM,
            Error::BadName { why, .. } if *why == crate::segment::TOO_LONG => libc::ENAMETOOLONG,
            Error::BadName { .. } => libc::EINVAL,
            Error::NotASegment { what, .. } => match what {
                NotASegment::Directory => libc::EISDIR,
                NotASegment::Symlink => libc::ELOOP,
                NotASegment::HardLinked => libc::EMLINK,
                _ => libc::EINVAL,
            },
            Error::Busy { .. } => libc::EBUSY,
            Error::AddressInUse { .. } => libc::EEXIST,
            Error::Unsupported { .. } => libc::EOPNOTSUPP,
            Error::Truncated(_) => libc::EFAULT,
            Error::TimedOut { .. } => libc::ETIMEDOUT,
            Error::HandleClosed(_) => libc::EBADF,
            Error::Initializer { .. } => return None,
            Error::PermissionDenied { source, .. }
            | Error::NoNamespace { source, .. }
            | Error::Os { source, .. } => {
                return source.raw_os_error();
            }
        })
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code).kind(),
            None => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Prints bytes for people: `512 bytes`, `64.0 MiB`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let power = (self.0.ilog2() / 10) as usize;
        let value = self.0 as f64 / (1_u64 << (10 * power)) as f64;
        write!(f, "{value:.1} {}", UNITS[power - 1])
    }
}

/// Prints how much is free, of how much.
struct Free(u64, u64);

impl fmt::Display for Free {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Free(_, 0) => f.write_str("there is no room for them"),
            Free(free, total) => write!(f, "{} of {} are free", Bytes(*free), Bytes(*total)),
        }
    }
}

fn no_space_advice(attempt: &Attempt, wanted: u64, free: u64, total: u64, free_files: Option<u64>) -> String {
    let Some(directory) = attempt.namespace() else {
        return "free some memory, or make it sparse".into();
    };
    let directory = directory.display();
    if free_files == Some(0) && wanted <= free {
        return format!(
            "there is no inode left: delete files in {directory}, or remount it with a larger nr_inodes"
        );
    }
    // Sparse ones are as large as the whole filesystem at most.
    let or_sparse = if wanted <= total { ", or make it sparse" } else { "" };
    format!(
        "delete segments, or enlarge {directory} (mount -o remount,size=…; in a container, --shm-size; on hugetlbfs, vm.nr_hugepages){or_sparse}"
    )
}

fn limit_advice(limit: &Limit, most: u64, available: u64) -> String {
    match limit {
        Limit::Cgroup(directory) => format!(
            "{} of the {} that the cgroup {} allows are left; raise its memory limit, or free some",
            Bytes(available),
            Bytes(most),
            directory.display()
        ),
        Limit::Machine => {
            format!(
                "{} of the machine's {} are available; ask for less, or free some memory",
                Bytes(available),
                Bytes(most)
            )
        }
        Limit::SystemVSize => {
            format!("a System V segment has {} at most; raise it with 'sysctl kernel.shmmax'", Bytes(most))
        }
        Limit::SystemVTotal => {
            "the System V segments of this machine are as many or as large as they may be; remove some, or raise 'sysctl kernel.shmmni' or 'kernel.shmall'".into()
        }
        Limit::FileSize => {
            format!("this process may make files of {} at most; raise 'ulimit -f'", Bytes(most))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_with_name_reason_and_advice() {
        let attempt = Attempt::new("create", Name::new("jobs").unwrap(), Path::new("/dev/shm"));
        let error =
            Error::NoSpace { attempt, wanted: 256 << 20, free: 1 << 20, total: 64 << 20, free_files: None };
        let text = error.to_string();
        assert!(
            text.starts_with(
                "cannot create \"jobs\" in /dev/shm: 256.0 MiB are needed and 1.0 MiB of 64.0 MiB"
            )
        );
        assert!(text.contains("--shm-size") && !text.contains('\n'));
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn bytes_print_in_the_largest_unit_that_fits() {
        for (bytes, text) in [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (u64::MAX, "16.0 EiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
