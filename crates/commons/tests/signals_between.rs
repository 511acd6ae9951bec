//! Events and condition variables between processes: whoever waits is let through, whoever else is killed.

mod common;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::between::{
    self, WOKEN, median, scribble, stay_on_one_processor, until_asleep, yield_to_all, zeroed,
};
use common::campaign::Random;
use common::{Child, fork};
use commons::sync::{AutoEvent, Condvar, Event, LockError, LockResult, Mutex, MutexGuard};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(2);

#[repr(C)]
struct Signals {
    ready: Event,
    go: AutoEvent,
    back: AutoEvent,
    through: AtomicU32,
}

fn signals() -> &'static Signals {
    // SAFETY: events and numbers are valid when all zero.
    unsafe { zeroed() }
}

#[test]
fn they_are_four_bytes() {
    assert_eq!((size_of::<Event>(), size_of::<AutoEvent>(), size_of::<Condvar>()), (4, 4, 4));
}

#[test]
fn setting_an_event_lets_all_processes_through_that_wait_or_come_later() {
    let signals = signals();
    let waiting: Vec<_> = (0..4).map(|_| fork(|_| assert!(signals.ready.wait_timeout(LONG)))).collect();
    waiting.iter().for_each(|child| until_asleep(child.pid));
    assert!(!signals.ready.is_set() && !signals.ready.wait_timeout(SHORT));
    signals.ready.set();
    waiting.into_iter().for_each(Child::succeed);
    fork(|_| signals.ready.wait()).succeed();
    signals.ready.reset();
    assert!(!signals.ready.wait_until(Instant::now() + SHORT));
}

#[test]
fn an_automatic_event_lets_one_through_at_a_time() {
    let signals = signals();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            fork(|_| {
                assert!(signals.go.wait_timeout(LONG));
                signals.through.fetch_add(1, SeqCst);
                signals.back.set();
            })
        })
        .collect();
    waiting.iter().for_each(|child| until_asleep(child.pid));
    for through in 1..=4 {
        signals.go.set();
        assert!(signals.back.wait_timeout(LONG));
        assert_eq!(signals.through.load(SeqCst), through);
    }
    waiting.into_iter().for_each(Child::succeed);
    signals.go.set();
    assert!(signals.go.is_set() && signals.go.try_wait() && !signals.go.try_wait());
    signals.go.set();
    signals.go.reset();
    assert!(!signals.go.wait_timeout(SHORT) && !signals.go.wait_until(Instant::now()));
}

/// The one that is woken first is kept from running, and killed before it could look.
#[test]
fn the_kernel_wakes_another_one_in_place_of_one_that_is_killed() {
    fork(|_| {
        stay_on_one_processor();
        let mut times = Vec::new();
        for _ in 0..15 {
            let signals = signals();
            let doomed = fork(|_| {
                yield_to_all();
                signals.go.wait();
                signals.through.fetch_add(1, SeqCst);
            });
            until_asleep(doomed.pid);
            let next = fork(|_| {
                assert!(signals.go.wait_timeout(LONG));
                signals.back.set();
            });
            until_asleep(next.pid);
            signals.go.set();
            let set = Instant::now();
            doomed.signal(libc::SIGKILL);
            assert!(signals.back.wait_timeout(LONG));
            times.push(set.elapsed());
            next.succeed();
            drop(doomed);
            assert_eq!(signals.through.load(SeqCst), 0, "it ran");
        }
        let median = median(times);
        assert!(median < WOKEN, "nobody was woken: {median:?}");
    })
    .succeed();
}

#[test]
fn two_processes_answer_each_other() {
    let signals = signals();
    let rounds = 20_000;
    let child = fork(|_| {
        for _ in 0..rounds {
            assert!(signals.go.wait_timeout(LONG));
            signals.back.set();
        }
    });
    for _ in 0..rounds {
        signals.go.set();
        assert!(signals.back.wait_timeout(LONG));
    }
    child.succeed();
}

#[repr(C)]
struct Shop {
    stock: Mutex<u32>,
    delivered: Condvar,
    sold: Condvar,
}

/// A number that is changed by one store needs no mending.
fn had<'m>(had: LockResult<MutexGuard<'m, u32>>) -> MutexGuard<'m, u32> {
    had.or_else(|error| match error {
        LockError::OwnerDied(guard) => Ok(guard.recover()),
        LockError::Failed(error) => Err(error),
    })
    .unwrap()
}

