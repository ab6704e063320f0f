//! Many completions in a row: a window of them is kept going, so that the storage always has work (read-ahead).
//!
//! Both forms take an iterator that begins an operation with each item, and call it only when there is room in the window. [`Ordered`] gives the completions
//! themselves, in the order of the iterator: it has no wait of its own, so its user waits as for any completion, also under a monitor's
//! lock. [`Unordered`] gives results as they come: to a thread, to a task, and to who holds a monitor's lock.
//!
//! # Invariants
//!
//! - **Window**: at most `window` operations are begun and not given out.
//! - **At hand** (of `Ordered`): while all that is begun had its result when it was begun, nothing is begun behind it before it is given out. What is in
//!   the page cache is read so, piece by piece, in one buffer's worth of the processor's cache; a read ahead would only fill more of it. The first that is not
//!   there opens the window, which stays open while one such is in it: where some are there and some are not, the storage has a window's worth of work.
//! - **Woken or polled** (of `Unordered`): a completion's place is in `woken` from when it is put there until it is polled, and again from
//!   when its waker is called. So a completion that has a result is polled by the next poll of the whole.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    iter::Fuse,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use crate::{
    completion::{Completer, Completion},
    error::{Abandoned, Stopped, WaitError},
    lock::Lock,
    sys::{Mutex, Parker, now},
    wait::guard::{Mode, MonitorGuard},
};

/// A window of operations that are begun ahead, in order.
///
/// An iterator of completions over an iterator of completions: when one is taken out, others behind it are begun up to the window; but where all that are
/// in the window had their results at once (what they read is in the page cache) none is, for there is nothing to read ahead of.
/// (No `Stream`, whose combinators have the names of an iterator's: `futures::stream::iter(ordered).then(|read| read)` is one.)
///
/// ```
/// use unwedge::{Stop, io::{Io, OpenOptions, Ordered}};
///
/// let stop = Stop::new("mds.a");
/// let io = Io::new(&stop)?;
/// # let path = std::env::temp_dir().join(format!("unwedge-doc-ordered-{}", std::process::id()));
/// # std::fs::write(&path, vec![7; 100_000])?;
/// let journal = io.open(&path, OpenOptions::new().read(true)).wait()??;
/// let pieces = (0..25).map(|i| io.read_at(&journal, vec![0; 4096], i * 4096));
/// let mut length = 0;
/// for mut read in Ordered::new(pieces, 8) {        // eight reads at a time
///     length += read.wait()??.len();               // or: guard.wait_for(&mut read)?, or: read.await?
/// }
/// assert_eq!(length, 100_000);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
/// Dropping it says that nobody wants what was begun ahead.
pub struct Ordered<I: Iterator> {
    source: Fuse<I>,
    window: usize,
    /// Begun, in order.
    begun: VecDeque<I::Item>,
    /// How many of them there are up to the last that had no result when it was begun.
    late: usize,
}

impl<T, E: From<Abandoned>, I: Iterator<Item = Completion<T, E>>> Ordered<I> {
    /// Keeps `window` operations going, one at least, while they take their time. Nothing is begun before the first is taken out.
    pub fn new(source: I, window: usize) -> Self {
        Ordered { source: source.fuse(), window: window.max(1), begun: VecDeque::new(), late: 0 }
    }
}

impl<T, E: From<Abandoned>, I: Iterator<Item = Completion<T, E>>> Iterator for Ordered<I> {
    type Item = Completion<T, E>;

    /// The next completion in order, which may have no result yet.
    fn next(&mut self) -> Option<Completion<T, E>> {
        while self.begun.len() < self.window && (self.begun.is_empty() || self.late > 0) {
            let Some(completion) = self.source.next() else { break };
            let is_late = !completion.is_complete();
            self.begun.push_back(completion);
            if is_late {
                self.late = self.begun.len();
            }
        }
        self.late = self.late.saturating_sub(1);
        self.begun.pop_front()
    }
}

