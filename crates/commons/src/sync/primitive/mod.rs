//! What the locks are made of: atomics, sleeping and waking, the thread's list of held locks. The real ones, or
//! those of a model checker, so that the very code that ships is what is checked.
//!
//! | built with                                 | is checked by | what it finds                                   |
//! | ------------------------------------------ | ------------- | ----------------------------------------------- |
//! | nothing                                    |               | this is what ships                              |
//! | `--cfg commons_model --cfg commons_shuttle` | shuttle      | interleavings, with threads that die or stop at any step |
//! | `--cfg commons_model --cfg commons_loom`   | loom          | the orderings of two threads                    |

#[cfg(not(commons_model))]
mod real;
#[cfg(not(commons_model))]
pub(crate) use real::*;

#[cfg(commons_model)]
pub(crate) mod model;
#[cfg(commons_model)]
pub(crate) use model::*;

pub(crate) use std::sync::atomic::Ordering;

/// Whether this is a model: nothing times out then, so that a lost wake-up shows as a deadlock.
pub(crate) const MODEL: bool = cfg!(commons_model);

/// `const` in what ships; a model's atomics cannot be made in a constant.
macro_rules! constructor {
    ($(#[$attribute:meta])* $visibility:vis fn new($($parameter:ident: $type:ty),*) -> Self $body:block) => {
        #[cfg(not(commons_model))]
        $(#[$attribute])*
        $visibility const fn new($($parameter: $type),*) -> Self $body
        #[cfg(commons_model)]
        $(#[$attribute])*
        $visibility fn new($($parameter: $type),*) -> Self $body
    };
}
pub(crate) use constructor;
