//! A pool of threads: the backend where there is no io_uring, and where jobs run in any case.
//!
//! # Algorithm
//!
//! One queue under one lock. A thread is added when work comes and none is idle, up to the base number. Beyond that the pool grows only when
//! it is stuck: a supervisor looks every [`STUCK`] whether the queue moved, and adds a thread if it did not, up to [`DEVICES`] times what one
//! device may have (`queue`). So what hangs on a dead mount does not keep the others from being done, and a busy pool stays small. A thread
//! that finds no work ends if as many as the base number are idle: so while some are stuck others are there for what comes.
//!
//! Of what is set aside for a dead device none may ever have its turn. So the supervisor looks every [`SWEEP`] for what nobody waits for any more, and has it
//! dropped by a thread like any other work: it is the user's, and so is what its drop does. So is a job that a shutdown refuses.
//!
//! # Invariants
//!
//! - **Kept**: a thread owns the operation that it performs until the call has returned (law L4). Nobody takes it away: a shutdown that
//!   runs out of time counts such threads and leaves them, and they free what they own when the kernel lets them go.
//! - **Counted**: `live` counts the threads that have not yet taken leave under the lock, `busy` those of them that perform something. A
//!   thread that is not busy takes leave without anybody's help once `ending` is set.
//! - **Unlocked**: no operation is performed, finished or dropped with the lock held (law L6).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    backend::{Backend, guarded, start_thread},
    op::Op,
};
use crate::{
    stop::{Leaked, StartHook},
    sys::{JoinHandle, Mutex, MutexGuard, PlainU8, Relaxed, Signal, Until, join_all_by, now},
};

mod call;
mod queue;
#[cfg(test)]
#[expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "threads of a test, as any user has them")]
mod tests;

pub(super) use queue::{Job, Place};
use queue::{Next, Queue, Work};

/// How long the queue must not have moved before a thread is added above the base number.
const STUCK: Duration = Duration::from_millis(20);
/// How often it is looked for what nobody wants any more among what is set aside.
const SWEEP: Duration = Duration::from_millis(200);
/// How many threads one device may have at least, so that a few of its reads do not make it wait for each other.
const DEVICE: usize = 64;
/// For so many dead devices there are threads.
const DEVICES: usize = 4;
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
    /// As far as a stuck pool grows.
    most: usize,
    /// What the threads' names begin with.
    name: Box<str>,
    hook: Option<StartHook>,
}

/// All under the lock of [`Shared`].
struct State {
    queue: Queue,
    /// Threads that wait for work.
    idle: usize,
    live: usize,
    busy: usize,
    busy_bytes: usize,
    /// Works that were begun: what the supervisor looks at.
    begun: u64,
    supervised: bool,
    /// The supervisor has nothing to look at, and waits until it is told of work.
    sleeps: bool,
    /// When the supervisor looks for what nobody wants any more; `None` while it knows of nothing that is set aside.
    sweep_at: Option<Instant>,
    /// Nothing is accepted.
    closed: bool,
    /// The deadline of the closing is now.
    hurried: bool,
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

/// What has to be done, after the lock was let go, for work that was queued.
#[derive(Debug, PartialEq, Eq)]
enum Wake {
    One,
    Thread,
    Supervisor,
    /// It is there, and sleeps until it is told of work.
    Sleeper,
    Nobody,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Supervisor,
}

impl Pool {
    /// A pool that has `base` threads when none is stuck, of this name and a number. None is made yet.
    pub(super) fn new(base: usize, name: &str, hook: Option<StartHook>) -> Arc<Pool> {
        let each = base.max(DEVICE);
        Arc::new(Pool(Arc::new(Shared {
            state: Mutex::new(State::new(each)),
            work: Signal::default(),
            crowded: Signal::default(),
            left: Signal::default(),
            base,
            most: DEVICES * each,
            name: name.into(),
            hook,
        })))
    }

    /// Queues a job, and says on what it may get stuck. If the pool was closed it is dropped, which tells its waiter.
    pub(super) fn run(&self, place: Place, job: Box<dyn Job>) {
        drop(self.queue(Work::Job(place, job)));
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.0.state.lock().live
    }

