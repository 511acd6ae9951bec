//! What each thread knows about the locks that it holds, and how the kernel comes to know it too.
//!
//! # The kernel's list
//!
//! A thread can register a list of the locks that it holds. When it ends, however it ends, the kernel walks the
//! list, and each lock whose word has the thread's id in it gets the bit `OWNER_DIED` instead, and one waiter is
//! woken. There is one list for each thread, and the C library has registered it already, for its own robust
//! mutexes. So Commons puts its locks into that one:
//!
//! ```text
//!   head ─▶ [C library's nodes, newer] ─▶ first ─▶ lock ─▶ … ─▶ lock ─▶ last ─▶ [C library's nodes, older] ─▶ head
//!                                        private   ───── shared ─────   private
//! ```
//!
//! (A 32-bit glibc has no way back in its list: to take out a mutex of its own it walks from the head, through the shared
//! nodes. There a neighbour who scribbles over nodes can crash a program that has glibc's robust mutexes beside these.)
//!
//! `first` and `last` are two nodes in private memory that stay in the list. The C library only ever looks at and
//! changes the neighbours of its own nodes, so that all it meets of Commons is these two. The nodes in between lie
//! in shared memory, where others may write anything; they are written, for the kernel, and *never read*: which
//! locks a thread holds, in which order, is in `stack`, in private memory. So "this thread has it already" and "this
//! guard is not of this thread" are decided without believing a shared word.
//!
//! Why a crash between any two steps is safe: `head.pending` names the lock that is being taken or given back, from
//! before its word changes until after the list is right. The kernel looks at that one too, so it does not matter
//! whether it is in the list just then. All stores are the thread's own, and the kernel looks at them when the
//! thread is over: program order is enough, which the compiler is kept to by fences. A neighbour who scribbles over
//! a node's `next` can cut the kernel's walk short, or lead it to other addresses of this process, where it changes
//! nothing that is not a word with this thread's id in it; the walk ends after 2048 steps.
//!
//! # Records
//!
//! A record belongs to one thread at a time and is never freed, because the kernel may walk it until the very end of
//! a thread. Its memory is wiped in a forked child (`MADV_WIPEONFORK`; where the kernel has no such thing, by a
//! handler of `fork`), and a wiped record is one that has not been set up: so a child, even of `_Fork`, finds out by
//! the same look that finds a thread's first lock, and a guard that it inherited finds itself in no record. (A signal's handler
//! that calls `_Fork` in the middle of taking or giving back a lock, and returns in the child, is beyond this: locks are not for
//! handlers.) What has to outlive a fork, who owns the record, is in an [`Entry`] beside it.
//!
//! A record is given back by a destructor of thread-local data, unless the thread still holds a lock then (a guard
//! was forgotten): then it stays with the thread's key, to be taken over by the next thread that has the same key,
//! which cannot be before this one is gone.

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull, null_mut};
use std::sync::atomic::{
    AtomicPtr, AtomicU32 as PlainU32, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    compiler_fence,
};

use super::error::{MAX_HELD, SyncError};
use super::primitive::{self, AtomicU32, Head};
use super::word::{OWNER, Word};

const PAD: usize = if cfg!(target_pointer_width = "64") { 5 } else { 4 };

/// A private node: laid out like a lock, as the kernel sees one. Its word stays 0, so that the kernel leaves it
/// alone.
#[repr(C)]
struct Anchor {
    word: u32,
    pad: [u32; PAD],
    /// Where the C library finds the node before. It has one on 64 bits only.
    #[cfg(target_pointer_width = "64")]
    previous: AtomicUsize,
    next: AtomicUsize,
}

/// Which locks a thread holds.
#[repr(C, align(64))]
pub(crate) struct Record {
    /// The kernel's list of this thread; null until the record is set up.
    head: AtomicPtr<Head>,
    id: PlainU32,
    /// How many it holds.
    held: PlainU32,
    /// Where the thread begins to look for a free slot of an `RwLock`.
    turn: PlainU32,
    /// Whether it needs a fence of its own where others mostly bring one about: 1 if so.
    fences: PlainU32,
    /// What the kernel and the C library see.
    list: List,
    /// For threads whose C library has registered no list.
    own: UnsafeCell<Head>,
    /// The nodes of those that it holds, the oldest first.
    stack: [AtomicUsize; STACK],
}

