//! A writer is alone, a dead one is told of, a dead reader is not, nobody is left waiting.

use super::explore;
use crate::sync::{LockError, RwLock};

#[cfg(commons_shuttle)]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use shuttle::sync::Arc;
    use shuttle::thread::{self, JoinHandle};

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::primitive::model::{Fate, mortal, step};
    use crate::sync::{RwLockWriteGuard, SyncError};

    /// What the lock guards: a pair that is equal but while somebody writes.
    type Pair = [AtomicU32; 2];

    #[derive(Default)]
    struct Room {
        lock: RwLock<Pair>,
        /// How often somebody was told of a dead writer.
        told: AtomicU32,
    }

    fn pause() {
        step();
        thread::yield_now();
    }

    /// Sees a writer that comes in meanwhile; gives what there is.
    fn look(pair: &Pair) -> u32 {
        let first = pair[0].load(Relaxed);
        pause();
        assert_eq!(pair[1].load(Relaxed), first, "not alone with readers, or a death was not told");
        pause();
        assert_eq!(pair[0].load(Relaxed), first, "a writer came in");
        first
    }

    fn change(pair: &Pair) -> u32 {
        let next = look(pair) + 1;
        pair[0].store(next, Relaxed);
        pause();
        pair[1].store(next, Relaxed);
        next
    }

    impl Room {
        fn mend<'l>(&self, guard: RwLockWriteGuard<'l, Pair>) -> RwLockWriteGuard<'l, Pair> {
            self.told.fetch_add(1, Relaxed);
            guard[1].store(guard[0].load(Relaxed), Relaxed);
            guard.recover()
        }

        fn read(&self) {
            match self.lock.read() {
                Ok(guard) => {
                    look(&guard);
                }
                Err(LockError::OwnerDied(guard)) => {
                    look(&self.mend(guard).downgrade());
                }
                Err(LockError::Failed(error)) => panic!("{error}"),
            }
        }

        fn write(&self) {
            match self.lock.write() {
                Ok(guard) => {
                    change(&guard);
                }
                Err(LockError::OwnerDied(guard)) => {
                    change(&self.mend(guard));
                }
                Err(LockError::Failed(error)) => panic!("{error}"),
            }
        }

        fn try_to_write(&self) {
            match self.lock.try_write() {
                Ok(guard) => {
                    change(&guard);
                }
                Err(LockError::OwnerDied(guard)) => {
                    change(&self.mend(guard));
                }
                Err(LockError::Failed(SyncError::WouldBlock)) => {}
                Err(LockError::Failed(error)) => panic!("{error}"),
            }
        }

        /// No writer comes in between.
        fn write_then_read(&self) {
            let guard = match self.lock.write() {
                Ok(guard) => guard,
                Err(LockError::OwnerDied(guard)) => self.mend(guard),
                Err(LockError::Failed(error)) => panic!("{error}"),
            };
            let wrote = change(&guard);
            let guard = guard.downgrade();
            pause();
            assert_eq!(look(&guard), wrote, "a writer came in between");
        }

        /// The same.
        fn read_then_write(&self) {
            let guard = match self.lock.read() {
                Ok(guard) => guard,
                Err(LockError::OwnerDied(guard)) => self.mend(guard).downgrade(),
                Err(LockError::Failed(error)) => panic!("{error}"),
            };
            let read = look(&guard);
            match guard.try_upgrade() {
                Ok(guard) => assert_eq!(change(&guard), read + 1, "a writer came in between"),
                Err(guard) => assert_eq!(look(&guard), read, "a writer came in between"),
            }
        }
    }

    fn living(room: &Arc<Room>, times: u32, visit: fn(&Room)) -> JoinHandle<()> {
        let room = room.clone();
        thread::spawn(move || (0..times).for_each(|_| visit(&room)))
    }

    fn dying(room: &Arc<Room>, times: u32, visit: fn(&Room)) {
        let room = room.clone();
        spawn_mortal(Fate::Dies, move || (0..times).for_each(|_| visit(&room)));
    }

    fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn writers_are_alone_and_all_get_through() {
        explore(|| {
            let room = Arc::new(Room::default());
            join([
                living(&room, 2, Room::read),
                living(&room, 2, Room::write),
                living(&room, 2, Room::read),
                living(&room, 2, Room::write),
            ]);
            assert_eq!(look(&room.lock.read().unwrap()), 4);
            assert_eq!(room.told.load(Relaxed), 0);
        });
    }

    #[test]
    fn the_living_get_through_whoever_dies_and_whenever() {
        explore(|| {
            let room = Arc::new(Room::default());
            dying(&room, 3, Room::read);
            dying(&room, 3, Room::write);
            join([
                living(&room, 2, Room::read),
                living(&room, 2, Room::write),
                living(&room, 2, Room::try_to_write),
            ]);
        });
    }

    #[test]
    fn readers_asleep_get_through_whoever_dies_while_waking_them() {
        explore(|| {
            let room = Arc::new(Room::default());
            dying(&room, 2, Room::write);
            dying(&room, 2, Room::read);
            join([living(&room, 1, Room::read), living(&room, 1, Room::read), living(&room, 1, Room::read)]);
        });
    }

    #[test]
    fn more_readers_than_slots_and_a_writer_get_through_whoever_dies() {
        explore(|| {
            let room = Arc::new(Room::default());
            dying(&room, 2, Room::read);
            dying(&room, 2, Room::read);
            join([living(&room, 2, Room::read), living(&room, 2, Room::read), living(&room, 1, Room::write)]);
            assert_eq!(room.told.load(Relaxed), 0, "of a dead reader nobody is told");
        });
    }

    #[test]
    fn nobody_writes_while_another_goes_from_one_to_the_other() {
        explore(|| {
            let room = Arc::new(Room::default());
            dying(&room, 2, Room::write_then_read);
            dying(&room, 2, Room::read_then_write);
            join([
                living(&room, 2, Room::write_then_read),
                living(&room, 2, Room::read_then_write),
                living(&room, 1, Room::write),
            ]);
        });
    }

    #[test]
    fn a_dead_writer_is_told_of_once() {
        explore(|| {
            let room = Arc::new(Room::default());
            die_writing(&room);
            join([
                living(&room, 1, Room::read),
                living(&room, 1, Room::write),
                living(&room, 1, Room::read_then_write),
            ]);
            while room.told.load(Relaxed) == 0 {
                thread::yield_now();
                room.read();
            }
            room.write();
            assert_eq!(room.told.load(Relaxed), 1);
        });
    }

    /// A thread that ends while it writes, for certain.
    fn die_writing(room: &Arc<Room>) {
        let room = room.clone();
        drop(shuttle::future::spawn(async move {
            let guard = room.lock.write().unwrap();
            guard[0].fetch_add(1, Relaxed);
            mortal(Fate::Dies, 1);
            step();
        }));
    }

    #[test]
    fn all_learn_that_nobody_mended() {
        explore(|| {
            let room = Arc::new(Room::default());
            die_writing(&room);
            let visitors = [true, false, true].map(|reads| {
                let room = room.clone();
                thread::spawn(move || {
                    loop {
                        let looked = if reads {
                            room.lock.read().map(|pair| look(&pair))
                        } else {
                            room.lock.write().map(|pair| look(&pair))
                        };
                        match looked {
                            Ok(_) => thread::yield_now(),
                            Err(LockError::OwnerDied(guard)) => {
                                room.told.fetch_add(1, Relaxed);
                                // Not writing any more does not mend.
                                if reads { drop(guard.downgrade()) } else { drop(guard) }
                            }
                            Err(LockError::Failed(error)) => {
                                break assert_eq!(error, SyncError::Unrecoverable);
                            }
                        }
                    }
                })
            });
            join(visitors);
            assert_eq!(room.told.load(Relaxed), 1);
            assert!(room.lock.reset() && !room.lock.reset());
            room.read();
            room.write();
            assert_eq!(room.told.load(Relaxed), 2);
        });
    }

    #[test]
    fn a_stopped_waiter_holds_nobody_up() {
        explore(|| {
            let room = Arc::new(Room::default());
            let guard = room.lock.write().unwrap();
            let stopped = room.clone();
            spawn_mortal(Fate::Stops, move || stopped.read());
            let reader = living(&room, 1, Room::read);
            (0..20).for_each(|_| thread::yield_now());
            drop(guard);
            join([reader]);
        });
    }

    #[test]
    fn a_stopped_reader_keeps_no_reader_out() {
        explore(|| {
            let room = Arc::new(Room::default());
            let stopped = room.clone();
            spawn_mortal(Fate::Stops, move || (0..3).for_each(|_| stopped.read()));
            join([living(&room, 2, Room::read)]);
            room.try_to_write();
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::thread::Record;
    use crate::sync::{RwLockReadGuard, RwLockWriteGuard};

    #[derive(Default)]
    struct Data(UnsafeCell<i32>);

    // SAFETY: shared by the lock only, which lets nobody write while others read; loom checks that.
    unsafe impl Sync for Data {}

    fn add(guard: &RwLockWriteGuard<Data>) {
        // SAFETY: locked for writing; loom checks that no other access is at the same time.
        guard.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(guard: &RwLockReadGuard<Data>) -> i32 {
        // SAFETY: locked for reading; loom checks that nobody writes at the same time.
        guard.0.with(|value| unsafe { *value })
    }

    fn read(lock: &RwLock<Data>) -> i32 {
        get(&lock.read().unwrap_or_else(|error| panic!("{error}")))
    }

    fn write(lock: &RwLock<Data>) {
        add(&lock.write().unwrap_or_else(|error| panic!("{error}")));
    }

    /// One thread does the one, another the other; then so often was written.
    fn both(one: fn(&RwLock<Data>), other: fn(&RwLock<Data>), written: i32) {
        for way in [Way::Long, Way::Short] {
            explore(move || {
                let lock = Arc::new(RwLock::new(Data(UnsafeCell::new(0))));
                let its = lock.clone();
                let thread = thread::spawn(move || {
                    way.choose();
                    other(&its);
                });
                way.choose();
                one(&lock);
                thread.join().unwrap();
                assert_eq!(read(&lock), written);
            });
        }
    }

    /// A thread's first lock goes the long way, others the short one if nothing is against it.
    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Long,
        Short,
    }

    impl Way {
        fn choose(self) {
            if self == Way::Short {
                assert!(Record::ready().is_ok());
            }
        }
    }

    #[test]
    fn a_writer_is_alone_with_a_reader() {
        both(write, |lock| assert!((0..=1).contains(&read(lock))), 1);
    }

    #[test]
    fn what_one_writer_wrote_the_next_one_sees() {
        both(write, write, 2);
    }

    #[test]
    fn what_was_written_before_a_downgrade_is_read() {
        both(
            |lock| {
                let guard = lock.write().unwrap_or_else(|error| panic!("{error}"));
                add(&guard);
                assert_eq!(get(&guard.downgrade()), 1);
            },
            |lock| assert!((0..=1).contains(&read(lock))),
            1,
        );
    }

    #[test]
    fn an_upgrade_is_alone_with_a_reader() {
        explore(|| {
            let lock = Arc::new(RwLock::new(Data(UnsafeCell::new(0))));
            let its = lock.clone();
            let thread = thread::spawn(move || {
                Way::Short.choose();
                read(&its)
            });
            let guard = lock.read().unwrap_or_else(|error| panic!("{error}"));
            let upgraded = guard.try_upgrade().map(|guard| add(&guard)).is_ok();
            assert!(thread.join().unwrap() <= i32::from(upgraded));
            assert_eq!(read(&lock), i32::from(upgraded));
        });
    }
}
