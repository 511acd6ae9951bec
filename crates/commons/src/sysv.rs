//! The kernel's System V shared memory, through the same [`Attachment`].
//!
//! For programs that share memory with others that use `shmget` and `shmat`, and for tools. New programs are
//! better served by a [`Segment`](crate::Segment): a System V segment stays until somebody removes it, whoever
//! dies; there are 4096 of them in the whole machine at first; and its memory cannot be reserved.
//!
//! ```
//! use commons::sysv::SystemV;
//!
//! let segment = SystemV::private(4096, 0o600)?;
//! let attachment = segment.attach()?;
//! attachment.write_at(0, b"hello")?;
//! segment.remove()?; // the memory goes with the attachment
//! # Ok::<(), commons::Error>(())
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Attempt, Error, Limit, Result};
use crate::segment::{AttachOptions, Attachment, Place};
use crate::sys::{Errno, map, sysv};

/// A System V segment of the kernel's: an id. Having one neither maps the segment nor keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemV {
    id: i32,
}

/// What the kernel knows of a System V segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The segment.
    pub segment: SystemV,
    /// Its key; 0 for one that has none, or none any more.
    pub key: i32,
    /// Bytes.
    pub size: u64,
    /// Permission bits: `0o777` at most.
    pub mode: u32,
    /// The owner's user id.
    pub uid: u32,
    /// The owner's group id.
    pub gid: u32,
    /// How many times it is attached, in all processes.
    pub attached: u64,
    /// Whether it was removed, and goes with its last attachment.
    pub removed: bool,
    /// The process that created it; it may have ended, and the id may be another's by now.
    pub creator: i32,
    /// The process that attached or detached last; 0 if none has.
    pub last: i32,
    /// When it was last attached; `None` for never.
    pub attached_at: Option<SystemTime>,
    /// When it was last detached; `None` for never.
    pub detached_at: Option<SystemTime>,
    /// When it was created, or its owner or mode last changed.
    pub changed_at: Option<SystemTime>,
    /// Bytes in memory; known from [`list`] only.
    pub resident: Option<u64>,
    /// Bytes in swap; known from [`list`] only.
    pub swapped: Option<u64>,
}

impl Info {
    fn new(stat: &sysv::Stat) -> Info {
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
            UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        };
        Info {
            segment: SystemV { id: stat.id },
            key: stat.key,
            size: stat.size,
            mode: stat.mode & 0o777,
            uid: stat.uid,
            gid: stat.gid,
            attached: stat.attached,
            removed: stat.mode & sysv::GOES != 0,
            creator: stat.creator,
            last: stat.last,
            attached_at: time(stat.attached_at),
            detached_at: time(stat.detached_at),
            changed_at: time(stat.changed_at),
            resident: stat.resident,
            swapped: stat.swapped,
        }
    }
}

/// All System V segments in this ipc namespace, also those that this process may not read.
///
/// # Errors
///
/// [`Error::Os`] without `/proc`, or in a kernel without System V shared memory.
#[doc(alias = "ipcs")]
#[doc(alias = "SHM_STAT")]
pub fn list() -> Result<Vec<Info>> {
    let list = sysv::list().map_err(|source| Error::Os { attempt: Attempt::all_system_v("list"), source })?;
    Ok(list.iter().map(Info::new).collect())
}

impl SystemV {
    /// The segment with this id, whether there is one or not.
    #[doc(alias = "shmid")]
    pub fn from_id(id: i32) -> SystemV {
        SystemV { id }
    }

    /// Its id.
    pub fn id(self) -> i32 {
        self.id
    }

    /// Creates a segment of `size` bytes, with these permission bits, under a key that is free. Its memory is not
    /// reserved: see [`AttachOptions::prefault`].
    ///
    /// # Errors
    ///
    /// [`Error::Exists`]; [`Error::BeyondLimit`]; [`Error::BadOption`] for key 0 (see
    /// [`private`](SystemV::private)), no bytes, or a mode above `0o777`; [`Error::Os`].
    #[doc(alias = "shmget")]
    #[doc(alias = "IPC_CREAT")]
    pub fn create(key: i32, size: u64, mode: u32) -> Result<SystemV> {
        SystemV::get_new("create", key, size, mode, true)
    }

    /// Opens the segment with that key if it has at least `size` bytes, or creates it.
    ///
    /// # Errors
    ///
    /// As [`create`](SystemV::create), but for `Exists`; [`Error::TooSmall`]; [`Error::PermissionDenied`].
    pub fn open_or_create(key: i32, size: u64, mode: u32) -> Result<SystemV> {
        SystemV::get_new("open or create", key, size, mode, false)
    }

    /// Creates a segment without a key: to be handed on by its id.
    ///
    /// # Errors
    ///
    /// As [`create`](SystemV::create).
    #[doc(alias = "IPC_PRIVATE")]
    pub fn private(size: u64, mode: u32) -> Result<SystemV> {
        SystemV::get_any("create", libc::IPC_PRIVATE, size, mode, true)
    }

    /// Opens the segment with that key.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::BadOption`] for key 0; [`Error::Os`].
    pub fn open(key: i32) -> Result<SystemV> {
        no_private("open", key)?;
        let id = sysv::get(key, 0, None, false).map_err(|error| failed(Attempt::key("open", key), error))?;
        Ok(SystemV { id })
    }

    fn get_new(verb: &'static str, key: i32, size: u64, mode: u32, exclusive: bool) -> Result<SystemV> {
        no_private(verb, key)?;
        SystemV::get_any(verb, key, size, mode, exclusive)
    }

