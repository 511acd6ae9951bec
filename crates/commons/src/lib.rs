//! Named memory that programs share, safe when one of them dies in the middle.
//!
//! A *segment* is a named region of memory. Programs create or open it by name, and *attach* it: map it, at
//! the speed of memory. The kernel, not a registry or a daemon, knows who holds a segment, so that a
//! `kill -9` at any moment leaves nothing half-made, nothing stuck, and nothing that one
//! [sweep](Namespace::sweep) does not remove.
//!
//! ```
//! use commons::Segment;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! // The first process to come makes it, the others open it; nobody can see it half-made.
//! # let name = &format!("doc-lib-{}", std::process::id());
//! let segment = Segment::open_or_create(name, 1 << 20)?;
//! let memory = segment.attach()?;
//!
//! let visits = &memory.atomics::<AtomicU64>(..8)?[0];
//! visits.fetch_add(1, Relaxed);
//! memory.write_at(8, b"what all of them can read")?;
//! # Ok::<(), commons::Error>(())
//! # // It goes with its last holder, however that one ends.
//! ```
//!
//! Or with a type, under which every program has to know it:
//!
//! ```
//! use commons::Shared;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! # let name = format!("doc-lib-shared-{}", std::process::id());
//! # /*
//! let hits = Shared::<AtomicU64>::open_or_create("hits")?;
//! # */ let hits = Shared::<AtomicU64>::open_or_create(name)?;
//! hits.fetch_add(1, Relaxed);
//! # Ok::<(), commons::Error>(())
//! ```
//!
//! # Where to look
//!
//! - [`Shared`]: an object under a name, of a type that is checked; [`Shareable`]: what can be one.
//! - [`sync`]: locks that survive their owners.
//! - [`Segment`] and [`SegmentOptions`]: create, open, grow, delete; how long it lives ([`Lifetime`]).
//! - [`Attachment`] and [`AttachOptions`]: the memory itself; safe views, [`guard`](Attachment::guard).
//! - [`Namespace`]: where names live; list, sweep.
//! - [`shared`]: what a segment says about its object, also to programs that do not know the type; who has its locks.
//! - [`snapshot`]: save a segment to a file, and load it.
//! - [`sysv`]: the kernel's System V segments, through the same [`Attachment`].
//! - [`Error`]: what can go wrong, with what to do about it.
//!
//! # Promises and limits
//!
//! - A segment is its bytes: no header. One that is named `x` in the default namespace is `/dev/shm/x`, which
//!   any program opens with `shm_open("/x")`, and segments made that way are opened here.
//! - Memory is reserved when a segment is created: no space is an error then, not a `SIGBUS` later.
//! - Segments have exactly the mode asked for, 0600 at first; those of other users are not opened unless
//!   [allowed](OwnerPolicy); symbolic links are never followed.
//! - Programs that use the same names without Commons are not seen as holders, and one that calls
//!   `shm_unlink` and creates the name anew in the very instant in which Commons removes it can lose its
//!   new name. Forks by raw `clone` or `_Fork` are not noticed: the segment is given up when the first of
//!   the two leaves.
//!
//! # Features
//!
//! All off by default. `tracing`: events for the `tracing` crate: creations, names removed, sweeps. `zstd`:
//! compressed snapshots. `zerocopy`, `bytemuck`: plain data that those crates vouch for in shared objects.

#![cfg_attr(commons_model, allow(dead_code, unused_imports, reason = "a model has its own system"))]

mod error;
mod segment;
#[cfg(not(commons_model))]
pub mod shared;
pub mod snapshot;
pub mod sync;
mod sys;
#[cfg(target_os = "linux")]
pub mod sysv;

pub use error::{Attempt, Error, Limit, NotASegment, Result};
#[doc(hidden)]
pub use segment::Unnamed;
pub use segment::{
    Atomic, AttachOptions, Attachment, Entries, Entry, Holder, Holders, Info, InitializerResult, Lifetime,
    Look, Name, Namespace, OwnerPolicy, Segment, SegmentOptions, Sweep, Usage, slot,
};
#[cfg(not(commons_model))]
pub use shared::{Shareable, Shared, SharedOptions};

/// An event for `tracing`, if that feature is on.
macro_rules! trace {
    ($($event:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::trace!($($event)*);
    }};
}
use trace;
