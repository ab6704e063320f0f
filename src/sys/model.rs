//! What loom explores. See the table in `sys` for how it differs from what ships.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

pub(crate) use loom::cell::{MutPtr, UnsafeCell};
pub(crate) use loom::sync::MutexGuard;
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
pub(crate) use loom::thread::JoinHandle;

/// No spinning in a model: it adds executions and no behaviour.
pub(crate) fn spin_rounds() -> u32 {
    0
}

/// Between two of them.
pub(crate) fn pause(_round: u32) {}

/// Small arenas: loom makes every object anew in each execution. A model with more than seven waits at once may see a false alarm.
pub(crate) const ARENA_SHIFT: u32 = 3;

/// loom's mutex behind the same surface.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Nothing: what would be looked at for a hint is no step of a model.
pub(crate) fn bring_for_writing(_: impl FnOnce() -> Option<*const ()>) {}

/// Both sides of the asymmetric barrier are full fences in a model.
pub(crate) fn light() {
    loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// As [`light`].
pub(crate) fn bare() {
    light();
}

/// Which of the two is modelled.
pub(crate) fn is_free() -> bool {
    true
}

/// As [`light`].
pub(crate) fn heavy_for_bare() {
    light();
}

/// As [`light`].
pub(crate) fn heavy() {
    loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Sleeping on a word: as the kernel does it, the look at the word and the falling asleep are one step for who wakes.
pub(crate) struct Futex {
    queue: loom::sync::Mutex<()>,
    woken: loom::sync::Condvar,
}

impl Futex {
    pub(crate) fn new() -> Self {
        Futex { queue: loom::sync::Mutex::new(()), woken: loom::sync::Condvar::new() }
    }

    pub(crate) fn wait(&self, word: &AtomicU32, value: u32) {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if word.load(super::Acquire) == value {
            drop(self.woken.wait(queue));
        }
    }

    pub(crate) fn wake_one(&self, _word: &AtomicU32) {
        drop(self.queue.lock());
        self.woken.notify_one();
    }
}

/// No spinning in a model.
pub(crate) fn spin_looks() -> u32 {
    0
}

/// No looking in a model.
pub(crate) fn look_as_task(_: impl FnMut() -> bool) -> bool {
    false
}

/// A token under loom's mutex and condition variable. (loom's own `unpark` loses its token if the thread waits for a mutex just then.)
pub(crate) struct Parker {
    token: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Parker { token: loom::sync::Mutex::new(false), changed: loom::sync::Condvar::new() }
    }

    fn token(&self) -> MutexGuard<'_, bool> {
        self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sleeps until an unpark. Deadlines are the model's: who moves the clock unparks everybody.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        if deadline.is_some_and(|at| at <= now()) {
            return;
        }
        let mut token = self.token();
        while !*token {
            token = self.changed.wait(token).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *token = false;
    }

    /// A token of an earlier wait stays in a model: it wakes for no reason.
    pub(crate) fn reset(&self) {}

    /// Wakes the owner, or leaves a token.
    pub(crate) fn unpark(&self) {
        *self.token() = true;
        self.changed.notify_one();
    }
}

loom::lazy_static! {
    /// The model's time in milliseconds: moved by `model::advance` alone.
    static ref MILLIS: AtomicU64 = AtomicU64::new(0);
}

fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// As in what ships: who was stopped at a deadline ends by itself.
pub(crate) const WAY_OUT: Duration = Duration::from_millis(100);

/// None: the model's clock stands still, so that nobody would come to the end of a wait for who heeds no stop.
pub(crate) const HURRIED_WAY_OUT: Duration = Duration::ZERO;

/// Now, on the model's clock.
pub(crate) fn now() -> Instant {
    epoch() + Duration::from_millis(MILLIS.load(super::Acquire))
}

/// Moves the model's clock.
pub(crate) fn advance(by: Duration) {
    MILLIS.fetch_add(by.as_millis() as u64, super::AcqRel);
}

/// Ages play no part in a model.
pub(crate) fn coarse_millis() -> u64 {
    0
}

/// As [`coarse_millis`].
pub(crate) fn coarse_nanos() -> u64 {
    0
}

loom::thread_local! {
    static MEMBER: Cell<u64> = Cell::new(0);
}

/// Who runs on this thread now.
pub(crate) fn current_member() -> u64 {
    MEMBER.try_with(Cell::get).unwrap_or(0)
}

/// Sets who runs on this thread now, and returns who ran before.
pub(crate) fn set_current_member(member: u64) -> u64 {
    MEMBER.try_with(|current| current.replace(member)).unwrap_or(0)
}

std::thread_local! {
    /// The threads of the execution that have not ended, by a number of their own. All of them run on one thread of the system.
    static RUNNING: RefCell<Vec<(u64, String)>> = const { RefCell::new(Vec::new()) };
}

/// Counts a modelled thread for as long as it runs. Not seen by loom.
pub(crate) struct Running(u64);

impl Running {
    pub(crate) fn new(name: &str) -> Self {
        RUNNING.with_borrow_mut(|running| {
            let number = running.last().map_or(0, |(last, _)| last + 1);
            running.push((number, name.to_owned()));
            Running(number)
        })
    }

    /// An execution begins: those of the last one are forgotten, however it ended.
    pub(crate) fn begin() {
        RUNNING.with_borrow_mut(Vec::clear);
    }

    /// Who has not ended.
    pub(crate) fn names() -> Vec<String> {
        RUNNING.with_borrow(|running| running.iter().map(|(_, name)| name.clone()).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| running.retain(|(number, _)| *number != self.0));
    }
}

/// Starts a modelled thread.
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(name: &str, body: F) -> std::io::Result<JoinHandle<()>> {
    let running = Running::new(name);
    loom::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _running = running;
        body();
    })
}

/// Starts a modelled thread of this crate's own.
pub(crate) fn spawn_service<F: FnOnce() + Send + 'static>(name: &str, body: F) -> std::io::Result<JoinHandle<()>> {
    spawn(name, body)
}

/// Joins; a model's shutdown has its deadline in the waits before this.
pub(crate) fn join_by(handle: JoinHandle<()>, _deadline: impl Fn() -> Instant) -> bool {
    let _ = handle.join();
    true
}

/// Joins: a modelled thread that is at its end gets past it.
pub(crate) fn try_join(handle: JoinHandle<()>) -> Result<(), JoinHandle<()>> {
    let _ = handle.join();
    Ok(())
}

/// In a model the process goes on to be looked at: the execution ends with a panic.
pub(crate) fn abort(last_word: String) -> ! {
    panic!("{last_word}")
}
