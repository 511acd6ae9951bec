//! Whatever another process with access to a segment does to it, at any time and while others use it, those get errors,
//! wrong values or a wait with an end: they do not crash, hang, or write anywhere else.

mod common;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::between::scribble;
use common::campaign::Random;
use common::{Private, fork};
use commons::sync::{
    AutoEvent, Barrier, Condvar, Event, LockError, LockReport, Mutex, Once, OnceLock, RwLock, Semaphore,
    SeqLock, SyncError,
};
use commons::{Lifetime, Shareable, Shared, SharedOptions, shared};

#[repr(C)]
#[derive(Shareable)]
struct Everything {
    mutex: Mutex<u64>,
    rwlock: RwLock<[u64; 4]>,
    seats: Semaphore,
    changed: Condvar,
    ready: Event,
    next: AutoEvent,
    together: Barrier,
    once: Once,
    seed: OnceLock<u64>,
    position: SeqLock<[u64; 3]>,
    rounds: [AtomicU64; 4],
}

fn options(private: &Private) -> SharedOptions<'static, Everything> {
    SharedOptions::new().namespace(&private.namespace).lifetime(Lifetime::UntilDeleted)
}

const SHORT: Duration = Duration::from_micros(300);

/// Uses everything once, in ways that have an end.
fn use_it(it: &Everything, random: &mut Random) {
    match random.below(9) {
        0 => match it.mutex.lock_timeout(SHORT) {
            Ok(mut guard) => *guard += 1,
            Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
            Err(LockError::Failed(_)) => drop(it.mutex.reset()),
        },
        1 => match it.rwlock.read_timeout(SHORT) {
            Ok(guard) => drop(guard.try_upgrade()),
            Err(LockError::OwnerDied(guard)) => drop(guard.recover().downgrade()),
            Err(LockError::Failed(_)) => drop(it.rwlock.reset()),
        },
        2 => drop(it.rwlock.write_timeout(SHORT).map(|guard| guard.downgrade())),
        3 => {
            drop(it.seats.acquire_timeout(SHORT));
            let _ = it.seats.wait_timeout(SHORT);
            let _ = it.seats.post(random.below(1 << 31) as u32);
        }
        4 => {
            if let Ok(guard) = it.mutex.lock_timeout(SHORT) {
                drop(it.changed.wait_timeout(guard, SHORT));
            }
            it.changed.notify_one();
        }
        5 => {
            it.ready.wait_timeout(SHORT);
            it.ready.set();
            it.next.wait_timeout(SHORT);
            it.next.set();
        }
        6 => match it.together.join(2) {
            Ok(member) => drop(member.wait_timeout(SHORT)),
            Err(_) => drop(it.together.reset()),
        },
        7 => {
            let _ = (
                it.position.write_timeout([7; 3], SHORT),
                it.position.try_read(),
                it.position.try_write([8; 3]),
            );
        }
        _ => {
            let _ = (it.once.is_completed(), it.seed.get(), format!("{:?} {:?}", it.once, it.together));
        }
    }
}

