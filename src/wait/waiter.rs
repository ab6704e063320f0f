//! One waiter, a thread or a task, and its state word.
//!
//! # The state word
//! The low three bits are the state, the rest is a generation: a new wait in the same slot has a new generation, so that whoever acts late
//! fails its compare-and-swap. Every race of a wake-up, a stop, a timeout and a drop is a race on this word, and exactly one wins (L5).
//!
//! | state | meaning |
//! |---|---|
//! | `IDLE` | no wait |
//! | `WAITING` | waits for its event |
//! | `QUEUED` | had its event (or wants nothing else) and waits in a monitor's line for the lock |
//! | `TURN` | was told to try the lock |
//! | `NOTIFIED` | had its event; final |
//! | `STOPPED` | a stop ended the wait; final |
//!
//! | from | to | by | how |
//! |---|---|---|---|
//! | `IDLE` | `WAITING`, `QUEUED` | owner | swap, with a new generation |
//! | `WAITING` | `NOTIFIED` | who notifies or completes | compare-and-swap, then wake |
//! | `WAITING` | `QUEUED` | who notifies a thread (wait morphing), or the owner at its deadline | compare-and-swap |
//! | `WAITING` | `TURN` | who notifies a task | compare-and-swap, then wake |
//! | `QUEUED` | `TURN` | who unlocks, under the line's lock | compare-and-swap, then wake |
//! | `TURN` | `QUEUED` | owner, when the lock was not free, under the line's lock | compare-and-swap |
//! | `WAITING`, `QUEUED`, `TURN` | `STOPPED` | a stop | compare-and-swap, then wake |
//! | any | `IDLE` | owner | swap: what it finds is the outcome |
//!
//! # Why nobody is stranded (L1)
//! A waiter publishes its word by a read-modify-write and *then* looks at its domain's flag. A stop sets the flag and *then* does a
//! read-modify-write on the word of every slot ([`stop_all`]). Of two read-modify-writes of one word the later sees the earlier: either the
//! stop finds the waiter, or the waiter finds the flag. No fence and no lock is in it; the model `law1_stop_reaches_every_wait` fails where
//! the flag is looked at before the word is published.
//!
//! # Wakers (L6)
//! A task's waker lies in `waker`. It is put there before the state is looked at for the last time in a poll, and who takes it out always wakes
//! it. So a late actor that takes the waker of a later wait in the slot causes one needless poll, which puts the waker back: nothing is lost.
//! Wakers are cloned, dropped and woken with no lock held.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::task::Waker;
use std::time::Instant;

use super::waker::WakerCell;
use crate::registry::arena::arena;
use crate::registry::domain::DomainRef;
use crate::registry::member;
use crate::registry::text::Text;
use crate::sys::{self, AcqRel, Acquire, AtomicU64, Parker, PlainPtr, PlainU8, PlainU32, PlainU64, Relaxed, Release};

pub(crate) const IDLE: u64 = 0;
pub(crate) const WAITING: u64 = 1;
pub(crate) const QUEUED: u64 = 2;
pub(crate) const TURN: u64 = 3;
pub(crate) const NOTIFIED: u64 = 4;
pub(crate) const STOPPED: u64 = 5;

const STATE: u64 = 7;
const GENERATION: u64 = 8;

/// Who sleeps: a thread, in its slot's parker, or a task, by its waker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Thread,
    Task,
}

/// What a waiter waits for, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Lock = 1,
    Condition,
    Predicate,
    Completion,
    Stop,
    End,
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

/// In which list a waiter is linked. Guarded by the lock of that list; moves from `Condition` to `Line` under both.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    None = 0,
    Condition = 1,
    Line = 2,
}

