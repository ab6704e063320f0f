//! The stop domain: one for each life of a daemon, a tree of them where a life has parts.
//!
//! | file | what it is |
//! |---|---|
//! | `mod` | the domain, its flag and its tree |
//! | `spawn` | threads and tasks that belong to a domain |
//! | `tracked` | a future that is a member |
//! | `slots` | where a domain keeps what it knows of them |
//! | `callback` | the domain's callback thread |
//! | `plan` | what a shutdown does, and in what time |
//! | `step` | a step of a plan: what it does and what it needs |
//! | `phase` | a phase, and how it is run |
//! | `phasing` | which shutdowns have phases to run |
//! | `undone` | what becomes of what no step uses up |
//! | `hurry` | how a shutdown's time is taken away |
//! | `shutdown` | the shutdown itself |
//! | `clear` | its last stage: services, callbacks, threads at their end |
//! | `token` | to and from tokio-util's `CancellationToken` |
//!
//! # Invariants
//! - **Born stopped.** A child is entered in its parent's list under the same lock under which a request sets the parent's flag: either the
//!   request finds the child, or the child is born stopped.
//! - **Flag before waiters.** A request sets the flags of the domain and all its descendants, and then looks at every waiter (see
//!   `wait::waiter` for why that misses nobody).

mod callback;
mod clear;
mod hurry;
mod phase;
mod phasing;
mod plan;
mod shutdown;
mod slots;
mod spawn;
mod step;
#[cfg(all(feature = "tokio", not(unwedge_loom)))]
mod token;
mod tracked;
mod undone;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::registry::domain::DomainRef;
use crate::sys::{self, Mutex};
use crate::wait::ticket::{Note, Ticket};
use crate::wait::waiter::{self, Kind, WAITING, What};

pub(crate) use clear::Rest;
pub use phase::Phase;
pub use plan::Plan;
pub(crate) use shutdown::{Leaked, Service};
pub use spawn::{JoinError, Spawned};
pub use step::{PlannedStep, Step};
#[cfg(not(unwedge_loom))]
pub(crate) use undone::drop_apart;

use callback::Callbacks;
use clear::Clearing;
use phasing::Phasing;
use shutdown::StopperThread;
use spawn::Members;

/// A hook that runs first on every thread that a domain starts; it is given the thread's name.
pub(crate) type StartHook = Arc<dyn Fn(&str) + Send + Sync>;

/// A stop domain: what a stop is requested of, and what every wait through unwedge belongs to. Cheap to clone.
///
/// ```
/// use std::time::Duration;
/// use unwedge::{Plan, Stop};
///
/// let stop = Stop::new("mds.a");
/// let beacon = stop.clone();
/// stop.spawn("beacon", move || while !beacon.wait_timeout(Duration::from_secs(4)) { /* send one */ })?;
/// let report = stop.shutdown(Plan::within(Duration::from_secs(10)));      // at once, not in four seconds
/// assert!(report.is_clean(), "{report}");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A domain has children ([`child`](Self::child)): a request reaches them, and not the other way round. A restart is a new `Stop`.
/// A stop cannot be taken back. When the last handle of a domain is dropped its stop is requested.
#[derive(Clone)]
pub struct Stop {
    inner: Arc<Inner>,
    /// The same as `inner.domain`, one step nearer.
    domain: DomainRef,
}

struct Inner {
    domain: DomainRef,
    name: Box<str>,
    reason: Mutex<Option<Arc<str>>>,
    /// Its lock orders the setting of the flag and the birth of children.
    children: Mutex<Vec<Weak<Inner>>>,
    members: Members,
    clearing: Clearing,
    callbacks: Callbacks,
    hook: Option<StartHook>,
    /// Over when its shutdowns have no more time; there from the first one on. Changed under the lock of `children` too: see `hurry`.
    hurry: Mutex<Option<DomainRef>>,
    generation: u64,
    /// What links it to a cancellation token.
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    bridge: Mutex<Option<Arc<token::Bridge>>>,
    /// Which shutdowns have phases to run, in this domain and below; empty but in a root.
    phasing: Phasing,
    /// A child keeps its parent.
    parent: Option<Stop>,
}

/// Makes a [`Stop`] with settings of its own.
#[must_use = "a builder builds nothing by itself"]
pub struct StopBuilder {
    name: String,
    hook: Option<StartHook>,
}