impl<I: Iterator> fmt::Debug for Ordered<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered")
            .field("window", &self.window)
            .field("begun", &self.begun.len())
            .finish_non_exhaustive()
    }
}

/// A window of operations, whose results come as they are there, in any order.
///
/// ```
/// use unwedge::{Stop, io::{Io, Unordered}};
///
/// let stop = Stop::new("mds.a");
/// let io = Io::new(&stop)?;
/// let jobs = (0..10).map(|i: u64| io.run_blocking("square", move || i * i));
/// let mut squares = Unordered::new(jobs, 4);
/// let mut sum = 0;
/// while let Some(square) = squares.wait() {        // a task: squares.next().await
///     sum += square??;
/// }
/// assert_eq!(sum, 285);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
/// Dropping it says that nobody wants what was begun and not given out.
pub struct Unordered<I: Iterator> {
    source: Fuse<I>,
    window: usize,
    slots: Vec<Slot<I::Item>>,
    vacant: Vec<usize>,
    woken: Arc<Woken>,
}

/// A place for one completion at a time.
struct Slot<C> {
    completion: Option<C>,
    waker: Waker,
}

/// What wakers and the stream share.
struct Woken {
    state: Mutex<State>,
}

/// All under the lock.
struct State {
    /// Places to be polled.
    places: VecDeque<usize>,
    /// Who polls the whole.
    waker: Option<Waker>,
}

