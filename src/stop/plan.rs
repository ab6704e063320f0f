//! What a shutdown does, and in what time.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::sys;

use super::Stop;

/// A plan for [`Stop::shutdown`]: a limit for the whole, and phases in order.
///
/// ```
/// use std::time::Duration;
/// use unwedge::{Monitor, Plan, Stop};
///
/// let stop = Stop::new("mds.a");
/// let sessions = std::sync::Arc::new(Monitor::new("sessions", std::sync::Mutex::new(vec![4123]), &stop));
/// let saved = sessions.clone();
/// let plan = Plan::within(Duration::from_secs(5)).phase("save sessions", Duration::from_secs(1), move |phase| {
///     let guard = saved.lock_in(phase)?;            // the monitor's own domain is stopped; the phase is not
///     assert_eq!(*guard, [4123]);
///     Ok(())
/// });
/// let report = stop.shutdown(plan);
/// assert!(report.is_clean(), "{report}");
/// ```
#[must_use = "a plan does nothing until a shutdown follows it"]
pub struct Plan {
    pub(super) within: Duration,
    pub(super) drain: Option<Duration>,
    pub(super) phases: Vec<PlannedPhase>,
}

pub(super) type Step = Box<dyn FnOnce(&Phase) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send>;

pub(super) struct PlannedPhase {
    pub(super) name: String,
    pub(super) limit: Duration,
    pub(super) step: Step,
}

/// What stands for "no limit" (`Duration::MAX`, say): longer than any life, and short enough to be added to a time.
const LONGEST: Duration = Duration::from_secs(100 * LONGEST_PHASE.as_secs());

/// The same for a phase: so that a plan without limits leaves time to the members too.
const LONGEST_PHASE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Plan {
    /// A shutdown that returns within this time, whoever is left then. `Duration::MAX` waits for whom it has to.
    pub fn within(limit: Duration) -> Self {
        Plan { within: limit.min(LONGEST), drain: None, phases: Vec::new() }
    }

    /// How long operations that the kernel has not given back are waited for, when all else has ended: at most this, and what is left of
    /// the plan's limit; without it, all of that.
    ///
    /// A read of a dead disk cannot be ended, so a drain can be of use only where the storage answers late. What it leaves is counted in the
    /// report.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = Some(limit);
        self
    }

    /// Adds a phase: a step that runs after the request, when the domain's members have ended or their time is up, on a thread of its own and
    /// within its own limit (and the plan's).
    ///
    /// When the limit is up the phase is stopped like any domain: its waits end, and the shutdown goes on. The members have the plan's time
    /// less that of all phases.
    ///
    /// What a stopped wait leaves to be undone (a counter, a pin) is undone here: code after a wait may never run, but at every wait the
    /// monitor's invariant holds, so a phase finds the data in a state that it understands:
    ///
    /// ```
    /// use std::{sync::{Arc, Mutex}, time::Duration};
    /// use unwedge::{Condvar, Monitor, Plan, Stop, Stopped};
    ///
    /// static LOADED: Condvar = Condvar::new();
    ///
    /// let stop = Stop::new("mds.a");
    /// let pins = Arc::new(Monitor::new("cache", Mutex::new(Vec::new()), &stop));
    /// let cache = pins.clone();
    /// stop.spawn("reader", move || {
    ///     let mut pins = cache.lock()?;
    ///     pins.push("1.00000000");                       // pinned while it waits
    ///     let mut pins = pins.wait(&LOADED)?;            // a stop ends it here: what follows does not run
    ///     pins.pop();
    ///     Ok::<(), Stopped>(())
    /// })?;
    /// # while pins.lock()?.is_empty() { std::thread::yield_now() }
    /// let cache = pins.clone();
    /// let plan = Plan::within(Duration::from_secs(10)).phase("unpin", Duration::from_secs(1), move |phase| {
    ///     cache.lock_in(phase)?.clear();                 // nobody waits any more, and nobody but a phase has the lock
    ///     Ok(())
    /// });
    /// assert!(stop.shutdown(plan).is_clean());
    /// assert!(pins.lock_in(&Stop::new("mds.a again"))?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn phase(
        mut self,
        name: &str,
        limit: Duration,
        step: impl FnOnce(&Phase) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    ) -> Self {
        self.phases.push(PlannedPhase { name: name.to_owned(), limit: limit.min(LONGEST_PHASE), step: Box::new(step) });
        self
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> = self.phases.iter().map(|phase| (&phase.name, phase.limit)).collect();
        f.debug_struct("Plan").field("within", &self.within).field("phases", &phases).finish()
    }
}

/// A phase of a shutdown: a [`Stop`] of its own, not a child of the stopped domain, whose stop is requested when its deadline comes.
///
/// In it a monitor is taken with [`lock_in`](crate::Monitor::lock_in), or carried over by who holds it with
/// [`adopt`](crate::MonitorGuard::adopt).
#[derive(Debug)]
pub struct Phase {
    stop: Stop,
    deadline: Instant,
}

impl Phase {
    pub(super) fn new(stop: Stop, deadline: Instant) -> Self {
        Phase { stop, deadline }
    }

    /// When the phase is stopped.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How much time is left.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(sys::now())
    }
}

impl Deref for Phase {
    type Target = Stop;

    fn deref(&self) -> &Stop {
        &self.stop
    }
}