impl Shop {
    fn new() -> &'static Shop {
        // SAFETY: locks and numbers are valid when all zero.
        unsafe { zeroed() }
    }

    fn buy(&self) {
        let mut stock = had(self.stock.lock());
        while *stock == 0 {
            stock = had(self.delivered.wait(stock));
        }
        *stock -= 1;
        drop(stock);
        self.sold.notify_one();
    }

    fn is_sold_out(&self) -> bool {
        let end = Instant::now() + LONG;
        let mut stock = had(self.stock.lock());
        while *stock != 0 && Instant::now() < end {
            stock = match self.sold.wait_until(stock, end) {
                Ok((guard, _)) => guard,
                Err(LockError::OwnerDied((guard, _))) => guard.recover(),
                Err(LockError::Failed(error)) => panic!("{error}"),
            };
        }
        *stock == 0
    }
}

#[test]
fn a_condition_is_waited_for_across_processes() {
    let shop = Shop::new();
    let buyers: Vec<_> = (0..3).map(|_| fork(|_| shop.buy())).collect();
    buyers.iter().for_each(|child| until_asleep(child.pid));
    *had(shop.stock.lock()) = 3;
    let told = Instant::now();
    shop.delivered.notify_all();
    buyers.into_iter().for_each(Child::succeed);
    eprintln!("three were told, and ended, in {:?}", told.elapsed());
    assert!(shop.is_sold_out());
}

#[test]
fn a_wait_with_a_time_says_whether_that_was_over() {
    let shop = Shop::new();
    let began = Instant::now();
    let (guard, over) = shop.sold.wait_timeout(shop.stock.lock().unwrap(), SHORT).unwrap();
    assert!(over.timed_out() && began.elapsed() >= SHORT);
    let (guard, over) = shop.sold.wait_timeout_while(guard, SHORT, |stock| *stock == 0).unwrap();
    assert!(over.timed_out());
    let (guard, over) = shop.sold.wait_timeout_while(guard, SHORT, |stock| *stock != 0).unwrap();
    assert!(!over.timed_out());
    let guard = shop.sold.wait_while(guard, |stock| *stock != 0).unwrap();
    assert!(shop.stock.try_lock().is_err(), "it is locked again");
    drop(guard);
    let owner = fork(|_| std::mem::forget(shop.stock.lock().unwrap()));
    owner.succeed();
    let guard = had(shop.stock.lock());
    let killer = fork(|_| {
        std::mem::forget(shop.stock.lock().unwrap());
        shop.sold.notify_all();
    });
    match shop.sold.wait(guard) {
        Err(LockError::OwnerDied(guard)) => drop(guard.recover()),
        Ok(_) => panic!("woken before it was notified"),
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
    killer.succeed();
}

/// Three buy what is delivered, one by one; one of them is killed every few times.
#[test]
fn whoever_is_killed_what_is_delivered_is_sold() {
    let shop = Shop::new();
    let mut random = Random(11);
    let buyer = || {
        fork(|_| {
            loop {
                shop.buy();
            }
        })
    };
    let mut buyers: Vec<_> = (0..3).map(|_| buyer()).collect();
    let mut longest = Duration::ZERO;
    for round in 0..600 {
        *had(shop.stock.lock()) += 1;
        let delivered = Instant::now();
        shop.delivered.notify_one();
        if round % 2 == 0 {
            for _ in 0..random.below(2000) {
                std::hint::spin_loop();
            }
            let at = random.below(3) as usize;
            std::mem::replace(&mut buyers[at], buyer()).kill();
        }
        assert!(shop.is_sold_out(), "nobody bought it, round {round}");
        longest = longest.max(delivered.elapsed());
    }
    eprintln!("the longest took {longest:?}");
}

#[test]
fn whatever_their_words_hold_waits_end() {
    fork(|_| {
        let (signals, shop) = (signals(), Shop::new());
        let mut random = Random(3);
        for _ in 0..300 {
            between::scribble(signals, &mut random);
            signals.ready.wait_timeout(SHORT);
            signals.ready.set();
            assert!(signals.ready.is_set());
            signals.go.wait_timeout(SHORT);
            signals.go.set();
            assert!(signals.go.try_wait());
            scribble(&shop.sold, &mut random);
            let guard = shop.stock.lock().unwrap();
            drop(shop.sold.wait_timeout(guard, SHORT).unwrap());
            shop.sold.notify_one();
        }
    })
    .succeed();
}
