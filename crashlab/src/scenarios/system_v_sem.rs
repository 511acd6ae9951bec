//! System V's semaphores in user space: operations that are done whole or not at all, and what the dead owe.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use crate::dropins::{System, errno, system_v, text};
use crate::flaw::{Check, Flaw, Must, ensure};
use crate::scenario::{Act, Fate, Floor, Scenario};
use crate::world::{PATIENCE, World};

const fn scenario(
    name: &'static str,
    arrange: for<'w> fn(&'w World) -> Result<Act<'w>, String>,
    verify: fn(&World, Fate) -> Check,
) -> Scenario {
    Scenario::new(Floor::DropIn, name, arrange, verify).library(System::SystemV)
}

/// See the module. Others are not asked for what they can do while a process is stopped inside `semop`: it may have the
/// set's lock, and they wait for that, however short they meant to wait.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("semget: create, the first of all", create_cold, gone_or_usable),
    scenario("semget: create", create, gone_or_usable).prepare(make_other).meanwhile(use_other).pairs(),
    scenario("semget: existing", find, as_made).prepare(make).meanwhile(use_it).pairs(),
    scenario("semop: take one", take, taken_or_not).prepare(make),
    scenario("semop: give one, with a waiter", give, given_to_waiter)
        .prepare(make_empty)
        .companion(wait_for_it),
    scenario("semop: several at once", take_both, both_or_none).prepare(make),
    scenario("semop: asleep", take, taken_once).prepare(make_empty).companion(give_on_cue),
    scenario("semop: asleep, several at once", take_both, both_taken)
        .prepare(make_half)
        .companion(give_on_cue),
    scenario("semop: wait for zero", wait_for_zero, nothing_there).prepare(make_half).companion(take_on_cue),
    scenario("semop: until the time is over", time_out, nothing_there).prepare(make_empty),
    scenario("semop, SEM_UNDO: take and give", borrow, as_made).prepare(make).pairs(),
    scenario("semop, SEM_UNDO: take, while another one waits", take_with_undo, comes_back)
        .prepare(make_one)
        .companion(wait_for_undo),
    scenario("semop, SEM_UNDO: several at once", take_both_with_undo, as_made).prepare(make),
    scenario("semop, SEM_UNDO: asleep", borrow, as_made_empty_then_one)
        .prepare(make_empty)
        .companion(give_on_cue),
    scenario("semctl: SETVAL, with a waiter", set_value, given_to_waiter)
        .prepare(make_empty)
        .companion(wait_for_it),
    scenario("semctl: IPC_RMID", remove, removed).prepare(make).pairs(),
    scenario("semctl: IPC_RMID, with a waiter", remove, removed)
        .prepare(make_empty)
        .companion(wait_until_removed),
];

const KEY: c_int = 0x4c41_4203;
const OTHER: c_int = 0x4c41_4204;
/// So many semaphores a set has, and so much is in each.
const SEMAPHORES: c_int = 3;
const UNITS: i32 = 2;

/// Within this time what the dead owe is paid.
const UNDONE: Duration = Duration::from_millis(50);
/// Beside what the machine takes for starting processes.
const SLACK: Duration = Duration::from_millis(30);

/// Where the id is kept, and whether the companion came through.
const ID: usize = 3;
const THROUGH: usize = 5;

pub(crate) const UNDO: i16 = libc::SEM_UNDO as i16;
const NO_WAIT: i16 = libc::IPC_NOWAIT as i16;

// The calls, as Rust has them.

pub(crate) fn get(key: c_int, flags: c_int) -> Result<c_int, c_int> {
    // SAFETY: has no preconditions.
    let id = unsafe { (system_v().semget)(key, SEMAPHORES, flags | 0o600) };
    if id < 0 { Err(errno()) } else { Ok(id) }
}

pub(crate) const fn step(number: u16, by: i16, flags: i16) -> libc::sembuf {
    libc::sembuf { sem_num: number, sem_op: by, sem_flg: flags }
}

pub(crate) fn operate(id: c_int, steps: &[libc::sembuf]) -> Result<(), c_int> {
    let mut steps = steps.to_vec();
    // SAFETY: so many operations.
    let done = unsafe { (system_v().semop)(id, steps.as_mut_ptr(), steps.len()) };
    if done < 0 { Err(errno()) } else { Ok(()) }
}

pub(crate) fn operate_within(id: c_int, steps: &[libc::sembuf], time: Duration) -> Result<(), c_int> {
    let mut steps = steps.to_vec();
    let time = libc::timespec { tv_sec: time.as_secs() as libc::time_t, tv_nsec: time.subsec_nanos().into() };
    // SAFETY: so many operations, and a time.
    let done = unsafe { (system_v().semtimedop)(id, steps.as_mut_ptr(), steps.len(), &raw const time) };
    if done < 0 { Err(errno()) } else { Ok(()) }
}

