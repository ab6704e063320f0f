//! Locks of a user's own, for the tests: a spinlock in ten lines, and two fair ones.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    sync::{Condvar, Mutex},
    time::Instant,
};

use unwedge::lock::{ForeignLock, Lock, Relock};

/// The ten lines: no data, no queue, no `Deref`.
#[derive(Default)]
pub struct Spin(AtomicBool);
pub struct SpinGuard<'a>(&'a Spin);
impl Drop for SpinGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
impl Lock for Spin {
    type Guard<'a> = SpinGuard<'a>;
    fn try_lock(&self) -> Option<SpinGuard<'_>> {
        (!self.0.swap(true, Ordering::Acquire)).then(|| SpinGuard(self))
    }
}
impl ForeignLock for Spin {}

/// A ticket lock: first come, first served; who waits sleeps; no timed form, and `try_lock` is refused while anyone queues.
#[derive(Default)]
pub struct Ticket {
    desk: Mutex<Desk>,
    called: Condvar,
}
#[derive(Default)]
struct Desk {
    next: u64,
    serving: u64,
}
pub struct TicketGuard<'a>(&'a Ticket);

impl Ticket {
    pub fn lock(&self) -> TicketGuard<'_> {
        let mut desk = self.desk.lock().expect("no panic under this lock");
        let mine = desk.next;
        desk.next += 1;
        while desk.serving != mine {
            desk = self.called.wait(desk).expect("no panic under this lock");
        }
        TicketGuard(self)
    }

    /// How many hold or wait for the lock.
    pub fn inside(&self) -> u64 {
        let desk = self.desk.lock().expect("no panic under this lock");
        desk.next - desk.serving
    }
}
impl Drop for TicketGuard<'_> {
    fn drop(&mut self) {
        self.0.desk.lock().expect("no panic under this lock").serving += 1;
        self.0.called.notify_all();
    }
}
impl Lock for Ticket {
    type Guard<'a> = TicketGuard<'a>;
    fn try_lock(&self) -> Option<TicketGuard<'_>> {
        let mut desk = self.desk.lock().expect("no panic under this lock");
        (desk.next == desk.serving).then(|| {
            desk.next += 1;
            TicketGuard(self)
        })
    }
}
impl ForeignLock for Ticket {
    const RELOCK: Relock = Relock::Plain;
    fn lock_until(&self, _: Instant) -> Option<TicketGuard<'_>> {
        Some(self.lock())
    }
}

/// A fair lock with a timed form whose every stay in the queue is recorded, to see what a timed relock does.
#[derive(Default)]
pub struct Recorded {
    held: Mutex<bool>,
    freed: Condvar,
    pub stays: Mutex<VecDeque<std::time::Duration>>,
}
pub struct RecordedGuard<'a>(&'a Recorded);
impl Drop for RecordedGuard<'_> {
    fn drop(&mut self) {
        *self.0.held.lock().expect("no panic under this lock") = false;
        self.0.freed.notify_one();
    }
}
impl Lock for Recorded {
    type Guard<'a> = RecordedGuard<'a>;
    fn try_lock(&self) -> Option<RecordedGuard<'_>> {
        let mut held = self.held.lock().expect("no panic under this lock");
        (!std::mem::replace(&mut *held, true)).then(|| RecordedGuard(self))
    }
}
impl ForeignLock for Recorded {
    const RELOCK: Relock = Relock::Timed;
    fn lock_until(&self, until: Instant) -> Option<RecordedGuard<'_>> {
        let wait = until.saturating_duration_since(Instant::now());
        self.stays.lock().expect("no panic under this lock").push_back(wait);
        let held = self.held.lock().expect("no panic under this lock");
        let (mut held, _) = self.freed.wait_timeout_while(held, wait, |held| *held).expect("no panic under this lock");
        (!std::mem::replace(&mut *held, true)).then(|| RecordedGuard(self))
    }
}
