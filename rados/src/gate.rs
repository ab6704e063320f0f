//! How many operations librados has at a time, and those that wait for their turn.
//!
//! librados blocks whoever submits when 1,024 operations or 100 MiB are in flight, and nothing ends that. So this crate keeps a limit of its
//! own below both: what comes beyond it waits in a queue, as a completion that a stop ends like any other.
//!
//! # Algorithm
//!
//! Who finds room submits at once, on its own thread. The rest is done by one thread: operations that wait for room, those that go on
//! after an answer (the next page of an omap), and the removal of those that nobody wants any more. librados's callbacks only queue and wake it.
//!
//! Whether the cluster's handle may be closed is decided here, and not by what the library counts: its count is read before the gate is closed, and an
//! operation of another domain may come in between. Calls that block are no operations, but are counted too.
//!
//! There is no lock or thread but those that the parent module names in `sys`: so the loom models compile this very file.
//!
//! # Invariants
//!
//! - **Room**: `operations` and `bytes` are what was let in and has not left. An operation that moves more bytes than the limit is let in when no other moves
//!   any: librados lets such a one through then too. It does not wait for those that move none, of which one (a watch that was let go) may never leave.
//! - **In order**: nobody is let in while others wait.
//! - **No lock**: operations are launched, halted and refused, without the gate's lock.
//! - **Idle for good**: once it is closed, and `operations` and `calls` are 0, they stay so: librados has nothing, and is given nothing.
//! - **No end without one**: what comes when it is closed is ended at once; nothing is left in a queue that nobody looks at.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::sys::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How much librados has at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) operations: usize,
    pub(crate) bytes: usize,
}

/// What a look at what librados still has takes.
const LOOK: Duration = Duration::from_millis(1);

/// An operation, for the gate.
pub(crate) trait Flying: Send + Sync {
    /// Bytes that it moves.
    fn cost(&self) -> usize;

    /// Nobody wants its result any more.
    fn is_given_up(&self) -> bool;

    /// Submits it. It has been let in.
    fn launch(self: Arc<Self>);

    /// Ends it. It has been let in, librados does not have it, and the gate has been closed.
    fn halt(self: Arc<Self>);

    /// Ends it. It has not been let in.
    fn refuse(self: Arc<Self>);
}

/// See the head of this file.
pub(crate) struct Gate {
    limits: Limits,
    state: Mutex<State>,
    /// For the thread.
    changed: Condvar,
    /// For who closes.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// Calls of librados that block.
    calls: usize,
    operations: usize,
    bytes: usize,
    /// Have been let in, and go on.
    again: VecDeque<Arc<dyn Flying>>,
    /// Wait to be let in.
    waiting: VecDeque<Arc<dyn Flying>>,
    /// Some of those that wait were given up.
    sweep: bool,
    closed: bool,
    silence: Silence,
}

/// For how long nothing has been answered, though something was in flight all the time.
#[derive(Default)]
struct Silence {
    /// When that was the time before, as long as something is in flight.
    since: Option<Instant>,
    before: Duration,
}