pub(crate) fn control(id: c_int, number: c_int, command: c_int, argument: usize) -> Result<c_int, c_int> {
    // SAFETY: the commands that come here take a number, or nothing.
    let value = unsafe { (system_v().semctl)(id, number, command, argument) };
    if value < 0 { Err(errno()) } else { Ok(value) }
}

fn rm(id: c_int) -> Result<(), c_int> {
    control(id, 0, libc::IPC_RMID, 0).map(|_| ())
}

trait Well<T> {
    fn well(self, call: &str) -> Result<T, Flaw>;
}

impl<T> Well<T> for Result<T, c_int> {
    fn well(self, call: &str) -> Result<T, Flaw> {
        self.map_err(|code| text(call, code)).must("")
    }
}

fn values(id: c_int) -> Result<Vec<c_int>, Flaw> {
    (0..SEMAPHORES).map(|number| control(id, number, libc::GETVAL, 0).well("GETVAL")).collect()
}

/// So much is in each; what the dead owe is paid within its time.
fn has(id: c_int, wanted: &[c_int]) -> Check {
    let until = Instant::now() + UNDONE;
    loop {
        let found = values(id)?;
        if found == wanted {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Flaw::wrong(format!("the values are {found:?}, and not {wanted:?}")));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The one if the act is over, else the one or the other.
fn has_or(id: c_int, fate: Fate, done: [c_int; 3], not: [c_int; 3]) -> Check {
    let found = values(id)?;
    ensure(found == done || !fate.finished() && found == not, || {
        format!("the values are {found:?}, and neither {done:?} nor, before the end, {not:?}")
    })
}

fn is_gone(id: c_int) -> Check {
    ensure(get(KEY, 0) == Err(libc::ENOENT), || "the key still finds it".into())?;
    match control(id, 0, libc::GETVAL, 0) {
        Err(libc::EINVAL | libc::EIDRM) => Ok(()),
        other => Err(Flaw::wrong(format!("what is gone is still there by its id: {other:?}"))),
    }
}

/// All works as if nothing had happened, nobody waits, and it goes.
fn works_and_goes(id: c_int) -> Check {
    for number in 0..SEMAPHORES {
        let waiting = control(id, number, libc::GETNCNT, 0).well("GETNCNT")?;
        ensure(waiting == 0, || format!("{waiting} wait, who are dead"))?;
    }
    let before = values(id)?;
    operate(id, &[step(0, 1, 0), step(2, 1, UNDO)]).well("semop")?;
    operate(id, &[step(2, -1, UNDO | NO_WAIT), step(0, -1, NO_WAIT)]).well("semop")?;
    has(id, &before)?;
    rm(id).well("IPC_RMID")?;
    is_gone(id)
}

// The worlds.

fn make_key(key: c_int, each: [i32; 3]) -> Result<c_int, Flaw> {
    let id = get(key, libc::IPC_CREAT | libc::IPC_EXCL).well("semget")?;
    for (number, value) in (0..).zip(each) {
        control(id, number, libc::SETVAL, value as usize).well("SETVAL")?;
    }
    Ok(id)
}

fn make_with(world: &World, each: [i32; 3]) -> Check {
    world.note(ID, make_key(KEY, each)? as u64);
    Ok(())
}

fn make(world: &World) -> Check {
    make_with(world, [UNITS; 3])
}

fn make_empty(world: &World) -> Check {
    make_with(world, [0; 3])
}

fn make_one(world: &World) -> Check {
    make_with(world, [1, 0, 0])
}

/// Something in the second, and nothing in the first.
fn make_half(world: &World) -> Check {
    make_with(world, [0, 1, 0])
}

fn make_other(_: &World) -> Check {
    make_key(OTHER, [UNITS; 3]).map(|_| ())
}

fn id(world: &World) -> c_int {
    world.noted(ID) as c_int
}

// The acts. What a process does for the first time is behind it.

fn warm() -> Result<(), String> {
    let id = get(libc::IPC_PRIVATE, 0).map_err(|code| text("semget", code))?;
    operate(id, &[step(0, 1, UNDO)]).map_err(|code| text("semop", code))?;
    operate(id, &[step(0, -1, UNDO)]).map_err(|code| text("semop", code))?;
    rm(id).map_err(|code| text("IPC_RMID", code))
}

fn create_cold(_: &World) -> Result<Act<'_>, String> {
    Ok(Box::new(|| get(KEY, libc::IPC_CREAT).map(|_| ()).map_err(|code| text("semget", code))))
}

fn create(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    create_cold(world)
}

fn find(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    Ok(Box::new(|| match get(KEY, 0) {
        Ok(found) if found == id(world) => Ok(()),
        Ok(found) => panic!("another id: {found}"),
        Err(code) => Err(text("semget", code)),
    }))
}

/// Of a set that this process has used before.
fn semop<'w>(world: &'w World, steps: &'static [libc::sembuf]) -> Result<Act<'w>, String> {
    warm()?;
    control(id(world), 0, libc::GETVAL, 0).map_err(|code| text("GETVAL", code))?;
    Ok(Box::new(|| operate_within(id(world), steps, PATIENCE).map_err(|code| text("semop", code))))
}

fn take(world: &World) -> Result<Act<'_>, String> {
    semop(world, const { &[step(0, -1, 0)] })
}

