//! System V calls as a program makes them, through libc: the kernel's, or whoever's was loaded before libc.

use std::io::{Error, Result};
use std::ptr::{null, null_mut};

const MODE: libc::c_int = 0o600;

/// Keeps System V objects of this process and all its children apart from the machine's, so that none is left.
/// Needs root.
pub(crate) fn unshare() -> Result<()> {
    // SAFETY: there is one thread yet, and no memory is unshared.
    check(unsafe { libc::unshare(libc::CLONE_NEWIPC) }).map(drop)
}

fn check(returned: libc::c_int) -> Result<libc::c_int> {
    if returned < 0 { Err(Error::last_os_error()) } else { Ok(returned) }
}

/// A segment; removed when dropped.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: libc::c_int,
}

impl Segment {
    /// Makes one; `IPC_PRIVATE` is a key as well.
    pub(crate) fn create(key: libc::key_t, size: usize) -> Result<Segment> {
        // SAFETY: touches no memory.
        let id = check(unsafe { libc::shmget(key, size, libc::IPC_CREAT | libc::IPC_EXCL | MODE) })?;
        Ok(Segment { id })
    }

    /// The id of one that is there.
    pub(crate) fn find(key: libc::key_t) -> Result<libc::c_int> {
        // SAFETY: touches no memory.
        check(unsafe { libc::shmget(key, 0, MODE) })
    }

    pub(crate) fn attach(id: libc::c_int) -> Result<*mut u8> {
        // SAFETY: without an address, nothing is replaced.
        let address = unsafe { libc::shmat(id, null(), 0) };
        if address.addr() == usize::MAX { Err(Error::last_os_error()) } else { Ok(address.cast()) }
    }

    /// `address` is from [`Segment::attach`], and used no more.
    pub(crate) fn detach(address: *mut u8) -> Result<()> {
        // SAFETY: as the callers vouch.
        check(unsafe { libc::shmdt(address.cast()) }).map(drop)
    }

    /// How many are attached.
    pub(crate) fn attached(id: libc::c_int) -> Result<u64> {
        // SAFETY: all-zero bytes are a valid value of this structure.
        let mut status: libc::shmid_ds = unsafe { std::mem::zeroed() };
        // SAFETY: the call fills the structure.
        check(unsafe { libc::shmctl(id, libc::IPC_STAT, &raw mut status) })?;
        Ok(status.shm_nattch)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: touches no memory.
        unsafe { libc::shmctl(self.id, libc::IPC_RMID, null_mut()) };
    }
}

/// A set of semaphores; removed when dropped.
#[derive(Debug)]
pub(crate) struct Semaphores {
    id: libc::c_int,
}

impl Semaphores {
    pub(crate) fn create(count: libc::c_int) -> Result<Semaphores> {
        // SAFETY: touches no memory.
        let id = check(unsafe { libc::semget(libc::IPC_PRIVATE, count, libc::IPC_CREAT | MODE) })?;
        Ok(Semaphores { id })
    }

    #[inline]
    pub(crate) fn change(&self, number: u16, by: i16, flags: libc::c_int) -> Result<()> {
        let mut change = libc::sembuf { sem_num: number, sem_op: by, sem_flg: flags as libc::c_short };
        // SAFETY: one operation, which lives as long as the call.
        check(unsafe { libc::semop(self.id, &raw mut change, 1) }).map(drop)
    }
}

impl Drop for Semaphores {
    fn drop(&mut self) {
        // SAFETY: touches no memory.
        unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) };
    }
}
