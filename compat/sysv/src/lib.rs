//! System V shared memory and semaphores, in user space.

#![allow(dead_code, reason = "until all of it is there")]

mod ids;
mod kernel;
mod quiet;
mod sem;
