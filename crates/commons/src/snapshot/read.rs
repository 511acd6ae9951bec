//! Reading a snapshot: every part is checked before it is handed on.

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::Progress;
use super::format::{BLOCK, BLOCK_DAMAGED, Block, HEADER, Header, LARGEST, MAGIC, NO_SNAPSHOT, checksum};
use crate::error::{Attempt, Error, Result};

const CUT: &str = "it is cut short";

/// What is done with the bytes of a snapshot as it is read.
pub(super) trait Sink {
    /// Takes the bytes of a block, which are right.
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// What lies from `from` to `to` is zero.
    fn zeros(&mut self, from: u64, to: u64) -> Result<()>;
}

/// Where a snapshot comes from.
pub(super) trait Input: Read {
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

/// What can only be read.
pub(super) struct Stream<'r>(pub(super) &'r mut dyn Read);

impl Read for Stream<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Input for Stream<'_> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut self.0.take(bytes), &mut io::sink()).map(|_| ())
    }
}

impl Input for BufReader<&File> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.seek_relative(bytes as i64)
    }
}

/// Reads until `bytes` is full or there is no more; how many bytes that were.
fn fill(from: &mut dyn Input, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match from.read(&mut bytes[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A snapshot that is being read, up to somewhere between two blocks.
pub(super) struct Reader<'r> {
    from: &'r mut dyn Input,
    attempt: &'r dyn Fn() -> Box<Attempt>,
    /// Where in the snapshot reading is.
    position: u64,
    pub(super) header: Header,
    chain: u32,
    /// Where in the segment the last block ended.
    end: u64,
}

impl<'r> Reader<'r> {
    /// Reads and checks the header.
    pub(super) fn new(from: &'r mut dyn Input, attempt: &'r dyn Fn() -> Box<Attempt>) -> Result<Reader<'r>> {
        let damaged =
            |position: usize, why| Err(Error::Damaged { attempt: attempt(), position: position as u64, why });
        let os = |source| Error::Os { attempt: attempt(), source };
        let mut fixed = [0; HEADER];
        let got = fill(from, &mut fixed).map_err(os)?;
        if got < HEADER {
            return damaged(got, if fixed.starts_with(&MAGIC) { CUT } else { NO_SNAPSHOT });
        }
        let name_len = match Header::name_len(&fixed) {
            Ok(len) => len,
            Err(why) => return damaged(0, why),
        };
        let mut bytes = [0; HEADER + 255];
        bytes[..HEADER].copy_from_slice(&fixed);
        let bytes = &mut bytes[..HEADER + name_len];
        let got = fill(from, &mut bytes[HEADER..]).map_err(os)?;
        if got < name_len {
            return damaged(HEADER + got, CUT);
        }
        match Header::decode(bytes) {
            Ok((header, chain)) => {
                Ok(Reader { from, attempt, position: bytes.len() as u64, header, chain, end: 0 })
            }
            Err(why) => damaged(0, why),
        }
    }

    /// Reads and checks all blocks. If it is `alone`, its end has to be the end of the file too.
    pub(super) fn read(
        mut self,
        sink: &mut dyn Sink,
        alone: bool,
        progress: Option<&Progress<'_>>,
    ) -> Result<()> {
        let mut buffer = vec![0; LARGEST];
        let mut expander = Expander::default();
        loop {
            let (at, end) = (self.position, self.end);
            let block = self.next()?;
            sink.zeros(end, block.offset)?;
            if block.is_end() {
                break;
            }
            let stored = &mut buffer[..block.stored as usize];
            self.fill(stored)?;
            let bytes = match block.stored == block.len {
                true => Ok(&*stored),
                false => expander.expand(stored, block.len as usize),
            };
            let bytes = bytes.map_err(|why| self.damaged(at, why))?;
            if checksum(bytes) != block.sum {
                return Err(self.damaged(at, BLOCK_DAMAGED));
            }
            sink.put(block.offset, bytes)?;
            if let Some(progress) = progress {
                progress(self.end, self.header.size);
            }
        }
        if alone && fill(self.from, &mut [0]).map_err(|error| self.os(error))? > 0 {
            return Err(self.damaged(self.position, "it goes on behind its end"));
        }
        Ok(())
    }

    /// Tells of the ranges that hold data, offset and bytes, without looking at it.
    pub(super) fn ranges(mut self, mut tell: impl FnMut(u64, u64) -> Result<()>) -> Result<()> {
        loop {
            let block = self.next()?;
            if block.is_end() {
                return Ok(());
            }
            tell(block.offset, block.len.into())?;
            self.from.skip(block.stored.into()).map_err(|error| self.os(error))?;
            self.position += u64::from(block.stored);
        }
    }

    fn next(&mut self) -> Result<Block> {
        let (mut bytes, at) = ([0; BLOCK], self.position);
        self.fill(&mut bytes)?;
        let (block, chain) =
            Block::decode(&bytes, self.chain, self.end, &self.header).map_err(|why| self.damaged(at, why))?;
        self.chain = chain;
        self.end = block.offset + u64::from(block.len);
        Ok(block)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let got = fill(self.from, bytes).map_err(|error| self.os(error))?;
        self.position += got as u64;
        if got < bytes.len() { Err(self.damaged(self.position, CUT)) } else { Ok(()) }
    }

    fn damaged(&self, position: u64, why: &'static str) -> Error {
        Error::Damaged { attempt: (self.attempt)(), position, why }
    }

    fn os(&self, source: io::Error) -> Error {
        Error::Os { attempt: (self.attempt)(), source }
    }
}

/// zstd, a block at a time.
#[cfg(feature = "zstd")]
#[derive(Default)]
struct Expander {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    buffer: Vec<u8>,
}

#[cfg(feature = "zstd")]
impl Expander {
    /// The block's bytes, which have to be just so many.
    fn expand(&mut self, stored: &[u8], len: usize) -> Result<&[u8], &'static str> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            None => {
                self.buffer = vec![0; LARGEST];
                let zstd = zstd::bulk::Decompressor::new().map_err(|_| "there is no memory to expand it")?;
                self.zstd.insert(zstd)
            }
        };
        match zstd.decompress_to_buffer(stored, &mut self.buffer[..len]) {
            Ok(got) if got == len => Ok(&self.buffer[..len]),
            _ => Err(BLOCK_DAMAGED),
        }
    }
}

#[cfg(not(feature = "zstd"))]
#[derive(Default)]
struct Expander {}

#[cfg(not(feature = "zstd"))]
impl Expander {
    fn expand(&mut self, _: &[u8], _: usize) -> Result<&[u8], &'static str> {
        Err("it is compressed, and this program was built without the feature 'zstd' of Commons")
    }
}