/// A slot. See the head of this file.
pub(crate) struct Waiter {
    word: AtomicU64,
    parker: Parker,
    waker: WakerCell,
    kind: PlainU8,
    domain_index: PlainU32,
    domain_live: PlainU64,
    // Links: guarded by the lock of the list that `place` names.
    pub(super) next: PlainU32,
    pub(super) prev: PlainU32,
    place: PlainU8,
    /// The monitor whose lock it takes after its event, 0 for none. Set before the word is published.
    pub(super) monitor: PlainU32,
    /// Whether it wants the lock for reading.
    pub(super) shared: PlainU8,
    /// The condition variable whose `notify_one` it consumed: to whom it goes on if a stop comes in between (L3). Set before `QUEUED`.
    pub(super) passing: PlainU32,
    // What a report says of it. Written by the owner before the word is published.
    member: PlainU32,
    what: PlainU8,
    /// The condition variable it waits on, 0 for none.
    pub(super) condition: PlainU32,
    operation: Text<2>,
    object: Text<6>,
    offset: PlainU64,
    length: PlainU64,
    location: PlainPtr<Location<'static>>,
    since: PlainU64,
}

arena!(
    /// Every wait of the process.
    waiters: Waiter = || Waiter {
        word: AtomicU64::new(IDLE),
        parker: Parker::new(),
        waker: WakerCell::new(),
        kind: PlainU8::new(0),
        domain_index: PlainU32::new(0),
        domain_live: PlainU64::new(0),
        next: PlainU32::new(0),
        prev: PlainU32::new(0),
        place: PlainU8::new(0),
        monitor: PlainU32::new(0),
        shared: PlainU8::new(0),
        passing: PlainU32::new(0),
        member: PlainU32::new(0),
        what: PlainU8::new(0),
        condition: PlainU32::new(0),
        operation: Text::new(),
        object: Text::new(),
        offset: PlainU64::new(0),
        length: PlainU64::new(0),
        location: PlainPtr::new(std::ptr::null_mut()),
        since: PlainU64::new(0),
    }
);

/// The slot at an index.
#[inline]
pub(crate) fn waiter(index: u32) -> &'static Waiter {
    waiters().get(index)
}

impl Waiter {
    /// Where it is linked. Under the lock of a list in which it may be; or by its owner, for whom `None` is final once nobody can link it any
    /// more.
    pub(super) fn place(&self) -> Place {
        // Ordering: Acquire, partner of the Release in `set_place`: an owner who finds itself taken out goes after all that was done to the links.
        match self.place.load(Acquire) {
            0 => Place::None,
            1 => Place::Condition,
            _ => Place::Line,
        }
    }

    pub(super) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Release);
    }

    #[inline]
    pub(super) fn is_thread(&self) -> bool {
        self.kind.load(Relaxed) == Kind::Thread as u8
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Relaxed) != 0
    }

    /// The state, and whether it is still that, under the line's lock.
    pub(super) fn is(&self, state: u64) -> bool {
        self.word.load(Acquire) & STATE == state
    }

    /// One transition by somebody other than the owner, in whatever generation there is: the caller knows by a list's lock that the slot's
    /// occupant is the one it means.
    #[inline]
    pub(super) fn advance(&self, from: u64, to: u64) -> bool {
        let mut word = self.word.load(Acquire);
        while word & STATE == from {
            // Ordering: AcqRel; Release, so that the owner, who reads the state with Acquire, sees what led to it; Acquire for the slot's fields.
            match self.word.compare_exchange(word, word & !STATE | to, AcqRel, Acquire) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Wakes the owner: unparks the thread, or takes the waker out and wakes it. With no lock held (L6).
    pub(crate) fn wake(&self) {
        if self.is_thread() {
            self.parker.unpark();
        } else {
            if let Some(waker) = self.waker.take() {
                wake(waker);
            }
        }
    }

    fn domain(&self) -> Option<DomainRef> {
        DomainRef::from_parts(self.domain_index.load(Relaxed), self.domain_live.load(Relaxed))
    }

    /// Ends the wait if its domain is over. Whether that leaves a task to be woken.
    fn stop(&self) -> bool {
        // Ordering: AcqRel, partner of the swap in `Ticket::begin`: see the head of this file.
        let mut word = self.word.fetch_or(0, AcqRel);
        loop {
            let state = word & STATE;
            if !matches!(state, WAITING | QUEUED | TURN) {
                return false;
            }
            // Read after the word: of this generation, or the compare-and-swap below fails.
            if !self.domain().is_some_and(DomainRef::is_over) {
                return false;
            }
            let monitor = self.monitor.load(Relaxed);
            let passing = self.passing.load(Relaxed);
            let is_thread = self.is_thread();
            match self.word.compare_exchange(word, word & !STATE | STOPPED, AcqRel, Acquire) {
                Ok(_) => {
                    if is_thread {
                        self.parker.unpark();
                    }
                    if state != WAITING {
                        super::pass_on(passing, monitor, state == TURN);
                    }
                    return !is_thread;
                }
                Err(now) => word = now,
            }
        }
    }
}

/// Wakes a task; a panic of its waker strands nobody (L6).
pub(super) fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Runs a waker's, hook's or callback's code; a panic of it strands nobody (L6) and is reported by the panic hook alone.
///
/// What it panicked with may panic in turn when it is dropped.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    }
}

