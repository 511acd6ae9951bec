//! Whoever waits gets through once the event is set, whoever else dies.

use super::explore;
use crate::sync::{AutoEvent, Event};

#[cfg(commons_shuttle)]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::primitive::model::Fate;

    #[test]
    fn setting_lets_all_through_whoever_dies() {
        explore(|| {
            let event = Arc::new(Event::new());
            for _ in 0..2 {
                let (one, other) = (event.clone(), event.clone());
                spawn_mortal(Fate::Dies, move || one.wait());
                spawn_mortal(Fate::Dies, move || other.set());
            }
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let event = event.clone();
                    thread::spawn(move || event.wait())
                })
                .collect();
            event.set();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    #[test]
    fn setting_again_lets_through_those_who_missed_it() {
        explore(|| {
            let event = Arc::new(Event::new());
            let other = event.clone();
            spawn_mortal(Fate::Dies, move || {
                for _ in 0..2 {
                    other.set();
                    other.reset();
                }
            });
            let through = Arc::new(AtomicU32::new(0));
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let (event, through) = (event.clone(), through.clone());
                    thread::spawn(move || {
                        event.wait();
                        through.fetch_add(1, Relaxed);
                    })
                })
                .collect();
            // The other one may have reset it just after, and may do so once more.
            while through.load(Relaxed) != 2 {
                event.set();
                thread::yield_now();
            }
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    /// Sets that are taken one by one, each confirmed before the next: none is lost, none is had twice.
    #[test]
    fn each_setting_lets_one_through() {
        explore(|| {
            let (event, taken) = (Arc::new(AutoEvent::new()), Arc::new(AutoEvent::new()));
            let through = Arc::new(AtomicU32::new(0));
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let (event, taken, through) = (event.clone(), taken.clone(), through.clone());
                    thread::spawn(move || {
                        event.wait();
                        through.fetch_add(1, Relaxed);
                        taken.set();
                    })
                })
                .collect();
            for done in 0..3 {
                assert_eq!(through.load(Relaxed), done);
                event.set();
                taken.wait();
            }
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            assert!(!event.try_wait() && !taken.try_wait());
        });
    }

    /// Two of three waiters and one who sets may die. What the dead did not take, the living gets.
    #[test]
    fn one_that_dies_while_it_waits_swallows_nothing() {
        explore(|| {
            let event = Arc::new(AutoEvent::new());
            let taken = Arc::new(AtomicU32::new(0));
            let gone = Arc::new(AtomicU32::new(0));
            for _ in 0..2 {
                let (event, gone) = (event.clone(), gone.clone());
                spawn_mortal(Fate::Dies, move || {
                    event.wait();
                    gone.fetch_add(1, Relaxed);
                    event.set();
                });
            }
            let other = event.clone();
            spawn_mortal(Fate::Dies, move || other.set());
            let (other, count) = (event.clone(), taken.clone());
            let waiter = thread::spawn(move || {
                other.wait();
                count.fetch_add(1, Relaxed);
            });
            // Each of the mortals can have taken one and died before it gave it on.
            for _ in 0..3 {
                event.set();
                while event.is_set() {
                    if taken.load(Relaxed) != 0 {
                        break;
                    }
                    thread::yield_now();
                }
            }
            waiter.join().unwrap();
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Something written before, read after.
    struct Letter<E> {
        event: E,
        text: UnsafeCell<u32>,
    }

    fn what_was_written_before_is_seen_after<E: Send + Sync + 'static>(
        new: fn() -> E,
        set: fn(&E),
        wait: fn(&E),
    ) where
        Letter<E>: Send + Sync,
    {
        explore(move || {
            let letter = Arc::new(Letter { event: new(), text: UnsafeCell::new(0) });
            let other = letter.clone();
            let writer = thread::spawn(move || {
                // SAFETY: before it is set nobody else looks; loom checks that.
                other.text.with_mut(|text| unsafe { *text = 1 });
                set(&other.event);
            });
            wait(&letter.event);
            // SAFETY: it was set, and nobody writes any more.
            assert_eq!(letter.text.with(|text| unsafe { *text }), 1);
            writer.join().unwrap();
        });
    }

    // SAFETY: the text is reached in the order that the event gives, which loom checks.
    unsafe impl<E: Send> Send for Letter<E> {}
    // SAFETY: as above.
    unsafe impl<E: Sync> Sync for Letter<E> {}

    #[test]
    fn what_was_written_before_an_event_is_seen_after_it() {
        what_was_written_before_is_seen_after(Event::new, Event::set, Event::wait);
        what_was_written_before_is_seen_after(AutoEvent::new, AutoEvent::set, AutoEvent::wait);
    }
}
