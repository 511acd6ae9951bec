//! NSPR's named shared memory and semaphores.

use std::ffi::{CString, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::dropins::{System, nspr, text};
use crate::flaw::{Check, Flaw, Must, ensure};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::World;

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::DropIn, name, arrange, verify).library(System::Nspr)
}

/// See the module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("PR_OpenSharedMemory: create, the first of all", create_cold, memory_usable),
    scenario("PR_OpenSharedMemory: create", create, memory_usable).pairs(),
    scenario("PR_OpenSharedMemory: existing", create, memory_there)
        .prepare(make_memory)
        .meanwhile(use_memory)
        .pairs(),
    scenario("PR_AttachSharedMemory", attach, memory_there)
        .prepare(make_memory)
        .meanwhile(use_memory)
        .pairs(),
    scenario("PR_DetachSharedMemory", detach, memory_there)
        .prepare(make_memory)
        .meanwhile(use_memory)
        .pairs(),
    scenario("PR_CloseSharedMemory", close, memory_there).prepare(make_memory).meanwhile(use_memory).pairs(),
    scenario("PR_DeleteSharedMemory", delete, memory_deleted).prepare(make_memory).companion(hold).pairs(),
    scenario("PR_OpenSemaphore: create", open_semaphore, semaphore_usable).pairs(),
    scenario("PR_OpenSemaphore: existing", open_semaphore, semaphore_there)
        .prepare(make_semaphore)
        .meanwhile(use_semaphore)
        .pairs(),
    scenario("PR_WaitSemaphore", wait, taken).prepare(make_semaphore).meanwhile(use_semaphore),
    scenario("PR_WaitSemaphore, asleep", wait, all_taken).prepare(make_empty).companion(post_on_cue),
    scenario("PR_PostSemaphore", post, given).prepare(make_semaphore).meanwhile(use_semaphore),
    scenario("PR_PostSemaphore, with a waiter", post, given_to_waiter)
        .prepare(make_empty)
        .companion(wait_for_it)
        .rescue(post_if_needed),
    scenario("PR_DeleteSemaphore", delete_semaphore, semaphore_deleted).prepare(make_semaphore).pairs(),
];

pub(crate) const SIZE: usize = 8192;
const MARK: u8 = 0x4e;
const UNITS: c_uint = 2;
pub(crate) const CREATE: c_int = 1;

/// How often the waiter came through, and whether it was somebody else who let it.
const THROUGH: usize = 5;
const RESCUED: usize = 6;

pub(crate) type Handle = *mut c_void;

// The calls, as Rust has them.

fn path(world: &World) -> CString {
    CString::new(world.file("nspr").as_os_str().as_bytes()).expect("a path without a NUL")
}

fn code() -> c_int {
    // SAFETY: has no preconditions.
    unsafe { (nspr().PR_GetOSError)() }
}

fn pointer(found: Handle) -> Result<Handle, c_int> {
    if found.is_null() { Err(code()) } else { Ok(found) }
}

fn status(status: c_int) -> Result<(), c_int> {
    if status == 0 { Ok(()) } else { Err(code()) }
}

pub(crate) fn open(world: &World, flags: c_int) -> Result<Handle, c_int> {
    // SAFETY: a string.
    pointer(unsafe { (nspr().PR_OpenSharedMemory)(path(world).as_ptr(), SIZE, flags, 0o600) })
}

pub(crate) fn at(memory: Handle) -> Result<Handle, c_int> {
    // SAFETY: a handle.
    pointer(unsafe { (nspr().PR_AttachSharedMemory)(memory, 0) })
}

pub(crate) fn dt(memory: Handle, address: Handle) -> Result<(), c_int> {
    // SAFETY: attached, and not used any more.
    status(unsafe { (nspr().PR_DetachSharedMemory)(memory, address) })
}

pub(crate) fn close_memory(memory: Handle) -> Result<(), c_int> {
    // SAFETY: a handle, which is not used any more.
    status(unsafe { (nspr().PR_CloseSharedMemory)(memory) })
}