    fn queue(&self, work: Work) -> Result<(), Work> {
        let shared = &self.0;
        let device = work.device();
        let mut state = shared.state.lock();
        if state.closed {
            return Err(work);
        }
        let wake = state.add(device, work, shared.base);
        drop(state);
        match wake {
            Wake::One => shared.work.notify_one(),
            Wake::Thread => _ = shared.start(Role::Server),
            Wake::Supervisor => _ = shared.start(Role::Supervisor),
            Wake::Sleeper => shared.crowded.notify_one(),
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
            Err(_) => unreachable!("the work that is refused is the work that was queued"),
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
        let (closes, refused): (Vec<_>, Vec<_>) = state.queue.take().into_iter().partition(Work::is_close);
        closes.into_iter().for_each(|close| state.queue.push(None, close));
        // Jobs on a thread of the pool's, for their drop is the user's code, which may block: on one more, since all that are there may be stuck. Operations
        // here, so that what is told as left is all that is: of the user's they have buffers, whose drop must not block.
        let (jobs, ops): (Vec<_>, Vec<_>) = refused.into_iter().flat_map(Work::into_parts).partition(Work::is_job);
        let one_more = state.queue.refuse(jobs);
        state.live += usize::from(one_more);
        drop(state);
        let is_made = one_more && shared.start(Role::Server);
        shared.work.notify_all();
        shared.crowded.notify_all();
        ops.into_iter().for_each(Work::refuse);

        let mut state = shared.state.lock();
        // A thread whose operation has just ended is not stuck, but may not have got as far as to say so.
        let mut deadline = deadline.max(now() + SETTLE);
        let mut give_up = deadline + LEAVE;
        loop {
            let time = now();
            if state.hurried && deadline > time + SETTLE {
                deadline = time + SETTLE;
                give_up = deadline + LEAVE;
            }
            let only_stuck_left = state.live <= state.busy && time >= deadline;
            if state.live == 0 || only_stuck_left || time >= give_up {
                break;
            }
            let until = if time < deadline { deadline } else { give_up };
            state = shared.left.wait_until(state, until);
        }
        let leaked = Leaked { operations: state.busy, bytes: state.busy_bytes, threads: state.live };
        // The jobs that were refused stay for the thread that was made for it, however late that is; where none could be made it ends here.
        let (closes, refused): (Vec<_>, Vec<_>) = state.queue.take().into_iter().partition(Work::is_close);
        let rest: Vec<_> = if is_made {
            state.queue.refuse(refused);
            closes
        } else {
            closes.into_iter().chain(refused).collect()
        };
        let ended = state.take_ended();
        // The others are let go: who knows when they end.
        state.threads.clear();
        drop(state);
        rest.into_iter().for_each(Work::refuse);
        let until = Until::new(give_up, || shared.state.lock().hurried);
        Leaked { threads: leaked.threads + join(ended, || until.at()), ..leaked }
    }

    fn hurry(&self) {
        self.0.state.lock().hurried = true;
        self.0.left.notify_all();
    }
}

impl Shared {
    /// Makes a thread, which `live` counts already. Whether it could be made.
    fn start(self: &Arc<Self>, role: Role) -> bool {
        let (number, ended) = {
            let mut state = self.state.lock();
            state.next += 1;
            // At the end they are left to who closes, who counts those that are late.
            (state.next, if state.closed { Vec::new() } else { state.take_ended() })
        };
        let leave = now() + LEAVE;
        join(ended, || leave);
        let left = Arc::new(PlainU8::new(0));
        let (me, leaving) = (Arc::clone(self), Arc::clone(&left));
        let made = start_thread(&format!("{}-{number}", self.name), self.hook.clone(), move || match role {
            Role::Server => me.serve(&leaving),
            Role::Supervisor => me.supervise(&leaving),
        });
        let is_made = made.is_ok();
        match made {
            Ok(handle) => self.state.lock().threads.push(Thread { left, handle }),
            Err(error) => self.could_not_start(role, &error),
        }
        is_made
    }

    /// Without a thread the work would lie there for ever: it fails. If there are others they will come to it.
    #[cold]
    fn could_not_start(&self, role: Role, error: &io::Error) {
        let mut state = self.state.lock();
        state.live -= 1;
        if role == Role::Supervisor {
            state.supervised = false;
        }
        let stranded = if state.live == 0 { state.queue.take() } else { Vec::new() };
        drop(state);
        self.left.notify_all();
        for work in stranded {
            guarded(|| match work {
                // Not by who is here: it may block.
                close if close.is_close() => close.refuse(),
                Work::Op(op) => op.finish(Err(io::Error::new(error.kind(), format!("no thread for it: {error}")))),
                other => other.refuse(),
            });
        }
    }