impl StopBuilder {
    /// Runs on every thread that this domain or a child of it starts, before anything else there: for affinity, priority, naming in a
    /// profiler. It is given the thread's name.
    pub fn on_thread_start(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// The domain.
    #[must_use]
    pub fn build(self) -> Stop {
        Stop::make(&self.name, None, self.hook)
    }
}

impl Stop {
    /// A new domain: a life. The name is what reports call it (32 bytes of it).
    #[must_use]
    pub fn new(name: &str) -> Self {
        Stop::make(name, None, None)
    }

    /// A new domain with settings of its own.
    pub fn builder(name: &str) -> StopBuilder {
        StopBuilder { name: name.to_owned(), hook: None }
    }

    fn make(name: &str, parent: Option<Stop>, hook: Option<StartHook>) -> Self {
        let domain = DomainRef::claim_in(parent.as_ref().map(|parent| parent.domain), name);
        Stop {
            domain,
            inner: Arc::new(Inner {
                domain,
                name: name.into(),
                reason: Mutex::new(None),
                children: Mutex::new(Vec::new()),
                members: Members::new(),
                clearing: Clearing::new(),
                callbacks: Callbacks::new(),
                hook,
                hurry: Mutex::new(None),
                generation: sys::next_generation(),
                #[cfg(all(feature = "tokio", not(unwedge_loom)))]
                bridge: Mutex::new(None),
                phasing: Phasing::new(),
                parent,
            }),
        }
    }

    /// A part of this domain, with a stop of its own: a rank of several that one process holds, say. A request of this domain's stop reaches it; a child of
    /// a stopped domain is born stopped.
    ///
    /// Stopping a child, and shutting it down, leaves its siblings alone; a new child, of the same name if need be, is its restart. An [`Io`](crate::io::Io)
    /// belongs to the domain that it was made in: where that is the parent's, the children's operations run on, the shutdown of a child ends their waits
    /// and does not close it, and what the kernel still holds of them is in the report of the parent's shutdown. A child that is to account for its own has an
    /// `Io` of its own.
    #[must_use]
    pub fn child(&self, name: &str) -> Stop {
        let child = Stop::make(name, Some(self.clone()), self.inner.hook.clone());
        let mut children = self.inner.children.lock();
        if self.is_requested() {
            child.inner.mark(&self.reason().unwrap_or_else(|| "stopped".into()));
        }
        if self.is_hurried() {
            child.inner.mark_hurried();
        }
        if children.len() == children.capacity() {
            children.retain(|child| child.strong_count() > 0);
        }
        // One that is born stopped too: it may have members, and a shutdown waits for them.
        children.push(Arc::downgrade(&child.inner));
        drop(children);
        child
    }

    /// Name of the domain.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Which of the process's domains this is: each has a number of its own, greater than those of all that were made before. A life that follows another
    /// has the greater one, so that what is left of an old life (a late reply, a line in a log) can be told from the new.
    ///
    /// ```
    /// let first = unwedge::Stop::new("mds.a");
    /// let second = unwedge::Stop::new("mds.a");
    /// assert!(second.generation() > first.generation());
    /// assert_eq!(first.clone().generation(), first.generation());
    /// ```
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Requests the stop: every wait of this domain and its descendants ends, now and from now on. Whether this was the first request.
    ///
    /// It never blocks, runs no callback, and may be called any number of times, from any thread, also one of the domain, from a callback and
    /// under any lock (L6, L7). Wakers of tasks run inside it, with no lock of unwedge's held. It is not for a signal handler: use a thread
    /// that waits for signals.
    pub fn request(&self, reason: &str) -> bool {
        let first = self.inner.mark(&reason.into());
        // A later request does it too: it must not depend on how far the first one has come.
        waiter::stop_all();
        first
    }

    /// Whether the stop was requested. One load.
    #[inline]
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.domain.is_over()
    }

    /// Why, once it was requested: the first request's reason.
    #[must_use]
    pub fn reason(&self) -> Option<Arc<str>> {
        self.inner.reason.lock().clone()
    }