    fn get_any(verb: &'static str, key: i32, size: u64, mode: u32, exclusive: bool) -> Result<SystemV> {
        let attempt = || Attempt::key(verb, key);
        let bad = |why| Err(Error::BadOption { attempt: attempt(), why });
        if mode > 0o777 {
            return bad("a mode has the bits 0o777 at most");
        }
        let bytes = match usize::try_from(size) {
            Ok(0) => return bad("a new segment needs a size of at least one byte"),
            Ok(bytes) if bytes <= map::LONGEST => bytes,
            _ => return bad("it does not fit into this process's address space"),
        };
        let limit = |most, limit| {
            Err(Error::BeyondLimit { attempt: attempt(), wanted: size, most, available: most, limit })
        };
        match sysv::get(key, bytes, Some(mode), exclusive) {
            Ok(id) => Ok(SystemV { id }),
            Err(Errno::NOSPC) => limit(0, Limit::SystemVTotal),
            Err(Errno::INVAL) => {
                let there = SystemV::open(key).and_then(SystemV::info);
                match (there, sysv::setting("shmmax")) {
                    (Ok(info), _) if !exclusive && info.size < size => {
                        Err(Error::TooSmall { attempt: attempt(), size: info.size, wanted: size })
                    }
                    (_, Some(most)) if size > most => limit(most, Limit::SystemVSize),
                    _ => Err(failed(attempt(), Errno::INVAL)),
                }
            }
            Err(error) => Err(failed(attempt(), error)),
        }
    }

    /// What the kernel knows of it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::PermissionDenied`] if it may not be read: [`list`] shows those too.
    #[doc(alias = "IPC_STAT")]
    pub fn info(self) -> Result<Info> {
        let stat = sysv::stat(self.id).map_err(|error| failed(self.attempt("look at"), error))?;
        Ok(Info::new(&stat))
    }

    /// Attaches all of it, for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`attach_with`](SystemV::attach_with).
    #[doc(alias = "shmat")]
    pub fn attach(self) -> Result<Attachment> {
        self.attach_with(&AttachOptions::new())
    }

    /// Attaches it, as the options say. All of it is mapped, also where a range is asked for; address space
    /// cannot be reserved, for it does not grow.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::PermissionDenied`]; [`Error::OutOfRange`]; [`Error::AddressInUse`];
    /// [`Error::LockedMemoryLimit`]; [`Error::BadOption`]; [`Error::Unsupported`]; [`Error::Os`].
    pub fn attach_with(self, options: &AttachOptions) -> Result<Attachment> {
        let verb = "attach";
        if options.reserve > 0 {
            return Err(Error::Unsupported {
                attempt: self.attempt(verb),
                filesystem: "System V shared memory".to_owned(),
                why: "does not grow, so that no address space can be reserved for it",
            });
        }
        let (at, replacing) = match options.place {
            Place::Anywhere => (0, false),
            Place::At(at) => (at, false),
            Place::Replacing(at) => (at, true),
        };
        if options.place != Place::Anywhere && (at == 0 || at % map::page_size() != 0 || options.start != 0) {
            return Err(Error::BadOption {
                attempt: self.attempt(verb),
                why: "an address asked for is a multiple of the page size, and stands for the segment's beginning",
            });
        }
        // SAFETY: the options replace something only if the caller vouched for that.
        let base = unsafe { sysv::attach(self.id, at, options.read_only, replacing) };
        let base = base.map_err(|error| match error {
            // There is such a segment: what is not valid is the address.
            Errno::INVAL if at != 0 && self.info().is_ok() => {
                Error::AddressInUse { attempt: self.attempt(verb), address: at }
            }
            error => failed(self.attempt(verb), error),
        })?;
        // Now that it is attached, the id cannot come to be another segment's.
        let checked = self.info().and_then(|info| {
            let (start, end) = (options.start, options.end.unwrap_or(info.size));
            match usize::try_from(info.size) {
                Ok(size) if start < end && end <= info.size => Ok(size),
                _ => {
                    Err(Error::OutOfRange { offset: start, len: end.saturating_sub(start), size: info.size })
                }
            }
        });
        match checked {
            // SAFETY: as many bytes as the segment has are mapped there, which never change; the range is within.
            Ok(size) => unsafe { Attachment::of_system_v(self.id, base, size, options) },
            Err(error) => {
                // SAFETY: mapped just now, and nobody knows of it.
                let _ = unsafe { sysv::detach(base) };
                Err(error)
            }
        }
    }

    /// Removes it: its key is free at once, and the memory goes with the last attachment.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::PermissionDenied`].
    #[doc(alias = "IPC_RMID")]
    #[doc(alias = "ipcrm")]
    pub fn remove(self) -> Result<()> {
        sysv::remove(self.id).map_err(|error| failed(self.attempt("remove"), error))
    }

    fn attempt(self, verb: &'static str) -> Box<Attempt> {
        Attempt::system_v(verb, self.id)
    }
}

fn no_private(verb: &'static str, key: i32) -> Result<()> {
    if key != libc::IPC_PRIVATE {
        return Ok(());
    }
    let why = "key 0 stands for no key; use SystemV::private for a segment without one, or its id";
    Err(Error::BadOption { attempt: Attempt::key(verb, key), why })
}

fn failed(attempt: Box<Attempt>, code: Errno) -> Error {
    match code {
        Errno::NOENT | Errno::INVAL | Errno::IDRM => Error::NotFound(attempt),
        Errno::EXIST => Error::Exists(attempt),
        Errno::ACCESS | Errno::PERM => Error::PermissionDenied { attempt, source: code.into() },
        code => Error::Os { attempt, source: code.into() },
    }
}
