//! One waiter, a thread or a task, and its state word.
//!
//! # The state word
//! The low three bits are the state, the next says whether the slot owns a task's waker, the rest is a count: it differs from wait to wait in the same
//! slot, and from waker to waker, so that whoever acts late fails its compare-and-swap. Every race of a wake-up, a stop, a timeout and a drop is a race on
//! this word, and exactly one wins (L5).
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
//! | `IDLE` | `WAITING`, `QUEUED` | owner | store, with a new count |
//! | `WAITING` | `NOTIFIED` | who notifies or completes | compare-and-swap, then wake |
//! | `WAITING` | `QUEUED` | who notifies a thread (wait morphing), or the owner at its deadline | compare-and-swap |
//! | `WAITING` | `TURN` | who notifies a task | compare-and-swap, then wake |
//! | `QUEUED` | `TURN` | who unlocks, under the line's lock | compare-and-swap, then wake |
//! | `TURN` | `QUEUED` | owner, when the lock was not free, under the line's lock | compare-and-swap |
//! | `WAITING`, `QUEUED`, `TURN` | `STOPPED` | a stop | compare-and-swap, then wake |
//! | any | `IDLE` | owner | swap: what it finds is the outcome |
//! | `NOTIFIED` | `IDLE` | owner | store: nobody else changes a final word without `WAKER` |
//!
//! `WAKER` is set by the owner in `WAITING` and `QUEUED`, each time with a new count, and taken off by the steps that wake and by the owner; `STOPPED`
//! keeps it until the stop has ended every wait, and then has a step of its own for it (see [`stop_all`]).
//!
//! # Why nobody is stranded (L1)
//! A waiter stores its word and *then* looks at its domain's flag. A stop sets the flag and *then* looks at the word of every slot
//! ([`stop_all`]). Between the two each passes its side of the asymmetric barrier (`sys::light`, `sys::heavy`), so that either the stop finds the
//! waiter, or the waiter finds the flag. The model `law1_stop_reaches_every_wait` fails where the flag is looked at before the word is published, and
//! `twin_publish_without_a_barrier` where the barrier is left out.
//!
//! # Wakers (L6)
//! A task's waker lies in `waker`. It is put there before the state is looked at for the last time in a poll. Wakers are cloned, dropped and
//! woken with no lock held. A stop wakes no task before it has ended every wait, also none to which it passes on what a stopped one had taken.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::task::Waker;

use super::condition::Condition;
use super::debtor::Debtor;
use super::line::MonitorCell;
use super::waker::WakerWords;
use crate::registry::arena::arena;
use crate::registry::domain::{DomainCell, DomainRef};
use crate::registry::link::Link;
use crate::registry::text::Text;
use crate::sys::{self, AcqRel, Acquire, AtomicU64, Parker, PlainPtr, PlainU8, PlainU32, PlainU64, Relaxed, Release};

pub(crate) const IDLE: u64 = 0;
pub(crate) const WAITING: u64 = 1;
pub(crate) const QUEUED: u64 = 2;
pub(crate) const TURN: u64 = 3;
pub(crate) const NOTIFIED: u64 = 4;
pub(crate) const STOPPED: u64 = 5;

pub(super) const STATE: u64 = 7;
/// The slot owns a waker.
pub(super) const WAKER: u64 = 8;
/// One of the count.
pub(super) const COUNT: u64 = 16;

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

/// In which list a waiter is linked. Guarded by the lock of that list; moves from `Condition` to `Line` under both.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    None = 0,
    Condition = 1,
    Line = 2,
}

