//! The thread that owns the ring: the only one that submits and reaps.
//!
//! # Algorithm
//!
//! A round: take the inbox; on the word of a shutdown, fail what the kernel was not given and cancel what it was; fill the submission
//! queue as far as there are permits; enter the kernel, to submit and, if the inbox has nothing new, to wait for a completion; reap.
//! When the deadline of a shutdown comes it tells what is left and goes on, without a deadline, until all of that is back: a
//! device that answers late gets its memory freed and the ring closed.
//!
//! # Invariants
//!
//! Those of `flight`, and:
//! - **Slab first**: a flight is in the slab before its entry is pushed, and leaves it only when its completion was reaped, or when its
//!   entry is not in the queue (it waits in `again`). So a completion always finds its flight, and addresses in an entry are valid.
//! - **Permits**: the completion queue has room for one completion and one cancel of each slot of the slab, and for the bell.
//! - **Reaping pushes nothing**: what a completion asks for is noted (`again`, `rearm`) and done by the next round. So a full
//!   submission queue can be emptied by entering and reaping at any point.
//! - **Guarded**: code of the user's (methods of buffers, wakers, destructors) runs under `catch_unwind`. A panic of the owner itself
//!   cannot be survived (the kernel writes into memory of which only it knows), so it aborts the process.

use std::{
    collections::VecDeque,
    io, process,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;

use super::{
    End, Inbox,
    flight::{Flight, Landing},
    setup::{self, BELL, CANCEL},
    slab::{Key, Slab},
};
use crate::{
    io::{backend::guarded, closer, op::Op},
    stop::Leaked,
    sys::{Relaxed, now},
};

/// How often operations that nobody wants any more are looked for while others wait for a permit.
const PRESSURE: Duration = Duration::from_millis(20);
/// What cancels are given to take effect at a shutdown with no time left.
const SETTLE: Duration = Duration::from_millis(1);

struct Owner {
    ring: IoUring,
    inbox: Arc<Inbox>,
    slab: Slab<Flight>,
    /// What its flights amount to.
    bytes: usize,
    /// Taken from the inbox, not yet given to the kernel.
    backlog: VecDeque<Op>,
    /// To be given to the kernel once more.
    again: Vec<Key>,
    /// The poll of the bell ended and has to be armed again.
    rearm: bool,
    reaped: Vec<(u64, i32, u32)>,
    /// Empty between rounds: kept for its memory, which is swapped with the inbox's.
    taken: Vec<Op>,
    stage: Stage,
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

enum Sleep {
    No,
    Until(Instant),
    Long,
}

/// The thread's function: makes the ring, says whether it works, serves.
pub(super) fn run(inbox: Arc<Inbox>, depth: u32) {
    let ring = match setup::ring(depth, &inbox.bell) {
        Ok(ring) => ring,
        Err(error) => return inbox.tell(|state| state.started = Some(Err(error))),
    };
    let _guard = AbortOnPanic;
    inbox.tell(|state| state.started = Some(Ok(())));
    let owner = Owner {
        ring,
        inbox,
        slab: Slab::with_capacity(depth as usize),
        bytes: 0,
        backlog: VecDeque::new(),
        again: Vec::new(),
        rearm: false,
        reaped: Vec::new(),
        taken: Vec::new(),
        stage: Stage::Serving,
    };
    owner.serve();
}

/// See Guarded.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "unwedge: the thread that owns the io_uring panicked; memory that the kernel writes to has lost its owner: aborting"
            );
            process::abort();
        }
    }
}

impl Owner {
    fn serve(mut self) {
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
        let Owner { ring, inbox, .. } = self;
        drop(ring);
        inbox.tell(|state| state.end = Some(End::Clean));
    }

    fn take_inbox(&mut self) {
        let (closing, retired) = {
            let mut state = self.inbox.state.lock();
            state.asleep = false;
            std::mem::swap(&mut state.ops, &mut self.taken);
            (state.closing, state.retired)
        };
        self.backlog.extend(self.taken.drain(..));
        match (self.stage, closing) {
            (Stage::Serving | Stage::Retired, Some(deadline)) => {
                self.stage = Stage::Draining(deadline.max(now() + SETTLE));
                self.refuse_the_backlog();
                self.cancel(|_| true);
            }
            (Stage::Serving, None) if retired => self.stage = Stage::Retired,
            _ => {}
        }
    }

    /// Nothing but closes is begun any more.
    fn refuse_the_backlog(&mut self) {
        let (closes, refused): (Vec<_>, Vec<_>) = self.backlog.drain(..).partition(|op| matches!(op, Op::Close(_)));
        self.backlog.extend(closes);
        for op in refused {
            guarded(|| {
                if let Some(fd) = op.refuse() {
                    closer::close(fd);
                }
            });
        }
    }

