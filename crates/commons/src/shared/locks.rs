//! Which locks may lie in shared objects: a line for each.
//!
//! `lock!(Kind)` for one without data, `lock!(Kind<T: Bound> { field: Type })` for one with data of a type `T`; the
//! fields are those that hold it, and `Bound` is what is asked of `T` besides `Send`.

use super::layout::{Argument, Field, Layout};
use super::traits::{InPlace, Shareable};
use crate::sync;

macro_rules! lock {
    ($kind:ident) => {
        // SAFETY: laid out by `repr(C)`; locks survive any bit pattern, are free when zero, and have no `Drop`.
        unsafe impl Shareable for sync::$kind {
            const LAYOUT: &'static Layout = &Layout::lock(stringify!($kind), &[], size_of::<Self>(), align_of::<Self>(), &[]);
        }
        // SAFETY: that is what locks are for.
        unsafe impl InPlace for sync::$kind {}
    };
    ($kind:ident<$data:ident: $bound:path> { $($field:ident: $type:ty),+ }) => {
        // SAFETY: as above, and the data is `Shareable`.
        unsafe impl<$data: $bound> Shareable for sync::$kind<$data> {
            const LAYOUT: &'static Layout = &Layout::lock(
                stringify!($kind),
                const { &[Argument::of::<$data>()] },
                size_of::<Self>(),
                align_of::<Self>(),
                const { &[$(Field::new(stringify!($field), std::mem::offset_of!(Self, $field), <$type as Shareable>::LAYOUT)),+] },
            );
        }
        // SAFETY: that is what locks are for. The data goes from thread to thread.
        unsafe impl<$data: $bound + Send> InPlace for sync::$kind<$data> where Self: Sync {}
    };
}

lock!(Mutex<T: Shareable> { data: T });
lock!(RwLock<T: Shareable> { data: T });
