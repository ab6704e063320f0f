//! The backend on io_uring: one ring, one thread that owns it.
//!
//! # Algorithm
//!
//! Callers put operations into the inbox and go on. The owner (`engine::owner`) alone submits to the ring and reaps from it: the kernel ties work to
//! the thread that submitted it, and a caller's thread that ends or blocks would take its reads with it. A caller wakes the owner only
//! if it sleeps: whoever finds it asleep writes to an eventfd that the ring itself polls, so the owner waits in one
//! place for both completions and callers.
//!
//! `engine` is what of this does without the ring: the inbox, the slab and the owner's rounds. `flight` is an operation while the kernel has it,
//! `kernel` the ring and its thread, `setup` finds out whether there is one.

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
use engine::Left;

use crate::{
    stop::{Leaked, StartHook},
    sys::{JoinHandle, Mutex, MutexGuard, Signal, Until, join_by, join_until, now},
};

mod engine;
mod flight;
mod kernel;
mod setup;

/// What the owner is given beyond the deadline of a shutdown to say what is left, before it counts as stuck itself.
const ANSWER: Duration = Duration::from_millis(200);
/// What the set-up and its probe may take before the ring counts as unusable.
const SET_UP: Duration = Duration::from_secs(5);

/// The handle; the owner holds `Inbox` alone.
pub(super) struct Ring {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Inbox = engine::Inbox<Op, Outside>;

/// What is around the inbox.
struct Outside {
    told: Mutex<Told>,
    /// The owner wrote to `told`.
    news: Signal,
    /// Wakes the owner. Never read, so only ever counted up.
    bell: OwnedFd,
}

/// What the owner has said.
#[derive(Default)]
struct Told {
    started: Option<io::Result<()>>,
    end: Option<End>,
    /// Who waits for the end has no more time from then on.
    hurried: Option<Instant>,
}

/// What the owner says about the end.
#[derive(Clone, Copy)]
enum End {
    /// Nothing is in flight, the ring is closed, the thread ends.
    Clean,
    /// The deadline came: so much is still in the kernel's hands. The owner stays until that is back, then it frees it and ends.
    Lingers(Left),
}

impl Ring {
    /// Makes the ring on its owner's thread, and tries whether it works.
    pub(super) fn start(depth: u32, name: &str, hook: Option<StartHook>) -> io::Result<Arc<Ring>> {
        let inbox = Arc::new(Inbox::new(Outside {
            told: Mutex::new(Told::default()),
            news: Signal::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        }));
        let owners = Arc::clone(&inbox);
        let thread = start_thread(name, hook, move || kernel::run(owners, depth))?;
        let started = inbox.outside.wait_for(now() + SET_UP, |told| told.started.is_some()).started.take();
        let Some(result) = started else {
            inbox.retire();
            return Err(io::Error::new(io::ErrorKind::TimedOut, "io_uring: the set-up does not return"));
        };
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
        self.inbox.put(op)
    }

    fn retire(&self) {
        self.inbox.retire();
    }

    fn close(&self, deadline: Instant) -> Leaked {
        self.inbox.close(deadline);
        let end = self.inbox.outside.wait_for(deadline.max(now()) + ANSWER, |told| told.end.is_some()).end;
        let left = match end {
            Some(End::Clean) => {
                let thread = self.thread.lock().take();
                // Nothing is in flight, so the thread's end in the kernel waits for nothing; a thread-local of the start hook's may.
                let ended = thread.is_none_or(|thread| {
                    let until = Until::new(deadline.max(now()) + ANSWER, || self.inbox.outside.is_hurried());
                    join_by(thread, || until.at())
                });
                return Leaked { threads: usize::from(!ended), ..Leaked::default() };
            }
            Some(End::Lingers(left)) => left,
            None => self.inbox.left(),
        };
        Leaked { operations: left.operations, bytes: left.bytes, threads: 1 }
    }

    fn hurry(&self) {
        // The owner tells what it has then, which is what `close` waits for; one that is stuck itself is not waited for.
        self.inbox.close(now());
        self.inbox.outside.tell(|told| told.hurried = told.hurried.or(Some(now())));
    }
}

impl Outside {
    /// Waits until the owner has told, or until the deadline; in a hurry no longer than it takes to answer.
    fn wait_for(&self, deadline: Instant, told: impl Fn(&Told) -> bool) -> MutexGuard<'_, Told> {
        let mut state = self.told.lock();
        loop {
            let deadline = state.hurried.map_or(deadline, |since| deadline.min(since + ANSWER));
            if told(&state) || now() >= deadline {
                return state;
            }
            state = self.news.wait_until(state, deadline);
        }
    }

    fn is_hurried(&self) -> bool {
        self.told.lock().hurried.is_some()
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock());
        self.news.notify_all();
    }
}

impl engine::Outside for Outside {
    fn ring(&self) {
        // Fails only if the count is at its limit, 2^64 - 2: then it is readable all the same.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn lingers(&self, left: Left) {
        self.tell(|told| told.end = Some(End::Lingers(left)));
    }

    fn ended(&self) {
        self.tell(|told| told.end = Some(End::Clean));
    }
}
