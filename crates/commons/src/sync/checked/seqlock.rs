//! No torn value, no waiting for who writes.

use super::explore;
use crate::sync::SeqLock;

#[cfg(commons_shuttle)]
mod interleavings {
    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::primitive::model::Fate;

    fn whole(value: [u64; 3]) -> u64 {
        assert!(value[0] == value[1] && value[1] == value[2], "torn: {value:?}");
        value[0]
    }

    #[test]
    fn readers_see_whole_values_one_after_the_other_whoever_dies() {
        explore(|| {
            let lock = Arc::new(SeqLock::new([0_u64; 3]));
            for fate in [Fate::Dies, Fate::Dies] {
                let lock = lock.clone();
                spawn_mortal(fate, move || {
                    for _ in 0..2 {
                        lock.update(|value| [whole(value) + 1; 3]).unwrap();
                    }
                });
            }
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let lock = lock.clone();
                    thread::spawn(move || {
                        let mut last = 0;
                        for _ in 0..3 {
                            let now = whole(lock.read());
                            assert!(now >= last, "went back from {last} to {now}");
                            last = now;
                        }
                    })
                })
                .collect();
            lock.update(|value| [whole(value) + 1; 3]).unwrap();
            assert!(whole(lock.read()) >= 1);
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            assert!((1..=5).contains(&whole(lock.read())));
        });
    }

    /// Not dead, so that the kernel does nothing: readers are not in need of it.
    #[test]
    fn readers_do_not_wait_for_one_that_stands_still() {
        explore(|| {
            let lock = Arc::new(SeqLock::new([0_u64; 3]));
            let other = lock.clone();
            spawn_mortal(Fate::Stops, move || {
                for value in 1..3 {
                    other.write([value; 3]).unwrap();
                }
            });
            let mut last = 0;
            for _ in 0..4 {
                let now = whole(lock.read());
                assert!(now >= last);
                last = now;
            }
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    #[test]
    fn what_is_read_is_one_value_and_no_older_than_the_one_before() {
        explore(|| {
            let lock = Arc::new(SeqLock::new([0_u64; 2]));
            let other = lock.clone();
            let writer = thread::spawn(move || {
                for value in 1..3 {
                    other.write([value; 2]).unwrap();
                }
            });
            let mut last = 0;
            for _ in 0..2 {
                if let Some(value) = lock.try_read() {
                    assert_eq!(value[0], value[1], "torn");
                    assert!(value[0] >= last);
                    last = value[0];
                }
            }
            writer.join().unwrap();
            assert_eq!(lock.try_read(), Some([2; 2]));
        });
    }

    #[test]
    fn what_one_writer_wrote_the_next_one_builds_on() {
        explore(|| {
            let lock = Arc::new(SeqLock::new([0_u64; 2]));
            let other = lock.clone();
            let writer = thread::spawn(move || other.update(|[a, b]| [a + 1, b + 1]).unwrap());
            lock.update(|[a, b]| [a + 1, b + 1]).unwrap();
            writer.join().unwrap();
            assert_eq!(lock.try_read(), Some([2; 2]));
        });
    }
}
