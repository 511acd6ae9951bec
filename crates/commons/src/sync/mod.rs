//! Locks that survive their owners, for memory that processes share.

mod backoff;
#[cfg(all(test, commons_model))]
mod checked;
mod error;
mod mutex;
mod owner;
pub(crate) mod primitive;
#[cfg(not(commons_model))]
mod report;
mod rwlock;
mod thread;
mod word;

pub use error::{LockError, LockResult, MAX_HELD, SyncError};
pub use mutex::{LockState, Mutex, MutexGuard};
#[cfg(not(commons_model))]
pub use report::LockReport;
pub use rwlock::{ReadResult, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[cfg(not(commons_model))]
pub(crate) use report::words;
pub(crate) use thread::any_held_within;
