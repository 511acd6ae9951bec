//! Objects with a type in shared memory: what may be shared, how it is told apart, and [`Shared`], an object under a
//! name.
//!
//! # What may be shared
//!
//! | trait         | means                                                                                        |
//! | ------------- | -------------------------------------------------------------------------------------------- |
//! | [`Shareable`] | a fixed layout without addresses, every bit pattern a value: what may lie in shared memory   |
//! | [`InPlace`]   | may be looked at while others change it: atomics, locks, structures of these                 |
//! | [`NoPadding`] | plain data without gaps, which can be copied word by word                                    |
//!
//! The first two come with `#[derive(Shareable)]`, the third with `#[derive(NoPadding)]`. With the features `zerocopy`
//! and `bytemuck`, `Zerocopy<T>` and `Bytemuck<T>` take over what those crates vouch for.
//!
//! # What stands in the segment
//!
//! | bytes                           | what                                                           |
//! | ------------------------------- | -------------------------------------------------------------- |
//! | from 0                          | the object, as a C program sees its struct                     |
//! | behind it, from a multiple of 8 | its layout as text                                             |
//! | the last 64                     | a tag: where the text is, and a fingerprint of it              |
//!
//! The text has a line for the type, and one for each field, with its offset from the beginning of the object, its type
//! and its size; what is in a field is indented beneath it; a lock has `lock` at the end of its line:
//!
//! ```text
//! struct Stats size 144 align 8
//!   0 hits AtomicU64 8
//!   8 total Mutex<Totals> 56 lock
//!     48 data Totals 16
//!       48 count u64 8
//!       56 sum f64 8
//!   64 slots [Slot; 10] 80
//!     64 [0..10] Slot 8
//!       64 owner AtomicU32 4
//!       68 state AtomicU32 4
//! ```
//!
//! The tag, in little-endian numbers:
//!
//! | bytes    | what                                                              |
//! | -------- | ----------------------------------------------------------------- |
//! | 0 to 7   | `0x7f`, `Commons`                                                 |
//! | 8 to 11  | 1, the version of tag and text                                    |
//! | 12 to 15 | the object's alignment                                            |
//! | 16 to 23 | the object's size                                                 |
//! | 24 to 31 | the fingerprint: FNV-1a, of 64 bits, over the text                |
//! | 32 to 39 | where the text begins                                             |
//! | 40 to 43 | how many bytes it has                                             |
//! | 44 to 63 | zero                                                              |
//!
//! Names are those in the source, and offsets are what they are: so the fingerprint does not depend on the compiler, and
//! programs of 32 and 64 bits share what both lay out alike.

mod description;
mod difference;
mod handle;
mod inspection;
mod layout;
mod locks;
mod object;
mod options;
#[cfg(any(feature = "zerocopy", feature = "bytemuck"))]
mod plain;
mod release;
mod tag;
mod traits;

pub use commons_derive::{NoPadding, Shareable};
pub use description::{Description, LockPlace, Part, describe, describe_entry};
pub(crate) use difference::write_wrong_layout;
pub use handle::{Shared, SharedReader};
pub use inspection::Inspection;
pub use layout::{Argument, Field, Layout};
pub use options::SharedOptions;
#[cfg(feature = "bytemuck")]
pub use plain::Bytemuck;
#[cfg(feature = "zerocopy")]
pub use plain::Zerocopy;
pub use release::{Released, release_abandoned, release_by_force};
pub use traits::{InPlace, NoPadding, Shareable};
