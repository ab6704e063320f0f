//! How a model is run, and within which bounds.
#![expect(clippy::disallowed_methods, reason = "how long it may take is real time, not the model's")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{choice, end};

/// Runs a model under every schedule with at most `preemptions` preemptions (`None`: under every schedule), and returns how many there were.
///
/// It is [`Checker::check`] with that one bound.
///
/// # Panics
/// As [`Checker::check`].
pub fn check(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) -> usize {
    Checker { preemptions, ..Checker::new() }.check(model).executions
}

/// How a model is run: bounds. Without one, under every schedule.
///
/// ```
/// # #[cfg(not(unwedge_loom))] fn main() {}
/// # #[cfg(unwedge_loom)]
/// # fn main() {
/// use unwedge::{Stop, model::{Checker, thread}};
///
/// let seen = Checker::new().preemptions(2).check(|| {
///     let stop = Stop::new("life");
///     let other = stop.clone();
///     let waiter = thread::spawn(move || other.wait_timeout(std::time::Duration::from_secs(4)));
///     stop.request("SIGTERM");
///     assert!(waiter.join().unwrap(), "a sleep that the stop does not end");
/// });
/// assert!(seen.complete, "{seen}");
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a checker checks nothing by itself"]
pub struct Checker {
    preemptions: Option<usize>,
    branches: usize,
    limit: Option<Duration>,
}

/// What a [`Checker`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// How many executions there were.
    pub executions: usize,
    /// With how many combinations of [choices](super::choose): at least one.
    pub combinations: usize,
    /// Whether that was all there is within the bounds. `false` only where [`Checker::within`] has ended it.
    pub complete: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} executions", self.executions)?;
        if self.combinations > 1 {
            write!(f, ", {} combinations of choices", self.combinations)?;
        }
        if !self.complete {
            write!(f, ", given up before the end")?;
        }
        Ok(())
    }
}

impl Checker {
    /// No bounds but loom's own: five threads.
    pub fn new() -> Self {
        Checker { preemptions: None, branches: 100_000, limit: None }
    }

    /// At most this many preemptions in a schedule: how often a thread that could run on is made to wait for another. Most bugs need two or less.
    pub fn preemptions(mut self, most: usize) -> Self {
        self.preemptions = Some(most);
        self
    }

    /// At most this many steps in one execution (100,000 unless it is said): what ends a model in which threads turn in a circle.
    pub fn branches(mut self, most: usize) -> Self {
        self.branches = most;
        self
    }

    /// Gives up after about this time; [`Seen::complete`] says so. For a look around: what was not seen was not checked.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs the model under every schedule within the bounds, with every combination of choices.
    ///
    /// An execution ends when the model's closure returns. Then nothing may be left: no thread that has not ended, no waiter, no held lock, no
    /// operation of a [`Store`](super::Store) whose completion somebody still holds although nobody will answer it.
    ///
    /// # Panics
    /// Where the model does; where it deadlocks (it says who waits for what); where something is left at its end (it says what). A panic while guards
    /// of locks are held aborts the process: run such a model with `--nocapture` to see why.
    pub fn check(&self, model: impl Fn() + Sync + Send + 'static) -> Seen {
        end::explain_hangs();
        let begun = Instant::now();
        let executions = Arc::new(AtomicUsize::new(0));
        let model = Arc::new(model);
        let mut seen = Seen { executions: 0, combinations: 0, complete: true };
        choice::begin();
        loop {
            let (count, model) = (executions.clone(), model.clone());
            self.loom(begun).check(move || {
                count.fetch_add(1, Ordering::Relaxed);
                end::begin();
                model();
                end::end();
            });
            seen.combinations += 1;
            seen.complete = self.limit.is_none_or(|limit| begun.elapsed() < limit);
            if !seen.complete || !choice::next() {
                break;
            }
        }
        seen.executions = executions.load(Ordering::Relaxed);
        seen
    }

    fn loom(&self, begun: Instant) -> loom::model::Builder {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions;
        builder.max_branches = self.branches;
        if let Some(limit) = self.limit {
            builder.max_duration = Some(limit.saturating_sub(begun.elapsed()));
            // How many executions go by between two looks at the clock.
            builder.checkpoint_interval = 16;
        }
        builder
    }
}

impl Default for Checker {
    fn default() -> Self {
        Checker::new()
    }
}
