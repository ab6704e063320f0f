//! One acquisition of a monitor's lock that could not be had at once: the same steps for a thread and a task.
//!
//! It starts in the line (a plain acquisition) or on a condition (a wait). Dropped before it is done it leaves every list, and what it had
//! consumed (a notification, a turn) goes on to the next (L3).
//!
//! All that is known of it lies in its slot, so that it is one word: futures and results that hold it are moved about.

use std::mem::ManuallyDrop;
use std::task::Poll;
use std::time::Instant;

use crate::error::Stopped;
use crate::sys::Relaxed;

use super::condition::Condition;
use super::line::MonitorCell;
use super::ticket::{Note, Ticket};
use super::waiter::{IDLE, Kind, QUEUED, STOPPED, TURN, WAITING, Waiter, Wake};

/// How a lock is tried, and let go again by one who is no holder yet.
pub(crate) trait Attempt {
    /// The lock's own guard: small, so that it stays in registers.
    type Guard;
    fn try_lock(&self) -> Option<Self::Guard>;
    /// Drops it as a holder does.
    fn let_go(&self, guard: Self::Guard);
}

/// An acquisition under way. Its slot names the monitor, and the condition on which it began.
pub(crate) struct Pending {
    ticket: Ticket,
}

/// What its owner notes of it in the slot: how often it was overtaken, and whether it was linked to the line by its owner and has not tried since.
const FRESH: u32 = 1 << 31;

impl Pending {
    #[inline(always)]
    fn begin(kind: Kind, state: u64, note: &Note<'_>, overtaken: u32) -> Result<Self, Stopped> {
        let ticket = Ticket::begin(kind, state, note);
        if note.is_over() {
            return Err(Stopped);
        }
        ticket.waiter().overtaken.store(overtaken, Relaxed);
        Ok(Pending { ticket })
    }

    /// Queues in the monitor's line.
    pub(crate) fn in_line(cell: &'static MonitorCell, kind: Kind, note: &Note<'_>) -> Result<Self, Stopped> {
        let this = Pending::begin(kind, QUEUED, note, FRESH)?;
        cell.enqueue(this.waiter());
        Ok(this)
    }

    /// Begins to wait on a condition. The caller holds the lock, and lets go of it afterwards.
    #[inline(always)]
    pub(crate) fn on(condition: &'static Condition, kind: Kind, note: &Note<'_>) -> Result<Self, Stopped> {
        let this = Pending::begin(kind, WAITING, note, 0)?;
        condition.push(this.waiter());
        Ok(this)
    }

