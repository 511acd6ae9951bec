//! libgpl's `shm_util`, `nob_util` and `sem_util`.