/// A power of two, so that an index is brought within by a mask. More than a thread may hold: for the moment in which it
/// has an `RwLock` both ways, on its way from one to the other, it has one more.
const STACK: usize = MAX_HELD.next_power_of_two();

#[repr(C)]
struct List {
    first: Anchor,
    last: Anchor,
}

// SAFETY: `own` is only touched by the thread that owns the record, and by the kernel when that has ended; all
// else is atomic.
unsafe impl Sync for Record {}

/// The head of the list of the calling thread, whose record is set up.
///
/// Had once for each time that a lock is taken or given back, lest its address be read from the record before each store: a
/// processor that has come to suspect a load of depending on earlier stores has it wait until their addresses are known,
/// and if those come from loads in turn, one waits for the other, and locking takes twice as long.
#[derive(Clone, Copy)]
pub(super) struct Pending(NonNull<Head>);

impl Pending {
    /// Tells the kernel which lock is about to change hands, or waited for, by its futex. If the thread ends with
    /// that, the kernel marks the futex if it has the thread's id in it, and wakes one who sleeps there if it has
    /// nobody's.
    #[inline]
    pub(super) fn set(self, futex: &AtomicU32) {
        self.write(Word::node_of(futex));
    }

    /// The lock is in the list, or out of it, as its word says.
    #[inline]
    pub(super) fn clear(self) {
        self.write(0);
    }

    #[inline]
    fn write(self, node: usize) {
        compiler_fence(AcqRel);
        // SAFETY: the head of a record that is set up belongs to this thread and lives as long; nobody but this
        // thread, and the kernel after its end, touches it.
        unsafe { (&raw mut (*self.0.as_ptr()).pending).write_volatile(node) };
        compiler_fence(AcqRel);
        primitive::step();
    }
}

/// What outlives a fork.
struct Entry {
    record: NonNull<Record>,
    /// The key of the thread that has the record; 0 if nobody has.
    owner: AtomicUsize,
    next: *const Entry,
}

/// All records there are, as a list that only grows.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(null_mut());

/// What threads have that never locked: a record that is not set up.
static NONE: Record = Record {
    head: AtomicPtr::new(null_mut()),
    id: PlainU32::new(0),
    held: PlainU32::new(0),
    turn: PlainU32::new(0),
    fences: PlainU32::new(0),
    list: List { first: Anchor::NEW, last: Anchor::NEW },
    own: UnsafeCell::new(Head { next: 0, futex_offset: 0, pending: 0 }),
    stack: [const { AtomicUsize::new(0) }; STACK],
};

impl List {
    /// The address of the first node.
    #[inline]
    fn start(&self) -> usize {
        ptr::from_ref(&self.first.next).expose_provenance()
    }

    /// The address of the last node.
    #[inline]
    fn end(&self) -> usize {
        ptr::from_ref(&self.last.next).expose_provenance()
    }
}

impl Anchor {
    #[allow(clippy::declare_interior_mutable_const, reason = "it is what new ones begin as")]
    const NEW: Anchor = Anchor {
        word: 0,
        pad: [0; PAD],
        #[cfg(target_pointer_width = "64")]
        previous: AtomicUsize::new(0),
        next: AtomicUsize::new(0),
    };
}

#[cfg(not(commons_model))]
const _: () = assert!(std::mem::offset_of!(Anchor, next) as isize == -LAYOUT_OFFSET);

/// From a node to its word, as glibc has it: what the layout of locks is made for.
#[cfg(not(commons_model))]
const LAYOUT_OFFSET: isize = if cfg!(target_pointer_width = "64") { -32 } else { -20 };

/// Gives the record back as its thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        leave();
    }
}

#[cfg(not(commons_model))]
thread_local! {
    static LEAVE: Leave = const { Leave };
}

impl Record {
    /// The record of a thread that never locked.
    pub(crate) const fn none() -> *const Record {
        &raw const NONE
    }

