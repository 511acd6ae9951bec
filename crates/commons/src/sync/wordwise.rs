//! A value in memory that is read and written word by word, each atomically, while others do the same: what is read
//! may be a mixture, but is never undefined behaviour.

#[cfg(commons_model)]
pub(super) use model::Wordwise;
#[cfg(not(commons_model))]
pub(super) use real::Wordwise;

#[cfg(not(commons_model))]
mod real {
    use std::cell::UnsafeCell;
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering::Relaxed};

    use super::super::seqlock::Bytes;

    /// At a multiple of 8 bytes, so that it is made of whole words, but for its end.
    #[repr(C, align(8))]
    pub(crate) struct Wordwise<T>(UnsafeCell<MaybeUninit<T>>);

    // SAFETY: all that is done through a shared reference are atomic accesses.
    unsafe impl<T: Bytes> Sync for Wordwise<T> {}

    /// Does something to each word of so many bytes, the largest words first, `$at` being where it begins.
    macro_rules! each_word {
        ($size:expr, |$at:ident, $atomic:ident, $int:ident| $body:expr) => {{
            let size: usize = $size;
            let mut $at = 0;
            each_word!(@while size, $at, AtomicUsize, usize, $atomic, $int, $body);
            each_word!(@while size, $at, AtomicU32, u32, $atomic, $int, $body);
            each_word!(@while size, $at, AtomicU16, u16, $atomic, $int, $body);
            each_word!(@while size, $at, AtomicU8, u8, $atomic, $int, $body);
            debug_assert!($at == size);
        }};
        (@while $size:ident, $at:ident, $real:ident, $word:ident, $atomic:ident, $int:ident, $body:expr) => {
            while $size - $at >= size_of::<$word>() {
                type $atomic = $real;
                type $int = $word;
                $body;
                $at += size_of::<$word>();
            }
        };
    }

    impl<T: Bytes> Wordwise<T> {
        pub(crate) const fn new(value: T) -> Self {
            Wordwise(UnsafeCell::new(MaybeUninit::new(value)))
        }

        /// What is there, each word at its own moment.
        #[inline]
        pub(crate) fn load(&self) -> T {
            let from = self.0.get().cast::<u8>();
            let mut value = MaybeUninit::<T>::uninit();
            let to = value.as_mut_ptr().cast::<u8>();
            // SAFETY: `at` is below the value's size by a word at least, in both. The shared one begins at a multiple
            // of 8, and larger words come before smaller ones, so that the atomic is aligned; all accesses to it are
            // atomic, of the same sizes. The memory is initialised: it is shared, or had a value of a type that has
            // no padding. A relaxed load of at most a machine word is allowed also in memory that is mapped for
            // reading only (`std::sync::atomic`).
            each_word!(size_of::<T>(), |at, Atomic, Int| unsafe {
                let word = Atomic::from_ptr(from.add(at).cast::<Int>()).load(Relaxed);
                to.add(at).cast::<Int>().write_unaligned(word);
            });
            // SAFETY: each of its bytes was written, and any bytes are a value of its type (`Bytes`).
            unsafe { value.assume_init() }
        }

        /// Puts a value there, each word at its own moment.
        #[inline]
        pub(crate) fn store(&self, value: &T) {
            let from = std::ptr::from_ref(value).cast::<u8>();
            let to = self.0.get().cast::<u8>();
            // SAFETY: as for `load`; and each byte of the value is initialised, since it has no padding (`Bytes`).
            each_word!(size_of::<T>(), |at, Atomic, Int| unsafe {
                let word = from.add(at).cast::<Int>().read_unaligned();
                Atomic::from_ptr(to.add(at).cast::<Int>()).store(word, Relaxed);
            });
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_byte_is_copied_whatever_the_size() {
            fn check<const SIZE: usize>() {
                let value: [u8; SIZE] = std::array::from_fn(|at| (at as u8).wrapping_add(1));
                let shared = Wordwise::new([0; SIZE]);
                shared.store(&value);
                assert_eq!(shared.load(), value);
                assert!(size_of_val(&shared) == SIZE.next_multiple_of(8) && align_of_val(&shared) == 8);
            }
            check::<0>();
            check::<1>();
            check::<7>();
            check::<8>();
            check::<15>();
            check::<22>();
            check::<29>();
            check::<1027>();
        }
    }
}

#[cfg(commons_model)]
mod model {
    use std::marker::PhantomData;
    use std::mem::MaybeUninit;

    use super::super::primitive::{AtomicU64, Ordering::Relaxed};
    use super::super::seqlock::Bytes;

    pub(crate) struct Wordwise<T>(Vec<AtomicU64>, PhantomData<T>);

    impl<T: Bytes> Wordwise<T> {
        pub(crate) fn new(value: T) -> Self {
            Wordwise(words(&value).into_iter().map(AtomicU64::new).collect(), PhantomData)
        }

        pub(crate) fn load(&self) -> T {
            let words: Vec<_> = self.0.iter().map(|word| word.load(Relaxed)).collect();
            let mut value = MaybeUninit::<T>::uninit();
            // SAFETY: there are as many bytes, and any bytes are a value.
            unsafe {
                words.as_ptr().cast::<u8>().copy_to(value.as_mut_ptr().cast(), size_of::<T>());
                value.assume_init()
            }
        }

        pub(crate) fn store(&self, value: &T) {
            self.0.iter().zip(words(value)).for_each(|(to, word)| to.store(word, Relaxed));
        }
    }

    fn words<T: Bytes>(value: &T) -> Vec<u64> {
        let mut words = vec![0_u64; size_of::<T>().div_ceil(8)];
        // SAFETY: there is room for as many bytes, all of which are initialised.
        unsafe { std::ptr::from_ref(value).cast::<u8>().copy_to(words.as_mut_ptr().cast(), size_of::<T>()) };
        words
    }
}
