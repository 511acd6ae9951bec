//! The functions that execute another program: with outstanding undo values they hand those on.
//!
//! They do what the C library's do, which they call. A program executed by a raw system call gets nothing handed on: its
//! undo values are applied as if the process had ended. A child of `vfork` that executes something is another process than the one that
//! owes, and hands nothing on.

use std::ffi::CStr;
use std::mem::{MaybeUninit, transmute};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use libc::{c_char, c_int};

use super::life::{self, Handed};

type Text = *const c_char;
type Texts = *const Text;

/// A function of the C library's that stands behind ours.
struct Next {
    name: &'static CStr,
    found: AtomicPtr<libc::c_void>,
}

impl Next {
    const fn new(name: &'static CStr) -> Next {
        Next { name, found: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn find(&self) -> *mut libc::c_void {
        let found = self.found.load(Relaxed);
        if !found.is_null() {
            return found;
        }
        // SAFETY: a name that ends.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Relaxed);
        found
    }
}

static EXECVE: Next = Next::new(c"execve");
static EXECVP: Next = Next::new(c"execvp");
static EXECVPE: Next = Next::new(c"execvpe");
static FEXECVE: Next = Next::new(c"fexecve");
static EXECVEAT: Next = Next::new(c"execveat");

/// Finds them all, so that a child of `vfork` need not.
pub(super) fn find() {
    for next in [&EXECVE, &EXECVP, &EXECVPE, &FEXECVE, &EXECVEAT] {
        next.find();
    }
}

/// What hands undo values on, if there are any; kept while the C library's function runs.
pub(crate) fn hand_over() -> Option<Handed> {
    if !life::has_number() || !super::cache::owes_anything() {
        return None;
    }
    life::hand_over()
}

fn missing() -> c_int {
    commons_compat::code::set_errno(libc::ENOSYS);
    -1
}

unsafe extern "C" {
    static environ: Texts;
}

macro_rules! calls {
    ($next:ident: fn($($type:ty),*), $($argument:expr),*) => {{
        let found = $next.find();
        if found.is_null() {
            return missing();
        }
        let _handed = hand_over();
        // SAFETY: the C library's function of this name has this signature.
        unsafe { transmute::<*mut libc::c_void, unsafe extern "C" fn($($type),*) -> c_int>(found)($($argument),*) }
    }};
}

/// `execve(2)`.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execve(path: Text, arguments: Texts, environment: Texts) -> c_int {
    calls!(EXECVE: fn(Text, Texts, Texts), path, arguments, environment)
}

/// `execv(3)`.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execv(path: Text, arguments: Texts) -> c_int {
    // SAFETY: the C library's variable, read as its own `execv` does.
    calls!(EXECVE: fn(Text, Texts, Texts), path, arguments, environ)
}

/// `execvp(3)`.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execvp(file: Text, arguments: Texts) -> c_int {
    calls!(EXECVP: fn(Text, Texts), file, arguments)
}

/// `execvpe(3)`.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execvpe(file: Text, arguments: Texts, environment: Texts) -> c_int {
    calls!(EXECVPE: fn(Text, Texts, Texts), file, arguments, environment)
}

/// `fexecve(3)`.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fexecve(fd: c_int, arguments: Texts, environment: Texts) -> c_int {
    calls!(FEXECVE: fn(c_int, Texts, Texts), fd, arguments, environment)
}

/// `execveat(2)`.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn execveat(
    directory: c_int,
    path: Text,
    arguments: Texts,
    environment: Texts,
    flags: c_int,
) -> c_int {
    calls!(EXECVEAT: fn(c_int, Text, Texts, Texts, c_int), directory, path, arguments, environment, flags)
}

/// An argument that may not be there.
type Maybe = MaybeUninit<Text>;

/// The functions whose arguments are a list that ends with a null pointer. Rust has no such functions; but who calls one puts its arguments where those of
/// a function with many fixed ones are. So many are looked at, up to the null pointer.
macro_rules! lists {
    ($($(#[$about:meta])* $name:ident => $target:expr;)*) => { $(
        $(#[$about])*
        ///
        /// # Safety
        ///
        /// As for the C library's. There are 60 arguments at most; with more it fails with `E2BIG`.
        #[unsafe(no_mangle)]
        #[rustfmt::skip]
        pub(crate) unsafe extern "C" fn $name(
            path: Text,
            a1: Maybe, a2: Maybe, a3: Maybe, a4: Maybe, a5: Maybe, a6: Maybe, a7: Maybe, a8: Maybe, a9: Maybe, a10: Maybe,
            b1: Maybe, b2: Maybe, b3: Maybe, b4: Maybe, b5: Maybe, b6: Maybe, b7: Maybe, b8: Maybe, b9: Maybe, b10: Maybe,
            c1: Maybe, c2: Maybe, c3: Maybe, c4: Maybe, c5: Maybe, c6: Maybe, c7: Maybe, c8: Maybe, c9: Maybe, c10: Maybe,
            d1: Maybe, d2: Maybe, d3: Maybe, d4: Maybe, d5: Maybe, d6: Maybe, d7: Maybe, d8: Maybe, d9: Maybe, d10: Maybe,
            e1: Maybe, e2: Maybe, e3: Maybe, e4: Maybe, e5: Maybe, e6: Maybe, e7: Maybe, e8: Maybe, e9: Maybe, e10: Maybe,
            f1: Maybe, f2: Maybe, f3: Maybe, f4: Maybe, f5: Maybe, f6: Maybe, f7: Maybe, f8: Maybe, f9: Maybe, f10: Maybe,
        ) -> c_int {
            let list = [
                a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10,
                c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10,
                e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10,
            ];
            // SAFETY: up to the null pointer the caller gave arguments; those behind it are not looked at, but for the
            // environment, which `execle` is given there.
            let end = list.iter().position(|argument| unsafe { argument.assume_init() }.is_null());
            let Some(end) = end else {
                commons_compat::code::set_errno(libc::E2BIG);
                return -1;
            };
            let environment = || match list.get(end + 1) {
                // SAFETY: as above.
                Some(environment) => unsafe { environment.assume_init() }.cast::<Text>(),
                None => std::ptr::null(),
            };
            let call: unsafe fn(Text, Texts, &dyn Fn() -> Texts) -> c_int = $target;
            // SAFETY: an array that ends with a null pointer; the rest is as the caller promised.
            unsafe { call(path, list.as_ptr().cast(), &environment) }
        }
    )* };
}

lists! {
    /// `execl(3)`.
    execl => |path, arguments, _| {
        // SAFETY: as it is called.
        unsafe { execv(path, arguments) }
    };
    /// `execlp(3)`.
    execlp => |file, arguments, _| {
        // SAFETY: as it is called.
        unsafe { execvp(file, arguments) }
    };
    /// `execle(3)`.
    execle => |path, arguments, environment| {
        // SAFETY: as it is called.
        unsafe { execve(path, arguments, environment()) }
    };
}