fn give(world: &World) -> Result<Act<'_>, String> {
    semop(world, const { &[step(0, 1, 0)] })
}

fn take_both(world: &World) -> Result<Act<'_>, String> {
    semop(world, const { &[step(0, -1, 0), step(1, -1, 0)] })
}

fn wait_for_zero(world: &World) -> Result<Act<'_>, String> {
    semop(world, const { &[step(1, 0, 0)] })
}

fn take_with_undo(world: &World) -> Result<Act<'_>, String> {
    semop(world, const { &[step(0, -1, UNDO)] })
}

fn take_both_with_undo(world: &World) -> Result<Act<'_>, String> {
    semop(world, const { &[step(0, -1, UNDO), step(1, -2, UNDO), step(2, 3, UNDO)] })
}

fn time_out(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    let steps = [step(0, -1, UNDO)];
    Ok(Box::new(move || match operate_within(id(world), &steps, Duration::from_millis(2)) {
        Err(libc::EAGAIN) => Ok(()),
        Ok(()) => Err("had, though there is nothing".into()),
        Err(code) => Err(text("semop", code)),
    }))
}

fn borrow(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    control(id(world), 0, libc::GETVAL, 0).map_err(|code| text("GETVAL", code))?;
    let mut taken = false;
    Ok(Box::new(move || {
        if !taken {
            operate_within(id(world), &[step(0, -1, UNDO)], PATIENCE).map_err(|code| text("semop", code))?;
            taken = true;
        }
        operate(id(world), &[step(0, 1, UNDO)]).map_err(|code| text("semop", code))
    }))
}

fn set_value(world: &World) -> Result<Act<'_>, String> {
    warm()?;
    Ok(Box::new(|| control(id(world), 0, libc::SETVAL, 1).map(|_| ()).map_err(|code| text("SETVAL", code))))
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

/// Waits for a unit; when the victim is gone without having given one, there never will be.
fn wait_for_it(world: &World) -> Check {
    world.board.wait_for_cue();
    loop {
        match operate_within(id(world), &[step(0, -1, 0)], Duration::from_millis(60)) {
            Ok(()) => {
                world.count(THROUGH);
                return Ok(());
            }
            // Sleeps on for a while; then it makes sure that there is nothing.
            Err(libc::EAGAIN) if world.board.since_end().is_none() => {}
            Err(libc::EAGAIN) => return has(id(world), &[0, 0, 0]),
            Err(code) => return Err(Flaw::wrong(text("semop", code))),
        }
    }
}

/// The unit comes back from the dead, and to who waits for it.
fn wait_for_undo(world: &World) -> Check {
    world.board.wait_for_cue();
    match operate_within(id(world), &[step(0, -1, UNDO)], PATIENCE) {
        Ok(()) => {}
        Err(libc::EAGAIN) => return Err(Flaw::stuck("what a dead one owed did not come back")),
        Err(code) => return Err(Flaw::wrong(text("semop", code))),
    }
    if let Some(late) = world.board.since_end() {
        ensure(late < UNDONE + SLACK, || format!("what a dead one owed came back after {late:?}"))?;
    }
    operate(id(world), &[step(0, 1, UNDO)]).well("semop")
}

fn wait_until_removed(world: &World) -> Check {
    world.board.wait_for_cue();
    loop {
        match operate_within(id(world), &[step(0, -1, 0)], Duration::from_millis(60)) {
            Err(libc::EIDRM | libc::EINVAL) => return Ok(()),
            Err(libc::EAGAIN) if world.board.since_end().is_none() => {}
            // The victim died before it had removed it.
            Err(libc::EAGAIN) => {
                return match get(KEY, 0) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(Flaw::stuck("removed, and who waited was not told")),
                };
            }
            other => return Err(Flaw::wrong(format!("semop gave {other:?} where there is nothing"))),
        }
    }
}

fn give_on_cue(world: &World) -> Check {
    values(id(world))?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    operate(id(world), &[step(0, 1, 0)]).well("semop")
}

