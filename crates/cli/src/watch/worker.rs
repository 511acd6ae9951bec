//! Work that may take long, in a thread of its own, so that keys are never kept waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

/// Wakes the one who waits for it together with other descriptors.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    fd: Arc<OwnedFd>,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Bell { fd: Arc::new(fd) })
    }

    fn ring(&self) {
        // It fails only if it has been rung some 2^64 times and not been heard.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Takes note of all ringing so far.
    pub(crate) fn heard(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A thread that does one piece of work each time it is asked to, until it is dropped.
#[derive(Debug)]
pub(crate) struct Worker<A> {
    orders: Sender<()>,
    answers: Receiver<A>,
    busy: bool,
}

impl<A: Send + 'static> Worker<A> {
    /// The bell rings after each piece.
    pub(crate) fn start(bell: &Bell, mut work: impl FnMut() -> A + Send + 'static) -> io::Result<Worker<A>> {
        let (orders, orders_of_worker) = channel();
        let (answers_of_worker, answers) = channel();
        let bell = bell.clone();
        thread::Builder::new().spawn(move || {
            // Rings in the end as well, also when a panic is it.
            struct Last(Bell);
            impl Drop for Last {
                fn drop(&mut self) {
                    self.0.ring();
                }
            }
            let last = Last(bell);
            // First, so that it is gone when the bell rings.
            let answers = answers_of_worker;
            while let Ok(()) = orders_of_worker.recv() {
                if answers.send(work()).is_err() {
                    break;
                }
                last.0.ring();
            }
        })?;
        Ok(Worker { orders, answers, busy: false })
    }

    /// Asks for a piece of work, unless one is under way.
    pub(crate) fn ask(&mut self) {
        if !self.busy {
            self.busy = self.orders.send(()).is_ok();
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// What came of it, if it is done.
    ///
    /// # Panics
    ///
    /// If the work panicked: the message has been printed by then.
    pub(crate) fn answer(&mut self) -> Option<A> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.busy = false;
                Some(answer)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("a thread of 'watch' ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn wait(bell: &Bell) {
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        let rung = poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&timeout)).unwrap();
        assert_eq!(rung, 1, "the bell did not ring");
        bell.heard();
    }

    #[test]
    fn each_order_is_answered_once_and_the_bell_rings() {
        let bell = Bell::new().unwrap();
        let mut count = 0;
        let mut worker = Worker::start(&bell, move || {
            count += 1;
            count
        })
        .unwrap();
        for expected in 1..4 {
            worker.ask();
            worker.ask();
            wait(&bell);
            assert_eq!(worker.answer(), Some(expected));
            assert_eq!(worker.answer(), None);
            assert!(!worker.is_busy());
        }
    }
}
