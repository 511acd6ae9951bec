//! The file at the path that a program gives: what names the segment, and what creating and deleting lock.
//!
//! NSPR makes an empty file at the path and leaves it there. It makes a 32-bit key of the file's numbers, so that two
//! files can come to have one key. Here the segment is named by all of the file's identity: device, inode and the
//! time when it was born (inode numbers are given again; 0 where the filesystem keeps no such time). So two spellings
//! of a path are one segment, and two files never are.
//!
//! # Creating and deleting
//!
//! Deleting removes the segment and then the file. A creator that opened the file before that, and makes its segment
//! after, would make one that no path leads to: it would stay for ever. So both take a lock on the file, and whoever
//! has it looks whether the path still means this file; if not, it starts again. The lock is a byte far beyond what
//! programs lock, of the open file description: it goes when its owner ends, however that happens. A crash
//! leaves the file without its segment, or both; never the segment alone.
//!
//! Nobody waits for ever: a lock that cannot be had within `PATIENCE` (its owner is stopped), or at all (the
//! filesystem has none), is done without, and then the worst is such a segment that stays.
//!
//! Opening a segment that is there takes no lock.

use std::cell::Cell;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

/// How long somebody else's lock is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// The byte that is locked.
const LOCK: i64 = i64::MAX - 0x4e53_5052;

/// What tells one file from every other, also from those that have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: (u32, u32),
    inode: u64,
    born: (i64, u32),
}

/// The two kinds of segments that a file can stand for: NSPR's keys differ by a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Semaphore,
}

impl Kind {
    /// The other one.
    pub(crate) fn sibling(self) -> Kind {
        match self {
            Kind::Memory => Kind::Semaphore,
            Kind::Semaphore => Kind::Memory,
        }
    }
}

impl Identity {
    /// Of what the path names, links followed.
    pub(crate) fn of_path(path: &CStr) -> Result<Identity> {
        Identity::ask(libc::AT_FDCWD, path, 0)
    }

    /// Of an open file.
    fn of_file(file: &OwnedFd) -> Result<Identity> {
        Identity::ask(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
    }

    fn ask(directory: i32, path: &CStr, flags: i32) -> Result<Identity> {
        // SAFETY: plain integers, for which zero is a value.
        let mut found: libc::statx = unsafe { std::mem::zeroed() };
        let mask = libc::STATX_INO | libc::STATX_BTIME;
        // SAFETY: a string, and room for what is written.
        if unsafe { libc::statx(directory, path.as_ptr(), flags, mask, &raw mut found) } != 0 {
            return Err(Failure::last());
        }
        let known = found.stx_mask & libc::STATX_BTIME != 0;
        Ok(Identity {
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            born: if known { (found.stx_btime.tv_sec, found.stx_btime.tv_nsec) } else { (0, 0) },
        })
    }

    /// The name of the segment that this file stands for.
    pub(crate) fn segment(&self, kind: Kind) -> String {
        let (major, minor) = self.device;
        let (seconds, nanoseconds) = self.born;
        // By hand: this is a good part of what opening costs besides its system calls.
        let mut name = String::with_capacity(64);
        let numbers = [
            (major.into(), '.'),
            (minor.into(), '-'),
            (self.inode, '-'),
            (seconds as u64, '.'),
            (nanoseconds.into(), ' '),
        ];
        for (number, after) in numbers {
            push_hexadecimal(&mut name, number);
            name.push(after);
        }
        name.pop();
        if kind == Kind::Semaphore {
            name.push_str("-sem");
        }
        name
    }
}

fn push_hexadecimal(text: &mut String, number: u64) {
    let digits = (64 - (number | 1).leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let digit = (number >> (4 * place)) as usize & 15;
        text.push(char::from(b"0123456789abcdef"[digit]));
    }
}

/// The file at a path, open.
pub(crate) struct Backing<'p> {
    path: &'p CStr,
    file: OwnedFd,
    pub(crate) identity: Identity,
    /// Whether this call made the file.
    created: bool,
    locked: Cell<bool>,
}

/// Gives the lock back by name: a child that another thread forked meanwhile has a copy of the descriptor.
impl Drop for Backing<'_> {
    fn drop(&mut self) {
        if self.locked.get() {
            self.set_lock(libc::F_UNLCK);
        }
    }
}

