//! libgpl's shared memory and named objects: what goes with its last reference, and how many references there are.

use std::ffi::{CStr, c_int, c_void};
use std::time::{Duration, Instant};

use crate::dropins::{System, errno, gpl, text};
use crate::flaw::{Check, Flaw, Must, ensure};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::World;

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::DropIn, name, arrange, verify).library(System::Gpl)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("shmCreate: new, the first of all", create_cold, memory_is_gone),
    scenario("shmCreate: new", create, memory_is_gone).companion(hold_other).meanwhile(use_other).pairs(),
    scenario("shmCreate: new, over what a dead one left", create, memory_is_gone).prepare(leave_memory),
    scenario("shmCreate: existing", create, memory_is_gone)
        .companion(hold_memory)
        .meanwhile(use_memory)
        .pairs(),
    scenario("shmDestroy: the last one", destroy, memory_is_gone).pairs(),
    scenario("shmDestroy: others remain", destroy, memory_is_gone)
        .companion(hold_memory)
        .meanwhile(use_memory)
        .pairs(),
    scenario("nobCreate to nobCommit: new, the first of all", commit_cold, object_is_gone),
    scenario("nobCreate to nobCommit: new", commit, object_is_gone)
        .companion(hold_other)
        .meanwhile(use_other)
        .pairs(),
    scenario("nobCreate to nobAbort", abort, object_is_gone),
    scenario("nobCreate: existing", commit, object_is_gone)
        .companion(hold_object)
        .meanwhile(use_object)
        .pairs(),
    scenario("nobCreate, waiting for another's nobCommit", commit, object_is_gone).companion(commit_on_cue),
    scenario("nobDestroy: the last one", forget, object_is_gone),
    scenario("nobDestroy: others remain", forget, object_is_gone)
        .companion(hold_object)
        .meanwhile(use_object)
        .pairs(),
];

const MEMORY: &CStr = c"memory";
const OBJECT: &CStr = c"object";
const OTHER: &CStr = c"other";
pub(crate) const SIZE: usize = 8192;
const MARK: u8 = 0x67;
const VALUE: usize = 0x7a1;

pub(crate) type Handle = *mut c_void;

// The calls, as Rust has them.

pub(crate) fn shm_create(name: &CStr, size: usize) -> Result<Handle, c_int> {
    let mut memory = std::ptr::null_mut();
    // SAFETY: a string; a place that is valid for writes.
    match unsafe { (gpl().shmCreate)(name.as_ptr(), size as i64, std::ptr::null_mut(), &raw mut memory) } {
        0 => Ok(memory),
        code => Err(code),
    }
}

fn code(code: c_int) -> Result<(), c_int> {
    if code == 0 { Ok(()) } else { Err(code) }
}

pub(crate) fn shm_destroy(memory: Handle) -> Result<(), c_int> {
    // SAFETY: a handle, which is not used any more.
    code(unsafe { (gpl().shmDestroy)(memory) })
}

pub(crate) fn address(memory: Handle) -> *mut u8 {
    // SAFETY: a handle.
    unsafe { (gpl().shmAddress)(memory) }.cast()
}

/// A new one, which waits for its commit, or one that was there.
enum Created {
    New(Handle),
    Found(Handle),
}

fn nob_create(name: &CStr) -> Result<Created, c_int> {
    let mut object = std::ptr::null_mut();
    // SAFETY: a string; a place that is valid for writes.
    match unsafe { (gpl().nobCreate)(name.as_ptr(), 0, &raw mut object) } {
        0 => Ok(Created::New(object)),
        libc::EEXIST => Ok(Created::Found(object)),
        code => Err(code),
    }
}

fn nob_commit(object: Handle, value: usize) -> Result<(), c_int> {
    // SAFETY: a handle; the value is a number.
    code(unsafe { (gpl().nobCommit)(object, std::ptr::without_provenance_mut(value)) })
}

fn nob_abort(object: Handle) -> Result<(), c_int> {
    // SAFETY: a handle, which is not used any more.
    code(unsafe { (gpl().nobAbort)(object) })
}

fn nob_count(object: Handle) -> c_int {
    // SAFETY: a handle.
    unsafe { (gpl().nobCount)(object) }
}

fn nob_value(object: Handle) -> usize {
    // SAFETY: a handle.
    unsafe { (gpl().nobValue)(object) }.addr()
}

