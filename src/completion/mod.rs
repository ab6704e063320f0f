//! One-shot results: what a wait for storage, or for anything that somebody owes, is made of.
//!
//! A completion costs no allocation where its thread or the process has kept the memory of an earlier one (see `block`), and nothing at a stop domain until
//! somebody waits: a waiter registers when it begins to wait.

mod block;
mod cell;

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::error::{Abandoned, Stopped, WaitError};
use crate::registry::domain::DomainRef;
use crate::registry::member::MemberRef;
use crate::registry::order::{self, Debt};
use crate::stop::Stop;
#[cfg(not(unwedge_loom))]
use crate::wait::debtor::Debtor;
use crate::wait::ticket::{Note, Ticket};
use crate::wait::waiter::{Kind, NOTIFIED, STOPPED, WAITING, What};

use cell::{Receiver, Sender};

/// What is owed by whom: how a report names a completion.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Owed {
    /// What is done, for example `read` (16 bytes of it are kept in a report).
    pub operation: &'static str,
    /// To what: a file or an object (48 bytes of it are kept in a report).
    pub object: Option<Object>,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u64,
}

/// The name of a file or an object: cheap to clone, and one word, so that what is owed is quickly written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object(Arc<Box<str>>);

impl<T: Into<Box<str>>> From<T> for Object {
    fn from(name: T) -> Self {
        Object(Arc::new(name.into()))
    }
}

impl Deref for Object {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Owed {
    #[inline]
    fn from(operation: &'static str) -> Self {
        Owed { operation, object: None, offset: 0, length: 0 }
    }
}

/// A result that somebody owes: `Ok(T)`, or `Err(E)` where `E` can also say that it was abandoned.
///
/// ```
/// use unwedge::{Abandoned, Completion, Stop};
///
/// let stop = Stop::new("mds.a");
/// let (completer, mut completion) = Completion::<u32>::new("answer", &stop);
/// stop.spawn("oracle", move || completer.complete(42))?;
/// assert_eq!(completion.wait()?, Ok(42));        // Err(Stopped) if a stop comes first
///
/// let (completer, mut completion) = Completion::<u32>::new("answer", &stop);
/// drop(completer);
/// assert_eq!(completion.wait()?, Err(Abandoned));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is waited for by a thread ([`wait`](Self::wait)), a task (`.await`), under a monitor's lock
/// ([`MonitorGuard::wait_for`](crate::MonitorGuard::wait_for)) or by nobody ([`on_complete`](Self::on_complete)). A wait that begins after the
/// stop of its domain is stopped even if the value is there; the value stays. The value is given out once; afterwards there is `Abandoned`.
///
/// # Cancel safety
/// Dropping a completion says that nobody wants the result: it goes back to its [`Completer`], or is dropped once.
#[must_use = "a dropped completion says that nobody wants the result"]
pub struct Completion<T, E = Abandoned> {
    /// `None` once the result was given out. A task's wait that has begun lies there too, so that a completion is one word. The value in it is `None` where
    /// the completer was dropped: whoever takes the result makes an error of it.
    receiver: Option<Receiver<Option<Result<T, E>>>>,
}

/// Who owes a [`Completion`] its result. Dropped without one, the result is [`Abandoned`].
///
/// It may be used from any thread and under any lock: it never blocks and runs no callback. The error that [`Abandoned`] becomes is made by who
/// takes the result: a conversion that panics does so there (a callback of [`on_complete`](Completion::on_complete) is then dropped unrun), and
/// leaves nobody asleep.
#[must_use = "a dropped completer abandons its completion"]
pub struct Completer<T, E: From<Abandoned> = Abandoned> {
    sender: Option<Sender<Option<Result<T, E>>>>,
}

impl<T, E: From<Abandoned>> Completion<T, E> {
    /// A result owed in the domain `stop`, and who owes it. What is owed is a name, or an [`Owed`] that says more.
    #[inline]
    #[cfg_attr(any(debug_assertions, feature = "lockdep"), track_caller)]
    pub fn new(owed: impl Into<Owed>, stop: &Stop) -> (Completer<T, E>, Self) {
        Self::new_in(owed, *stop.domain())
    }

