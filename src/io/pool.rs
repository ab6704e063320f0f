//! A pool of threads: the backend where there is no io_uring, and where jobs run in any case.
//!
//! # Algorithm
//!
//! One queue under one lock. A thread is added when work comes and none is idle, up to the base number. Beyond that the pool grows only when
//! it is stuck: a supervisor looks every [`STUCK`] whether the queue moved, and adds a thread if it did not, up to [`MOST_THREADS`]. So a
//! few reads on a dead mount do not keep the others from being done, and a busy pool stays small. Threads above the base end when they find no work.
//!
//! # Invariants
//!
//! - **Kept**: a thread owns the operation that it performs until the call has returned (law L4). Nobody takes it away: a shutdown that
//!   runs out of time counts such threads and leaves them, and they free what they own when the kernel lets them go.
//! - **Counted**: `live` counts the threads that have not yet taken leave under the lock, `busy` those of them that perform something. A
//!   thread that is not busy takes leave without anybody's help once `ending` is set.
//! - **Unlocked**: no operation is performed, finished or dropped with the lock held (law L6).

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;

use super::{
    backend::{Backend, guarded, start_thread},
    closer,
    op::{MOST, Op, Outcome},
};
use crate::{
    stop::{Leaked, StartHook},
    sys::{JoinHandle, Mutex, PlainU8, Relaxed, Signal, join_until, now},
};

/// How long the queue must not have moved before a thread is added above the base number.
const STUCK: Duration = Duration::from_millis(20);
/// As far as a stuck pool grows.
const MOST_THREADS: usize = 256;
/// What a shutdown with no time left waits for threads whose operation is just ending.
const SETTLE: Duration = Duration::from_millis(1);
/// What idle threads are given to end at a shutdown with no time left. It is used up only by a machine that does not schedule them.
const LEAVE: Duration = Duration::from_millis(200);

/// The handle; the threads hold `Shared` alone.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is work, or `ending` was set.
    work: Signal,
    /// There is more work than threads, or `ending` was set.
    crowded: Signal,
    /// A thread took leave.
    left: Signal,
    base: usize,
    hook: Option<StartHook>,
}

/// All under the lock of [`Shared`].
#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    /// Threads that wait for work.
    idle: usize,
    live: usize,
    busy: usize,
    busy_bytes: usize,
    /// Works that were begun: what the supervisor looks at.
    begun: u64,
    supervised: bool,
    /// Nothing is accepted.
    closed: bool,
    /// Threads end when the queue is empty.
    ending: bool,
    threads: Vec<Thread>,
    next: u64,
}

struct Thread {
    /// Set to 1 by the thread, under the lock, as the last thing that it does with the pool; read under the lock too.
    left: Arc<PlainU8>,
    handle: JoinHandle<()>,
}

enum Work {
    Op(Op),
    Job(Job),
}

/// What [`Io::run_blocking`](super::Io::run_blocking) runs. Dropping it unrun tells its waiter.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What has to be done, after the lock was let go, for work that was queued.
enum Wake {
    One,
    Thread,
    Supervisor,
    Nobody,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Supervisor,
}

impl Pool {
    pub(super) fn new(base: usize, hook: Option<StartHook>) -> Arc<Pool> {
        Arc::new(Pool(Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Signal::default(),
            crowded: Signal::default(),
            left: Signal::default(),
            base,
            hook,
        })))
    }

    /// Queues a job; gives it back if the pool was closed.
    pub(super) fn run(&self, job: Job) -> Result<(), Job> {
        match self.queue(Work::Job(job)) {
            Ok(()) => Ok(()),
            Err(Work::Job(job)) => Err(job),
            Err(Work::Op(_)) => unreachable!("the work that is refused is the work that was queued"),
        }
    }

    fn queue(&self, work: Work) -> Result<(), Work> {
        let shared = &self.0;
        let mut state = shared.state.lock();
        if state.closed {
            return Err(work);
        }
        state.queue.push_back(work);
        let wake = if state.idle >= state.queue.len() {
            Wake::One
        } else if state.live < shared.base {
            state.live += 1;
            Wake::Thread
        } else if !state.supervised {
            state.supervised = true;
            state.live += 1;
            Wake::Supervisor
        } else if state.queue.len() == 1 {
            shared.crowded.notify_one();
            Wake::Nobody
        } else {
            Wake::Nobody
        };
        drop(state);
        match wake {
            Wake::One => shared.work.notify_one(),
            Wake::Thread => shared.start(Role::Server),
            Wake::Supervisor => shared.start(Role::Supervisor),
            Wake::Nobody => {}
        }
        Ok(())
    }
}

