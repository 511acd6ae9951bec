//! The bytes of a snapshot in batches, as they are written, and how they get from the segment to there.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use super::extents::Extents;
use super::format::{BLOCK, Block, HEADER, Header, LARGEST, checksum};
use super::out::Out;
use super::{About, Progress};
use crate::error::{Error, Result};
use crate::sys::{extent, file, signal};

/// Bytes that are read at once: little enough to stay in a core's cache, so that summing up and writing them
/// costs no more trips to memory. Compressing does better with more.
const PIECE: usize = 256 << 10;
/// From how many bytes on a batch goes out.
const ENOUGH: usize = 256 << 10;
/// From how many bytes of a segment on a second thread reads while the first writes: it takes longer than to
/// start that.
const LARGE: u64 = 4 << 20;

/// What is saved.
pub(super) struct Source<'s> {
    pub(super) fd: BorrowedFd<'s>,
    pub(super) size: u64,
    pub(super) about: &'s About<'s>,
}

impl Source<'_> {
    /// Fills `bytes`. Read, not mapped: a truncation is an end here, and no signal.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match extent::read_at(self.fd, &mut bytes[done..], offset + done as u64) {
                Ok(0) => return Err(Error::Truncated((self.about)())),
                Ok(read) => done += read,
                Err(error) => return Err(self.os(error.into())),
            }
        }
        Ok(())
    }

    fn os(&self, source: io::Error) -> Error {
        Error::Os { attempt: (self.about)(), source }
    }
}

/// Some bytes on their way.
struct Batch {
    /// Zeros that go before them.
    skip: u64,
    buffer: Vec<u8>,
    /// How much of the buffer is meant.
    len: usize,
    /// Up to where in the segment this is.
    done: u64,
}

impl Batch {
    fn new() -> Batch {
        // A header, a batch that is nearly enough, a block, and the end.
        let most = HEADER + 255 + ENOUGH + LARGEST + 2 * BLOCK;
        Batch { skip: 0, buffer: vec![0; most], len: 0, done: 0 }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// How the bytes are written.
enum Form {
    Raw {
        /// What was written up to, holes included.
        at: u64,
    },
    Framed {
        /// Not given out yet.
        header: Option<Vec<u8>>,
        chain: u32,
        compressor: Option<Compressor>,
    },
}

/// Reads a segment, and makes batches of it.
pub(super) struct Batches<'s> {
    source: &'s Source<'s>,
    extents: Extents<'s>,
    form: Form,
    ended: bool,
    /// Bytes that lay outside of holes.
    pub(super) data: u64,
}

impl<'s> Batches<'s> {
    pub(super) fn raw(source: &'s Source<'s>) -> Batches<'s> {
        Batches::new(source, Form::Raw { at: 0 })
    }

