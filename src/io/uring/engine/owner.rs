//! The owner's rounds: the only code that gives the kernel work and takes results from it. One thread runs it.
//!
//! # Algorithm
//!
//! A round: take the inbox; on the word of a shutdown, fail what the kernel was not given and cancel what it was; fill the submission
//! queue as far as there are permits (each device has some, all together have more: see `backlog`), and submit every few entries; enter the kernel, to submit
//! the rest and, if the inbox has nothing new, to wait for a completion; reap.
//! When the deadline of a shutdown comes it tells what is left and goes on, without a deadline, until all of that is back: a
//! device that answers late gets its memory freed and the ring closed.
//!
//! While operations wait for a permit, those in flight that nobody wants any more are cancelled; they are looked for every [`PRESSURE`] and
//! no more often, because that look takes longer than a round.
//!
//! # Invariants
//!
//! - **Slab first**: a flight is in the slab before its entry is pushed, and leaves it only when its completion was reaped, or when its
//!   entry is not in the queue (it waits in `again`). So a completion always finds its flight, and addresses in an entry are valid.
//! - **Permits**: the completion queue has room for one completion and one cancel of each slot of the slab, and for the bell.
//! - **Reaping pushes nothing**: what a completion asks for is noted (`again`, `rearm`) and done by the next round. So a full
//!   submission queue can be emptied by entering and reaping at any point.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    backlog::Backlog,
    inbox::{Deep, Inbox, Outside, Word},
    slab::{Key, Slab},
};
use crate::sys::now;

/// How often operations that nobody wants any more are looked for while others wait for a permit.
const PRESSURE: Duration = Duration::from_millis(20);
/// So many are submitted at a time: a device that brought many results at once has the first of the next before the last is prepared. (In a model two,
/// so that the second operation finds a queue that is full, and then ends a part.)
const PART: usize = if cfg!(unwedge_loom) { 2 } else { 4 };
/// What cancels are given to take effect at a shutdown with no time left.
const SETTLE: Duration = Duration::from_millis(1);

/// What was asked for, before the kernel has it. Code of the user's that these run (methods and destructors of buffers, wakers) must not unwind out
/// of them.
pub trait Operation: Sized {
    /// Whether it is done even after a shutdown has begun: a close.
    fn is_done_in_any_case(&self) -> bool;

    /// Whether it may be dropped: nobody wants its result, and it changes nothing.
    fn is_idle(&self) -> bool;

    /// Drops it, idle.
    fn forget(self);

    /// Ends it unbegun, because of the shutdown.
    fn refuse(self);

    /// On what it may get stuck: a number for it. Asked once, by the caller who puts it into the inbox, so that it must not block.
    fn device(&self) -> u64;
}

/// An operation while the kernel has it. What [`Operation`] says of the user's code holds here too.
pub trait Flight: Sized {
    /// What it was before.
    type Operation: Operation;
    /// How it ended.
    type Outcome;

    /// Makes it ready for the kernel; `None` if that failed, and it has ended.
    fn begin(op: Self::Operation) -> Option<Self>;

    /// The bytes of memory that the kernel may use.
    fn bytes(&self) -> usize;

    /// Whether a cancel may be sent.
    fn may_be_cancelled(&self) -> bool;

    /// Whether anybody waits for the result.
    fn is_wanted(&self) -> bool;

    /// Takes the result of a completion. `cancelled`: a cancel was sent, so that "cancelled" is an answer and not an accident.
    fn land(&mut self, result: i32, cancelled: bool) -> Landing<Self::Outcome>;

    /// Ends it. Only when the kernel is through with it, or never had it.
    fn end(self, outcome: Self::Outcome);

    /// How one ends that was to be given to the kernel once more, and was cancelled meanwhile.
    fn cancelled() -> Self::Outcome;
}

/// What a completion means for its operation.
#[derive(Debug)]
pub enum Landing<T> {
    /// It is over.
    Ended(T),
    /// It is to be given to the kernel once more, under the same key.
    Again,
}

/// The kernel, with the queues to and from it.
pub trait Kernel {
    /// What it works on.
    type Flight: Flight;

    /// Puts an entry into the submission queue; `false` if that is full.
    ///
    /// # Safety
    ///
    /// A flight that is pushed must stay alive, unended, until the completion for it was reaped.
    unsafe fn push(&mut self, entry: &Entry<'_, Self::Flight>) -> bool;

    /// Submits, and waits for a completion or the bell as long as told, or shorter. `false`: it was short of memory, which took a while.
    fn enter(&mut self, sleep: &Sleep) -> bool;

    /// Takes a completion, if there is one. The results of cancels are not among them.
    fn reap(&mut self) -> Option<Landed>;
}

/// What the kernel is given.
#[derive(Debug)]
pub enum Entry<'a, F> {
    /// Work, and the key that comes back with its result.
    Work(Key, &'a F),
    /// A cancel for what has this key. If that has ended meanwhile, the kernel finds nothing to cancel.
    Cancel(Key),
    /// Waits for the bell.
    Bell,
}

/// What comes back.
#[derive(Clone, Copy, Debug)]
pub enum Landed {
    /// A result for the operation with this key.
    Work(Key, i32),
    /// The bell was rung, or the wait for it ended: whether it goes on.
    Bell(bool),
}

/// How long to wait in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// Not at all.
    No,
    /// Until then.
    Until(Instant),
    /// As long as it takes.
    Long,
}

