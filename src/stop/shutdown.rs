//! The shutdown: request, wait for the members, run the phases, close the services, report.
//!
//! It is bounded by its plan's limit: every wait in it has a deadline, and none needs the help of storage or of a thread that is stuck (L1).
//! It never takes a lock of the user's: the caller may hold any (L2).

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completion::Completion;
use crate::registry::member;
use crate::registry::phase::PhaseSlot;
use crate::report::{Outcome, PhaseReport, Report};
use crate::sys;

use super::clear::clear;
use super::plan::{Phase, Plan, PlannedPhase};
use super::spawn::Left;
use super::{JoinError, Stop};

/// How long a thread that has given its result may take for its thread-locals' destructors, and a phase that was stopped for its way out.
pub(super) const WAY_OUT: Duration = Duration::from_millis(100);

/// What a service could not give back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaked {
    pub(crate) operations: usize,
    pub(crate) bytes: usize,
    pub(crate) threads: usize,
}

impl Leaked {
    pub(super) fn add(&mut self, other: Leaked) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        self.threads += other.threads;
    }
}

/// What a domain closes last: its I/O.
pub(crate) trait Service: Send + Sync {
    /// Ends it by the deadline. What has to be left, because the kernel holds it, is counted.
    fn close(&self, deadline: Instant) -> Leaked;
}

/// The thread or task that shuts a domain down: nobody waits for it there (L7). Until this is dropped: then it is a member like any other.
pub(super) struct Stopper {
    /// In which domains it is a member, and under which number there.
    marks: Vec<(Stop, u64)>,
}

impl Stopper {
    fn new(family: &[Stop], me: u32) -> Self {
        let mark = |stop: &Stop| Some((stop.clone(), stop.inner.members.begin_shutdown(me)?));
        Stopper { marks: family.iter().filter_map(mark).collect() }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        for (stop, number) in &self.marks {
            stop.inner.members.end_shutdown(*number);
        }
    }
}

/// Whether the one who shuts down runs on a thread that a shutdown waits for.
pub(super) struct StopperThread {
    /// It is one of this crate's own.
    pub(super) is_own: bool,
    /// It is the callback thread of this domain.
    callback_of: Option<Stop>,
}

impl StopperThread {
    fn new(family: &[Stop], me: u32) -> Self {
        let callback_of = family.iter().find(|stop| stop.inner.callbacks.is_on(me)).cloned();
        StopperThread { is_own: member::is_own(me), callback_of }
    }

    pub(super) fn is_callback_of(&self, stop: &Stop) -> bool {
        self.callback_of.as_ref().is_some_and(|own| Arc::ptr_eq(&own.inner, &stop.inner))
    }
}

