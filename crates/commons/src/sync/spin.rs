//! How long to look at a word before sleeping on it, for those who wait for a signal.
//!
//! Unlike a lock's word, that of an event is not written while somebody waits for it, so that looking at it costs the
//! others nothing: one look after the other, for longer than it takes to wake another thread, so that two that answer
//! each other stay awake, or become so. But where the signal never comes so soon, because it takes long, or because who
//! gives it waits for this processor, looking is time lost. So a thread remembers whether looking was of use: each time
//! it was not halves how long it looks the next time, and each time it was gives it all back. Once in [`PROBE`] times it
//! looks for long anyway, to find out whether things have changed.
//!
//! What is remembered is the thread's own, and only how fast it waits depends on it.

use super::primitive;

/// Looks before sleeping, at most: some ten microseconds.
const MOST: u32 = 1024;

/// How often a thread that looks in vain looks for long.
const PROBE: u32 = 256;

/// One wait's looks.
#[derive(Debug)]
pub(super) struct Spin {
    looks: u32,
    most: u32,
}

impl Spin {
    pub(super) fn new() -> Spin {
        Spin { looks: 0, most: if primitive::MODEL { 0 } else { remembered::most() } }
    }

    /// A pause before the next look; `false` if it is time to sleep.
    #[inline]
    pub(super) fn again(&mut self) -> bool {
        if self.looks >= self.most {
            self.learn(false);
            return false;
        }
        self.looks += 1;
        primitive::spin();
        true
    }

    /// What was waited for has come.
    #[inline]
    pub(super) fn came(&mut self) {
        if self.looks > 0 && self.looks < self.most {
            self.learn(true);
        }
    }

    fn learn(&mut self, came: bool) {
        // Only once: from now on this wait sleeps.
        if self.most > 0 {
            self.most = 0;
            remembered::learn(came);
        }
    }
}

#[cfg(not(commons_model))]
mod remembered {
    use std::cell::Cell;

    use super::{MOST, PROBE};

    thread_local! {
        /// How often looking was in vain, since it was of use.
        static VAIN: Cell<u32> = const { Cell::new(0) };
    }

    pub(super) fn most() -> u32 {
        match VAIN.get() {
            vain if vain % PROBE == PROBE - 1 => MOST,
            vain => MOST.checked_shr(vain).unwrap_or(0).max(1),
        }
    }

    pub(super) fn learn(came: bool) {
        VAIN.set(if came { 0 } else { VAIN.get().wrapping_add(1) });
    }
}

#[cfg(commons_model)]
mod remembered {
    pub(super) fn most() -> u32 {
        0
    }

    pub(super) fn learn(_: bool) {}
}

#[cfg(all(test, not(commons_model)))]
mod tests {
    use super::*;

    fn looks_in_vain() -> u32 {
        let mut spin = Spin::new();
        while spin.again() {}
        spin.looks
    }

    #[test]
    fn a_thread_that_looks_in_vain_soon_stops_looking_and_tries_again_from_time_to_time() {
        std::thread::spawn(|| {
            let looks: Vec<_> = (0..PROBE).map(|_| looks_in_vain()).collect();
            assert_eq!(looks[..3], [MOST, MOST / 2, MOST / 4]);
            assert_eq!((looks[20], looks[PROBE as usize - 1]), (1, MOST));
            let mut spin = Spin::new();
            assert!(!(spin.again() && spin.again()), "one look");
            for _ in 0..PROBE {
                let mut spin = Spin::new();
                if spin.most == MOST {
                    assert!(spin.again());
                    spin.came();
                    break;
                }
                while spin.again() {}
            }
            assert_eq!(Spin::new().most, MOST, "it was of use");
        })
        .join()
        .unwrap();
    }
}
