//! Slots that a thread keeps for its next waits, so that a wait does not go through the arena.
//!
//! Linked by the slots' own links: a slot that nobody waits in is in no list.

#[cfg(not(unwedge_loom))]
mod kept {
    use std::cell::Cell;

    use crate::wait::waiter::{Waiter, waiters};

    /// The most that a thread keeps.
    const MOST: u32 = 16;

    struct Spare {
        first: Cell<Option<&'static Waiter>>,
        count: Cell<u32>,
    }

    impl Drop for Spare {
        fn drop(&mut self) {
            let mut next = self.first.take();
            while let Some(waiter) = next {
                next = waiter.next.get();
                waiters().release(waiter.index());
            }
        }
    }

    std::thread_local! {
        static SPARE: Spare = const { Spare { first: Cell::new(None), count: Cell::new(0) } };
    }

    /// A slot that this thread has kept.
    #[inline]
    pub(in crate::wait) fn take() -> Option<&'static Waiter> {
        SPARE
            .try_with(|spare| {
                let waiter = spare.first.get()?;
                spare.first.set(waiter.next.get());
                spare.count.set(spare.count.get() - 1);
                Some(waiter)
            })
            .ok()?
    }

    /// Keeps a slot, unless this thread has kept enough or is at its end.
    #[inline]
    pub(in crate::wait) fn keep(waiter: &'static Waiter) -> bool {
        SPARE
            .try_with(|spare| {
                let room = spare.count.get() < MOST;
                if room {
                    waiter.next.set(spare.first.get());
                    spare.first.set(Some(waiter));
                    spare.count.set(spare.count.get() + 1);
                }
                room
            })
            .unwrap_or(false)
    }
}

/// No slot is kept by a modelled thread.
#[cfg(unwedge_loom)]
mod kept {
    use crate::wait::waiter::Waiter;

    pub(in crate::wait) fn take() -> Option<&'static Waiter> {
        None
    }

    pub(in crate::wait) fn keep(_: &'static Waiter) -> bool {
        false
    }
}

pub(super) use kept::{keep, take};

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use std::panic::Location;

    use crate::sys;
    use crate::wait::ticket::{Note, Ticket};
    use crate::wait::waiter::{Kind, WAITING, What, waiters};

    /// What a thread has kept it gives back at its end, and what it has no room for at once: else each of these threads would cost the process 20 slots.
    #[test]
    fn slots_of_threads_that_end_are_given_back() {
        let begin = || Ticket::begin(Kind::Thread, WAITING, &Note::endless(What::Stop, Location::caller()));
        let before = waiters().count();
        for _ in 0..200 {
            let waits_at_once = move || drop((0..20).map(|_| begin()).collect::<Vec<_>>());
            let thread = sys::spawn_service("waits", waits_at_once).expect("a thread");
            assert!(sys::join_until(thread, sys::now() + std::time::Duration::from_secs(30)), "it ends");
        }
        let grown = waiters().count() - before;
        assert!(grown < 400, "{grown} slots more");
    }
}
