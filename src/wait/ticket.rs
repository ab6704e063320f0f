//! The owner's side of a wait: how it begins, sleeps and ends.

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::task::Waker;
use std::time::Instant;

use super::condition::Condition;
use super::line::MonitorCell;
use super::spare;
use super::trace;
use super::waiter::{
    COUNT, IDLE, Kind, NOTIFIED, Place, QUEUED, STATE, WAITING, WAKER, Waiter, Watcher, What, contain,
};
use crate::registry::domain::DomainRef;
use crate::registry::member;
use crate::sys::{self, AcqRel, Acquire, Relaxed, Release};

/// What is known of a wait when it begins.
pub(crate) struct Note<'a> {
    pub(crate) what: What,
    /// `None`: no stop ends it.
    pub(crate) domain: Option<DomainRef>,
    pub(crate) monitor: Option<&'static MonitorCell>,
    pub(crate) shared: bool,
    pub(crate) condition: Option<&'static Condition>,
    /// Operation, object, offset and length.
    pub(crate) owed: Option<(&'static str, &'a str, u64, u64)>,
    pub(crate) location: &'static Location<'static>,
}

impl Note<'_> {
    /// Whether the wait's domain is over.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.domain.is_some_and(DomainRef::is_over)
    }

    /// A wait for something that is neither a lock's nor a condition's.
    pub(crate) fn new(what: What, domain: DomainRef, location: &'static Location<'static>) -> Self {
        Note { domain: Some(domain), ..Note::endless(what, location) }
    }

    /// A wait that no stop ends: a shutdown's own, which has a deadline.
    pub(crate) fn endless(what: What, location: &'static Location<'static>) -> Self {
        Note { what, domain: None, monitor: None, shared: false, condition: None, owed: None, location }
    }
}

/// The owner's hold on a slot, for one wait. Not linked anywhere any more when it is dropped.
pub(crate) struct Ticket {
    waiter: &'static Waiter,
}

impl Ticket {
    /// Claims a slot and publishes the wait. The caller looks at the domain's flag next ([`Note::is_over`], [`Ticket::is_over`]).
    #[inline]
    pub(crate) fn begin(kind: Kind, state: u64, note: &Note<'_>) -> Self {
        Ticket::begin_with(kind, state, note, None)
    }

    /// As [`begin`](Self::begin), for a task, with its waker in place from the start.
    #[inline]
    pub(crate) fn begin_polled(state: u64, note: &Note<'_>, waker: &Waker) -> Self {
        // Cloned before a slot is claimed: it is foreign code and may panic.
        Ticket::begin_with(Kind::Task, state, note, Some(waker.clone()))
    }

    #[inline(always)]
    fn begin_with(kind: Kind, state: u64, note: &Note<'_>, waker: Option<Waker>) -> Self {
        let waiter = spare::take().unwrap_or_else(Waiter::claim);
        // Ordering: Release, partner of the Acquire fence in `look`: who sees a field of this wait sees that the last one is over.
        sys::plain_fence(Release);
        waiter.kind.store(kind as u8, Relaxed);
        if kind == Kind::Thread {
            waiter.parker.reset();
        }
        let (domain, live) = note.domain.map(DomainRef::parts).unzip();
        waiter.domain.set(domain);
        waiter.domain_live.store(live.unwrap_or(0), Relaxed);
        waiter.monitor.set(note.monitor);
        waiter.shared.store(u8::from(note.shared), Relaxed);
        waiter.condition.set(note.condition);
        waiter.passing.set(None);
        waiter.member.store(member::me().word(), Relaxed);
        waiter.what.store(note.what as u8, Relaxed);
        if let Some((operation, object, offset, length)) = note.owed {
            waiter.operation.set(operation);
            waiter.object.set(object);
            waiter.offset.store(offset, Relaxed);
            waiter.length.store(length, Relaxed);
        } else if note.what == What::End {
            waiter.operation.clear();
        }
        waiter.location.store(std::ptr::from_ref(note.location).cast_mut(), Relaxed);
        waiter.since.store(sys::coarse_nanos(), Relaxed);
        // Only the owner changes the count.
        let count = (waiter.word.load(Relaxed) & !(STATE | WAKER)) + COUNT;
        waiter.began.store(count, Relaxed);
        let mut word = count | state;
        if let Some(waker) = waker {
            waiter.waker.put(waker);
            word |= WAKER;
        }
        // Ordering: Release, partner of the Acquire loads of who acts on this wait: its fields are seen. The barrier: see the head of `waiter`.
        waiter.word.store(word, Release);
        sys::light();
        trace::wait_began(waiter);
        Ticket { waiter }
    }

