//! Typed objects: made whole, found again by programs that have the same type, refused to those that have another, and
//! safe whatever stands in the segment.

mod common;

use std::sync::atomic::{AtomicI16, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use common::{Private, fork, is_root};
use commons::shared::{Description, InPlace, NoPadding, SharedReader, describe, describe_entry};
use commons::sync::{LockError, LockState, Mutex, SyncError};
use commons::{AttachOptions, Error, Lifetime, Shareable, Shared, SharedOptions};

#[repr(C)]
#[derive(Shareable)]
struct Stats {
    hits: AtomicU64,
    total: Mutex<Totals>,
    slots: [Slot; 3],
    r#type: AtomicU32,
    kinds: [AtomicU8; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Shareable, NoPadding)]
struct Totals {
    count: u64,
    sum: f64,
    last: [u16; 4],
}

#[repr(C, align(16))]
#[derive(Shareable)]
struct Slot(AtomicU32, Mutex<u8>);

/// With parameters.
#[repr(C)]
#[derive(Shareable)]
struct Ring<T, const N: usize> {
    items: Mutex<[T; N]>,
    next: Index<T>,
}

#[repr(transparent)]
#[derive(Shareable)]
struct Index<T>(AtomicU64, std::marker::PhantomData<T>);

const STATS: &str = "\
struct Stats size 288 align 16
  0 hits AtomicU64 8
  8 total Mutex<Totals> 64 lock
    48 data Totals 24
      48 count u64 8
      56 sum f64 8
      64 last [u16; 4] 8
  80 slots [Slot; 3] 192
    80 [0..3] Slot 64
      80 0 AtomicU32 4
      88 1 Mutex<u8> 48 lock
        128 data u8 1
  272 type AtomicU32 4
  276 kinds [AtomicU8; 4] 4
";

fn options<T: InPlace>(private: &Private) -> SharedOptions<'static, T> {
    SharedOptions::new().namespace(&private.namespace)
}

#[test]
fn the_layout_is_the_sources_own() {
    let stats = Description::of::<Stats>();
    assert_eq!(stats.text(), STATS);
    // The same, whatever the compiler.
    assert_eq!(stats.fingerprint(), 0x9ec5_ca7b_0ab2_e34c);
    let ring = Description::of::<Ring<Totals, 2>>();
    let text = "\
struct Ring<Totals, 2> size 96 align 8
  0 items Mutex<[Totals; 2]> 88 lock
    40 data [Totals; 2] 48
      40 [0..2] Totals 24
        40 count u64 8
        48 sum f64 8
        56 last [u16; 4] 8
  88 next Index<Totals> 8
    88 0 AtomicU64 8
    96 1 PhantomData 0
";
    assert_eq!(ring.text(), text);
    assert_eq!((ring.size(), ring.align(), ring.type_name()), (96, 8, "Ring<Totals, 2>"));
}

#[test]
fn the_object_comes_first_then_its_layout_and_the_tag_last() {
    let private = Private::new();
    let hits = options::<AtomicU64>(&private).create("hits").unwrap();
    hits.store(0x0102_0304_0506_0708, Relaxed);
    let bytes = std::fs::read(private.path("hits")).unwrap();
    let mut expected = 0x0102_0304_0506_0708_u64.to_ne_bytes().to_vec();
    let text = b"value AtomicU64 size 8 align 8\n";
    expected.extend_from_slice(text);
    expected.resize(64, 0);
    expected.extend_from_slice(b"\x7fCommons");
    expected.extend_from_slice(&1_u32.to_le_bytes());
    expected.extend_from_slice(&8_u32.to_le_bytes());
    expected.extend_from_slice(&8_u64.to_le_bytes());
    expected.extend_from_slice(&Description::of::<AtomicU64>().fingerprint().to_le_bytes());
    expected.extend_from_slice(&8_u64.to_le_bytes());
    expected.extend_from_slice(&(text.len() as u32).to_le_bytes());
    expected.resize(128, 0);
    assert_eq!(bytes, expected);
}

