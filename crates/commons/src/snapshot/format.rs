//! The form of a snapshot: how its header and its blocks are written, and how each is checked as it is read.
//!
//! All numbers are little-endian. A snapshot is a header, blocks in the order of their offsets, and an end.
//! What lies in no block is zero.
//!
//! | header bytes | hold                                                                         |
//! | ------------ | ---------------------------------------------------------------------------- |
//! | 0..8         | `89 43 4D 4E 53 4E 50 0A`: not text, and damaged by whatever damages text     |
//! | 8..12        | version, 1                                                                   |
//! | 12..16       | flags: 1 sparse, 2 some blocks may be compressed, 4 `UntilLastDetach`        |
//! | 16..24       | bytes of the segment                                                         |
//! | 24..36       | when it was saved: seconds (8) and nanoseconds (4) since the epoch           |
//! | 36..40       | permission bits                                                              |
//! | 40..44       | bytes of the name, 255 at most; 0 for an anonymous segment                   |
//! | 44..60       | 0                                                                            |
//! | 60..64       | checksum of the 60 bytes and the name                                        |
//! | 64..         | the name                                                                     |
//!
//! | block bytes  | hold                                                                         |
//! | ------------ | ---------------------------------------------------------------------------- |
//! | 0..8         | offset in the segment                                                        |
//! | 8..12        | bytes there, 1 MiB at most                                                   |
//! | 12..16       | bytes that follow: as many, or fewer if they are a zstd frame                |
//! | 16..20       | checksum of the bytes there                                                  |
//! | 20..24       | checksum of the 20 bytes, begun with the one before: the header's, or the previous block's |
//! | 24..         | the bytes that follow                                                        |
//!
//! The end is a block without bytes at the offset of the segment's size. Checksums are CRC-32 (ISO-HDLC, as
//! zlib's). As each one that stands before bytes begins with the one before, a block that is missing, doubled,
//! moved or from another snapshot shows. They find damage, not malice.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crc32fast::Hasher;

use crate::segment::Lifetime;

/// What every snapshot begins with.
pub(super) const MAGIC: [u8; 8] = *b"\x89CMNSNP\n";
/// Bytes that a block describes at most.
pub(super) const LARGEST: usize = 1 << 20;
/// Bytes of a header without the name.
pub(super) const HEADER: usize = 64;
/// Bytes in front of a block's.
pub(super) const BLOCK: usize = 24;

const VERSION: u32 = 1;
const SPARSE: u32 = 1;
const COMPRESSED: u32 = 2;
const UNTIL_LAST_DETACH: u32 = 4;
const LONGEST_NAME: usize = 255;

/// Why a header or a block was refused.
pub(super) type Refused = &'static str;

pub(super) const NO_SNAPSHOT: Refused =
    "it does not begin as a snapshot does; if it holds a segment's bytes as they are, load it as raw";
pub(super) const HEADER_DAMAGED: Refused = "its header is damaged";
pub(super) const BLOCK_DAMAGED: Refused = "it is damaged";

/// What a snapshot says of the segment that it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The segment's name; empty for an anonymous segment.
    pub name: OsString,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// How long it lived.
    pub lifetime: Lifetime,
    /// Whether its memory was not reserved.
    pub sparse: bool,
    /// Whether blocks may be compressed.
    pub compressed: bool,
    /// When it was saved.
    pub saved: SystemTime,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

/// The checksum of some bytes.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

