//! `shmdt`.

use libc::c_int;

use super::maps::{self, Piece};
use super::records::{self, Attached};
use super::{PAGE, file, foreign, times};
use crate::kernel;
use crate::quiet::Quiet;

/// Unmaps the attachment that begins at an address.
pub(crate) fn detach(address: usize) -> Result<(), c_int> {
    if address % PAGE != 0 {
        return Err(libc::EINVAL);
    }
    if foreign::detach(address) {
        return Ok(());
    }
    let quiet = Quiet::new();
    let gone = match records::find(address) {
        Some(attached) if !attached.is_dirty() => {
            kernel::unmap(address, attached.len)?;
            records::remove(address);
            attached
        }
        None if !records::any_dirty() => return Err(libc::EINVAL),
        known => detach_changed(address, known)?,
    };
    left(&gone);
    drop(quiet);
    Ok(())
}

/// What follows when an attachment of this process's has gone.
fn left(gone: &Attached) {
    let Some((word, _, entry)) = gone.table.get(gone.id) else { return };
    times::detached(entry);
    file::finish(gone.table, entry, word, Some(gone.slot));
}

/// The same for what may have been moved, or unmapped or protected in part: as the kernel does it, which looks for a
/// mapping of a segment that lies as far behind the address as its bytes lie in the segment, and unmaps all such ones of
/// that segment.
#[cold]
fn detach_changed(address: usize, known: Option<Attached>) -> Result<Attached, c_int> {
    let mut pieces: Vec<Piece> = Vec::new();
    maps::each(&mut |piece| {
        if is_attached(piece.id) {
            pieces.push(*piece);
        }
    })?;
    let found = pieces.iter().find(|piece| piece.start >= address && piece.base() == Some(address)).copied();
    let moved = found.and_then(|found| {
        let same = |attached: &Attached| attached.id == found.id;
        known.filter(same).or_else(|| {
            records::all().find(|attached| {
                // One that is not where it began any more.
                same(attached)
                    && attached.is_dirty()
                    && !pieces
                        .iter()
                        .any(|piece| piece.id == attached.id && piece.base() == Some(attached.address))
            })
        })
    });
    if let (Some(found), Some(attached)) = (found, moved) {
        for piece in &pieces {
            let of_it = piece.inode == found.inode && piece.base() == Some(address);
            if of_it && piece.start < address + attached.len {
                kernel::unmap(piece.start, piece.end - piece.start)?;
            }
        }
        records::remove(attached.address);
        drop_gone(&pieces, address);
        return Ok(attached);
    }
    drop_gone(&pieces, address);
    Err(libc::EINVAL)
}

/// Drops the records of which nothing is mapped any more; `address` is where nothing of the like is left.
fn drop_gone(pieces: &[Piece], address: usize) {
    let gone: Vec<Attached> = records::all()
        .filter(Attached::is_dirty)
        .filter(|attached| {
            !pieces.iter().any(|piece| piece.id == attached.id && piece.base() != Some(address))
        })
        .collect();
    for attached in gone {
        records::remove(attached.address);
        left(&attached);
    }
}

fn is_attached(id: c_int) -> bool {
    records::all().any(|attached| attached.id == id)
}

/// As the program ends: says when and who, and finishes the removal of what only this process still holds.
///
/// Threads may go on until the very end, and use what is attached. So a removed segment is not unmapped, but mapped anew
/// from a description that does not hold it: the memory stays as long as the process does, and the name goes now.
pub(crate) fn at_exit() {
    if records::count() == 0 {
        return;
    }
    let _quiet = Quiet::new();
    for attached in records::all() {
        let Some((word, _, entry)) = attached.table.get(attached.id) else { continue };
        times::detached(entry);
        if !word.is_removed() || attached.is_dirty() {
            continue;
        }
        let access = if attached.is_read_only() { libc::O_RDONLY } else { libc::O_RDWR };
        let Ok(file) = kernel::open(attached.table.file(attached.id).as_c_str(), access) else { continue };
        let how = libc::MAP_SHARED | libc::MAP_FIXED;
        let _ = kernel::map(attached.address, attached.len, attached.protection(), how, &file, 0);
        drop(file);
        file::finish(attached.table, entry, word, Some(attached.slot));
    }
}
