//! Safe access to bytes that other processes change at any time: slices of atomics, and copying.

use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed,
};

use super::attachment::Attachment;
use crate::error::{Error, Result};

mod sealed {
    pub trait Sealed {}
}

/// The atomic integers that a segment's bytes can be seen as: of a fixed size, and valid whatever their bits.
pub trait Atomic: sealed::Sealed + Send + Sync + 'static {}

macro_rules! atomic {
    ($($type:ty),*) => {
        $(impl sealed::Sealed for $type {}
        impl Atomic for $type {})*
    };
}

atomic!(AtomicU8, AtomicI8, AtomicU16, AtomicI16, AtomicU32, AtomicI32, AtomicU64, AtomicI64);

/// Bytes that are copied at once.
const WORD: usize = size_of::<u64>();

impl Attachment {
    /// The bytes as atomic integers, in this machine's byte order; bytes at the end that fill none are left
    /// out.
    ///
    /// All who access the same bytes at the same time should do so in integers of the same size: an access of
    /// another size may see half of one.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// # let name = format!("doc-atomics-{}", std::process::id());
    /// let counters = commons::Segment::create(name, 4096)?.attach()?;
    /// let counters = counters.atomics::<AtomicU64>(..)?;
    /// assert_eq!(counters.len(), 512);
    /// counters[3].fetch_add(1, Relaxed);
    /// # Ok::<(), commons::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`] for a read-only attachment, since an atomic can be stored to: use
    /// [`read_at`](Attachment::read_at). [`Error::Misaligned`] if the range does not begin at a multiple of the
    /// integer's alignment. [`Error::OutOfRange`]. [`Error::Truncated`] if a [guard](Attachment::guard) has
    /// found bytes gone.
    #[inline]
    pub fn atomics<A: Atomic>(&self, bytes: impl RangeBounds<usize>) -> Result<&[A]> {
        let start = match bytes.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match bytes.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.len(),
        };
        let len = end.saturating_sub(start);
        let first = self.range(start, len)?;
        if self.is_read_only() {
            return Err(Error::ReadOnly(self.attempt("see as atomics")));
        }
        self.check()?;
        let alignment = align_of::<A>();
        if first.addr() % alignment != 0 {
            return Err(Error::Misaligned { address: first.addr(), alignment });
        }
        // SAFETY: `range` made sure that these bytes are within the attachment, which the slice borrows and which
        // stays mapped, readable and writable, while it lives; the start is aligned; `Atomic` types are valid
        // whatever their bits, and may be changed by others at any time.
        Ok(unsafe { std::slice::from_raw_parts(first.cast(), len / size_of::<A>()) })
    }

    /// Copies bytes out of the segment, from `offset` on. What others write meanwhile may be seen in part; an
    /// aligned word of 8 bytes is read whole.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]; [`Error::Truncated`] if a [guard](Attachment::guard) has found bytes gone, also
    /// while copying: then `buffer` may hold zeros instead.
    #[inline]
    pub fn read_at(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let from = self.range(offset, buffer.len())?;
        // SAFETY: `range` made sure that the bytes are within the attachment, which is mapped and readable.
        unsafe { copy_out(from, buffer) };
        self.check()
    }

    /// Copies bytes into the segment, from `offset` on. Who reads meanwhile may see them in part; an aligned
    /// word of 8 bytes is written whole.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`]; [`Error::ReadOnly`]; [`Error::Truncated`] if a [guard](Attachment::guard) has
    /// found bytes gone, also while copying: then some were not written.
    #[inline]
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = self.range(offset, bytes.len())?;
        if self.is_read_only() {
            return Err(Error::ReadOnly(self.attempt("write")));
        }
        // SAFETY: `range` made sure that the bytes are within the attachment, which is mapped and writable.
        unsafe { copy_in(bytes, to) };
        self.check_written()
    }

    /// Where these bytes are, if they are within the attachment.
    #[inline]
    pub(crate) fn range(&self, offset: usize, len: usize) -> Result<*mut u8> {
        let size = self.len();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { offset: offset as u64, len: len as u64, size: size as u64 });
        }
        Ok(self.as_ptr().wrapping_add(offset))
    }
}

