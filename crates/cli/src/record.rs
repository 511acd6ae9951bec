//! What is known of a segment without holding it, for people and for scripts.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use commons::{Entry, Info, Lifetime, Name, Namespace};
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Outcome;

/// What a look at a segment showed.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) name: Name,
    pub(crate) info: Info,
    /// `None` if the segment may not be opened for reading.
    pub(crate) holders: Option<usize>,
    pub(crate) resident: Option<u64>,
}

impl Record {
    /// Looks at a segment; `None` if it is gone.
    pub(crate) fn of(entry: &Entry) -> Outcome<Option<Record>> {
        let name = entry.name().clone();
        if let Some(look) = entry.look() {
            let (info, resident) = (look.info, look.resident);
            return Ok(Some(Record { name, info, holders: Some(look.holders), resident }));
        }
        let info = entry.info()?;
        Ok(info.map(|info| Record { name, info, holders: None, resident: None }))
    }

    pub(crate) fn is_orphan(&self) -> bool {
        self.info.lifetime == Lifetime::UntilLastDetach && self.holders == Some(0)
    }

    /// The record for scripts.
    pub(crate) fn fields(&self, namespace: &Namespace) -> Fields {
        Fields {
            name: self.name.to_os_string().to_string_lossy().into_owned(),
            kind: kind(namespace),
            // Written in one way, whatever slashes it was given with.
            namespace: namespace.directory().components().collect::<PathBuf>().display().to_string(),
            size: self.info.size,
            resident: self.resident,
            holders: self.holders,
            lifetime: lifetime(self.info.lifetime),
            uid: self.info.uid,
            mode: mode(self.info.mode),
            modified: time(self.info.modified),
        }
    }
}

/// A segment as JSON. The keys are an interface: keep them.
#[derive(Debug, Serialize)]
pub(crate) struct Fields {
    name: String,
    kind: &'static str,
    namespace: String,
    size: u64,
    resident: Option<u64>,
    holders: Option<usize>,
    lifetime: &'static str,
    uid: u32,
    mode: String,
    modified: Option<String>,
}

/// `posix` for what `shm_open` opens, else `file`.
pub(crate) fn kind(namespace: &Namespace) -> &'static str {
    if namespace.directory() == Path::new("/dev/shm") { "posix" } else { "file" }
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