/// Random words everywhere, while three use everything.
#[test]
fn random_bytes_at_any_time_crash_and_hang_nobody() {
    let private = Private::new();
    let it = options(&private).create("it").unwrap();
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let end = Duration::from_secs(3);
    let scribbler = fork(|line| {
        let it = options(&private).open("it").unwrap();
        let mut random = Random(seed | 1);
        line.say();
        let words = std::ptr::from_ref::<Everything>(&it).cast::<AtomicU32>();
        loop {
            if random.once_in(2000) {
                scribble(&it.together, &mut random);
                scribble(&it.rwlock, &mut random);
            }
            let at = random.below((size_of::<Everything>() - 32) as u64 / 4) as usize;
            let any = random.below(1 << 32) as u32;
            // Ids of threads that live, and bits that mean something.
            let value = [0, any, 1, std::process::id(), 1 << 30, 1 << 31, any | 0xc000_0000]
                [random.below(7) as usize];
            // SAFETY: within the object, which is atomics and data that nobody relies on.
            unsafe { (*words.add(at)).store(value, Relaxed) };
            if random.once_in(50) {
                std::thread::yield_now();
            }
        }
    });
    let users: Vec<_> = (0..3_u64)
        .map(|number| {
            fork(|_| {
                let it = options(&private).open("it").unwrap();
                let mut random = Random(seed.wrapping_mul(number + 3) | 1);
                let until = Instant::now() + end;
                while Instant::now() < until {
                    let begun = Instant::now();
                    use_it(&it, &mut random);
                    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
                    it.rounds[number as usize].fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    users.into_iter().for_each(common::Child::succeed);
    scribbler.kill();
    eprintln!("rounds {:?}", it.rounds.each_ref().map(|rounds| rounds.load(Relaxed)));
    // Whoever looks only, and whoever cleans up.
    for place in shared::describe(it.attachment()).unwrap().locks() {
        let mut bytes = vec![0; LockReport::LEN.min(place.size as usize)];
        it.attachment().read_at(place.offset as usize, &mut bytes).unwrap();
        assert!(LockReport::from_bytes(&place.kind, &bytes).is_some());
        shared::release_abandoned(it.attachment(), &place).unwrap();
    }
}

/// Tags and layouts that are not so.
#[test]
fn a_wrong_tag_is_an_error_whatever_it_says() {
    let private = Private::new();
    let mut random = Random(u64::from(std::process::id()) | 1);
    drop(options(&private).create("it").unwrap());
    let good = std::fs::read(private.path("it")).unwrap();
    let expected = shared::Description::of::<Everything>();
    let mut opened = 0;
    for _ in 0..2000 {
        let mut bytes = good.clone();
        let len = bytes.len();
        for _ in 0..=random.below(4) {
            // The tag more often than the text before it.
            let back = if random.once_in(3) { random.below(1200) } else { random.below(64) };
            bytes[len - 1 - back as usize] = random.below(256) as u8;
        }
        if random.once_in(8) {
            bytes.truncate(random.below(len as u64) as usize);
        }
        std::fs::write(private.path("it"), bytes).unwrap();
        if options(&private).open("it").is_ok() {
            opened += 1;
            let entry = private.namespace.entry("it").unwrap();
            let said = shared::describe_entry(&entry).unwrap().unwrap();
            assert_eq!((said.fingerprint(), said.size()), (expected.fingerprint(), expected.size()));
        }
        if let Ok(entry) = private.namespace.entry("it") {
            let _ = shared::describe_entry(&entry).map(|found| found.map(|found| found.locks().count()));
        }
    }
    // Where only the text was hit, or what was there was written again, it is still the same object.
    assert!(opened < 1000, "{opened} were opened");
}

/// The file is cut off under those who have it, and put in another's place.
#[test]
fn a_segment_that_is_cut_off_or_replaced_is_an_error_for_who_guards_it() {
    let private = Private::new();
    for round in 0..20 {
        let name = format!("it-{round}");
        let it: Shared<Everything> = options(&private).create(&name).unwrap();
        it.attachment().guard().unwrap();
        let user = fork(|line| {
            let it = options(&private).open(&name).unwrap();
            it.attachment().guard().unwrap();
            let mut random = Random(round * 2 + 1);
            line.say();
            let until = Instant::now() + Duration::from_millis(100);
            while Instant::now() < until {
                use_it(&it, &mut random);
            }
            assert!(it.attachment().check().is_err(), "it did not notice");
        });
        let mut user = user;
        user.hear();
        std::thread::sleep(Duration::from_millis(round));
        let file = std::fs::OpenOptions::new().write(true).open(private.path(&name)).unwrap();
        file.set_len(0).unwrap();
        std::fs::rename(private.path(&name), private.path("elsewhere")).unwrap();
        std::fs::write(private.path(&name), b"not a segment with a type").unwrap();
        user.succeed();
        assert!(options(&private).open(&name).is_err());
        assert!(it.seats.acquire_timeout(SHORT).is_err_and(|error| error != SyncError::WouldDeadlock));
        drop(it);
    }
}