    #[inline]
    #[cfg_attr(any(debug_assertions, feature = "lockdep"), track_caller)]
    pub(crate) fn new_in(owed: impl Into<Owed>, domain: DomainRef) -> (Completer<T, E>, Self) {
        let (sender, receiver) = cell::cell(domain, owed.into(), Debt::new(order::place(Location::caller())));
        (Completer { sender: Some(sender) }, Completion { receiver: Some(receiver) })
    }

    /// A result that is there already.
    #[inline]
    #[cfg_attr(any(debug_assertions, feature = "lockdep"), track_caller)]
    pub fn ready(result: Result<T, E>, stop: &Stop) -> Self {
        Completion {
            receiver: Some(cell::full(Some(result), *stop.domain(), Debt::new(order::place(Location::caller())))),
        }
    }

    /// Whether the result is there.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.receiver.as_ref().is_none_or(Receiver::is_ready)
    }

    /// What is owed; `None` if it was given out or was there from the start.
    pub fn owed(&self) -> Option<&Owed> {
        self.receiver.as_ref().map(Receiver::owed).filter(|owed| !owed.operation.is_empty())
    }

    /// Whose stop ends a wait for it; `None` if there is nothing to wait for.
    #[inline]
    fn domain(&self) -> Option<DomainRef> {
        self.receiver.as_ref().map(Receiver::domain)
    }

    /// Waits for the result; blocks the thread. One `?` for the stop, one for the value.
    ///
    /// # Errors
    /// [`Stopped`]; then the result, if it comes, stays here and can be had under another domain (a phase) only.
    ///
    /// # Deadlocks
    /// Where the completer needs what the caller holds; a stop of the domain ends it.
    #[inline]
    #[track_caller]
    pub fn wait(&mut self) -> Result<Result<T, E>, Stopped> {
        self.wait_by(self.domain(), None, Location::caller()).map_err(|_| Stopped)
    }

    /// As [`wait`](Self::wait), in another domain: a phase of a shutdown.
    ///
    /// # Errors
    /// [`Stopped`] by that domain.
    #[track_caller]
    pub fn wait_in(&mut self, domain: &Stop) -> Result<Result<T, E>, Stopped> {
        self.wait_by(Some(*domain.domain()), None, Location::caller()).map_err(|_| Stopped)
    }

    /// As [`wait`](Self::wait), until a deadline. After a timeout it can be waited for again.
    ///
    /// # Errors
    /// [`WaitError::Stopped`] or [`WaitError::TimedOut`].
    #[track_caller]
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Result<T, E>, WaitError> {
        self.wait_by(self.domain(), Some(deadline), Location::caller())
    }

    /// As [`wait_until`](Self::wait_until), in another domain.
    ///
    /// ```
    /// # use std::time::Instant;
    /// use unwedge::{Completion, Stop, WaitError};
    ///
    /// let (stop, phase) = (Stop::new("mds.a"), Stop::new("save"));
    /// let (_never, mut write) = Completion::<u32>::new("write", &stop);
    /// stop.request("SIGTERM");                                 // ends no wait in `phase`
    /// assert_eq!(write.wait_in_until(&phase, Instant::now()), Err(WaitError::TimedOut));
    /// ```
    ///
    /// # Errors
    /// [`WaitError::Stopped`] by that domain, or [`WaitError::TimedOut`].
    #[track_caller]
    pub fn wait_in_until(&mut self, domain: &Stop, deadline: Instant) -> Result<Result<T, E>, WaitError> {
        self.wait_by(Some(*domain.domain()), Some(deadline), Location::caller())
    }

    /// Says that nobody wants the result any more. A result that came first comes back: what the completer does not have, the caller has.
    pub fn cancel(mut self) -> Option<Result<T, E>> {
        self.receiver.take().and_then(Receiver::close).map(or_abandoned)
    }

