//! System V shared memory and semaphores, in user space.