pub(crate) fn delete_memory(world: &World) -> Result<(), c_int> {
    // SAFETY: a string.
    status(unsafe { (nspr().PR_DeleteSharedMemory)(path(world).as_ptr()) })
}

fn open_sem(world: &World, flags: c_int, value: c_uint) -> Result<Handle, c_int> {
    // SAFETY: a string.
    pointer(unsafe { (nspr().PR_OpenSemaphore)(path(world).as_ptr(), flags, 0o600, value) })
}

fn wait_sem(semaphore: Handle) -> Result<(), c_int> {
    // SAFETY: a handle.
    status(unsafe { (nspr().PR_WaitSemaphore)(semaphore) })
}

fn post_sem(semaphore: Handle) -> Result<(), c_int> {
    // SAFETY: a handle.
    status(unsafe { (nspr().PR_PostSemaphore)(semaphore) })
}

fn close_sem(semaphore: Handle) -> Result<(), c_int> {
    // SAFETY: a handle, which is not used any more.
    status(unsafe { (nspr().PR_CloseSemaphore)(semaphore) })
}

fn delete_sem(world: &World) -> Result<(), c_int> {
    // SAFETY: a string.
    status(unsafe { (nspr().PR_DeleteSemaphore)(path(world).as_ptr()) })
}

trait Well<T> {
    fn well(self, call: &str) -> Result<T, Flaw>;
}

impl<T> Well<T> for Result<T, c_int> {
    fn well(self, call: &str) -> Result<T, Flaw> {
        self.map_err(|code| text(call, code)).must("")
    }
}

fn is_all(address: Handle, byte: u8) -> Check {
    // SAFETY: attached, with so many bytes; nobody writes them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), SIZE) };
    match bytes.iter().position(|found| *found != byte) {
        None => Ok(()),
        Some(at) => Err(Flaw::wrong(format!("byte {at} is {:#x}, and not {byte:#x}", bytes[at]))),
    }
}

fn memory_is(memory: Handle, byte: u8) -> Check {
    let address = at(memory).well("PR_AttachSharedMemory")?;
    is_all(address, byte)?;
    dt(memory, address).well("PR_DetachSharedMemory")
}

/// Nothing at the path, and nothing in the namespace.
fn is_deleted(world: &World) -> Check {
    ensure(open(world, 0) == Err(libc::ENOENT), || "what was deleted is there".into())?;
    ensure(!world.file("nspr").exists(), || "the file at the path stays".into())
}