    /// Runs a callback with the result, on the callback thread of the domain `stop` (never on the thread that completes or stops).
    ///
    /// A stop of that domain, or of the completion's own, runs it with `Err(Stopped)`.
    ///
    /// # Errors
    /// The system's, if the callback thread cannot be started; then the callback does not run.
    pub fn on_complete(
        self,
        stop: &Stop,
        callback: impl FnOnce(Result<Result<T, E>, Stopped>) + Send + 'static,
    ) -> std::io::Result<()>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut completion = self;
        let mut over = stop.over();
        stop.run_callback(async move {
            let result = poll_fn(|cx| match Pin::new(&mut completion).poll(cx) {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Pin::new(&mut over).poll(cx).map(|()| Err(Stopped)),
            });
            callback(result.await);
        })
    }

    /// The result, if the wait is already over when it begins.
    #[inline]
    pub(crate) fn take_ready_in(&mut self, domain: Option<DomainRef>) -> Result<Option<Result<T, E>>, Stopped> {
        if domain.is_some_and(DomainRef::is_over) { Err(Stopped) } else { Ok(self.try_take()) }
    }

    /// Blocks until the result is there.
    pub(crate) fn wait_ready_in(
        &mut self,
        domain: DomainRef,
        location: &'static Location<'static>,
    ) -> Result<(), Stopped> {
        if domain.is_over() {
            return Err(Stopped);
        }
        if self.is_complete() { Ok(()) } else { self.wait_owed(Some(domain), None, location).map_err(|_| Stopped) }
    }

    /// Blocks until the result is there, and takes it.
    #[inline]
    fn wait_by(
        &mut self,
        domain: Option<DomainRef>,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<Result<T, E>, WaitError> {
        if let Some(early) = self.take_ready_in(domain).map_err(|_| WaitError::Stopped)? {
            return Ok(early);
        }
        self.wait_owed(domain, deadline, location)?;
        Ok(self.take())
    }

    #[cold]
    fn wait_owed(
        &mut self,
        domain: Option<DomainRef>,
        deadline: Option<Instant>,
        location: &'static Location<'static>,
    ) -> Result<(), WaitError> {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        // A task's wait that was begun with this completion ends here: the cell names one waiter, and the next poll begins anew.
        drop(receiver.ticket().take());
        let note = note(receiver, domain, location);
        let ticket = Ticket::begin(Kind::Thread, WAITING, &note);
        if note.is_over() {
            return Err(WaitError::Stopped);
        }
        note_order(receiver, location);
        if receiver.register(&ticket) {
            return Ok(());
        }
        ticket.park_while(|state| state == WAITING, deadline);
        match ticket.end() {
            NOTIFIED => Ok(()),
            STOPPED => Err(WaitError::Stopped),
            _ => Err(WaitError::TimedOut),
        }
    }

    /// The result, if it is there.
    #[inline]
    fn try_take(&mut self) -> Option<Result<T, E>> {
        match self.receiver.take().map(Receiver::take) {
            Some(Ok(result)) => Some(or_abandoned(result)),
            None => Some(Err(E::from(Abandoned))),
            Some(Err(receiver)) => {
                self.receiver = Some(receiver);
                None
            }
        }
    }

    /// The result, which is there.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<T, E> {
        self.try_take().unwrap_or_else(|| {
            debug_assert!(false, "the caller knows that the result is there");
            Err(E::from(Abandoned))
        })
    }
}

/// What came of it; an error of its own if the completer was dropped.
#[inline]
fn or_abandoned<T, E: From<Abandoned>>(result: Option<Result<T, E>>) -> Result<T, E> {
    result.unwrap_or_else(|| Err(E::from(Abandoned)))
}

