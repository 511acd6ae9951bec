//! NSPR's named shared memory (`prshm.h`) and semaphores (`pripcsem.h`) on Commons, for programs that were written
//! for libnspr4: preloaded, or linked before it, this library answers these calls in its place; where there is no
//! libnspr4 it stands alone, with the header `commons/prshm.h`.
//!
//! Every segment lives in a namespace of its own kind ([`place`]); what stands at the path that the program gives is
//! an empty file, as NSPR makes it, and the segment is named by that file's identity ([`backing`]).
//!
//! | file         | holds                                                                          |
//! | ------------ | ------------------------------------------------------------------------------ |
//! | `memory`     | `PR_OpenSharedMemory` and its four companions                                  |
//! | `handle`     | what a handle keeps, so that it can attach for as long as it lives             |
//! | `attached`   | which addresses are attached, and how far they reach                           |
//! | `semaphore`  | `PR_OpenSemaphore` and its four companions                                     |
//! | `counter`    | **the words of a semaphore, with the argument why no wake-up is lost**         |
//! | `backing`    | **the file at the path: its identity, and the lock that creating and deleting take** |
//! | `keyed`      | making, finding and deleting the segment that belongs to such a file           |
//! | `place`      | the namespace, remembered                                                      |
//! | `permission` | who may do what, by System V's rule                                            |
//! | `failure`    | errors as NSPR's codes                                                         |
//! | `report`     | handing errors to the program: through libnspr4 where there is one             |

mod attached;
mod backing;
mod counter;
mod failure;
mod handle;
mod keyed;
mod memory;
mod permission;
mod place;
mod report;
mod semaphore;

pub use memory::{
    PR_AttachSharedMemory, PR_CloseSharedMemory, PR_DeleteSharedMemory, PR_DetachSharedMemory,
    PR_OpenSharedMemory,
};
pub use report::{PR_GetError, PR_GetOSError};
pub use semaphore::{
    PR_CloseSemaphore, PR_DeleteSemaphore, PR_OpenSemaphore, PR_PostSemaphore, PR_WaitSemaphore,
};