    pub(super) fn framed(source: &'s Source<'s>, header: &Header, level: Option<i32>) -> Result<Batches<'s>> {
        let compressor = level.map(Compressor::new).transpose().map_err(|error| source.os(error))?;
        let (header, chain) = header.encode();
        Ok(Batches::new(source, Form::Framed { header: Some(header), chain, compressor }))
    }

    fn new(source: &'s Source<'s>, form: Form) -> Batches<'s> {
        let extents = Extents::new(source.fd, 0..source.size);
        Batches { source, extents, form, ended: false, data: 0 }
    }

    pub(super) fn knows_holes(&self) -> bool {
        self.extents.knows_holes()
    }

    /// Fills the next batch; `false` if there is none.
    fn fill(&mut self, batch: &mut Batch) -> Result<bool> {
        (batch.skip, batch.len) = (0, 0);
        if self.ended {
            return Ok(false);
        }
        if let Form::Framed { header, .. } = &mut self.form {
            if let Some(header) = header.take() {
                batch.add(&header);
            }
        }
        while batch.len < ENOUGH {
            let most = if self.compresses() { LARGEST } else { PIECE };
            match self.extents.next(most as u64).map_err(|error| self.source.os(error.into()))? {
                Some(range) => {
                    self.data += range.end - range.start;
                    batch.done = range.end;
                    if self.add(batch, range)? {
                        return Ok(true);
                    }
                }
                None => {
                    self.end(batch)?;
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    fn compresses(&self) -> bool {
        matches!(&self.form, Form::Framed { compressor: Some(_), .. })
    }

    /// Adds what lies in `range`; whether nothing can follow in the same batch.
    fn add(&mut self, batch: &mut Batch, range: Range<u64>) -> Result<bool> {
        let len = (range.end - range.start) as usize;
        match &mut self.form {
            Form::Raw { at } => {
                batch.skip = range.start - *at;
                *at = range.end;
                self.source.read(&mut batch.buffer[..len], range.start)?;
                batch.len = len;
                Ok(true)
            }
            Form::Framed { chain, compressor, .. } => {
                let body = batch.len + BLOCK;
                let bytes = &mut batch.buffer[body..body + len];
                // Others may be changing them, so that what is summed up has to be what is written.
                self.source.read(bytes, range.start)?;
                let sum = checksum(bytes);
                let mut stored = len;
                // What does not get smaller stays as it is.
                if let Some(smaller) = compressor.as_mut().and_then(|it| it.compress(bytes)) {
                    stored = smaller.len();
                    bytes[..stored].copy_from_slice(smaller);
                }
                let block = Block { offset: range.start, len: len as u32, stored: stored as u32, sum };
                let (head, next) = block.encode(*chain);
                *chain = next;
                batch.add(&head);
                batch.len += stored;
                Ok(false)
            }
        }
    }

    fn end(&mut self, batch: &mut Batch) -> Result<()> {
        // No more data is also what a file says that was truncated to where it was read.
        let stat = file::stat(self.source.fd).map_err(|error| self.source.os(error.into()))?;
        if stat.size < self.source.size {
            return Err(Error::Truncated((self.source.about)()));
        }
        self.ended = true;
        batch.done = self.source.size;
        match &mut self.form {
            Form::Raw { at } => batch.skip = self.source.size - *at,
            Form::Framed { chain, .. } => batch.add(&Block::end(self.source.size).encode(*chain).0),
        }
        Ok(())
    }

    /// Writes all there is; how many bytes that were, zeros included.
    pub(super) fn write(&mut self, out: &mut dyn Out, progress: Option<&Progress<'_>>) -> Result<u64> {
        let (about, size) = (self.source.about, self.source.size);
        let mut written = 0;
        let mut put = |batch: &Batch| -> Result<()> {
            let done = out.skip(batch.skip).and_then(|()| out.write(&batch.buffer[..batch.len]));
            done.map_err(|source| Error::Os { attempt: about(), source })?;
            written += batch.skip + batch.len as u64;
            if let Some(progress) = progress {
                progress(batch.done, size);
            }
            Ok(())
        };
        let parallel = size >= LARGE && thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        if !parallel || !self.write_in_parallel(&mut put)? {
            let mut batch = Batch::new();
            while self.fill(&mut batch)? {
                put(&batch)?;
            }
        }
        out.finish().map_err(|source| Error::Os { attempt: about(), source })?;
        Ok(written)
    }

    /// Reads in a second thread, so that reading and summing up go on while the last batch is written; `false`
    /// if there can be no such thread, and nothing was read.
    fn write_in_parallel(&mut self, put: &mut dyn FnMut(&Batch) -> Result<()>) -> Result<bool> {
        thread::scope(|scope| {
            let (full, filled): (SyncSender<Result<Batch>>, _) = mpsc::sync_channel(2);
            let (empty, emptied): (Sender<Batch>, Receiver<Batch>) = mpsc::channel();
            for _ in 0..3 {
                let _ = empty.send(Batch::new());
            }
            let read = move || {
                // It ends when the other side is gone, or when all was read.
                while let Ok(mut batch) = emptied.recv() {
                    let next = self.fill(&mut batch);
                    let go_on = matches!(next, Ok(true));
                    if matches!(next, Ok(false)) || full.send(next.map(|_| batch)).is_err() || !go_on {
                        break;
                    }
                }
            };
            let builder = thread::Builder::new().name("commons-save".to_owned());
            // The program's signals are for its own threads.
            if signal::without(|| builder.spawn_scoped(scope, read)).is_err() {
                return Ok(false);
            }
            for batch in filled {
                let batch = batch?;
                put(&batch)?;
                // Nobody takes it once all was read.
                let _ = empty.send(batch);
            }
            Ok(true)
        })
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
