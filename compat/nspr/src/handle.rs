//! What a handle keeps, so that it can attach the segment for as long as it lives: also when the name is deleted,
//! when the program has closed all its descriptors to become a daemon, and in a forked child.
//!
//! NSPR's handles hold no descriptor, and neither do these. They keep one page of the segment mapped, the *pin*:
//! the kernel makes a second mapping out of a shared one, of the whole segment and with the same access, when
//! `mremap` is told that the old one has no bytes. Such a mapping shares the pin's open file description, and with
//! it the slot by which others see that the segment is held. Where the kernel does not do that (an emulated one, or
//! hugetlbfs), the segment is opened anew by its name.
//!
//! An attachment for reading only comes from a description that is open for reading only, so that `mprotect` cannot
//! make it writable. It needs the segment's name: after deletion it is made out of the pin, and can be widened.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use commons::{AttachOptions, Attachment, Namespace, Segment};

use crate::attached;
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
    /// One page of the segment; `None` if it may be neither read nor written.
    pin: Option<Attachment>,
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

impl Memory {
    pub(crate) fn new(keyed: Keyed, mode: u32) -> Result<Box<Memory>> {
        let pin = match &keyed.segment {
            Some(segment) => Some(segment.attach_with(&AttachOptions::new().range(0..1))?),
            None => None,
        };
        Ok(Box::new(Memory {
            magic: MAGIC,
            pin,
            len: usize::try_from(keyed.size).map_err(|_| Failure::of(libc::ENOMEM))?,
            mode,
            owner: keyed.owner,
            name: keyed.name,
            namespace: keyed.namespace,
            file: keyed.file,
        }))
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
        let mut wanted = permission::READ;
        if !read_only {
            wanted |= permission::WRITE;
        }
        self.owner.permits(wanted | u32::from(execute))?;
        let pin = self.pin.as_ref().ok_or(Failure::of(libc::EACCES))?;
        if !read_only && pin.is_read_only() {
            return Err(Failure::of(libc::EACCES));
        }
        let address = match (read_only, pin.is_read_only()) {
            (true, false) => self.map_read_only(pin)?,
            _ => self.map(pin, read_only)?,
        };
        let protection = libc::PROT_READ | if read_only { 0 } else { libc::PROT_WRITE };
        if execute {
            // A mode with the bits of a file's type asks for this without meaning it, so it may fail.
            // SAFETY: a mapping made above, of so many bytes.
            let _ = unsafe { libc::mprotect(address, self.len, protection | libc::PROT_EXEC) };
        }
        attached::insert(address.addr(), self.len);
        Ok(address)
    }

    /// Out of the pin, with its access; by name where the kernel cannot do that.
    fn map(&self, pin: &Attachment, read_only: bool) -> Result<*mut c_void> {
        // SAFETY: no bytes of the pin are moved; the new mapping goes where nothing is mapped.
        let address = unsafe { libc::mremap(pin.as_ptr().cast(), 0, self.len, libc::MREMAP_MAYMOVE) };
        if address != libc::MAP_FAILED {
            return Ok(address);
        }
        let failure = Failure::last();
        if failure.system == libc::ENOMEM {
            return Err(failure);
        }
        let segment = keyed::find_named(&self.namespace, &self.name, self.file, read_only);
        self.map_file(&segment.ok_or(Failure::of(libc::EIDRM))?, read_only)
    }

    fn map_read_only(&self, pin: &Attachment) -> Result<*mut c_void> {
        if let Some(segment) = keyed::find_named(&self.namespace, &self.name, self.file, true) {
            return self.map_file(&segment, true);
        }
        let address = self.map(pin, true)?;
        // SAFETY: the mapping just made, of so many bytes.
        if unsafe { libc::mprotect(address, self.len, libc::PROT_READ) } != 0 {
            let failure = Failure::last();
            // SAFETY: as above; nobody knows it.
            unsafe { libc::munmap(address, self.len) };
            return Err(failure);
        }
        Ok(address)
    }

    /// The mapping holds the segment when the descriptor is gone.
    fn map_file(&self, segment: &Segment, read_only: bool) -> Result<*mut c_void> {
        let protection = libc::PROT_READ | if read_only { 0 } else { libc::PROT_WRITE };
        let descriptor = segment.as_fd().as_raw_fd();
        // SAFETY: an open descriptor; the new mapping goes where nothing is mapped.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), self.len, protection, libc::MAP_SHARED, descriptor, 0) };
        if address == libc::MAP_FAILED { Err(Failure::last()) } else { Ok(address) }
    }
}