    /// The calling thread's, perhaps not set up: then it holds nothing, and [`ready`](Record::ready) says no.
    #[inline]
    pub(super) fn current() -> &'static Record {
        // SAFETY: it is `NONE` or a record, and those are never freed.
        unsafe { &*primitive::current() }
    }

    /// The calling thread's, set up.
    #[inline]
    pub(super) fn ready() -> Result<&'static Record, SyncError> {
        let record = Record::current();
        if record.is_ready() { Ok(record) } else { set_up() }
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        !self.head.load(Relaxed).is_null()
    }

    /// The thread's id.
    #[inline]
    pub(super) fn id(&self) -> u32 {
        self.id.load(Relaxed)
    }

    /// Where the thread begins to look for a free slot: where it found one the last time.
    #[inline]
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Relaxed)
    }

    pub(super) fn set_turn(&self, turn: u32) {
        self.turn.store(turn, Relaxed);
    }

    /// What this thread wrote before is ordered before what it reads after, as seen by who calls
    /// [`heavy_barrier`](primitive::heavy_barrier) in between.
    #[inline]
    pub(super) fn light_barrier(&self) {
        primitive::light_barrier();
        if self.fences.load(Relaxed) != 0 {
            primitive::fence(SeqCst);
        }
    }

    /// Whether it holds nothing, as most threads do when they lock.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.list.first.next.load(Relaxed) == self.list.end()
    }

    #[inline]
    pub(super) fn has_room(&self) -> bool {
        (self.held.load(Relaxed) as usize) < MAX_HELD
    }

    /// Where the thread's list names the lock that is about to change hands; `None` if the record is not set up.
    #[inline]
    pub(super) fn pending(&self) -> Option<Pending> {
        NonNull::new(self.head.load(Relaxed)).map(Pending)
    }

    /// As [`Pending::set`]. Requires a record that is set up.
    #[inline]
    pub(super) fn set_pending(&self, futex: &AtomicU32) {
        if let Some(pending) = self.pending() {
            pending.set(futex);
        }
    }

    /// As [`Pending::clear`].
    #[inline]
    pub(super) fn clear_pending(&self) {
        if let Some(pending) = self.pending() {
            pending.clear();
        }
    }

    /// Puts a lock into the list that was just taken. There has to be room. One in private memory is left out.
    #[inline]
    pub(super) fn push(&self, word: &Word) {
        if word.place().may_be_private() && word.place().find_private() {
            return;
        }
        let first = &self.list.first.next;
        let (held, node) = (self.held.load(Relaxed), word.exposed_node());
        // The first one apart: then what is stored does not wait for what was loaded.
        if held == 0 {
            word.set_next(self.list.end());
            self.stack[0].store(node, Relaxed);
            self.held.store(1, Release);
        } else {
            word.set_next(first.load(Relaxed));
            self.stack[held as usize % STACK].store(node, Relaxed);
            self.held.store(held + 1, Release);
        }
        compiler_fence(AcqRel);
        first.store(node, Relaxed);
        compiler_fence(AcqRel);
        primitive::step();
    }

    /// Whether the lock is the newest that this thread holds, as it mostly is when it is given back.
    #[inline]
    pub(super) fn is_newest(&self, word: &Word) -> bool {
        self.list.first.next.load(Relaxed) == word.node()
    }

    /// Takes the newest lock out of the list.
    #[inline]
    pub(super) fn pop(&self) {
        let held = self.held.load(Relaxed);
        // As in `push`.
        if held == 1 {
            self.list.first.next.store(self.list.end(), Relaxed);
            compiler_fence(AcqRel);
            self.held.store(0, Relaxed);
        } else {
            self.list.first.next.store(self.below(held as usize - 1), Relaxed);
            compiler_fence(AcqRel);
            self.held.store(held - 1, Relaxed);
        }
        primitive::step();
    }

    /// Takes a lock out of the list, wherever in it that is. It has to be there.
    pub(super) fn remove(&self, word: &Word) {
        if self.is_newest(word) {
            return self.pop();
        }
        let held = self.held.load(Relaxed) as usize;
        let all = &self.stack[..held.min(STACK)];
        let Some(at) = all.iter().rposition(|node| node.load(Relaxed) == word.node()) else { return };
        let Some(above) = all.get(at + 1) else { return };
        // SAFETY: this is the node of a lock that this thread has. It is mapped still: its guard borrows it, or, if that
        // was forgotten, its attachment is not unmapped. A lock in private memory is not in the stack; and whoever maps
        // shared memory by other means has promised to leave it where it is (see the documentation of `sync`).
        unsafe { Word::of_node(above.load(Relaxed)) }.set_next(self.below(at));
        compiler_fence(AcqRel);
        for index in at..held - 1 {
            // The lower one first: who looks from above meets each of them.
            all[index].store(all[index + 1].load(Relaxed), Release);
        }
        self.held.store(held as u32 - 1, Relaxed);
        compiler_fence(AcqRel);
        primitive::step();
    }

    /// The node that stands behind the one at `index` in the stack.
    #[inline]
    fn below(&self, index: usize) -> usize {
        match index {
            0 => self.list.end(),
            _ => self.stack[(index - 1) % STACK].load(Relaxed),
        }
    }

    /// Whether this thread holds the lock. Requires a record that is set up.
    pub(super) fn holds(&self, word: &Word) -> bool {
        self.any(|node| node == word.node()) || self.holds_private(word)
    }

    /// Whether this thread holds the lock, which lies in private memory: nobody else can write there, and a forked child has
    /// another id. Requires a record that is set up.
    pub(super) fn holds_private(&self, word: &Word) -> bool {
        word.place().is_private() && word.load(Relaxed) & OWNER == self.id()
    }

    /// Whether it holds a lock whose word lies within these bytes.
    #[inline]
    pub(super) fn holds_within(&self, start: usize, len: usize) -> bool {
        self.any(|node| node.wrapping_add_signed(Word::OFFSET).wrapping_sub(start) < len)
    }

    /// Whether one of the locks that it holds could be this one, mapped a second time.
    pub(super) fn holds_alias(&self, word: &Word) -> bool {
        const PAGE: usize = 4096;
        self.any(|node| node % PAGE == word.node() % PAGE)
    }

    /// Whether there is such a node among those of the locks that it holds, the newest looked at first.
    ///
    /// Another thread may ask while this one takes and gives back locks. A lock that is held all the while, whatever
    /// happens to the others, only ever moves down in the stack, so that it is met.
    #[inline]
    fn any(&self, is: impl Fn(usize) -> bool) -> bool {
        let held = (self.held.load(Acquire) as usize).min(STACK);
        self.stack[..held].iter().rev().any(|node| is(node.load(Acquire)))
    }

    /// The nodes of locks that the kernel meets in the list, and at last the pending one.
    #[cfg(commons_shuttle)]
    pub(super) fn as_the_kernel_sees_it(&self) -> Option<impl Iterator<Item = (usize, bool)> + use<>> {
        let head = self.head.load(Relaxed);
        if head.is_null() {
            return None;
        }
        let mut nodes = Vec::new();
        // SAFETY: the thread is at a step of its own, so that its list is sound, and all nodes in it are there.
        unsafe {
            let pending = (*head).pending;
            let mut node = (*head).next;
            while node != head.addr() {
                if node != pending && node != self.list.start() && node != self.list.end() {
                    nodes.push((node, false));
                }
                node = ptr::with_exposed_provenance::<usize>(node).read();
            }
            if pending != 0 {
                nodes.push((pending, true));
            }
        }
        Some(nodes.into_iter())
    }

    /// Puts the private nodes into the thread's list, in front.
    ///
    /// # Safety
    ///
    /// The calling thread owns the record, `head` is its list, and the nodes are not in it.
    unsafe fn link(&self, head: *mut Head) {
        let list = &self.list;
        // SAFETY: the list is sound, as its keeper, the C library, sees to.
        let front = unsafe { (&raw const (*head).next).read_volatile() };
        list.last.next.store(front, Relaxed);
        list.first.next.store(list.end(), Relaxed);
        #[cfg(target_pointer_width = "64")]
        {
            list.last.previous.store(list.start(), Relaxed);
            list.first.previous.store(head.expose_provenance(), Relaxed);
            if !ptr::eq(head, self.own.get()) {
                // SAFETY: a node or head of the C library's.
                unsafe { set_previous(front, list.end()) };
            }
        }
        compiler_fence(AcqRel);
        // SAFETY: as above.
        unsafe { (&raw mut (*head).next).write_volatile(list.start()) };
        compiler_fence(AcqRel);
    }

    /// Takes the private nodes out of the thread's list, if nothing stands before them and nothing between them.
    fn unlink(&self) -> bool {
        let head = self.head.load(Relaxed);
        let list = &self.list;
        // SAFETY: as for `link`.
        unsafe {
            if list.first.next.load(Relaxed) != list.end() || (*head).next != list.start() {
                return false;
            }
            if ptr::eq(head, self.own.get()) {
                // The kernel has it registered until the thread ends.
                return false;
            }
            let behind = list.last.next.load(Relaxed);
            #[cfg(target_pointer_width = "64")]
            set_previous(behind, head.addr());
            (&raw mut (*head).next).write_volatile(behind);
        }
        compiler_fence(AcqRel);
        true
    }
}