/// Takes one within some milliseconds, if there is one: an alarm ends the sleep.
fn is_there_one(semaphore: Handle) -> Result<bool, Flaw> {
    let alarm = |microseconds| {
        let time = libc::timeval { tv_sec: 0, tv_usec: microseconds };
        let timer = libc::itimerval { it_interval: time, it_value: time };
        // SAFETY: reads `timer`. The laboratory, and so this process, handles the signal, and does nothing.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    };
    alarm(3000);
    let taken = wait_sem(semaphore);
    alarm(0);
    match taken {
        Ok(()) => Ok(true),
        Err(libc::EINTR) => Ok(false),
        Err(code) => Err(Flaw::wrong(text("PR_WaitSemaphore", code))),
    }
}

/// Takes all, and deletes it.
fn had(world: &World, least: c_uint, most: c_uint) -> Check {
    let semaphore = open_sem(world, 0, 0).well("PR_OpenSemaphore")?;
    let mut units = 0;
    while units <= most && is_there_one(semaphore)? {
        units += 1;
    }
    ensure((least..=most).contains(&units), || format!("{units} units, and not {least} to {most}"))?;
    post_sem(semaphore).well("PR_PostSemaphore")?;
    wait_sem(semaphore).well("PR_WaitSemaphore")?;
    close_sem(semaphore).well("PR_CloseSemaphore")?;
    delete_sem(world).well("PR_DeleteSemaphore")?;
    is_deleted(world)
}

// The worlds.

fn make_memory(world: &World) -> Check {
    let memory = open(world, CREATE).well("PR_OpenSharedMemory")?;
    let address = at(memory).well("PR_AttachSharedMemory")?;
    // SAFETY: attached, with so many bytes.
    unsafe { address.cast::<u8>().write_bytes(MARK, SIZE) };
    Ok(())
}

fn make_semaphore(world: &World) -> Check {
    open_sem(world, CREATE, UNITS).well("PR_OpenSemaphore").map(|_| ())
}

fn make_empty(world: &World) -> Check {
    open_sem(world, CREATE, 0).well("PR_OpenSemaphore").map(|_| ())
}

/// What a process does for the first time is behind it: of a file of its own.
fn warm(world: &World) -> Result<(), String> {
    let name = format!("warm-{}", std::process::id());
    let path = CString::new(world.file(&name).as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: a string.
    let memory = pointer(unsafe { (nspr().PR_OpenSharedMemory)(path.as_ptr(), 1, CREATE, 0o600) });
    let memory = memory.map_err(|code| text("PR_OpenSharedMemory", code))?;
    close_memory(memory).map_err(|code| text("PR_CloseSharedMemory", code))?;
    // SAFETY: a string.
    let deleted = status(unsafe { (nspr().PR_DeleteSharedMemory)(path.as_ptr()) });
    deleted.map_err(|code| text("PR_DeleteSharedMemory", code))
}

// The acts.

fn create(world: &World) -> Result<Act<'_>, String> {
    warm(world)?;
    create_cold(world)
}

fn create_cold(world: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| open(world, CREATE).map(|_| ()).map_err(|code| text("PR_OpenSharedMemory", code))))
}

fn opened(world: &World) -> Result<Handle, String> {
    open(world, 0).map_err(|code| text("PR_OpenSharedMemory", code))
}

fn attach(world: &World) -> Result<Act<'_>, String> {
    let memory = opened(world)?;
    Ok(Box::new(move || at(memory).map(|_| ()).map_err(|code| text("PR_AttachSharedMemory", code))))
}

fn detach(world: &World) -> Result<Act<'_>, String> {
    let memory = opened(world)?;
    let address = at(memory).map_err(|code| text("PR_AttachSharedMemory", code))?;
    Ok(Box::new(move || dt(memory, address).map_err(|code| text("PR_DetachSharedMemory", code))))
}

fn close(world: &World) -> Result<Act<'_>, String> {
    let mut memory = Some(opened(world)?);
    Ok(Box::new(move || match memory.take() {
        // The handle is gone, also after an error.
        Some(memory) => close_memory(memory).map_err(|code| text("PR_CloseSharedMemory", code)),
        None => Ok(()),
    }))
}

/// Of two, one deletes it, and the other finds that done.
fn delete(world: &World) -> Result<Act<'_>, String> {
    warm(world)?;
    Ok(Box::new(|| match delete_memory(world) {
        Ok(()) | Err(libc::ENOENT) => Ok(()),
        Err(code) => Err(text("PR_DeleteSharedMemory", code)),
    }))
}

fn open_semaphore(world: &World) -> Result<Act<'_>, String> {
    warm(world)?;
    Ok(Box::new(|| open_sem(world, CREATE, UNITS).map(|_| ()).map_err(|code| text("PR_OpenSemaphore", code))))
}

fn wait(world: &World) -> Result<Act<'_>, String> {
    let semaphore = open_sem(world, 0, 0).map_err(|code| text("PR_OpenSemaphore", code))?;
    Ok(Box::new(move || wait_sem(semaphore).map_err(|code| text("PR_WaitSemaphore", code))))
}

fn post(world: &World) -> Result<Act<'_>, String> {
    let semaphore = open_sem(world, 0, 0).map_err(|code| text("PR_OpenSemaphore", code))?;
    Ok(Box::new(move || post_sem(semaphore).map_err(|code| text("PR_PostSemaphore", code))))
}

