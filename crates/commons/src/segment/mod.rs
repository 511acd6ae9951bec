//! Segments: named regions of memory, the namespaces that their names live in, and the attachments that
//! map them.
//!
//! | file         | holds                                                                         |
//! | ------------ | ----------------------------------------------------------------------------- |
//! | `name`       | names, and the file names that stand for them                                 |
//! | `namespace`  | directories of names: list, look, delete, sweep                               |
//! | `options`    | how segments are created and opened                                           |
//! | `protocol`   | the protocol of names, with its proof: the one delicate part; find, leave, delete, sweep |
//! | `publish`    | its creating half: complete before it has a name                              |
//! | `place`      | where a name lies: a namespace and a path                                     |
//! | `unnamed`    | complete segments that get their name later                                   |
//! | `policy`     | how long segments live, whose may be opened, how large they get               |
//! | `grow`       | making a segment larger while others are attached                             |
//! | `patience`   | trying again, for a bounded time                                              |
//! | `slot`       | where the locks lie                                                           |
//! | `reserve`    | size and memory: had in full, or an error                                     |
//! | `handle`     | `Segment`, the handle                                                         |
//! | `attach_options` | how a segment is attached                                                 |
//! | `attachment` | `Attachment`, the mapping, and how it is made                                 |
//! | `view`       | safe access to an attachment's bytes                                          |
//! | `holders`    | who holds a segment                                                           |
//! | `registry`   | which segment an object lies in, and which of its holders live                |
//! | `entry`      | looking at segments without holding them                                      |

mod attach_options;
mod attachment;
mod entry;
mod grow;
mod handle;
pub(crate) mod holders;
mod name;
mod namespace;
mod options;
mod patience;
mod place;
mod policy;
mod protocol;
mod publish;
pub(crate) mod registry;
pub(crate) mod reserve;
pub mod slot;
mod unnamed;
mod view;

pub use attach_options::AttachOptions;
pub(crate) use attach_options::Place;
pub use attachment::Attachment;
pub use entry::{Entries, Entry, Info, Look};
pub use handle::{Segment, Usage};
pub use holders::{Holder, Holders};
pub use name::Name;
pub(crate) use name::TOO_LONG;
pub use namespace::{Namespace, Sweep};
pub(crate) use options::Unfilled;
pub use options::{InitializerResult, SegmentOptions};
pub use policy::{Lifetime, OwnerPolicy};
pub use unnamed::Unnamed;
pub use view::Atomic;
