//! System V shared memory and semaphores, in user space: for `LD_PRELOAD`.
//!
//! What programs see is what Linux's own calls do; `docs/sysv.md` says what differs. A set-uid program is not concerned:
//! the loader does not load the library there.
//!
//! | module      | holds                                                                          |
//! | ----------- | ------------------------------------------------------------------------------ |
//! | `ids`       | which ids and keys there are: a table that no crash can leave wrong            |
//! | `shm`       | shared memory                                                                  |
//! | `export`    | the functions that programs call                                               |
//! | `intercept` | other functions of libc's, so that those are not passed by                     |
//! | `proc`      | `/proc/sysvipc`                                                                |
//! | `quiet`     | stretches of code that neither a signal nor a fork interrupts                  |
//! | `kernel`    | calls into the kernel                                                          |
//! | `start`     | what happens as the library is loaded and as the program ends                  |

pub mod export;
mod ids;
pub mod intercept;
mod kernel;
pub mod proc;
mod quiet;
mod sem;
mod shm;
mod start;

use sem::semaphore_call;
