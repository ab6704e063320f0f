//! The report: who has not ended, and where it waits.
//!
//! It is made from the registry, without a lock that a stuck thread could hold (L8).

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::member::{self, Kind};
use crate::stop::Rest;
use crate::wait::look::{Seen, look};
use crate::wait::waiter::{NOTIFIED, QUEUED, STOPPED, TURN, What};

/// Who has not ended in a domain, where it waits, and what a shutdown had to leave.
///
/// ```
/// use std::time::Duration;
/// use unwedge::{Completion, Plan, Stop};
///
/// let stop = Stop::new("mds.a");
/// let (never, mut read) = Completion::<u8>::new("read", &stop);
/// stop.spawn("replay", move || read.wait())?;
/// while stop.report().members().iter().all(|member| member.waits.is_empty()) {
///     std::thread::yield_now();
/// }
/// let report = stop.report();
/// assert_eq!(report.members()[0].name, "replay");
/// assert_eq!(report.members()[0].waits[0].what, "read");
/// # stop.shutdown(Plan::within(Duration::from_secs(10)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Report {
    domain: String,
    reason: Option<Arc<str>>,
    members: Vec<MemberReport>,
    phases: Vec<PhaseReport>,
    panicked: Vec<String>,
    rest: Rest,
    elapsed: Option<Duration>,
}

/// A thread or task that has not ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// Whether it is a task, and not a thread.
    pub is_task: bool,
    /// The kernel's id of the thread; 0 for a task.
    pub tid: u32,
    /// What it waits for through unwedge: nothing, if it runs or blocks elsewhere; several, if a task waits for several at once.
    pub waits: Vec<WaitReport>,
}

/// A wait.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WaitReport {
    /// What it waits for: the lock of a monitor, a condition variable, or what a completion owes.
    pub what: String,
    /// Where in the source it began to wait.
    pub location: Option<&'static Location<'static>>,
    /// For how long, to a few milliseconds.
    pub age: Duration,
    /// Who holds the lock that it waits for, if one does.
    pub holder: Option<String>,
    /// Whether it was woken and has not run since: a task that nobody polls, or a thread that waits for a processor.
    pub woken: bool,
}

/// How a phase of a shutdown ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
}

/// How a phase ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It has done its work.
    Done,
    /// Its time was up, and it gave its work up.
    Stopped,
    /// It failed, and why.
    Failed(String),
    /// Its time was up, and its thread has not ended.
    Left,
}

impl PhaseReport {
    pub(crate) fn new(name: String, outcome: Outcome, elapsed: Duration) -> Self {
        PhaseReport { name, outcome, elapsed }
    }
}

impl Report {
    pub(crate) fn new(
        domain: &str,
        reason: Option<Arc<str>>,
        left: impl Iterator<Item = (u32, Arc<str>, Kind)>,
        panicked: Vec<String>,
    ) -> Self {
        let seen = look();
        let mut members: Vec<_> = left
            .map(|(index, name, kind)| MemberReport {
                name: name.as_ref().to_owned(),
                is_task: kind == Kind::Task,
                tid: member::members().get(index).tid(),
                waits: seen.iter().filter(|wait| wait.member == index).map(WaitReport::new).collect(),
            })
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Report {
            domain: domain.to_owned(),
            reason,
            members,
            phases: Vec::new(),
            panicked,
            rest: Rest::default(),
            elapsed: None,
        }
    }

    pub(crate) fn finish(&mut self, phases: Vec<PhaseReport>, rest: Rest, elapsed: Duration) {
        self.phases = phases;
        self.rest = rest;
        self.elapsed = Some(elapsed);
    }

    /// Whether everything has ended: every thread is joined, every task and callback done, nothing left in the kernel, no phase's thread left. (A
    /// phase that was given up in time is no blemish of the stop; [`phases`](Self::phases) tells.)
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.members.is_empty()
            && self.rest == Rest::default()
            && self.phases.iter().all(|phase| phase.outcome != Outcome::Left)
    }

    /// Name of the domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Why the stop was requested, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Who has not ended, by name.
    #[must_use]
    pub fn members(&self) -> &[MemberReport] {
        &self.members
    }

    /// How the phases of the shutdown ended, in order.
    #[must_use]
    pub fn phases(&self) -> &[PhaseReport] {
        &self.phases
    }

    /// The names of threads and tasks that panicked.
    #[must_use]
    pub fn panicked(&self) -> &[String] {
        &self.panicked
    }

    /// How many I/O operations were left in the kernel, with their buffers leaked.
    #[must_use]
    pub fn leaked_operations(&self) -> usize {
        self.rest.leaked.operations
    }

    /// How many bytes of buffers were leaked with them.
    #[must_use]
    pub fn leaked_bytes(&self) -> usize {
        self.rest.leaked.bytes
    }

    /// How many threads are left that are not members: of the I/O, stuck in the kernel; of the callbacks; or in a thread-local's destructor.
    #[must_use]
    pub fn leaked_threads(&self) -> usize {
        self.rest.leaked.threads
    }

    /// How many domains (this one, its children) another shutdown was still closing when this one had no more time: what that one has to leave is
    /// in its own report.
    #[must_use]
    pub fn closing(&self) -> usize {
        self.rest.busy
    }

    /// How long the shutdown took.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        self.elapsed
    }
}

