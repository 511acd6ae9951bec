//! Where a typed object, its layout and its tag lie in a segment.
//!
//! | bytes               | what                                                                   |
//! | ------------------- | ---------------------------------------------------------------------- |
//! | from 0              | the object, as a C program sees its struct                             |
//! | behind it, from a multiple of 8 | the [layout](super::layout) as text                        |
//! | the last 64         | the tag                                                                |
//!
//! The tag, in little-endian numbers:
//!
//! | bytes    | what                                     |
//! | -------- | ---------------------------------------- |
//! | 0 to 7   | [`MAGIC`]                                |
//! | 8 to 11  | [`VERSION`]                              |
//! | 12 to 15 | the object's alignment                   |
//! | 16 to 23 | the object's size                        |
//! | 24 to 31 | the layout's fingerprint                 |
//! | 32 to 39 | where the text begins                    |
//! | 40 to 43 | how long it is                           |
//! | 44 to 63 | zero                                     |
//!
//! All of it is written before the segment has its name, so that nobody sees half of it. What is read is believed as
//! little as any bytes that others can write: a tag whose numbers do not go together is none.

use super::layout::{Layout, fingerprint};

/// How a tag begins.
pub(super) const MAGIC: [u8; 8] = *b"\x7fCommons";
/// Of the tag, and of the form of the text.
pub(super) const VERSION: u32 = 1;
/// Bytes of a tag.
pub(super) const LEN: usize = 64;
/// Bytes that a text has at most.
pub(super) const LONGEST_TEXT: usize = 1 << 20;
/// What an object's alignment is at most: that of a page.
pub(super) const LARGEST_ALIGN: usize = 4096;

/// What a tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) size: u64,
    pub(super) align: u32,
    pub(super) fingerprint: u64,
    pub(super) text_start: u64,
    pub(super) text_len: u32,
}

impl Tag {
    pub(super) fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.align.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.fingerprint.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.text_start.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.text_len.to_le_bytes());
        bytes
    }

    /// What the last bytes of a segment say; why they say nothing, if they do not.
    pub(super) fn read(bytes: &[u8; LEN], segment_size: u64) -> Result<Tag, &'static str> {
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        if bytes[..8] != MAGIC {
            return Err(UNTAGGED);
        }
        if four(8) != VERSION {
            return Err(
                "what it says about its object is in a form that this version of Commons does not know",
            );
        }
        let tag = Tag {
            size: eight(16),
            align: four(12),
            fingerprint: eight(24),
            text_start: eight(32),
            text_len: four(40),
        };
        if tag.is_consistent(segment_size) {
            Ok(tag)
        } else {
            Err("what it says about its object is damaged")
        }
    }

    fn is_consistent(self, segment_size: u64) -> bool {
        let end = self.text_start.checked_add(self.text_len.into());
        let before_tag = segment_size.checked_sub(LEN as u64);
        self.align.is_power_of_two()
            && self.align as usize <= LARGEST_ALIGN
            && self.size <= self.text_start
            && self.text_len as usize <= LONGEST_TEXT
            && end.zip(before_tag).is_some_and(|(end, most)| end <= most)
    }
}

pub(super) const UNTAGGED: &str = "it does not say what object it holds";

/// A segment for an object: how large it is, and what is written into it.
#[derive(Debug)]
pub(super) struct Plan {
    text: String,
    tag: Tag,
    /// Bytes of the segment.
    pub(super) segment_size: usize,
}

impl Plan {
    /// `None` if the object is too large, or its layout too long.
    pub(super) fn new(layout: &Layout) -> Option<Plan> {
        let text = layout.text();
        let text_start = layout.size().checked_next_multiple_of(8)?;
        let end = text_start.checked_add(text.len())?;
        let segment_size = end.checked_next_multiple_of(LEN)?.checked_add(LEN)?;
        if text.len() > LONGEST_TEXT {
            return None;
        }
        let tag = Tag {
            size: layout.size() as u64,
            align: layout.align() as u32,
            fingerprint: fingerprint(text.as_bytes()),
            text_start: text_start as u64,
            text_len: text.len() as u32,
        };
        Some(Plan { text, tag, segment_size })
    }

    /// Writes layout and tag into a segment's bytes, which may be more than were asked for.
    pub(super) fn write(&self, bytes: &mut [u8]) -> Result<(), &'static str> {
        let start = self.tag.text_start as usize;
        let place = bytes.len().checked_sub(LEN);
        let room = place.filter(|place| start + self.text.len() <= *place);
        let Some(place) = room else { return Err("the segment is smaller than was asked for") };
        bytes[start..start + self.text.len()].copy_from_slice(self.text.as_bytes());
        bytes[place..].copy_from_slice(&self.tag.to_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Shareable;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let plan = Plan::new(<[u64; 5]>::LAYOUT).unwrap();
        let mut bytes = vec![0; plan.segment_size];
        plan.write(&mut bytes).unwrap();
        let last = bytes.last_chunk().unwrap();
        assert_eq!(Tag::read(last, bytes.len() as u64), Ok(plan.tag));
        assert_eq!(&bytes[40..72], b"array [u64; 5] size 40 align 8\n\0");
        assert_eq!((&bytes[..40], &last[..12]), (&[0; 40][..], &b"\x7fCommons\x01\0\0\0"[..]));
    }

    #[test]
    fn numbers_that_do_not_go_together_are_no_tag() {
        let good = Tag { size: 100, align: 8, fingerprint: 1, text_start: 104, text_len: 24 };
        let read = |tag: Tag, size| Tag::read(&tag.to_bytes(), size);
        assert_eq!(read(good, 192), Ok(good));
        let damaged = [
            (Tag { size: 105, ..good }, 192),
            (Tag { size: u64::MAX, ..good }, 192),
            (Tag { align: 0, ..good }, 192),
            (Tag { align: 3, ..good }, 192),
            (Tag { align: 8192, ..good }, 1 << 20),
            (Tag { text_start: 105, ..good }, 192),
            (Tag { text_start: u64::MAX, ..good }, 192),
            (Tag { text_len: 25, ..good }, 192),
            (Tag { text_len: u32::MAX, ..good }, u64::MAX),
            (good, 191),
            (good, 63),
        ];
        for (tag, size) in damaged {
            assert!(read(tag, size).is_err(), "{tag:?} in {size} bytes");
        }
    }
}
