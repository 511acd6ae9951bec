//! What a handle keeps, so that it can attach the segment for as long as it lives: also when the name is deleted,
//! when the program has closed all its descriptors to become a daemon, and in a forked child.
//!
//! NSPR's handles hold no descriptor, and neither do these. They keep the segment mapped: the *spare*, which
//! is lent to the program as its first attachment ([`attached`](crate::attached)). By it others see which processes
//! have the segment; it is not counted among the holders otherwise, since its life does not depend on them, and that
//! spares a good part of what opening costs. Further attachments come from the segment's name; when that is gone, from
//! the spare:
//! the kernel makes a second mapping out of a shared one, with the same access, when `mremap` is told that the
//! old one has no bytes.
//!
//! An attachment for reading only comes from a description that is open for reading only, so that `mprotect` cannot
//! make it writable. It needs the segment's name: after deletion it is made out of the spare, and can be widened.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use commons::{Namespace, Segment};

use crate::attached::{self, Slot};
use crate::failure::{Failure, Result};
use crate::keyed::{self, Keyed};
use crate::permission::{self, Owner};

/// What a handle's memory begins with.
const MAGIC: u64 = 0x636f_6d6d_6f6e_7368;

/// Bits of the mode given at opening that `shmat` takes for its own flags, since NSPR hands it the mode.
const MODE_READ_ONLY: u32 = 0o10000;
const MODE_REMAP: u32 = 0o40000;
const MODE_EXECUTE: u32 = 0o100000;

/// A handle: `PRSharedMemory`.
#[derive(Debug)]
#[repr(C)]
pub struct Memory {
    magic: u64,
    /// `None` if the segment may be neither read nor written.
    spare: Option<&'static Slot>,
    /// Whether the spare can be written.
    writable: bool,
    /// Bytes.
    len: usize,
    /// As given at opening.
    mode: u32,
    owner: Owner,
    name: String,
    namespace: Namespace,
    /// Device and inode of the segment's file.
    file: (u64, u64),
}

fn protection(read_only: bool) -> i32 {
    libc::PROT_READ | if read_only { 0 } else { libc::PROT_WRITE }
}

/// Maps the whole segment. The mapping holds it when the descriptor is gone.
fn map(segment: &Segment, len: usize, read_only: bool) -> Result<*mut c_void> {
    let (protection, descriptor) = (protection(read_only), segment.as_fd().as_raw_fd());
    // SAFETY: an open descriptor; the new mapping goes where nothing is mapped.
    let address = unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, descriptor, 0) };
    if address == libc::MAP_FAILED { Err(Failure::last()) } else { Ok(address) }
}

impl Memory {
    pub(crate) fn new(keyed: Keyed, mode: u32) -> Result<Box<Memory>> {
        let len = usize::try_from(keyed.size).map_err(|_| Failure::of(libc::ENOMEM))?;
        let writable = keyed.is_writable();
        let spare = match &keyed.segment {
            Some(segment) => Some(attached::note_spare(map(segment, len, !writable)?, len)),
            None => None,
        };
        let Keyed { name, namespace, owner, file, .. } = keyed;
        Ok(Box::new(Memory { magic: MAGIC, spare, writable, len, mode, owner, name, namespace, file }))
    }

    /// The handle behind a program's pointer.
    ///
    /// # Safety
    ///
    /// `handle` is null, or points to 8 bytes that may be read; if these are a handle's, nothing closes it while the
    /// result is used.
    pub(crate) unsafe fn of<'h>(handle: *mut Memory) -> Result<&'h Memory> {
        // SAFETY: as the caller promises.
        let valid =
            !handle.is_null() && handle.is_aligned() && unsafe { ptr::read(handle.cast::<u64>()) } == MAGIC;
        if !valid {
            return Err(Failure::of(libc::EINVAL));
        }
        // SAFETY: not null, aligned, and begins as handles do.
        Ok(unsafe { &*handle })
    }

    /// Gives the handle up. What is attached stays.
    ///
    /// # Safety
    ///
    /// As for [`of`](Memory::of); nothing uses the handle after this.
    pub(crate) unsafe fn close(handle: *mut Memory) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { Memory::of(handle) }?;
        // SAFETY: a handle, which `new` boxed, and nobody else's any more.
        let mut memory = unsafe { Box::from_raw(handle) };
        if let Some(spare) = memory.spare {
            spare.close();
        }
        // So that a second closing finds none, as long as nothing else has the memory.
        // SAFETY: our own field; written although nothing reads it before it is given back.
        unsafe { ptr::write_volatile(&raw mut memory.magic, 0) };
        Ok(())
    }

    /// Maps the whole segment.
    pub(crate) fn attach(&self, read_only: bool) -> Result<*mut c_void> {
        if self.mode & MODE_REMAP != 0 {
            return Err(Failure::of(libc::EINVAL));
        }
        let read_only = read_only || self.mode & MODE_READ_ONLY != 0;
        let execute = self.mode & MODE_EXECUTE != 0;
        let wanted = permission::READ | if read_only { 0 } else { permission::WRITE } | u32::from(execute);
        self.owner.permits(wanted)?;
        let denied = Failure::of(libc::EACCES);
        let spare = self.spare.filter(|_| read_only || self.writable).ok_or(denied)?;
        let address = self.find(spare, read_only)?;
        if execute {
            // A mode with the bits of a file's type asks for this without meaning it, so it may fail.
            // SAFETY: a mapping made above, of so many bytes.
            let _ = unsafe { libc::mprotect(address, self.len, protection(read_only) | libc::PROT_EXEC) };
        }
        Ok(address)
    }

    fn find(&self, spare: &Slot, read_only: bool) -> Result<*mut c_void> {
        if read_only != self.writable {
            if let Some(address) = spare.lend(protection(read_only))? {
                return Ok(address);
            }
        }
        let segment = keyed::find_named(&self.namespace, &self.name, self.file, read_only);
        let address = match segment {
            Some(segment) => map(&segment, self.len, read_only)?,
            None => self.double(spare, read_only)?,
        };
        attached::note(address, self.len);
        Ok(address)
    }

    /// A second mapping out of the spare.
    fn double(&self, spare: &Slot, read_only: bool) -> Result<*mut c_void> {
        // Another thread is between two steps with it, for an instant.
        let from = (0..1000).find_map(|_| {
            let address = spare.address();
            if address.is_none() {
                std::thread::yield_now();
            }
            address
        });
        let from = from.ok_or(Failure::of(libc::EINVAL))?;
        // SAFETY: no bytes of the spare are moved; the new mapping goes where nothing is mapped.
        let address = unsafe { libc::mremap(from, 0, self.len, libc::MREMAP_MAYMOVE) };
        if address == libc::MAP_FAILED {
            return Err(Failure::last());
        }
        // It may be hidden just then, or be writable.
        // SAFETY: the mapping just made, of so many bytes.
        if unsafe { libc::mprotect(address, self.len, protection(read_only)) } != 0 {
            let failure = Failure::last();
            // SAFETY: as above; nobody knows it.
            unsafe { libc::munmap(address, self.len) };
            return Err(failure);
        }
        Ok(address)
    }
}
