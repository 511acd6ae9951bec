//! What a segment is allowed to be: how long it lives, whose may be opened, how large it can get.

use crate::sys::file::{STICKY, Stat};
use crate::sys::process;

/// How long a segment lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until the last handle and attachment, in any process, has gone. If the last one ended without detaching
    /// (`kill -9`, `exec`, `_exit`), the segment is an *orphan*: the next one to open or create that name
    /// removes it, and so does [`Namespace::sweep`](crate::Namespace::sweep).
    ///
    /// Remembered as the file's sticky bit: a `chmod` by hand that drops it makes the segment
    /// `UntilDeleted`.
    UntilLastDetach,
    /// Until somebody deletes it.
    UntilDeleted,
}

impl Lifetime {
    pub(crate) fn of(stat: &Stat) -> Lifetime {
        if stat.is_sticky() { Lifetime::UntilLastDetach } else { Lifetime::UntilDeleted }
    }

    pub(crate) fn mark(self) -> u32 {
        match self {
            Lifetime::UntilLastDetach => STICKY,
            Lifetime::UntilDeleted => 0,
        }
    }
}

/// Whose segments may be opened.
///
/// A name in a directory that others can write to may have been taken by anybody: who opens a segment
/// trusts its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnerPolicy {
    /// Only those of the effective user of this process.
    #[default]
    Me,
    /// Only those of the user with this id.
    User(u32),
    /// Anybody's, as far as their mode lets one.
    Any,
}

impl OwnerPolicy {
    #[inline]
    pub(crate) fn allows(self, stat: &Stat) -> bool {
        let owner = stat.uid;
        match self {
            // A file of root's that is for nobody else, and that was opened all the same: then this process is
            // root's, or as good as, and need not ask.
            OwnerPolicy::Me if owner == 0 && stat.mode & 0o077 == 0 => true,
            OwnerPolicy::Me => owner == process::user(),
            OwnerPolicy::User(user) => owner == user,
            OwnerPolicy::Any => true,
        }
    }
}

/// Bytes that a segment has at most: locks lie above.
pub(crate) const MOST: u64 = (1 << 60) - (1 << 30);

pub(crate) const TOO_LARGE: &str = "no segment can have that many bytes; 2^60 is far beyond any machine";
