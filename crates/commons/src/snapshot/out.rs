//! Where the bytes of a snapshot go as it is written.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::ZEROS;
use crate::sys::{Errno, limits};

/// Where the bytes go.
pub(super) trait Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Goes on behind so many zeros.
    fn skip(&mut self, zeros: u64) -> io::Result<()>;
    fn finish(&mut self) -> io::Result<()>;
}

/// What can only be written to.
pub(super) struct Stream<'w>(pub(super) &'w mut dyn Write);

impl Out for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn skip(&mut self, zeros: u64) -> io::Result<()> {
        let mut left = zeros;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            self.0.write_all(&ZEROS[..now as usize])?;
            left -= now;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A regular file, which can have holes.
pub(super) struct Regular<'f> {
    file: &'f File,
    at: u64,
    /// Bytes that it may have: beyond is a signal, not an error.
    most: u64,
}

impl<'f> Regular<'f> {
    /// From its beginning.
    pub(super) fn new(file: &'f File) -> Regular<'f> {
        Regular::from(file, 0)
    }

    /// From where its offset is.
    pub(super) fn from(file: &'f File, at: u64) -> Regular<'f> {
        Regular { file, at, most: limits::file_size(u64::MAX).unwrap_or(u64::MAX) }
    }
}

impl Out for Regular<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        if self.at > self.most {
            return Err(Errno::FBIG.into());
        }
        self.file.write_all(bytes)
    }

    fn skip(&mut self, zeros: u64) -> io::Result<()> {
        if zeros > 0 {
            self.at += zeros;
            if self.at > self.most {
                return Err(Errno::FBIG.into());
            }
            self.file.seek(SeekFrom::Start(self.at))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
