//! Locks that survive their owners, for memory that processes share.
//!
//! | for                                                            | there is                  | when somebody dies                          |
//! | -------------------------------------------------------------- | ------------------------- | ------------------------------------------- |
//! | data that one changes at a time                                | [`Mutex`]                 | the next one has it, and is told            |
//! | data that many read and one changes                            | [`RwLock`]                | readers are stepped over; of a writer the next one is told |
//! | a value that is small, changes rarely and is read all the time | [`SeqLock`]               | nothing has changed                         |
//! | so many of something, and no more                              | [`Semaphore`]             | its [`Permit`]s come back                   |
//! | waiting until data behind a mutex has changed                  | [`Condvar`]               | nobody misses a notification                |
//! | telling others that something happened                         | [`Event`], [`AutoEvent`]  | who was woken in vain passes it on          |
//! | several that go on together                                    | [`Barrier`]               | the others are told [`SyncError::Broken`]   |
//! | what is done once                                              | [`Once`], [`OnceLock`]    | the next one does it                        |
//!
//! All are valid, and unlocked, when all their bytes are zero; each one's source opens with its layout, its states, and
//! why a crash between any two steps is safe. They lie in any memory that processes share: best in a
//! [`Shared`](crate::Shared) object or through [`Attachment::object`](crate::Attachment::object), which let them find
//! their segment if it has a name: permits need that, and the rare deaths that the kernel does not tell of.
//!
//! # Forgotten guards
//!
//! A guard that is forgotten (`std::mem::forget`) leaves its lock taken until the thread ends, and the kernel's list of
//! that thread leads through it. A segment stays mapped for that, whatever is detached. Whoever maps shared memory by
//! other means and puts locks there, which takes `unsafe`, must leave it mapped until all threads have ended that forgot
//! a guard there.
//!
//! # In memory of one process
//!
//! What `new` makes works on the heap, on a stack and in a static too, for threads. Such locks are in no list of the
//! kernel's, so that safe code may free or move one whose guard was forgotten. The price: the few deaths that there are
//! without the whole process's, of a thread that returns while it has a lock, are told within 50 ms to a second, and only
//! while `/proc` can be read; giving back costs one atomic exchange more; and a forked child that finds a lock taken in
//! its copy of the memory is told that its owner died. The first to take such a lock looks where that lies. If it was
//! moved into shared memory by then, a segment or another shared mapping, it becomes a lock like all others there. To
//! make a lock in shared memory that you have mapped yourself, zero it, or write what `new` gives before anybody takes
//! it.
//!
//! # Limits
//!
//! - Thread ids mean one pid namespace; see [`Attachment::object`](crate::Attachment::object).
//! - [`MAX_HELD`] locks for each thread.
//! - No priority inheritance: the kernel's inheriting futexes and its lists of held locks do not go together across pid
//!   namespaces.
//! - A thread's first lock allocates; those after it do not, so that a child that `_Fork` made of a threaded program can lock
//!   if the thread that made it had locked before.
//! - Not for signal handlers, but for [`Semaphore::post`], [`Event::set`] and [`AutoEvent::set`].
//! - On a C library other than glibc, which has no list of its own yet, a thread's first robust `pthread_mutex_t` after its
//!   first lock here takes the list away.

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
mod place;
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
pub use report::{LockDetails, LockReport};
pub use rwlock::{ReadResult, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Permit, Semaphore};
pub use seqlock::{Bytes, SeqLock};

#[cfg(not(commons_model))]
pub(crate) use report::words;
pub(crate) use thread::any_held_within;