/// What the kernel still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Operations.
    pub operations: usize,
    /// Bytes of their memory.
    pub bytes: usize,
}

struct Lodged<F> {
    flight: F,
    device: u64,
    /// A cancel of ours was sent.
    cancelled: bool,
}

/// An [`Entry`] that is still to be made.
#[derive(Clone, Copy)]
enum Push {
    Work(Key),
    Cancel(Key),
    Bell,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No handle is left: ends when nothing is in flight.
    Retired,
    Draining(Instant),
    /// The deadline is over and what was left was told.
    Lingering,
}

type OperationOf<K> = <<K as Kernel>::Flight as Flight>::Operation;

/// See the head of this file.
pub struct Owner<K: Kernel, W> {
    kernel: K,
    inbox: Arc<Inbox<OperationOf<K>, W>>,
    slab: Slab<Lodged<K::Flight>>,
    /// What its flights amount to.
    bytes: usize,
    /// Taken from the inbox, not yet given to the kernel.
    backlog: Backlog<OperationOf<K>>,
    /// To be given to the kernel once more.
    again: Vec<Key>,
    /// The wait for the bell ended and has to be begun again.
    rearm: bool,
    /// Empty between rounds: kept for its memory, which is swapped with the inbox's.
    taken: Vec<(u64, OperationOf<K>)>,
    /// What the inbox said last.
    word: Word,
    stage: Stage,
    /// While there is a backlog: when to look again for what nobody wants.
    pressure: Option<Instant>,
}

impl<K: Kernel, W: Outside> Owner<K, W> {
    /// With so many permits for each device and for all together, and a kernel that waits for the bell already.
    pub fn new(kernel: K, inbox: Arc<Inbox<OperationOf<K>, W>>, each: usize, all: usize) -> Self {
        Owner {
            kernel,
            inbox,
            slab: Slab::with_capacity(all),
            bytes: 0,
            backlog: Backlog::new(each),
            again: Vec::new(),
            rearm: false,
            taken: Vec::new(),
            word: Word { retired: false, closing: None },
            stage: Stage::Serving,
            pressure: None,
        }
    }

    /// Serves until the inbox was closed or retired, and nothing is in flight any more.
    pub fn serve(mut self) {
        loop {
            self.take_inbox();
            self.fill();
            if self.is_over() {
                break;
            }
            let sleep = self.sleep();
            self.enter(&sleep);
            self.reap();
            self.look_at_the_clock();
        }
        let Owner { kernel, inbox, .. } = self;
        drop(kernel);
        inbox.outside.ended();
    }

    fn take_inbox(&mut self) {
        self.word = self.inbox.take(&mut self.taken);
        for (device, op) in self.taken.drain(..) {
            self.backlog.push(device, op);
        }
        match (self.stage, self.word.closing) {
            (Stage::Serving | Stage::Retired, Some(deadline)) => {
                self.stage = Stage::Draining(deadline.max(now() + SETTLE));
                self.refuse_the_backlog();
                self.cancel(|_| true);
            }
            // Hurried: the time that is left is no more than what it takes to settle.
            (Stage::Draining(by), Some(deadline)) if deadline < by => {
                self.stage = Stage::Draining(by.min(deadline.max(now() + SETTLE)));
            }
            (Stage::Serving, None) if self.word.retired => self.stage = Stage::Retired,
            _ => {}
        }
    }

    /// Nothing but closes is begun any more.
    fn refuse_the_backlog(&mut self) {
        for (device, op) in self.backlog.take() {
            if op.is_done_in_any_case() {
                self.backlog.push(device, op);
            } else {
                op.refuse();
            }
        }
    }

    /// Sends a cancel for each flight that may be cancelled, was not yet, and is `chosen`.
    fn cancel(&mut self, chosen: impl Fn(&K::Flight) -> bool) {
        let mut keys = Vec::new();
        for (key, lodged) in self.slab.iter_mut() {
            if lodged.flight.may_be_cancelled() && !lodged.cancelled && chosen(&lodged.flight) {
                lodged.cancelled = true;
                keys.push(key);
            }
        }
        for key in keys {
            self.push(Push::Cancel(key));
        }
    }

    /// Gives the kernel what it may have.
    fn fill(&mut self) {
        if std::mem::take(&mut self.rearm) {
            self.push(Push::Bell);
        }
        while let Some(key) = self.again.pop() {
            let Some(lodged) = self.slab.get_mut(key) else { unreachable!("what is to be done again is in the slab") };
            if lodged.cancelled {
                self.end(key, K::Flight::cancelled());
            } else {
                self.push(Push::Work(key));
            }
        }
        let mut part = PART;
        while !self.slab.is_full() {
            let Some((device, op)) = self.backlog.next() else { break };
            if !self.begin(device, op) {
                self.backlog.ended(device);
                continue;
            }
            part -= 1;
            if part == 0 {
                if !self.enter(&Sleep::No) {
                    // The next round goes on, once it has heard what there is.
                    break;
                }
                part = PART;
            }
        }
        self.relieve();
    }