    /// Sends a cancel for each flight that may be cancelled, was not yet, and is `chosen`.
    fn cancel(&mut self, chosen: impl Fn(&Flight) -> bool) {
        let mut keys = Vec::new();
        for (key, flight) in self.slab.iter_mut() {
            if flight.may_be_cancelled() && !flight.cancelled && chosen(flight) {
                flight.cancelled = true;
                keys.push(key);
            }
        }
        for key in keys {
            // The flight may have ended meanwhile: the kernel finds nothing to cancel, and says so.
            self.push(&opcode::AsyncCancel::new(key.0).build().user_data(CANCEL));
        }
    }

    /// Gives the kernel what it may have.
    fn fill(&mut self) {
        if std::mem::take(&mut self.rearm) {
            let entry = setup::bell_entry(&self.inbox.bell);
            self.push(&entry);
        }
        while let Some(key) = self.again.pop() {
            let Some(flight) = self.slab.get_mut(key) else { unreachable!("what is to be done again is in the slab") };
            if flight.cancelled {
                self.end(key, Err(Errno::CANCELED.into()));
            } else {
                let entry = flight.entry().user_data(key.0);
                self.push(&entry);
            }
        }
        while !self.slab.is_full() {
            let Some(op) = self.backlog.pop_front() else { return };
            self.begin(op);
        }
        if !self.backlog.is_empty() {
            self.cancel(|flight| !flight.is_wanted());
        }
    }

    fn begin(&mut self, op: Op) {
        if op.is_idle_question() && !op.is_wanted() {
            return guarded(|| drop(op));
        }
        let Some(flight) = Flight::begin(op) else { return };
        self.bytes += flight.bytes();
        let entry = flight.entry();
        let key = self.slab.insert(flight);
        self.push(&entry.user_data(key.0));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: an entry with addresses or descriptors in it is that of a flight which by Slab first is in the slab and stays there until its
            // completion was reaped; by Lent its memory is valid until then, and its file is open. The bell's descriptor is the inbox's,
            // which outlives the ring. A cancel has neither.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            self.enter(&Sleep::No);
            self.reap();
        }
    }

    /// Whether there is something new, and if not for how long to wait for it. What comes after this wakes the owner (No lost wake).
    fn sleep(&self) -> Sleep {
        if self.rearm || !self.again.is_empty() {
            return Sleep::No;
        }
        let mut state = self.inbox.state.lock();
        let news = !state.ops.is_empty()
            || (state.closing.is_some() && matches!(self.stage, Stage::Serving | Stage::Retired))
            || (state.retired && self.stage == Stage::Serving);
        if news {
            return Sleep::No;
        }
        state.asleep = true;
        match self.stage {
            Stage::Draining(deadline) => Sleep::Until(deadline),
            _ if !self.backlog.is_empty() => Sleep::Until(now() + PRESSURE),
            _ => Sleep::Long,
        }
    }

    /// Submits, and waits for a completion as long as told.
    fn enter(&mut self, sleep: &Sleep) {
        self.inbox.in_flight.store(self.slab.len() as u64, Relaxed);
        self.inbox.in_flight_bytes.store(self.bytes as u64, Relaxed);
        let submitter = self.ring.submitter();
        let entered = match sleep {
            Sleep::No => submitter.submit(),
            Sleep::Long => submitter.submit_and_wait(1),
            Sleep::Until(instant) => {
                let patience = types::Timespec::from(instant.saturating_duration_since(now()));
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&patience))
            }
        };
        match entered.as_ref().map_err(io::Error::raw_os_error) {
            // Interrupted, out of time, or completions first.
            Ok(_) | Err(Some(libc::EINTR | libc::ETIME | libc::EBUSY)) => {}
            // The kernel is short of memory. What was not submitted stays in the queue.
            #[expect(
                clippy::disallowed_methods,
                reason = "1 ms between two attempts; the owner looks for work and for its end after each"
            )]
            Err(Some(libc::EAGAIN | libc::ENOMEM)) => thread::sleep(Duration::from_millis(1)),
            Err(_) => panic!("io_uring_enter: {entered:?}"),
        }
    }

    fn reap(&mut self) {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for (user_data, result, flags) in reaped.drain(..) {
            match user_data {
                BELL => self.rearm |= !cqueue::more(flags),
                CANCEL => {}
                key => self.land(Key(key), result),
            }
        }
        self.reaped = reaped;
    }

    fn land(&mut self, key: Key, result: i32) {
        let Some(flight) = self.slab.get_mut(key) else {
            panic!("a completion ({result}) for an operation that is not in flight")
        };
        match flight.land(result) {
            Landing::Again => self.again.push(key),
            Landing::Ended(result) => self.end(key, result),
        }
    }

    fn end(&mut self, key: Key, result: io::Result<crate::io::op::Outcome>) {
        if let Some(flight) = self.slab.remove(key) {
            self.bytes -= flight.bytes();
            guarded(|| flight.end(result));
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
        let left = Leaked { operations: self.slab.len() + self.backlog.len(), bytes: self.bytes, threads: 1 };
        self.inbox.tell(|state| state.end = Some(End::Lingers(left)));
    }
}
