//! Where callers put operations, and how the owner that sleeps hears of it.
//!
//! # Invariants
//!
//! - **No lost wake**: `sleep` is set by the owner, under the inbox's lock, only while the inbox has nothing that it could act on; whoever
//!   changes the inbox looks at it under the same lock, and wakes the owner if it could.
//! - **Deaf**: an owner whose permits are all given out, and which has operations waiting for one already, can do nothing with another; nor
//!   can one that is out of the permits of a device with another for that device. It is woken by a completion, or by its own look after unwanted
//!   ones, and takes the inbox then; until then only a word wakes it, and what is for another device.
//! - **Refused or taken**: an operation is put into the inbox only while `closing` is unset, under the lock; the owner empties
//!   the inbox after it saw `closing`. So none is left there.

use std::time::Instant;

use super::owner::{Left, Operation};
use crate::sys::{Mutex, MutexGuard, PlainU64, Relaxed};

/// What is around: how the owner is woken, and to whom it tells how it ended.
pub trait Outside {
    /// Wakes the owner, which sleeps in the kernel. A ring before it sleeps counts.
    fn ring(&self);

    /// The deadline of a shutdown is over, and so much is still in the kernel's hands. The owner stays until that is back.
    fn lingers(&self, left: Left);

    /// Nothing is in flight, and the kernel was let go.
    fn ended(&self);
}

/// See the head of this file.
pub struct Inbox<O, W> {
    state: Mutex<State<O>>,
    /// What is around.
    pub outside: W,
    /// Operations that the owner has taken and not ended, and bytes that the kernel has, for a shutdown whose owner does not answer. Written by the owner
    /// alone; a figure for people, so relaxed.
    taken: PlainU64,
    in_flight_bytes: PlainU64,
}

/// All under the inbox's lock.
struct State<O> {
    /// Each with its device.
    ops: Vec<(u64, O)>,
    sleep: Option<Deep>,
    /// Nobody will submit again: end when all is done.
    retired: bool,
    /// Nothing is accepted; drain until then.
    closing: Option<Instant>,
}

/// How the owner sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deep {
    /// Anything new wakes it.
    Light,
    /// See Deaf: nothing new does.
    Deaf,
    /// See Deaf: what is for another device does.
    DeafTo(u64),
}

impl Deep {
    /// Whether something new for a device wakes it.
    fn hears(self, device: u64) -> bool {
        match self {
            Deep::Light => true,
            Deep::Deaf => false,
            Deep::DeafTo(deaf) => device != deaf,
        }
    }
}

/// What the inbox says besides operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) retired: bool,
    pub(super) closing: Option<Instant>,
}

impl<O: Operation, W: Outside> Inbox<O, W> {
    /// An empty one.
    pub fn new(outside: W) -> Self {
        Inbox {
            state: Mutex::new(State { ops: Vec::new(), sleep: None, retired: false, closing: None }),
            outside,
            taken: PlainU64::new(0),
            in_flight_bytes: PlainU64::new(0),
        }
    }

    /// Takes an operation.
    ///
    /// # Errors
    ///
    /// Gives it back once the inbox was closed.
    pub fn put(&self, op: O) -> Result<(), O> {
        let device = op.device();
        let mut state = self.state.lock();
        if state.closing.is_some() {
            return Err(op);
        }
        state.ops.push((device, op));
        if state.sleep.is_some_and(|sleep| sleep.hears(device)) {
            self.wake(state);
        }
        Ok(())
    }

    /// Nobody will put anything again: the owner does what is left, and ends.
    pub fn retire(&self) {
        let mut state = self.state.lock();
        state.retired = true;
        self.wake(state);
    }

    /// Refuses what comes from now on, and has the owner end by the deadline. The earliest one holds.
    pub fn close(&self, deadline: Instant) {
        let mut state = self.state.lock();
        state.closing = Some(state.closing.map_or(deadline, |earlier| earlier.min(deadline)));
        self.wake(state);
    }

    /// What the owner has taken and not ended, and what waits here, for whom it does not answer.
    pub fn left(&self) -> Left {
        let waiting = self.state.lock().ops.len();
        Left {
            operations: self.taken.load(Relaxed) as usize + waiting,
            bytes: self.in_flight_bytes.load(Relaxed) as usize,
        }
    }

    /// Lets the changed state go, and wakes the owner if it sleeps.
    fn wake(&self, mut state: MutexGuard<'_, State<O>>) {
        let sleep = state.sleep.take();
        drop(state);
        if sleep.is_some() {
            self.outside.ring();
        }
    }

    /// For the owner: exchanges what came for an empty vector, and is awake.
    pub(super) fn take(&self, taken: &mut Vec<(u64, O)>) -> Word {
        let mut state = self.state.lock();
        state.sleep = None;
        std::mem::swap(&mut state.ops, taken);
        Word { retired: state.retired, closing: state.closing }
    }

    /// For the owner: whether there is nothing that it could act on since it took `seen`. If so it counts as asleep from now on, and what comes
    /// wakes it.
    pub(super) fn fall_asleep(&self, seen: Word, deep: Deep) -> bool {
        let mut state = self.state.lock();
        let nothing_said = Word { retired: state.retired, closing: state.closing } == seen;
        let may_sleep = nothing_said && !state.ops.iter().any(|(device, _)| deep.hears(*device));
        state.sleep = may_sleep.then_some(deep);
        may_sleep
    }

    /// For the owner: what it has taken and not ended.
    pub(super) fn note(&self, left: Left) {
        self.taken.store(left.operations as u64, Relaxed);
        self.in_flight_bytes.store(left.bytes as u64, Relaxed);
    }
}
