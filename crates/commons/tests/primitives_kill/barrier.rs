//! A barrier: nobody goes on before all have come; each death of a member breaks it for all; it can always be made anew.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use commons::sync::{Barrier, BarrierMember, SyncError};

use crate::field::{Common, HANG, MOST, Me, Trial, dawdle};

#[repr(C)]
pub struct Meeting {
    barrier: Barrier,
    processes: AtomicU64,
    /// Tickets, drawn as somebody comes.
    tickets: AtomicU64,
    /// The ticket that each drew last.
    came: [AtomicU64; MOST],
    /// The epoch in which each became a member, and 1 above it; 0 if it may be none.
    member_since: [AtomicU32; MOST],
    /// Of each phase, as one sees it, exactly one is the leader.
    led: AtomicU64,
    met: AtomicU64,
    broken: AtomicU64,
    resets: AtomicU64,
    breaks_checked: AtomicU64,
}

const MEMBER: u32 = 1 << 16;

impl Meeting {
    /// As the layout says: the upper half of the first four bytes.
    fn epoch(&self) -> u32 {
        let state = (&raw const self.barrier).cast::<AtomicU32>();
        // SAFETY: a barrier begins with a number that is only changed by atomics.
        unsafe { (*state).load(SeqCst) >> 16 }
    }

    fn meet(&self, me: &mut Me<'_>, member: &BarrierMember<'_>) -> Result<(), SyncError> {
        let mut before = 0;
        loop {
            let mut theirs = me.theirs();
            let ticket = self.tickets.fetch_add(1, SeqCst) + 1;
            self.came[me.number].store(ticket, SeqCst);
            let result = match me.random.below(4) {
                0 => loop {
                    let within = Duration::from_micros(me.random.below(2000));
                    match member.wait_timeout(within) {
                        Err(SyncError::TimedOut) => theirs.middle(),
                        result => break result,
                    }
                },
                _ => member.wait(),
            }?;
            theirs.middle();
            let processes = self.processes.load(Relaxed) as usize;
            // Whoever has come now, came after I had come the last time.
            let all = self.came[..processes].iter().all(|came| came.load(SeqCst) > before);
            me.common.expect(all, "some went on before all had come");
            before = ticket;
            self.led.fetch_add(u64::from(result.is_leader()), Relaxed);
            self.met.fetch_add(1, Relaxed);
            dawdle(&mut me.random);
            drop(theirs);
            me.count();
        }
    }
}

// SAFETY: a barrier and numbers.
unsafe impl Trial for Meeting {
    const NAME: &'static str = "barrier";

    fn prepare(&self, processes: usize) {
        self.processes.store(processes as u64, SeqCst);
    }

    fn work(&self, me: &mut Me<'_>) -> ! {
        let processes = self.processes.load(Relaxed) as u32;
        loop {
            let epoch = self.epoch();
            let error = match self.barrier.join(processes) {
                Ok(member) => {
                    self.member_since[me.number].store(epoch | MEMBER, SeqCst);
                    let error = self.meet(me, &member).unwrap_err();
                    self.member_since[me.number].store(0, SeqCst);
                    error
                }
                Err(error) => error,
            };
            match error {
                SyncError::Broken => {
                    self.broken.fetch_add(1, Relaxed);
                    self.resets.fetch_add(u64::from(self.barrier.reset()), Relaxed);
                }
                // Somebody's place is not free yet, who has been told and is about to leave it.
                SyncError::Full => std::thread::yield_now(),
                error => me.common.fail(error),
            }
            me.count();
        }
    }

    /// A member has died: so the epoch in which it was one comes to its end.
    fn after_kill(&self, common: &Common, number: usize) {
        let since = self.member_since[number].swap(0, SeqCst);
        let others = (0..self.processes.load(Relaxed) as usize).filter(|other| *other != number);
        // Only those who are left can be told.
        let some = others.into_iter().any(|other| self.member_since[other].load(SeqCst) != 0);
        if since & MEMBER == 0 || !some {
            return;
        }
        let start = Instant::now();
        // Between two epochs there may be none who is a member; then nobody could be told.
        while self.epoch() == since & 0xffff && !self.barrier.is_broken() {
            if start.elapsed() > HANG {
                return common.expect(false, "a member died, and nobody was told");
            }
            std::thread::yield_now();
        }
        common.waited(start.elapsed());
        self.breaks_checked.fetch_add(1, Relaxed);
    }

    fn end(&self, common: &Common, _processes: usize) -> String {
        let get = |count: &AtomicU64| count.load(Relaxed);
        let (met, led, resets) = (get(&self.met), get(&self.led), get(&self.resets));
        common.expect(led > 0 && met > led && resets > 0, "nothing happened");
        let (broken, checked) = (get(&self.broken), get(&self.breaks_checked));
        format!(
            "met {met}, led {led}, told of a death {broken}, reset {resets}, deaths of members followed {checked}"
        )
    }
}
