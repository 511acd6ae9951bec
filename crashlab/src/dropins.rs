//! The drop-ins for older systems, through their C libraries: as programs have them.
//!
//! The laboratory loads them itself, before it forks anybody and before it looks where there is code, so that it can
//! step through them as through its own. They lie beside its executable. Where there is a cargo and the source that the
//! laboratory was built from, it has them built first, with the command, so that no old ones are examined; what cannot be
//! had is named, and its scenarios are skipped.
//!
//! By hand: `cargo build --release -p commons-cli -p commons-gpl -p commons-nspr -p commons-sysv`.

#![allow(non_snake_case, reason = "named as the calls are")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::cargo;

pub(crate) use commons_compat::place::System;

/// The calls of a library, by their names.
macro_rules! calls {
    ($(#[$about:meta])* $library:ident: $($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(#[$about])*
        pub(crate) struct $library {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl $library {
            /// Found in a library that is open, and stays so.
            fn find(library: *mut c_void) -> Result<$library, String> {
                Ok($library {
                    $($name: {
                        let found = symbol(library, concat!(stringify!($name), "\0"))?;
                        // SAFETY: the library's header declares it so.
                        unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($argument),*) -> $result,
                            >(found)
                        }
                    },)*
                })
            }
        }
    };
}

calls! {
    /// `libcommons_sysv`.
    SystemV:
    semget(c_int, c_int, c_int) -> c_int;
    semop(c_int, *mut libc::sembuf, usize) -> c_int;
    semtimedop(c_int, *mut libc::sembuf, usize, *const libc::timespec) -> c_int;
    semctl(c_int, c_int, c_int, usize) -> c_int;
    shmget(c_int, usize, c_int) -> c_int;
    shmat(c_int, *const c_void, c_int) -> *mut c_void;
    shmdt(*const c_void) -> c_int;
    shmctl(c_int, c_int, *mut libc::shmid_ds) -> c_int;
}

calls! {
    /// `libcommons_gpl`: shared memory, and named objects.
    Gpl:
    shmCreate(*const c_char, c_long, *mut *mut c_void, *mut *mut c_void) -> c_int;
    shmDestroy(*mut c_void) -> c_int;
    shmAddress(*mut c_void) -> *mut c_void;
    nobCreate(*const c_char, c_int, *mut *mut c_void) -> c_int;
    nobCommit(*mut c_void, *mut c_void) -> c_int;
    nobAbort(*mut c_void) -> c_int;
    nobCount(*mut c_void) -> c_int;
    nobDestroy(*mut c_void) -> c_int;
    nobExists(*const c_char, c_int) -> *mut c_void;
    nobValue(*mut c_void) -> *mut c_void;
}

calls! {
    /// `libcommons_nspr`.
    Nspr:
    PR_OpenSharedMemory(*const c_char, usize, c_int, c_uint) -> *mut c_void;
    PR_AttachSharedMemory(*mut c_void, c_int) -> *mut c_void;
    PR_DetachSharedMemory(*mut c_void, *mut c_void) -> c_int;
    PR_CloseSharedMemory(*mut c_void) -> c_int;
    PR_DeleteSharedMemory(*const c_char) -> c_int;
    PR_OpenSemaphore(*const c_char, c_int, c_uint, c_uint) -> *mut c_void;
    PR_WaitSemaphore(*mut c_void) -> c_int;
    PR_PostSemaphore(*mut c_void) -> c_int;
    PR_CloseSemaphore(*mut c_void) -> c_int;
    PR_DeleteSemaphore(*const c_char) -> c_int;
    PR_GetOSError() -> c_int;
}

static SYSTEM_V: OnceLock<Result<SystemV, String>> = OnceLock::new();
static GPL: OnceLock<Result<Gpl, String>> = OnceLock::new();
static NSPR: OnceLock<Result<Nspr, String>> = OnceLock::new();

const UNTRIED: &str = "it was not loaded";

