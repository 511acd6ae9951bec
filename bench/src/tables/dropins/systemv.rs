//! System V: the kernel's own calls, against the same with `libcommons_sysv.so` loaded before libc.

use std::ffi::CStr;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::question;
use crate::child::{Child, Helper, Parent};
use crate::contest::{Contest, Run, batch};
use crate::harness::{Context, nanoseconds};
use crate::library;
use crate::partner::Partner;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::{Directory, Name};
use crate::statistics::Limit;
use crate::sysv::{Segment, Semaphores};

/// The role of a child that makes the calls. Arguments: the other core, and `linux` or `commons`.
pub(super) const ROLE: &str = "system-v";

const PAGE: usize = 4096;
/// The peer's name.
const LINUX: &str = "Linux System V";
const LIBRARY: &str = "libcommons_sysv.so";

/// Which library a call of this program ends up in.
fn carrier(call: *const libc::c_void) -> String {
    // SAFETY: all-zero bytes are a valid value of this structure of pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the call fills the structure; the name it gives ends with NUL, and stays.
    unsafe {
        if libc::dladdr(call, &raw mut info) == 0 || info.dli_fname.is_null() {
            return String::new();
        }
        CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned()
    }
}

const SEMAPHORES: &[&CStr] = &[c"semget", c"semop", c"semctl"];
const MEMORY: &[&CStr] = &[c"shmget", c"shmat", c"shmdt", c"shmctl"];

/// Fails unless the calls go where they should.
fn must_be(calls: &[&CStr], commons: bool) -> Result<()> {
    for name in calls {
        // SAFETY: a name that ends with NUL.
        let call = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        let carrier = carrier(call);
        ensure!(carrier.contains(LIBRARY) == commons, "{} is in {carrier:?}", name.to_string_lossy());
    }
    Ok(())
}

pub(super) fn act(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [other, whose, which] = arguments else { bail!("the other core, whose calls, and what with?") };
    let other: usize = other.parse()?;
    // Nothing is ever left in the kernel; a failure means that the measuring process has done this for all.
    let _ = crate::sysv::unshare();
    let commons = whose == COMMONS;
    if which == "semaphores" {
        must_be(SEMAPHORES, commons)?;
        serve_semaphores(parent, other)
    } else {
        must_be(MEMORY, commons)?;
        serve_memory(parent, other)
    }
}

fn serve_semaphores(parent: &mut Parent, other: usize) -> Result<()> {
    let semaphores = Semaphores::create(3).context("semget")?;
    semaphores.change(0, 1, 0).context("semop")?;
    parent.serve(|asked| {
        let (work, count) = question(asked)?;
        let flags = if work == "undo" { libc::SEM_UNDO } else { 0 };
        // The partner is there before the clock runs.
        let _partner = match work {
            "trip" => Some(Partner::start(other, || {
                for _ in 0..count {
                    let _ = semaphores.change(1, -1, 0).and_then(|()| semaphores.change(2, 1, 0));
                }
            })?),
            _ => None,
        };
        let started = Instant::now();
        for _ in 0..count {
            if work == "trip" {
                semaphores.change(1, 1, 0)?;
                semaphores.change(2, -1, 0)?;
            } else {
                semaphores.change(0, -1, flags)?;
                semaphores.change(0, 1, flags)?;
            }
        }
        let calls = if work == "trip" { 1.0 } else { 2.0 };
        Ok((nanoseconds(started) / (f64::from(count) * calls)).to_string())
    })
}

fn serve_memory(parent: &mut Parent, other: usize) -> Result<()> {
    let key = 0x6265_6e63;
    let kept = Segment::create(key, PAGE).context("shmget")?;
    let mut holders = Vec::new();
    parent.serve(|asked| {
        let (work, count) = question(asked)?;
        if work == "stat" && holders.is_empty() {
            for _ in 0..10 {
                let id = kept.id;
                holders.push(Partner::start(other, || {
                    let _attached = Segment::attach(id);
                    loop {
                        std::thread::sleep(std::time::Duration::from_secs(1));
                    }
                })?);
            }
            let begun = Instant::now();
            while Segment::attached(kept.id)? != 10 {
                ensure!(
                    begun.elapsed().as_secs() < 5,
                    "{} are attached, not 10",
                    Segment::attached(kept.id)?
                );
            }
        }
        let started = Instant::now();
        for _ in 0..count {
            match work {
                "attach" => Segment::detach(Segment::attach(kept.id)?)?,
                "create" => {
                    let segment = Segment::create(libc::IPC_PRIVATE, PAGE)?;
                    Segment::detach(Segment::attach(segment.id)?)?;
                }
                "find" => drop(Segment::find(key)?),
                "stat" => drop(Segment::attached(kept.id)?),
                _ => bail!("there is no work {work:?}"),
            }
        }
        Ok((nanoseconds(started) / f64::from(count)).to_string())
    })
}

/// The two children; the directory has the drop-in's namespace, and goes after them.
struct Pair {
    linux: Helper,
    commons: Helper,
    _directory: Directory,
}

