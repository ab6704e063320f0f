//! The ring as the engine's kernel, and the thread that owns it: the only one that submits and reaps.
//!
//! # Invariants
//!
//! Those of `flight` and of `engine::owner`, and:
//! - **Guarded**: code of the user's (methods of buffers, wakers, destructors) runs under `catch_unwind`. A panic of the owner itself
//!   cannot be survived (the kernel writes into memory of which only it knows), so it aborts the process.

use std::{io, process, sync::Arc, thread, time::Duration};

use io_uring::{IoUring, cqueue, opcode, types};
use rustix::io::Errno;

use super::{
    Inbox,
    engine::{self, Entry, Key, Landed, Landing, Owner, Sleep},
    flight::Flight,
    setup::{self, BELL, CANCEL},
};
use crate::{
    io::{
        backend::guarded,
        closer,
        op::{Op, Outcome},
    },
    sys::now,
};

/// For so many devices there are permits, so that one which does not answer leaves the others theirs.
const DEVICES: u32 = 4;

struct Kernel {
    ring: IoUring,
    inbox: Arc<Inbox>,
}

/// The thread's function: makes the ring, says whether it works, serves.
pub(super) fn run(inbox: Arc<Inbox>, depth: u32) {
    let permits = DEVICES * depth;
    let ring = match setup::ring(permits, &inbox.outside.bell) {
        Ok(ring) => ring,
        Err(error) => return inbox.outside.tell(|told| told.started = Some(Err(error))),
    };
    let _guard = AbortOnPanic;
    inbox.outside.tell(|told| told.started = Some(Ok(())));
    let kernel = Kernel { ring, inbox: Arc::clone(&inbox) };
    Owner::new(kernel, inbox, depth as usize, permits as usize).serve();
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

impl engine::Operation for Op {
    fn is_done_in_any_case(&self) -> bool {
        matches!(self, Op::Close(..))
    }

    fn device(&self) -> u64 {
        Op::device(self)
    }

    fn is_idle(&self) -> bool {
        self.is_idle_question() && !self.is_wanted()
    }

    fn forget(self) {
        guarded(|| drop(self));
    }

    fn refuse(self) {
        guarded(|| {
            if let Some(fd) = Op::refuse(self) {
                closer::close(fd);
            }
        });
    }
}

impl engine::Flight for Flight {
    type Operation = Op;
    type Outcome = io::Result<Outcome>;

    fn begin(op: Op) -> Option<Self> {
        Flight::begin(op)
    }

    fn bytes(&self) -> usize {
        Flight::bytes(self)
    }

    fn may_be_cancelled(&self) -> bool {
        Flight::may_be_cancelled(self)
    }

    fn is_wanted(&self) -> bool {
        Flight::is_wanted(self)
    }

    fn land(&mut self, result: i32, cancelled: bool) -> Landing<Self::Outcome> {
        Flight::land(self, result, cancelled)
    }

    fn end(self, outcome: Self::Outcome) {
        guarded(|| Flight::end(self, outcome));
    }

    fn cancelled() -> Self::Outcome {
        Err(Errno::CANCELED.into())
    }
}

impl engine::Kernel for Kernel {
    type Flight = Flight;

    unsafe fn push(&mut self, entry: &Entry<'_, Flight>) -> bool {
        let entry = match entry {
            Entry::Work(key, flight) => flight.entry().user_data(key.0),
            Entry::Cancel(key) => opcode::AsyncCancel::new(key.0).build().user_data(CANCEL),
            Entry::Bell => setup::bell_entry(&self.inbox.outside.bell),
        };
        // SAFETY: an entry with addresses or descriptors in it is that of a flight which the caller keeps until its completion was reaped; by Lent its
        // memory is valid until then, and its file is open. The bell's descriptor is the inbox's, which outlives the ring. A cancel has neither.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.is_ok()
    }

    fn enter(&mut self, sleep: &Sleep) -> bool {
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
            Ok(_) | Err(Some(libc::EINTR | libc::ETIME | libc::EBUSY)) => true,
            // The kernel is short of memory. What was not submitted stays in the queue.
            #[expect(
                clippy::disallowed_methods,
                reason = "1 ms between two attempts; the owner looks for work and for its end after each"
            )]
            Err(Some(libc::EAGAIN | libc::ENOMEM)) => {
                thread::sleep(Duration::from_millis(1));
                false
            }
            Err(_) => panic!("io_uring_enter: {entered:?}"),
        }
    }

    fn reap(&mut self) -> Option<Landed> {
        loop {
            let entry = self.ring.completion().next()?;
            match entry.user_data() {
                BELL => return Some(Landed::Bell(cqueue::more(entry.flags()))),
                CANCEL => {}
                key => return Some(Landed::Work(Key(key), entry.result())),
            }
        }
    }
}
