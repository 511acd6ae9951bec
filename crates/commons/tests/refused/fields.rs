use commons::Shareable;
use commons::sync::Mutex;

#[repr(C)]
#[derive(Shareable)]
struct Fields {
    ready: bool, //~ field `ready`: `bool` is not valid for every bit pattern: use u8 or AtomicU8
    letter: char, //~ field `letter`: `char` is not valid for every bit pattern: use u32 or AtomicU32
    size: usize, //~ field `size`: `usize` has another size in 32-bit programs: use u64 or AtomicU64
    shift: isize, //~ field `shift`: `isize` has another size in 32-bit programs: use i64 or AtomicI64
    wide: u128, //~ field `wide`: `u128` is not aligned alike by all compilers: use [u64; 2]
    pair: (u8, u8), //~ field `pair`: a tuple has no fixed layout: use a struct with #[repr(C)] and #[derive(Shareable)]
    nothing: (), //~ field `nothing`: `()` has no bytes to share: leave it out
    text: &'static str, //~ field `text`: a reference is an address, which means nothing in another process: use an offset (u64)
    at: *const u8, //~ field `at`: a pointer is an address, which means nothing in another process: use an offset (u64)
    call: fn(), //~ field `call`: a function's address means nothing in another process: use a number
    flags: [bool; 4], //~ field `flags`: `bool` is not valid
    locked: Mutex<[bool; 2]>, //~ field `locked`: `bool` is not valid
}

#[repr(C)]
#[derive(Shareable)]
struct Tuple(u8, bool); //~ field `1`: `bool` is not valid

#[repr(C)]
#[derive(Shareable)]
struct Tail {
    length: u64,
    bytes: [u8], //~ field `bytes`: a slice has no fixed size: use an array and a length
}