/// A slot. See the head of this file.
///
/// # Cache lines
/// Slots share no line. The first has what a task's wait for a completion is ended by, and all that a stop of thousands looks at; the second what moves a waiter
/// from list to list and wakes a thread; the others what a report says.
#[repr(C, align(64))]
pub(crate) struct Waiter {
    pub(super) word: AtomicU64,
    pub(super) waker: WakerWords,
    pub(super) domain: Link<DomainCell>,
    pub(super) domain_live: PlainU64,
    /// The count with which this wait began: whom a completer means. Set by the owner before the word is published.
    pub(super) began: PlainU64,
    /// When a task was woken, in coarse nanoseconds. Written by who is about to wake it.
    pub(super) woken: PlainU64,
    pub(super) kind: PlainU8,
    place: PlainU8,
    /// Whether it wants the lock for reading.
    pub(super) shared: PlainU8,
    pub(super) what: PlainU8,
    /// Its own place in the arena. Written by who claims it.
    index: PlainU32,
    pub(super) parker: Parker,
    // Links: guarded by the lock of the list that `place` names; `next` is its thread's while nobody waits here (see `spare`).
    pub(super) next: Link<Waiter>,
    pub(super) prev: Link<Waiter>,
    /// The monitor whose lock it takes after its event. Set before the word is published.
    pub(super) monitor: Link<MonitorCell>,
    /// The condition variable it waits on.
    pub(super) condition: Link<Condition>,
    /// The condition variable whose `notify_one` it consumed: to whom it goes on if a stop comes in between (L3). Set before `QUEUED`.
    pub(super) passing: Link<Condition>,
    /// How often its turn came too late: see `pending`. The owner's alone.
    pub(super) overtaken: PlainU32,
    /// Who owes what it waits for, and in which wait: see [`Debtor`].
    debtor: PlainU64,
    // What a report says of it besides. Written by the owner before the word is published.
    /// A [`MemberRef`](crate::registry::member::MemberRef) as a word.
    pub(super) member: PlainU64,
    pub(super) location: PlainPtr<Location<'static>>,
    /// In coarse nanoseconds.
    pub(super) since: PlainU64,
    pub(super) operation: Text<2>,
    pub(super) offset: PlainU64,
    pub(super) length: PlainU64,
    pub(super) object: Text<6>,
}

arena!(
    /// Every wait of the process.
    waiters: Waiter = || Waiter {
        word: AtomicU64::new(IDLE),
        waker: WakerWords::new(),
        domain: Link::new(),
        domain_live: PlainU64::new(0),
        began: PlainU64::new(0),
        woken: PlainU64::new(0),
        kind: PlainU8::new(0),
        place: PlainU8::new(0),
        shared: PlainU8::new(0),
        what: PlainU8::new(0),
        index: PlainU32::new(0),
        parker: Parker::new(),
        next: Link::new(),
        prev: Link::new(),
        monitor: Link::new(),
        condition: Link::new(),
        passing: Link::new(),
        overtaken: PlainU32::new(0),
        debtor: PlainU64::new(0),
        member: PlainU64::new(0),
        location: PlainPtr::new(std::ptr::null_mut()),
        since: PlainU64::new(0),
        operation: Text::new(),
        offset: PlainU64::new(0),
        length: PlainU64::new(0),
        object: Text::new(),
    }
);

/// Whom a step has woken, and who is to be told: with no lock held (L6).
#[must_use = "who had its event sleeps until it is told"]
pub(crate) enum Wake {
    Thread(&'static Waiter),
    Task(Waker),
    /// A task that has not been polled since it began to wait: its first poll looks at the state.
    Later,
}

impl Wake {
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            Wake::Thread(waiter) => waiter.parker.unpark(),
            // A panic of a waker strands nobody (L6).
            Wake::Task(waker) => contain(|| waker.wake()),
            Wake::Later => {}
        }
    }
}

