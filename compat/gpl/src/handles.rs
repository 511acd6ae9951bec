//! What C programs hold: pointers to nodes that are never freed.
//!
//! A program that uses a handle once more after it was destroyed (twice destroyed, or asked for its name after
//! `nobDestroy` said that others remain, where libgpl's own handle stays) gets an error, not a crash; unless the node
//! serves a new handle by then, which comes as late as possible: free nodes are taken in turn, and only while there
//! are many. A pointer that never was a handle is beyond what can be checked.
//!
//! # States of a node
//!
//! | state  | means                                  | from there, in one step                   |
//! | ------ | -------------------------------------- | ----------------------------------------- |
//! | `FREE` | nobody's                               | `BUSY`, by whoever makes a handle         |
//! | `BUSY` | one thread's, which fills or empties it | `LIVE` or `FREE`, by that thread         |
//! | `LIVE` | a handle                               | `BUSY`, by whoever changes or destroys it |
//!
//! Nothing waits: a child that is forked while another thread has a node `BUSY` finds it so for ever, which costs it one
//! node. As in libgpl, one thread must not destroy a handle while another uses it.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const FREE: u32 = 0;
const BUSY: u32 = 1;
const LIVE: u32 = 0x6c69_7665;

/// Nodes below which none is used again, so that a stale handle is found out.
const SPARE: usize = 16;

/// A place for a handle; C programs see its address.
#[repr(align(64))]
pub(crate) struct Node<T> {
    state: AtomicU32,
    value: UnsafeCell<Option<T>>,
    next: AtomicPtr<Node<T>>,
}

/// All handles of a kind.
pub(crate) struct Handles<T> {
    first: AtomicPtr<Node<T>>,
    /// Where the next search begins.
    turn: AtomicPtr<Node<T>>,
    nodes: AtomicUsize,
    free: AtomicUsize,
}

// SAFETY: a value goes from thread to thread with the handle, and is shared by those who use it at once.
unsafe impl<T: Send + Sync> Sync for Handles<T> {}