/// The waker of a place.
struct Place {
    index: usize,
    woken: Arc<Woken>,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        let waker = {
            let mut state = self.woken.state.lock();
            state.places.push_back(self.index);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The waker of a thread that waits.
struct Unpark(Parker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The waker of a thread that waits with a monitor's lock let go. Its lock is held for no more than taking the completer out.
struct Tell(Mutex<Option<Completer<()>>>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let completer = self.0.lock().take();
        if let Some(completer) = completer {
            // Nobody waits any more: nobody is to be told.
            let _ = completer.complete(());
        }
    }
}

/// What [`Unordered`] gives: a result, or the stop that ended the wait for it.
type Given<T, E, S> = Option<Result<Result<T, E>, S>>;

impl<T, E: From<Abandoned>, I: Iterator<Item = Completion<T, E>>> Unordered<I> {
    /// Keeps `window` operations going, one at least. Nothing is begun before the first result is asked for.
    pub fn new(source: I, window: usize) -> Self {
        let woken = Arc::new(Woken { state: Mutex::new(State { places: VecDeque::new(), waker: None }) });
        Unordered { source: source.fuse(), window: window.max(1), slots: Vec::new(), vacant: Vec::new(), woken }
    }

    /// The next result, or `None` if all were given out; blocks the thread. Those that a stop ends are given out as [`Stopped`].
    pub fn wait(&mut self) -> Given<T, E, Stopped> {
        let result = self.wait_for(None)?;
        Some(result.map_err(|_| Stopped))
    }

    /// As [`wait`](Self::wait), until a deadline. After a timeout nothing is lost: it can be waited for again.
    pub fn wait_until(&mut self, deadline: Instant) -> Given<T, E, WaitError> {
        self.wait_for(Some(deadline))
    }

    /// As [`wait`](Self::wait), for who holds a monitor's lock, which is free while there is no result. The iterator is called with the lock held.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use unwedge::{Monitor, Stop, io::{Io, Unordered}};
    ///
    /// let stop = Stop::new("mds.a");
    /// let io = Io::new(&stop)?;
    /// let mds = Monitor::new("mds_lock", Mutex::new(0), &stop);
    /// let mut jobs = Unordered::new((0..10).map(|i: u64| io.run_blocking("square", move || i * i)), 4);
    /// let mut sum = mds.lock()?;
    /// loop {
    ///     let (held, square) = jobs.wait_in(sum)?;
    ///     sum = held;
    ///     let Some(square) = square else { break };
    ///     *sum += square?;
    /// }
    /// assert_eq!(*sum, 285);
    /// # drop(sum);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stopped`]: without the lock; by the domain of the guard, or by that of a completion, which is then given out.
    #[track_caller]
    #[expect(clippy::type_complexity, reason = "the guard, and what a wait gives: as `MonitorGuard::wait_for`")]
    pub fn wait_in<'a, L: Lock + 'a, M: Mode<L>>(
        &mut self,
        mut guard: MonitorGuard<'a, L, M>,
    ) -> Result<(MonitorGuard<'a, L, M>, Option<Result<T, E>>), Stopped> {
        if guard.is_over() {
            return Err(Stopped);
        }
        if let Poll::Ready(given) = self.poll_next(&mut Context::from_waker(Waker::noop())) {
            return Ok((guard, given.transpose()?));
        }
        loop {
            let (completer, mut woken) = guard.owe("next of a window");
            let waker = Waker::from(Arc::new(Tell(Mutex::new(Some(completer)))));
            if let Poll::Ready(given) = self.poll_next(&mut Context::from_waker(&waker)) {
                return Ok((guard, given.transpose()?));
            }
            guard = guard.wait_for(&mut woken)?.0;
        }
    }

    fn wait_for(&mut self, deadline: Option<Instant>) -> Given<T, E, WaitError> {
        let unpark = Arc::new(Unpark(Parker::new()));
        let waker = Waker::from(Arc::clone(&unpark));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(given) = self.poll_next(&mut context) {
                return given.map(|result| result.map_err(WaitError::from));
            }
            if deadline.is_some_and(|deadline| now() >= deadline) {
                return Some(Err(WaitError::TimedOut));
            }
            unpark.0.park(deadline);
        }
    }

    /// The next result, or `None` if all were given out, for a task.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Given<T, E, Stopped> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next result: what [`next`](Self::next) does.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Given<T, E, Stopped>> {
        self.fill();
        if self.vacant.len() == self.slots.len() {
            return Poll::Ready(None);
        }
        // Before the places are looked at, so that whoever comes later wakes it. A waker is the user's: it is cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let replaced = self.woken.state.lock().waker.replace(waker);
        drop(replaced);
        loop {
            let index = self.woken.state.lock().places.pop_front();
            let Some(index) = index else { return Poll::Pending };
            let slot = &mut self.slots[index];
            let Some(completion) = &mut slot.completion else { continue };
            if let Poll::Ready(result) = Pin::new(completion).poll(&mut Context::from_waker(&slot.waker)) {
                slot.completion = None;
                self.vacant.push(index);
                return Poll::Ready(Some(result));
            }
        }
    }

    /// Begins as many as there is room for.
    fn fill(&mut self) {
        while self.slots.len() - self.vacant.len() < self.window {
            let Some(completion) = self.source.next() else { return };
            let index = self.vacant.pop().unwrap_or_else(|| {
                let index = self.slots.len();
                let place = Arc::new(Place { index, woken: Arc::clone(&self.woken) });
                self.slots.push(Slot { completion: None, waker: Waker::from(place) });
                index
            });
            self.slots[index].completion = Some(completion);
            self.woken.state.lock().places.push_back(index);
        }
    }
}

/// Nothing in it is ever pinned: its completions move freely.
impl<I: Iterator> Unpin for Unordered<I> {}

/// The same as [`next`](Unordered::next), for the combinators of the `futures` crate.
#[cfg(feature = "tokio")]
impl<T, E: From<Abandoned>, I: Iterator<Item = Completion<T, E>>> futures_core::Stream for Unordered<I> {
    type Item = Result<Result<T, E>, Stopped>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_next(cx)
    }
}

impl<I: Iterator> fmt::Debug for Unordered<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun = self.slots.len() - self.vacant.len();
        f.debug_struct("Unordered").field("window", &self.window).field("begun", &begun).finish_non_exhaustive()
    }
}
