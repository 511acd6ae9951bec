//! Looking into a typed segment without attaching it: by reading its file, so that no truncation is a signal, and without
//! being its holder.

use std::os::fd::{AsFd, OwnedFd};

use super::description::{Description, LockPlace, read_file, read_from};
use crate::error::Result;
use crate::segment::Entry;
use crate::sync::LockReport;

/// A typed segment that is open for looking.
///
/// ```
/// use commons::{Namespace, Shared, shared::Inspection, sync::{LockState, Mutex}};
///
/// # let name = &format!("doc-inspection-{}", std::process::id());
/// let jobs = Shared::<Mutex<u64>>::create(name)?;
/// let guard = jobs.lock().unwrap();
/// let inspection = Inspection::open(&Namespace::from_env()?.entry(name)?)?.unwrap();
/// for lock in inspection.description().locks() {
///     let report = inspection.lock(&lock).unwrap();
///     assert!(matches!(report.state, LockState::Held { waiters: false, .. }));
/// }
/// # drop(guard);
/// # Ok::<(), commons::Error>(())
/// ```
#[derive(Debug)]
pub struct Inspection {
    fd: OwnedFd,
    description: Description,
}

impl Inspection {
    /// Looks into a segment that was [listed](crate::Namespace::list); `None` if it does not say what object it holds.
    ///
    /// # Errors
    ///
    /// As [`describe_entry`](super::describe_entry).
    pub fn open(entry: &Entry) -> Result<Option<Inspection>> {
        let (fd, size) = entry.open_to_read()?;
        let found = read_from(&|offset, bytes| read_file(fd.as_fd(), offset, bytes), size);
        Ok(found.ok().map(|(tag, text)| Inspection { fd, description: Description::new(tag, &text) }))
    }

    /// What the segment says about its object.
    pub fn description(&self) -> &Description {
        &self.description
    }

    pub(super) fn into_description(self) -> Description {
        self.description
    }

    /// What a lock is like at this moment; `None` if its kind is not known here, or its bytes are gone.
    pub fn lock(&self, lock: &LockPlace) -> Option<LockReport> {
        let mut bytes = [0; LockReport::LEN];
        let len = usize::try_from(lock.size).unwrap_or(usize::MAX).min(LockReport::LEN);
        self.read(lock.offset, &mut bytes[..len])
            .then(|| LockReport::from_bytes(&lock.kind, &bytes[..len]))?
    }

    /// Copies bytes of the segment; whether they are there.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> bool {
        read_file(self.fd.as_fd(), offset, bytes)
    }
}
