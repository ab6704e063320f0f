//! Looks at a domain from time to time, and tells `tracing` when something waits longer than it should.
//!
//! It is a service of the domain: a thread of this crate's own, which a shutdown ends last of all, so that it also tells of a shutdown that waits. It holds the
//! domain weakly, and ends with its last handle.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stop::{Leaked, Service, Stop, WeakStop};
use crate::sys::{self, JoinHandle, Mutex, Signal, Until};

use super::Report;
use super::explain::{Cause, CauseKind};
use super::parts::PhaseReport;

/// The thread and how to end it.
struct Watch {
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    over: Mutex<bool>,
    changed: Signal,
    /// Who waits for the end has no more time.
    hurried: Mutex<bool>,
}

impl State {
    fn new() -> Self {
        State { over: Mutex::new(false), changed: Signal::default(), hurried: Mutex::new(false) }
    }

    fn end(&self) {
        *self.over.lock() = true;
        self.changed.notify_all();
    }

    /// Sleeps, but not past the end: whether that has come.
    fn sleep(&self, time: Duration) -> bool {
        let until = sys::now().checked_add(time);
        let mut over = self.over.lock();
        while !*over {
            over = match until {
                Some(until) if sys::now() >= until => return false,
                Some(until) => self.changed.wait_until(over, until),
                None => self.changed.wait(over),
            };
        }
        true
    }
}

impl Service for Watch {
    fn close(&self, deadline: Instant) -> Leaked {
        self.state.end();
        let handle = self.thread.lock().take();
        // A subscriber is foreign code, and may block. It has a moment even where the time is up.
        let until = deadline.max(sys::now() + Duration::from_millis(100));
        let until = Until::new(until, || *self.state.hurried.lock());
        let left = handle.is_some_and(|handle| !sys::join_by(handle, || until.at()));
        Leaked { threads: usize::from(left), ..Leaked::default() }
    }

    fn hurry(&self) {
        *self.state.hurried.lock() = true;
        self.state.end();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.end();
    }
}

impl Stop {
    /// Looks at this domain's report each `interval`, on a thread `uw-watch`, and tells `tracing` (a warning of the target `unwedge::report`) of each cause
    /// whose culprit has waited longer than `threshold`: once, and again each time its age has doubled. It goes on through a shutdown, and ends
    /// with the domain. (With the feature `tracing`.)
    ///
    /// Who waits for the stop or for work (a condition variable, a change of a monitor's data) is told of only where somebody waits for it in turn, or the
    /// stop was requested: how long is too long there, only the daemon knows. Of a phase that runs for so long it is told wherever its step may be.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use unwedge::{Plan, Stop};
    /// let stop = Stop::new("mds.a");
    /// stop.watch(Duration::from_secs(5), Duration::from_secs(30))?;
    /// # assert!(stop.shutdown(Plan::within(Duration::from_secs(10))).is_clean());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system's, if the thread cannot be started.
    pub fn watch(&self, interval: Duration, threshold: Duration) -> io::Result<()> {
        let state = Arc::new(State::new());
        let (own, domain) = (state.clone(), self.downgrade());
        let handle = sys::spawn_service("uw-watch", move || {
            let mut told = HashMap::new();
            while !own.sleep(interval) {
                let Some(report) = look(&domain) else { return };
                tell(&report, threshold, &mut told);
            }
        })?;
        self.register_service(Arc::new(Watch { state, thread: Mutex::new(Some(handle)) }));
        Ok(())
    }
}

/// The domain's report, if it is still there.
fn look(domain: &WeakStop) -> Option<Report> {
    Some(domain.upgrade()?.report())
}

/// Which cause it is: what it ends in and who the culprit is.
type Key = (CauseKind, u64);

/// For how long something has waited in a cause, or the phase has run that it keeps from its end.
fn age(report: &Report, cause: &Cause) -> Duration {
    let is_its = |phase: &&PhaseReport| cause.phase.as_ref() == Some(&phase.name) && phase.outcome.is_current();
    let runs = report.phases().iter().find(is_its).map(|phase| phase.elapsed);
    cause.longest().max(runs.unwrap_or_default())
}

/// Tells of each cause that is due.
fn tell(report: &Report, threshold: Duration, told: &mut HashMap<Key, Duration>) {
    let key = |cause: &Cause| (cause.kind, cause.culprit().map_or(0, |step| step.member.id));
    let late: Vec<_> =
        report.causes().iter().filter(|cause| report.is_told(cause) && age(report, cause) >= threshold).collect();
    told.retain(|known, _| late.iter().any(|cause| key(cause) == *known));
    for cause in late {
        let age = age(report, cause);
        let due = told.get(&key(cause)).is_none_or(|last| age >= *last * 2);
        if due {
            told.insert(key(cause), age);
            tracing::warn!(
                target: "unwedge::report",
                domain = report.domain(),
                blocked = cause.blocked,
                age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                "waits longer than it should: {cause}"
            );
        }
    }
}