impl Backend for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn submit(&self, op: Op) -> Result<(), Op> {
        match self.queue(Work::Op(op)) {
            Ok(()) => Ok(()),
            Err(Work::Op(op)) => Err(op),
            Err(Work::Job(_)) => unreachable!("the work that is refused is the work that was queued"),
        }
    }

    fn retire(&self) {
        let shared = &self.0;
        shared.state.lock().ending = true;
        shared.work.notify_all();
        shared.crowded.notify_all();
    }

    fn close(&self, deadline: Instant) -> Leaked {
        let shared = &self.0;
        let mut state = shared.state.lock();
        state.closed = true;
        state.ending = true;
        // Files are still closed, nothing else is begun.
        let (closes, refused): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut state.queue).into_iter().partition(|work| matches!(work, Work::Op(Op::Close(_))));
        state.queue = closes;
        drop(state);
        shared.work.notify_all();
        shared.crowded.notify_all();
        refused.into_iter().for_each(|work| guarded(|| work.refuse()));

        let mut state = shared.state.lock();
        // A thread whose operation has just ended is not stuck, but may not have got as far as to say so.
        let deadline = deadline.max(now() + SETTLE);
        let give_up = deadline + LEAVE;
        loop {
            let time = now();
            let only_stuck_left = state.live <= state.busy && time >= deadline;
            if state.live == 0 || only_stuck_left || time >= give_up {
                break;
            }
            let until = if time < deadline { deadline } else { give_up };
            state = shared.left.wait_until(state, until);
        }
        let leaked = Leaked { operations: state.busy, bytes: state.busy_bytes, threads: state.live };
        let closes = std::mem::take(&mut state.queue);
        let ended = state.take_ended();
        // The others are let go: who knows when they end.
        state.threads.clear();
        drop(state);
        closes.into_iter().for_each(|work| guarded(|| work.refuse()));
        Leaked { threads: leaked.threads + join(ended, give_up), ..leaked }
    }
}

impl Shared {
    /// Makes a thread, which `live` counts already.
    fn start(self: &Arc<Self>, role: Role) {
        let (number, ended) = {
            let mut state = self.state.lock();
            state.next += 1;
            (state.next, state.take_ended())
        };
        join(ended, now() + LEAVE);
        let left = Arc::new(PlainU8::new(0));
        let (me, leaving) = (Arc::clone(self), Arc::clone(&left));
        match start_thread(&format!("uw-pool-{number}"), self.hook.clone(), move || match role {
            Role::Server => me.serve(&leaving),
            Role::Supervisor => me.supervise(&leaving),
        }) {
            Ok(handle) => self.state.lock().threads.push(Thread { left, handle }),
            Err(error) => self.could_not_start(role, &error),
        }
    }

    /// Without a thread the work would lie there for ever: it fails. If there are others they will come to it.
    #[cold]
    fn could_not_start(&self, role: Role, error: &io::Error) {
        let mut state = self.state.lock();
        state.live -= 1;
        if role == Role::Supervisor {
            state.supervised = false;
        }
        let stranded = if state.live == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        self.left.notify_all();
        for work in stranded {
            match work {
                Work::Op(op) => op.finish(Err(io::Error::new(error.kind(), format!("no thread for it: {error}")))),
                Work::Job(job) => drop(job),
            }
        }
    }

