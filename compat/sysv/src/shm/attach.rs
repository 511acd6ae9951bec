//! `shmat`.

use std::sync::atomic::Ordering::Relaxed;

use libc::c_int;

use super::records::{self, Attached, EXECUTABLE, READ_ONLY};
use super::{PAGE, file, foreign, get, times};
use crate::ids::access;
use crate::kernel;
use crate::quiet::Quiet;

/// Maps a segment: the address, as `shmat` gives it.
pub(crate) fn attach(id: c_int, address: usize, flags: c_int) -> Result<usize, c_int> {
    if id < 0 {
        return Err(libc::EINVAL);
    }
    let replace = flags & libc::SHM_REMAP != 0;
    let place = place(address, flags & libc::SHM_RND != 0, replace)?;
    let read_only = flags & libc::SHM_RDONLY != 0;
    let executable = flags & libc::SHM_EXEC != 0;
    if foreign::is(id) {
        return foreign::attach(id, place, read_only, replace);
    }
    let (table, _, entry) = get::look_up(id)?;
    let wanted = access::READ
        | if read_only { 0 } else { access::WRITE }
        | if executable { access::EXECUTE } else { 0 };
    access::check(entry, &entry.permissions(), wanted)?;
    let len = (entry.size.load(Relaxed) as usize).checked_next_multiple_of(PAGE).ok_or(libc::ENOMEM)?;
    if place.is_some_and(|address| !replace && address.checked_add(len).is_none()) {
        return Err(libc::EINVAL);
    }
    let quiet = Quiet::new();
    let mode = if read_only { libc::O_RDONLY } else { libc::O_RDWR };
    let (file, slot) = file::hold(table, entry, id, mode).map_err(|code| match code {
        libc::EMFILE => libc::ENFILE,
        other => other,
    })?;
    let flags = if read_only { READ_ONLY } else { 0 } | if executable { EXECUTABLE } else { 0 };
    let mut attached = Attached { address: 0, len, id, flags, slot, table };
    let (wish, how) = match place {
        None => (0, libc::MAP_SHARED),
        Some(address) if replace => (address, libc::MAP_SHARED | libc::MAP_FIXED),
        Some(address) => (address, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE),
    };
    if replace {
        // What else was attached there is not, from now on.
        records::touch(wish, len);
    }
    let mapped = kernel::map(wish, len, attached.protection(), how, &file, 0);
    drop(file);
    attached.address = match mapped {
        Ok(address) if place.is_none_or(|wish| wish == address) => address,
        // From a kernel that takes the flag for a wish.
        Ok(address) => {
            let _ = kernel::unmap(address, len);
            return Err(libc::EINVAL);
        }
        Err(libc::EEXIST) => return Err(libc::EINVAL),
        Err(code) => return Err(code),
    };
    records::add(&attached);
    times::attached(entry, kernel::own_pid(), kernel::own_pid());
    drop(quiet);
    Ok(attached.address)
}

/// Where it is to go; `None` if the system chooses.
fn place(address: usize, round: bool, replace: bool) -> Result<Option<usize>, c_int> {
    let rounded = address & !(PAGE - 1);
    match address {
        0 if replace => Err(libc::EINVAL),
        0 => Ok(None),
        _ if rounded != address && !round => Err(libc::EINVAL),
        _ if rounded == 0 && replace => Err(libc::EINVAL),
        _ => Ok(Some(rounded)),
    }
}