/// The same as [`Completion::wait`], for a task.
///
/// # Cancel safety
/// A future that is polled by reference can be dropped and polled again later: the result is not lost.
impl<T, E: From<Abandoned>> Future for Completion<T, E> {
    type Output = Result<Result<T, E>, Stopped>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(receiver) = &mut this.receiver else { return Poll::Ready(Ok(this.take())) };
        match receiver.ticket() {
            None => ready!(poll_first(receiver, Location::caller(), cx))?,
            Some(ticket) if ticket.set_waker(cx.waker()) => return Poll::Pending,
            waiting => {
                if waiting.take().is_none_or(|ticket| ticket.end() != NOTIFIED) {
                    return Poll::Ready(Err(Stopped));
                }
            }
        }
        Poll::Ready(Ok(this.take()))
    }
}

/// The poll with which a task's wait begins. `Ok` where the result is there already.
#[inline(always)]
fn poll_first<V>(
    receiver: &mut Receiver<V>,
    location: &'static Location<'static>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Stopped>> {
    let note = note(receiver, Some(receiver.domain()), location);
    if note.is_over() {
        return Poll::Ready(Err(Stopped));
    }
    if receiver.is_ready() {
        return Poll::Ready(Ok(()));
    }
    let ticket = Ticket::begin_polled(WAITING, &note, cx.waker());
    if note.is_over() {
        return Poll::Ready(Err(Stopped));
    }
    note_order(receiver, location);
    if receiver.register(&ticket) {
        return Poll::Ready(Ok(()));
    }
    receiver.set_ticket(ticket);
    Poll::Pending
}

/// What is noted of a wait for it.
#[inline]
fn note<'a, V>(receiver: &'a Receiver<V>, domain: Option<DomainRef>, location: &'static Location<'static>) -> Note<'a> {
    let Owed { operation, object, offset, length } = receiver.owed();
    let owed = Some((*operation, object.as_deref().unwrap_or(""), *offset, *length));
    Note { domain, owed, ..Note::endless(What::Completion, location) }
}

/// For the order of locks: a wait for it begins.
#[inline]
fn note_order<V>(receiver: &Receiver<V>, location: &'static Location<'static>) {
    if order::WATCHED {
        let owed = receiver.owed();
        let object = owed.object.as_deref().unwrap_or("");
        order::wait_for(receiver.class(), owed.operation, object, order::place(location));
    }
}

// Nothing in it is pinned: the value moves only out of it.
impl<T, E> Unpin for Completion<T, E> {}

impl<T, E: From<Abandoned>> Completer<T, E> {
    /// Gives the value.
    ///
    /// # Errors
    /// Nobody wants it any more: the value comes back.
    #[inline]
    pub fn complete(self, value: T) -> Result<(), T> {
        match self.finish(Ok(value)) {
            Err(Ok(value)) => Err(value),
            _ => Ok(()),
        }
    }

    /// Says that there will be no value, and why.
    ///
    /// # Errors
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
    /// Nobody wants it any more: the result comes back.
    #[inline]
    pub fn finish(self, result: Result<T, E>) -> Result<(), Result<T, E>> {
        // Afterwards there is nothing left for its drop.
        ManuallyDrop::new(self).settle(result)
    }

    /// As [`finish`](Self::finish), once: what comes later nobody wants.
    #[inline]
    pub(crate) fn settle(&mut self, result: Result<T, E>) -> Result<(), Result<T, E>> {
        match self.sender.take() {
            Some(sender) => match sender.send(Some(result)) {
                Err(Some(unwanted)) => Err(unwanted),
                _ => Ok(()),
            },
            None => Err(result),
        }
    }

