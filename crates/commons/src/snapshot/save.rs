//! Saving a segment.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::batches::{Batches, Source};
use super::format::Header;
use super::out::{Out, Regular, Stream};
use super::whole::WholeFile;
use super::{About, Progress};
use crate::error::{Error, Result};
use crate::segment::Segment;
use crate::sys::{Errno, map};

/// How a segment is saved.
///
/// ```
/// use commons::{Segment, snapshot::{LoadOptions, SaveOptions}};
///
/// # let name = format!("doc-save-{}", std::process::id());
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("jobs.snapshot");
/// let jobs = Segment::create(&name, 1 << 20)?;
/// jobs.attach()?.write_at(0, b"hello")?;
/// SaveOptions::new().save_file(&jobs, &path)?;
///
/// let copy = LoadOptions::new().name(format!("{name}-copy")).load_file(&path)?.segment;
/// let mut greeting = [0; 5];
/// copy.attach()?.read_at(0, &mut greeting)?;
/// assert_eq!(&greeting, b"hello");
/// # Ok::<(), commons::Error>(())
/// ```
pub struct SaveOptions<'p> {
    raw: bool,
    level: Option<i32>,
    sync: bool,
    progress: Option<Box<Progress<'p>>>,
    confirm: Option<Box<Confirm<'p>>>,
}

/// Says that what was read is good.
type Confirm<'p> = dyn Fn() -> io::Result<()> + 'p;

impl fmt::Debug for SaveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveOptions")
            .field("raw", &self.raw)
            .field("level", &self.level)
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

impl Default for SaveOptions<'_> {
    fn default() -> Self {
        SaveOptions { raw: false, level: None, sync: true, progress: None, confirm: None }
    }
}

/// What was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Bytes of the segment.
    pub size: u64,
    /// Bytes of it that lie outside of holes, and were read.
    pub data: u64,
    /// Bytes that were written; a raw file's holes count too.
    pub written: u64,
    /// Whether the filesystem tells holes from zeros; hugetlbfs does not, so that all was read.
    pub knows_holes: bool,
}

impl<'p> SaveOptions<'p> {
    /// The defaults: framed, not compressed, on disk when it is done.
    pub fn new() -> Self {
        SaveOptions::default()
    }

    /// Exactly the bytes, without header and checksums: as libgpl's `shmSave` writes them, and any program
    /// reads them.
    #[doc(alias = "shmSave")]
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// Compresses each block with zstd at this level: 1 (fast) to 22 (small), 3 being zstd's own choice. A
    /// raw file is not compressed.
    #[cfg(feature = "zstd")]
    pub fn zstd(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// Whether to wait until a file and its name are on disk, so that it is there after a power failure: yes,
    /// at first.
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Calls `progress` from time to time with the bytes of the segment that are done, and those that there are.
    pub fn progress(mut self, progress: impl Fn(u64, u64) + 'p) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Asks `confirm` when all was read: if it fails, so does the save, and a file does not get its name. For whoever
    /// keeps others from writing meanwhile, and has to make sure in the end that they did not.
    pub fn confirm(mut self, confirm: impl Fn() -> io::Result<()> + 'p) -> Self {
        self.confirm = Some(Box::new(confirm));
        self
    }

    /// Saves to a file, which appears under its name whole or not at all, in the place of what had that name.
    /// Its permissions are the segment's, without the umask's. If `path` names a device or a fifo, that is
    /// written to.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the file cannot be written: no space, no permission, larger than this process may make
    /// files; [`Error::Truncated`] if the segment was truncated meanwhile; [`Error::HandleClosed`];
    /// [`Error::BadOption`] if the file is the segment itself. Then the file is what it was; unless the disk failed as
    /// its name was to be made safe.
    pub fn save_file(&self, segment: &Segment, path: impl AsRef<Path>) -> Result<Saved> {
        let path = path.as_ref();
        let attempt = || segment.attempt(VERB).with_file(Some(path));
        let os = |source| Error::Os { attempt: attempt(), source };
        let stat = segment.stat(VERB)?;
        match std::fs::metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (stat.identity.device, stat.identity.inode) => {
                let why = "the file is the segment itself; choose another";
                return Err(Error::BadOption { attempt: attempt(), why });
            }
            Ok(there) if there.is_file() => {}
            Ok(there) if there.is_dir() => return Err(os(Errno::ISDIR.into())),
            Ok(_) => return self.save_special(segment, path, &attempt),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(os(error)),
        }
        let whole = WholeFile::begin(path, stat.mode & 0o666, self.sync).map_err(os)?;
        let mut out = Regular::new(&whole.file);
        let saved = self.save_to(segment, &mut out, &attempt)?;
        whole.file.set_len(saved.written).map_err(os)?;
        whole.finish().map_err(os)?;
        Ok(saved)
    }

    fn save_special(&self, segment: &Segment, path: &Path, about: &About<'_>) -> Result<Saved> {
        let os = |source| Error::Os { attempt: about(), source };
        let mut file = File::options().write(true).open(path).map_err(os)?;
        // Another name may have come in its place: that file is not written over in part.
        if file.metadata().map_err(os)?.is_file() {
            return Err(os(Errno::EXIST.into()));
        }
        self.save_to(segment, &mut Stream(&mut file), about)
    }

    /// Saves to whatever takes bytes: a pipe, a socket, a `Vec`. What was written when an error comes is no
    /// snapshot, and loading tells so.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if `to` fails; [`Error::Truncated`]; [`Error::HandleClosed`].
    pub fn save(&self, segment: &Segment, mut to: impl Write) -> Result<Saved> {
        self.save_to(segment, &mut Stream(&mut to), &|| segment.attempt(VERB))
    }

    fn save_to(&self, segment: &Segment, out: &mut dyn Out, about: &About<'_>) -> Result<Saved> {
        let stat = segment.stat(VERB)?;
        let source = Source { fd: segment.fd(VERB)?, size: stat.size, about };
        let page = map::page_size() as u64;
        let header = Header {
            name: segment.name().map(|name| name.to_os_string()).unwrap_or_default(),
            size: stat.size,
            mode: stat.mode & 0o777,
            lifetime: segment.lifetime(),
            sparse: stat.allocated < stat.size.next_multiple_of(page),
            compressed: self.level.is_some(),
            saved: SystemTime::now(),
        };
        let mut batches = match self.raw {
            true => Batches::raw(&source),
            false => Batches::framed(&source, &header, self.level)?,
        };
        let written = batches.write(out, self.progress.as_deref())?;
        if let Some(confirm) = &self.confirm {
            confirm().map_err(|source| Error::Os { attempt: about(), source })?;
        }
        let (data, knows_holes) = (batches.data, batches.knows_holes());
        Ok(Saved { size: source.size, data, written, knows_holes })
    }
}

const VERB: &str = "save";