/// # Safety
///
/// `from` is valid for atomic reads of `to.len()` bytes.
unsafe fn copy_out(from: *const u8, to: &mut [u8]) {
    let (head, rest) = to.split_at_mut(from.align_offset(WORD).min(to.len()));
    let mut words = rest.chunks_exact_mut(WORD);
    let mut at = from;
    for byte in head {
        // SAFETY: within the range that the caller vouches for.
        *byte = unsafe { (*at.cast::<AtomicU8>()).load(Relaxed) };
        at = at.wrapping_add(1);
    }
    for word in words.by_ref() {
        // SAFETY: as above, and aligned, since the head ended at a multiple of the word's size.
        let value = unsafe { (*at.cast::<AtomicU64>()).load(Relaxed) };
        word.copy_from_slice(&value.to_ne_bytes());
        at = at.wrapping_add(WORD);
    }
    for byte in words.into_remainder() {
        // SAFETY: as above.
        *byte = unsafe { (*at.cast::<AtomicU8>()).load(Relaxed) };
        at = at.wrapping_add(1);
    }
}

/// # Safety
///
/// `to` is valid for atomic writes of `from.len()` bytes.
unsafe fn copy_in(from: &[u8], to: *mut u8) {
    let (head, rest) = from.split_at(to.align_offset(WORD).min(from.len()));
    let words = rest.chunks_exact(WORD);
    let tail = words.remainder();
    let mut at = to;
    for byte in head {
        // SAFETY: within the range that the caller vouches for.
        unsafe { (*at.cast::<AtomicU8>()).store(*byte, Relaxed) };
        at = at.wrapping_add(1);
    }
    for word in words {
        let mut value = [0; WORD];
        value.copy_from_slice(word);
        // SAFETY: as above, and aligned, since the head ended at a multiple of the word's size.
        unsafe { (*at.cast::<AtomicU64>()).store(u64::from_ne_bytes(value), Relaxed) };
        at = at.wrapping_add(WORD);
    }
    for byte in tail {
        // SAFETY: as above.
        unsafe { (*at.cast::<AtomicU8>()).store(*byte, Relaxed) };
        at = at.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_exact_at_every_offset_and_length() {
        let segment = crate::Segment::anonymous(4096).unwrap();
        let attachment = segment.attach().unwrap();
        let pattern: Vec<u8> = (0..64).collect();
        for offset in 0..17 {
            for len in 0..48 {
                attachment.write_at(0, &[0xff; 96]).unwrap();
                attachment.write_at(offset, &pattern[..len]).unwrap();
                let mut all = [0; 96];
                attachment.read_at(0, &mut all).unwrap();
                assert_eq!(&all[offset..offset + len], &pattern[..len]);
                assert!(all[..offset].iter().chain(&all[offset + len..]).all(|byte| *byte == 0xff));
                let mut part = vec![0; len];
                attachment.read_at(offset, &mut part).unwrap();
                assert_eq!(part, &pattern[..len]);
            }
        }
    }

    #[test]
    fn ranges_beyond_the_end_are_errors() {
        let attachment = crate::Segment::anonymous(100).unwrap().attach().unwrap();
        assert!(attachment.read_at(90, &mut [0; 10]).is_ok());
        for (offset, len) in [(91, 10), (100, 1), (usize::MAX, 1), (usize::MAX - 5, 10)] {
            assert!(matches!(attachment.read_at(offset, &mut vec![0; len]), Err(Error::OutOfRange { .. })));
        }
        assert_eq!(attachment.atomics::<AtomicU64>(..).unwrap().len(), 12);
        assert!(matches!(attachment.atomics::<AtomicU64>(1..), Err(Error::Misaligned { .. })));
        assert!(matches!(attachment.atomics::<AtomicU8>(50..101), Err(Error::OutOfRange { .. })));
        #[allow(clippy::reversed_empty_ranges, reason = "what a caller may pass")]
        let reversed = attachment.atomics::<AtomicU8>(60..50);
        assert!(matches!(reversed, Ok([])));
    }
}
