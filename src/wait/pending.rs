//! One acquisition of a monitor's lock that could not be had at once: the same steps for a thread and a task.
//!
//! It starts in the line (a plain acquisition) or on a condition (a wait). Dropped before it is done it leaves every list, and what it had
//! consumed (a notification, a turn) goes on to the next (L3).

use std::task::Poll;
use std::time::Instant;

use crate::error::Stopped;

use super::condition::Condition;
use super::line::MonitorCell;
use super::waiter::{IDLE, Kind, Note, QUEUED, STOPPED, TURN, Ticket, WAITING, waiter};
use crate::sys::Relaxed;

/// An acquisition under way.
pub(crate) struct Pending {
    ticket: Ticket,
    cell: &'static MonitorCell,
    /// The condition on which it began.
    condition: Option<&'static Condition>,
    /// It was linked to the line by its owner and has not tried since.
    fresh: bool,
    overtaken: u32,
    shared: bool,
    done: bool,
}

impl Pending {
    /// Queues in the monitor's line.
    pub(crate) fn in_line(cell: &'static MonitorCell, kind: Kind, note: &Note<'_>) -> Result<Self, Stopped> {
        let ticket = Ticket::begin(kind, QUEUED, note);
        if ticket.is_over() {
            return Err(Stopped);
        }
        cell.enqueue(ticket.index());
        Ok(Pending { ticket, cell, condition: None, fresh: true, overtaken: 0, shared: note.shared, done: false })
    }

    /// Begins to wait on a condition. The caller holds the lock, and lets go of it afterwards.
    pub(crate) fn on(
        condition: &'static Condition,
        cell: &'static MonitorCell,
        kind: Kind,
        note: &Note<'_>,
    ) -> Result<Self, Stopped> {
        let ticket = Ticket::begin(kind, WAITING, note);
        if ticket.is_over() {
            return Err(Stopped);
        }
        condition.push(ticket.index());
        let (fresh, overtaken, shared) = (false, 0, note.shared);
        Ok(Pending { ticket, cell, condition: Some(condition), fresh, overtaken, shared, done: false })
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// One step: tries the lock where that is due.
    pub(crate) fn poll<G>(&mut self, mut try_lock: impl FnMut() -> Option<G>) -> Poll<Result<G, Stopped>> {
        loop {
            match self.ticket.state() {
                QUEUED if !self.fresh => return Poll::Pending,
                // Somebody before it has the duty; only who had a turn must try again, for it may be the one for whom the line is closed.
                QUEUED if self.overtaken == 0 && !self.cell.is_open(self.shared) => return Poll::Pending,
                state @ (QUEUED | TURN) => {
                    self.fresh = false;
                    if let Some(guard) = try_lock() {
                        if self.ticket.retire() == STOPPED {
                            // The stop was first (L5), and it has passed on what we had. The guard's drop unlocks.
                            return Poll::Ready(Err(Stopped));
                        }
                        self.cell.leave(self.ticket.index(), true);
                        self.done = true;
                        return Poll::Ready(Ok(guard));
                    }
                    if state == QUEUED {
                        return Poll::Pending;
                    }
                    self.overtaken += 1;
                    // Linked already, `NEED` set again: now once more, as after the first time.
                    self.fresh = self.cell.requeue(self.ticket.index(), self.overtaken);
                }
                WAITING => return Poll::Pending,
                state => {
                    debug_assert!(matches!(state, STOPPED | IDLE), "what ends a wait in a monitor is a stop");
                    return Poll::Ready(Err(Stopped));
                }
            }
        }
    }

    /// The deadline of a wait on a condition has come: if no notification was first, it becomes an acquisition. Whether that is so.
    pub(crate) fn expire(&mut self) -> bool {
        if !self.ticket.advance(WAITING, QUEUED) {
            return false;
        }
        if let Some(condition) = self.condition {
            condition.remove(self.ticket.index());
        }
        self.cell.enqueue(self.ticket.index());
        self.fresh = true;
        true
    }

    /// Blocks until there is an outcome or the deadline, which ends nothing.
    pub(crate) fn block<G>(
        &mut self,
        deadline: Option<Instant>,
        mut try_lock: impl FnMut() -> Option<G>,
    ) -> Poll<Result<G, Stopped>> {
        loop {
            if let ready @ Poll::Ready(_) = self.poll(&mut try_lock) {
                return ready;
            }
            if !self.ticket.park_while(|state| matches!(state, WAITING | QUEUED), deadline) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let state = self.ticket.retire();
        let index = self.ticket.index();
        if let Some(condition) = self.condition {
            condition.remove(index);
        }
        self.cell.leave(index, false);
        if matches!(state, QUEUED | TURN) {
            let waiter = waiter(index);
            super::pass_on(waiter.passing.load(Relaxed), waiter.monitor.load(Relaxed), state == TURN);
        }
    }
}
