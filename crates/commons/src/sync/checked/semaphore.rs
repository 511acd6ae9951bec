//! Never more inside than there are units, no unit lost or given twice by a death, nobody left waiting.

use super::explore;
use crate::sync::Semaphore;

#[cfg(commons_shuttle)]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::SyncError;
    use crate::sync::permit::ENTRIES;
    use crate::sync::primitive::model::{self, Fate, step};

    /// So many may be inside at a time.
    struct Room {
        semaphore: Semaphore,
        units: u32,
        /// The ids of those inside, or 0.
        inside: [AtomicU32; 8],
        /// How many mortals got to their end.
        done: AtomicU32,
    }

    impl Room {
        fn new(units: u32) -> Arc<Room> {
            let inside = Default::default();
            Arc::new(Room { semaphore: Semaphore::new(units), units, inside, done: AtomicU32::new(0) })
        }

        /// In and out, with a permit; it must be given back at any step.
        fn visit(&self) {
            let permit = self.semaphore.acquire().unwrap();
            self.be_inside();
            drop(permit);
        }

        fn be_inside(&self) {
            let me = model::thread_id();
            let place = &self.inside[me as usize];
            place.store(me, Relaxed);
            let inside = self.inside.iter().map(|place| place.load(Relaxed));
            let living = inside.filter(|id| *id != 0 && !model::is_dead(*id)).count();
            assert!(living <= self.units as usize, "{living} inside");
            step();
            thread::yield_now();
            place.store(0, Relaxed);
        }

        /// Waits until so many mortals are at their end, one way or another.
        fn until_over(&self, mortals: u32) {
            while self.done.load(Relaxed) + model::deaths() + model::stops() < mortals {
                thread::yield_now();
            }
        }

        /// No unit is missing, and none too many.
        fn is_whole(&self) {
            let all: Vec<_> = (0..self.units).map(|_| self.semaphore.acquire().unwrap()).collect();
            assert_eq!(self.semaphore.try_acquire().err(), Some(SyncError::WouldBlock));
            drop(all);
            assert_eq!(self.semaphore.value(), self.units);
            assert_eq!(self.semaphore.holders().count(), 0, "an entry is not free");
        }
    }

    fn spawn(count: usize, room: &Arc<Room>, body: fn(&Room)) -> Vec<thread::JoinHandle<()>> {
        (0..count)
            .map(|_| {
                let room = room.clone();
                thread::spawn(move || body(&room))
            })
            .collect()
    }

    fn spawn_doomed(count: usize, fate: Fate, room: &Arc<Room>, body: fn(&Room)) {
        for _ in 0..count {
            let room = room.clone();
            spawn_mortal(fate, move || {
                body(&room);
                model::immortal();
                room.done.fetch_add(1, Relaxed);
            });
        }
    }

    #[test]
    fn whoever_waits_gets_what_was_posted() {
        explore(|| {
            model::homeless();
            let room = Room::new(0);
            let waiters = spawn(3, &room, |room| (0..2).for_each(|_| room.semaphore.wait()));
            let posters =
                spawn(2, &room, |room| (1..=2).for_each(|units| room.semaphore.post(units).unwrap()));
            waiters.into_iter().chain(posters).for_each(|thread| thread.join().unwrap());
            assert_eq!(room.semaphore.value(), 0);
        });
    }

    #[test]
    fn a_wake_up_that_a_dying_waiter_got_goes_to_another() {
        explore(|| {
            model::homeless();
            let room = Room::new(0);
            spawn_doomed(2, Fate::Dies, &room, |room| room.semaphore.wait());
            let waiters = spawn(2, &room, |room| room.semaphore.wait());
            // As many as all could take.
            for _ in 0..4 {
                room.semaphore.post(1).unwrap();
            }
            waiters.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn permits_keep_the_number_inside() {
        explore(|| {
            let room = Room::new(2);
            let visitors = spawn(3, &room, |room| (0..2).for_each(|_| room.visit()));
            visitors.into_iter().for_each(|thread| thread.join().unwrap());
            room.is_whole();
        });
    }

    #[test]
    fn permits_of_the_dead_come_back_once_wherever_they_die() {
        explore(|| {
            let room = Room::new(2);
            spawn_doomed(3, Fate::Dies, &room, |room| (0..3).for_each(|_| room.visit()));
            let visitors = spawn(2, &room, |room| (0..2).for_each(|_| room.visit()));
            visitors.into_iter().for_each(|thread| thread.join().unwrap());
            room.until_over(3);
            room.is_whole();
        });
    }

    #[test]
    fn recoverers_may_die_and_stop_too() {
        explore(|| {
            let room = Room::new(3);
            fn try_often(room: &Room) {
                for _ in 0..4 {
                    // Recovers, if there is nothing.
                    if let Ok(permit) = room.semaphore.try_acquire() {
                        room.be_inside();
                        drop(permit);
                    }
                }
            }
            spawn_doomed(3, Fate::Dies, &room, try_often);
            spawn_doomed(1, Fate::Stops, &room, try_often);
            spawn(1, &room, try_often).into_iter().for_each(|thread| thread.join().unwrap());
            room.until_over(4);
            // What the dead had comes back, but for what a stopped one has, or is just bringing back: its entry.
            let mut permits = Vec::new();
            while let Ok(permit) = room.semaphore.try_acquire() {
                permits.push(permit);
            }
            let kept = room.semaphore.holders().count() - permits.len();
            assert!(kept <= model::stops() as usize, "kept");
            let had = permits.len();
            assert!(had <= 3 && had + kept >= 3, "{had} had, {kept} kept");
        });
    }

    #[test]
    fn a_plain_waiter_brings_back_what_the_dead_had() {
        explore(|| {
            let room = Room::new(1);
            spawn_doomed(1, Fate::Dies, &room, |room| (0..2).for_each(|_| room.visit()));
            let waiters = spawn(2, &room, |room| {
                room.semaphore.wait();
                room.semaphore.post(1).unwrap();
            });
            waiters.into_iter().for_each(|thread| thread.join().unwrap());
            room.until_over(1);
            room.is_whole();
        });
    }

    #[test]
    fn whoever_waits_for_an_entry_keeps_no_wake_up() {
        explore(|| {
            let room = Room::new(ENTRIES as u32 + 1);
            let all: Vec<_> = (0..ENTRIES).map(|_| room.semaphore.acquire().unwrap()).collect();
            let one_more = spawn(1, &room, |room| drop(room.semaphore.acquire().unwrap()));
            let waiters = spawn(3, &room, |room| {
                room.semaphore.wait();
                room.semaphore.post(1).unwrap();
            });
            // They get through although no entry is free.
            waiters.into_iter().for_each(|thread| thread.join().unwrap());
            drop(all);
            one_more.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(room.semaphore.value(), room.units);
        });
    }

    #[test]
    fn more_permits_than_entries_wait() {
        explore(|| {
            let room = Room::new(ENTRIES as u32 + 1);
            spawn_doomed(1, Fate::Dies, &room, |room| (0..2).for_each(|_| room.visit()));
            let visitors = spawn(ENTRIES + 1, &room, |room| {
                let permit = room.semaphore.acquire().unwrap();
                room.be_inside();
                thread::yield_now();
                drop(permit);
            });
            // A plain waiter may not be forgotten over those who wait for entries.
            let waiter = spawn(1, &room, |room| {
                room.semaphore.wait();
                room.semaphore.post(1).unwrap();
            });
            visitors.into_iter().chain(waiter).for_each(|thread| thread.join().unwrap());
            room.until_over(1);
            assert_eq!(room.semaphore.try_acquire().map(drop), Ok(()));
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::primitive::model;

    struct Shared {
        semaphore: Semaphore,
        data: UnsafeCell<i32>,
    }

    // SAFETY: the data is touched by whoever has the semaphore's unit; loom checks that.
    unsafe impl Sync for Shared {}

    #[test]
    fn what_was_written_before_a_post_is_seen_after_the_wait() {
        explore(|| {
            model::homeless();
            let shared = Arc::new(Shared { semaphore: Semaphore::new(0), data: UnsafeCell::new(0) });
            let other = shared.clone();
            let thread = thread::spawn(move || {
                // SAFETY: nobody else looks before the post.
                other.data.with_mut(|data| unsafe { *data = 1 });
                other.semaphore.post(1).unwrap();
            });
            shared.semaphore.wait();
            // SAFETY: nobody else writes after the post.
            assert_eq!(shared.data.with(|data| unsafe { *data }), 1);
            thread.join().unwrap();
        });
    }

    #[test]
    fn what_was_written_under_a_permit_is_seen_under_the_next() {
        explore(|| {
            let shared = Arc::new(Shared { semaphore: Semaphore::new(1), data: UnsafeCell::new(0) });
            let add = |shared: &Shared| {
                if let Ok(permit) = shared.semaphore.try_acquire() {
                    // SAFETY: there is one unit.
                    shared.data.with_mut(|data| unsafe { *data += 1 });
                    drop(permit);
                }
            };
            let other = shared.clone();
            let thread = thread::spawn(move || add(&other));
            add(&shared);
            thread.join().unwrap();
        });
    }
}
