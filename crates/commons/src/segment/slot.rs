//! Where the locks of a segment lie: published constants, for whoever looks at a segment's locks from
//! outside (`/proc/locks`, `F_OFD_GETLK`).
//!
//! All locks are open-file-description locks on the segment's own file, at offsets far past any end it can
//! have. They say who holds it; they guard no bytes.
//!
//! | offsets                  | lock  | held by                                               |
//! | ------------------------ | ----- | ----------------------------------------------------- |
//! | [`GROW`]                 | write | whoever makes the segment larger                      |
//! | [`BASE`], the gate       | write | whoever removes the name, from comparing to unlinking |
//! | one slot above [`BASE`]  | read  | each handle, with all attachments made from it        |
//! | [`BASE`] to the end      | write | whoever has made sure that nobody holds the segment   |

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sys::lock::Range;
use crate::sys::process;

/// The gate; slots lie above it.
pub const BASE: u64 = 1 << 60;

/// The byte that whoever makes the segment larger locks.
pub const GROW: u64 = BASE - 1;

const NAMESPACE_BITS: u32 = 22;
const PID_BITS: u32 = 22;
const COUNTER_BITS: u32 = 16;

/// The gate alone.
pub(crate) const GATE: Range = Range { start: BASE, len: 1 };
/// Gate and all slots.
pub(crate) const WHOLE: Range = Range { start: BASE, len: 0 };
/// All slots, without the gate.
pub(crate) const SLOTS: Range =
    Range { start: BASE + 1, len: (1 << (NAMESPACE_BITS + PID_BITS + COUNTER_BITS)) };
/// The lock for growing.
pub(crate) const GROWING: Range = Range { start: GROW, len: 1 };

/// One holder's byte.
///
/// Its offset is `BASE + 1` plus, from the highest bits down, 22 bits of the inode number of the holder's
/// pid namespace, 22 bits of its pid there, and 16 bits of a counter that starts at random in each program
/// image, so that an `exec` does not look like what it replaced. Two holders in one slot (a counter that
/// came round) are both counted by the kernel as long as either lives; only a list of holders shows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

impl Slot {
    /// A slot that stands for none.
    pub(crate) const NONE: Slot = Slot(0);

    /// A slot for one more handle of this process.
    #[inline]
    pub(crate) fn next() -> Slot {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        // A random start is drawn once; should two threads draw it at once, it is the same number.
        if COUNTER.load(Relaxed) == 0 {
            // A program can have this library in it twice, in drop-ins: each begins elsewhere.
            let copy = (std::ptr::from_ref(&COUNTER).addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let start = process::random().wrapping_add(copy) & ((1 << COUNTER_BITS) - 1) | 1 << 32;
            let _ = COUNTER.compare_exchange(0, start, Relaxed, Relaxed);
        }
        let counter = COUNTER.fetch_add(1, Relaxed);
        Slot::of(process::pid_namespace(), process::id(), counter)
    }

    #[inline]
    fn of(namespace: u64, pid: u32, counter: u64) -> Slot {
        let low = |value: u64, bits: u32| value & ((1 << bits) - 1);
        Slot(
            low(namespace, NAMESPACE_BITS) << (PID_BITS + COUNTER_BITS)
                | low(pid.into(), PID_BITS) << COUNTER_BITS
                | low(counter, COUNTER_BITS),
        )
    }

    /// The slot whose byte has this offset; `None` if it is none.
    pub fn from_offset(offset: u64) -> Option<Slot> {
        let within = offset.checked_sub(SLOTS.start)?;
        (within < SLOTS.len).then_some(Slot(within))
    }

    /// The slot of this [number](Slot::number); `None` if it is none's.
    pub(crate) fn from_number(number: u64) -> Option<Slot> {
        (number < SLOTS.len).then_some(Slot(number))
    }

    /// What tells it from other slots: the distance of its byte from the first one's. No process's is 0.
    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The offset of its byte.
    pub fn offset(self) -> u64 {
        SLOTS.start + self.0
    }

    pub(crate) fn range(self) -> Range {
        Range { start: self.offset(), len: 1 }
    }

    /// The holder's pid, in its own pid namespace.
    pub fn pid(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32 & ((1 << PID_BITS) - 1)
    }

    /// All slots of other pid namespaces than this process's: those below and those above its own.
    pub(crate) fn elsewhere() -> [Range; 2] {
        let (first, last) = (Slot::of(process::pid_namespace(), 0, 0), u64::MAX);
        let last = Slot::of(process::pid_namespace(), last as u32, last);
        [
            Range { start: SLOTS.start, len: first.0 },
            Range { start: last.offset() + 1, len: SLOTS.len - last.0 - 1 },
        ]
    }

    /// The lowest 22 bits of the inode number of the holder's pid namespace.
    pub fn namespace(self) -> u32 {
        (self.0 >> (PID_BITS + COUNTER_BITS)) as u32
    }

    /// Whether the holder is in this process's pid namespace, so that its pid means something here.
    pub fn is_in_my_namespace(self) -> bool {
        u64::from(self.namespace()) == process::pid_namespace() & ((1 << NAMESPACE_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_what_was_put_in() {
        let slot = Slot::of(0xf030_0123, 4_194_303, 0x1_ffff);
        assert_eq!((slot.pid(), slot.namespace()), (4_194_303, 0x30_0123));
        assert_eq!(Slot::from_offset(slot.offset()), Some(slot));
        assert_eq!(Slot::from_offset(BASE), None);
        const { assert!(SLOTS.start + SLOTS.len < 1 << 62) };
    }

    #[test]
    fn slots_differ_within_a_process() {
        let (one, two) = (Slot::next(), Slot::next());
        assert_ne!(one, two);
        assert_eq!(one.pid(), std::process::id());
        assert!(one.is_in_my_namespace());
        let [below, above] = Slot::elsewhere();
        assert!(below.start + below.len <= one.offset() && two.offset() < above.start);
        assert_eq!(above.start + above.len, SLOTS.start + SLOTS.len);
        assert_eq!(above.start - below.start - below.len, 1 << (PID_BITS + COUNTER_BITS));
    }
}
