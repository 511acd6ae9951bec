//! Which files processes have mapped or open, as far as `/proc` shows.
//!
//! Read by hand: the crate `procfs` takes names for text, which other programs choose as they like.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file: its device and its inode.
pub(crate) type Identity = (u64, u64);

/// A file that processes have mapped, shared, or open.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// As `/proc` names it: `/memfd:label (deleted)`, `/dev/shm/jobs`.
    pub(crate) path: OsString,
    /// Those that have it mapped.
    pub(crate) mappers: BTreeSet<u32>,
    /// Those that have it open.
    pub(crate) openers: BTreeSet<u32>,
    /// What leads to the file itself, for who may follow it.
    pub(crate) link: Option<PathBuf>,
    /// Bytes up to the end of the mapping that reaches furthest.
    pub(crate) reach: u64,
}

impl Used {
    /// All who have it.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        self.mappers.union(&self.openers).copied().collect()
    }
}

/// What a look at all processes showed.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// In an order that does not change from one look to the next.
    pub(crate) files: BTreeMap<Identity, Used>,
    /// How many processes could not be looked into: other users'.
    pub(crate) hidden: usize,
}

/// How a process has a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Mapped,
    Open,
}

/// Looks at all processes for files whose path, as `/proc` names it, is wanted.
pub(crate) fn scan(wanted: impl Fn(&[u8], How) -> bool) -> Scan {
    let mut scan = Scan::default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let process = entry.path();
        match fs::read(process.join("maps")) {
            Ok(maps) => add_mapped(&mut scan, pid, &process, &maps, &wanted),
            Err(error) => {
                // One that has just ended hides nothing, and the first process is none that shares memory, if it is
                // not this user's.
                scan.hidden += usize::from(error.kind() == ErrorKind::PermissionDenied && pid != 1);
                continue;
            }
        }
        add_open(&mut scan, pid, &process, &wanted);
    }
    scan
}

/// Adds what a process has mapped, shared. A line is `start-end permissions offset major:minor inode path`, see
/// proc_pid_maps(5).
fn add_mapped(scan: &mut Scan, pid: u32, process: &Path, maps: &[u8], wanted: &impl Fn(&[u8], How) -> bool) {
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(mapping) = Mapping::parse(line) else { continue };
        if !mapping.shared || !wanted(mapping.path, How::Mapped) {
            continue;
        }
        let used = scan.files.entry(mapping.file).or_default();
        used.path = unescape(mapping.path);
        used.mappers.insert(pid);
        used.reach = used.reach.max(mapping.reach);
        if used.link.is_none() {
            used.link = Some(process.join("map_files").join(mapping.range));
        }
    }
}

struct Mapping<'l> {
    range: &'l str,
    shared: bool,
    reach: u64,
    file: Identity,
    path: &'l [u8],
}

impl<'l> Mapping<'l> {
    fn parse(line: &'l [u8]) -> Option<Mapping<'l>> {
        let mut rest = line;
        let mut field = || {
            let end = rest.iter().position(|byte| *byte == b' ')?;
            let field = std::str::from_utf8(&rest[..end]).ok()?;
            rest = &rest[end + 1..];
            Some(field)
        };
        let (range, permissions, offset, device, inode) = (field()?, field()?, field()?, field()?, field()?);
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-')?;
        let (major, minor) = device.split_once(':')?;
        let device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
        Some(Mapping {
            range,
            shared: permissions.ends_with('s'),
            reach: hex(offset)?.checked_add(hex(end)?.checked_sub(hex(start)?)?)?,
            file: (device, inode.parse().ok()?),
            path: rest.trim_ascii_start(),
        })
    }
}

/// A path as `maps` writes it: a line break is `\012` there.
fn unescape(path: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.windows(4).position(|four| four == b"\\012") {
        bytes.extend_from_slice(&rest[..at]);
        bytes.push(b'\n');
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

/// Adds what a process has open.
fn add_open(scan: &mut Scan, pid: u32, process: &Path, wanted: &impl Fn(&[u8], How) -> bool) {
    for entry in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        let link = entry.path();
        let Ok(target) = fs::read_link(&link) else { continue };
        let target = target.into_os_string();
        if !wanted(target.as_bytes(), How::Open) {
            continue;
        }
        // Follows the descriptor, whatever the path means by now.
        let Ok(metadata) = fs::metadata(&link) else { continue };
        if !metadata.is_file() {
            continue;
        }
        let used = scan.files.entry((metadata.dev(), metadata.ino())).or_default();
        used.path = target;
        used.openers.insert(pid);
        used.link = Some(link);
    }
}

/// The process that a thread is of; `None` if it is gone or hidden.
pub(crate) fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{thread}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// The command of a process, as it calls itself; `None` if it is gone or hidden.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(crate::failure::one_line(String::from_utf8_lossy(&name).trim_end()))
}

/// Whether there is a process with this id; one that cannot be looked at, or that `/proc` hides, counts.
pub(crate) fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Whether a path could be that of a segment of this file name: with it, or as `/proc` names a file that was made
/// without a name, for those who had it then: `#12 (deleted)`, also once it has one.
pub(crate) fn could_be(path: &[u8], file_name: &OsStr) -> bool {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    last == file_name.as_bytes() || made_nameless(last)
}

/// Whether a file's name in `/proc` is that of one that was made without a name.
pub(crate) fn made_nameless(last: &[u8]) -> bool {
    last.strip_prefix(b"#").is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

/// The path without what `/proc` adds to the one of a deleted file; `None` if it is not deleted.
pub(crate) fn deleted(path: &OsStr) -> Option<&OsStr> {
    path.as_bytes().strip_suffix(b" (deleted)").map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read_whatever_the_path() {
        let line =
            b"7f0000001000-7f0000003000 rw-s 00002000 00:1a 77                         /dev/shm/a b\\012c";
        let mapping = Mapping::parse(line).unwrap();
        assert!(mapping.shared);
        assert_eq!((mapping.reach, mapping.file), (0x4000, (rustix::fs::makedev(0, 0x1a), 77)));
        assert_eq!(unescape(mapping.path), "/dev/shm/a b\nc");
        let anonymous = Mapping::parse(b"7f0000001000-7f0000003000 rw-p 00000000 00:00 0 ").unwrap();
        assert!(!anonymous.shared && anonymous.path.is_empty());
        for odd in [&b""[..], b"x", b"1-2 rw-s 0 0:0", b"2-1 rw-s 0 0:0 0 /x", b"1-2 rw-s z 0:0 0 /x"] {
            assert!(Mapping::parse(odd).is_none(), "{odd:?}");
        }
        let not_text = Mapping::parse(b"1000-2000 r--s 0 00:1a 5 /\xff\xfe").unwrap();
        assert_eq!(not_text.path, b"/\xff\xfe");
    }

    #[test]
    fn what_this_process_has_open_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().as_os_str().as_bytes().to_vec();
        let metadata = file.as_file().metadata().unwrap();
        let scan = scan(|seen, _| seen == path);
        let used = &scan.files[&(metadata.dev(), metadata.ino())];
        assert!(used.openers.contains(&std::process::id()) && used.mappers.is_empty());
    }
}
