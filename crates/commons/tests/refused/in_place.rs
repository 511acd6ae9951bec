use commons::sync::Mutex;
use commons::{Attachment, Shareable, Shared, SharedOptions};
use std::sync::atomic::AtomicU64;

#[repr(C)]
#[derive(Shareable)]
pub struct Mixed {
    hits: AtomicU64,
    plain: u64,
}

#[repr(C)]
#[derive(Shareable)]
pub struct Around<T> {
    inner: T,
}

pub fn open(memory: &Attachment) {
    let _ = Shared::<u64>::open_or_create("x"); //~ `u64` cannot be shared as it is: other processes may change it while it is looked at //~ use an atomic (`AtomicU64`), a lock around it (`commons::sync::Mutex<u64>`), or a `SeqLock`
    let _ = Shared::<[u8; 4]>::open("x"); //~ `u8` cannot be shared as it is //~ use an atomic
    let _ = Shared::<Mixed>::create("x"); //~ `u64` cannot be shared as it is //~ required for `Mixed` to implement `InPlace`
    let _ = Shared::<Around<f32>>::create("x"); //~ `f32` cannot be shared as it is
    let _ = memory.object::<u64>(0); //~ `u64` cannot be shared as it is
    let _ = SharedOptions::<Mixed>::new(); //~ `u64` cannot be shared as it is
    let _ = Shared::<Mutex<Vec<u8>>>::open("x"); //~ `Vec<u8>` cannot lie in shared memory
    let _ = Shared::<Around<AtomicU64>>::create("x");
}
