//! Limits to look at before memory is reserved, because going past them kills: `RLIMIT_FSIZE` sends
//! `SIGXFSZ`, a cgroup's memory limit and the machine's own end send `SIGKILL`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::process;

/// The largest file this process may make, in bytes; `None` without a limit.
///
/// For a small file, an answer of up to a tenth of a second ago serves: asking costs as much as a tenth of
/// making it.
pub(crate) fn file_size(wanted: u64) -> Option<u64> {
    /// The limit, and until when it is believed, in which life between forks.
    static LIMIT: AtomicU64 = AtomicU64::new(0);
    static UNTIL: AtomicU64 = AtomicU64::new(0);
    static FORKS: AtomicU64 = AtomicU64::new(0);
    let (now, forks) = (process::milliseconds(), process::forks());
    let known = LIMIT.load(Relaxed);
    if wanted <= SMALL && wanted <= known && now < UNTIL.load(Relaxed) && forks == FORKS.load(Relaxed) {
        return (known != u64::MAX).then_some(known);
    }
    let limit = current(libc::RLIMIT_FSIZE as i32);
    LIMIT.store(limit.unwrap_or(u64::MAX), Relaxed);
    FORKS.store(forks, Relaxed);
    UNTIL.store(now + CREDIT_LASTS, Relaxed);
    limit
}

/// Bytes up to which a segment counts as small.
const SMALL: u64 = 1 << 20;

/// The most memory this process may lock, in bytes; `None` without a limit.
pub(crate) fn locked_memory() -> Option<u64> {
    current(libc::RLIMIT_MEMLOCK as i32)
}

/// A limit as it is now; `None` without one, and where asking is refused (by a filter of system calls). Not by `rustix`,
/// which takes it for granted that the call succeeds.
fn current(resource: i32) -> Option<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: libc::RLIM64_INFINITY, rlim_max: libc::RLIM64_INFINITY };
    // SAFETY: asks about this process, and writes to `limit` only.
    let asked = unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &raw mut limit) } == 0;
    (asked && limit.rlim_cur != libc::RLIM64_INFINITY).then_some(limit.rlim_cur)
}

/// How many mappings a process may have.
pub(crate) fn mappings() -> Option<u64> {
    read_number(Path::new("/proc/sys/vm/max_map_count"))
}

/// Whether this process has as many mappings as it may, or nearly.
pub(crate) fn mappings_are_exhausted() -> bool {
    use std::io::Read;
    let Some(limit) = mappings() else { return false };
    let Ok(mut maps) = fs::File::open("/proc/self/maps") else { return false };
    // Piece by piece: memory for all of it might need one more mapping.
    let mut buffer = [0; 4096];
    let mut have = 0;
    while let Ok(read @ 1..) = maps.read(&mut buffer) {
        have += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    // The list shows [vsyscall], which does not count; a thread may have unmapped one meanwhile.
    have + 8 >= limit
}

/// Too little memory, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    /// The cgroup's directory; `None` if it is the machine itself.
    pub(crate) cgroup: Option<PathBuf>,
    /// Bytes it may use in all.
    pub(crate) limit: u64,
    /// Bytes that can still be had.
    pub(crate) available: u64,
}

/// Bytes that may be reserved before the limits are read anew, and until when (milliseconds of the
/// monotonic clock): reading them costs much more than making a small segment.
static CREDIT: AtomicU64 = AtomicU64::new(0);
static CREDIT_ENDS: AtomicU64 = AtomicU64::new(0);
/// For how long limits that were read are believed.
const CREDIT_LASTS: u64 = 100;
/// More bytes than this are never taken on credit.
const CREDIT_MOST: u64 = 64 << 20;

