//! Numbers of living threads, for what each of them writes alone.
//!
//! A thread has its seat from its first use until its thread-locals are destroyed; then the next thread has it. While all are taken, threads share
//! the last one.
//!
//! **Alone**: between a claim of a number and its release no other thread has it; and what was written under it before the release is seen by who claims it
//! next. So what one seat's threads write needs no read-modify-write.

use std::cell::Cell;

use crate::sys::{AcqRel, AtomicU64, Relaxed, Release};

/// How many numbers there are.
pub(super) const SEATS: usize = 64;

/// The one that threads share which have none.
const SHARED: usize = SEATS - 1;

/// A bit for each number that is taken.
static TAKEN: AtomicU64 = AtomicU64::new(1 << SHARED);

/// Where a thread writes.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    /// Below [`SEATS`].
    pub(super) number: usize,
    /// Whether no other thread writes there.
    pub(super) alone: bool,
}

const STANDING: Seat = Seat { number: SHARED, alone: false };

thread_local! {
    static SEAT: Cell<Option<Seat>> = const { Cell::new(None) };
    static LEASE: Lease = Lease(claim());
}

/// Gives the number back when the thread ends. What comes after that on this thread stands.
struct Lease(Option<usize>);

impl Drop for Lease {
    fn drop(&mut self) {
        SEAT.set(Some(STANDING));
        if let Some(number) = self.0 {
            // Ordering: Release, partner of the Acquire in `claim`: see "Alone".
            TAKEN.fetch_and(!(1 << number), Release);
        }
    }
}

fn claim() -> Option<usize> {
    let mut taken = TAKEN.load(Relaxed);
    while taken != u64::MAX {
        let number = taken.trailing_ones();
        // Ordering: Acquire, partner of the Release in `Lease::drop`.
        match TAKEN.compare_exchange(taken, taken | 1 << number, AcqRel, Relaxed) {
            Ok(_) => return Some(number as usize),
            Err(now) => taken = now,
        }
    }
    None
}

impl Seat {
    #[inline]
    pub(super) fn of_this_thread() -> Seat {
        SEAT.get().unwrap_or_else(Seat::take)
    }

    #[cold]
    fn take() -> Seat {
        // A thread that already destroys its thread-locals stands.
        let number = LEASE.try_with(|lease| lease.0).unwrap_or_default();
        let seat = number.map_or(STANDING, |number| Seat { number, alone: true });
        SEAT.set(Some(seat));
        seat
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "threads of a test, as any user has them")]
mod tests {
    use std::{sync::Barrier, thread};

    use super::{SEATS, SHARED, Seat};

    #[test]
    fn living_threads_have_seats_of_their_own_or_know_that_they_share() {
        let all_here = Barrier::new(2 * SEATS);
        let sit = || {
            let seat = Seat::of_this_thread();
            all_here.wait();
            assert_eq!(Seat::of_this_thread().number, seat.number);
            seat
        };
        for _ in 0..2 {
            let seats: Vec<Seat> = thread::scope(|scope| {
                let threads: Vec<_> = (0..2 * SEATS).map(|_| scope.spawn(sit)).collect();
                threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect()
            });
            let mut alone: Vec<usize> = seats.iter().filter(|seat| seat.alone).map(|seat| seat.number).collect();
            alone.sort_unstable();
            assert!(alone.windows(2).all(|two| two[0] != two[1]), "two threads on one seat: {alone:?}");
            assert!(!alone.contains(&SHARED), "where others write too");
            // Other tests' threads may have some.
            assert!(alone.len() > SEATS / 4, "ended threads kept their seats: {alone:?}");
            assert!(seats.iter().all(|seat| seat.number < SEATS));
        }
    }
}
