//! Operations that foreign code does: a client library, another process, a device of one's own.
//!
//! # Algorithm
//!
//! A completion as any other, and beside it what it takes to tell the foreign code that nobody waits any more. The hook for that lies behind a lock
//! of its own; who takes it out runs it, so it runs once or never: the end of the operation throws it away, the drop of the completion and the stop of the
//! domain have it run. It never runs inside them (law L6) but on the domain's callback thread; one callback for each domain waits for the stop.
//!
//! # Invariants
//!
//! - **Cancelled or ended**: [`State`] leaves `Open` once. What `on_cancel` brings afterwards is run at once, or thrown away.
//! - **Counted**: an operation is outstanding from before it is asked whether anything may begin to the drop of its completer, whatever becomes of the
//!   completion.

use std::{
    fmt,
    future::Future,
    io,
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Instant,
};

use super::{
    Io,
    backend::guarded,
    meter::{Meter, Operation},
};
use crate::{
    Abandoned, Completer, Completion, Owed, Stop, Stopped,
    registry::flight::Flight,
    sys::{Mutex, PlainU8, Relaxed, Signal, now},
    wait::debtor::Debtor,
};

type Hook = Box<dyn FnOnce() + Send>;

/// How many external operations have not ended.
pub(super) struct Outstanding {
    count: Mutex<usize>,
    none: Signal,
    /// Nobody waits any more. Written and read under the lock of `count`.
    hurried: PlainU8,
}

impl Outstanding {
    pub(super) fn new() -> Outstanding {
        Outstanding { count: Mutex::new(0), none: Signal::default(), hurried: PlainU8::new(0) }
    }

    /// Waits until none is left, or for the deadline; how many are.
    pub(super) fn wait(&self, deadline: Instant) -> usize {
        let mut count = self.count.lock();
        // Ordering: Relaxed, under the lock.
        while *count > 0 && now() < deadline && self.hurried.load(Relaxed) == 0 {
            count = self.none.wait_until(count, deadline);
        }
        *count
    }

    /// The deadline of a wait is now, of one that runs and of one to come.
    pub(super) fn hurry(&self) {
        let _count = self.count.lock();
        self.hurried.store(1, Relaxed);
        self.none.notify_all();
    }
}

/// The external operations of one domain.
pub(super) struct Externals {
    domain: Stop,
    state: Mutex<Watched>,
}

/// All under the lock.
#[derive(Default)]
struct Watched {
    /// Those with a hook.
    hooked: Vec<Weak<Cancel>>,
    /// Whether a callback waits for the stop.
    watching: bool,
}

impl Externals {
    pub(super) fn new(domain: &Stop) -> Arc<Externals> {
        Arc::new(Externals { domain: domain.clone(), state: Mutex::new(Watched::default()) })
    }

    pub(super) fn domain(&self) -> &Stop {
        &self.domain
    }

    /// Has an operation cancelled when the domain is stopped.
    fn watch(self: &Arc<Self>, cancel: &Arc<Cancel>) -> io::Result<()> {
        {
            let mut state = self.state.lock();
            if state.hooked.len() == state.hooked.capacity() {
                state.hooked.retain(|cancel| cancel.strong_count() > 0);
                let room = state.hooked.len().max(16);
                state.hooked.reserve(room);
            }
            state.hooked.push(Arc::downgrade(cancel));
            if state.watching {
                return Ok(());
            }
        }
        // Neither the domain nor this is kept by it: when the domain goes, it is over. (Two that come at once start two callbacks: the second finds nothing to do.)
        let (over, externals) = (self.domain.over(), Arc::downgrade(self));
        self.domain.run_callback(async move {
            over.await;
            if let Some(externals) = externals.upgrade() {
                externals.cancel_all();
            }
        })?;
        self.state.lock().watching = true;
        Ok(())
    }

    /// On the callback thread.
    fn cancel_all(&self) {
        let hooked = std::mem::take(&mut self.state.lock().hooked);
        for cancel in hooked.iter().filter_map(Weak::upgrade) {
            if let Some(hook) = cancel.cancel() {
                guarded(hook);
            }
        }
    }

    /// Has a hook run on the callback thread.
    fn run(&self, hook: Hook) -> io::Result<()> {
        self.domain.run_callback(async move { hook() })
    }
}

/// What the two ends of an operation share.
struct Cancel {
    state: Mutex<State>,
}

enum State {
    Open(Option<Hook>),
    Cancelled,
    Ended,
}

impl Cancel {
    /// Nobody waits any more: the hook, if it is to be run.
    fn cancel(&self) -> Option<Hook> {
        let mut state = self.state.lock();
        match &mut *state {
            State::Open(hook) => {
                let hook = hook.take();
                *state = State::Cancelled;
                hook
            }
            State::Cancelled | State::Ended => None,
        }
    }

    /// The operation has ended. The hook is dropped without the lock.
    fn end(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Ended);
        drop(before);
    }
}

