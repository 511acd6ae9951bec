//! `semctl`: what it tells and changes.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use libc::{c_int, c_ulong, c_ushort};

use crate::kernel;

use super::cache::{self, Using};
use super::catalog::{self, Known};
use super::life;
use super::locked::Locked;
use super::set::{MOST_OPERATIONS, MOST_SEMAPHORES, MOST_VALUE, Word};
use super::user;

/// `SEM_STAT_ANY`, which the C library's older headers lack.
const SEM_STAT_ANY: c_int = 20;
/// How many sets there may be: the kernel's `SEMMNI`.
pub(super) const MOST_SETS: u32 = 32_000;
/// `SEMMNS`.
const MOST_IN_ALL: u32 = MOST_SETS * MOST_SEMAPHORES;

/// The kernel's `struct seminfo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    semmap: c_int,
    semmni: c_int,
    semmns: c_int,
    semmnu: c_int,
    semmsl: c_int,
    semopm: c_int,
    semume: c_int,
    semusz: c_int,
    semvmx: c_int,
    semaem: c_int,
}

/// What `semctl` gives for a command.
///
/// # Safety
///
/// `argument` is what the command takes.
pub(super) unsafe fn control(
    id: c_int,
    number: c_int,
    command: c_int,
    argument: usize,
) -> Result<c_int, c_int> {
    if id < 0 {
        return Err(libc::EINVAL);
    }
    match command {
        libc::IPC_INFO | libc::SEM_INFO => {
            let usage = catalog::usage();
            // SAFETY: as the caller promises.
            unsafe { user::write(argument as *mut Info, &[info(command, &usage)])? };
            Ok(usage.highest.max(0))
        }
        libc::IPC_STAT | libc::SEM_STAT | SEM_STAT_ANY => {
            let known = match command {
                libc::IPC_STAT => catalog::find(id),
                _ => catalog::find_index(id),
            };
            let known = known.ok_or(libc::EINVAL)?;
            if command != SEM_STAT_ANY && !known.allows(0o444) {
                return Err(libc::EACCES);
            }
            let stat = stat(&known)?;
            // SAFETY: as the caller promises.
            unsafe { user::write(argument as *mut libc::semid_ds, &[stat])? };
            Ok(if command == libc::IPC_STAT { 0 } else { known.id })
        }
        libc::SETVAL => set_value(id, number, argument as c_int),
        libc::GETALL => {
            let using = cache::using(id)?;
            using.check(false)?;
            let values = values(&using)?;
            // SAFETY: as the caller promises.
            unsafe { user::write(argument as *mut c_ushort, &values)? };
            Ok(0)
        }
        libc::SETALL => {
            let using = cache::using(id)?;
            using.check(true)?;
            // SAFETY: as the caller promises.
            let values =
                unsafe { user::read(argument as *const c_ushort, using.set().layout.count as usize)? };
            if values.iter().any(|value| i32::from(*value) > MOST_VALUE) {
                return Err(libc::ERANGE);
            }
            let using = using.into_changing()?;
            let mut locked = lock(&using)?;
            for (index, value) in values.iter().enumerate() {
                if let Some(staged) = using.set().staged(index as u32) {
                    staged.store(*value, Relaxed);
                }
            }
            locked.set_all(life::pid());
            Ok(0)
        }
        libc::GETVAL | libc::GETPID | libc::GETNCNT | libc::GETZCNT => get(id, number, command),
        libc::IPC_SET => {
            // SAFETY: as the caller promises.
            let wanted = unsafe { user::read(argument as *const libc::semid_ds, 1)? };
            let wanted = wanted.first().ok_or(libc::EFAULT)?.sem_perm;
            let known = catalog::find(id).ok_or(libc::EINVAL)?;
            if !known.is_mine() {
                return Err(libc::EPERM);
            }
            if wanted.uid == u32::MAX || wanted.gid == u32::MAX {
                return Err(libc::EINVAL);
            }
            catalog::set_permissions(&known, wanted.uid, wanted.gid, u32::from(wanted.mode) & 0o777)?;
            // Who could not even map it has nobody to tell.
            if let Ok(using) = cache::using(id) {
                if !using.is_read_only() {
                    let header = using.set().header();
                    header.changed.store(kernel::now(), Relaxed);
                    header.permissions.fetch_add(1, std::sync::atomic::Ordering::Release);
                }
            }
            Ok(0)
        }
        libc::IPC_RMID => {
            let known = catalog::find(id).ok_or(libc::EINVAL)?;
            if !known.is_mine() {
                return Err(libc::EPERM);
            }
            remove(&known)?;
            Ok(0)
        }
        _ => Err(libc::EINVAL),
    }
}

fn info(command: c_int, usage: &catalog::Usage) -> Info {
    let most = MOST_IN_ALL as c_int;
    Info {
        semmap: most,
        semmni: MOST_SETS as c_int,
        semmns: most,
        semmnu: most,
        semmsl: MOST_SEMAPHORES as c_int,
        semopm: MOST_OPERATIONS as c_int,
        semume: MOST_OPERATIONS as c_int,
        semusz: if command == libc::SEM_INFO { usage.sets as c_int } else { 20 },
        semvmx: MOST_VALUE,
        semaem: if command == libc::SEM_INFO { usage.semaphores as c_int } else { MOST_VALUE },
    }
}

