//! Saving a segment.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::SystemTime;

use super::Progress;
use super::extents::Extents;
use super::format::{BLOCK, Block, Header, LARGEST, checksum};
use super::out::{Out, Regular, Stream};
use super::whole::WholeFile;
use crate::error::{Attempt, Error, Result};
use crate::segment::Segment;
use crate::sys::{extent, map};

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
}

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
        SaveOptions { raw: false, level: None, sync: true, progress: None }
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

    /// Saves to a file, which appears under its name whole or not at all, in the place of what had that name.
    /// Its permissions are the segment's, without the umask's. If `path` names a device or a fifo, that is
    /// written to.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the file cannot be written: no space, no permission, larger than this process may make
    /// files; [`Error::Truncated`] if the segment was truncated meanwhile; [`Error::HandleClosed`]. Then the file
    /// is what it was.
    pub fn save_file(&self, segment: &Segment, path: impl AsRef<Path>) -> Result<Saved> {
        let path = path.as_ref();
        let attempt = || segment.attempt(VERB).with_file(Some(path));
        let os = |source| Error::Os { attempt: attempt(), source };
        let special = std::fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir());
        if special {
            let mut file = File::options().write(true).open(path).map_err(os)?;
            return self.save_to(segment, &mut Stream(&mut file), &attempt);
        }
        let mode = segment.info()?.mode & 0o666;
        let whole = WholeFile::begin(path, mode).map_err(os)?;
        let mut out = Regular::new(&whole.file);
        let saved = self.save_to(segment, &mut out, &attempt)?;
        whole.file.set_len(saved.written).map_err(os)?;
        whole.finish(self.sync).map_err(os)?;
        Ok(saved)
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

    fn save_to(
        &self,
        segment: &Segment,
        out: &mut dyn Out,
        attempt: &dyn Fn() -> Box<Attempt>,
    ) -> Result<Saved> {
        let stat = segment.stat(VERB)?;
        let source = Source { fd: segment.fd(VERB)?, size: stat.size, attempt };
        let page = map::page_size() as u64;
        let header = Header {
            name: segment.name().map(|name| name.to_os_string()).unwrap_or_default(),
            size: stat.size,
            mode: stat.mode & 0o777,
            lifetime: segment.lifetime(),
            sparse: stat.allocated < stat.size.next_multiple_of(page),
            compressed: self.level.is_some() && !self.raw,
            saved: SystemTime::now(),
        };
        if self.raw {
            return self.save_raw(&source, out);
        }
        Framed::new(out, self.level, &header, attempt)?.save(&source, self.progress.as_deref())
    }

    fn save_raw(&self, source: &Source<'_>, out: &mut dyn Out) -> Result<Saved> {
        let mut bytes = vec![0; LARGEST];
        let mut extents = Extents::new(source.fd, 0..source.size);
        let (mut at, mut data) = (0, 0);
        while let Some(range) = extents.next(LARGEST as u64).map_err(|error| source.os(error.into()))? {
            out.skip(range.start - at).map_err(|error| source.os(error))?;
            let bytes = &mut bytes[..(range.end - range.start) as usize];
            source.read(bytes, range.start)?;
            out.write(bytes).map_err(|error| source.os(error))?;
            at = range.end;
            data += bytes.len() as u64;
            self.tell(at, source.size);
        }
        out.skip(source.size - at).map_err(|error| source.os(error))?;
        out.finish().map_err(|error| source.os(error))?;
        self.tell(source.size, source.size);
        Ok(Saved { size: source.size, data, written: source.size, knows_holes: extents.knows_holes() })
    }

    fn tell(&self, done: u64, size: u64) {
        if let Some(progress) = &self.progress {
            progress(done, size);
        }
    }
}

const VERB: &str = "save";

/// What is saved.
struct Source<'s> {
    fd: BorrowedFd<'s>,
    size: u64,
    attempt: &'s dyn Fn() -> Box<Attempt>,
}

impl Source<'_> {
    /// Fills `bytes`. Read, not mapped: a truncation is an end here, and no signal.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match extent::read_at(self.fd, &mut bytes[done..], offset + done as u64) {
                Ok(0) => return Err(Error::Truncated((self.attempt)())),
                Ok(read) => done += read,
                Err(error) => return Err(self.os(error.into())),
            }
        }
        Ok(())
    }

    fn os(&self, source: io::Error) -> Error {
        os(self.attempt, source)
    }
}

fn os(attempt: &dyn Fn() -> Box<Attempt>, source: io::Error) -> Error {
    Error::Os { attempt: attempt(), source }
}