/// Tells the C library's node at that address, or its head, which one stands before it.
///
/// # Safety
///
/// `node` is the address of a node or head of the C library's, in its own list.
#[cfg(target_pointer_width = "64")]
unsafe fn set_previous(node: usize, previous: usize) {
    let node = ptr::with_exposed_provenance_mut::<usize>(node & !1);
    // SAFETY: glibc has the pointer to the previous node in front of the one to the next, in its head too.
    unsafe { node.sub(1).write_volatile(previous) };
}

/// Makes the calling thread's record ready: at its first lock, and at the first one after a fork.
#[cold]
fn set_up() -> Result<&'static Record, SyncError> {
    // SAFETY: entries are never freed.
    let entry = unsafe { &*claim(primitive::thread_key())? };
    // SAFETY: nor are records.
    let record = unsafe { entry.record.as_ref() };
    record.held.store(0, Relaxed);
    let own = record.own.get();
    // SAFETY: the record is this thread's now.
    unsafe { own.write(Head { next: own.expose_provenance(), futex_offset: Word::OFFSET, pending: 0 }) };
    // SAFETY: records are never freed.
    let head = unsafe { primitive::list_head(own) }
        .map_err(|_| SyncError::Unsupported("its kernel keeps no list of the locks that a thread holds"));
    let head = head.and_then(|head| {
        // SAFETY: the list's head lives as long as the thread.
        if unsafe { (*head).futex_offset } == Word::OFFSET {
            Ok(head)
        } else {
            Err(SyncError::Unsupported("its C library lays mutexes out in another way"))
        }
    });
    let head = match head {
        Ok(head) => head,
        Err(error) => {
            entry.owner.store(0, Release);
            return Err(error);
        }
    };
    let id = primitive::thread_id();
    record.id.store(id, Relaxed);
    record.fences.store(u32::from(!primitive::hear_barriers()), Relaxed);
    // Threads with ids that follow each other are spread, so that none has a cache line next to another's, which
    // processors like to fetch in pairs.
    record.set_turn(id.wrapping_mul(9));
    // SAFETY: the record is new, or was wiped, or was unlinked by its last thread, or that thread is gone, and its
    // list with it.
    unsafe { record.link(head) };
    record.head.store(head, Release);
    primitive::set_current(record);
    #[cfg(not(commons_model))]
    {
        // Fails while the thread's data is being destroyed: then nobody gives the record back, and the next thread
        // with this key takes it over.
        let _ = LEAVE.try_with(|_| ());
    }
    Ok(record)
}