/// Whether `bytes` of memory can be had without anybody being killed for it, as far as can be known: what
/// others take at the same time is not foreseen.
pub(crate) fn memory(bytes: u64) -> Result<(), Short> {
    let now = process::milliseconds();
    if now < CREDIT_ENDS.load(Relaxed) {
        let taken = CREDIT.fetch_update(Relaxed, Relaxed, |credit| credit.checked_sub(bytes));
        if taken.is_ok() {
            return Ok(());
        }
    }
    let tightest = tightest(bytes);
    if let Some(short) = &tightest {
        if bytes > short.available {
            CREDIT.store(0, Relaxed);
            return Err(short.clone());
        }
    }
    let rest = tightest.map_or(u64::MAX, |short| short.available - bytes);
    CREDIT.store((rest / 4).min(CREDIT_MOST), Relaxed);
    CREDIT_ENDS.store(now + CREDIT_LASTS, Relaxed);
    Ok(())
}

/// The limit that leaves the least, among the machine's and those of all cgroups above this process.
fn tightest(bytes: u64) -> Option<Short> {
    cgroup_directories()
        .into_iter()
        .filter_map(|(directory, version)| cgroup(directory, version, bytes))
        .chain(machine())
        .min_by_key(|short| short.available)
}

fn machine() -> Option<Short> {
    let text = contents("/proc/meminfo")?;
    let kilobytes = |key: &[u8]| -> Option<u64> {
        let after = &text[find(&text, key)? + key.len()..];
        number(&after[..find(after, b"kB")?])
    };
    Some(Short {
        cgroup: None,
        limit: (kilobytes(b"MemTotal:")? + kilobytes(b"SwapTotal:").unwrap_or(0)) << 10,
        available: (kilobytes(b"MemAvailable:")? + kilobytes(b"SwapFree:").unwrap_or(0)) << 10,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// This process's memory cgroups with all their ancestors, in both versions of the interface.
fn cgroup_directories() -> Vec<(PathBuf, Version)> {
    let (Some(memberships), Some(mounts)) = (contents("/proc/self/cgroup"), contents("/proc/self/mountinfo"))
    else {
        return Vec::new();
    };
    let mounts: Vec<_> = lines(&mounts).filter_map(cgroup_mount).collect();
    let mut found = Vec::new();
    for membership in lines(&memberships) {
        // number:controllers:path, see cgroups(7)
        let mut fields = membership.splitn(3, |byte| *byte == b':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version = match controllers {
            b"" => Version::Two,
            some if has(some, b"memory") => Version::One,
            _ => continue,
        };
        let Some((_, root, mount)) = mounts.iter().find(|mount| mount.0 == version) else { continue };
        // The mount may show only a part of the tree: the path is relative to the mount's root.
        let inside = as_path(path).strip_prefix(root).unwrap_or(Path::new(""));
        for ancestor in inside.ancestors() {
            found.push((mount.join(ancestor), version));
        }
    }
    found
}

/// Version, root and mount point, if this line of `mountinfo` mounts memory cgroups.
fn cgroup_mount(line: &[u8]) -> Option<(Version, &Path, &Path)> {
    // id parent device ROOT MOUNTPOINT options tags… - TYPE source OPTIONS, see proc(5)
    let mut after = line[find(line, b" - cgroup")? + 3..].split(|byte| *byte == b' ');
    let version = match after.next()? {
        b"cgroup2" => Version::Two,
        b"cgroup" if has(after.nth(1)?, b"memory") => Version::One,
        _ => return None,
    };
    let mut fields = line.split(|byte| *byte == b' ').skip(3);
    let (root, mount) = (as_path(fields.next()?), as_path(fields.next()?));
    Some((version, root, mount))
}

// A process that makes its first segment waits for all of this. So it is read in as few calls as there can be, and
// searched as the C library does it.

/// What is in a file of the kernel's.
fn contents(path: impl rustix::path::Arg) -> Option<Vec<u8>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = Vec::with_capacity(4096);
    loop {
        text.reserve(1024);
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return Some(text),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Where `wanted` begins for the first time.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    // SAFETY: reads both slices, each within its length.
    let found =
        unsafe { libc::memmem(text.as_ptr().cast(), text.len(), wanted.as_ptr().cast(), wanted.len()) };
    (!found.is_null()).then(|| found as usize - text.as_ptr() as usize)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take_if(|text| !text.is_empty())?;
        let Some(end) = find(text, b"\n") else { return rest.take() };
        rest = Some(&text[end + 1..]);
        Some(&text[..end])
    })
}

/// Whether this is in a list with commas.
fn has(list: &[u8], wanted: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| one == wanted)
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A decimal number with white space around it; `None` if it is anything else.
fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

fn read_number(path: &Path) -> Option<u64> {
    number(&contents(path)?)
}

/// What one cgroup allows; `None` if it limits nothing.
fn cgroup(directory: PathBuf, version: Version, bytes: u64) -> Option<Short> {
    let (limit, usage) = match version {
        Version::Two => ("memory.max", "memory.current"),
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    };
    // Version 2 says "max" for "no limit", which is no number; version 1 a number near 2^63.
    let limit = read_number(&directory.join(limit)).filter(|limit| *limit < 1 << 62)?;
    let used = read_number(&directory.join(usage))?;
    let mut available = limit.saturating_sub(used);
    if available < bytes.saturating_add(CREDIT_MOST) {
        // Clean file pages count as used, but make room when needed; so may swap.
        available = available.saturating_add(reclaimable(&directory, version)).min(limit);
        if version == Version::Two {
            available = available.saturating_add(swap(&directory));
        }
    }
    Some(Short { cgroup: Some(directory), limit, available })
}

/// Bytes of file pages that the cgroup would give up before it kills. Shared memory is not among them.
fn reclaimable(directory: &Path, version: Version) -> u64 {
    let Some(text) = contents(directory.join("memory.stat")) else { return 0 };
    let keys = match version {
        Version::Two => [&b"active_file "[..], b"inactive_file "],
        Version::One => [&b"total_active_file "[..], b"total_inactive_file "],
    };
    let of = |line: &[u8]| keys.iter().find_map(|key| number(line.strip_prefix(*key)?));
    lines(&text).filter_map(of).sum()
}

/// Bytes that the cgroup may still move to swap.
fn swap(directory: &Path) -> u64 {
    // SAFETY: all-zero bytes are a valid value of this structure of integers.
    let mut machine: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills the structure, which outlives it.
    unsafe { libc::sysinfo(&raw mut machine) };
    #[allow(clippy::useless_conversion, reason = "the field's type differs by architecture")]
    let free = u64::from(machine.freeswap).saturating_mul(machine.mem_unit.into());
    let Some(used) = read_number(&directory.join("memory.swap.current")) else { return 0 };
    let most = read_number(&directory.join("memory.swap.max")).unwrap_or(u64::MAX);
    most.saturating_sub(used).min(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_requests_are_granted_and_absurd_ones_refused() {
        assert_eq!(memory(4096), Ok(()));
        let short = memory(1 << 60).unwrap_err();
        assert!(short.available < 1 << 60);
    }

    #[test]
    fn mountinfo_lines_are_understood() {
        let one = b"35 25 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let two = b"42 25 0:37 /box /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        let root = Path::new("/");
        assert!(cgroup_mount(one) == Some((Version::One, root, Path::new("/sys/fs/cgroup/memory"))));
        assert!(cgroup_mount(two) == Some((Version::Two, Path::new("/box"), Path::new("/sys/fs/cgroup"))));
        let other = b"36 25 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert!(cgroup_mount(other).is_none());
        assert!(cgroup_mount(b"nonsense").is_none());
    }

    #[test]
    fn numbers_are_numbers_only() {
        assert_eq!(number(b"  12\n"), Some(12));
        for text in ["", "max\n", "1 2", "-1", "18446744073709551616"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_machine_is_as_the_kernel_says() {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let kilobytes = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches("kB").trim().parse().unwrap()
        };
        let short = machine().unwrap();
        assert_eq!(short.limit, (kilobytes("MemTotal:") + kilobytes("SwapTotal:")) << 10);
        // What can be had changes while it is read.
        let available = (kilobytes("MemAvailable:") + kilobytes("SwapFree:")) << 10;
        assert!(short.available.abs_diff(available) < (1 << 30), "{} and {available}", short.available);
    }
}
