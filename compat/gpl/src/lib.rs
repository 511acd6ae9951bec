//! libgpl's `shm_util`, `nob_util` and `sem_util` on Commons, for programs in C and C++.
//!
//! The interface is that of the headers in `include/`; `docs/libgpl.md` says what becomes of each function.
//!
//! # Where the database is
//!
//! libgpl keeps names in a database file, with the value and the number of references of each. A program that dies
//! leaves its references there for ever. Here there is no such file:
//!
//! - Shared memory *is* a segment under its name, with exactly its bytes; its identifier follows from the segment's
//!   file (see `commons_compat::gpl`).
//! - A named object is a segment with its value in it.
//! - A reference is an open hold on that segment: a lock that the kernel keeps for as long as one mapping lives. So the
//!   number of references is the number of holders, exact after any crash at any moment, and the last one out deletes.
//!
//! What is left to lock is the time from `nobCreate` to `nobCommit`: see `database`.
//!
//! | file       | holds                                                                       |
//! | ---------- | --------------------------------------------------------------------------- |
//! | `names`    | the segment that stands for a name                                          |
//! | `database` | the namespace, and the lock on it that survives its owner                   |
//! | `object`   | finding, making and counting what has a name                                |
//! | `handles`  | what C programs hold: never freed, so that a stale handle is an error       |
//! | `call`     | from Rust to C: errors, `errno`, panics, lines for debugging                |
//! | `shm`, `nob`, `sem` | the functions                                                      |
//! | `files`    | names of files, loading and saving                                          |

mod call;
mod database;
mod files;
mod handles;
mod names;
mod nob;
mod object;
mod sem;
mod shm;