/// Ends every wait whose domain is over. The flags were set before.
pub(crate) fn stop_all() {
    let mut tasks = false;
    for (_, waiter) in waiters().scan() {
        tasks |= waiter.stop();
    }
    // Wakers are foreign code: one that blocks keeps nobody from being stopped, and no thread from being woken.
    if tasks {
        for (_, waiter) in waiters().look() {
            if waiter.is(STOPPED) && !waiter.is_thread() {
                waiter.wake();
            }
        }
    }
}

/// Wakes everybody who sleeps with a deadline: the model's clock has moved.
#[cfg(unwedge_loom)]
pub(crate) fn wake_all() {
    for (_, waiter) in waiters().scan() {
        waiter.parker.unpark();
    }
}

/// What is known of a wait when it begins.
pub(crate) struct Note<'a> {
    pub(crate) what: What,
    /// `None`: no stop ends it.
    pub(crate) domain: Option<DomainRef>,
    pub(crate) monitor: u32,
    pub(crate) shared: bool,
    pub(crate) condition: u32,
    pub(crate) owed: Option<(&'a str, &'a str, u64, u64)>,
    pub(crate) location: &'static Location<'static>,
}

impl Note<'_> {
    /// A wait for something that is neither a lock's nor a condition's.
    pub(crate) fn new(what: What, domain: DomainRef, location: &'static Location<'static>) -> Self {
        Note { what, domain: Some(domain), monitor: 0, shared: false, condition: 0, owed: None, location }
    }

    /// A wait that no stop ends: a shutdown's own, which has a deadline.
    pub(crate) fn endless(what: What, location: &'static Location<'static>) -> Self {
        Note { what, domain: None, monitor: 0, shared: false, condition: 0, owed: None, location }
    }
}

/// The owner's hold on a slot, for one wait. Not linked anywhere any more when it is dropped.
pub(crate) struct Ticket {
    index: u32,
    waiter: &'static Waiter,
}

impl Ticket {
    /// Claims a slot and publishes the wait. The caller looks at the domain's flag next ([`Ticket::is_over`]).
    pub(crate) fn begin(kind: Kind, state: u64, note: &Note<'_>) -> Self {
        let index = sys::take_spare().unwrap_or_else(|| waiters().claim());
        let waiter = waiter(index);
        waiter.kind.store(kind as u8, Relaxed);
        let (domain, live) = note.domain.map_or((0, 0), DomainRef::parts);
        waiter.domain_index.store(domain, Relaxed);
        waiter.domain_live.store(live, Relaxed);
        waiter.monitor.store(note.monitor, Relaxed);
        waiter.shared.store(u8::from(note.shared), Relaxed);
        waiter.condition.store(note.condition, Relaxed);
        waiter.passing.store(0, Relaxed);
        waiter.member.store(member::current(), Relaxed);
        waiter.what.store(note.what as u8, Relaxed);
        if let Some((operation, object, offset, length)) = note.owed {
            waiter.operation.set(operation);
            waiter.object.set(object);
            waiter.offset.store(offset, Relaxed);
            waiter.length.store(length, Relaxed);
        }
        waiter.location.store(std::ptr::from_ref(note.location).cast_mut(), Relaxed);
        waiter.since.store(sys::coarse_millis(), Relaxed);
        // Only the owner changes the generation.
        let generation = (waiter.word.load(Relaxed) & !STATE) + GENERATION;
        // Ordering: AcqRel, partner of the read-modify-write in `Waiter::stop`: see the head of this file.
        waiter.word.swap(generation | state, AcqRel);
        Ticket { index, waiter }
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The word of this wait while it is `WAITING`: what a completer hands to [`notify`].
    pub(crate) fn waiting_word(&self) -> u64 {
        self.waiter.word.load(Relaxed) & !STATE | WAITING
    }

    /// Whether the wait's domain is over.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.waiter.domain().is_some_and(DomainRef::is_over)
    }