    /// Waits until the stop is requested, as a task.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    #[track_caller]
    pub fn requested(&self) -> Requested<'_> {
        over(self.domain)
    }

    /// Sleeps, but not past a stop: whether it was requested.
    #[track_caller]
    pub fn wait_timeout(&self, time: Duration) -> bool {
        let deadline = sys::now().checked_add(time);
        let note = Note::new(What::Stop, self.domain, Location::caller());
        let ticket = Ticket::begin(Kind::Thread, WAITING, &note);
        if !ticket.is_over() {
            ticket.park_while(|state| state == WAITING, deadline);
        }
        self.is_requested()
    }

    /// A handle that does not keep the domain.
    #[cfg(all(feature = "tracing", not(unwedge_loom)))]
    pub(crate) fn downgrade(&self) -> WeakStop {
        WeakStop(Arc::downgrade(&self.inner))
    }

    fn of(inner: Arc<Inner>) -> Self {
        Stop { domain: inner.domain, inner }
    }

    #[inline]
    pub(crate) fn domain(&self) -> &DomainRef {
        &self.domain
    }

    /// Ends when the domain is over, and does not keep it.
    pub(crate) fn over(&self) -> Requested<'static> {
        over(self.domain)
    }

    /// Runs a future on the callback thread, for [`Completion::on_complete`](crate::Completion::on_complete).
    pub(crate) fn run_callback(&self, callback: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
        self.inner.callbacks.run(callback, self.inner.hook.clone())
    }

    /// Has a service closed in the last stage of a shutdown.
    pub(crate) fn register_service(&self, service: Arc<dyn Service>) {
        self.inner.clearing.add(service);
    }

    /// The hook that runs first on every thread of this domain.
    #[cfg(not(unwedge_loom))]
    pub(crate) fn start_hook(&self) -> Option<StartHook> {
        self.inner.hook.clone()
    }

    /// This domain and its descendants.
    pub(crate) fn family(&self) -> Vec<Stop> {
        let mut family = vec![self.clone()];
        let mut at = 0;
        while at < family.len() {
            let children: Vec<_> = family[at].inner.children.lock().iter().filter_map(Weak::upgrade).collect();
            family.extend(children.into_iter().map(Stop::of));
            at += 1;
        }
        family
    }
}

/// A handle that does not keep its domain.
#[cfg(all(feature = "tracing", not(unwedge_loom)))]
pub(crate) struct WeakStop(Weak<Inner>);

#[cfg(all(feature = "tracing", not(unwedge_loom)))]
impl WeakStop {
    /// The domain, if it is still there.
    pub(crate) fn upgrade(&self) -> Option<Stop> {
        self.0.upgrade().map(Stop::of)
    }
}

impl Inner {
    /// Sets the flag here and below. Whether it was not set here before.
    fn mark(&self, reason: &Arc<str>) -> bool {
        let (first, reason, below) = {
            let children = self.children.lock();
            let first = !self.domain.is_over();
            let reason = self.reason.lock().get_or_insert_with(|| reason.clone()).clone();
            if first {
                self.domain.mark();
            }
            (first, reason, children.iter().filter_map(Weak::upgrade).collect::<Vec<_>>())
        };
        // Also where it was set before: who set it may not have come down here yet. With the reason that stands here, so that the family agrees on it.
        for child in below {
            child.mark(&reason);
        }
        first
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.mark(&"the last handle was dropped".into()) {
            // Completions know their domain without keeping it: who waits for one now would wait for nobody's stop.
            waiter::stop_all();
        }
        self.callbacks.leave();
        self.domain.release();
        if let Some(hurry) = self.hurry.lock().take() {
            hurry.release();
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("name", &self.name()).field("reason", &self.reason()).finish()
    }
}

/// Future of [`Stop::requested`].
#[must_use = "futures do nothing unless polled"]
pub struct Requested<'a> {
    domain: DomainRef,
    ticket: Option<Ticket>,
    location: &'static Location<'static>,
    _stop: PhantomData<&'a Stop>,
}

/// Ends when the domain is over.
#[track_caller]
fn over<'a>(domain: DomainRef) -> Requested<'a> {
    Requested { domain, ticket: None, location: Location::caller(), _stop: PhantomData }
}

impl Future for Requested<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waits = match &this.ticket {
            Some(ticket) => ticket.set_waker(cx.waker()),
            None => {
                let note = Note::new(What::Stop, this.domain, this.location);
                !this.ticket.insert(Ticket::begin_polled(WAITING, &note, cx.waker())).is_over()
            }
        };
        if waits {
            return Poll::Pending;
        }
        this.ticket = None;
        Poll::Ready(())
    }
}

impl fmt::Debug for Requested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested").field("domain", &self.domain).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(unwedge_loom)))]
mod tests {
    use super::Stop;

    /// A life may have any number of children, one after the other.
    #[test]
    fn children_that_are_gone_keep_no_memory() {
        let stop = Stop::new("mds.a");
        let stays = stop.child("stays");
        for _ in 0..1000 {
            drop(stop.child("goes"));
        }
        let children = stop.inner.children.lock();
        assert!(children.len() < 10, "{} are kept", children.len());
        assert!(children.iter().any(|child| child.as_ptr() == std::sync::Arc::as_ptr(&stays.inner)));
    }
}