impl Waiter {
    /// A slot for the caller alone.
    #[cold]
    pub(super) fn claim() -> &'static Waiter {
        let index = waiters().claim();
        let waiter = waiters().get(index);
        waiter.index.store(index, Relaxed);
        waiter
    }

    /// Its own place in the arena.
    #[inline]
    pub(super) fn index(&self) -> u32 {
        self.index.load(Relaxed)
    }

    /// Where it is linked. Under the lock of a list in which it may be; or by its owner, for whom `None` is final once nobody can link it any
    /// more.
    #[inline]
    pub(super) fn place(&self) -> Place {
        // Ordering: Acquire, partner of the Release in `set_place`: an owner who finds itself taken out goes after all that was done to the links.
        match self.place.load(Acquire) {
            0 => Place::None,
            1 => Place::Condition,
            _ => Place::Line,
        }
    }

    #[inline]
    pub(super) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Release);
    }

    #[inline]
    pub(super) fn is_thread(&self) -> bool {
        self.kind.load(Relaxed) == Kind::Thread as u8
    }

    #[inline]
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Relaxed) != 0
    }

    /// The state, and whether it is still that, under the line's lock.
    pub(super) fn is(&self, state: u64) -> bool {
        self.word.load(Acquire) & STATE == state
    }

    /// One transition that wakes nobody, in whatever wait there is: by the owner, or by one who knows by a list's lock that the slot's occupant is the
    /// one it means.
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

    /// One transition by somebody other than the owner, after which the owner is to be woken: under the same conditions as [`advance`](Self::advance).
    #[inline]
    pub(super) fn rouse(&'static self, from: u64, to: u64) -> Option<Wake> {
        self.rouse_by(from, |word| self.rouse_from(word, to))
    }

    /// The same for what is known to be a task.
    #[inline]
    pub(super) fn rouse_task(&'static self, from: u64, to: u64) -> Option<Wake> {
        self.rouse_by(from, |word| self.rouse_task_from(word, to))
    }

    #[inline]
    fn rouse_by(&'static self, from: u64, step: impl Fn(u64) -> Result<Wake, u64>) -> Option<Wake> {
        let mut word = self.word.load(Acquire);
        while word & STATE == from {
            match step(word) {
                Ok(wake) => return Some(wake),
                Err(now) => word = now,
            }
        }
        None
    }

    /// The step itself, from the word as it was read. `Err` with what the word is instead.
    #[inline]
    fn rouse_from(&'static self, word: u64, to: u64) -> Result<Wake, u64> {
        if !self.is_thread() {
            return self.rouse_task_from(word, to);
        }
        // Ordering: AcqRel, as in `advance`.
        self.word.compare_exchange(word, word & !STATE | to, AcqRel, Acquire)?;
        Ok(Wake::Thread(self))
    }

    /// The same for a task.
    #[inline]
    fn rouse_task_from(&'static self, word: u64, to: u64) -> Result<Wake, u64> {
        let copy = self.waker.copy();
        self.woken.store(sys::coarse_nanos(), Relaxed);
        // Ordering: AcqRel, as in `advance`; Acquire also for the waker.
        self.word.compare_exchange(word, word & !(STATE | WAKER) | to, AcqRel, Acquire)?;
        Ok(if word & WAKER != 0 {
            // SAFETY: the copy was made after `word` was read with `WAKER` set, and the step above took it off that very word.
            Wake::Task(unsafe { copy.into_waker() })
        } else {
            Wake::Later
        })
    }

    /// Says who owes what is waited for, in the wait that began with this count. In any other one it means nothing.
    pub(crate) fn set_debtor(&self, debtor: Debtor, began: u64) {
        self.debtor.store(debtor.in_wait(began), Relaxed);
    }

    /// Who owes what is waited for, in the wait that began with this count.
    pub(super) fn debtor(&self, began: u64) -> Debtor {
        Debtor::of_wait(self.debtor.load(Relaxed), began)
    }

    #[inline]
    fn domain(&self) -> Option<DomainRef> {
        DomainRef::from_parts(self.domain.get(), self.domain_live.load(Relaxed))
    }

    /// Whether the wait's domain is over. By the owner.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.domain().is_some_and(DomainRef::is_over)
    }

    /// Ends the wait if its domain is over. Whether there is a task to be woken, also one whose wait another stop has ended: that one may sit in a waker. Tasks to
    /// which something was passed on are to be woken later, too.
    fn stop(&self, passed_on: &mut Vec<Wake>) -> bool {
        // Ordering: Acquire, partner of the Release in `Ticket::begin`: the fields are this wait's. That it is not missed is the barrier's doing.
        let mut word = self.word.load(Acquire);
        loop {
            let state = word & STATE;
            if !matches!(state, WAITING | QUEUED | TURN) {
                return word & (STATE | WAKER) == STOPPED | WAKER;
            }
            // Read after the word: of this wait, or the compare-and-swap below fails.
            if !self.is_over() {
                return false;
            }
            // Of no use in `WAITING`, and in a cache line of their own.
            let (passing, monitor) =
                if state == WAITING { (None, None) } else { (self.passing.get(), self.monitor.get()) };
            let is_thread = self.is_thread();
            match self.word.compare_exchange(word, word & !STATE | STOPPED, AcqRel, Acquire) {
                Ok(_) => {
                    if is_thread {
                        self.parker.unpark();
                    }
                    if state != WAITING {
                        for wake in super::pass_on(passing, monitor, state == TURN) {
                            match wake {
                                Wake::Task(_) => passed_on.push(wake),
                                wake => wake.wake(),
                            }
                        }
                    }
                    return word & WAKER != 0;
                }
                Err(now) => word = now,
            }
        }
    }
}

