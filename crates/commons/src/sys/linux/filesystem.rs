//! Filesystems: which kind a directory or file lies on, how much room there is.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use super::super::Result;

/// A kind of filesystem, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pages in memory: `/dev/shm`.
    Tmpfs,
    /// Huge pages of a reserved pool.
    Hugetlbfs,
    /// ext2, ext3 or ext4.
    Ext,
    Xfs,
    Btrfs,
    /// Any other, by its magic number.
    Other(u64),
}

const NAMES: &[(u64, &str)] = &[
    (0x794c_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x8584_58f6, "ramfs"),
    (0x4d44, "FAT"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x2fc1_2fc1, "ZFS"),
    (0xf2f5_2010, "f2fs"),
    (0x0187, "autofs"),
];

impl Kind {
    fn from_magic(magic: u64) -> Kind {
        match magic {
            0x0102_1994 => Kind::Tmpfs,
            0x9584_58f6 => Kind::Hugetlbfs,
            0xef53 => Kind::Ext,
            0x5846_5342 => Kind::Xfs,
            0x9123_683e => Kind::Btrfs,
            other => Kind::Other(other),
        }
    }

    /// Whether a mapping keeps an open-file-description lock there, as it must for `UntilLastDetach`.
    pub(crate) fn mapping_keeps_lock(self) -> bool {
        !matches!(self, Kind::Other(_))
    }

    /// Whether allocated blocks are memory rather than disk.
    pub(crate) fn is_memory(self) -> bool {
        self == Kind::Tmpfs
    }

    /// What people call it.
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Tmpfs => "tmpfs".into(),
            Kind::Hugetlbfs => "hugetlbfs".into(),
            Kind::Ext => "ext4".into(),
            Kind::Xfs => "xfs".into(),
            Kind::Btrfs => "btrfs".into(),
            Kind::Other(magic) => NAMES
                .iter()
                .find(|(known, _)| *known == magic)
                .map_or_else(|| format!("filesystem type {magic:#x}"), |(_, name)| (*name).into()),
        }
    }
}

/// A filesystem's kind and room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filesystem {
    pub(crate) kind: Kind,
    /// Bytes in a block; on hugetlbfs, in a huge page.
    pub(crate) block: u64,
    /// Bytes in all; 0 where it has no limit of its own.
    pub(crate) total: u64,
    /// Bytes that this user may still allocate.
    pub(crate) free: u64,
    /// Files that may still be made; `None` where there is no such limit.
    pub(crate) free_files: Option<u64>,
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields' types differ by architecture"
)]
fn read(statfs: &rustix::fs::StatFs) -> Filesystem {
    let block = statfs.f_bsize as u64;
    let kind = Kind::from_magic(statfs.f_type as u64 & 0xffff_ffff);
    let (mut blocks, mut available) = (statfs.f_blocks as u64, statfs.f_bavail as u64);
    if kind == Kind::Hugetlbfs && blocks == 0 {
        // Mounted without a size: the pool is the limit.
        (blocks, available) = (pool("nr", block), pool("free", block));
    }
    Filesystem {
        kind,
        block,
        total: blocks.saturating_mul(block),
        free: available.saturating_mul(block),
        free_files: (statfs.f_files != 0).then_some(statfs.f_ffree as u64),
    }
}

/// How many huge pages of that many bytes there are, in all (`nr`) or `free`.
fn pool(which: &str, block: u64) -> u64 {
    let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/{which}_hugepages", block >> 10);
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The filesystem that `path` lies on.
pub(crate) fn of_path(path: &CStr) -> Result<Filesystem> {
    rustix::fs::statfs(path).map(|statfs| read(&statfs))
}

/// The filesystem that an open file lies on.
pub(crate) fn of_file(fd: BorrowedFd<'_>) -> Result<Filesystem> {
    rustix::fs::fstatfs(fd).map(|statfs| read(&statfs))
}