/// Its calls. Only for scenarios whose [library](crate::scenario::Scenario::library) it is: those are skipped without.
pub(crate) fn system_v() -> &'static SystemV {
    SYSTEM_V.get().and_then(|calls| calls.as_ref().ok()).expect(UNTRIED)
}

/// Its calls, as [`system_v`].
pub(crate) fn gpl() -> &'static Gpl {
    GPL.get().and_then(|calls| calls.as_ref().ok()).expect(UNTRIED)
}

/// Its calls, as [`system_v`].
pub(crate) fn nspr() -> &'static Nspr {
    NSPR.get().and_then(|calls| calls.as_ref().ok()).expect(UNTRIED)
}

/// Where the drop-in's names lie, within the laboratory's directory.
pub(crate) fn directory(home: &Path, system: System) -> PathBuf {
    home.join(system.directory_name())
}

/// Loads all, with their namespaces in this directory. Once, in the laboratory itself.
pub(crate) fn load(home: &Path) -> std::io::Result<()> {
    for system in System::ALL {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(system.variable(), directory(home, system)) };
    }
    let executable = std::env::current_exe()?;
    let built = built(&executable);
    let beside = executable.parent().unwrap_or(Path::new("/"));
    SYSTEM_V.get_or_init(|| open(beside, System::SystemV, built).and_then(SystemV::find));
    GPL.get_or_init(|| open(beside, System::Gpl, built).and_then(Gpl::find));
    NSPR.get_or_init(|| open(beside, System::Nspr, built).and_then(Nspr::find));
    Ok(())
}

/// Why this one was not loaded; `None` if it was.
pub(crate) fn missing(system: System) -> Option<&'static str> {
    let error = match system {
        System::SystemV => SYSTEM_V.get().map(|calls| calls.as_ref().err()),
        System::Gpl => GPL.get().map(|calls| calls.as_ref().err()),
        System::Nspr => NSPR.get().map(|calls| calls.as_ref().err()),
    };
    error.map_or(Some(UNTRIED), |error| error.map(String::as_str))
}

/// Has them built, before there are several who would. Once.
pub(crate) fn prepare() -> std::io::Result<()> {
    built(&std::env::current_exe()?);
    Ok(())
}

fn built(executable: &Path) -> &'static Result<(), String> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT.get_or_init(|| build(executable))
}

/// Has cargo build the libraries and the command, in the way in which the laboratory itself was built.
fn build(executable: &Path) -> Result<(), String> {
    let profile = executable.parent().unwrap_or(Path::new("/"));
    let target = profile.parent().ok_or("there is no directory to build in")?;
    let packages = ["commons-gpl", "commons-nspr", "commons-sysv", "commons-cli"];
    let mut arguments: Vec<&str> = packages.iter().flat_map(|package| ["-p", package]).collect();
    if profile.ends_with("release") {
        arguments.push("--release");
    }
    cargo::build(arguments, target)
}

fn open(beside: &Path, system: System, built: &Result<(), String>) -> Result<*mut c_void, String> {
    let path = beside.join(format!("libcommons_{}.so", system.directory_name()));
    if !path.exists() {
        let why = built.as_ref().err().cloned().unwrap_or_default();
        return Err(format!("{} is missing; {why}", path.display()));
    }
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: a string; what the library does as it is loaded is ours.
    let library = unsafe { libc::dlopen(text.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() { Err(format!("{} cannot be loaded", path.display())) } else { Ok(library) }
}

fn symbol(library: *mut c_void, name: &str) -> Result<*mut c_void, String> {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: an open library, and a string.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    if found.is_null() { Err(format!("it has no {}", name.to_string_lossy())) } else { Ok(found) }
}

/// The code that the last call left.
pub(crate) fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What went wrong, for people.
pub(crate) fn text(call: &str, code: c_int) -> String {
    format!("{call}: {}", std::io::Error::from_raw_os_error(code))
}