    /// Says that the thread or task that calls this owes the result: a report names it, and whoever waits for the result is seen to wait for it.
    ///
    /// Nobody else knows: a completer is moved about. Where it was not said a report calls the debtor unknown. Who has taken the completer over says it
    /// again. (The end of a thread or task is owed by that one, and an operation of [`io`](crate::io) by storage, without a word.)
    ///
    /// ```
    /// use unwedge::{Completion, Stop};
    ///
    /// let stop = Stop::new("mds.a");
    /// let (completer, mut ack) = Completion::<u64>::new("beacon_ack", &stop);
    /// stop.spawn("dispatch", move || {
    ///     completer.owed_by_me();
    ///     completer.complete(7)
    /// })?;
    /// assert_eq!(ack.wait()?, Ok(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn owed_by_me(&self) {
        if let Some(sender) = &self.sender {
            sender.now_owed_by_me(order::place(Location::caller()));
        }
    }

    /// Says that the result is the end of a member, before anybody can wait for it.
    pub(crate) fn owed_as_end_of(&self, member: MemberRef, name: &str) {
        if let Some(sender) = &self.sender {
            sender.owed_as_end_of(member, name);
        }
    }

    /// Says who owes the result, before anybody can wait for it.
    #[cfg(not(unwedge_loom))]
    #[inline]
    pub(crate) fn owed_by(&self, debtor: Debtor) {
        if let Some(sender) = &self.sender {
            sender.owed_by(debtor);
        }
    }

    /// Gives back what is kept for the result, if nobody wants it any more.
    pub(crate) fn rest_if_unwanted(&mut self) {
        if !self.is_wanted() {
            *self = Completer { sender: None };
        }
    }

    /// Whether somebody still wants the result.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.sender.as_ref().is_some_and(Sender::is_wanted)
    }
}

impl<T, E: From<Abandoned>> Drop for Completer<T, E> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            // No error is made of it here: that is the user's code, which may panic, and the caller may hold the big lock.
            let _ = sender.send(None);
        }
    }
}

impl<T, E: From<Abandoned>> fmt::Debug for Completion<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Completion");
        if let Some(owed) = self.owed() {
            debug.field("owed", owed);
        }
        debug.finish_non_exhaustive()
    }
}

impl<T, E: From<Abandoned>> fmt::Debug for Completer<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").field("is_wanted", &self.is_wanted()).finish()
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        sys::{CLOCK_READS, now},
        wait::{condvar::Condvar, monitor::Monitor},
    };

    /// Who waits has an age in reports; who does not pays for none.
    #[test]
    #[expect(clippy::disallowed_types, reason = "the user's lock")]
    fn who_does_not_wait_looks_at_no_clock() {
        let stop = Stop::new("clocks");
        let (monitor, changed) = (Monitor::new("lock", std::sync::Mutex::new(0), &stop), Condvar::new());
        let (completer, mut completion) = Completion::<u32>::new("read", &stop);
        let reads = || CLOCK_READS.get();
        let before = reads();
        *monitor.lock().expect("no stop") += 1;
        drop(monitor.try_lock().expect("no stop").expect("free"));
        assert_eq!(monitor.when(|number| (*number == 1).then_some(())), Ok(()));
        assert_eq!((changed.notify_all(), changed.notify_one()), (0, false));
        let guard = monitor.lock().expect("no stop");
        let guard = guard.wait_while(&changed, |number| *number == 0).expect("no stop");
        assert!(completer.complete(7).is_ok());
        let (guard, read) = guard.wait_for(&mut completion).expect("no stop");
        assert_eq!((read, reads() - before), (Ok(7), 0));
        drop(guard);
        let deadline = now() + Duration::from_millis(1);
        let before = reads();
        assert!(monitor.when_until(deadline, |_| None::<()>).is_err());
        assert!(reads() > before, "a wait looks at one");
    }

    /// Whose slot was another's before.
    #[test]
    fn a_wait_for_what_has_no_name_is_not_given_another_ones() {
        let stop = Stop::new("names");
        let (_owes, mut named) = Completion::<u32>::new("read", &stop);
        assert_eq!(named.wait_until(now() + Duration::from_millis(1)), Err(WaitError::TimedOut));
        let (_owes, mut unnamed) = Completion::<u32>::new("", &stop);
        assert!(Pin::new(&mut unnamed).poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        let me = crate::registry::member::me();
        let seen: Vec<_> = crate::wait::look::look().filter(|seen| seen.member == me).collect();
        assert_eq!(seen.iter().map(|seen| seen.operation.to_string()).collect::<Vec<_>>(), [""]);
    }
}