    #[inline]
    pub(crate) fn state(&self) -> u64 {
        self.waiter.word.load(Acquire) & STATE
    }

    /// One transition by the owner.
    #[inline]
    pub(super) fn advance(&self, from: u64, to: u64) -> bool {
        self.waiter.advance(from, to)
    }

    /// Ends the wait and says what had come of it. Nobody else acts on this generation afterwards.
    #[inline]
    pub(crate) fn retire(&self) -> u64 {
        let word = self.waiter.word.load(Relaxed);
        // Ordering: AcqRel; a swap and not a store, so that the chain of read-modify-writes that L1 rests on is not broken.
        self.waiter.word.swap(word & !STATE | IDLE, AcqRel) & STATE
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

    /// Puts the waker in its place: before the last look at the state in a poll that may be pending. Tasks only.
    #[inline]
    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.waiter.waker.put(waker);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.state() != IDLE {
            self.retire();
        }
        debug_assert!(self.waiter.place() == Place::None, "a waiter is unlinked before its slot is given back");
        if !self.waiter.is_thread() {
            drop(self.waiter.waker.take());
        }
        if !sys::keep_spare(self.index, give_back) {
            give_back(self.index);
        }
    }
}

/// Gives a slot back that a thread kept.
fn give_back(index: u32) {
    waiters().release(index);
}

/// Ends a wait by its event, if it is still the one that `word` names. Whether it was.
pub(crate) fn notify(index: u32, word: u64) -> bool {
    let waiter = waiter(index);
    // Ordering: Release, partner of the Acquire in `Ticket::state`: the event happened before the owner sees this.
    let won = waiter.word.compare_exchange(word, word & !STATE | NOTIFIED, AcqRel, Relaxed).is_ok();
    if won {
        waiter.wake();
    }
    won
}

/// A wait, as a report sees it.
pub(crate) struct Seen {
    pub(crate) state: u64,
    pub(crate) what: What,
    pub(crate) member: u32,
    pub(crate) monitor: u32,
    pub(crate) condition: u32,
    pub(crate) operation: String,
    pub(crate) object: String,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) location: Option<&'static Location<'static>>,
    pub(crate) age_ms: u64,
}

/// Every wait of the process, read without a lock (L8).
pub(crate) fn look() -> Vec<Seen> {
    let now = sys::coarse_millis();
    waiters().look().filter_map(|(_, waiter)| waiter.look(now)).collect()
}

impl Waiter {
    fn look(&self, now: u64) -> Option<Seen> {
        let word = self.word.load(Acquire);
        let what = What::from_code(self.what.load(Relaxed))?;
        if word & STATE == IDLE {
            return None;
        }
        let location = self.location.load(Relaxed);
        let seen = Seen {
            state: word & STATE,
            what,
            member: self.member.load(Relaxed),
            monitor: self.monitor.load(Relaxed),
            condition: self.condition.load(Relaxed),
            operation: self.operation.get(),
            object: self.object.get(),
            offset: self.offset.load(Relaxed),
            length: self.length.load(Relaxed),
            // SAFETY: what is stored here is null or came from a `&'static Location`, and it is never written through.
            location: unsafe { location.as_ref() },
            age_ms: now.saturating_sub(self.since.load(Relaxed)),
        };
        // The slot may have changed hands meanwhile: then this is a mixture, and is not shown. (The owner retires the word before it writes the
        // next wait's fields. Ordering: the fence keeps the look at the word behind the looks at the fields.)
        sys::plain_fence(Acquire);
        let after = self.word.load(Acquire);
        (after & STATE != IDLE && after & !STATE == word & !STATE).then_some(seen)
    }
}
