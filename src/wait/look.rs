//! A wait as a report sees it: read without a lock, and without a byte allocated (L8).

use std::panic::Location;

use super::condition::Condition;
use super::debtor::Debtor;
use super::line::MonitorCell;
use super::waiter::{IDLE, Kind, NOTIFIED, QUEUED, STATE, STOPPED, TURN, WAITING, WAKER, Waiter, What, waiters};
use crate::registry::domain::DomainRef;
use crate::registry::member::MemberRef;
use crate::registry::text::Copied;
use crate::sys::{self, Acquire, PlainU64, Relaxed};

/// How far a wait has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Waits for its event.
    Waiting,
    /// Had its event, or wants nothing else, and waits in a monitor's line.
    Queued,
    /// Was woken to try the lock, or its event has come, and has not run since.
    Woken,
    /// A stop has ended it, and it has not run since.
    Stopped,
}

/// A wait.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// Its slot.
    pub(crate) index: u32,
    /// Which wait of that slot it is.
    pub(crate) began: u64,
    pub(crate) stage: Stage,
    pub(crate) what: What,
    pub(crate) is_task: bool,
    /// Who waits.
    pub(crate) member: MemberRef,
    pub(crate) monitor: Option<&'static MonitorCell>,
    /// Which one it is of those whose cell that has been.
    pub(crate) monitor_life: u32,
    /// Whether it wants the monitor's lock for reading.
    pub(crate) shared: bool,
    pub(crate) condition: Option<&'static Condition>,
    pub(crate) debtor: Debtor,
    pub(crate) operation: Copied<2>,
    pub(crate) object: Copied<6>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) location: Option<&'static Location<'static>>,
    pub(crate) age_ms: u64,
    /// For how long a task has been woken and not polled.
    pub(crate) woken_ms: Option<u64>,
}

/// Room for so many waits holds them all, but for those that come.
pub(crate) fn most() -> usize {
    waiters().count()
}

/// Every wait of the process.
pub(crate) fn look() -> impl Iterator<Item = Seen> {
    let now = sys::coarse_nanos();
    waiters().look().filter_map(move |(index, waiter)| waiter.look(index, now))
}

/// The wait in a slot, if there is one now.
pub(crate) fn look_at(index: u32) -> Option<Seen> {
    waiters().find(index)?.look(index, sys::coarse_nanos())
}

impl Seen {
    /// The domain whose members it waits for to end.
    pub(crate) fn end_of(&self) -> Option<DomainRef> {
        // Of which the words are kept where others have an offset and a length: `Stop::watcher_note`.
        (self.what == What::End && !self.operation.is_empty())
            .then(|| DomainRef::from_words(self.offset, self.length))
            .flatten()
    }

    /// Whether this very wait still waits: who waits so has done nothing else since it was seen.
    pub(crate) fn still_waits(&self) -> bool {
        let waits = |seen: &Seen| matches!(seen.stage, Stage::Waiting | Stage::Queued);
        let is_this = |seen: &Seen| seen.began == self.began && seen.member == self.member && waits(seen);
        waits(self) && look_at(self.index).is_some_and(|now| is_this(&now))
    }

    /// Whether what it wants now is the lock of its monitor.
    pub(crate) fn wants_lock(&self) -> bool {
        // Where there is a monitor, `Woken` is a turn.
        self.what == What::Lock || self.stage == Stage::Queued || (self.stage == Stage::Woken && self.monitor.is_some())
    }
}