/// `EWOULDBLOCK`: others remain.
fn nob_destroy(object: Handle) -> Result<(), c_int> {
    // SAFETY: a handle, which is not used any more.
    code(unsafe { (gpl().nobDestroy)(object) })
}

fn nob_exists(name: &CStr) -> Result<Handle, c_int> {
    // SAFETY: a string.
    let object = unsafe { (gpl().nobExists)(name.as_ptr(), 0) };
    if object.is_null() { Err(errno()) } else { Ok(object) }
}

trait Well<T> {
    fn well(self, call: &str) -> Result<T, Flaw>;
}

impl<T> Well<T> for Result<T, c_int> {
    fn well(self, call: &str) -> Result<T, Flaw> {
        self.map_err(|code| text(call, code)).must("")
    }
}

fn is_all(memory: Handle, byte: u8) -> Check {
    // SAFETY: attached, with so many bytes; nobody writes them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(address(memory), SIZE) };
    match bytes.iter().position(|found| *found != byte) {
        None => Ok(()),
        Some(at) => Err(Flaw::wrong(format!("byte {at} is {:#x}, and not {byte:#x}", bytes[at]))),
    }
}

fn fill(memory: Handle) {
    // SAFETY: attached, with so many bytes.
    unsafe { address(memory).write_bytes(MARK, SIZE) };
}

/// So many references, with the one that is taken for looking.
fn has_references(name: &CStr, references: c_int) -> Check {
    let object = nob_exists(name).well("nobExists")?;
    let found = nob_count(object);
    ensure(found == references, || format!("{found} references, and not {references}"))?;
    match nob_destroy(object) {
        Err(libc::EWOULDBLOCK) if references > 1 => Ok(()),
        Ok(()) if references == 1 => Ok(()),
        other => Err(Flaw::wrong(format!("nobDestroy gave {other:?} where there were {references}"))),
    }
}

// The worlds.

/// One that died with it: the kernel detaches as the process ends.
fn leave_memory(_: &World) -> Check {
    fill(shm_create(MEMORY, SIZE).well("shmCreate")?);
    Ok(())
}

/// The lock on names is there, and known to this process.
fn warm() -> Result<(), String> {
    let memory = shm_create(c"warm", 1).map_err(|code| text("shmCreate", code))?;
    shm_destroy(memory).map_err(|code| text("shmDestroy", code))
}

// The acts.

fn create_cold(_: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| shm_create(MEMORY, SIZE).map(|_| ()).map_err(|code| text("shmCreate", code))))
}

fn create(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    create_cold(world)
}

fn destroy(_: &World) -> Result<Act<'_>, String> {
    warm()?;
    let mut memory = Some(shm_create(MEMORY, SIZE).map_err(|code| text("shmCreate", code))?);
    Ok(Box::new(move || match memory.take() {
        // The handle is gone, also after an error.
        Some(memory) => shm_destroy(memory).map_err(|code| text("shmDestroy", code)),
        None => Ok(()),
    }))
}

fn commit_cold(_: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| match nob_create(OBJECT).map_err(|code| text("nobCreate", code))? {
        Created::New(object) => nob_commit(object, VALUE).map_err(|code| {
            let _ = nob_abort(object);
            text("nobCommit", code)
        }),
        Created::Found(object) => {
            assert_eq!(nob_value(object), VALUE, "a named object without its value");
            Ok(())
        }
    }))
}

fn commit(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    commit_cold(world)
}

fn abort(_: &World) -> Result<Act<'_>, String> {
    warm()?;
    Ok(Box::new(|| match nob_create(OBJECT).map_err(|code| text("nobCreate", code))? {
        Created::New(object) => nob_abort(object).map_err(|code| text("nobAbort", code)),
        Created::Found(_) => panic!("found what was never made"),
    }))
}

fn forget(world: &World) -> Result<Act<'_>, String> {
    commit(world)?()?;
    let object = nob_exists(OBJECT).map_err(|code| text("nobExists", code))?;
    let mut object = Some(object);
    Ok(Box::new(move || match object.take().map(nob_destroy) {
        // The process still has the reference of the first call. The handle is gone, also after an error.
        None | Some(Ok(()) | Err(libc::EWOULDBLOCK)) => Ok(()),
        Some(Err(code)) => Err(text("nobDestroy", code)),
    }))
}

// The companions, and those who come by.