impl Silence {
    fn now(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// There is something to be answered now.
    fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// An operation has ended; a cancel is no answer.
    fn end(&mut self, is_answer: bool, is_last: bool) {
        self.before = if is_answer { Duration::ZERO } else { self.now() };
        self.since = if is_last { None } else { Some(Instant::now()) };
    }
}

/// What the thread does next.
enum Task {
    Launch(Arc<dyn Flying>),
    Refuse(Vec<Arc<dyn Flying>>),
    /// Those that were to go on, and those that wait.
    End(Vec<Arc<dyn Flying>>, Vec<Arc<dyn Flying>>),
}

/// A call of librados that blocks: as long as it is there the handle is not closed.
pub(crate) struct Call(Arc<Gate>);

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls -= 1;
        self.0.say_if_idle(&state);
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.operations == 0 && self.calls == 0
    }

    /// Lets an operation in, if there is room.
    fn admit(&mut self, cost: usize, limits: Limits) -> bool {
        let has_bytes = self.bytes == 0 || self.bytes.saturating_add(cost) <= limits.bytes;
        let admitted = self.operations < limits.operations && has_bytes;
        if admitted {
            if self.operations == 0 {
                self.silence.begin();
            }
            self.operations += 1;
            self.bytes += cost;
        }
        admitted
    }

    fn next(&mut self, limits: Limits) -> Option<Task> {
        if self.closed {
            return Some(Task::End(std::mem::take(&mut self.again).into(), std::mem::take(&mut self.waiting).into()));
        }
        if let Some(operation) = self.again.pop_front() {
            return Some(Task::Launch(operation));
        }
        if std::mem::take(&mut self.sweep) {
            let (given_up, wanted) = self.waiting.drain(..).partition(|operation| operation.is_given_up());
            self.waiting = wanted;
            return Some(Task::Refuse(VecDeque::into(given_up)));
        }
        let cost = self.waiting.front()?.cost();
        if self.admit(cost, limits) { self.waiting.pop_front().map(Task::Launch) } else { None }
    }
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Gate {
        Gate { limits, state: Mutex::new(State::default()), changed: Condvar::new(), idle: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits an operation now or when there is room.
    pub(crate) fn enter(&self, operation: Arc<dyn Flying>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return operation.refuse();
        }
        if state.waiting.is_empty() && state.admit(operation.cost(), self.limits) {
            drop(state);
            return operation.launch();
        }
        // Who gave it up meanwhile may have looked for it before it was here; who does so later finds it.
        let is_late = operation.is_given_up();
        state.waiting.push_back(operation);
        state.sweep |= is_late;
        drop(state);
        if is_late {
            self.changed.notify_one();
        }
    }

    /// Submits an operation that has been let in once more.
    pub(crate) fn again(&self, operation: Arc<dyn Flying>) {
        let mut state = self.lock();
        if state.closed {
            // The thread may have ended.
            drop(state);
            return operation.halt();
        }
        state.again.push_back(operation);
        drop(state);
        self.changed.notify_one();
    }

    /// A call that blocks begins. `None`: the gate has been closed.
    pub(crate) fn call(self: &Arc<Self>) -> Option<Call> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.calls += 1;
        Some(Call(Arc::clone(self)))
    }

    /// An operation has ended, with an answer or without one.
    pub(crate) fn leave(&self, cost: usize, is_answer: bool) {
        let mut state = self.lock();
        state.operations -= 1;
        state.bytes -= cost;
        let is_last = state.operations == 0;
        state.silence.end(is_answer, is_last);
        self.say_if_idle(&state);
        let wake = !state.waiting.is_empty();
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Somebody has given up an operation that may be waiting.
    pub(crate) fn sweep(&self) {
        self.lock().sweep = true;
        self.changed.notify_one();
    }

    /// Nothing is let in any more; the thread ends when it has ended what waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The same, and waits until librados has nothing any more, or for so many looks; whether it has nothing: see **Idle for good**.
    ///
    /// A look lasts a [`LOOK`], and longer where others have the processors: then what librados has to do lasts longer too, and a limit in milliseconds would
    /// leave behind what was about to end.
    pub(crate) fn close_within(&self, looks: u32) -> bool {
        self.close();
        let mut state = self.lock();
        for _ in 0..looks {
            if state.is_idle() {
                return true;
            }
            state = self.idle.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_idle()
    }

    fn say_if_idle(&self, state: &State) {
        if state.closed && state.is_idle() {
            self.idle.notify_all();
        }
    }

    /// For how long nothing has been answered, though something was in flight all the time; a time in which nothing was is left out.
    pub(crate) fn silence(&self) -> Duration {
        self.lock().silence.now()
    }

    /// What has been let in, and what waits.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.operations, state.waiting.len())
    }

    /// The thread, until the gate is closed.
    pub(crate) fn run(&self) {
        loop {
            let task = {
                let mut state = self.lock();
                loop {
                    match state.next(self.limits) {
                        Some(task) => break task,
                        None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            match task {
                Task::Launch(operation) => operation.launch(),
                Task::Refuse(operations) => operations.into_iter().for_each(Flying::refuse),
                Task::End(halted, refused) => {
                    halted.into_iter().for_each(Flying::halt);
                    return refused.into_iter().for_each(Flying::refuse);
                }
            }
        }
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[derive(Default)]
    struct Fake {
        cost: usize,
        launched: AtomicUsize,
        halted: AtomicUsize,
        refused: AtomicUsize,
        given_up: AtomicBool,
    }

    impl Flying for Fake {
        fn cost(&self) -> usize {
            self.cost
        }

        fn is_given_up(&self) -> bool {
            self.given_up.load(SeqCst)
        }

        fn launch(self: Arc<Self>) {
            self.launched.fetch_add(1, SeqCst);
        }

        fn halt(self: Arc<Self>) {
            self.halted.fetch_add(1, SeqCst);
        }

        fn refuse(self: Arc<Self>) {
            self.refused.fetch_add(1, SeqCst);
        }
    }

    fn enter(gate: &Gate, cost: usize) -> Arc<Fake> {
        let fake = Arc::new(Fake { cost, ..Fake::default() });
        gate.enter(fake.clone());
        fake
    }

    fn seen(fake: &Fake) -> (usize, usize) {
        (fake.launched.load(SeqCst), fake.refused.load(SeqCst))
    }

    #[test]
    fn beyond_the_limit_operations_wait_and_can_be_given_up() {
        let gate = Arc::new(Gate::new(Limits { operations: 2, bytes: 100 }));
        let (large, small) = (enter(&gate, 1000), enter(&gate, 1));
        assert_eq!((seen(&large), seen(&small)), ((1, 0), (0, 0)), "what is larger than the limit goes alone");
        let (second, third) = (enter(&gate, 50), enter(&gate, 50));
        assert_eq!(gate.counts(), (1, 3));
        second.given_up.store(true, SeqCst);
        gate.sweep();
        let own = Arc::clone(&gate);
        let thread = std::thread::spawn(move || own.run());
        gate.leave(1000, true);
        while seen(&third) == (0, 0) {
            std::thread::yield_now();
        }
        assert_eq!((seen(&small), seen(&second), seen(&third)), ((1, 0), (0, 1), (1, 0)));
        // One that was given up on its way.
        let given_up = Arc::new(Fake { cost: 99, given_up: AtomicBool::new(true), ..Fake::default() });
        gate.enter(given_up.clone());
        while seen(&given_up) == (0, 0) {
            std::thread::yield_now();
        }
        assert_eq!(seen(&given_up), (0, 1));
        let late = enter(&gate, 0);
        gate.again(small.clone());
        while seen(&small) != (2, 0) {
            std::thread::yield_now();
        }
        gate.close();
        assert!(thread.join().is_ok());
        assert_eq!(seen(&late), (0, 1));
        assert_eq!(seen(&enter(&gate, 0)), (0, 1), "refused: it is closed");
    }

    /// Long enough that a wait for it is a hang.
    const GUARD: Duration = Duration::from_secs(60);

    #[test]
    fn what_moves_no_bytes_keeps_no_large_one_out() {
        let gate = Gate::new(Limits { operations: 3, bytes: 100 });
        // A watch that was let go: librados keeps it, for ever if its OSD never answers.
        let (watch, large, small) = (enter(&gate, 0), enter(&gate, 1000), enter(&gate, 0));
        assert_eq!([&watch, &large, &small].map(|fake| seen(fake).0), [1, 1, 0]);
        assert_eq!(gate.counts(), (2, 1));
    }

    #[test]
    fn it_is_idle_when_librados_has_nothing() {
        let gate = Arc::new(Gate::new(Limits { operations: 2, bytes: 100 }));
        let (first, call) = (enter(&gate, 1), gate.call());
        assert!(!gate.close_within(0), "an operation and a call are out");
        assert!(call.is_some() && gate.call().is_none() && seen(&enter(&gate, 1)) == (0, 1), "it is closed");
        let own = Arc::clone(&gate);
        let closes = std::thread::spawn(move || own.close_within(GUARD.as_millis() as u32));
        gate.leave(1, true);
        drop(call);
        assert!(closes.join().is_ok_and(|idle| idle));
        assert_eq!(seen(&first), (1, 0));
    }

    #[test]
    fn what_goes_on_when_it_is_closed_is_ended() {
        let gate = Gate::new(Limits { operations: 2, bytes: 100 });
        let (first, second) = (enter(&gate, 1), enter(&gate, 1));
        gate.again(first.clone());
        gate.close();
        // The thread ends, and a page of an omap comes after it.
        gate.run();
        gate.again(second.clone());
        assert_eq!([&first, &second].map(|fake| (seen(fake), fake.halted.load(SeqCst))), [((1, 0), 1); 2]);
    }

    #[test]
    fn silence_is_the_time_without_an_answer() {
        let gate = Gate::new(Limits { operations: 2, bytes: 100 });
        assert_eq!(gate.silence(), Duration::ZERO);
        let short = Duration::from_millis(2);
        let in_flight = || {
            enter(&gate, 1);
            std::thread::sleep(short);
        };
        in_flight();
        in_flight();
        assert!(gate.silence() >= short * 2);
        gate.leave(1, true);
        std::thread::sleep(short);
        let second = gate.silence();
        assert!(second >= short);
        gate.leave(1, false);
        // Cancelled: nothing is in flight, so the time stands still. It goes on with the next.
        let third = gate.silence();
        assert!(third >= second);
        std::thread::sleep(short);
        assert_eq!(gate.silence(), third);
        in_flight();
        assert!(gate.silence() >= third + short);
        gate.leave(1, true);
        assert_eq!(gate.silence(), Duration::ZERO);
    }
}