fn delete_semaphore(world: &World) -> Result<Act<'_>, String> {
    warm(world)?;
    Ok(Box::new(|| match delete_sem(world) {
        Ok(()) | Err(libc::ENOENT) => Ok(()),
        Err(code) => Err(text("PR_DeleteSemaphore", code)),
    }))
}

// The companions, and those who come by.

fn hold(world: &World) -> Check {
    let memory = open(world, 0).well("PR_OpenSharedMemory")?;
    let address = at(memory).well("PR_AttachSharedMemory")?;
    world.board.wait_for_end();
    is_all(address, MARK)?;
    memory_is(memory, MARK)?;
    dt(memory, address).well("PR_DetachSharedMemory")?;
    close_memory(memory).well("PR_CloseSharedMemory")
}

fn post_on_cue(world: &World) -> Check {
    let semaphore = open_sem(world, 0, 0).well("PR_OpenSemaphore")?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    post_sem(semaphore).well("PR_PostSemaphore")
}

fn wait_for_it(world: &World) -> Check {
    let semaphore = open_sem(world, 0, 0).well("PR_OpenSemaphore")?;
    world.board.wait_for_cue();
    wait_sem(semaphore).well("PR_WaitSemaphore")?;
    world.count(THROUGH);
    Ok(())
}

fn post_if_needed(world: &World) -> Check {
    let semaphore = open_sem(world, 0, 0).well("PR_OpenSemaphore")?;
    let is_through = |patience| {
        let until = Instant::now() + patience;
        while world.noted(THROUGH) == 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
        world.noted(THROUGH) != 0
    };
    if is_through(Duration::from_millis(4)) {
        return Ok(());
    }
    if count(world)? == 0 {
        if !is_through(Duration::from_millis(4)) {
            world.note(RESCUED, 1);
            post_sem(semaphore).well("PR_PostSemaphore")?;
        }
        return Ok(());
    }
    // Posted, and died before waking: everybody asleep looks again, after 50 ms at first.
    let woken = is_through(Duration::from_millis(150));
    if woken { Ok(()) } else { Err(Flaw::stuck("there is a unit, and the waiter sleeps on")) }
}

/// How many units there are, as they stand in the only file that is there.
fn count(world: &World) -> Result<u32, Flaw> {
    let entries = std::fs::read_dir(world.dropin(System::Nspr)).must("look")?;
    let file = entries.flatten().find(|entry| entry.file_name().to_string_lossy().ends_with("-sem"));
    let bytes =
        std::fs::read(file.ok_or(()).map_err(|()| Flaw::wrong("no semaphore"))?.path()).must("read")?;
    let word = bytes.first_chunk().ok_or(()).map_err(|()| Flaw::wrong("no semaphore"))?;
    Ok(u32::from_ne_bytes(*word) & 0x7fff)
}

fn soon(what: impl FnOnce() -> Check) -> Check {
    let begun = Instant::now();
    what()?;
    let took = begun.elapsed();
    ensure(took < Duration::from_secs(1), || format!("took {took:?} beside a stopped process"))
}

fn use_memory(world: &World) -> Check {
    soon(|| {
        let memory = open(world, CREATE).well("PR_OpenSharedMemory")?;
        memory_is(memory, MARK)?;
        close_memory(memory).well("PR_CloseSharedMemory")
    })
}

fn use_semaphore(world: &World) -> Check {
    soon(|| {
        let semaphore = open_sem(world, 0, 0).well("PR_OpenSemaphore")?;
        wait_sem(semaphore).well("PR_WaitSemaphore")?;
        post_sem(semaphore).well("PR_PostSemaphore")?;
        close_sem(semaphore).well("PR_CloseSemaphore")
    })
}

// What is left.

