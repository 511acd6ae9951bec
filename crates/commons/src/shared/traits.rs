//! What may lie in shared memory, and for whom it is implemented.

use std::marker::PhantomData;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
};

use super::layout::Layout;

/// What may lie in memory that programs share.
///
/// Derive it:
///
/// ```
/// use commons::{Shareable, sync::Mutex};
/// use std::sync::atomic::AtomicU64;
///
/// #[repr(C)]
/// #[derive(Shareable)]
/// struct Stats {
///     hits: AtomicU64,
///     total: Mutex<Totals>,
/// }
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Shareable)]
/// struct Totals {
///     count: u64,
///     sum: f64,
/// }
/// ```
///
/// It is implemented for integers of a fixed size up to 64 bits, `f32`, `f64`, atomic integers, arrays of these, and
/// the locks of [`sync`](crate::sync).
///
/// | instead of                | use                                                        |
/// | ------------------------- | ---------------------------------------------------------- |
/// | `bool`, `AtomicBool`      | `u8`, `AtomicU8`                                           |
/// | `char`                    | `u32`                                                      |
/// | `usize`, `AtomicUsize`    | `u64`, `AtomicU64`                                         |
/// | `u128`                    | `[u64; 2]`                                                 |
/// | an enum, `Option`         | an integer, and constants for its values                   |
/// | a tuple                   | a struct with `#[repr(C)]` and `#[derive(Shareable)]`      |
/// | a reference, `Box`, `Arc` | an offset (`u64`)                                          |
/// | `Vec`, `String`           | an array, and a length                                     |
/// | `std::sync::Mutex`        | [`commons::sync::Mutex`](crate::sync::Mutex)               |
///
/// # Safety
///
/// - Its layout is the same in every program that is built from the same source (`#[repr(C)]` or
///   `#[repr(transparent)]`), and [`LAYOUT`](Shareable::LAYOUT) is that layout.
/// - Every bit pattern is a value of it, all zero included.
/// - A copy of its bytes is a value of its own: it has no address in it, and nothing happens when it is dropped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot lie in shared memory",
    label = "`{Self}` is not `Shareable`",
    note = "`Shareable` are: integers of 8 to 64 bits, floats, atomic integers, arrays of these, the locks of `commons::sync`, and structs with #[repr(C)] and #[derive(Shareable)]",
    note = "instead of `bool` use `u8`; of `char`, `u32`; of `usize`, `u64`; of an enum or `Option`, an integer; of a tuple, a struct; of a reference or `Box`, an offset; of `Vec` or `String`, an array and a length; of `std::sync::Mutex`, `commons::sync::Mutex`"
)]
pub unsafe trait Shareable: 'static {
    /// How it is laid out, with the names and offsets of its fields.
    const LAYOUT: &'static Layout;

    /// Whether there are locks in it.
    const LOCKS: bool = Self::LAYOUT.has_locks();
}

/// What may be looked at while other processes change it: atomics, locks, and arrays and structures of these.
///
/// `#[derive(Shareable)]` implements it where all fields are `InPlace`.
///
/// # Safety
///
/// A `&T` stays sound while other threads and processes change the bytes through a `&T` of their own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared as it is: other processes may change it while it is looked at",
    label = "neither an atomic nor behind a lock",
    note = "use an atomic (`AtomicU64`), a lock around it (`commons::sync::Mutex<{Self}>`), or a `SeqLock` that is read without waiting",
    note = "a struct with #[repr(C)] and #[derive(Shareable)] can be shared as it is if all its fields can"
)]
pub unsafe trait InPlace: Shareable + Sync {}

/// Plain data each byte of which belongs to a value, so that it can be copied word by word.
///
/// Integers, floats and arrays of these have it; structures derive it, and are refused if there are gaps, or if they have
/// type or const parameters, on which that would depend:
///
/// ```
/// use commons::{Shareable, shared::NoPadding};
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Shareable, NoPadding)]
/// struct Position {
///     x: f64,
///     y: f64,
///     time: u64,
/// }
/// ```
///
/// # Safety
///
/// No byte of it is padding.
#[diagnostic::on_unimplemented(
    message = "`{Self}` may have bytes that belong to no value",
    label = "`{Self}` is not `NoPadding`",
    note = "integers, floats and arrays of them have no padding; a struct says so with #[derive(Clone, Copy, Shareable, NoPadding)]"
)]
pub unsafe trait NoPadding: Shareable + crate::sync::Bytes {}

macro_rules! plain {
    ($($type:ident)*) => {$(
        // SAFETY: its size is fixed; its alignment shows in the offsets; every bit pattern is a number.
        unsafe impl Shareable for $type {
            const LAYOUT: &'static Layout = &Layout::value(stringify!($type), size_of::<$type>(), align_of::<$type>());
        }
        // SAFETY: a number has no padding.
        unsafe impl NoPadding for $type {}
    )*};
}

macro_rules! atomic {
    ($($type:ident)*) => {$(
        // SAFETY: laid out as the integer of that size, and aligned to its size; every bit pattern is a number.
        unsafe impl Shareable for $type {
            const LAYOUT: &'static Layout = &Layout::value(stringify!($type), size_of::<$type>(), align_of::<$type>());
        }
        // SAFETY: that is what atomics are for.
        unsafe impl InPlace for $type {}
    )*};
}

plain!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);
atomic!(AtomicU8 AtomicI8 AtomicU16 AtomicI16 AtomicU32 AtomicI32 AtomicU64 AtomicI64);

// SAFETY: elements lie one behind the other, each at a multiple of its size.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {
    const LAYOUT: &'static Layout = &Layout::array(T::LAYOUT, N);
}

// SAFETY: as its elements.
unsafe impl<T: InPlace, const N: usize> InPlace for [T; N] {}

// SAFETY: there is nothing between elements.
unsafe impl<T: NoPadding, const N: usize> NoPadding for [T; N] {}

// SAFETY: it has no bytes.
unsafe impl<T: 'static> Shareable for PhantomData<T> {
    const LAYOUT: &'static Layout = &Layout::value("PhantomData", 0, 1);
}

// SAFETY: it has no bytes.
unsafe impl<T: Sync + 'static> InPlace for PhantomData<T> {}

// SAFETY: it has no bytes.
unsafe impl<T: 'static> NoPadding for PhantomData<T> {}
// SAFETY: as above: it has no bytes.
unsafe impl<T: 'static> crate::sync::Bytes for PhantomData<T> {}
