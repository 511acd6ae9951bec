//! The crate `shared_memory`.

use anyhow::Result;
use shared_memory::{Shmem, ShmemConf};

/// Creates a segment, touches it and deletes it.
pub(crate) fn create(name: &str, size: usize) -> Result<()> {
    let memory = ShmemConf::new().os_id(name).size(size).create()?;
    // SAFETY: the first byte of the mapping.
    unsafe { memory.as_ptr().write_volatile(1) };
    Ok(())
}

/// A segment that is there, until dropped.
pub(crate) struct Kept {
    name: String,
    _memory: Shmem,
}

impl Kept {
    pub(crate) fn create(name: &str, size: usize) -> Result<Kept> {
        Ok(Kept { name: name.into(), _memory: ShmemConf::new().os_id(name).size(size).create()? })
    }

    /// Opens it once more, and leaves it.
    pub(crate) fn open(&self) -> Result<()> {
        drop(ShmemConf::new().os_id(&self.name).open()?);
        Ok(())
    }
}
