//! Where the bytes of a snapshot go: nowhere, into a new file, or into a segment that is there.

use std::os::fd::BorrowedFd;

use super::ZEROS;
use super::extents::Extents;
use super::format::LARGEST;
use super::read::Sink;
use crate::error::{Attempt, Error, Result};
use crate::segment::{Attachment, reserve};
use crate::sys::{Errno, extent, file};

/// For a snapshot that is only checked.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
}

/// A file that can be written to.
pub(super) struct Written<'s> {
    pub(super) fd: BorrowedFd<'s>,
    pub(super) attempt: &'s dyn Fn() -> Box<Attempt>,
    /// Says that there is no room.
    pub(super) no_space: &'s dyn Fn() -> Error,
    /// Whether it had bytes of its own before.
    pub(super) used: bool,
    /// Whether its holes have no memory, and need none.
    pub(super) sparse: bool,
    /// Whether what is written takes memory that limits may forbid.
    pub(super) takes_memory: bool,
}

impl Written<'_> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match file::write_at(self.fd, &bytes[done..], offset + done as u64) {
                Ok(written) => done += written,
                Err(Errno::NOSPC | Errno::DQUOT) => return Err((self.no_space)()),
                Err(error) => return Err(self.os(error)),
            }
        }
        Ok(())
    }

    fn os(&self, error: Errno) -> Error {
        Error::Os { attempt: (self.attempt)(), source: error.into() }
    }
}

impl Sink for Written<'_> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.takes_memory {
            reserve::check_memory(bytes.len() as u64, self.attempt)?;
        }
        self.write(offset, bytes)
    }

    fn zeros(&mut self, from: u64, to: u64) -> Result<()> {
        if !self.used || from == to {
            return Ok(());
        }
        if self.sparse && extent::make_hole(self.fd, from, to - from).is_ok() {
            return Ok(());
        }
        // What is zero already stays as it is, and so does memory that was reserved.
        let mut extents = Extents::new(self.fd, from..to);
        while let Some(range) = extents.next(ZEROS.len() as u64).map_err(|error| self.os(error))? {
            self.write(range.start, &ZEROS[..(range.end - range.start) as usize])?;
        }
        Ok(())
    }
}

/// A segment whose file cannot be written to, on hugetlbfs: through a mapping.
pub(super) struct Mapped<'s>(pub(super) &'s Attachment);

impl Sink for Mapped<'_> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write_at(offset as usize, bytes)
    }

    fn zeros(&mut self, from: u64, to: u64) -> Result<()> {
        let zeros = vec![0; LARGEST.min((to - from) as usize)];
        let mut at = from;
        while at < to {
            let now = zeros.len().min((to - at) as usize);
            self.0.write_at(at as usize, &zeros[..now])?;
            at += now as u64;
        }
        Ok(())
    }
}

/// A new segment's bytes, on hugetlbfs.
pub(super) struct Bytes<'b>(pub(super) &'b mut [u8]);

impl Sink for Bytes<'_> {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let at = offset as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
}