    #[inline]
    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    #[inline]
    fn waiter(&self) -> &'static Waiter {
        self.ticket.waiter()
    }

    #[inline]
    fn cell(&self) -> &'static MonitorCell {
        match self.waiter().monitor.get() {
            Some(cell) => cell,
            None => unreachable!("an acquisition is of a monitor"),
        }
    }

    /// One step: tries the lock where that is due.
    #[inline(always)]
    pub(crate) fn poll<A: Attempt>(&mut self, attempt: &A) -> Poll<Result<A::Guard, Stopped>> {
        match self.ticket.state() {
            WAITING => Poll::Pending,
            // The commonest case apart: it was woken, and the lock is free.
            TURN => match attempt.try_lock() {
                Some(guard) => Poll::Ready(self.took(guard, attempt)),
                None => {
                    self.overtaken();
                    self.step(attempt)
                }
            },
            _ => self.step(attempt),
        }
    }

    #[inline(never)]
    fn step<A: Attempt>(&mut self, attempt: &A) -> Poll<Result<A::Guard, Stopped>> {
        let waiter = self.waiter();
        loop {
            let state = self.ticket.state();
            match state {
                WAITING => return Poll::Pending,
                QUEUED => {
                    let noted = waiter.overtaken.load(Relaxed);
                    // Somebody before it has the duty; only who had a turn must try again, for it may be the one for whom the line is closed.
                    if noted & FRESH == 0 || (noted == FRESH && !self.cell().is_open(waiter.is_shared())) {
                        return Poll::Pending;
                    }
                    waiter.overtaken.store(noted & !FRESH, Relaxed);
                }
                TURN => {}
                _ => {
                    debug_assert!(matches!(state, STOPPED | IDLE), "what ends a wait in a monitor is a stop");
                    return Poll::Ready(Err(Stopped));
                }
            }
            if let Some(guard) = attempt.try_lock() {
                return Poll::Ready(self.took(guard, attempt));
            }
            if state == QUEUED {
                return Poll::Pending;
            }
            self.overtaken();
        }
    }

    /// The lock was had: the wait has ended, unless a stop was first.
    #[inline(always)]
    fn took<A: Attempt>(&self, guard: A::Guard, attempt: &A) -> Result<A::Guard, Stopped> {
        if self.ticket.retire_early() == STOPPED {
            // The stop was first (L5), and it has passed on what we had.
            self.give_up(STOPPED);
            attempt.let_go(guard);
            return Err(Stopped);
        }
        self.cell().leave(self.waiter(), true);
        Ok(guard)
    }

    /// After the lock was had: as its drop, with nothing to be looked at.
    #[inline(always)]
    pub(crate) fn finish(self) {
        debug_assert!(self.ticket.state() == IDLE, "the wait has ended");
        ManuallyDrop::new(self).ticket.give_back();
    }

    /// Whether a step may lead on: a hint.
    pub(crate) fn may_go_on(&self) -> bool {
        match self.ticket.state() {
            WAITING | QUEUED => false,
            // Who gave the turn may hold the lock for a moment still.
            TURN => !self.cell().is_held(),
            _ => true,
        }
    }

    /// The lock was not free in its turn: back to its place in the line.
    #[cold]
    fn overtaken(&self) {
        let waiter = self.waiter();
        let overtaken = (waiter.overtaken.load(Relaxed) & !FRESH) + 1;
        // Linked already, `NEED` set again: now once more, as after the first time.
        let fresh = if self.cell().requeue(waiter, overtaken) { FRESH } else { 0 };
        waiter.overtaken.store(overtaken | fresh, Relaxed);
    }

    /// The deadline of a wait on a condition has come: if no notification was first, it becomes an acquisition. Whether that is so.
    pub(crate) fn expire(&mut self) -> bool {
        if !self.ticket.advance(WAITING, QUEUED) {
            return false;
        }
        let waiter = self.waiter();
        if let Some(condition) = waiter.condition.get() {
            condition.remove(waiter);
        }
        self.cell().enqueue(waiter);
        waiter.overtaken.store(FRESH, Relaxed);
        true
    }

    /// Blocks until there is an outcome or the deadline, which ends nothing.
    pub(crate) fn block<A: Attempt>(
        &mut self,
        deadline: Option<Instant>,
        attempt: &A,
    ) -> Poll<Result<A::Guard, Stopped>> {
        loop {
            if let ready @ Poll::Ready(_) = self.poll(attempt) {
                return ready;
            }
            if !self.ticket.park_while(|state| matches!(state, WAITING | QUEUED), deadline) {
                return Poll::Pending;
            }
        }
    }

    /// Leaves every list after the wait was ended without the lock, with what had come of it, and passes on what it had (L3).
    #[cold]
    fn give_up(&self, state: u64) {
        let waiter = self.waiter();
        if let Some(condition) = waiter.condition.get() {
            condition.remove(waiter);
        }
        self.cell().leave(waiter, false);
        if matches!(state, QUEUED | TURN) {
            super::pass_on(waiter.passing.get(), waiter.monitor.get(), state == TURN).for_each(Wake::wake);
        }
    }
}

impl Drop for Pending {
    #[inline(always)]
    fn drop(&mut self) {
        // Who had an outcome has ended the wait already.
        if self.ticket.state() != IDLE {
            self.give_up(self.ticket.retire());
        }
    }
}