/// Finds a record for the thread with this key: one that it had (before a fork, or another thread with the same
/// key had, which then is gone), one that nobody has, or a new one.
fn claim(key: usize) -> Result<*const Entry, SyncError> {
    let mut free = None;
    let mut next: *const Entry = ENTRIES.load(Acquire);
    // SAFETY: entries are never freed.
    while let Some(entry) = unsafe { next.as_ref() } {
        match entry.owner.load(Acquire) {
            owner if owner == key => return Ok(entry),
            0 => free = free.or(Some(entry)),
            _ => {}
        }
        next = entry.next;
    }
    if let Some(entry) = free {
        if entry.owner.compare_exchange(0, key, AcqRel, Relaxed).is_ok() {
            return Ok(entry);
        }
    }
    let record = new_record()?;
    let entry = Box::into_raw(Box::new(Entry { record, owner: AtomicUsize::new(key), next: ptr::null() }));
    let mut first = ENTRIES.load(Relaxed);
    loop {
        // SAFETY: the entry is not shown to anybody yet.
        unsafe { (*entry).next = first };
        match ENTRIES.compare_exchange_weak(first, entry, Release, Relaxed) {
            Ok(_) => return Ok(entry),
            Err(now) => first = now,
        }
    }
}

#[cfg(not(commons_model))]
fn new_record() -> Result<NonNull<Record>, SyncError> {
    use crate::sys::{map, process};
    let (memory, wiped) = map::zeroed_in_children(WITHIN_PAGE + size_of::<Record>())
        .map_err(|_| SyncError::Unsupported("there is no memory for the list of held locks"))?;
    if !wiped {
        process::in_child_too(wipe);
    }
    // SAFETY: there was mapped as much, from a page's beginning on, so that the record is aligned as it has to be. All
    // zero is one that is not set up.
    Ok(unsafe { memory.byte_add(WITHIN_PAGE) }.cast())
}