fn member_name(index: u32) -> Option<String> {
    (index != 0).then(|| member::members().get(index).name.get())
}

impl WaitReport {
    fn new(seen: &Seen) -> Self {
        let mut holder = None;
        let mut lock = || {
            let Some(monitor) = seen.monitor else { return String::new() };
            let (name, held_by) = (monitor.name.get(), monitor.holder());
            holder = match member_name(held_by) {
                Some(name) if held_by == seen.member => Some(format!("{name}, which is itself: a deadlock")),
                other => other,
            };
            name
        };
        let what = match seen.what {
            What::Lock if seen.monitor.is_none() => "a lock that others also take (notified)".to_owned(),
            What::Lock => format!("lock {}", lock()),
            What::Condition if matches!(seen.state, QUEUED | TURN) => format!("lock {} (notified)", lock()),
            What::Predicate if matches!(seen.state, QUEUED | TURN) => format!("lock {} (to look again)", lock()),
            What::Condition => {
                let mut text = "a condition variable".to_owned();
                let name = seen.condition.map(|condition| condition.name.get()).unwrap_or_default();
                if !name.is_empty() {
                    text = format!("condition variable {name}");
                }
                if let Some(monitor) = seen.monitor {
                    text = format!("{text} of {}", monitor.name.get());
                }
                text
            }
            What::Predicate => match seen.monitor {
                Some(monitor) => format!("a change of {}", monitor.name.get()),
                None => "a change".to_owned(),
            },
            What::Completion => {
                let mut text = seen.operation.clone();
                if !seen.object.is_empty() {
                    text = format!("{text} {}", seen.object);
                }
                if seen.length != 0 {
                    text = format!("{text} at {}, {} bytes", seen.offset, seen.length);
                }
                text
            }
            What::Stop => "the stop".to_owned(),
            What::End => "threads and tasks to end".to_owned(),
        };
        WaitReport {
            what,
            location: seen.location,
            age: Duration::from_millis(seen.age_ms),
            holder,
            woken: matches!(seen.state, TURN | NOTIFIED | STOPPED),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.domain)?;
        match (&self.reason, self.elapsed) {
            (None, _) => write!(f, "no stop requested")?,
            (Some(reason), None) => write!(f, "stopping ({reason})")?,
            (Some(reason), Some(elapsed)) if self.is_clean() => write!(f, "stopped ({reason}) in {elapsed:.1?}")?,
            (Some(reason), Some(elapsed)) => write!(f, "NOT STOPPED ({reason}) after {elapsed:.1?}")?,
        }
        for member in &self.members {
            write!(f, "\n  {} {}", if member.is_task { "task" } else { "thread" }, member.name)?;
            if member.tid != 0 {
                write!(f, " (tid {})", member.tid)?;
            }
            if member.waits.is_empty() {
                write!(f, " runs, or blocks outside unwedge")?;
            }
            for wait in &member.waits {
                write!(f, " waits {:.1} s for {}", wait.age.as_secs_f64(), wait.what)?;
                if let Some(holder) = &wait.holder {
                    write!(f, ", held by {holder}")?;
                }
                if wait.woken {
                    write!(f, ", woken but not run yet")?;
                }
                if let Some(location) = wait.location {
                    write!(f, " ({location})")?;
                }
            }
        }
        for phase in &self.phases {
            let outcome = match &phase.outcome {
                Outcome::Done => "done".to_owned(),
                Outcome::Stopped => "given up: its time was up".to_owned(),
                Outcome::Failed(why) => format!("failed: {why}"),
                Outcome::Left => "its time was up, and its thread has not ended".to_owned(),
            };
            write!(f, "\n  phase {}: {outcome} ({:.1?})", phase.name, phase.elapsed)?;
        }
        if self.rest.leaked.operations != 0 {
            write!(
                f,
                "\n  in the kernel: {} operations, {} bytes leaked",
                self.rest.leaked.operations, self.rest.leaked.bytes
            )?;
        }
        if self.leaked_threads() != 0 {
            write!(f, "\n  threads left: {}", self.leaked_threads())?;
        }
        if self.rest.late_callbacks != 0 {
            write!(f, "\n  callbacks left: {}", self.rest.late_callbacks)?;
        }
        if self.rest.busy != 0 {
            write!(f, "\n  still being closed by another shutdown: {} domains", self.rest.busy)?;
        }
        for name in &self.panicked {
            write!(f, "\n  panicked: {name}")?;
        }
        Ok(())
    }
}