impl Pair {
    fn start(context: &Context, which: &str) -> Result<Pair> {
        let directory = Directory::new(&format!("sysv-{which}"))?;
        let placement = &context.placement;
        let child = |whose: &str, library: Option<&std::path::Path>| -> Result<Child> {
            let other = placement.other.to_string();
            let mut command = Child::command(ROLE, placement.own, &[&other, whose, which])?;
            command.env_remove("LD_PRELOAD");
            if let Some(library) = library {
                command
                    .env("LD_PRELOAD", library)
                    .env("COMMONS_SYSV_NAMESPACE", directory.path().join("namespace"));
            }
            Child::of(command, placement.own)
        };
        let linux = Helper::new(child("linux", None));
        let commons = Helper::new(library::find(LIBRARY).and_then(|library| child(COMMONS, Some(&library))));
        Ok(Pair { linux, commons, _directory: directory })
    }

    /// What is asked of both.
    fn contest<'a>(&self, question: &str, floor: Run<'a>) -> Contest<'a> {
        Contest::new()
            .built(COMMONS, self.commons.run(question))
            .add(FLOOR, floor)
            .peer(LINUX, self.linux.run(question))
    }
}

pub(super) fn semaphores(context: &Context) -> Result<Vec<Work>> {
    let pair = Pair::start(context, "semaphores")?;
    let word = AtomicU32::new(1);
    let bare = || {
        let mut pair = batch(10_000, || {
            let _ = word.compare_exchange(1, 0, Acquire, Relaxed);
            word.store(1, Release);
            Ok(())
        });
        Box::new(move || Ok(pair()? / 2.0)) as Run<'_>
    };
    let ends = crate::tables::wake::Ends::new()?;
    let _partner = ends.partner(&context.placement)?;
    let rounds = context.rounds(200, 20);
    let uncontended = pair.contest("plain 2000", bare()).run(rounds)?;
    let undone = pair.contest("undo 2000", bare()).run(rounds)?;
    let trips = pair
        .contest("trip 500", Box::new(|| ends.trip(crate::tables::wake::Way::Futex)))
        .run(context.rounds(60, 8))?;
    let remark = "the floor is half of a compare-and-swap and a store";
    Ok(vec![
        uncontended
            .work("semop, -1 or +1, uncontended", Unit::Nanoseconds, COMMONS)?
            .bound(LINUX, Limit::AtLeast(10.0))
            .note(remark),
        undone
            .work("semop, -1 or +1, uncontended, with SEM_UNDO", Unit::Nanoseconds, COMMONS)?
            .bound(LINUX, Limit::AtLeast(8.0))
            .note(remark),
        trips
            .work("semop, round trip between two processes", Unit::Microseconds, COMMONS)?
            .bound(LINUX, Limit::AtMost(1.1))
            .note("the floor is a raw futex"),
    ])
}

pub(super) fn memory(context: &Context) -> Result<Vec<Work>> {
    let pair = Pair::start(context, "memory")?;
    let (kept, made) = (Name::new("sysv-kept"), Name::new("sysv-made"));
    let (kept, made) = (kept.posix()?, made.posix()?);
    raw::create(&kept, PAGE)?;
    let call = || {
        batch(1_000, || {
            // SAFETY: a call that touches no memory.
            unsafe { libc::syscall(libc::SYS_getppid) };
            Ok(())
        })
    };
    let attach = pair
        .contest("attach 300", batch(300, || Ok(raw::open_attach_detach(&kept)?)))
        .run(context.rounds(200, 20))?;
    let create = pair
        .contest("create 100", batch(100, || Ok(raw::create_attach_delete(&made, PAGE)?)))
        .run(context.rounds(200, 20))?;
    let find = pair.contest("find 1000", call()).run(context.rounds(200, 20))?;
    let stat = pair.contest("stat 200", call()).run(context.rounds(100, 10))?;
    let calls = "the floor is any system call";
    let raw_calls = "the floor is the raw calls on a file";
    Ok(vec![
        attach
            .work("shmat and shmdt of a segment that is there", Unit::Microseconds, COMMONS)?.why("What is one call each in the kernel is several in user space: the segment's file is opened, marked as attached, mapped and closed.")
            .bound(LINUX, Limit::AtMost(2.0))
            .note(raw_calls),
        create
            .work("shmget, shmat, shmdt and IPC_RMID", Unit::Microseconds, COMMONS)?.why("The kernel makes an object; this makes a file, reserves its memory, and enters it in a table that no crash can leave wrong.")
            .bound(LINUX, Limit::AtMost(3.5))
            .note(raw_calls),
        find.work("shmget of a key that is there", Unit::Nanoseconds, COMMONS)?
            .bound(LINUX, Limit::AtMost(1.2))
            .note(calls),
        stat.work("IPC_STAT of a segment with 10 processes attached", Unit::Microseconds, COMMONS)?.why("The kernel counts as it maps; in user space the holders' locks are asked for one by one, since a count would be wrong after a crash.")
            .bound(COMMONS, Limit::AtMost(20.0))
            .note(calls),
    ])
}