    #[inline]
    pub(super) fn waiter(&self) -> &'static Waiter {
        self.waiter
    }

    /// This wait, for who is to end it.
    #[inline]
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher::new(self.waiter)
    }

    /// Whether the wait's domain is over.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.waiter.is_over()
    }

    #[inline]
    pub(crate) fn state(&self) -> u64 {
        // Ordering: Acquire, partner of the Release in the steps that end a wait: what led to them is seen.
        self.waiter.word.load(Acquire) & STATE
    }

    /// One transition by the owner.
    #[inline]
    pub(super) fn advance(&self, from: u64, to: u64) -> bool {
        self.waiter.advance(from, to)
    }

    /// Ends the wait and says what had come of it. Nobody else acts on it afterwards.
    #[inline]
    pub(crate) fn retire(&self) -> u64 {
        let word = self.waiter.word.load(Acquire);
        if word & (STATE | WAKER) == NOTIFIED {
            // Ordering: Release, partner of the Acquire in `look`.
            self.waiter.word.store(word & !(STATE | WAKER) | IDLE, Release);
            return NOTIFIED;
        }
        self.retire_early()
    }

    /// As [`retire`](Self::retire), of one that is not `NOTIFIED`, as nobody is who waits in a monitor.
    #[inline(always)]
    pub(super) fn retire_early(&self) -> u64 {
        let idle = self.waiter.word.load(Relaxed) & !(STATE | WAKER) | IDLE;
        // Ordering: AcqRel; Acquire as in `state`, Release as above. The count is the owner's, so it is still the one that was read.
        let copy = self.waiter.waker.copy();
        let found = self.waiter.word.swap(idle, AcqRel);
        if found & WAKER != 0 {
            // SAFETY: the waker was put by this owner; the swap took `WAKER` off, and nobody else did before.
            drop_waker(unsafe { copy.into_waker() });
        }
        found & STATE
    }

    /// Ends the wait, and says what had come of it.
    #[inline]
    pub(crate) fn end(self) -> u64 {
        let this = ManuallyDrop::new(self);
        let state = this.retire();
        this.give_back();
        state
    }

    /// Gives the slot back, of which the wait has ended. Once.
    #[inline(always)]
    pub(super) fn give_back(&self) {
        trace::wait_ended(self.waiter);
        debug_assert!(self.waiter.place() == Place::None, "a waiter is unlinked before its slot is given back");
        spare::keep(self.waiter);
    }

    /// For one that is dropped before its wait has ended.
    #[cold]
    fn retire_late(&self) {
        self.retire();
    }

    /// Sleeps until woken or the deadline; may return for no reason. Threads only.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        self.waiter.parker.park(deadline);
    }

    /// Sleeps while `asleep(state)`, at most until the deadline. Whether it ended before the deadline. Threads only.
    pub(crate) fn park_while(&self, asleep: impl Fn(u64) -> bool, deadline: Option<Instant>) -> bool {
        while asleep(self.state()) {
            if deadline.is_some_and(|at| sys::now() >= at) {
                return false;
            }
            self.park(deadline);
        }
        true
    }

    /// Puts the waker in its place. Whether the wait still sleeps then, so that what ends it will wake the task; if not, the state is to be looked
    /// at. Tasks only.
    #[inline]
    pub(crate) fn set_waker(&self, waker: &Waker) -> bool {
        let word = self.waiter.word.load(Acquire);
        if !matches!(word & STATE, WAITING | QUEUED) {
            false
        } else if word & WAKER == 0 {
            self.put_waker(word, waker)
        } else {
            self.waiter.waker.is(waker) || self.replace_waker(word, waker)
        }
    }

    #[inline]
    fn put_waker(&self, word: u64, waker: &Waker) -> bool {
        self.waiter.waker.put(waker.clone());
        // A new count: who has copied the words of an earlier waker by now must fail.
        // Ordering: Release, partner of the Acquire loads before `rouse_from`: the waker is seen.
        let put = self.waiter.word.compare_exchange(word, (word + COUNT) | WAKER, AcqRel, Acquire).is_ok();
        if !put {
            // SAFETY: it was put just now, and the slot did not become its owner.
            drop_waker(unsafe { self.waiter.waker.copy().into_waker() });
        }
        put
    }

    /// The task was polled with another waker than last time.
    #[cold]
    fn replace_waker(&self, word: u64, waker: &Waker) -> bool {
        let old = self.waiter.waker.copy();
        let bare = word & !WAKER;
        // Ordering: AcqRel, as in `put_waker`; who takes the waker reads the word first and takes it by a step from that very word.
        if self.waiter.word.compare_exchange(word, bare, AcqRel, Acquire).is_err() {
            return false;
        }
        // SAFETY: the slot owned it, and this step took it off.
        let old = unsafe { old.into_waker() };
        let put = self.put_waker(bare, waker);
        drop_waker(old);
        put
    }
}

/// A waker's destructor is foreign code, and some of those who drop one here are destructors themselves.
fn drop_waker(waker: Waker) {
    contain(|| drop(waker));
}

impl Drop for Ticket {
    // As small as it can be: it becomes a part of the caller.
    #[inline(always)]
    fn drop(&mut self) {
        if self.waiter.word.load(Acquire) & (STATE | WAKER) != IDLE {
            self.retire_late();
        }
        self.give_back();
    }
}
