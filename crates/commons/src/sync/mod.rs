//! Locks that survive their owners, for memory that processes share.

mod backoff;
mod barrier;
#[cfg(all(test, commons_model))]
mod checked;
mod condvar;
mod error;
mod event;
mod mutex;
mod once;
mod owner;
mod permit;
pub(crate) mod primitive;
mod queue;
#[cfg(not(commons_model))]
mod report;
mod rwlock;
mod semaphore;
mod seqlock;
mod spin;
mod thread;
mod word;
mod wordwise;

pub use barrier::{Barrier, BarrierMember, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use error::{LockError, LockResult, MAX_HELD, SyncError};
pub use event::{AutoEvent, Event};
pub use mutex::{LockState, Mutex, MutexGuard};
pub use once::{Once, OnceLock};
#[cfg(not(commons_model))]
pub use report::LockReport;
pub use rwlock::{ReadResult, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Permit, Semaphore};
pub use seqlock::{Bytes, SeqLock};

#[cfg(not(commons_model))]
pub(crate) use report::words;
pub(crate) use thread::any_held_within;
