//! NSPR's named shared memory and semaphores.
