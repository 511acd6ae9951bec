//! A table of address ranges of this process, which is read without locks, by signal handlers too, and changed
//! without locks: a mutex that another thread holds during a fork would stay locked in the child.
//!
//! A list of blocks of rows that only ever grows. A row's `version` is odd while it changes; who reads takes it only
//! if the version was even, and the same before and after. Whoever looks for an address that it may access finds its
//! row whole: what was registered stays as it is as long as it is mapped. What may be met half-written are other
//! threads' rows, and those of threads that a fork left behind; they are skipped.

use std::ptr::{self, null_mut};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};

/// Rows in a block.
pub(crate) const ROWS: usize = 64;

/// What is kept beside a range.
pub(crate) trait Blank {
    /// What an unused row has.
    const BLANK: Self;
}

/// One range.
pub(crate) struct Row<T> {
    /// Whether somebody has it.
    taken: AtomicBool,
    version: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    /// What is kept beside the range.
    pub(crate) of: T,
}

impl<T> Row<T> {
    /// Sets the range, and whatever `change` sets, in one step for those who read. For whoever has the row.
    pub(crate) fn write(&self, start: usize, len: usize, change: impl FnOnce(&T)) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        self.start.store(start, Relaxed);
        self.len.store(len, Relaxed);
        change(&self.of);
        self.version.store(version.wrapping_add(2), Release);
    }

    /// Gives the row back. For whoever has it, after clearing it by `write`.
    pub(crate) fn release(&self) {
        self.taken.store(false, Release);
    }

    /// Where the range starts, and how long it is. For whoever knows that it does not change meanwhile.
    pub(crate) fn range(&self) -> (usize, usize) {
        (self.start.load(Relaxed), self.len.load(Relaxed))
    }

    /// If the address lies in the range: where that starts, how long it is, and what `read` reads.
    #[inline]
    pub(crate) fn covering<R>(
        &self,
        address: usize,
        read: impl FnOnce(&T) -> R,
    ) -> Option<(usize, usize, R)> {
        let version = self.version.load(Acquire);
        let (start, len) = (self.start.load(Relaxed), self.len.load(Relaxed));
        if address.wrapping_sub(start) >= len {
            return None;
        }
        let of = read(&self.of);
        fence(Acquire);
        let steady = version % 2 == 0 && self.version.load(Relaxed) == version;
        steady.then_some((start, len, of))
    }
}

struct Block<T> {
    rows: [Row<T>; ROWS],
    next: AtomicPtr<Block<T>>,
}

impl<T: Blank> Block<T> {
    const fn new() -> Block<T> {
        let rows = [const {
            Row {
                taken: AtomicBool::new(false),
                version: AtomicUsize::new(0),
                start: AtomicUsize::new(0),
                len: AtomicUsize::new(0),
                of: T::BLANK,
            }
        }; ROWS];
        Block { rows, next: AtomicPtr::new(null_mut()) }
    }

    /// The block behind this one.
    fn next(&self) -> Option<&'static Block<T>> {
        // SAFETY: a non-null `next` points to a leaked block.
        unsafe { self.next.load(Acquire).as_ref() }
    }

    /// The block behind this one, made if there is none.
    fn next_or_new(&self) -> &'static Block<T> {
        if let Some(next) = self.next() {
            return next;
        }
        let new = Box::into_raw(Box::new(Block::new()));
        match self.next.compare_exchange(null_mut(), new, AcqRel, Acquire) {
            // SAFETY: leaked just now.
            Ok(_) => unsafe { &*new },
            Err(others) => {
                // SAFETY: made above, and shown to nobody.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: a non-null `next` points to a leaked block.
                unsafe { &*others }
            }
        }
    }
}

/// The table; a static.
pub(crate) struct Table<T: 'static> {
    first: Block<T>,
    /// Where the search for a free row begins: the block in which one was found last.
    hint: AtomicPtr<Block<T>>,
}

impl<T: Blank> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table { first: Block::new(), hint: AtomicPtr::new(null_mut()) }
    }

    /// A row for the caller alone.
    pub(crate) fn claim(&'static self) -> &'static Row<T> {
        // SAFETY: a non-null hint points to a block, and blocks live for ever.
        let hint = unsafe { self.hint.load(Acquire).as_ref() }.unwrap_or(&self.first);
        // From the hint to the end, then from the beginning; then what was added at the end meanwhile.
        let mut block = hint;
        let mut wrapped = false;
        loop {
            let free = |row: &&Row<T>| !row.taken.load(Relaxed) && !row.taken.swap(true, Acquire);
            if let Some(row) = block.rows.iter().find(free) {
                self.hint.store(ptr::from_ref(block).cast_mut(), Release);
                return row;
            }
            block = match block.next() {
                Some(next) => next,
                None if wrapped || ptr::eq(hint, &raw const self.first) => block.next_or_new(),
                None => {
                    wrapped = true;
                    &self.first
                }
            };
        }
    }

    /// All rows, taken or not.
    #[inline]
    pub(crate) fn rows(&'static self) -> impl Iterator<Item = &'static Row<T>> {
        let mut block = Some(&self.first);
        std::iter::from_fn(move || {
            let now = block?;
            block = now.next();
            Some(now)
        })
        .flat_map(|block| block.rows.iter())
    }
}