/// From how many bytes on what has gathered is written out.
const ENOUGH: usize = LARGEST;

/// A snapshot with header and blocks, as it is written.
struct Framed<'o> {
    out: &'o mut dyn Out,
    attempt: &'o dyn Fn() -> Box<Attempt>,
    compressor: Option<Compressor>,
    size: u64,
    chain: u32,
    /// What was not written out yet is its beginning.
    buffer: Vec<u8>,
    gathered: usize,
    written: u64,
}

impl<'o> Framed<'o> {
    fn new(
        out: &'o mut dyn Out,
        level: Option<i32>,
        header: &Header,
        attempt: &'o dyn Fn() -> Box<Attempt>,
    ) -> Result<Framed<'o>> {
        let compressor = level.map(Compressor::new).transpose().map_err(|error| os(attempt, error))?;
        let (encoded, chain) = header.encode();
        let gathered = encoded.len();
        // Room for a block more than what is enough, and for the end. It comes as zeros, so that a small segment
        // does not pay for pages that it never needs.
        let mut buffer = vec![0; gathered + ENOUGH + LARGEST + 2 * BLOCK];
        buffer[..gathered].copy_from_slice(&encoded);
        Ok(Framed { out, attempt, compressor, size: header.size, chain, buffer, gathered, written: 0 })
    }

    fn save(mut self, source: &Source<'_>, progress: Option<&Progress<'_>>) -> Result<Saved> {
        let mut extents = Extents::new(source.fd, 0..source.size);
        let mut data = 0;
        while let Some(range) = extents.next(LARGEST as u64).map_err(|error| source.os(error.into()))? {
            data += range.end - range.start;
            self.add(source, range.clone())?;
            if self.gathered >= ENOUGH {
                self.write_out()?;
                if let Some(progress) = progress {
                    progress(range.end, source.size);
                }
            }
        }
        let (end, _) = Block::end(self.size).encode(self.chain);
        self.buffer[self.gathered..self.gathered + BLOCK].copy_from_slice(&end);
        self.gathered += BLOCK;
        self.write_out()?;
        self.out.finish().map_err(|error| os(self.attempt, error))?;
        if let Some(progress) = progress {
            progress(source.size, source.size);
        }
        let knows_holes = extents.knows_holes();
        Ok(Saved { size: source.size, data, written: self.written, knows_holes })
    }

    /// Adds a block. Its bytes are read to where they are written from: others may be changing them, so that
    /// what was summed up has to be what is written.
    fn add(&mut self, source: &Source<'_>, range: Range<u64>) -> Result<()> {
        let len = (range.end - range.start) as usize;
        let head = self.gathered;
        let body = head + BLOCK;
        let bytes = &mut self.buffer[body..body + len];
        source.read(bytes, range.start)?;
        let sum = checksum(bytes);
        let mut stored = len;
        if let Some(compressor) = &mut self.compressor {
            // What does not get smaller stays as it is.
            if let Some(smaller) = compressor.compress(bytes) {
                stored = smaller.len();
                bytes[..stored].copy_from_slice(smaller);
            }
        }
        let block = Block { offset: range.start, len: len as u32, stored: stored as u32, sum };
        let (bytes, chain) = block.encode(self.chain);
        self.buffer[head..body].copy_from_slice(&bytes);
        self.gathered = body + stored;
        self.chain = chain;
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        self.out.write(&self.buffer[..self.gathered]).map_err(|error| os(self.attempt, error))?;
        self.written += self.gathered as u64;
        self.gathered = 0;
        Ok(())
    }
}

/// zstd, a block at a time.
#[cfg(feature = "zstd")]
struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

#[cfg(feature = "zstd")]
impl Compressor {
    fn new(level: i32) -> io::Result<Compressor> {
        Ok(Compressor { zstd: zstd::bulk::Compressor::new(level)?, buffer: vec![0; LARGEST] })
    }

    /// The bytes compressed; `None` if they do not get smaller.
    fn compress(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        // With room for fewer bytes than there are, it fails when they do not fit.
        let room = &mut self.buffer[..bytes.len() - 1];
        let len = self.zstd.compress_to_buffer(bytes, room).ok()?;
        Some(&self.buffer[..len])
    }
}

#[cfg(not(feature = "zstd"))]
enum Compressor {}

#[cfg(not(feature = "zstd"))]
impl Compressor {
    fn new(_: i32) -> io::Result<Compressor> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn compress(&mut self, _: &[u8]) -> Option<&[u8]> {
        match *self {}
    }
}
