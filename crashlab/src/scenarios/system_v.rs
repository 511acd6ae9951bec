//! System V's shared memory in user space: ids, attachments that are counted, memory that is removed.

use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

use crate::dropins::{System, errno, system_v, text};
use crate::flaw::{Check, Flaw, Must, ensure};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::World;

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::DropIn, name, arrange, verify).library(System::SystemV)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("shmget: create, the first of all", create_cold, gone_or_usable),
    scenario("shmget: create", create, gone_or_usable).prepare(make_other).meanwhile(use_other).pairs(),
    scenario("shmget: create, after a dead creator", create_cold, gone_or_usable).prepare(die_creating),
    scenario("shmget: existing", find, still_there).prepare(make).meanwhile(use_it).pairs(),
    scenario("shmat", attach, still_there).prepare(make).companion(hold).meanwhile(use_it).pairs(),
    scenario("shmdt", detach, still_there).prepare(make).companion(hold).meanwhile(use_it).pairs(),
    scenario("shmdt, the last one of what is removed", detach_removed, gone).prepare(make),
    scenario("IPC_RMID", remove, removed).prepare(make).pairs(),
    scenario("IPC_RMID, while it is attached", remove, removed).prepare(make).companion(hold),
];

const KEY: c_int = 0x4c41_4201;
const OTHER: c_int = 0x4c41_4202;
pub(crate) const SIZE: usize = 8192;
const MARK: u8 = 0x5e;

/// Where the id is kept.
const ID: usize = 3;

// The calls, as Rust has them.

pub(crate) fn get(key: c_int, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: has no preconditions.
    let id = unsafe { (system_v().shmget)(key, SIZE, flags | 0o600) };
    if id < 0 { Err(errno()) } else { Ok(id) }
}

pub(crate) fn at(id: c_int) -> Result<*mut u8, c_int> {
    // SAFETY: the system chooses the place.
    let address = unsafe { (system_v().shmat)(id, std::ptr::null(), 0) };
    if address.addr() == usize::MAX { Err(errno()) } else { Ok(address.cast()) }
}

pub(crate) fn dt(address: *mut u8) -> Result<(), c_int> {
    // SAFETY: attached, and not used any more.
    let done = unsafe { (system_v().shmdt)(address.cast::<c_void>()) };
    if done < 0 { Err(errno()) } else { Ok(()) }
}

pub(crate) fn status(id: c_int) -> Result<libc::shmid_ds, c_int> {
    // SAFETY: all-zero bytes are a value of this structure of integers, and the call fills it.
    unsafe {
        let mut status: libc::shmid_ds = std::mem::zeroed();
        let done = (system_v().shmctl)(id, libc::IPC_STAT, &raw mut status);
        if done < 0 { Err(errno()) } else { Ok(status) }
    }
}

pub(crate) fn rm(id: c_int) -> Result<(), c_int> {
    // SAFETY: the command takes no structure.
    let done = unsafe { (system_v().shmctl)(id, libc::IPC_RMID, std::ptr::null_mut()) };
    if done < 0 { Err(errno()) } else { Ok(()) }
}

/// An error where none may be.
trait Well<T> {
    fn well(self, call: &str) -> Result<T, Flaw>;
}

impl<T> Well<T> for Result<T, c_int> {
    fn well(self, call: &str) -> Result<T, Flaw> {
        self.map_err(|code| text(call, code)).must("")
    }
}

/// All bytes are this one.
fn is_all(address: *mut u8, byte: u8) -> Check {
    // SAFETY: attached, with so many bytes; nobody writes them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(address, SIZE) };
    match bytes.iter().position(|found| *found != byte) {
        None => Ok(()),
        Some(at) => Err(Flaw::wrong(format!("byte {at} is {:#x}, and not {byte:#x}", bytes[at]))),
    }
}

fn is_attached_times(id: c_int, times: u64) -> Check {
    let found = status(id).well("IPC_STAT")?;
    ensure(found.shm_segsz == SIZE, || format!("{} bytes", found.shm_segsz))?;
    ensure(found.shm_nattch == times, || format!("nattch is {}, and not {times}", found.shm_nattch))
}

/// There, whole, and had by nobody.
fn is_whole(id: c_int, byte: u8) -> Check {
    is_attached_times(id, 0)?;
    let address = at(id).well("shmat")?;
    is_all(address, byte)?;
    is_attached_times(id, 1)?;
    dt(address).well("shmdt")?;
    is_attached_times(id, 0)
}

/// The id works for nobody, and the key is free.
fn is_gone(id: c_int) -> Check {
    ensure(get(KEY, 0) == Err(libc::ENOENT), || "the key still finds it".into())?;
    match (status(id).map(|_| ()), at(id).map(|_| ())) {
        (Err(libc::EINVAL), Err(libc::EINVAL)) => Ok(()),
        other => Err(Flaw::wrong(format!("what is gone is still there by its id: {other:?}"))),
    }
}

// The worlds.

fn make_key(key: c_int) -> Result<c_int, Flaw> {
    let id = get(key, libc::IPC_CREAT | libc::IPC_EXCL).well("shmget")?;
    let address = at(id).well("shmat")?;
    // SAFETY: attached, with so many bytes.
    unsafe { address.write_bytes(MARK, SIZE) };
    dt(address).well("shmdt")?;
    Ok(id)
}

