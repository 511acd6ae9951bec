//! Locks that survive their owners, for memory that processes share.

mod backoff;
#[cfg(all(test, commons_model))]
mod checked;
mod error;
mod mutex;
mod owner;
mod permit;
pub(crate) mod primitive;
mod queue;
mod semaphore;
mod thread;
mod word;

pub use error::{LockError, LockResult, MAX_HELD, SyncError};
pub use mutex::{LockState, Mutex, MutexGuard};
pub use semaphore::{Permit, Semaphore};

pub(crate) use thread::any_held_within;