    /// What a thread of the pool does.
    fn serve(&self, left: &PlainU8) {
        let mut state = self.state.lock();
        loop {
            let (device, work) = match state.queue.next() {
                Next::Begin(device, work) => (device, work),
                Next::Find(work) => {
                    drop(state);
                    let device = work.find_device();
                    state = self.state.lock();
                    if state.closed && !work.is_close() {
                        drop(state);
                        work.refuse();
                        state = self.state.lock();
                        continue;
                    }
                    match state.queue.begin(device, work) {
                        Some(work) => (device, work),
                        None => continue,
                    }
                }
                // As many as the base number stay for what comes next: beside them are those that are stuck.
                Next::Nothing if state.ending || state.idle >= self.base => {
                    state.live -= 1;
                    left.store(1, Relaxed);
                    self.left.notify_all();
                    return;
                }
                Next::Nothing => {
                    if state.sweep_at.is_none() && state.queue.has_aside() {
                        self.crowded.notify_one();
                    }
                    state.idle += 1;
                    state = self.work.wait(state);
                    state.idle -= 1;
                    continue;
                }
            };
            let bytes = work.bytes();
            state.begun += 1;
            state.busy += 1;
            state.busy_bytes += bytes;
            drop(state);
            work.perform();
            state = self.state.lock();
            state.busy -= 1;
            state.busy_bytes -= bytes;
            state.queue.ended(device);
        }
    }

    /// What the supervisor does: see the head of this file.
    fn supervise(self: &Arc<Self>, left: &PlainU8) {
        let mut state = self.state.lock();
        while !state.ending {
            state = self.sweep(state);
            if state.queue.is_empty() {
                state.sleeps = true;
                state = match state.sweep_at {
                    Some(at) => self.crowded.wait_until(state, at),
                    None => self.crowded.wait(state),
                };
                state.sleeps = false;
                continue;
            }
            let begun = state.begun;
            state = self.crowded.wait_until(state, now() + STUCK);
            // `crowded` is also signalled when the queue was empty in between: then it moved.
            if state.needs_a_thread(begun, self.most) {
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

impl Shared {
    /// Has dropped what nobody wants of what is set aside, if it is time for that.
    fn sweep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if !state.queue.has_aside() {
            state.sweep_at = None;
            return state;
        }
        let time = now();
        if state.sweep_at.is_some_and(|at| at > time) {
            return state;
        }
        if state.sweep_at.replace(time + SWEEP).is_some() && state.queue.sweep() {
            self.work.notify_one();
        }
        state
    }
}

impl State {
    /// `each`: how many works of one device may be begun.
    fn new(each: usize) -> Self {
        State {
            queue: Queue::new(each),
            idle: 0,
            live: 0,
            busy: 0,
            busy_bytes: 0,
            begun: 0,
            supervised: false,
            sleeps: false,
            sweep_at: None,
            closed: false,
            hurried: false,
            ending: false,
            threads: Vec::new(),
            next: 0,
        }
    }

    /// Queues work, and says who is to be told.
    fn add(&mut self, device: Option<u64>, work: Work, base: usize) -> Wake {
        self.queue.push(device, work);
        if self.idle >= self.queue.len() {
            Wake::One
        } else if self.live < base {
            self.live += 1;
            Wake::Thread
        } else if !self.supervised {
            self.supervised = true;
            self.live += 1;
            Wake::Supervisor
        } else if std::mem::take(&mut self.sleeps) {
            // Also where others lie before it, for which threads were woken: they may get stuck at those.
            Wake::Sleeper
        } else {
            Wake::Nobody
        }
    }

    /// Whether the queue has not moved since so many works were begun, and a thread may be added.
    fn needs_a_thread(&self, begun: u64, most: usize) -> bool {
        self.begun == begun && !self.queue.is_empty() && self.live <= most && !self.ending
    }

    fn take_ended(&mut self) -> Vec<Thread> {
        let (ended, others) =
            std::mem::take(&mut self.threads).into_iter().partition(|thread| thread.left.load(Relaxed) != 0);
        self.threads = others;
        ended
    }
}

/// Joins threads that have taken leave: they are on their last instructions, or in the destructor of a job's thread-local. How many are late.
fn join(ended: Vec<Thread>, deadline: impl Fn() -> Instant) -> usize {
    join_all_by(ended.into_iter().map(|thread| thread.handle), deadline)
}
