//! The kernel's System V shared memory.

use std::fs;
use std::ptr::NonNull;

use super::super::{Errno, Result};

/// What the kernel knows of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) id: i32,
    pub(crate) key: i32,
    /// Permission bits, and the two bits above them that say "goes with the last detach" and "locked".
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) creator: i32,
    pub(crate) last: i32,
    pub(crate) attached: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since the epoch; 0 for never.
    pub(crate) attached_at: i64,
    pub(crate) detached_at: i64,
    pub(crate) changed_at: i64,
    /// Bytes in memory, and in swap.
    pub(crate) resident: Option<u64>,
    pub(crate) swapped: Option<u64>,
}

/// "Goes with the last detach", in a mode.
pub(crate) const GOES: u32 = 0o1000;

fn last_error() -> Errno {
    // SAFETY: the address of this thread's `errno` is valid for reads.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// The id of the segment with that key; `create`: with that mode if there is none, `exclusive`: only then.
pub(crate) fn get(key: i32, size: usize, create: Option<u32>, exclusive: bool) -> Result<i32> {
    let flags = match create {
        Some(mode) => libc::IPC_CREAT | if exclusive { libc::IPC_EXCL } else { 0 } | mode as i32,
        None => 0,
    };
    // SAFETY: touches no memory of this process.
    let id = unsafe { libc::shmget(key, size, flags) };
    if id < 0 { Err(last_error()) } else { Ok(id) }
}

/// What is known of the segment with that id.
pub(crate) fn stat(id: i32) -> Result<Stat> {
    // SAFETY: all-zero bytes are a valid value of this structure of integers.
    let mut stat: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills the structure, which outlives it.
    if unsafe { libc::shmctl(id, libc::IPC_STAT, &raw mut stat) } < 0 {
        return Err(last_error());
    }
    Ok(Stat {
        id,
        key: stat.shm_perm.__key,
        mode: u32::from(stat.shm_perm.mode),
        size: stat.shm_segsz as u64,
        creator: stat.shm_cpid,
        last: stat.shm_lpid,
        attached: stat.shm_nattch as u64,
        uid: stat.shm_perm.uid,
        gid: stat.shm_perm.gid,
        attached_at: stat.shm_atime as i64,
        detached_at: stat.shm_dtime as i64,
        changed_at: stat.shm_ctime as i64,
        resident: None,
        swapped: None,
    })
}

/// Marks it as going with its last detach, and frees its key.
pub(crate) fn remove(id: i32) -> Result<()> {
    // SAFETY: this command takes no structure.
    if unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) } < 0 {
        return Err(last_error());
    }
    Ok(())
}

/// Maps it, anywhere or at that address; `replacing` what is there.
///
/// # Safety
///
/// With `replacing`, nothing may use what is mapped there now.
pub(crate) unsafe fn attach(id: i32, at: usize, read_only: bool, replacing: bool) -> Result<NonNull<u8>> {
    let flags = if read_only { libc::SHM_RDONLY } else { 0 } | if replacing { libc::SHM_REMAP } else { 0 };
    // SAFETY: without `SHM_REMAP` the kernel overlays no mapping; with it, the caller vouches for the range.
    let address = unsafe { libc::shmat(id, std::ptr::without_provenance(at), flags) };
    // The failure is -1, which is no address of a mapping.
    match NonNull::new(address.cast::<u8>()) {
        Some(base) if base.addr().get() != usize::MAX => Ok(base),
        _ => Err(last_error()),
    }
}

/// Unmaps what `attach` mapped.
///
/// # Safety
///
/// As for `munmap`: nothing may use it any more.
pub(crate) unsafe fn detach(base: NonNull<u8>) -> Result<()> {
    // SAFETY: as the caller promises.
    if unsafe { libc::shmdt(base.as_ptr().cast()) } < 0 { Err(last_error()) } else { Ok(()) }
}

/// A setting of the kernel's for System V segments: `shmmax`.
pub(crate) fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok()
}

/// All segments, those that may not be read as well; see proc_sysvipc(5).
pub(crate) fn list() -> std::io::Result<Vec<Stat>> {
    let text = fs::read_to_string("/proc/sysvipc/shm")?;
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    Ok(lines.filter_map(|line| read(&titles, line)).collect())
}

fn read(titles: &[&str], line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let text = |title: &str| fields.get(titles.iter().position(|it| *it == title)?).copied();
    let number = |title: &str| text(title)?.parse::<i64>().ok();
    let bytes = |title: &str| text(title)?.parse::<u64>().ok();
    Some(Stat {
        id: i32::try_from(number("shmid")?).ok()?,
        key: number("key")? as i32,
        mode: u32::from_str_radix(text("perms")?, 8).ok()?,
        size: bytes("size")?,
        creator: number("cpid")? as i32,
        last: number("lpid")? as i32,
        attached: bytes("nattch")?,
        uid: number("uid")? as u32,
        gid: number("gid")? as u32,
        attached_at: number("atime")?,
        detached_at: number("dtime")?,
        changed_at: number("ctime")?,
        resident: bytes("rss"),
        swapped: bytes("swap"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_list_are_read_by_their_titles() {
        let titles: Vec<&str> =
            "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap"
                .split(' ')
                .collect();
        let stat = read(&titles, " -559038737 7 1644 5000 10 11 2 4000000000 0 0 0 1 0 3 8192 4096").unwrap();
        assert_eq!((stat.key as u32, stat.id, stat.mode, stat.size), (0xdead_beef, 7, 0o1644, 5000));
        assert_eq!((stat.uid, stat.resident, stat.swapped), (4_000_000_000, Some(8192), Some(4096)));
        assert_eq!(read(&titles, "1 2 3"), None);
        assert_eq!(read(&[], "1 2 3"), None);
    }
}