    /// What a thread of the pool does.
    fn serve(&self, left: &PlainU8) {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                let bytes = work.bytes();
                state.begun += 1;
                state.busy += 1;
                state.busy_bytes += bytes;
                drop(state);
                // A panic of a job, or of a method of the user's buffer, ends that operation and not the thread.
                guarded(|| work.perform());
                state = self.state.lock();
                state.busy -= 1;
                state.busy_bytes -= bytes;
            } else if state.ending || state.live > self.base + usize::from(state.supervised) {
                state.live -= 1;
                left.store(1, Relaxed);
                self.left.notify_all();
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state);
                state.idle -= 1;
            }
        }
    }

    /// What the supervisor does: see the head of this file.
    fn supervise(self: &Arc<Self>, left: &PlainU8) {
        let mut state = self.state.lock();
        while !state.ending {
            if state.queue.is_empty() {
                state = self.crowded.wait(state);
                continue;
            }
            let begun = state.begun;
            state = self.crowded.wait_until(state, now() + STUCK);
            // `crowded` is also signalled when the queue was empty in between: then it moved.
            if state.begun == begun && !state.queue.is_empty() && state.live <= MOST_THREADS && !state.ending {
                state.live += 1;
                drop(state);
                self.start(Role::Server);
                state = self.state.lock();
            }
        }
        state.live -= 1;
        state.supervised = false;
        left.store(1, Relaxed);
        self.left.notify_all();
    }
}

impl State {
    fn take_ended(&mut self) -> Vec<Thread> {
        let (ended, others) =
            std::mem::take(&mut self.threads).into_iter().partition(|thread| thread.left.load(Relaxed) != 0);
        self.threads = others;
        ended
    }
}

/// Joins threads that have taken leave: they are on their last instructions, or in the destructor of a job's thread-local. How many are late.
fn join(ended: Vec<Thread>, deadline: Instant) -> usize {
    ended.into_iter().map(|thread| usize::from(!join_until(thread.handle, deadline))).sum()
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Work::Op(op) => op.bytes(),
            Work::Job(_) => 0,
        }
    }

    fn refuse(self) {
        match self {
            Work::Op(op) => {
                if let Some(fd) = op.refuse() {
                    closer::close(fd);
                }
            }
            Work::Job(job) => drop(job),
        }
    }

    fn perform(self) {
        match self {
            Work::Op(op) => perform(op),
            Work::Job(job) => job(),
        }
    }
}

fn perform(mut op: Op) {
    // Who asked may be gone by now. What changes nothing is then left undone.
    if op.is_idle_question() && !op.is_wanted() {
        return;
    }
    let result = call(&mut op);
    op.finish(result);
}

/// The system call for an operation. Signals are blocked on the pool's threads; what interrupts all the same is tried again.
fn call(op: &mut Op) -> io::Result<Outcome> {
    match op {
        Op::Read { file, offset, target, .. } => {
            let bytes = target.bytes_mut();
            let len = bytes.len().min(MOST);
            let bytes = &mut bytes[..len];
            let read = again(|| match rustix::io::pread(file.fd(), &mut *bytes, *offset) {
                // A pipe has no offsets.
                Err(Errno::SPIPE) => rustix::io::read(file.fd(), &mut *bytes),
                result => result,
            })?;
            Ok(Outcome::Moved(read))
        }
        Op::Write { file, offset, source, .. } => {
            let bytes = source.bytes();
            let mut done = 0;
            while done < bytes.len() {
                let rest = &bytes[done..bytes.len().min(done + MOST)];
                let written = again(|| match rustix::io::pwrite(file.fd(), rest, *offset + done as u64) {
                    Err(Errno::SPIPE) => rustix::io::write(file.fd(), rest),
                    result => result,
                })?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done += written;
            }
            Ok(Outcome::Moved(done))
        }
        Op::Sync { file, data_only: false, .. } => again(|| rustix::fs::fsync(file.fd())).map(|()| Outcome::Moved(0)),
        Op::Sync { file, data_only: true, .. } => {
            again(|| rustix::fs::fdatasync(file.fd())).map(|()| Outcome::Moved(0))
        }
        Op::Open(open) => {
            let (flags, mode) = (open.options.flags(), open.options.permissions());
            again(|| rustix::fs::open(open.name.as_c_str(), flags, mode)).map(Outcome::Opened)
        }
        // The drop of the descriptor, when the operation is finished, is the close.
        Op::Close(_) => Ok(Outcome::Moved(0)),
    }
}

fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}
