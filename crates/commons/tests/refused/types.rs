use commons::Shareable;
use commons::shared::NoPadding;

#[derive(Shareable)]
struct Unordered { //~ the compiler is free to lay out `Unordered` differently in each program: add #[repr(C)]
    a: u8,
}

#[repr(C)]
#[derive(Shareable)]
enum Choice { //~ an enum is not valid for every bit pattern: Shareable is for structs; use an integer, and constants for its values
    One,
    Two,
}

#[repr(C)]
#[derive(Shareable)]
union Either { //~ a union does not say which of its fields is there: Shareable is for structs
    a: u8,
    b: u16,
}

#[repr(C, packed)] //~ the fields of a packed struct cannot be referred to
#[derive(Shareable)]
struct Packed {
    a: u8,
    b: u32,
}

#[repr(C, packed(2))] //~ the fields of a packed struct cannot be referred to
#[derive(Shareable)]
struct HalfPacked {
    a: u8,
    b: u32,
}

#[repr(C)]
#[derive(Shareable)]
struct Borrowing<'a> { //~ what is shared outlives every process and borrows nothing: remove the lifetime
    a: std::marker::PhantomData<&'a u8>,
}

#[repr(C)]
#[derive(Clone, Copy, NoPadding)]
struct Parameters<T> { //~ whether there is padding depends on the parameters
    a: T,
}

#[repr(C)]
#[derive(Shareable)]
#[shareable(create = foo)] //~ there is only `crate = path`
struct Misspelt {
    a: u8,
}
