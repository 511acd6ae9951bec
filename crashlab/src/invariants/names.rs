//! What must be true of named segments, whatever happened: nothing half-made is seen, nothing lost that lived.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use commons::{Attachment, Error, Lifetime, SegmentOptions};

use crate::flaw::{Check, Flaw, Must, ensure};
use crate::world::World;

/// The bytes of a segment of the experiments.
pub(crate) const SIZE: u64 = 8192;
const MARK: u64 = 0x5eed_0000_c0ff_ee00;

/// Options for the experiments' segments: filled with a pattern before anybody can see them.
pub(crate) fn options(world: &World) -> SegmentOptions<'static> {
    SegmentOptions::new()
        .size(SIZE)
        .namespace(world.namespace())
        .patience(Duration::from_millis(50))
        .initialize(|bytes| {
            fill(bytes);
            Ok(())
        })
}

/// The same, that stay until they are deleted.
pub(crate) fn staying(world: &World) -> SegmentOptions<'static> {
    options(world).lifetime(Lifetime::UntilDeleted)
}

/// The bytes of a segment that is whole.
static PATTERN: [u8; SIZE as usize] = {
    let mut bytes = [0; SIZE as usize];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = (MARK + index as u64 / 8).to_ne_bytes()[index % 8];
        index += 1;
    }
    bytes
};

/// Copied, so that it takes few instructions.
pub(crate) fn fill(bytes: &mut [u8]) {
    for (place, pattern) in bytes.chunks_mut(256).zip(PATTERN.chunks(256)) {
        place.copy_from_slice(&pattern[..place.len()]);
    }
}

/// What stands at this word of a segment that is whole; what was added by growing is zero.
fn expected(index: usize) -> u64 {
    if (index as u64) * 8 < SIZE { MARK + index as u64 } else { 0 }
}

/// What is attached is whole.
pub(crate) fn is_whole(attachment: &Attachment) -> Check {
    let words = attachment.atomics::<AtomicU64>(..).must("view")?;
    ensure(words.len() as u64 * 8 >= SIZE, || format!("attached {} words only", words.len()))?;
    for (index, word) in words.iter().enumerate() {
        let found = word.load(Relaxed);
        ensure(found == expected(index), || format!("word {index} is {found:#x}"))?;
    }
    Ok(())
}

/// As a program without Commons sees it: there is no such file, or it is complete. Whether there is one.
pub(crate) fn seen_from_outside(world: &World, name: &str) -> Result<bool, Flaw> {
    let file = match std::fs::File::open(world.path(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Flaw::wrong(format!("the file cannot be opened: {error}"))),
    };
    let metadata = file.metadata().must("stat")?;
    ensure(metadata.len() >= SIZE, || format!("half-made: {} bytes", metadata.len()))?;
    ensure(metadata.mode() & 0o777 == 0o600, || format!("half-made: mode {:o}", metadata.mode()))?;
    let mut bytes = vec![0; metadata.len() as usize];
    file.read_exact_at(&mut bytes, 0).must("read")?;
    for (index, word) in bytes.chunks_exact(8).enumerate() {
        let found = u64::from_ne_bytes(word.try_into().expect("eight bytes"));
        ensure(found == expected(index), || format!("half-made: word {index} is {found:#x}"))?;
    }
    Ok(true)
}

/// Opens, if it is there, and looks whether it is whole. Whether it was there.
pub(crate) fn opened(world: &World, name: &str) -> Result<bool, Flaw> {
    match options(world).open(name) {
        Ok(segment) => {
            let attachment = segment.attach().must("attach")?;
            is_whole(&attachment)?;
            Ok(true)
        }
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(Flaw::wrong(format!("open: {error}"))),
    }
}

/// The name can be used as if nothing had happened: there is one whole segment under it, made or opened.
pub(crate) fn usable(world: &World, name: &str) -> Check {
    let segment = options(world).open_or_create(name).must("open or create")?;
    let attachment = segment.attach().must("attach")?;
    is_whole(&attachment)?;
    ensure(seen_from_outside(world, name)?, || "a held segment has no name".to_owned())
}

/// What somebody does while another one is stopped: comes to an end within its patience, and sees nothing half-made.
pub(crate) fn used_meanwhile(world: &World) -> Check {
    let begun = std::time::Instant::now();
    match options(world).open_or_create("x") {
        Ok(segment) => match segment.attach() {
            Ok(attachment) => is_whole(&attachment)?,
            Err(error) => return Err(Flaw::wrong(format!("attach: {error}"))),
        },
        // Only a process that is stopped between two steps can be the reason, and it is told as that.
        Err(Error::Busy { .. }) => {}
        Err(error) => return Err(Flaw::wrong(format!("open or create: {error}"))),
    }
    world.namespace().sweep().must("sweep")?;
    seen_from_outside(world, "x")?;
    ensure(begun.elapsed() < Duration::from_secs(1), || {
        format!("took {:?} beside a stopped process", begun.elapsed())
    })
}