fn stat(known: &Known) -> Result<libc::semid_ds, c_int> {
    // SAFETY: zeros are a value of this structure of numbers.
    let mut stat: libc::semid_ds = unsafe { MaybeUninit::zeroed().assume_init() };
    stat.sem_perm.__key = known.key;
    (stat.sem_perm.uid, stat.sem_perm.gid) = (known.permissions.uid, known.permissions.gid);
    (stat.sem_perm.cuid, stat.sem_perm.cgid) = (known.cuid, known.cgid);
    stat.sem_perm.mode = known.permissions.mode as _;
    stat.sem_perm.__seq = known.sequence() as _;
    stat.sem_nsems = known.count as c_ulong;
    stat.sem_ctime = known.permissions.ctime as _;
    // Without the right to map it, its times are not known.
    if let Ok(using) = cache::using(known.id) {
        if using.set().is_removed() {
            return Err(using.gone(libc::EINVAL));
        }
        if !using.is_read_only() && using.set().header().owing.load(Relaxed) != 0 {
            using.set().hear_of_the_dead()?;
        }
        let header = using.set().header();
        stat.sem_otime = header.operated.load(Relaxed) as _;
        stat.sem_ctime = header.changed.load(Relaxed) as _;
    }
    Ok(stat)
}

/// Locks, unless the set is removed.
fn lock(using: &Using) -> Result<Locked, c_int> {
    if using.is_read_only() {
        return Err(libc::EACCES);
    }
    let locked = using.set().lock()?;
    if using.set().is_removed() {
        drop(locked);
        return Err(using.gone(libc::EINVAL));
    }
    Ok(locked)
}

fn set_value(id: c_int, number: c_int, value: c_int) -> Result<c_int, c_int> {
    let value =
        u16::try_from(value).ok().filter(|value| i32::from(*value) <= MOST_VALUE).ok_or(libc::ERANGE)?;
    let using = cache::using(id)?;
    if using.set().is_removed() {
        return Err(using.gone(libc::EINVAL));
    }
    let number = u32::try_from(number).ok().filter(|number| *number < using.set().layout.count);
    let number = number.ok_or(libc::EINVAL)?;
    using.check(true)?;
    let using = using.into_changing()?;
    lock(&using)?.set_value(number, value, life::pid());
    Ok(0)
}

fn values(using: &Using) -> Result<Vec<c_ushort>, c_int> {
    let set = using.set();
    if !using.is_read_only() {
        set.hear_of_the_dead()?;
    }
    let locked = match lock(using) {
        Ok(locked) => Some(locked),
        Err(_) if using.is_read_only() && !set.is_removed() => None,
        Err(error) => return Err(error),
    };
    let words = (0..set.layout.count).filter_map(|number| set.word(number));
    let values = words.map(|word| Word(word.load(Acquire)).value() as c_ushort).collect();
    drop(locked);
    Ok(values)
}

fn get(id: c_int, number: c_int, command: c_int) -> Result<c_int, c_int> {
    let using = cache::using(id)?;
    let set = using.set();
    if set.is_removed() {
        return Err(using.gone(libc::EINVAL));
    }
    using.check(false)?;
    let number = u32::try_from(number).map_err(|_| libc::EINVAL)?;
    let at = set.word(number).ok_or(libc::EINVAL)?;
    if !using.is_read_only() {
        set.hear_of_the_dead()?;
    }
    let locked = match lock(&using) {
        Ok(locked) => Some(locked),
        Err(_) if using.is_read_only() => None,
        Err(error) => return Err(error),
    };
    let word = Word(at.load(Acquire));
    let got = match command {
        libc::GETVAL => word.value(),
        libc::GETPID => word.pid() as c_int,
        command => set.waiting(number, command == libc::GETZCNT) as c_int,
    };
    drop(locked);
    Ok(got)
}

/// Removes a set: first says so in it, so that nobody goes on using it, then gives its key and id up.
///
/// Killed in between, it is removed for all who use it, and whoever comes upon its key or id removes the rest.
pub(super) fn remove(known: &Known) -> Result<(), c_int> {
    match cache::using(known.id) {
        Ok(using) if using.is_read_only() => {
            // The next call maps it anew: that it could not be had for writing may pass.
            using.gone(0);
            Err(libc::EPERM)
        }
        Ok(using) => {
            let set = using.set();
            let locked = set.lock()?;
            let first = !set.is_removed();
            set.header().removed.store(1, Relaxed);
            set.tell_all(libc::EIDRM);
            drop(locked);
            catalog::remove(known)?;
            using.gone(0);
            if first { Ok(()) } else { Err(libc::EINVAL) }
        }
        // Its file is gone: then there is nobody to tell.
        Err(libc::ENOENT) => catalog::remove(known),
        Err(error) => Err(error),
    }
}