fn open(path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOCTTY | flags;
    // SAFETY: a string.
    match unsafe { libc::open(path.as_ptr(), flags, mode) } {
        -1 => Err(Failure::last()),
        // SAFETY: just opened, nobody else's.
        number => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
    }
}

impl<'p> Backing<'p> {
    /// The file that is there.
    pub(crate) fn open(path: &'p CStr) -> Result<Backing<'p>> {
        Backing::of(path, open(path, 0, 0)?, false)
    }

    /// The same, made if there was none; its mode is subject to the umask.
    pub(crate) fn open_or_create(path: &'p CStr, mode: u32) -> Result<Backing<'p>> {
        match open(path, 0, 0) {
            Ok(file) => return Backing::of(path, file, false),
            Err(failure) if failure.system == libc::ENOENT => {}
            Err(failure) => return Err(failure),
        }
        match open(path, libc::O_CREAT | libc::O_EXCL, mode & 0o7777) {
            Ok(file) => Backing::of(path, file, true),
            // Another made it in between; or the path is a link to what is not there, which is made as well.
            Err(failure) if failure.system == libc::EEXIST => {
                Backing::of(path, open(path, libc::O_CREAT, mode & 0o7777)?, false)
            }
            Err(failure) => Err(failure),
        }
    }

    fn of(path: &'p CStr, file: OwnedFd, created: bool) -> Result<Backing<'p>> {
        let identity = Identity::of_file(&file)?;
        Ok(Backing { path, file, identity, created, locked: Cell::new(false) })
    }

    /// Takes the lock, which goes with the file. `false` if the path means another file by now: start again.
    pub(crate) fn lock(&self) -> Result<bool> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(20);
        while !self.try_lock() && begun.elapsed() < PATIENCE {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        match Identity::of_path(self.path) {
            Ok(now) => Ok(now == self.identity),
            Err(failure) if failure.system == libc::ENOENT => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// `false` if another has it; `true` also where there are no locks.
    fn try_lock(&self) -> bool {
        let taken = self.set_lock(libc::F_WRLCK);
        self.locked.set(taken);
        taken || !matches!(Failure::last().system, libc::EAGAIN | libc::EACCES | libc::EINTR)
    }

    fn set_lock(&self, kind: i32) -> bool {
        // SAFETY: plain integers, for which zero is a value.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        (lock.l_type, lock.l_whence) = (kind as i16, libc::SEEK_SET as i16);
        (lock.l_start, lock.l_len) = (LOCK, 1);
        // SAFETY: a description of a lock, which is read.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) == 0 }
    }

    /// Removes the file; the caller has the lock. That it cannot be removed is no error, as in NSPR.
    pub(crate) fn remove(&self) {
        // SAFETY: a string.
        let _ = unsafe { libc::unlink(self.path.as_ptr()) };
    }

    /// Removes the file if this call made it; the caller has the lock.
    pub(crate) fn remove_if_created(&self) {
        if self.created {
            self.remove();
        }
    }

    /// The path, from the root.
    pub(crate) fn absolute_path(&self) -> PathBuf {
        let path = Path::new(OsStr::from_bytes(self.path.to_bytes()));
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_all_of_the_identity() {
        let identity = |device, inode, born| Identity { device, inode, born };
        let one = identity((0xfe, 0), 0x0098_c0d0, (0x6b06_4080, 0x30c7_ad94));
        assert_eq!(one.segment(Kind::Memory), "fe.0-98c0d0-6b064080.30c7ad94");
        assert_eq!(one.segment(Kind::Semaphore), "fe.0-98c0d0-6b064080.30c7ad94-sem");
        let most = identity((u32::MAX, u32::MAX), u64::MAX, (-1, u32::MAX));
        for name in [one.segment(Kind::Memory), most.segment(Kind::Semaphore)] {
            assert!(commons_compat::nspr::is_segment(&name), "{name}");
        }
        let one = identity((0, 1), 0, (0, 16));
        assert_eq!(one.segment(Kind::Memory), "0.1-0-0.10");
    }
}