impl<T: 'static> Handles<T> {
    pub(crate) const fn new() -> Handles<T> {
        Handles {
            first: AtomicPtr::new(ptr::null_mut()),
            turn: AtomicPtr::new(ptr::null_mut()),
            nodes: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
        }
    }

    /// A handle for a value.
    pub(crate) fn insert(&self, value: T) -> *mut Node<T> {
        let node = self.claim().unwrap_or_else(|| self.grow());
        // SAFETY: nodes are never freed. This one is `BUSY`, and this thread's.
        unsafe { *node.value.get() = Some(value) };
        node.state.store(LIVE, Release);
        ptr::from_ref(node).cast_mut()
    }

    /// A free node, if there are enough that looking for one does not take long.
    fn claim(&self) -> Option<&'static Node<T>> {
        let (free, nodes) = (self.free.load(Relaxed), self.nodes.load(Relaxed));
        if free < SPARE || free < nodes / 4 {
            return None;
        }
        let mut at = self.turn.load(Acquire);
        for _ in 0..=nodes {
            // SAFETY: nodes are never freed.
            let Some(node) = (unsafe { at.as_ref() }) else {
                at = self.first.load(Acquire);
                continue;
            };
            at = node.next.load(Acquire);
            if node.state.compare_exchange(FREE, BUSY, AcqRel, Relaxed).is_ok() {
                self.turn.store(at, Release);
                self.free.fetch_sub(1, Relaxed);
                return Some(node);
            }
        }
        None
    }

    fn grow(&self) -> &'static Node<T> {
        let node = Box::leak(Box::new(Node {
            state: AtomicU32::new(BUSY),
            value: UnsafeCell::new(None),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let node: &'static Node<T> = node;
        self.nodes.fetch_add(1, Relaxed);
        let mut first = self.first.load(Relaxed);
        loop {
            node.next.store(first, Relaxed);
            match self.first.compare_exchange(first, ptr::from_ref(node).cast_mut(), AcqRel, Relaxed) {
                Ok(_) => return node,
                Err(now) => first = now,
            }
        }
    }

    /// The value of a handle; `None` if it is none.
    ///
    /// # Safety
    ///
    /// `handle` is NULL or was given by [`insert`](Handles::insert), and nobody destroys or changes it for `'a`.
    pub(crate) unsafe fn get<'a>(&self, handle: *const Node<T>) -> Option<&'a T> {
        // SAFETY: not NULL, and nodes are never freed.
        let node = unsafe { usable(handle)?.as_ref()? };
        if node.state.load(Acquire) != LIVE {
            return None;
        }
        // SAFETY: whoever would change the value makes the node `BUSY`, which the caller vouches nobody does.
        unsafe { (*node.value.get()).as_ref() }
    }

    /// Changes what a handle means: `change` gets the value, and gives back what it is from now on, `None` if the handle
    /// is to end. `None` if it is no handle.
    ///
    /// # Safety
    ///
    /// `handle` is NULL or was given by [`insert`](Handles::insert), and nobody uses its value.
    pub(crate) unsafe fn change<R>(
        &self,
        handle: *mut Node<T>,
        change: impl FnOnce(T) -> (Option<T>, R),
    ) -> Option<R> {
        // SAFETY: not NULL, and nodes are never freed.
        let node: &Node<T> = unsafe { usable(handle)?.as_ref()? };
        node.state.compare_exchange(LIVE, BUSY, AcqRel, Relaxed).ok()?;
        // SAFETY: the node is `BUSY`, and this thread's; that nobody still has a reference is the caller's promise.
        let value = unsafe { (*node.value.get()).take() }?;
        let (value, result) = change(value);
        let lives = value.is_some();
        // SAFETY: as above.
        unsafe { *node.value.get() = value };
        node.state.store(if lives { LIVE } else { FREE }, Release);
        if !lives {
            self.free.fetch_add(1, Relaxed);
        }
        Some(result)
    }

    /// Takes a handle's value, and ends it; `None` if it is none.
    ///
    /// # Safety
    ///
    /// As for [`change`](Handles::change).
    pub(crate) unsafe fn take(&self, handle: *mut Node<T>) -> Option<T> {
        // SAFETY: as the caller vouches.
        unsafe { self.change(handle, |value| (None, value)) }
    }
}

/// Whether there can be a node.
fn usable<T>(handle: *const Node<T>) -> Option<*const Node<T>> {
    (!handle.is_null() && handle.is_aligned()).then_some(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_is_an_error() {
        static HANDLES: Handles<String> = Handles::new();
        let one = HANDLES.insert("one".into());
        // SAFETY: handles of this test alone.
        unsafe {
            assert_eq!(HANDLES.get(one).unwrap(), "one");
            assert_eq!(HANDLES.change(one, |text| (Some(text + "!"), 7)), Some(7));
            assert_eq!(HANDLES.take(one).unwrap(), "one!");
            assert!(HANDLES.get(one).is_none() && HANDLES.take(one).is_none());
            assert!(HANDLES.get(ptr::null()).is_none());
            assert!(HANDLES.get(one.cast::<u8>().wrapping_add(8).cast()).is_none());
        }
    }

    #[test]
    fn nodes_are_used_again_and_never_twice_at_once() {
        static HANDLES: Handles<usize> = Handles::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..2000 {
                        let mine: Vec<_> = (0..8)
                            .map(|index| {
                                let value = thread << 32 | round << 8 | index;
                                (HANDLES.insert(value), value)
                            })
                            .collect();
                        for (handle, value) in mine {
                            // SAFETY: this thread's handle.
                            assert_eq!(unsafe { HANDLES.take(handle) }, Some(value));
                        }
                    }
                });
            }
        });
        let nodes = HANDLES.nodes.load(Relaxed);
        assert!(nodes <= 200, "{nodes} nodes for 32 handles at a time");
    }
}
