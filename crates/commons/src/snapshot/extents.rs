//! The parts of a file that hold data.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::sys::Errno;
use crate::sys::extent::{self, Next};

/// The ranges of a file that hold data, one after the other; all of it where the filesystem knows no holes.
pub(super) struct Extents<'f> {
    fd: BorrowedFd<'f>,
    /// Data that was found and not given yet.
    found: Range<u64>,
    end: u64,
    knows_holes: bool,
}

impl<'f> Extents<'f> {
    /// Those within `range`.
    pub(super) fn new(fd: BorrowedFd<'f>, range: Range<u64>) -> Extents<'f> {
        Extents { fd, found: range.start..range.start, end: range.end, knows_holes: true }
    }

    pub(super) fn knows_holes(&self) -> bool {
        self.knows_holes
    }

    /// The next data, at most so many bytes of it, up to a multiple of that.
    pub(super) fn next(&mut self, most: u64) -> Result<Option<Range<u64>>, Errno> {
        if self.found.is_empty() && !self.find()? {
            return Ok(None);
        }
        let end = self.found.end.min((self.found.start / most + 1) * most);
        let piece = self.found.start..end;
        self.found.start = end;
        Ok(Some(piece))
    }

    fn find(&mut self) -> Result<bool, Errno> {
        let from = self.found.end;
        if from >= self.end {
            return Ok(false);
        }
        self.found = match extent::next_data(self.fd, from)? {
            Next::None => return Ok(false),
            Next::At(start) if start >= self.end => return Ok(false),
            Next::At(start) => match extent::next_hole(self.fd, start)? {
                Next::At(end) if end > start => start..end.min(self.end),
                // The hole was dug between the two calls.
                Next::At(_) => start..(start + 1).next_multiple_of(4096).min(self.end),
                Next::None | Next::Unknown => start..self.end,
            },
            Next::Unknown => {
                self.knows_holes = false;
                from..self.end
            }
        };
        Ok(true)
    }
}