/// Runs a waker's, hook's or callback's code; a panic of it strands nobody (L6) and is reported by the panic hook alone.
///
/// What it panicked with may panic in turn when it is dropped.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    }
}

/// A stop asks for the memory of so many slots, and of their tasks, before it comes to them: that of thousands lies on other cores, and to wait for it, one after
/// the other, was a third of what it did.
const AHEAD: usize = 8;

/// Ends every wait whose domain is over. The flags were set before.
pub(crate) fn stop_all() {
    sys::heavy();
    let (mut tasks, mut passed_on) = (false, Vec::new());
    let scan = waiters().scan();
    let mut ahead = scan.clone().skip(AHEAD);
    for waiter in scan {
        sys::bring_for_writing(|| Some(std::ptr::from_ref(ahead.next()?).cast()));
        tasks |= waiter.stop(&mut passed_on);
    }
    // Wakers are foreign code: one that blocks keeps nobody from being stopped, and no thread from being woken. First those that are only here: who is stopped
    // keeps its waker, for another stop that comes to it.
    passed_on.into_iter().for_each(Wake::wake);
    if tasks {
        // None of those is missed because its slot seems to be given back: who has the slot took that bit off before it published the word that was seen above.
        let has_waker = |word: u64| word & (STATE | WAKER) == STOPPED | WAKER;
        let slots = waiters().look();
        let mut ahead = slots.clone().skip(AHEAD);
        for (_, waiter) in slots {
            sys::bring_for_writing(|| {
                let (_, later) = ahead.next()?;
                has_waker(later.word.load(Relaxed)).then(|| later.waker.task())
            });
            let word = waiter.word.load(Acquire);
            if has_waker(word) {
                // Who fails here was overtaken by the owner, which knows of its stop.
                if let Ok(wake) = waiter.rouse_from(word, STOPPED) {
                    wake.wake();
                }
            }
        }
    }
}

/// Wakes everybody who sleeps with a deadline: the model's clock has moved.
#[cfg(unwedge_loom)]
pub(crate) fn wake_all() {
    for waiter in waiters().scan() {
        waiter.parker.unpark();
    }
}

/// One wait, to be ended by its event: what a completer is given.
#[derive(Clone, Copy)]
pub(crate) struct Watcher {
    waiter: &'static Waiter,
    began: u64,
}

impl Watcher {
    #[inline]
    pub(super) fn new(waiter: &'static Waiter) -> Self {
        Watcher { waiter, began: waiter.began.load(Relaxed) }
    }

    /// As two words.
    #[inline]
    pub(crate) fn parts(self) -> (&'static Waiter, u64) {
        (self.waiter, self.began)
    }

    /// From the two words of one watcher.
    #[inline]
    pub(crate) fn from_parts(waiter: &'static Waiter, began: u64) -> Self {
        Watcher { waiter, began }
    }

    /// Ends the wait by its event, if it is still that wait. Whether it was.
    pub(crate) fn notify(self) -> bool {
        let mut word = self.waiter.word.load(Acquire);
        // Which wait this is, is read after the word: if it is another one by now, the step below fails.
        while word & STATE == WAITING && self.waiter.began.load(Relaxed) == self.began {
            match self.waiter.rouse_from(word, NOTIFIED) {
                Ok(wake) => {
                    wake.wake();
                    return true;
                }
                Err(now) => word = now,
            }
        }
        false
    }
}