    /// If operations wait for a permit, takes it from those in flight that nobody waits for, and forgets those that wait for a dead device and that nobody waits
    /// for any more: none of its ends may ever come. After the word of a shutdown all that may be cancelled was, and nothing waits that may be forgotten.
    fn relieve(&mut self) {
        if self.backlog.is_empty() || self.word.closing.is_some() {
            self.pressure = None;
        } else if self.pressure.is_none_or(|at| at <= now()) {
            self.pressure = Some(now() + PRESSURE);
            self.cancel(|flight| !flight.is_wanted());
            self.backlog.sweep(Operation::is_idle).into_iter().for_each(Operation::forget);
        }
    }

    /// Whether the kernel has it now. If not, it has ended.
    fn begin(&mut self, device: u64, op: OperationOf<K>) -> bool {
        if op.is_idle() {
            op.forget();
            return false;
        }
        let Some(flight) = K::Flight::begin(op) else { return false };
        self.bytes += flight.bytes();
        let key = self.slab.insert(Lodged { flight, device, cancelled: false });
        self.push(Push::Work(key));
        true
    }

    /// Pushes an entry. There is room sooner or later: entering takes what is in the queue.
    fn push(&mut self, what: Push) {
        loop {
            let entry = match what {
                Push::Work(key) => match self.slab.get_mut(key) {
                    Some(lodged) => Entry::Work(key, &lodged.flight),
                    None => unreachable!("what is pushed is in the slab"),
                },
                Push::Cancel(key) => Entry::Cancel(key),
                Push::Bell => Entry::Bell,
            };
            // SAFETY: a flight in an entry is by Slab first in the slab, and stays there until its completion was reaped. Only `end` takes it out: after
            // the completion (`land`), or for one that waits in `again`, whose completion came before.
            if unsafe { self.kernel.push(&entry) } {
                return;
            }
            self.enter(&Sleep::No);
            self.reap();
        }
    }

    /// Whether there is something new, and if not for how long to wait for it. What comes after this wakes the owner (No lost wake).
    fn sleep(&self) -> Sleep {
        // With a backlog permits are given out, and `pressure` says when to look again.
        let deep = match self.pressure {
            Some(_) if self.slab.is_full() => Deep::Deaf,
            Some(_) => self.backlog.fullest().map_or(Deep::Light, Deep::DeafTo),
            None => Deep::Light,
        };
        // `relieve` may have reaped, where its cancels filled the submission queue.
        let may_begin = self.backlog.has_ready() && !self.slab.is_full();
        if may_begin || self.rearm || !self.again.is_empty() || !self.inbox.fall_asleep(self.word, deep) {
            return Sleep::No;
        }
        match (self.stage, self.pressure) {
            (Stage::Draining(deadline), _) => Sleep::Until(deadline),
            (_, Some(at)) => Sleep::Until(at),
            _ => Sleep::Long,
        }
    }

    fn enter(&mut self, sleep: &Sleep) -> bool {
        self.inbox.note(self.left());
        self.kernel.enter(sleep)
    }

    fn reap(&mut self) {
        while let Some(landed) = self.kernel.reap() {
            match landed {
                Landed::Work(key, result) => self.land(key, result),
                Landed::Bell(goes_on) => self.rearm |= !goes_on,
            }
        }
    }

    fn land(&mut self, key: Key, result: i32) {
        let Some(lodged) = self.slab.get_mut(key) else {
            panic!("a completion ({result}) for an operation that is not in flight")
        };
        match lodged.flight.land(result, lodged.cancelled) {
            Landing::Again => self.again.push(key),
            Landing::Ended(outcome) => self.end(key, outcome),
        }
    }

    fn end(&mut self, key: Key, outcome: <K::Flight as Flight>::Outcome) {
        if let Some(lodged) = self.slab.remove(key) {
            self.bytes -= lodged.flight.bytes();
            self.backlog.ended(lodged.device);
            lodged.flight.end(outcome);
        }
    }

    fn is_over(&self) -> bool {
        self.stage != Stage::Serving && self.slab.is_empty() && self.backlog.is_empty()
    }

    fn look_at_the_clock(&mut self) {
        let Stage::Draining(deadline) = self.stage else { return };
        if now() < deadline || (self.slab.is_empty() && self.backlog.is_empty()) {
            return;
        }
        self.stage = Stage::Lingering;
        self.inbox.outside.lingers(self.left());
    }

    /// What the kernel has and what waits for it.
    fn left(&self) -> Left {
        Left { operations: self.slab.len() + self.backlog.len(), bytes: self.bytes }
    }
}