fn take_on_cue(world: &World) -> Check {
    values(id(world))?;
    world.board.wait_for_cue();
    world.board.wait_for_cue();
    operate(id(world), &[step(1, -1, 0)]).well("semop")
}

fn soon(what: impl FnOnce() -> Check) -> Check {
    let begun = Instant::now();
    what()?;
    let took = begun.elapsed();
    ensure(took < Duration::from_secs(1), || format!("took {took:?} beside a stopped process"))
}

fn use_id(id: c_int) -> Check {
    soon(|| {
        match operate_within(id, &[step(0, -1, UNDO)], Duration::from_millis(100)) {
            Ok(()) => operate(id, &[step(0, 1, UNDO)]).well("semop"),
            // A stopped process may have what it takes.
            Err(libc::EAGAIN) => Ok(()),
            Err(code) => Err(Flaw::wrong(text("semop", code))),
        }
    })
}

fn use_it(_: &World) -> Check {
    use_id(get(KEY, 0).well("semget")?)
}

fn use_other(_: &World) -> Check {
    use_id(get(OTHER, 0).well("semget")?)?;
    match get(KEY, 0) {
        Ok(id) => has(id, &[0, 0, 0]),
        Err(libc::ENOENT) => Ok(()),
        Err(code) => Err(Flaw::wrong(text("semget", code))),
    }
}

// What is left.

fn gone_or_usable(_: &World, fate: Fate) -> Check {
    match get(KEY, 0) {
        Ok(id) => has(id, &[0, 0, 0])?,
        Err(libc::ENOENT) => ensure(!fate.finished(), || "what was made is gone".into())?,
        Err(code) => return Err(Flaw::wrong(text("semget", code))),
    }
    let id = get(KEY, libc::IPC_CREAT).well("semget")?;
    has(id, &[0, 0, 0])?;
    works_and_goes(id)?;
    if let Ok(id) = get(OTHER, 0) {
        has(id, &[UNITS; 3])?;
        rm(id).well("IPC_RMID")?;
    }
    Ok(())
}

fn as_made(world: &World, _: Fate) -> Check {
    let found = get(KEY, 0).well("semget")?;
    ensure(found == id(world), || format!("another id: {found}"))?;
    has(found, &[UNITS; 3])?;
    works_and_goes(found)
}

fn taken_or_not(world: &World, fate: Fate) -> Check {
    has_or(id(world), fate, [UNITS - 1, UNITS, UNITS], [UNITS; 3])?;
    works_and_goes(id(world))
}

fn both_or_none(world: &World, fate: Fate) -> Check {
    has_or(id(world), fate, [UNITS - 1, UNITS - 1, UNITS], [UNITS; 3])?;
    works_and_goes(id(world))
}

/// What was given is in the set, or was taken from it once.
fn taken_once(world: &World, fate: Fate) -> Check {
    has_or(id(world), fate, [0, 0, 0], [1, 0, 0])?;
    works_and_goes(id(world))
}

fn both_taken(world: &World, fate: Fate) -> Check {
    has_or(id(world), fate, [0, 0, 0], [1, 1, 0])?;
    works_and_goes(id(world))
}

fn nothing_there(world: &World, _: Fate) -> Check {
    has(id(world), &[0, 0, 0])?;
    works_and_goes(id(world))
}

/// The waiter has it, or nobody gave anything.
fn given_to_waiter(world: &World, fate: Fate) -> Check {
    let through = world.noted(THROUGH) == 1;
    ensure(!fate.finished() || through, || "given, and the waiter did not get it".into())?;
    has(id(world), &[0, 0, 0])?;
    works_and_goes(id(world))
}

fn comes_back(world: &World, _: Fate) -> Check {
    has(id(world), &[1, 0, 0])?;
    works_and_goes(id(world))
}

/// The companion's unit, which was lent and has come back.
fn as_made_empty_then_one(world: &World, _: Fate) -> Check {
    has(id(world), &[1, 0, 0])?;
    works_and_goes(id(world))
}

fn removed(world: &World, fate: Fate) -> Check {
    match get(KEY, 0) {
        Ok(found) => {
            ensure(!fate.undisturbed(), || "what was removed is there".into())?;
            works_and_goes(found)?;
        }
        Err(libc::ENOENT) => {}
        Err(code) => return Err(Flaw::wrong(text("semget", code))),
    }
    is_gone(id(world))?;
    // What a dead remover left goes with a call, once it is time to look.
    let file = world.dropin(System::SystemV).join(format!("sem.{}", id(world)));
    let until = Instant::now() + UNDONE;
    while file.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
        let _ = get(KEY, 0);
    }
    Ok(())
}