/// External operations.
impl Io {
    /// An operation that foreign code does and completes: its two ends. What it is called is a name, or an [`Owed`] that says more.
    ///
    /// It counts as in flight until the completer is used or dropped, also at a shutdown, which waits for it as for the kernel.
    ///
    /// ```
    /// use std::{io, thread};
    /// use unwedge::{Stop, io::{Io, IoError}};
    ///
    /// let stop = Stop::new("mds.a");
    /// let io = Io::new(&stop)?;
    /// let (completer, mut answer) = io.external::<Vec<u8>, IoError>("osd_op");
    /// completer.on_cancel(|| { /* tell the library: nobody waits for it */ })?;
    /// thread::spawn(move || completer.complete(b"object".to_vec()));      // the library's own thread
    /// assert_eq!(answer.wait()??, b"object");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the completion runs the hook of [`on_cancel`](ExternalCompleter::on_cancel).
    pub fn external<T, E>(&self, owed: impl Into<Owed>) -> (ExternalCompleter<T, E>, ExternalCompletion<T, E>)
    where
        T: Send + 'static,
        E: From<Abandoned> + Send + 'static,
    {
        // The caller's code, which may panic: first.
        let owed: Owed = owed.into();
        let outstanding = Arc::clone(&self.backends.outstanding);
        *outstanding.count.lock() += 1;
        // Asked once it is counted: a shutdown says that nothing may begin any more, and then looks at the count, so that an operation that it does not find
        // there finds itself refused. (The model `law4_external_protocol`; its twin asks first.)
        let refused = self.refusal().is_some();
        let state = if refused { State::Cancelled } else { State::Open(None) };
        let cancel = Arc::new(Cancel { state: Mutex::new(state) });
        let flight = self.flight(owed.operation, owed.object.as_deref().unwrap_or(""), owed.offset, owed.length);
        let (completer, completion) = Completion::new(owed, self.domain());
        completer.owed_by(Debtor::Storage);
        self.meter().begun(Operation::External);
        let completer = ExternalCompleter {
            completer: Some(completer),
            flight: Some(flight),
            begun: now(),
            cancel: Arc::clone(&cancel),
            externals: Arc::clone(&self.externals),
            outstanding,
            meter: Arc::clone(self.meter()),
        };
        let completion = if refused { Completion::ready(Err(E::from(Abandoned)), self.domain()) } else { completion };
        (completer, ExternalCompletion { completion, cancel: Some((cancel, Arc::clone(&self.externals))) })
    }
}

/// What foreign code completes an [external](Io::external) operation with, from any thread and under any lock. Dropped without a result,
/// the completion is [`Abandoned`].
#[must_use = "a dropped completer abandons its completion"]
pub struct ExternalCompleter<T: Send + 'static, E: From<Abandoned> + Send + 'static = Abandoned> {
    /// `None` once it was used.
    completer: Option<Completer<T, E>>,
    /// A report sees the operation for as long as this is there.
    flight: Option<Flight>,
    begun: Instant,
    cancel: Arc<Cancel>,
    externals: Arc<Externals>,
    outstanding: Arc<Outstanding>,
    meter: Arc<Meter>,
}

