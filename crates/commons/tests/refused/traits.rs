use commons::Shareable;
use std::sync::atomic::{AtomicBool, AtomicUsize};

#[repr(C)]
#[derive(Shareable)]
struct Foreign {
    words: Vec<u8>, //~ `Vec<u8>` cannot lie in shared memory //~ of `Vec` or `String`, an array and a length
    text: String, //~ `String` cannot lie in shared memory
    maybe: Option<u32>, //~ `Option<u32>` cannot lie in shared memory //~ of an enum or `Option`, an integer
    flag: AtomicBool, //~ `AtomicBool` cannot lie in shared memory //~ instead of `bool` use `u8`
    size: AtomicUsize, //~ `AtomicUsize` cannot lie in shared memory //~ of `usize`, `u64`
    lock: std::sync::Mutex<u32>, //~ cannot lie in shared memory //~ of `std::sync::Mutex`, `commons::sync::Mutex`
    cell: std::cell::Cell<u32>, //~ `Cell<u32>` cannot lie in shared memory
    other: Other, //~ `Other` cannot lie in shared memory
}

#[repr(C)]
struct Other {
    a: u8,
}
