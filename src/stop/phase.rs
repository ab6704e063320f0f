//! A phase: its own domain, how it is run on a thread or as a task, and how it ends.
//!
//! # Invariants
//! - **Late is not lost.** A phase ends by its deadline and the time of a way out, whatever its step does: then its thread is named and left, its task
//!   dropped. A step that has ended before leaves the rest of that time to its thread, to get past its end.
//! - **Over is ended.** A phase is over when every member of its domain has ended, also one that shuts that domain down itself.
//! - **Nobody waits for the one who waits.** A step that needs a lock which the one who shuts down holds is not begun.
//! - **Apart.** What is the user's (a step and what it needs, its error, the hook) runs, and is dropped, on a thread of the phase's or of `undone`, and never on
//!   the one that shuts down.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::registry::domain::DomainRef;
use crate::registry::member::MemberRef;
use crate::registry::phase::{Ended, PhaseSlot};
use crate::sys::{self, Mutex, Until};
use crate::wait::waiter::contain;

use super::Stop;
use super::plan::ProgressHook;
use super::shutdown::WAY_OUT;
use super::spawn::Whom;
use super::step::{Apart, Body, PlannedStep};
use super::undone::Undone;

/// A phase of a shutdown: a [`Stop`] of its own, not a child of the stopped domain, whose stop is requested when its deadline comes.
///
/// In it a monitor is taken with [`lock_in`](crate::Monitor::lock_in), or carried over by who holds it with
/// [`adopt`](crate::MonitorGuard::adopt).
#[derive(Clone)]
pub struct Phase {
    stop: Stop,
    deadline: Instant,
    hook: Option<ProgressHook>,
}

impl Phase {
    /// Says that the step gets on: calls the hook of [`Plan::on_progress`](crate::Plan::on_progress), if the plan has one. The deadline stays.
    pub fn progress(&self) {
        if let Some(hook) = &self.hook {
            contain(|| hook(self));
        }
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

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phase").field("stop", &self.stop).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// What all phases of a shutdown are run with.
pub(super) struct Runner {
    /// The thread or task that shuts down.
    me: MemberRef,
    hook: Option<ProgressHook>,
    /// Its stop cuts every phase short.
    hurry: DomainRef,
    /// Phases that were left.
    left: Vec<Stop>,
    undone: Undone,
}

impl Runner {
    pub(super) fn new(me: MemberRef, hook: Option<ProgressHook>, hurry: DomainRef) -> Self {
        Runner { me, hook, hurry, left: Vec::new(), undone: Undone::default() }
    }

    /// Runs a phase, stops it at its deadline, and says how it ended, and of what it failed. `late` is called at the deadline if it ends the process.
    pub(super) fn run(
        &mut self,
        step: PlannedStep,
        slot: &PhaseSlot,
        limit: Duration,
        late: impl FnOnce(&Stop),
    ) -> (Ended, String) {
        let (how, why) = if self.hurry.is_over() {
            self.undone.push(step);
            (Ended::Skipped, String::new())
        } else if let Some(why) = self.is_held(&step) {
            self.undone.push(step);
            (Ended::Failed, why)
        } else {
            match self.begin(step, slot, limit, late) {
                Ok(how) => (how, String::new()),
                Err(why) => (Ended::Failed, why),
            }
        };
        slot.end(how, &why);
        (how, why)
    }

    /// All are over.
    pub(super) fn finish(mut self) -> Undone {
        if let Some(hook) = self.hook.take() {
            self.undone.push(hook);
        }
        self.undone
    }

    /// Whether a lock that the step needs is held by who will not let it go.
    fn is_held(&self, step: &PlannedStep) -> Option<String> {
        let left: Vec<_> = self.left.iter().flat_map(Stop::family).flat_map(|part| part.inner.members.left()).collect();
        let (monitor, holder) =
            step.apart.iter().find_map(|apart| apart(&|holder| holder == self.me || left.contains(&holder)))?;
        let name = holder.last_name().map_or_else(|| "one that has ended".to_owned(), |name| name.to_string());
        let who = if holder == self.me { "who shuts down" } else { "of a phase that was left" };
        Some(format!("it needs {monitor}, which {name}, {who}, holds"))
    }

    /// Runs a phase. `Err`: of what it failed.
    fn begin(
        &mut self,
        step: PlannedStep,
        slot: &PhaseSlot,
        limit: Duration,
        late: impl FnOnce(&Stop),
    ) -> Result<Ended, String> {
        let stop = Stop::new(&step.name);
        let until = sys::now() + limit;
        slot.begin(stop.domain, limit);
        let phase = Phase { stop: stop.clone(), deadline: until, hook: self.hook.clone() };
        let result = Arc::new(Mutex::new(None));
        if let Err(error) = start(&stop, (step.body, step.apart), phase, result.clone()) {
            return Err(format!("its thread could not be started: {error}"));
        }
        let mut ended = stop.wait_for_members(Whom::All, until, Some(self.hurry), Location::caller());
        let (in_time, given_in_time) = (ended, result.lock().is_some());
        if !ended {
            slot.late();
            if step.or_abort && !self.hurry.is_over() {
                late(&stop);
            }
            stop.request("the phase's time is up");
            ended = stop.wait_for_members(Whom::All, sys::now() + WAY_OUT, None, Location::caller());
            #[cfg(all(feature = "tokio", not(unwedge_loom)))]
            if !ended && stop.family().iter().filter(|part| part.inner.members.abort_tasks(Whom::All)).count() != 0 {
                ended = stop.wait_for_members(Whom::All, sys::now() + WAY_OUT, None, Location::caller());
            }
        }
        // Who has kept the phase has a domain that is over.
        stop.request("the phase is over");
        let joined_by = Until::new(until.max(sys::now() + WAY_OUT), || self.hurry.is_over());
        let family = stop.family();
        let unjoined: usize = family.iter().map(|part| part.inner.members.join_ended(|| joined_by.at())).sum();
        if !ended || unjoined != 0 {
            self.left.push(stop);
            return Ok(Ended::Left);
        }
        let panicked = family.iter().any(|part| !part.inner.members.panicked().is_empty());
        match result.lock().take() {
            Some(Ok(())) => Ok(Ended::Done),
            Some(Err(_)) if !given_in_time => Ok(Ended::Stopped),
            Some(Err(why)) => Err(why),
            None if panicked => Err("it panicked".to_owned()),
            None if in_time => Err("its runtime dropped it".to_owned()),
            None => Ok(Ended::Stopped),
        }
    }
}

/// Whether the step failed, and of what.
type Given = Result<(), String>;

/// Starts the step as a member of the phase's domain. Its result is there before it is no member any more.
fn start(
    stop: &Stop,
    (body, apart): (Body, Vec<Apart>),
    phase: Phase,
    result: Arc<Mutex<Option<Given>>>,
) -> std::io::Result<()> {
    match body {
        Body::Thread(step) => drop(stop.spawn(&stop.inner.name, move || {
            let _apart = apart;
            phase.progress();
            let given = step(&phase).map_err(|error| error.to_string());
            phase.progress();
            *result.lock() = Some(given);
        })?),
        #[cfg(all(feature = "tokio", not(unwedge_loom)))]
        Body::Task(runtime, step) => {
            let _entered = runtime.enter();
            drop(stop.spawn_task(&stop.inner.name, async move {
                let _apart = apart;
                phase.progress();
                let given = step(phase.clone()).await.map_err(|error| error.to_string());
                phase.progress();
                *result.lock() = Some(given);
            }));
        }
    }
    Ok(())
}