#[test]
fn one_name_is_one_object_in_all_processes() {
    let private = Private::new();
    let hits = options::<AtomicU64>(&private).open_or_create("hits").unwrap();
    assert!(hits.was_created());
    assert_eq!(hits.segment_name().unwrap().to_string(), "hits");
    let children: Vec<_> = (0..4)
        .map(|_| {
            fork(|_| {
                let hits = options::<AtomicU64>(&private).open_or_create("hits").unwrap();
                assert!(!hits.was_created());
                for _ in 0..1000 {
                    hits.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    children.into_iter().for_each(common::Child::succeed);
    assert_eq!(hits.load(Relaxed), 4000);
    drop(hits);
    assert_eq!(private.files(), [""; 0], "it goes with its last holder");
    assert!(matches!(options::<AtomicU64>(&private).open("hits"), Err(Error::NotFound(_))));
}

#[test]
fn of_many_creators_one_makes_it_and_all_see_that_one() {
    let private = Private::new();
    for round in 0..30 {
        let name = format!("race-{round}");
        let keeper = options::<AtomicU64>(&private).create("made").unwrap();
        let children: Vec<_> = (1..=4)
            .map(|number| {
                fork(|line| {
                    let made = options::<AtomicU64>(&private).open("made").unwrap();
                    line.say();
                    line.hear();
                    let options = options::<[AtomicU64; 40]>(&private).initialize(|values| {
                        values.iter_mut().for_each(|value| *value.get_mut() = number);
                        Ok(())
                    });
                    let values = options.open_or_create(&name).unwrap();
                    if values.was_created() {
                        made.fetch_add(1, Relaxed);
                    }
                    let first = values[0].load(Relaxed);
                    assert!((1..=4).contains(&first));
                    assert!(values.iter().all(|value| value.load(Relaxed) == first));
                    // All of them meet before one leaves.
                    line.say();
                    line.hear();
                })
            })
            .collect();
        let mut children = children;
        children.iter_mut().for_each(common::Child::hear);
        children.iter_mut().for_each(common::Child::say);
        children.iter_mut().for_each(common::Child::hear);
        assert_eq!(keeper.load(Relaxed), 1);
        children.iter_mut().for_each(common::Child::say);
        children.into_iter().for_each(common::Child::succeed);
    }
}

#[test]
fn nobody_opens_an_object_that_is_half_made() {
    const OPENERS: u64 = 2;
    let private = Private::new();
    let sevens = || {
        options::<[AtomicU64; 64]>(&private).initialize(|values| {
            values.iter_mut().for_each(|value| *value.get_mut() = 7);
            Ok(())
        })
    };
    let done = options::<AtomicU64>(&private).create("done").unwrap();
    let creator = fork(|_| {
        while done.load(Relaxed) < OPENERS {
            drop(sevens().open_or_create("x").unwrap());
        }
    });
    let openers: Vec<_> = (0..OPENERS)
        .map(|_| {
            fork(|_| {
                let mut opened = 0;
                while opened < 1000 {
                    match sevens().open("x") {
                        Ok(values) => {
                            assert!(values.iter().all(|value| value.load(Relaxed) == 7));
                            opened += 1;
                        }
                        Err(Error::NotFound(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                done.fetch_add(1, Relaxed);
            })
        })
        .collect();
    openers.into_iter().for_each(common::Child::succeed);
    creator.succeed();
}

#[test]
fn an_initial_value_is_there_from_the_beginning() {
    let private = Private::new();
    let value = Totals { count: 3, sum: 0.5, last: [1, 2, 3, 4] };
    let totals = options::<Mutex<Totals>>(&private).value(Mutex::new(value));
    let one = totals.create("x").unwrap();
    assert_eq!(*one.lock().unwrap(), value);
    one.lock().unwrap().count = 9;
    assert_eq!(totals.open_or_create("x").unwrap().lock().unwrap().count, 9, "it is made once");
    assert!(matches!(totals.create("x"), Err(Error::Exists(_))));
    assert_eq!(totals.create("y").unwrap().lock().unwrap().count, 3, "the options can be used again");

    let failing = options::<AtomicU64>(&private).initialize(|_| Err("no".into()));
    assert!(matches!(failing.create("z"), Err(Error::Initializer { .. })));
    let panicking = options::<AtomicU64>(&private).initialize(|_| panic!("on purpose"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| panicking.create("z"))).unwrap_err();
    assert_eq!(private.files(), ["x"], "nothing was created");
}

#[test]
fn another_layout_is_an_error_that_shows_both() {
    mod newer {
        use super::*;
        #[repr(C)]
        #[derive(Shareable)]
        pub(super) struct Stats {
            pub(super) hits: AtomicU64,
            pub(super) misses: AtomicU64,
            pub(super) total: AtomicI16,
        }
    }
    mod older {
        use super::*;
        #[repr(C)]
        #[derive(Shareable)]
        pub(super) struct Stats {
            pub(super) hits: AtomicU64,
            pub(super) total: AtomicU64,
        }
    }
    let private = Private::new();
    let old = options::<older::Stats>(&private).create("stats").unwrap();
    old.hits.store(5, Relaxed);
    let before = std::fs::read(private.path("stats")).unwrap();
    let newer = options::<newer::Stats>(&private);
    let errors = [newer.open("stats").err(), newer.open_or_create("stats").err()];
    for error in errors.into_iter().chain([newer.open_read_only("stats").err()]) {
        let error = error.unwrap();
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        assert!(line.starts_with("cannot open \"stats\" in /dev/shm/"), "{line}");
        assert!(line.contains("it holds `struct Stats size 16 align 8` (layout "), "{line}");
        assert_eq!(error.raw_os_error(), Some(libc::EPROTOTYPE));
        let both = format!("{error:#}");
        let shown = both.split_once('\n').unwrap().1;
        assert_eq!(
            shown,
            "\
this program expects           the segment holds
struct Stats size 24 align 8 | struct Stats size 16 align 8
  0 hits AtomicU64 8             0 hits AtomicU64 8
  8 misses AtomicU64 8       <
  16 total AtomicI16 2       |   8 total AtomicU64 8"
        );
        let Error::WrongLayout { found, expected, .. } = error else { panic!("{error}") };
        assert_eq!(
            (*found, *expected),
            (Description::of::<older::Stats>(), Description::of::<newer::Stats>())
        );
    }
    assert_eq!(std::fs::read(private.path("stats")).unwrap(), before, "nothing was touched");
    assert_eq!(options::<older::Stats>(&private).open("stats").unwrap().hits.load(Relaxed), 5);

    // The same bytes under other names are another layout, and so is an object of another size.
    #[repr(C)]
    #[derive(Shareable)]
    struct Renamed {
        hits: AtomicU64,
        total: AtomicU64,
    }
    assert!(matches!(options::<Renamed>(&private).open("stats"), Err(Error::WrongLayout { .. })));
    let large = options::<[AtomicU64; 1000]>(&private);
    assert!(matches!(large.open_or_create("stats"), Err(Error::WrongLayout { .. })));
    let _large = large.create("large").unwrap();
    assert!(matches!(options::<AtomicU8>(&private).open("large"), Err(Error::WrongLayout { .. })));
}

#[test]
fn a_segment_without_a_tag_is_no_object() {
    let private = Private::new();
    let not_typed = |name: &str| {
        let error = options::<AtomicU64>(&private).open_or_create(name).unwrap_err();
        assert!(matches!(error, Error::NotTyped { .. }), "{error}");
        assert!(!error.to_string().contains('\n') && error.raw_os_error() == Some(libc::ENOMSG));
    };
    for (name, size) in [("one", 1), ("less", 63), ("tag", 64), ("page", 4096)] {
        let segment = private.staying().size(size).create(name).unwrap();
        not_typed(name);
        assert!(describe(&segment.attach().unwrap()).is_none());
    }
    std::fs::write(private.path("empty"), b"").unwrap();
    not_typed("empty");
    for entry in private.namespace.list().unwrap() {
        assert!(describe_entry(&entry.unwrap()).unwrap().is_none());
    }

    // One that grew has its tag no longer at its end.
    let _hits = options::<AtomicU64>(&private).create("grown").unwrap();
    let segment = private.options().open("grown");
    assert!(segment.is_err(), "it is smaller than a page");
    commons::SegmentOptions::new().namespace(&private.namespace).open("grown").unwrap().grow(4096).unwrap();
    not_typed("grown");
}

#[test]
fn whatever_stands_in_layout_and_tag_is_safe() {
    let private = Private::new();
    let options = options::<Stats>(&private);
    let stats = options.create("x").unwrap();
    let memory = stats.attachment();
    let mut good = vec![0; memory.len()];
    memory.read_at(0, &mut good).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut opened, mut wrong, mut untyped, mut described) = (0, 0, 0, 0);
    for _ in 0..4000 {
        memory.write_at(0, &good).unwrap();
        for _ in 0..=random(3) {
            // More often in the tag than before it.
            let at = if random(3) > 0 { memory.len() - 1 - random(64) } else { random(memory.len()) };
            let byte = [0, 0xff, 0x80, b'\n', b' ', 0x1b, random(256) as u8][random(7)];
            memory.write_at(at, &[byte]).unwrap();
        }
        match options.open("x") {
            Ok(stats) => {
                stats.hits.fetch_add(1, Relaxed);
                opened += 1;
            }
            Err(error @ Error::WrongLayout { .. }) => {
                assert!(!error.to_string().contains(|letter: char| letter.is_control()), "{error}");
                let both = format!("{error:#}");
                assert!(!both.contains(|letter: char| letter.is_control() && letter != '\n'), "{both}");
                wrong += 1;
            }
            Err(Error::NotTyped { .. }) => untyped += 1,
            Err(error) => panic!("{error}"),
        }
        if let Some(description) = describe(memory) {
            described += 1;
            assert!(description.locks().count() as u64 <= description.size());
        }
    }
    assert!(opened > 100 && wrong > 100 && untyped > 100 && described > 100, "{opened} {wrong} {untyped}");
}

#[test]
fn a_dead_owner_is_reported_through_the_object() {
    let private = Private::new();
    let board = options::<Stats>(&private).create("board").unwrap();
    let mut child = fork(|line| {
        let board = options::<Stats>(&private).open("board").unwrap();
        let mut totals = board.total.lock().unwrap();
        totals.count = 1;
        line.say();
        line.hear();
    });
    child.hear();
    assert!(matches!(board.total.try_lock(), Err(LockError::Failed(SyncError::WouldBlock))));
    child.kill();
    match board.total.lock() {
        Err(LockError::OwnerDied(mut totals)) => {
            assert_eq!(totals.count, 1);
            totals.sum = 1.0;
            drop(totals.recover());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(board.total.lock().unwrap().sum, 1.0);
}

#[test]
fn errors_of_locks_are_errors_of_the_library() {
    fn twice(lock: &Mutex<u64>) -> commons::Result<u64> {
        let first = lock.lock_or_recover(|_| ())?;
        Ok(*first + *lock.lock_or_recover(|_| ())?)
    }
    let error = twice(&Mutex::new(1)).unwrap_err();
    assert!(matches!(error, Error::Sync(SyncError::WouldDeadlock)));
    assert_eq!(error.raw_os_error(), Some(libc::EDEADLK));
    assert_eq!(error.to_string(), SyncError::WouldDeadlock.to_string());
}

#[test]
fn a_reader_gets_copies() {
    let private = Private::new();
    let options = options::<Stats>(&private);
    let stats = options.create("x").unwrap();
    stats.hits.store(12, Relaxed);
    stats.total.lock().unwrap().count = 34;
    let held = stats.slots[1].1.lock().unwrap();
    let reader: SharedReader<Stats> = options.open_read_only("x").unwrap();
    assert!(reader.attachment().is_read_only());
    assert!(matches!(reader.attachment().object::<Stats>(0), Err(Error::ReadOnly(_))));
    let mut copy = reader.copy().unwrap();
    assert_eq!((copy.hits.load(Relaxed), copy.total.get_mut().count), (12, 34));
    assert!(matches!(copy.slots[1].1.state(), LockState::Held { waiters: false, .. }));
    drop(held);
    copy.hits.store(0, Relaxed);
    assert_eq!(stats.hits.load(Relaxed), 12, "a copy is one's own");
    assert_eq!(reader.copy().unwrap().slots[1].1.state(), LockState::Free);
}

#[test]
fn options_are_the_segments_own() {
    use std::os::unix::fs::PermissionsExt;
    let private = Private::new();
    let staying = options::<AtomicU64>(&private).lifetime(Lifetime::UntilDeleted).mode(0o640).prefault(true);
    drop(staying.create("stays").unwrap());
    let mode = std::fs::metadata(private.path("stays")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    drop(staying.open("stays").unwrap());

    let waiting = fork(|_| {
        let hits = options::<AtomicU64>(&private).open_wait("later", Duration::from_secs(60)).unwrap();
        hits.store(1, Relaxed);
    });
    let hits = options::<AtomicU64>(&private).create("later").unwrap();
    waiting.succeed();
    assert_eq!(hits.load(Relaxed), 1);
    let soon = Duration::from_millis(1);
    assert!(matches!(options::<AtomicU64>(&private).open_wait("never", soon), Err(Error::TimedOut { .. })));
}

#[test]
fn a_snapshot_of_an_object_is_an_object() {
    use commons::snapshot::{LoadOptions, SaveOptions};
    let private = Private::new();
    let stats = options::<Stats>(&private).create("x").unwrap();
    stats.hits.store(77, Relaxed);
    let file = private.path("saved");
    let segment = commons::SegmentOptions::new().namespace(&private.namespace).open("x").unwrap();
    SaveOptions::new().save_file(&segment, &file).unwrap();
    let loaded = LoadOptions::new().namespace(&private.namespace).name("y").load_file(&file).unwrap();
    assert_eq!(options::<Stats>(&private).open("y").unwrap().hits.load(Relaxed), 77);
    drop(loaded);
}

#[test]
fn objects_lie_anywhere_in_a_segment_by_hand() {
    let private = Private::new();
    let segment = private.options().create("x").unwrap();
    let memory = segment.attach().unwrap();
    memory.object::<AtomicU64>(4088).unwrap().store(1, Relaxed);
    assert!(matches!(memory.object::<AtomicU64>(4089), Err(Error::OutOfRange { .. })));
    assert!(matches!(memory.object::<AtomicU64>(usize::MAX - 3), Err(Error::OutOfRange { .. })));
    assert!(matches!(memory.object::<AtomicU64>(4), Err(Error::Misaligned { alignment: 8, .. })));
    assert!(matches!(memory.object::<Slot>(8), Err(Error::Misaligned { alignment: 16, .. })));
    memory.object::<[AtomicU64; 0]>(4096).unwrap();

    // An attachment that begins in the middle of a page.
    let window = segment.attach_with(&AttachOptions::new().range(100..)).unwrap();
    window.object::<AtomicU64>(4).unwrap().store(2, Relaxed);
    assert_eq!(memory.object::<AtomicU64>(104).unwrap().load(Relaxed), 2);
    assert!(matches!(window.object::<AtomicU64>(0), Err(Error::Misaligned { .. })));
    let read_only = segment.attach_with(&AttachOptions::new().read_only(true)).unwrap();
    assert!(matches!(read_only.object::<AtomicU64>(0), Err(Error::ReadOnly(_))));

    // What others left there is taken as it is: here, a lock that belongs to nobody known.
    memory.write_at(1024, &[0xa5; 48]).unwrap();
    let lock = memory.object::<Mutex<u64>>(1024).unwrap();
    assert!(lock.lock_timeout(Duration::from_millis(20)).is_err());

    let anonymous = commons::Segment::anonymous(4096).unwrap().attach().unwrap();
    *anonymous.object::<Mutex<u64>>(0).unwrap().lock().unwrap() += 1;
}

#[test]
fn a_program_that_does_not_know_the_type_finds_the_locks() {
    let private = Private::new();
    let stats = options::<Stats>(&private).create("x").unwrap();
    let held = stats.slots[2].1.lock().unwrap();
    let child = fork(|_| {
        let entry = private.namespace.list().unwrap().next().unwrap().unwrap();
        let found = describe_entry(&entry).unwrap().unwrap();
        assert_eq!(found, Description::of::<Stats>());
        assert!(found.is_intact());
        let locks: Vec<_> =
            found.locks().map(|lock| (lock.name, lock.kind, lock.offset, lock.size)).collect();
        let lock = |name: &str, offset, size| (name.to_owned(), "Mutex".to_owned(), offset, size);
        let expected = [
            lock("total", 8, 64),
            lock("slots[0].1", 88, 48),
            lock("slots[1].1", 152, 48),
            lock("slots[2].1", 216, 48),
        ];
        assert_eq!(locks, expected);
        let bytes = std::fs::read(private.path("x")).unwrap();
        let words = locks.iter().map(|(_, _, offset, _)| {
            let at = *offset as usize;
            u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
        });
        let words: Vec<_> = words.collect();
        assert_eq!((&words[..3], words[3] != 0), (&[0; 3][..], true));
    });
    child.succeed();
    drop(held);
    assert_eq!(describe(stats.attachment()).unwrap(), Description::of::<Stats>());
    let part = stats.attachment();
    let window = commons::SegmentOptions::new().namespace(&private.namespace).open("x").unwrap();
    let window = window.attach_with(&AttachOptions::new().range(64..)).unwrap();
    assert!(describe(&window).is_none() && describe(part).is_some());
}

#[test]
fn locks_are_refused_across_pid_namespaces() {
    if !is_root("locks_are_refused_across_pid_namespaces") {
        return;
    }
    let private = Private::new();
    let lock = options::<Mutex<u64>>(&private).create("lock").unwrap();
    let count = options::<AtomicU64>(&private).create("count").unwrap();
    let by_hand = private.options().create("by hand").unwrap();
    let deleted = by_hand.attach().unwrap();
    let elsewhere = |body: &mut dyn FnMut(&mut common::Line)| {
        fork(|line| {
            // SAFETY: changes only where this child's children live.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
            fork(|inner| {
                let _ = inner;
                body(line);
            })
            .succeed();
        })
    };
    elsewhere(&mut |_| {
        let refused = options::<Mutex<u64>>(&private).open("lock");
        assert!(matches!(refused, Err(Error::OtherPidNamespace(_))), "{refused:?}");
        let refused = options::<Mutex<u64>>(&private).open_or_create("lock");
        assert!(matches!(refused, Err(Error::OtherPidNamespace(_))));
        assert!(options::<Mutex<u64>>(&private).open_read_only("lock").is_ok(), "looking is no locking");
        options::<AtomicU64>(&private).open("count").unwrap().store(1, Relaxed);
        // What was inherited is held by a slot of the other namespace.
        assert!(matches!(deleted.object::<Mutex<u64>>(0), Err(Error::OtherPidNamespace(_))));
        assert!(deleted.object::<AtomicU64>(0).is_ok());
    })
    .succeed();
    assert_eq!(count.load(Relaxed), 1);
    assert!(options::<Mutex<u64>>(&private).open("lock").is_ok(), "nobody from there holds it now");

    // The other way round: whoever comes later is refused, also without a name.
    let mut child = elsewhere(&mut |line| {
        let _holder = commons::SegmentOptions::new().namespace(&private.namespace).open("by hand").unwrap();
        line.say();
        line.hear();
    });
    child.hear();
    assert!(matches!(deleted.object::<Mutex<u64>>(0), Err(Error::OtherPidNamespace(_))));
    by_hand.delete().unwrap();
    assert!(matches!(deleted.object::<Mutex<u64>>(0), Err(Error::OtherPidNamespace(_))));
    child.say();
    child.succeed();
    assert!(deleted.object::<Mutex<u64>>(0).is_ok());
    drop(lock);
}

#[test]
fn a_shared_object_goes_from_thread_to_thread() {
    fn both<T: Send + Sync>() {}
    both::<Shared<Stats>>();
    both::<SharedReader<Stats>>();
    let private = Private::new();
    let stats = options::<Stats>(&private).create("x").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    stats.total.lock().unwrap().count += 1;
                }
            });
        }
    });
    assert_eq!(stats.total.lock().unwrap().count, 4000);
}

#[cfg(all(feature = "zerocopy", feature = "bytemuck"))]
#[test]
fn data_of_other_crates_can_be_shared() {
    use commons::shared::{Bytemuck, Zerocopy};

    #[repr(transparent)]
    #[derive(Clone, Copy, Shareable, NoPadding)]
    struct Place(Zerocopy<[u64; 2]>);

    #[repr(C)]
    #[derive(Clone, Copy, Shareable, NoPadding)]
    struct Both {
        place: Place,
        color: Bytemuck<[u8; 4]>,
        more: [u8; 4],
    }

    let private = Private::new();
    let both = options::<Mutex<Both>>(&private).create("x").unwrap();
    both.lock().unwrap().place.0.0[1] = 5;
    let text = "\
lock Mutex<Both> size 64 align 8
  40 data Both 24
    40 place Place 16
      40 0 Zerocopy 16
    56 color Bytemuck 4
    60 more [u8; 4] 4
";
    assert_eq!(Description::of::<Mutex<Both>>().text(), text);
    assert_eq!(options::<Mutex<Both>>(&private).open("x").unwrap().lock().unwrap().place.0.0, [0, 5]);
}

/// One of each kind of lock.
#[repr(C)]
#[derive(Shareable)]
struct Locks {
    mutex: commons::sync::Mutex<u64>,
    rwlock: commons::sync::RwLock<[u32; 4]>,
    event: commons::sync::Event,
    auto: commons::sync::AutoEvent,
    condvar: commons::sync::Condvar,
    barrier: commons::sync::Barrier,
    once: commons::sync::Once,
    lazy: commons::sync::OnceLock<u64>,
    position: commons::sync::SeqLock<[f64; 2]>,
}

#[test]
fn every_kind_of_lock_lies_in_a_shared_object_and_begins_as_zeros() {
    let private = common::Private::new();
    let options = commons::SharedOptions::new().namespace(&private.namespace);
    let locks = options.open_or_create("locks").map(|locks: Shared<Locks>| locks).unwrap();
    *locks.mutex.lock().unwrap() += 1;
    locks.rwlock.write().unwrap()[3] = 7;
    assert_eq!(locks.rwlock.read().map(|numbers| numbers[3]).unwrap(), 7);
    locks.event.set();
    assert!(locks.event.is_set() && !locks.auto.is_set());
    locks.condvar.notify_all();
    locks.once.call_once(|| ()).unwrap();
    assert_eq!(locks.lazy.get_or_init(|| 5).copied().unwrap(), 5);
    locks.position.write([1.0, 2.0]).unwrap();
    let other: Shared<Locks> = options.open("locks").unwrap();
    assert_eq!(other.position.read(), [1.0, 2.0]);
    assert_eq!(other.lazy.get(), Some(&5));
    drop(other.barrier.join(1).unwrap());
    assert_eq!(describe(other.attachment()).unwrap().locks().count(), 9);
}
