//! The shutdown: request, run the early phases, wait for the members, run the other phases, close the services, report.
//!
//! It is bounded by its plan's limit: every wait in it has a deadline, and none needs the help of storage or of a thread that is stuck (L1).
//! It never takes a lock of the user's: the caller may hold any (L2).

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::completion::Completion;
use crate::registry::domain::DomainRef;
use crate::registry::member::{self, MemberRef};
use crate::registry::phase::{PhaseSlot, Planned};
use crate::report::{Outcome, PhaseReport, Report};
use crate::sys::{self, Until};

use super::clear::{Rest, clear};
use super::phase::Runner;
use super::phasing::{HasPhases, is_step_of};
use super::plan::{Plan, fit};
use super::spawn::Whom;
use super::step::PlannedStep;
use super::undone::Undone;
use super::{JoinError, Stop};

pub(super) use crate::sys::WAY_OUT;

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

    /// The deadline is now: of a `close` that runs on another thread, or that will come.
    fn hurry(&self);
}

/// The thread or task that shuts a domain down: nobody waits for it there (L7). Until this is dropped: then it is a member like any other.
pub(super) struct Stopper {
    member: MemberRef,
    /// The domain of which it is a member, and its place there.
    mark: Option<(Stop, u32)>,
}

impl Stopper {
    fn new(family: &[Stop], me: MemberRef) -> Self {
        // A member is one of one domain: nobody is looked for among the thousands of another.
        let domain = me.look().and_then(|seen| seen.domain);
        let own = family.iter().find(|stop| Some(stop.domain) == domain);
        let mark = own.and_then(|stop| Some((stop.clone(), stop.inner.members.begin_shutdown(me)?)));
        Stopper { member: me, mark }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        if let Some((stop, place)) = &self.mark {
            stop.inner.members.end_shutdown(*place, self.member);
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
    fn new(family: &[Stop], me: MemberRef) -> Self {
        let callback_of = family.iter().find(|stop| stop.inner.callbacks.is_on(me)).cloned();
        StopperThread { is_own: member::is_own(me.index()), callback_of }
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
    /// the same time, one runs a domain's last callbacks and closes its I/O, when neither has phases to run any more, and the other one waits for that, within
    /// its own limit. (One that runs on a thread of this crate's own, in a callback or a blocking job, or in a phase of the other one, does not: it
    /// would wait for itself. Nor does one for the other's phases whose thread holds the lock of a monitor, which they may want: do not call it with a lock for
    /// reading, or one that is no monitor's, of which that is not known.) Whose limit comes first closes what is no part of the other one's domain, and leaves the
    /// rest to that one.
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
        let (family, me) = (self.family(), member::me());
        // Found out here, where the member runs: later its number may be another's. The mark goes with the future.
        let thread = StopperThread::new(&family, me);
        let stopper = Stopper::new(&family, me);
        // A life of its own: the stop of this domain must not end the wait for its end.
        let life = Stop::new("shutdown");
        let (completer, completion) = Completion::<Report, JoinError>::new("shutdown", &life);
        let stop = self.clone();
        let own = life.clone();
        let started = sys::spawn_service("uw-shutdown", move || {
            let report = stop.shut_down(plan, (me, &thread), (), location);
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
        let (family, me) = (self.family(), member::me());
        let _stopper = Stopper::new(&family, me);
        self.shut_down(plan, (me, &StopperThread::new(&family, me)), guard, location)
    }

    fn shut_down<G>(
        &self,
        plan: Plan,
        (me, thread): (MemberRef, &StopperThread),
        guard: G,
        location: &'static Location<'static>,
    ) -> Report {
        let begun = sys::now();
        let Plan { within, drain, phases, hook } = plan;
        let mut course = Course {
            stop: self,
            begun,
            deadline: begun + within,
            hurry: self.inner.hurry_flag(),
            plan: sys::next_generation(),
            ended: Vec::with_capacity(phases.len()),
        };
        let mut runner = Runner::new(me, hook, course.hurry);
        let has_phases = (!phases.is_empty()).then(|| HasPhases::new(self));
        self.request("shutdown");

        let (early, late): (Vec<_>, Vec<_>) = phases.into_iter().partition(|phase| phase.early);
        let mut phases: Vec<_> = early.into_iter().chain(late).map(Some).collect();
        let slots = phases.iter().flatten().enumerate();
        let slots: Vec<_> = slots.map(|(place, phase)| course.plan(phase, place)).collect();
        let asked: Vec<_> = phases.iter().flatten().map(|phase| phase.limit).collect();
        let early = phases.iter().flatten().filter(|phase| phase.early).count();
        let mut guard = Some(guard);
        for at in 0..=phases.len() {
            if at == early {
                let reserve: Duration = fit(course.left(), &asked[at..]).iter().sum();
                let members_until = course.deadline.checked_sub(reserve).unwrap_or(begun).max(begun);
                self.wait_for_members(Whom::Others, members_until, Some(course.hurry), location);
                guard = None;
            }
            if let Some(phase) = phases.get_mut(at).and_then(Option::take) {
                let limit = fit(course.left(), &asked[at..])[0];
                course.run(&mut runner, phase, &slots[at], limit);
            }
        }
        drop((guard, has_phases));
        let undone = runner.finish();
        course.finish((me, thread), undone, drain, location)
    }

    /// Who has not ended, and where it waits: readable at any time, from any thread (L8).
    #[must_use]
    pub fn report(&self) -> Report {
        self.report_of(false, None)
    }

    /// `have_ended`: its members, whoever may be there again. `plan`: the shutdown whose phases alone count.
    fn report_of(&self, have_ended: bool, plan: Option<u64>) -> Report {
        let family = self.family();
        let panicked = family.iter().flat_map(|stop| stop.inner.members.panicked()).collect();
        let domains: Vec<_> = family.iter().map(|stop| stop.domain).collect();
        Report::new(self.name(), || self.reason(), &domains, have_ended, panicked, plan)
    }
}

/// A shutdown under way.
struct Course<'a> {
    stop: &'a Stop,
    begun: Instant,
    deadline: Instant,
    /// Over when the stop is hurried.
    hurry: DomainRef,
    /// A number of its own.
    plan: u64,
    /// The phases that are over.
    ended: Vec<PhaseReport>,
}

impl Course<'_> {
    /// How much time the plan has left.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(sys::now())
    }

    /// A phase is seen from here on.
    fn plan(&self, phase: &PlannedStep, place: usize) -> PhaseSlot {
        let PlannedStep { name, limit, or_abort, .. } = phase;
        let (domain, plan) = (self.stop.domain, self.plan);
        PhaseSlot::plan(&Planned { name, domain, plan, place, limit: *limit, or_abort: *or_abort })
    }

    /// Runs the next phase.
    fn run(&mut self, runner: &mut Runner, phase: PlannedStep, slot: &PhaseSlot, limit: Duration) {
        let (name, or_abort, begun) = (phase.name.clone(), phase.or_abort, sys::now());
        let (how, why) = runner.run(phase, slot, limit, |own| self.abort(own));
        let outcome = Outcome::ended(how, why);
        let (domain, elapsed) = (self.stop.name().to_owned(), sys::now() - begun);
        let place = self.ended.len() as u32;
        self.ended.push(PhaseReport {
            name,
            domain,
            outcome,
            elapsed,
            limit,
            left: None,
            or_abort,
            plan: self.plan,
            place,
        });
    }

    /// Ends the process: a phase is late without which it must not go on.
    fn abort(&self, phase: &Stop) {
        let mut report = self.stop.report();
        report.finish(None, Rest::default(), sys::now() - self.begun);
        sys::abort(format!("{report}\naborted, because the phase {} is late:\n{}\n", phase.name(), phase.report()));
    }

    /// The last stage: what is left is named, dropped and closed.
    fn finish(
        self,
        (me, thread): (MemberRef, &StopperThread),
        undone: Undone,
        drain: Option<Duration>,
        location: &'static Location<'static>,
    ) -> Report {
        let Course { stop, begun, deadline, hurry, plan, ended: phases } = self;
        let mut ended = stop.wait_for_members(Whom::Others, deadline, Some(hurry), location);
        if !ended && hurry.is_over() {
            // Who was stopped only now is given time for its way out.
            ended =
                stop.wait_for_members(Whom::Others, deadline.min(sys::now() + sys::HURRIED_WAY_OUT), None, location);
        }
        // Who is late is named, also if it ends while the rest is cleared away.
        // (Not by a second look if all have ended: who was passed over because it shuts down itself may just be through with that.)
        // Of its own phases only: another shutdown of the domain names its own.
        let mut report = stop.report_of(ended, Some(plan));
        if !ended && report.names_nobody() {
            // The last one is between its end and its word of it: its thread must not be missed.
            ended = stop.wait_for_members(Whom::Others, sys::now() + WAY_OUT, None, location);
            report = stop.report_of(ended, Some(plan));
        }
        if !ended {
            #[cfg(all(feature = "tokio", not(unwedge_loom)))]
            for part in stop.family() {
                part.inner.members.abort_tasks(Whom::Others);
            }
        }
        let others = stop.wait_for_phases((me, thread), deadline, hurry, location);
        // Children may have been born meanwhile.
        let (theirs, ours): (Vec<_>, Vec<_>) = stop.family().into_iter().partition(|part| part.is_left_to(&others));
        let by = drain.and_then(|limit| sys::now().checked_add(limit)).map_or(deadline, |by| by.min(deadline));
        let mut rest = clear(&ours, thread, (by, deadline), hurry, location);
        let way_out = Until::new(deadline.max(sys::now() + WAY_OUT), || hurry.is_over());
        rest.leaked.threads += undone.join(|| way_out.at());
        rest.leave(&theirs, !thread.is_own && !is_step_of(me, &others));
        report.finish(Some(phases), rest, sys::now() - begun);
        report
    }
}
