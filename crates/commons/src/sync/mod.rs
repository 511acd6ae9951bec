//! Locks that survive their owners, for memory that processes share.

mod backoff;
#[cfg(all(test, commons_model))]
mod checked;
mod error;
mod mutex;
mod owner;
pub(crate) mod primitive;
mod rwlock;
mod thread;
mod word;

pub use error::{LockError, LockResult, MAX_HELD, SyncError};
pub use mutex::{LockState, Mutex, MutexGuard};
pub use rwlock::{ReadResult, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use thread::any_held_within;
