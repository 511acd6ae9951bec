//! Making, finding and leaving segments: what the promises of the protocol of names cost over plain POSIX
//! calls, and how large segments and large namespaces fare.

mod create;
mod descriptors;
mod first_message;
mod huge;
mod many;
mod open;
mod orphans;
mod reserve;

use std::time::Instant;

use anyhow::Result;
use commons::{AttachOptions, Attachment, Segment};

use super::Table;
use crate::harness::nanoseconds;

pub(super) static TABLE: Table = Table {
    name: "lifecycle",
    about: "what names, lifetimes and reservation cost",
    works: &[
        ("creating and deleting", create::measure),
        ("opening", open::measure),
        ("counting descriptors", descriptors::measure),
        ("filling a namespace", many::measure),
        ("sweeping orphans", orphans::measure),
        ("touching in huge pages", huge::measure),
        ("reserving", reserve::measure),
        ("a first message", first_message::measure),
    ],
    roles: &[(open::HOLDER, open::hold), (orphans::VICTIM, orphans::litter), (huge::MOUNT, huge::mount)],
};

/// Bytes of a small page.
const PAGE: usize = 4096;

/// Writes one byte into each small page.
fn touch(attachment: &Attachment) {
    for offset in (0..attachment.len()).step_by(PAGE) {
        // SAFETY: within the attachment, which is writable.
        unsafe { attachment.as_ptr().add(offset).write_volatile(1) };
    }
}

/// Creates a segment, attaches it and touches all its pages. Gives nanoseconds for attaching and touching, and
/// for all of it; detaching and deleting are not timed.
fn create_and_touch(
    create: impl FnOnce() -> commons::Result<Segment>,
    how: &AttachOptions,
) -> Result<[f64; 2]> {
    let started = Instant::now();
    let segment = create()?;
    let created = Instant::now();
    let attachment = segment.attach_with(how)?;
    touch(&attachment);
    Ok([nanoseconds(created), nanoseconds(started)])
}