impl Stop {
    /// Stops the domain: requests the stop, waits for its threads and tasks, runs the plan's phases, closes its I/O. Blocks the thread, never
    /// longer than the plan's limit and what a phase that was stopped needs for its way out.
    ///
    /// It may be called from any thread: one of the domain's own is not waited for, nor is one that shuts the same domain down. Of two shutdowns at
    /// the same time, one runs a domain's last callbacks and closes its I/O, and the other one waits for that, within its own limit. (One that runs
    /// on a thread of this crate's own, in a callback or a blocking job, does not: it would wait for itself.)
    ///
    /// # Deadlocks
    /// None within one domain and its children. Where members of two domains shut each other's domain down, each waits for the other until the earlier
    /// deadline; the reports then name both, with "threads and tasks to end". Request both stops first, and shut them down from outside.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use unwedge::{Completion, Plan, Stop};
    /// let stop = Stop::new("mds.a");
    /// let (_never, mut read) = Completion::<u8>::new("read", &stop);
    /// stop.spawn("replay", move || read.wait())?;
    /// let report = stop.shutdown(Plan::within(Duration::from_secs(10)));
    /// assert!(report.is_clean(), "{report}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn shutdown(&self, plan: Plan) -> Report {
        self.shut_down_here(plan, (), Location::caller())
    }

    /// As [`shutdown`](Self::shutdown), by who holds a lock: threads and tasks are waited for with the lock held, so that nobody else gets in
    /// between; it is let go before the phases.
    ///
    /// No deadlock comes of it: a wait that a stop ends never takes a lock again (L2).
    #[track_caller]
    pub fn shutdown_holding<G>(&self, guard: G, plan: Plan) -> Report {
        self.shut_down_here(plan, guard, Location::caller())
    }

    /// As [`shutdown`](Self::shutdown), for a task. The work is done by a thread, so that a runtime with one thread goes on polling the tasks
    /// that have to end.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown. A member of the domain that drops it is waited for from then on like any other.
    #[track_caller]
    pub fn shutdown_async(&self, plan: Plan) -> impl Future<Output = Report> + Send + 'static + use<> {
        let location = Location::caller();
        let (family, me) = (self.family(), member::current());
        // Found out here, where the member runs: later its number may be another's. The mark goes with the future.
        let thread = StopperThread::new(&family, me);
        let stopper = Stopper::new(&family, me);
        // A life of its own: the stop of this domain must not end the wait for its end.
        let life = Stop::new("shutdown");
        let (completer, completion) = Completion::<Report, JoinError>::new("shutdown", &life);
        let stop = self.clone();
        let own = life.clone();
        let started = sys::spawn_service("uw-shutdown", move || {
            let report = stop.shut_down(plan, &thread, (), location);
            drop(own);
            drop(completer.complete(report));
        });
        let stop = self.clone();
        async move {
            let _stopper = stopper;
            if started.is_err() {
                // No thread to be had: what is left is to request the stop and to say who is there.
                stop.request("shutdown");
                return stop.report();
            }
            let result = completion.await;
            drop(life);
            match result {
                Ok(Ok(report)) => report,
                _ => stop.report(),
            }
        }
    }

    fn shut_down_here<G>(&self, plan: Plan, guard: G, location: &'static Location<'static>) -> Report {
        let (family, me) = (self.family(), member::current());
        let _stopper = Stopper::new(&family, me);
        self.shut_down(plan, &StopperThread::new(&family, me), guard, location)
    }

    fn shut_down<G>(
        &self,
        plan: Plan,
        thread: &StopperThread,
        guard: G,
        location: &'static Location<'static>,
    ) -> Report {
        let begun = sys::now();
        let deadline = begun + plan.within;
        self.request("shutdown");

        let reserve: Duration = plan.phases.iter().map(|phase| phase.limit).sum();
        let slots =
            plan.phases.iter().enumerate().map(|(place, phase)| PhaseSlot::plan(&phase.name, self.domain, place));
        let slots: Vec<_> = slots.collect();
        let members_until = deadline.checked_sub(reserve).unwrap_or(begun).max(begun);
        self.wait_for_members(members_until, location);
        drop(guard);

        let phases =
            plan.phases.into_iter().zip(&slots).map(|(phase, slot)| run_phase(phase, slot, deadline)).collect();

        let ended = self.wait_for_members(deadline, location);
        // Who is late is named, also if it ends while the rest is cleared away.
        // (Not by a second look if all have ended: who was passed over because it shuts down itself may just be through with that.)
        let mut report = if ended { self.report_of(Vec::new()) } else { self.report() };
        // Children may have been born meanwhile.
        let parts = self.family();
        if !ended {
            #[cfg(all(feature = "tokio", not(unwedge_loom)))]
            for stop in &parts {
                stop.inner.members.abort_tasks();
            }
        }
        let drained_by =
            plan.drain.and_then(|limit| sys::now().checked_add(limit)).map_or(deadline, |by| by.min(deadline));
        let rest = clear(&parts, thread, (drained_by, deadline), location);
        report.finish(phases, rest, sys::now() - begun);
        report
    }

    /// Who has not ended, and where it waits: readable at any time, from any thread (L8).
    #[must_use]
    pub fn report(&self) -> Report {
        self.report_of(self.family().iter().flat_map(|stop| stop.inner.members.left()).collect())
    }

    fn report_of(&self, left: Vec<Left>) -> Report {
        let panicked = self.family().iter().flat_map(|stop| stop.inner.members.panicked()).collect();
        let left = left.into_iter().map(|left| (left.member, left.name, left.kind));
        Report::new(self.name(), self.reason(), left, panicked)
    }
}

/// Runs a phase on a thread of its own, stops it at its deadline, and says how it ended.
fn run_phase(phase: PlannedPhase, slot: &PhaseSlot, deadline: Instant) -> PhaseReport {
    let PlannedPhase { name, limit, step } = phase;
    let begun = sys::now();
    let until = (begun + limit).min(deadline);
    let stop = Stop::new(&name);
    slot.begin(until.saturating_duration_since(begun));
    let own = Phase::new(stop.clone(), until);
    // The result's life is longer than the phase's.
    let life = Stop::new("phase");
    let (completer, mut result) = Completion::<_, JoinError>::new("end of a phase", &life);
    let spawned = stop.spawn(&name, move || drop(completer.finish(Ok(step(&own)))));
    let outcome = match spawned {
        Err(error) => Outcome::Failed(format!("its thread could not be started: {error}")),
        Ok(_) => {
            let mut ended = result.wait_until(until);
            let late = ended.is_err();
            if late {
                slot.late();
                stop.request("the phase's time is up");
                ended = result.wait_until(sys::now() + WAY_OUT);
            }
            match ended {
                Ok(Ok(Ok(()))) => Outcome::Done,
                Ok(Ok(Err(_))) if late => Outcome::Stopped,
                Ok(Ok(Err(error))) => Outcome::Failed(error.to_string()),
                Ok(Err(_)) => Outcome::Failed("it panicked".to_owned()),
                Err(_) => Outcome::Left,
            }
        }
    };
    // What the step has started may use the phase's time; then all of the phase is stopped.
    stop.wait_for_members(until, Location::caller());
    stop.request("the phase is over");
    let ended = stop.wait_for_members(sys::now() + WAY_OUT, Location::caller());
    let unjoined = stop.inner.members.join_ended(sys::now() + WAY_OUT);
    slot.end();
    let outcome = if ended && unjoined == 0 { outcome } else { Outcome::Left };
    PhaseReport::new(name, outcome, sys::now() - begun)
}