impl<T: Send + 'static, E: From<Abandoned> + Send + 'static> ExternalCompleter<T, E> {
    /// Runs a hook when nobody waits for the result any more: the completion was dropped or cancelled, or the stop of its domain was requested.
    /// If that has happened already, it runs now. A wait that timed out is no reason: it may be begun again.
    ///
    /// It runs on the domain's callback thread, at most once, and not at all if the operation ends first. It should only tell the foreign
    /// code: while it runs, the other callbacks of the domain wait. A second hook takes the place of the first.
    ///
    /// # Errors
    ///
    /// The system's, if the callback thread cannot be started; then the hook does not run, and one that was set before stays.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut hook: Option<Hook> = Some(Box::new(hook));
        // First: so that no hook is left behind where nobody would look at it.
        let open = matches!(*self.cancel.state.lock(), State::Open(_));
        if open {
            self.externals.watch(&self.cancel)?;
        }
        let (before, late) = {
            let mut state = self.cancel.state.lock();
            match &mut *state {
                State::Open(place) => (std::mem::replace(place, hook.take()), false),
                State::Cancelled => (None, true),
                State::Ended => (None, false),
            }
        };
        drop(before);
        if late {
            return hook.map_or(Ok(()), |hook| self.externals.run(hook));
        }
        // Who stops it now finds the hook; who had stopped it before may have looked before it was there.
        if self.externals.domain.is_requested() {
            if let Some(hook) = self.cancel.cancel() {
                return self.externals.run(hook);
            }
        }
        Ok(())
    }

    /// Gives the value.
    ///
    /// # Errors
    ///
    /// Nobody wants it any more: the value comes back.
    pub fn complete(self, value: T) -> Result<(), T> {
        match self.finish(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Says that there will be no value, and why.
    ///
    /// # Errors
    ///
    /// Nobody wants to know any more: the error comes back.
    pub fn fail(self, error: E) -> Result<(), E> {
        match self.finish(Err(error)) {
            Err(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives the result, be it a value or an error.
    ///
    /// # Errors
    ///
    /// Nobody wants it any more: the result comes back.
    pub fn finish(mut self, result: Result<T, E>) -> Result<(), Result<T, E>> {
        let Some(completer) = self.end(result.is_ok()) else { return Err(result) };
        completer.finish(result).inspect_err(|_| self.meter.too_late())
    }

    /// Whether somebody still wants the result.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.completer.as_ref().is_some_and(Completer::is_wanted)
    }

    /// Counts the end and takes the completer out, the first time.
    fn end(&mut self, ok: bool) -> Option<Completer<T, E>> {
        let completer = self.completer.take()?;
        self.cancel.end();
        self.flight = None;
        self.meter.ended(Operation::External, now().saturating_duration_since(self.begun), ok);
        let none = {
            let mut count = self.outstanding.count.lock();
            *count -= 1;
            *count == 0
        };
        if none {
            self.outstanding.none.notify_all();
        }
        Some(completer)
    }
}

impl<T: Send + 'static, E: From<Abandoned> + Send + 'static> Drop for ExternalCompleter<T, E> {
    fn drop(&mut self) {
        drop(self.end(false));
    }
}

impl<T: Send + 'static, E: From<Abandoned> + Send + 'static> fmt::Debug for ExternalCompleter<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalCompleter").field("is_wanted", &self.is_wanted()).finish_non_exhaustive()
    }
}

/// The result of an [external](Io::external) operation: a [`Completion`] whose drop tells the foreign code that nobody waits any more.
///
/// It dereferences to the completion, so it is waited for as any other: `wait`, `wait_until`, `.await`, and
/// [`MonitorGuard::wait_for`](crate::MonitorGuard::wait_for) takes a `&mut` of it.
#[must_use = "a dropped completion cancels its operation"]
pub struct ExternalCompletion<T, E: From<Abandoned> = Abandoned> {
    completion: Completion<T, E>,
    /// `None` once it was given up.
    cancel: Option<(Arc<Cancel>, Arc<Externals>)>,
}

impl<T, E: From<Abandoned>> ExternalCompletion<T, E> {
    /// Says that nobody wants the result any more. A result that was there already comes back.
    pub fn cancel(mut self) -> Option<Result<T, E>> {
        let domain = self.cancel.as_ref().map(|(_, externals)| externals.domain.clone())?;
        let taken = Completion::ready(Err(E::from(Abandoned)), &domain);
        let result = std::mem::replace(&mut self.completion, taken).cancel();
        drop(self);
        result
    }

    /// The completion alone, for who wants that type. Its drop tells the foreign code nothing; the stop of its domain still does.
    pub fn into_completion(mut self) -> Completion<T, E> {
        let cancel = self.cancel.take();
        let domain = cancel.as_ref().map_or_else(|| Stop::new("given up"), |(_, externals)| externals.domain.clone());
        std::mem::replace(&mut self.completion, Completion::ready(Err(E::from(Abandoned)), &domain))
    }

    /// As [`Completion::on_complete`].
    ///
    /// # Errors
    ///
    /// The system's, if the callback thread cannot be started; then the callback does not run.
    pub fn on_complete(
        mut self,
        stop: &Stop,
        callback: impl FnOnce(Result<Result<T, E>, Stopped>) + Send + 'static,
    ) -> io::Result<()>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let taken = Completion::ready(Err(E::from(Abandoned)), stop);
        let completion = std::mem::replace(&mut self.completion, taken);
        // Dropped with the callback: the operation is cancelled if it has not ended by then.
        completion.on_complete(stop, move |result| {
            callback(result);
            drop(self);
        })
    }
}

impl<T, E: From<Abandoned>> Deref for ExternalCompletion<T, E> {
    type Target = Completion<T, E>;

    fn deref(&self) -> &Completion<T, E> {
        &self.completion
    }
}

impl<T, E: From<Abandoned>> DerefMut for ExternalCompletion<T, E> {
    fn deref_mut(&mut self) -> &mut Completion<T, E> {
        &mut self.completion
    }
}

/// The same as [`Completion::wait`], for a task.
///
/// # Cancel safety
///
/// A future that is polled by reference can be dropped and polled again later; dropping the completion itself cancels the operation.
impl<T, E: From<Abandoned>> Future for ExternalCompletion<T, E> {
    type Output = Result<Result<T, E>, Stopped>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.completion).poll(cx)
    }
}

impl<T, E: From<Abandoned>> Drop for ExternalCompletion<T, E> {
    fn drop(&mut self) {
        if let Some((cancel, externals)) = self.cancel.take() {
            if let Some(hook) = cancel.cancel() {
                // The callback thread is there: it waits for the stop as long as there is a hook.
                drop(externals.run(hook));
            }
        }
    }
}

impl<T, E: From<Abandoned>> fmt::Debug for ExternalCompletion<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.completion.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_let_go_of() {
        let stop = Stop::new("test");
        let io = Io::new(&stop).expect("a backend");
        for _ in 0..1000 {
            let (completer, _answer) = io.external::<(), Abandoned>("osd_op");
            completer.on_cancel(|| {}).expect("a callback thread");
        }
        assert!(io.externals.state.lock().hooked.len() <= 64);
        assert!(stop.shutdown(crate::Plan::within(std::time::Duration::from_secs(30))).is_clean());
    }
}