impl Header {
    /// The header as it is written, and its checksum, which the first block's begins with.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let name = self.name.as_bytes();
        let mut bytes = vec![0; HEADER];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let flags = flag(self.sparse, SPARSE)
            | flag(self.compressed, COMPRESSED)
            | flag(self.lifetime == Lifetime::UntilLastDetach, UNTIL_LAST_DETACH);
        put(&mut bytes, 12, &flags.to_le_bytes());
        put(&mut bytes, 16, &self.size.to_le_bytes());
        let since = self.saved.duration_since(UNIX_EPOCH).unwrap_or_default();
        put(&mut bytes, 24, &since.as_secs().to_le_bytes());
        put(&mut bytes, 32, &since.subsec_nanos().to_le_bytes());
        put(&mut bytes, 36, &self.mode.to_le_bytes());
        put(&mut bytes, 40, &(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(name);
        let sum = header_sum(&bytes);
        put(&mut bytes, 60, &sum.to_le_bytes());
        (bytes, sum)
    }

    /// Bytes of the name, from the first [`HEADER`] bytes.
    pub(super) fn name_len(bytes: &[u8; HEADER]) -> Result<usize, Refused> {
        if bytes[..8] != MAGIC {
            return Err(NO_SNAPSHOT);
        }
        let len = u32_at(bytes, 40) as usize;
        if len <= LONGEST_NAME { Ok(len) } else { Err(HEADER_DAMAGED) }
    }

    /// The header that these bytes, with the name, are; and its checksum.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Header, u32), Refused> {
        let sum = header_sum(bytes);
        if sum != u32_at(bytes, 60) {
            return Err(HEADER_DAMAGED);
        }
        let flags = u32_at(bytes, 12);
        let unknown = flags & !(SPARSE | COMPRESSED | UNTIL_LAST_DETACH);
        if u32_at(bytes, 8) != VERSION || unknown != 0 || bytes[44..60] != [0; 16] {
            return Err("a later version of Commons wrote it; load it with that");
        }
        let since = Duration::new(u64_at(bytes, 24), 0)
            .checked_add(Duration::from_nanos(u32_at(bytes, 32).into()))
            .and_then(|since| UNIX_EPOCH.checked_add(since));
        let (Some(saved), size, mode) = (since, u64_at(bytes, 16), u32_at(bytes, 36)) else {
            return Err(HEADER_DAMAGED);
        };
        if size == 0 || mode > 0o777 {
            return Err(HEADER_DAMAGED);
        }
        let lifetime = match flags & UNTIL_LAST_DETACH {
            0 => Lifetime::UntilDeleted,
            _ => Lifetime::UntilLastDetach,
        };
        let name = OsStr::from_bytes(&bytes[HEADER..]);
        let header = Header {
            name: OsString::from_vec(name.as_bytes().to_vec()),
            size,
            mode,
            lifetime,
            sparse: flags & SPARSE != 0,
            compressed: flags & COMPRESSED != 0,
            saved,
        };
        Ok((header, sum))
    }
}

fn header_sum(bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&bytes[..60]);
    hasher.update(&bytes[HEADER..]);
    hasher.finalize()
}

/// What stands in front of a block's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) stored: u32,
    pub(super) sum: u32,
}

impl Block {
    /// As it is written, after what had the checksum `chain`; and the next such checksum.
    pub(super) fn encode(self, chain: u32) -> ([u8; BLOCK], u32) {
        let mut bytes = [0; BLOCK];
        put(&mut bytes, 0, &self.offset.to_le_bytes());
        put(&mut bytes, 8, &self.len.to_le_bytes());
        put(&mut bytes, 12, &self.stored.to_le_bytes());
        put(&mut bytes, 16, &self.sum.to_le_bytes());
        let chain = chained(&bytes, chain);
        put(&mut bytes, 20, &chain.to_le_bytes());
        (bytes, chain)
    }

    /// The block that these bytes announce, if they can follow what ended at `end` in a segment of `size`.
    pub(super) fn decode(
        bytes: &[u8; BLOCK],
        chain: u32,
        end: u64,
        header: &Header,
    ) -> Result<(Block, u32), Refused> {
        let chain = chained(bytes, chain);
        if chain != u32_at(bytes, 20) {
            return Err(BLOCK_DAMAGED);
        }
        let block = Block {
            offset: u64_at(bytes, 0),
            len: u32_at(bytes, 8),
            stored: u32_at(bytes, 12),
            sum: u32_at(bytes, 16),
        };
        let within = block.offset >= end
            && block.offset.checked_add(block.len.into()).is_some_and(|end| end <= header.size)
            && block.len as usize <= LARGEST
            && (block.stored == block.len || header.compressed && block.stored < block.len)
            && (block.stored > 0 || block.len == 0 && block.offset == header.size);
        if within { Ok((block, chain)) } else { Err(BLOCK_DAMAGED) }
    }

    /// The end of a snapshot.
    pub(super) fn end(size: u64) -> Block {
        Block { offset: size, len: 0, stored: 0, sum: 0 }
    }

    pub(super) fn is_end(self) -> bool {
        self.len == 0
    }
}

fn chained(bytes: &[u8; BLOCK], chain: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(chain);
    hasher.update(&bytes[..20]);
    hasher.finalize()
}
