//! What can go wrong with locks.

use std::fmt;

/// Why a lock, a permit or another object could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// Somebody else has it, and the call was one that does not wait.
    #[error("somebody else has it at the moment; wait for it, or try again")]
    WouldBlock,

    /// Somebody else still had it when the time was over.
    #[error(
        "not to be had in time: somebody else has it, or nobody gave it; 'commons locks' shows who has what"
    )]
    TimedOut,

    /// This thread has it already, so that waiting for it would never end.
    #[error("this thread has it already; drop the guard that it has first")]
    WouldDeadlock,

    /// Its owner died, and whoever took it over then gave it up without mending the data.
    #[error(
        "its owner died, and nobody has made the data good; mend it and call 'reset', or make the segment anew"
    )]
    Unrecoverable,

    /// This thread holds as many locks as the kernel would look after if it died.
    #[error("this thread holds {MAX_HELD} locks, and may not hold more; drop some guards")]
    TooManyLocks,

    /// A participant died or left, so that the others wait in vain.
    #[error("a participant died or left; 'reset' it and let everybody join anew")]
    Broken,

    /// As many as there is room for take part already.
    #[error("there is no room for more; wait until somebody leaves")]
    Full,

    /// Participants that disagree, or a number out of its range.
    #[error("{0}")]
    Mismatch(&'static str),

    /// The object does not lie in a segment that Commons attached, so that nobody could tell whether a holder
    /// still lives.
    #[error(
        "it lies in no segment with a name that Commons attached here as an object, so that a holder's death would go unnoticed; use Shared or Attachment::object there, or calls without a permit"
    )]
    NoSegment,

    /// The system, or the C library, has no list of held locks that could be used, so that an owner's death
    /// would go unnoticed.
    #[error("this system cannot tell when an owner dies: {0}")]
    Unsupported(&'static str),
}

/// How many locks, readers' ones included, a thread can hold at a time: the kernel looks after 2048 of those
/// that a thread has when it dies, including the C library's own.
pub const MAX_HELD: usize = 1920;

impl SyncError {
    /// The operating system's code for it, as a C function would return it.
    pub fn raw_os_error(self) -> i32 {
        match self {
            SyncError::WouldBlock => libc::EBUSY,
            SyncError::TimedOut => libc::ETIMEDOUT,
            SyncError::WouldDeadlock => libc::EDEADLK,
            SyncError::Unrecoverable => libc::ENOTRECOVERABLE,
            SyncError::TooManyLocks | SyncError::Full => libc::EAGAIN,
            SyncError::Broken => libc::EOWNERDEAD,
            SyncError::Mismatch(_) | SyncError::NoSegment => libc::EINVAL,
            SyncError::Unsupported(_) => libc::ENOTSUP,
        }
    }
}

/// What became of an attempt to lock.
pub type LockResult<G> = Result<G, LockError<G>>;

/// A lock that was not had, or that was had together with the news that its last owner died.
pub enum LockError<G> {
    /// The owner before died while it had the lock, so that the data may be half changed. The lock is had: mend
    /// the data, then call the guard's `recover`. Dropping the guard without that makes the lock
    /// [unrecoverable](SyncError::Unrecoverable).
    OwnerDied(G),
    /// The lock was not had.
    Failed(SyncError),
}

impl<G> LockError<G> {
    /// Why the lock was not had; for [`OwnerDied`](LockError::OwnerDied) the guard.
    pub fn failed(self) -> Result<SyncError, G> {
        match self {
            LockError::OwnerDied(guard) => Err(guard),
            LockError::Failed(error) => Ok(error),
        }
    }

    pub(super) fn map<H>(self, change: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            LockError::OwnerDied(guard) => LockError::OwnerDied(change(guard)),
            LockError::Failed(error) => LockError::Failed(error),
        }
    }
}

impl<G> From<SyncError> for LockError<G> {
    fn from(error: SyncError) -> LockError<G> {
        LockError::Failed(error)
    }
}

impl<G> fmt::Debug for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied(_) => f.write_str("OwnerDied(..)"),
            LockError::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied(_) => f.write_str("the owner before died; mend the data and call 'recover'"),
            LockError::Failed(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<G> std::error::Error for LockError<G> {}
