//! A wait as a report sees it: read without a lock (L8).

use std::panic::Location;

use super::condition::Condition;
use super::line::MonitorCell;
use super::waiter::{IDLE, STATE, WAKER, Waiter, What, waiters};
use crate::sys::{self, Acquire, Relaxed};

/// A wait.
pub(crate) struct Seen {
    pub(crate) state: u64,
    pub(crate) what: What,
    pub(crate) member: u32,
    pub(crate) monitor: Option<&'static MonitorCell>,
    pub(crate) condition: Option<&'static Condition>,
    pub(crate) operation: String,
    pub(crate) object: String,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) location: Option<&'static Location<'static>>,
    pub(crate) age_ms: u64,
}

/// Every wait of the process.
pub(crate) fn look() -> Vec<Seen> {
    let now = sys::coarse_millis();
    waiters().look().filter_map(|waiter| waiter.look(now)).collect()
}

impl What {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => What::Lock,
            2 => What::Condition,
            3 => What::Predicate,
            4 => What::Completion,
            5 => What::Stop,
            6 => What::End,
            _ => return None,
        })
    }
}

impl Waiter {
    fn look(&self, now: u64) -> Option<Seen> {
        // Ordering: Acquire, partner of the Release in `Ticket::begin`.
        let word = self.word.load(Acquire);
        let what = What::from_code(self.what.load(Relaxed))?;
        if word & STATE == IDLE {
            return None;
        }
        let began = self.began.load(Relaxed);
        let location = self.location.load(Relaxed);
        let seen = Seen {
            state: word & STATE,
            what,
            member: self.member.load(Relaxed),
            monitor: self.monitor.get(),
            condition: self.condition.get(),
            operation: self.operation.get(),
            object: self.object.get(),
            offset: self.offset.load(Relaxed),
            length: self.length.load(Relaxed),
            // SAFETY: what is stored here is null or came from a `&'static Location`, and it is never written through.
            location: unsafe { location.as_ref() },
            age_ms: now.saturating_sub(self.since.load(Relaxed)),
        };
        // The slot may have changed hands meanwhile: then this is a mixture, and is not shown. (The owner retires the word before it writes the
        // next wait's fields. Ordering: the fence, partner of the one in `Ticket::begin`, keeps the look at the word behind the looks at the fields.)
        sys::plain_fence(Acquire);
        let after = self.word.load(Acquire);
        // What was read first is of no later wait than the word (a task that is polled with another waker counts on, in the same wait).
        let same = after & STATE != IDLE && began <= (word & !(STATE | WAKER)) && began == self.began.load(Relaxed);
        same.then_some(seen)
    }
}
