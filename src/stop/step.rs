//! A step of a plan, as it is planned: its name and limit, when it runs, what it must hold and must not hold, and what becomes of it when it is late.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(all(feature = "tokio", not(unwedge_loom)))]
use std::pin::Pin;

use crate::lock::Lock;
use crate::registry::member::MemberRef;
use crate::wait::guard::MonitorGuard;
use crate::wait::monitor::Monitor;

use super::phase::Phase;
use super::plan::LONGEST_PHASE;

/// What a step gives: nothing, or why it failed.
pub(super) type StepResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A step of a [`Plan`](crate::Plan) in the making: what the phase is called, how long it may take, and what it needs. What it does comes last, with
/// `run`; then it is ready for [`Plan::step`](crate::Plan::step), where there is an example.
///
/// `H` is what it holds: nothing, or a monitor.
#[must_use = "a step does nothing until it is in a plan"]
pub struct Step<H = ()> {
    name: String,
    limit: Duration,
    early: bool,
    or_abort: bool,
    apart: Vec<Apart>,
    held: H,
}

/// Looks whether its monitor is held exclusively by one of these members: what it is called, and who that is.
pub(super) type Apart = Box<dyn Fn(&dyn Fn(MemberRef) -> bool) -> Option<(String, MemberRef)> + Send>;

/// A step that knows what it does, ready for a plan.
#[must_use = "a step does nothing until it is in a plan"]
pub struct PlannedStep {
    pub(super) name: String,
    pub(super) limit: Duration,
    /// Before the members are waited for.
    pub(super) early: bool,
    /// The process ends when it is late.
    pub(super) or_abort: bool,
    /// Who must not hold these when it begins: the one who shuts down, and phases that were left.
    pub(super) apart: Vec<Apart>,
    pub(super) body: Body,
}

/// What a step does.
pub(super) enum Body {
    /// On a thread of the phase.
    Thread(Box<dyn FnOnce(&Phase) -> StepResult + Send>),
    /// As a task of this runtime.
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    Task(tokio::runtime::Handle, Box<dyn FnOnce(Phase) -> BoxedStep + Send>),
}

#[cfg(all(feature = "tokio", not(unwedge_loom)))]
pub(super) type BoxedStep = Pin<Box<dyn Future<Output = StepResult> + Send>>;

impl Step {
    /// A step of a phase with this name, which may take as long as this (and as the plan has left).
    pub fn new(name: &str, limit: Duration) -> Self {
        Step {
            name: name.to_owned(),
            limit: limit.min(LONGEST_PHASE),
            early: false,
            or_abort: false,
            apart: Vec::new(),
            held: (),
        }
    }

    /// The step is given this monitor's guard: the lock is taken in the phase (the monitor's own domain is stopped) before the step begins, and is the
    /// step's to let go.
    ///
    /// Where the one who shuts down holds the lock itself, or a phase that was left does, nobody would let it go: the phase fails at once and says so.
    pub fn holding<L: Lock + Send + Sync + 'static>(mut self, monitor: &Arc<Monitor<L>>) -> Step<Arc<Monitor<L>>> {
        self.apart.push(apart(monitor));
        let Step { name, limit, early, or_abort, apart, held: () } = self;
        Step { name, limit, early, or_abort, apart, held: monitor.clone() }
    }

    /// What the step does, on a thread of the phase.
    pub fn run(self, step: impl FnOnce(&Phase) -> StepResult + Send + 'static) -> PlannedStep {
        self.planned(|()| Body::Thread(Box::new(step)))
    }

    /// What the step does, as a task of the current tokio runtime. A late one is stopped like any phase, and dropped at its next `await` if it has not
    /// ended a moment later.
    ///
    /// A runtime with one thread polls it only if that thread does not block meanwhile: there use [`shutdown_async`](crate::Stop::shutdown_async).
    ///
    /// # Panics
    /// Outside a tokio runtime, as `tokio::spawn`.
    #[cfg(all(feature = "tokio", not(unwedge_loom)))]
    pub fn run_async<F: Future<Output = StepResult> + Send + 'static>(
        self,
        step: impl FnOnce(Phase) -> F + Send + 'static,
    ) -> PlannedStep {
        let runtime = tokio::runtime::Handle::current();
        self.planned(|()| Body::Task(runtime, Box::new(move |phase| Box::pin(step(phase)))))
    }
}

impl<L: Lock + Send + Sync + 'static> Step<Arc<Monitor<L>>> {
    /// What the step does, on a thread of the phase, with the guard.
    pub fn run(self, step: impl FnOnce(&Phase, MonitorGuard<'_, L>) -> StepResult + Send + 'static) -> PlannedStep {
        self.planned(|monitor| Body::Thread(Box::new(move |phase| step(phase, monitor.lock_in(phase)?))))
    }
}

impl<H> Step<H> {
    /// The phase runs after the request and before the members are waited for: to stop accepting, or to cancel what would keep a member.
    ///
    /// The early phases run in their order, then the members are waited for, then the other phases run in theirs. In
    /// [`shutdown_holding`](crate::Stop::shutdown_holding) the caller's lock is still held in an early phase.
    pub fn before_join(mut self) -> Self {
        self.early = true;
        self
    }

    /// The step, or what it calls, takes this monitor's lock, or waits for who needs it: so it must not begin while the one who shuts down holds it, or a
    /// phase that was left. The phase then fails at once, without its step, and says who holds the lock.
    ///
    /// Anybody else may hold it, since it can be waited for; readers of a shared lock are not told apart and not looked at.
    pub fn not_holding<L: Send + Sync + 'static>(mut self, monitor: &Arc<Monitor<L>>) -> Self {
        self.apart.push(apart(monitor));
        self
    }

    /// A late phase ends the process: at the phase's own deadline the report and where the phase waits are written to standard error, and the process
    /// is aborted (`SIGABRT`, so that there is a core). For a step without which going on would do harm.
    ///
    /// A phase that is cut short because the stop was [hurried](crate::Stop::hurry) is not late: it is given up like any other.
    pub fn or_abort(mut self) -> Self {
        self.or_abort = true;
        self
    }

    fn planned(self, body: impl FnOnce(H) -> Body) -> PlannedStep {
        let Step { name, limit, early, or_abort, apart, held } = self;
        PlannedStep { name, limit, early, or_abort, apart, body: body(held) }
    }
}

fn apart<L: Send + Sync + 'static>(monitor: &Arc<Monitor<L>>) -> Apart {
    let monitor = monitor.clone();
    Box::new(move |is_meant| {
        let holder = monitor.holder();
        (holder != MemberRef::NOBODY && is_meant(holder)).then(|| (monitor.name(), holder))
    })
}

impl<H> fmt::Debug for Step<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl fmt::Debug for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedStep").field("name", &self.name).field("limit", &self.limit).finish_non_exhaustive()
    }
}