fn memory_usable(world: &World, fate: Fate) -> Check {
    match open(world, 0) {
        Ok(memory) => {
            memory_is(memory, 0)?;
            close_memory(memory).well("PR_CloseSharedMemory")?;
        }
        Err(libc::ENOENT) => ensure(!fate.finished(), || "what was made is gone".into())?,
        Err(code) => return Err(Flaw::wrong(text("PR_OpenSharedMemory", code))),
    }
    let memory = open(world, CREATE).well("PR_OpenSharedMemory")?;
    memory_is(memory, 0)?;
    close_memory(memory).well("PR_CloseSharedMemory")?;
    delete_memory(world).well("PR_DeleteSharedMemory")?;
    is_deleted(world)
}

fn memory_there(world: &World, _: Fate) -> Check {
    let memory = open(world, 0).well("PR_OpenSharedMemory")?;
    memory_is(memory, MARK)?;
    close_memory(memory).well("PR_CloseSharedMemory")?;
    delete_memory(world).well("PR_DeleteSharedMemory")?;
    is_deleted(world)
}

/// Its bytes as they were, or gone; one that died between segment and file left a file without a segment, which the next
/// creator takes over.
fn memory_deleted(world: &World, fate: Fate) -> Check {
    match open(world, 0) {
        Ok(memory) => {
            ensure(!fate.undisturbed(), || "what was deleted is there".into())?;
            memory_is(memory, MARK)?;
            close_memory(memory).well("PR_CloseSharedMemory")?;
            delete_memory(world).well("PR_DeleteSharedMemory")?;
        }
        Err(libc::ENOENT) => {
            if fate.undisturbed() {
                is_deleted(world)?;
            }
            let memory = open(world, CREATE).well("PR_OpenSharedMemory")?;
            memory_is(memory, 0)?;
            close_memory(memory).well("PR_CloseSharedMemory")?;
            delete_memory(world).well("PR_DeleteSharedMemory")?;
        }
        Err(code) => return Err(Flaw::wrong(text("PR_OpenSharedMemory", code))),
    }
    is_deleted(world)
}

fn semaphore_usable(world: &World, fate: Fate) -> Check {
    match open_sem(world, 0, 0) {
        Ok(_) => {}
        Err(libc::ENOENT) => {
            ensure(!fate.finished(), || "what was made is gone".into())?;
            open_sem(world, CREATE, UNITS).well("PR_OpenSemaphore")?;
        }
        Err(code) => return Err(Flaw::wrong(text("PR_OpenSemaphore", code))),
    }
    had(world, UNITS, UNITS)
}

fn semaphore_there(world: &World, _: Fate) -> Check {
    had(world, UNITS, UNITS)
}

/// One that dies with a unit has taken it: as with NSPR's own.
fn taken(world: &World, fate: Fate) -> Check {
    had(world, UNITS - 1, if fate.finished() { UNITS - 1 } else { UNITS })
}

fn all_taken(world: &World, fate: Fate) -> Check {
    had(world, 0, c_uint::from(!fate.finished()))
}

fn given(world: &World, fate: Fate) -> Check {
    had(world, if fate.finished() { UNITS + 1 } else { UNITS }, UNITS + 1)
}

fn given_to_waiter(world: &World, fate: Fate) -> Check {
    let rescued = world.noted(RESCUED) == 1;
    ensure(!(rescued && fate.finished()), || "posted, and the waiter slept on".into())?;
    had(world, 0, 0)
}

fn semaphore_deleted(world: &World, fate: Fate) -> Check {
    match open_sem(world, 0, 0) {
        Ok(_) => ensure(!fate.undisturbed(), || "what was deleted is there".into())?,
        Err(libc::ENOENT) => {
            if fate.undisturbed() {
                is_deleted(world)?;
            }
            open_sem(world, CREATE, UNITS).well("PR_OpenSemaphore")?;
        }
        Err(code) => return Err(Flaw::wrong(text("PR_OpenSemaphore", code))),
    }
    had(world, UNITS, UNITS)
}
