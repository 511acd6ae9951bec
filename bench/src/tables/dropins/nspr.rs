//! NSPR: Debian's `libnspr4`, against `libcommons_nspr.so`.

use std::ffi::{CString, c_char, c_int, c_void};
use std::time::Instant;

use anyhow::{Result, bail};

use super::{function, open_library, question, text};
use crate::child::{Child, Helper, Parent};
use crate::contest::{Contest, batch};
use crate::harness::{Context, nanoseconds};
use crate::library;
use crate::raw;
use crate::report::{COMMONS, FLOOR, Unit, Work};
use crate::scratch::{Directory, Name};
use crate::statistics::Limit;

/// The role of a child that makes the calls. Arguments: the library, and a directory for names.
pub(super) const ROLE: &str = "nspr";

const PAGE: usize = 4096;
const PEER: &str = "libnspr4";

type Handle = *mut c_void;

struct Calls {
    open: unsafe extern "C" fn(*const c_char, usize, c_int, c_int) -> Handle,
    attach: unsafe extern "C" fn(Handle, c_int) -> *mut c_void,
    detach: unsafe extern "C" fn(Handle, *mut c_void) -> c_int,
    close: unsafe extern "C" fn(Handle) -> c_int,
    delete: unsafe extern "C" fn(*const c_char) -> c_int,
    open_semaphore: unsafe extern "C" fn(*const c_char, c_int, c_int, u32) -> Handle,
    wait: unsafe extern "C" fn(Handle) -> c_int,
    post: unsafe extern "C" fn(Handle) -> c_int,
    delete_semaphore: unsafe extern "C" fn(*const c_char) -> c_int,
    error: unsafe extern "C" fn() -> c_int,
    system_error: unsafe extern "C" fn() -> c_int,
}

/// `PR_SHM_CREATE`, and `PR_SEM_CREATE`.
const CREATE: c_int = 1;

impl Calls {
    fn load(library: &str) -> Result<Calls> {
        let library = open_library(library)?;
        // SAFETY: the types are those of prshm.h and pripcsem.h.
        unsafe {
            Ok(Calls {
                open: function(library, "PR_OpenSharedMemory")?,
                attach: function(library, "PR_AttachSharedMemory")?,
                detach: function(library, "PR_DetachSharedMemory")?,
                close: function(library, "PR_CloseSharedMemory")?,
                delete: function(library, "PR_DeleteSharedMemory")?,
                open_semaphore: function(library, "PR_OpenSemaphore")?,
                wait: function(library, "PR_WaitSemaphore")?,
                post: function(library, "PR_PostSemaphore")?,
                delete_semaphore: function(library, "PR_DeleteSemaphore")?,
                error: function(library, "PR_GetError")?,
                system_error: function(library, "PR_GetOSError")?,
            })
        }
    }

    /// An error, with NSPR's code and the system's, unless all is well.
    #[inline]
    fn check(&self, well: bool, call: &str) -> Result<()> {
        if well {
            return Ok(());
        }
        // SAFETY: these have no preconditions.
        let (code, system) = unsafe { ((self.error)(), (self.system_error)()) };
        bail!("{call} failed: {code}, {}", std::io::Error::from_raw_os_error(system))
    }
}

pub(super) fn act(arguments: &[String], parent: &mut Parent) -> Result<()> {
    let [library, directory] = arguments else { bail!("which library, and where?") };
    let _ = crate::sysv::unshare();
    let calls = Calls::load(library)?;
    let name = CString::new(format!("{directory}/memory"))?;
    let semaphore_name = CString::new(format!("{directory}/semaphore"))?;
    // SAFETY: the names end with NUL; handles are used as NSPR says, and not after they are closed.
    unsafe {
        let kept = (calls.open)(name.as_ptr(), PAGE, CREATE, 0o600);
        calls.check(!kept.is_null(), "PR_OpenSharedMemory")?;
        let semaphore = (calls.open_semaphore)(semaphore_name.as_ptr(), CREATE, 0o600, 1);
        calls.check(!semaphore.is_null(), "PR_OpenSemaphore")?;
        let answered = parent.serve(|asked| {
            let (work, count) = question(asked)?;
            let started = Instant::now();
            for _ in 0..count {
                if work == "open" {
                    let memory = (calls.open)(name.as_ptr(), PAGE, 0, 0o600);
                    calls.check(!memory.is_null(), "PR_OpenSharedMemory")?;
                    let address = (calls.attach)(memory, 0);
                    calls.check(!address.is_null(), "PR_AttachSharedMemory")?;
                    calls.check((calls.detach)(memory, address) == 0, "PR_DetachSharedMemory")?;
                    calls.check((calls.close)(memory) == 0, "PR_CloseSharedMemory")?;
                } else {
                    let done = (calls.wait)(semaphore) | (calls.post)(semaphore);
                    calls.check(done == 0, "PR_WaitSemaphore or PR_PostSemaphore")?;
                }
            }
            Ok((nanoseconds(started) / f64::from(count)).to_string())
        });
        (calls.delete)(name.as_ptr());
        (calls.delete_semaphore)(semaphore_name.as_ptr());
        answered
    }
}

pub(super) fn measure(context: &Context) -> Result<Vec<Work>> {
    let (real, own) = (Directory::new("nspr-real")?, Directory::new("nspr")?);
    let core = context.placement.own;
    let peer = Helper::new(Child::start(ROLE, core, &["libnspr4.so", text(real.path())?]));
    let commons = || -> Result<Child> {
        let library = library::find("libcommons_nspr.so")?;
        let mut command = Child::command(ROLE, core, &[text(&library)?, text(own.path())?])?;
        command.env("COMMONS_NSPR_NAMESPACE", own.path().join("namespace"));
        Child::of(command, core)
    };
    let commons = Helper::new(commons());
    let file = Name::new("nspr-raw");
    let posix = file.posix()?;
    raw::create(&posix, PAGE)?;
    let word = std::sync::atomic::AtomicU32::new(1);
    let contest =
        |question: &str| Contest::new().built(COMMONS, commons.run(question)).peer(PEER, peer.run(question));
    let opened = contest("open 200")
        .add(FLOOR, batch(200, || Ok(raw::open_attach_detach(&posix)?)))
        .run(context.rounds(200, 20))?;
    let waited = contest("wait 1000")
        .add(
            FLOOR,
            batch(10_000, || {
                use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
                let _ = word.compare_exchange(1, 0, Acquire, Relaxed);
                word.store(1, Release);
                Ok(())
            }),
        )
        .run(context.rounds(200, 20))?;
    Ok(vec![
        opened
            .work("PR_OpenSharedMemory, Attach, Detach, Close", Unit::Microseconds, COMMONS)?.why("The name's file is looked at, so that two spellings are one segment and two files never collide, and the segment is then opened and mapped as a file.")
            .bound(PEER, Limit::AtMost(1.5))
            .note("the floor is the raw calls on a file"),
        waited
            .work("PR_WaitSemaphore and PR_PostSemaphore, uncontended", Unit::Nanoseconds, COMMONS)?
            .note("the floor is a compare-and-swap and a store"),
    ])
}
