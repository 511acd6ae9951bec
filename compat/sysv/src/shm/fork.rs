//! A forked child's attachments: each gets a description of its own, mapped over what the child inherited, so that it
//! counts, and goes with the child.
//!
//! Runs in the child of any program, threaded or not: makes system calls, and takes no lock and no memory. Where a
//! segment cannot be opened (the program has changed its root directory, or its user), the inherited mapping stays: it
//! works, and is counted together with the parent's.

use super::records::{self, Attached};
use super::{file, maps, memory_lock, slots, times};
use crate::kernel::{self, Descriptor};

/// In a forked child, before anything else of the program's runs there.
pub(crate) fn in_child() {
    kernel::forget_pid();
    slots::forget_process();
    memory_lock::forget_all();
    if records::count() == 0 {
        return;
    }
    if records::any_dirty() {
        take_over_pieces();
    } else {
        records::all().for_each(|attached| take_over(&attached));
    }
}

/// Maps all of an attachment anew.
fn take_over(attached: &Attached) {
    let Some(file) = hold(attached) else { return };
    let how = libc::MAP_SHARED | libc::MAP_FIXED;
    let _ = kernel::map(attached.address, attached.len, attached.protection(), how, &file, 0);
}

/// A description of the child's own.
fn hold(attached: &Attached) -> Option<Descriptor> {
    let (_, _, entry) = attached.table.get(attached.id)?;
    let access = if attached.is_read_only() { libc::O_RDONLY } else { libc::O_RDWR };
    let (file, slot) = file::hold(attached.table, entry, attached.id, access).ok()?;
    records::set_slot(attached.address, slot);
    times::attached(entry, kernel::own_pid(), kernel::parent());
    Some(file)
}

/// Attachments whose descriptions are open while the pieces are gone through.
const TOGETHER: usize = 64;

/// Maps anew what the kernel says is mapped: pieces, moved ones, with the protection that they have.
fn take_over_pieces() {
    // Where an attachment begins, and what it is of.
    let mut open: [Option<(usize, i32, Descriptor)>; TOGETHER] = [const { None }; TOGETHER];
    let _ = maps::each(&mut |piece| {
        let Some(base) = piece.base() else { return };
        let again = |file: &Descriptor| {
            let how = libc::MAP_SHARED | libc::MAP_FIXED;
            let len = piece.end - piece.start;
            let _ = kernel::map(piece.start, len, piece.protection, how, file, piece.offset);
        };
        let known = open.iter().flatten().find(|(begin, id, _)| (*begin, *id) == (base, piece.id));
        if let Some((.., file)) = known {
            return again(file);
        }
        let here = |attached: &Attached| attached.id == piece.id && attached.address == base;
        let writable = piece.protection & libc::PROT_WRITE != 0;
        let elsewhere = |attached: &Attached| {
            attached.id == piece.id && attached.is_dirty() && !(writable && attached.is_read_only())
        };
        let attached = records::all().find(here).or_else(|| records::all().find(elsewhere));
        let Some(file) = attached.as_ref().and_then(hold) else { return };
        again(&file);
        if let Some(room) = open.iter_mut().find(|room| room.is_none()) {
            *room = Some((base, piece.id, file));
        }
    });
}
