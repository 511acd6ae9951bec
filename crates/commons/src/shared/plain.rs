//! Plain data that other crates vouch for.

#[cfg(feature = "bytemuck")]
pub use with_bytemuck::Bytemuck;
#[cfg(feature = "zerocopy")]
pub use with_zerocopy::Zerocopy;

macro_rules! wrapper {
    ($(#[$attribute:meta])* $name:ident: $($bound:path),+; no padding: $($dense:path),+) => {
        $(#[$attribute])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<T>(
            /// The data.
            pub T,
        );

        // SAFETY: the bounds say that every bit pattern is a value, that there is no address in it, and, by `Copy`,
        // that nothing happens when it is dropped. Programs built from one source have one layout of it: those crates
        // refuse what has none that is fixed.
        unsafe impl<T: $($bound +)+ Copy + 'static> Shareable for $name<T> {
            const LAYOUT: &'static Layout = &Layout::value(stringify!($name), size_of::<T>(), align_of::<T>());
        }

        // SAFETY: the bounds say so.
        unsafe impl<T: $($bound +)+ $($dense +)+ Copy + 'static> NoPadding for $name<T> {}
        // SAFETY: as above.
        unsafe impl<T: $($bound +)+ $($dense +)+ Copy + 'static> crate::sync::Bytes for $name<T> {}
    };
}

#[cfg(feature = "zerocopy")]
mod with_zerocopy {
    use crate::shared::{Layout, NoPadding, Shareable};

    wrapper! {
        /// Plain data that the crate `zerocopy` vouches for ([`FromBytes`](zerocopy::FromBytes)).
        ///
        /// Its fields are not known, so that only its size tells it from other data; as the only field of a structure
        /// that derives [`Shareable`], it has a name as well.
        Zerocopy: zerocopy::FromBytes, zerocopy::Immutable; no padding: zerocopy::IntoBytes
    }
}

#[cfg(feature = "bytemuck")]
mod with_bytemuck {
    use crate::shared::{Layout, NoPadding, Shareable};

    wrapper! {
        /// Plain data that the crate `bytemuck` vouches for ([`AnyBitPattern`](bytemuck::AnyBitPattern)).
        ///
        /// Its fields are not known, so that only its size tells it from other data; as the only field of a structure
        /// that derives [`Shareable`], it has a name as well.
        Bytemuck: bytemuck::AnyBitPattern; no padding: bytemuck::NoUninit
    }
}
