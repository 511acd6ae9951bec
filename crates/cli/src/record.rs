//! What is known of a piece of shared memory without holding it, for people and for scripts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use commons::{Entry, Lifetime, Name, Namespace};
use jiff::Timestamp;
use serde::Serialize;

use crate::dropins::{self, Names};
use crate::failure::Outcome;

/// What kind of shared memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A segment of POSIX shared memory: what shm_open opens
    Posix,
    /// A segment in a namespace of its own
    File,
    /// A System V segment of the kernel's
    Sysv,
    /// An anonymous file in memory, without a name
    Memfd,
    /// A file that was deleted and is still mapped or open
    Deleted,
    /// Memory that a process shares with its children, without a file
    Anonymous,
    /// Shared memory or a semaphore of NSPR's, on Commons
    Nspr,
    /// A segment of libgpl's, on Commons
    Gpl,
    /// A System V segment or set of semaphores, on Commons
    #[serde(rename = "sysv-drop-in")]
    SysvDropIn,
}

impl Kind {
    /// `Posix` for what `shm_open` opens, a drop-in's for its own namespace, else `File`.
    pub(crate) fn of(namespace: &Namespace) -> Kind {
        if namespace.directory() == Path::new("/dev/shm") {
            return Kind::Posix;
        }
        dropins::kind(namespace).unwrap_or(Kind::File)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Posix => "posix",
            Kind::File => "file",
            Kind::Sysv => "sysv",
            Kind::Memfd => "memfd",
            Kind::Deleted => "deleted",
            Kind::Anonymous => "anonymous",
            Kind::Nspr => "nspr",
            Kind::Gpl => "gpl",
            Kind::SysvDropIn => "sysv-drop-in",
        }
    }
}

/// What a look at a piece of shared memory showed.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// As the other subcommands take it: a segment's name, `sysv:ID`, `nspr:PATH`; for what has no name, what says most.
    pub(crate) name: OsString,
    /// The key of a System V segment; 0 for none.
    pub(crate) key: i32,
    /// The namespace's directory, for a segment in one.
    pub(crate) namespace: Option<PathBuf>,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes of memory or disk that are allocated to it.
    pub(crate) reserved: u64,
    /// Bytes in memory; `None` if that is not known.
    pub(crate) resident: Option<u64>,
    /// How many handles or attachments, or how many processes have it mapped or open, whichever is more; `None` if
    /// it may not be opened for reading.
    pub(crate) holders: Option<usize>,
    /// The processes that are known to have it, by id.
    pub(crate) processes: Vec<u32>,
    pub(crate) lifetime: Lifetime,
    /// Whether it belongs to nobody any more.
    pub(crate) orphan: bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) modified: Option<SystemTime>,
}

impl Record {
    /// Looks at a segment; `None` if it is gone.
    pub(crate) fn of(entry: &Entry, names: &Names<'_>) -> Outcome<Option<Record>> {
        let look = entry.look();
        let Some(info) = look.map_or_else(|| entry.info(), |look| Ok(Some(look.info)))? else {
            return Ok(None);
        };
        let known = names.known(entry);
        Ok(Some(Record {
            kind: known.kind,
            name: known.name,
            key: known.key,
            // Written in one way, whatever slashes it was given with.
            namespace: Some(names.namespace().directory().components().collect()),
            size: info.size,
            reserved: info.reserved,
            resident: look.and_then(|look| look.resident),
            holders: look.map(|look| look.holders),
            processes: Vec::new(),
            lifetime: info.lifetime,
            orphan: look.is_some_and(|look| look.is_orphan()),
            uid: info.uid,
            gid: info.gid,
            mode: info.mode,
            modified: Some(info.modified),
        }))
    }

    /// The name for people: without control characters, and with the key that programs know it by.
    pub(crate) fn title(&self) -> String {
        let name = || crate::failure::one_line(&self.name.to_string_lossy());
        match (self.kind, Name::new(&self.name)) {
            // Written so that no two names look alike.
            (Kind::Posix | Kind::File, Ok(name)) => name.to_string(),
            (Kind::Sysv, _) if self.key != 0 => format!("{} (key {})", name(), key(self.key)),
            _ => name(),
        }
    }

    /// The record for scripts.
    pub(crate) fn fields(&self) -> Fields {
        Fields {
            name: self.name.to_string_lossy().into_owned(),
            kind: self.kind,
            key: (self.key != 0).then(|| key(self.key)),
            namespace: self.namespace.as_ref().map(|directory| directory.display().to_string()),
            size: self.size,
            resident: self.resident,
            holders: self.holders,
            processes: self.processes.clone(),
            lifetime: lifetime(self.lifetime),
            orphan: self.orphan,
            uid: self.uid,
            mode: mode(self.mode),
            modified: self.modified.and_then(time),
        }
    }
}

/// A piece of shared memory as JSON. The keys are an interface: keep them.
#[derive(Debug, Serialize)]
pub(crate) struct Fields {
    name: String,
    kind: Kind,
    key: Option<String>,
    namespace: Option<String>,
    size: u64,
    resident: Option<u64>,
    holders: Option<usize>,
    processes: Vec<u32>,
    lifetime: &'static str,
    orphan: bool,
    uid: u32,
    mode: String,
    modified: Option<String>,
}

/// A System V key, as `ipcs` writes it.
pub(crate) fn key(key: i32) -> String {
    format!("{key:#010x}")
}

pub(crate) fn lifetime(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::UntilLastDetach => "until-last-detach",
        Lifetime::UntilDeleted => "until-deleted",
    }
}

pub(crate) fn mode(mode: u32) -> String {
    format!("{mode:04o}")
}

/// A time in RFC 3339; `None` beyond the years that it can write.
pub(crate) fn time(time: SystemTime) -> Option<String> {
    Some(Timestamp::try_from(time).ok()?.to_string())
}