impl What {
    pub(super) fn from_code(code: u8) -> Option<Self> {
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

impl Stage {
    fn of(state: u64) -> Option<Self> {
        Some(match state {
            WAITING => Stage::Waiting,
            QUEUED => Stage::Queued,
            TURN | NOTIFIED => Stage::Woken,
            STOPPED => Stage::Stopped,
            _ => return None,
        })
    }
}

impl Waiter {
    fn look(&self, index: u32, now: u64) -> Option<Seen> {
        // Ordering: Acquire, partner of the Release in `Ticket::begin`.
        let word = self.word.load(Acquire);
        let stage = Stage::of(word & STATE)?;
        let what = What::from_code(self.what.load(Relaxed))?;
        let began = self.began.load(Relaxed);
        let location = self.location.load(Relaxed);
        let owed = matches!(what, What::Completion | What::End);
        let is_task = self.kind.load(Relaxed) == Kind::Task as u8;
        let millis_since = |then: &PlainU64| now.saturating_sub(then.load(Relaxed)) / 1_000_000;
        let age_ms = millis_since(&self.since);
        let was_woken = is_task && matches!(stage, Stage::Woken | Stage::Stopped);
        let monitor = self.monitor.get();
        let seen = Seen {
            index,
            began,
            stage,
            what,
            is_task,
            member: MemberRef::from_word(self.member.load(Relaxed)),
            monitor,
            monitor_life: monitor.map_or(0, |cell| cell.life.load(Relaxed)),
            shared: self.shared.load(Relaxed) != 0,
            condition: self.condition.get(),
            debtor: self.debtor(began),
            operation: if owed { self.operation.copy() } else { Copied::EMPTY },
            object: if owed { self.object.copy() } else { Copied::EMPTY },
            offset: self.offset.load(Relaxed),
            length: self.length.load(Relaxed),
            // SAFETY: what is stored here is null or came from a `&'static Location`, and it is never written through.
            location: unsafe { location.as_ref() },
            age_ms,
            woken_ms: was_woken.then(|| millis_since(&self.woken).min(age_ms)),
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

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Stage, look_at};
    use crate::registry::domain::DomainRef;
    use crate::sys::{self, AtomicU32, Relaxed};
    use crate::wait::ticket::{Note, Ticket};
    use crate::wait::waiter::{Kind, QUEUED, WAITING, What};

    /// Long enough for anything that is not a hang.
    const GUARD: Duration = Duration::from_secs(30);

    /// A thread's wait for a read of which these are the offset and the length.
    fn reads(offset: u64, length: u64) -> Ticket {
        let owed = Some(("read", "200.00000001", offset, length));
        Ticket::begin(Kind::Thread, WAITING, &Note { owed, ..Note::endless(What::Completion, Location::caller()) })
    }

    /// A task's wait in a line, to read.
    fn queues() -> Ticket {
        Ticket::begin(Kind::Task, QUEUED, &Note { shared: true, ..Note::endless(What::Lock, Location::caller()) })
    }

    #[test]
    fn a_wait_that_has_ended_does_not_wait_still_nor_does_the_next_one_of_its_slot() {
        let ticket = reads(1, 1);
        let index = ticket.waiter().index();
        let seen = look_at(index).expect("it waits");
        assert!(seen.still_waits());
        drop(ticket);
        assert!(!seen.still_waits(), "it has ended");
        let next = reads(1, 1);
        assert_eq!(next.waiter().index(), index, "a thread's next wait has the slot of its last one");
        assert!(!seen.still_waits(), "another one has begun");
    }

    #[test]
    fn what_has_an_offset_is_no_end_of_a_domain_for_that() {
        let domain = DomainRef::claim("whole");
        let (index, live) = domain.words();
        let ticket = reads(index, live);
        let seen = look_at(ticket.waiter().index()).expect("it waits");
        assert_eq!((seen.offset, seen.length), (index, live));
        assert!(seen.end_of().is_none());
        drop(ticket);
        // Nor is an end of which nobody has said whose it is, though the slot still has what the last wait had.
        let note = Note::endless(What::End, Location::caller());
        let ticket = Ticket::begin(Kind::Thread, WAITING, &note);
        assert!(look_at(ticket.waiter().index()).expect("it waits").end_of().is_none());
        drop(ticket);
        let owed = Some(("end of", "whole", index, live));
        let ticket = Ticket::begin(Kind::Thread, WAITING, &Note { owed, ..note });
        let of = look_at(ticket.waiter().index()).expect("it waits").end_of();
        assert!(of.is_some_and(|of| of == domain));
        drop(ticket);
        domain.release();
    }

    #[test]
    fn no_mixture_of_two_waits_is_shown() {
        // One thread waits in two ways by turns, always in the same slot, and another one looks.
        let over = Arc::new(AtomicU32::new(0));
        let (tell, told) = std::sync::mpsc::channel();
        let ends = over.clone();
        let waits = move || {
            tell.send(reads(1, 1).waiter().index()).expect("the test waits");
            while ends.load(Relaxed) == 0 {
                drop(reads(1, 1));
                drop(queues());
            }
        };
        let thread = sys::spawn_service("waits", waits).expect("a thread");
        let index = told.recv_timeout(GUARD).expect("it waits");
        let (mut reads, mut queues) = (0, 0);
        // So many see a mixture where there is one; where all is slow, under a sanitizer say, the time says when it is enough.
        let until = sys::now() + Duration::from_secs(3);
        while reads.min(queues) == 0 || (reads.min(queues) < 60_000 && sys::now() < until) {
            assert!(sys::now() < until + GUARD, "{reads} and {queues} were seen");
            let Some(seen) = look_at(index) else { continue };
            let is_read = seen.what == What::Completion;
            *(if is_read { &mut reads } else { &mut queues }) += 1;
            let stage = if is_read { Stage::Waiting } else { Stage::Queued };
            assert_eq!(seen.stage, stage, "{:?}", seen.what);
            assert_eq!([seen.is_task, seen.shared, seen.operation.is_empty()], [!is_read; 3], "{:?}", seen.what);
        }
        over.store(1, Relaxed);
        assert!(sys::join_until(thread, sys::now() + GUARD), "it ends");
    }
}
