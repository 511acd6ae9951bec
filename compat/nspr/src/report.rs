//! Handing errors to the program, which asks `PR_GetError` and `PR_GetOSError`.
//!
//! Where libnspr4 is loaded, its own `PR_SetError` gets them, since that is what the program's `PR_GetError` reads,
//! and the rest of NSPR's errors come from there too. Without it the thread's own are kept here. `PR_GetError` and
//! `PR_GetOSError` are exported for programs that have only this library; being found first they also answer for
//! libnspr4's, and so ask that one where it is loaded. `PR_SetError` is not exported: it would hide libnspr4's.
//!
//! libnspr4 is looked for by its name, among what is loaded already, and then behind this library and anywhere, for
//! programs that have NSPR under another name. What was found is kept, and the library with it; that there was
//! none is not kept, for it may be loaded later. Nothing is looked for before an error or `PR_GetError`, but once,
//! when the first segment is opened: NSPR is initialised then, if it is there, as its own call would do.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::failure::{Failure, Result};

thread_local! {
    /// What `PR_GetError` and `PR_GetOSError` say without libnspr4.
    static OWN: Cell<(i32, i32)> = const { Cell::new((0, 0)) };
}

/// A function of libnspr4's; null until it is found.
struct Peer {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

static SET_ERROR: Peer = Peer::new(c"PR_SetError");
static GET_ERROR: Peer = Peer::new(c"PR_GetError");
static GET_SYSTEM_ERROR: Peer = Peer::new(c"PR_GetOSError");
static CURRENT_THREAD: Peer = Peer::new(c"PR_GetCurrentThread");

impl Peer {
    const fn new(name: &'static CStr) -> Peer {
        Peer { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    fn get(&self) -> Option<*mut c_void> {
        let known = self.found.load(Acquire);
        if !known.is_null() {
            return Some(known);
        }
        let found = self.look()?;
        self.found.store(found, Release);
        Some(found)
    }

    #[cold]
    fn look(&self) -> Option<*mut c_void> {
        let own = [PR_GetError as *mut c_void, PR_GetOSError as *mut c_void];
        let fits = |found: &*mut c_void| !found.is_null() && !own.contains(found);
        // SAFETY: a string; loads nothing, for it must be loaded already. It is never unloaded then, so that what
        // is found in it stays valid.
        let library = unsafe {
            libc::dlopen(c"libnspr4.so".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE)
        };
        if !library.is_null() {
            // SAFETY: a handle that was just given, and a string.
            let found = unsafe { libc::dlsym(library, self.name.as_ptr()) };
            if fits(&found) {
                return Some(found);
            }
        }
        // SAFETY: a special handle, and a string.
        let next = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        // SAFETY: as above.
        let any = || unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) };
        Some(next).filter(fits).or_else(|| Some(any()).filter(fits))
    }
}

/// Makes this failure the thread's last one.
#[cold]
fn set(failure: Failure) {
    match SET_ERROR.get() {
        Some(function) => {
            // SAFETY: NSPR's `void PR_SetError(PRErrorCode, PRInt32)`, both 32-bit integers.
            let function: extern "C" fn(i32, i32) = unsafe { std::mem::transmute(function) };
            function(failure.code, failure.system);
        }
        None => OWN.set((failure.code, failure.system)),
    }
}

fn get(peer: &Peer, own: impl FnOnce((i32, i32)) -> i32) -> i32 {
    match peer.get() {
        Some(function) => {
            // SAFETY: NSPR's `PRErrorCode PR_GetError(void)` or `PRInt32 PR_GetOSError(void)`.
            let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(function) };
            function()
        }
        None => own(OWN.get()),
    }
}

/// Initialises libnspr4 if it is loaded and the program did not, as NSPR's own calls do that open or delete.
pub(crate) fn initialize() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.load(Relaxed) {
        DONE.store(true, Relaxed);
        if let Some(function) = CURRENT_THREAD.get() {
            // SAFETY: NSPR's `PRThread *PR_GetCurrentThread(void)`, which initialises.
            let function: extern "C" fn() -> *mut c_void = unsafe { std::mem::transmute(function) };
            function();
        }
    }
}

/// Runs the body of an exported function: a failure is reported, and `failed` returned. So is a panic, as an
/// input/output error: it never leaves this library.
pub(crate) fn answer<T>(failed: T, body: impl FnOnce() -> Result<T>) -> T {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(failure)) => failure,
        Err(_) => Failure::of(libc::EIO),
    };
    set(failure);
    failed
}

/// The code of the last error in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn PR_GetError() -> i32 {
    get(&GET_ERROR, |(code, _)| code)
}

/// The operating system's code for the last error in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn PR_GetOSError() -> i32 {
    get(&GET_SYSTEM_ERROR, |(_, system)| system)
}
