//! What a shutdown does, and in what time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::phase::Phase;
use super::step::{PlannedStep, Step, StepResult};

/// A plan for [`Stop::shutdown`](crate::Stop::shutdown): a limit for the whole, and phases in order.
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
    pub(super) phases: Vec<PlannedStep>,
    pub(super) hook: Option<ProgressHook>,
}

/// What is told how a shutdown's phases get on.
pub(super) type ProgressHook = Arc<dyn Fn(&Phase) + Send + Sync>;

/// What stands for "no limit" (`Duration::MAX`, say): longer than any life, and short enough to be added to a time.
const LONGEST: Duration = Duration::from_secs(100 * LONGEST_PHASE.as_secs());

/// The same for a phase: so that a plan without limits leaves time to the members too.
pub(super) const LONGEST_PHASE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Plan {
    /// A shutdown that returns within this time, whoever is left then. `Duration::MAX` waits for whom it has to.
    pub fn within(limit: Duration) -> Self {
        Plan { within: limit.min(LONGEST), drain: None, phases: Vec::new(), hook: None }
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

    /// Adds a phase with what it needs beyond a name and a limit: when it runs, what it must hold and must not hold, what becomes of it when it is late.
    ///
    /// ```
    /// use std::{sync::{Arc, Mutex}, time::Duration};
    /// use unwedge::{Monitor, Plan, Step, Stop};
    ///
    /// let stop = Stop::new("mds.a");
    /// let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(vec!["session"]), &stop));
    /// let second = Duration::from_secs(1);
    /// let plan = Plan::within(Duration::from_secs(10))
    ///     .step(Step::new("stop accepting", second).before_join().run(|_phase| Ok(())))
    ///     .step(Step::new("save", second).holding(&mds).run(|_phase, mut mds| {
    ///         mds.clear();
    ///         Ok(())
    ///     }))
    ///     .step(Step::new("release", second).not_holding(&mds).or_abort().run(|_phase| Ok(())));
    /// let report = stop.shutdown(plan);
    /// assert!(report.is_clean(), "{report}");
    /// assert_eq!(report.phases().len(), 3);
    /// ```
    pub fn step(mut self, step: PlannedStep) -> Self {
        self.phases.push(step);
        self
    }

    /// Calls `hook` when a phase begins, when its step says that it gets on ([`Phase::progress`]), and when the step has ended: for who must be told
    /// that the daemon still works at its stop, as a service manager. It is given the phase, with its name and the time it has left.
    ///
    /// It runs on the phase's own thread (a task's: on its runtime), so that one that blocks is that phase's lateness and nobody else's.
    pub fn on_progress(mut self, hook: impl Fn(&Phase) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Adds a phase: a step that runs after the request, when the domain's members have ended or their time is up, on a thread of its own and
    /// within its own limit (and the plan's).
    ///
    /// When the limit is up the phase is stopped like any domain: its waits end, and the shutdown goes on. A step that has ended before leaves the rest of
    /// the limit to its thread, for the destructors of its thread-locals: a thread that hangs there is [left](crate::report::Outcome::Left) when the limit is up.
    /// The members have the plan's time less that of all phases.
    ///
    /// Phases that ask for more than the plan has left are cut when they begin, those that ask for most first: each that asks for no more than an equal
    /// share has what it asks for, and the others share the rest equally. What one leaves unused is the others' again. (Then nothing is left for the
    /// members, but for what the phases do not use.)
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
    pub fn phase(self, name: &str, limit: Duration, step: impl FnOnce(&Phase) -> StepResult + Send + 'static) -> Self {
        self.step(Step::new(name, limit).run(step))
    }

    /// As [`phase`](Self::phase), with a step that is a task of the current tokio runtime: see [`Step::run_async`].
    ///
    /// # Panics
    /// Outside a tokio runtime, as `tokio::spawn`.
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    pub fn phase_async<F: Future<Output = StepResult> + Send + 'static>(
        self,
        name: &str,
        limit: Duration,
        step: impl FnOnce(Phase) -> F + Send + 'static,
    ) -> Self {
        self.step(Step::new(name, limit).run_async(step))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> = self.phases.iter().map(|phase| (&phase.name, phase.limit)).collect();
        f.debug_struct("Plan").field("within", &self.within).field("phases", &phases).finish()
    }
}

/// How much each of these is given where all together have `total`: what it asks for, as long as that is no more than an equal share of what is left.
pub(super) fn fit(total: Duration, asked: &[Duration]) -> Vec<Duration> {
    let mut given = asked.to_vec();
    let mut by_size: Vec<_> = (0..asked.len()).collect();
    by_size.sort_by_key(|at| asked[*at]);
    let (mut left, mut others) = (total, u32::try_from(asked.len()).unwrap_or(u32::MAX));
    for at in by_size {
        given[at] = asked[at].min(left / others.max(1));
        left -= given[at];
        others = others.saturating_sub(1);
    }
    given
}

#[cfg(test)]
mod tests {
    use super::fit;
    use std::time::Duration;

    #[test]
    fn who_asks_for_little_has_it_and_the_others_share() {
        let fit = |total, asked: &[u64]| -> Vec<u64> {
            let asked: Vec<_> = asked.iter().copied().map(Duration::from_secs).collect();
            fit(Duration::from_secs(total), &asked).iter().map(Duration::as_secs).collect()
        };
        assert_eq!(fit(10, &[]), [] as [u64; 0]);
        assert_eq!(fit(10, &[3, 7]), [3, 7]);
        assert_eq!(fit(10, &[1, 2]), [1, 2]);
        assert_eq!(fit(10, &[1, 1_000_000, 4]), [1, 5, 4]);
        assert_eq!(fit(12, &[100, 2, 100]), [5, 2, 5]);
        assert_eq!(fit(0, &[1, 2]), [0, 0]);
    }
}