/// Where in its first page a record begins.
///
/// A processor that compares the lower 12 bits of addresses takes a load for one of what was just stored elsewhere, if
/// these are the same, and then has it wait. What is locked often lies at the beginning of a page, as all of
/// [`Shared`](crate::Shared) does; so records do not.
#[cfg(not(commons_model))]
const WITHIN_PAGE: usize = 0xd40;

#[cfg(not(commons_model))]
const _: () = assert!(WITHIN_PAGE % align_of::<Record>() == 0);

#[cfg(commons_model)]
fn new_record() -> Result<NonNull<Record>, SyncError> {
    let layout = std::alloc::Layout::new::<Record>();
    // SAFETY: the layout has a size. All zero is a record that is not set up.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }.cast())
        .ok_or(SyncError::Unsupported("there is no memory"))
}

/// What a forked child does where its kernel does not wipe the records.
#[cfg(not(commons_model))]
extern "C" fn wipe() {
    for record in records() {
        record.head.store(null_mut(), Relaxed);
        record.list.first.next.store(0, Relaxed);
        record.held.store(0, Relaxed);
    }
}

/// Gives the calling thread's record back, unless it still holds something.
pub(super) fn leave() {
    let record = Record::current();
    if !record.is_ready() || !record.unlink() {
        return;
    }
    record.head.store(null_mut(), Relaxed);
    primitive::set_current(Record::none());
    let mut next: *const Entry = ENTRIES.load(Acquire);
    // SAFETY: entries are never freed.
    while let Some(entry) = unsafe { next.as_ref() } {
        if ptr::eq(entry.record.as_ptr(), record) {
            entry.owner.store(0, Release);
            return;
        }
        next = entry.next;
    }
}

fn records() -> impl Iterator<Item = &'static Record> {
    let mut next: *const Entry = ENTRIES.load(Acquire);
    std::iter::from_fn(move || {
        // SAFETY: entries and records are never freed.
        let entry = unsafe { next.as_ref() }?;
        next = entry.next;
        // SAFETY: as above.
        Some(unsafe { entry.record.as_ref() })
    })
}

/// Whether any thread of this process, the calling one or another, holds a lock within these bytes. For whoever is
/// about to unmap them: only forgotten guards can be left then.
#[inline]
pub(crate) fn any_held_within(start: usize, len: usize) -> bool {
    // Most processes never lock.
    !ENTRIES.load(Relaxed).is_null()
        && records().any(|record| record.is_ready() && record.holds_within(start, len))
}

#[cfg(all(test, not(commons_model)))]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_nothing_also_where_the_kernel_does_not_wipe() {
        // One that others might have, so that it goes into the list.
        // SAFETY: a word of all zeros is a free one.
        let word: Word = unsafe { std::mem::zeroed() };
        // SAFETY: the child takes and leaves a lock of its own, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let taken = word.lock_slowly(super::super::backoff::Deadline::Now, Acquire).is_ok();
            let had = Record::current().is_newest(&word);
            wipe();
            let has = Record::current().is_newest(&word) || Record::current().holds(&word);
            word.unlock(super::super::word::Wake::One);
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!taken || !had || has)) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    #[test]
    fn a_record_fits_into_a_few_pages_of_which_one_is_touched() {
        const {
            assert!(
                std::mem::offset_of!(Record, stack) <= 192 && WITHIN_PAGE + size_of::<Record>() <= 5 * 4096
            )
        };
    }
}
