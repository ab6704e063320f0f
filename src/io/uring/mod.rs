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
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, eventfd};

use super::{backend::Backend, locked, op::Op};
use crate::{
    stop::Leaked,
    sys::thread::{Hook, spawn_service},
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
    told: Condvar,
    /// Wakes the owner. Never read, so only ever counted up.
    bell: OwnedFd,
    /// Operations and bytes that the kernel has, for a shutdown whose owner does not answer. Written by the owner alone; a figure for people, so relaxed.
    in_flight: AtomicUsize,
    in_flight_bytes: AtomicUsize,
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
    pub(super) fn start(depth: u32, hook: Hook) -> io::Result<Arc<Ring>> {
        let inbox = Arc::new(Inbox {
            state: Mutex::default(),
            told: Condvar::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            in_flight: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
        });
        let owners = Arc::clone(&inbox);
        let thread = spawn_service("uw-ring", hook, move || owner::run(owners, depth))?;
        let (mut state, _) = inbox
            .told
            .wait_timeout_while(locked(&inbox.state), SET_UP, |state| state.started.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let Some(result) = state.started.take() else {
            state.retired = true;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "io_uring: the set-up does not return"));
        };
        drop(state);
        if let Err(error) = result {
            drop(thread.join());
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
        let mut state = locked(&self.inbox.state);
        if state.closing.is_some() {
            return Err(op);
        }
        state.ops.push(op);
        self.inbox.changed(state);
        Ok(())
    }

    fn retire(&self) {
        let mut state = locked(&self.inbox.state);
        state.retired = true;
        self.inbox.changed(state);
    }

    fn close(&self, deadline: Instant) -> Leaked {
        let inbox = &self.inbox;
        let mut state = locked(&inbox.state);
        state.closing.get_or_insert(deadline);
        inbox.changed(state);
        let patience = (deadline + ANSWER).saturating_duration_since(Instant::now()).max(ANSWER);
        let (state, _) = inbox
            .told
            .wait_timeout_while(locked(&inbox.state), patience, |state| state.end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let (end, waiting) = (state.end, state.ops.len());
        drop(state);
        match end {
            Some(End::Clean) => {
                if let Some(thread) = locked(&self.thread).take() {
                    // Nothing is in flight, so the thread's end in the kernel waits for nothing.
                    drop(thread.join());
                }
                Leaked::default()
            }
            Some(End::Lingers(leaked)) => leaked,
            None => Leaked {
                operations: inbox.in_flight.load(Relaxed) + waiting,
                bytes: inbox.in_flight_bytes.load(Relaxed),
                threads: 1,
            },
        }
    }
}

impl Inbox {
    /// Lets the changed state go, and wakes the owner if it sleeps.
    fn changed(&self, mut state: std::sync::MutexGuard<'_, State>) {
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

    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut locked(&self.state));
        self.told.notify_all();
    }
}
