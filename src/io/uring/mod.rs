//! The backend on io_uring: one ring, one thread that owns it.
//!
//! # Algorithm
//!
//! Callers put operations into the inbox and go on. The owner (`owner`) alone submits to the ring and reaps from it: the kernel ties work to
//! the thread that submitted it, and a caller's thread that ends or blocks would take its reads with it. A caller wakes the owner only
//! if it sleeps: whoever finds `asleep` set clears it and writes to an eventfd that the ring itself polls, so the owner waits in one
//! place for both completions and callers.
//!
//! # Invariants
//!
//! - **No lost wake**: `asleep` is set by the owner, under the inbox's lock, only while the inbox has nothing new; whoever changes the
//!   inbox takes it under the same lock, and wakes if it was set.
//! - **Refused or taken**: an operation is put into the inbox only while `closing` is unset, under the lock; the owner empties
//!   the inbox after it saw `closing`. So none is left there.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, eventfd};

use super::{
    backend::{Backend, start_thread},
    op::Op,
};
use crate::{
    stop::{Leaked, StartHook},
    sys::{JoinHandle, Mutex, MutexGuard, PlainU64, Relaxed, Signal, join_until, now},
};

mod flight;
mod owner;
mod setup;
mod slab;

/// What the owner is given beyond the deadline of a shutdown to say what is left, before it counts as stuck itself.
const ANSWER: Duration = Duration::from_millis(200);
/// What the set-up and its probe may take before the ring counts as unusable.
const SET_UP: Duration = Duration::from_secs(5);

/// The handle; the owner holds `Inbox` alone.
pub(super) struct Ring {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inbox {
    state: Mutex<State>,
    /// The owner wrote to `started` or `end`.
    told: Signal,
    /// Wakes the owner. Never read, so only ever counted up.
    bell: OwnedFd,
    /// Operations and bytes that the kernel has, for a shutdown whose owner does not answer. Written by the owner alone; a figure for people, so relaxed.
    in_flight: PlainU64,
    in_flight_bytes: PlainU64,
}

/// All under the inbox's lock.
#[derive(Default)]
struct State {
    ops: Vec<Op>,
    asleep: bool,
    /// Nobody will submit again: end when all is done.
    retired: bool,
    /// Nothing is accepted; drain until then.
    closing: Option<Instant>,
    started: Option<io::Result<()>>,
    end: Option<End>,
}

/// What the owner says about the end.
#[derive(Clone, Copy)]
enum End {
    /// Nothing is in flight, the ring is closed, the thread ends.
    Clean,
    /// The deadline came: so much is still in the kernel's hands. The owner stays until that is back, then it frees it and ends.
    Lingers(Leaked),
}

impl Ring {
    /// Makes the ring on its owner's thread, and tries whether it works.
    pub(super) fn start(depth: u32, name: &str, hook: Option<StartHook>) -> io::Result<Arc<Ring>> {
        let inbox = Arc::new(Inbox {
            state: Mutex::new(State::default()),
            told: Signal::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            in_flight: PlainU64::new(0),
            in_flight_bytes: PlainU64::new(0),
        });
        let owners = Arc::clone(&inbox);
        let thread = start_thread(name, hook, move || owner::run(owners, depth))?;
        let mut state = inbox.wait_for(now() + SET_UP, |state| state.started.is_some());
        let Some(result) = state.started.take() else {
            state.retired = true;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "io_uring: the set-up does not return"));
        };
        drop(state);
        if let Err(error) = result {
            join_until(thread, now() + ANSWER);
            return Err(error);
        }
        Ok(Arc::new(Ring { inbox, thread: Mutex::new(Some(thread)) }))
    }
}

impl Backend for Ring {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn submit(&self, op: Op) -> Result<(), Op> {
        let mut state = self.inbox.state.lock();
        if state.closing.is_some() {
            return Err(op);
        }
        state.ops.push(op);
        self.inbox.changed(state);
        Ok(())
    }

    fn retire(&self) {
        let mut state = self.inbox.state.lock();
        state.retired = true;
        self.inbox.changed(state);
    }

    fn close(&self, deadline: Instant) -> Leaked {
        let inbox = &self.inbox;
        let mut state = inbox.state.lock();
        state.closing.get_or_insert(deadline);
        inbox.changed(state);
        let state = inbox.wait_for(deadline.max(now()) + ANSWER, |state| state.end.is_some());
        let (end, waiting) = (state.end, state.ops.len());
        drop(state);
        match end {
            Some(End::Clean) => {
                let thread = self.thread.lock().take();
                // Nothing is in flight, so the thread's end in the kernel waits for nothing; a thread-local of the start hook's may.
                let ended = thread.is_none_or(|thread| join_until(thread, deadline.max(now()) + ANSWER));
                Leaked { threads: usize::from(!ended), ..Leaked::default() }
            }
            Some(End::Lingers(leaked)) => leaked,
            None => Leaked {
                operations: inbox.in_flight.load(Relaxed) as usize + waiting,
                bytes: inbox.in_flight_bytes.load(Relaxed) as usize,
                threads: 1,
            },
        }
    }
}

impl Inbox {
    /// Lets the changed state go, and wakes the owner if it sleeps.
    fn changed(&self, mut state: MutexGuard<'_, State>) {
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.ring_the_bell();
        }
    }

    fn ring_the_bell(&self) {
        // Fails only if the count is at its limit, 2^64 - 2: then it is readable all the same.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits until the owner has told, or until the deadline.
    fn wait_for(&self, deadline: Instant, told: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while !told(&state) && now() < deadline {
            state = self.told.wait_until(state, deadline);
        }
        state
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.told.notify_all();
    }
}
