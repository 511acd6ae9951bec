//! No notification is lost, whoever dies.

use super::explore;
use crate::sync::{Condvar, LockError, Mutex, MutexGuard};

/// A counter, and news of it.
struct Shop {
    stock: Mutex<u32>,
    delivered: Condvar,
}

impl Shop {
    fn new() -> Shop {
        Shop { stock: Mutex::new(0), delivered: Condvar::new() }
    }

    /// A death in between changes nothing that would have to be mended.
    fn had<'m>(had: Result<MutexGuard<'m, u32>, LockError<MutexGuard<'m, u32>>>) -> MutexGuard<'m, u32> {
        match had {
            Ok(guard) => guard,
            Err(LockError::OwnerDied(guard)) => guard.recover(),
            Err(LockError::Failed(error)) => panic!("{error}"),
        }
    }

    fn deliver(&self, notify: fn(&Condvar), within: bool) {
        let mut stock = Shop::had(self.stock.lock());
        *stock += 1;
        if within {
            notify(&self.delivered);
        }
        drop(stock);
        if !within {
            notify(&self.delivered);
        }
    }

    /// Waits until there are so many.
    fn see(&self, least: u32) {
        let mut stock = Shop::had(self.stock.lock());
        while *stock < least {
            stock = Shop::had(self.delivered.wait(stock));
        }
    }

    /// Waits for one, and takes it.
    fn buy(&self) {
        let mut stock = Shop::had(self.stock.lock());
        while *stock == 0 {
            stock = Shop::had(self.delivered.wait(stock));
        }
        *stock -= 1;
    }
}

#[cfg(commons_shuttle)]
mod interleavings {
    use shuttle::sync::Arc;
    use shuttle::thread;

    use super::super::spawn_mortal;
    use super::*;
    use crate::sync::primitive::model::Fate;

    #[test]
    fn all_who_wait_are_told() {
        for within in [false, true] {
            explore(move || {
                let shop = Arc::new(Shop::new());
                let waiters: Vec<_> = (0..3)
                    .map(|waiter| {
                        let shop = shop.clone();
                        thread::spawn(move || shop.see(1 + waiter / 2))
                    })
                    .collect();
                let other = shop.clone();
                let helper = thread::spawn(move || other.deliver(Condvar::notify_all, within));
                shop.deliver(Condvar::notify_all, within);
                helper.join().unwrap();
                waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
            });
        }
    }

    #[test]
    fn a_waiter_that_dies_swallows_no_notification() {
        explore(|| {
            let shop = Arc::new(Shop::new());
            for _ in 0..2 {
                let shop = shop.clone();
                spawn_mortal(Fate::Dies, move || shop.see(1));
            }
            let buyers: Vec<_> = (0..2)
                .map(|_| {
                    let shop = shop.clone();
                    thread::spawn(move || shop.buy())
                })
                .collect();
            (0..2).for_each(|_| shop.deliver(Condvar::notify_one, false));
            buyers.into_iter().for_each(|buyer| buyer.join().unwrap());
        });
    }

    /// One that notifies dies before, while or after it does; later notifications reach all the same.
    #[test]
    fn one_that_dies_while_it_notifies_leaves_nobody_behind() {
        explore(|| {
            let shop = Arc::new(Shop::new());
            for within in [false, true] {
                let shop = shop.clone();
                spawn_mortal(Fate::Dies, move || shop.deliver(Condvar::notify_all, within));
            }
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let shop = shop.clone();
                    thread::spawn(move || shop.see(1))
                })
                .collect();
            shop.deliver(Condvar::notify_all, false);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }
}

#[cfg(commons_loom)]
mod orderings {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    #[test]
    fn a_notification_after_the_mutex_reaches_who_had_it_before() {
        explore(|| {
            let shop = Arc::new(Shop::new());
            let other = shop.clone();
            let thread = thread::spawn(move || other.deliver(Condvar::notify_one, false));
            shop.see(1);
            thread.join().unwrap();
        });
    }
}
