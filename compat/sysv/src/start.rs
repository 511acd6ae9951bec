//! What happens as the library is loaded and as the program ends.

use crate::{intercept, quiet, shm};

extern "C" fn at_load() {
    intercept::find_next();
    // SAFETY: the handlers keep to what is allowed around a fork.
    unsafe { libc::pthread_atfork(Some(quiet::before_fork), Some(quiet::after_fork), Some(in_child)) };
}

extern "C" fn in_child() {
    shm::fork::in_child();
    quiet::after_fork();
}

extern "C" fn at_end() {
    shm::at_exit();
}

/// The section holds addresses of functions to be called once each, before the program begins.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

/// And after it ended.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;