fn make(world: &World) -> Check {
    world.note(ID, make_key(KEY)? as u64);
    Ok(())
}

fn make_other(_: &World) -> Check {
    make_key(OTHER).map(|_| ())
}

/// What a creator leaves that dies in the middle: a table that says so, and a file that nobody knows.
fn die_creating(world: &World) -> Check {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    make_key(OTHER)?;
    let directory = world.dropin(System::SystemV);
    let table = std::fs::OpenOptions::new().read(true).write(true).open(directory.join("ids.shm"));
    let table = table.must("open the table")?;
    let mut changes = [0; 4];
    table.read_exact_at(&mut changes, 0).must("read")?;
    let changes = u32::from_ne_bytes(changes) + 1;
    table.write_all_at(&changes.to_ne_bytes(), 0).must("write")?;
    let file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join("shm.40"));
    file.must("make a file")?.set_len(SIZE as u64).must("make a file")
}

fn id(world: &World) -> c_int {
    world.noted(ID) as c_int
}

// The acts. What a process does for the first time is behind it.

fn warm() -> Result<(), String> {
    let id = get(libc::IPC_PRIVATE, 0).map_err(|code| text("shmget", code))?;
    rm(id).map_err(|code| text("IPC_RMID", code))
}

fn create(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    create_cold(world)
}

/// With all that a process does for the first time.
fn create_cold(_: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| get(KEY, libc::IPC_CREAT).map(|_| ()).map_err(|code| text("shmget", code))))
}

fn find(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    Ok(Box::new(|| match get(KEY, 0) {
        Ok(found) if found == id(world) => Ok(()),
        // A second victim calls this, too, and nothing may make that fail.
        Ok(found) => panic!("another id: {found}"),
        Err(code) => Err(text("shmget", code)),
    }))
}

fn attach(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    Ok(Box::new(|| at(id(world)).map(|_| ()).map_err(|code| text("shmat", code))))
}

fn detach(world: &World) -> Result<Act<'_>, String> {
    let address = at(id(world)).map_err(|code| text("shmat", code))?;
    Ok(Box::new(move || dt(address).map_err(|code| text("shmdt", code))))
}

fn detach_removed(world: &World) -> Result<Act<'_>, String> {
    let address = at(id(world)).map_err(|code| text("shmat", code))?;
    rm(id(world)).map_err(|code| text("IPC_RMID", code))?;
    Ok(Box::new(move || dt(address).map_err(|code| text("shmdt", code))))
}

/// Of two, one removes it, and the other finds that done.
fn remove(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    Ok(Box::new(|| match rm(id(world)) {
        Ok(()) | Err(libc::EINVAL | libc::EIDRM) => Ok(()),
        Err(code) => Err(text("IPC_RMID", code)),
    }))
}

// The companions, and those who come by.

fn hold(world: &World) -> Check {
    let address = at(id(world)).well("shmat")?;
    world.board.wait_for_end();
    is_attached_times(id(world), 1)?;
    is_all(address, MARK)?;
    dt(address).well("shmdt")
}

fn soon(what: impl FnOnce() -> Check) -> Check {
    let begun = Instant::now();
    what()?;
    let took = begun.elapsed();
    ensure(took < Duration::from_secs(1), || format!("took {took:?} beside a stopped process"))
}

fn used(id: c_int) -> Check {
    let address = at(id).well("shmat")?;
    is_all(address, MARK)?;
    status(id).well("IPC_STAT")?;
    dt(address).well("shmdt")
}

fn use_it(_: &World) -> Check {
    soon(|| used(get(KEY, 0).well("shmget")?))
}

/// What is there can be used while another one is being made, which is seen whole or not at all.
fn use_other(_: &World) -> Check {
    soon(|| {
        used(get(OTHER, 0).well("shmget")?)?;
        if let Ok(id) = get(KEY, 0) {
            is_whole(id, 0)?;
        }
        Ok(())
    })
}

// What is left.

fn gone_or_usable(_: &World, fate: Fate) -> Check {
    match get(KEY, 0) {
        Ok(id) => is_whole(id, 0)?,
        Err(libc::ENOENT) => ensure(!fate.finished(), || "what was made is gone".into())?,
        Err(code) => return Err(Flaw::wrong(text("shmget", code))),
    }
    let id = get(KEY, libc::IPC_CREAT).well("shmget")?;
    is_whole(id, 0)?;
    rm(id).well("IPC_RMID")?;
    is_gone(id)?;
    if let Ok(id) = get(OTHER, 0) {
        is_whole(id, MARK)?;
        rm(id).well("IPC_RMID")?;
    }
    Ok(())
}

fn still_there(world: &World, _: Fate) -> Check {
    let found = get(KEY, 0).well("shmget")?;
    ensure(found == id(world), || format!("another id: {found}"))?;
    is_whole(found, MARK)?;
    rm(found).well("IPC_RMID")?;
    is_gone(found)
}

/// The memory of the dead is gone with them, or goes with the next call.
fn gone(world: &World, _: Fate) -> Check {
    is_gone(id(world))
}

fn removed(world: &World, fate: Fate) -> Check {
    match get(KEY, 0) {
        Ok(_) => {
            ensure(!fate.finished(), || "what was removed is there".into())?;
            return still_there(world, fate);
        }
        Err(libc::ENOENT) => {}
        Err(code) => return Err(Flaw::wrong(text("shmget", code))),
    }
    is_gone(id(world))
}