fn hold_memory(world: &World) -> Check {
    let memory = shm_create(MEMORY, SIZE).well("shmCreate")?;
    fill(memory);
    world.board.wait_for_end();
    is_all(memory, MARK)?;
    has_references(MEMORY, 2)?;
    shm_destroy(memory).well("shmDestroy")
}

fn hold_other(world: &World) -> Check {
    let memory = shm_create(OTHER, SIZE).well("shmCreate")?;
    fill(memory);
    world.board.wait_for_end();
    is_all(memory, MARK)?;
    has_references(OTHER, 2)?;
    shm_destroy(memory).well("shmDestroy")
}

fn commit_as_companion() -> Result<Handle, Flaw> {
    match nob_create(OBJECT).well("nobCreate")? {
        Created::New(object) => {
            nob_commit(object, VALUE).well("nobCommit")?;
            Ok(object)
        }
        Created::Found(object) => Ok(object),
    }
}

fn hold_object(world: &World) -> Check {
    let object = commit_as_companion()?;
    world.board.wait_for_end();
    is_mine_alone(object)
}

/// The living one's reference, and no dead one's.
fn is_mine_alone(object: Handle) -> Check {
    let count = nob_count(object);
    ensure(count == 1, || format!("{count} references, and one lives"))?;
    ensure(nob_value(object) == VALUE, || "another value".into())?;
    has_references(OBJECT, 2)?;
    nob_destroy(object).well("nobDestroy, the last one")
}

/// Has the lock on names until the victim sleeps.
fn commit_on_cue(world: &World) -> Check {
    warm().map_err(Flaw::wrong)?;
    // When the victim is at its beginning.
    world.board.wait_for_cue();
    let created = nob_create(OBJECT).well("nobCreate")?;
    let Created::New(object) = created else { return Err(Flaw::wrong("found what was never made")) };
    world.board.wait_for_cue();
    nob_commit(object, VALUE).well("nobCommit")?;
    world.board.wait_for_end();
    is_mine_alone(object)
}

fn soon(what: impl FnOnce() -> Check) -> Check {
    let begun = Instant::now();
    what()?;
    let took = begun.elapsed();
    ensure(took < Duration::from_secs(1), || format!("took {took:?} beside a stopped process"))
}

fn use_named(name: &CStr) -> Check {
    soon(|| {
        let memory = shm_create(name, 0).well("shmCreate")?;
        is_all(memory, MARK)?;
        shm_destroy(memory).well("shmDestroy")
    })
}

fn use_memory(_: &World) -> Check {
    use_named(MEMORY)
}

fn use_other(_: &World) -> Check {
    use_named(OTHER)
}

fn use_object(_: &World) -> Check {
    soon(|| match nob_create(OBJECT).well("nobCreate")? {
        Created::Found(object) => {
            ensure(nob_value(object) == VALUE, || "another value".into())?;
            match nob_destroy(object) {
                Err(libc::EWOULDBLOCK) => Ok(()),
                other => Err(Flaw::wrong(format!("nobDestroy gave {other:?} while another one holds"))),
            }
        }
        Created::New(_) => Err(Flaw::wrong("what another one holds is not there")),
    })
}

// What is left: nobody lives who had it, so nothing; and all works as if nothing had happened.

fn memory_is_gone(_: &World, _: Fate) -> Check {
    for _ in 0..2 {
        match shm_create(MEMORY, 0) {
            Err(libc::ENOENT) => {}
            Err(code) => return Err(Flaw::wrong(text("shmCreate of nothing", code))),
            Ok(_) => return Err(Flaw::wrong("memory that only the dead had is there")),
        }
        let memory = shm_create(MEMORY, SIZE).well("shmCreate")?;
        is_all(memory, 0)?;
        has_references(MEMORY, 2)?;
        shm_destroy(memory).well("shmDestroy")?;
    }
    Ok(())
}

fn object_is_gone(_: &World, _: Fate) -> Check {
    for _ in 0..2 {
        match nob_exists(OBJECT) {
            Err(libc::ENOENT) => {}
            Err(code) => return Err(Flaw::wrong(text("nobExists", code))),
            Ok(_) => return Err(Flaw::wrong("an object that only the dead had is there")),
        }
        match nob_create(OBJECT).well("nobCreate")? {
            Created::New(object) => {
                nob_commit(object, VALUE).well("nobCommit")?;
                is_mine_alone(object)?;
            }
            Created::Found(_) => return Err(Flaw::wrong("found what only the dead had")),
        }
    }
    Ok(())
}
