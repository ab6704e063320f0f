//! What a report is made of: members, waits, locks, operations, phases.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::registry::domain::LastName;
use crate::registry::phase::{Ended, SeenPhase, State};

/// A thread or task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// A number of its own: no other thread or task of this process has it, or had it before.
    pub id: u64,
    /// Its name, 32 bytes of it; empty where it is not known any more.
    pub name: String,
    /// Whether it is a task, and not a thread.
    pub is_task: bool,
    /// The kernel's id of the thread; 0 for a task.
    pub tid: u32,
    /// Whether it has ended: what it holds or owes nobody will give back.
    pub has_ended: bool,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.is_empty(), self.is_task) {
            (true, _) => f.write_str("a thread or task"),
            (false, true) => write!(f, "task \"{}\"", self.name),
            (false, false) => write!(f, "thread \"{}\"", self.name),
        }
    }
}

/// A thread or task that has not ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemberReport {
    /// A number of its own, as [`Party::id`].
    pub id: u64,
    /// Its name, 32 bytes of it.
    pub name: String,
    /// Whether it is a task, and not a thread.
    pub is_task: bool,
    /// The kernel's id of the thread; 0 for a task.
    pub tid: u32,
    /// The phase of a shutdown whose step it runs, if it does.
    pub phase: Option<String>,
    /// What it waits for through unwedge: nothing, if it runs or blocks elsewhere; several, if a task waits for several at once.
    pub waits: Vec<WaitReport>,
    /// The monitors that it holds exclusively, by name.
    pub holds: Vec<String>,
}

/// A wait.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WaitReport {
    /// What it waits for, in words: the lock of a monitor, a condition variable, or what a completion owes.
    pub what: String,
    /// The same as data.
    pub on: WaitsFor,
    /// Where in the source it began to wait.
    pub location: Option<&'static Location<'static>>,
    /// For how long, to a few milliseconds.
    pub age: Duration,
    /// Who holds the lock that it waits for, if one does.
    pub holder: Option<String>,
    /// Whether it was woken and has not run since: a task that nobody polls, or a thread that waits for a processor.
    pub woken: bool,
    /// Since when a task has been woken and not polled, to a few milliseconds.
    pub woken_for: Option<Duration>,
    /// What tells the lock or condition from others of its name: nothing is read there. Of a result, which one alone waits for, the wait.
    pub(super) slot: u64,
}

/// What a wait is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// The lock of a monitor; or, without a name, a lock that others also take directly, after a notification.
    Lock {
        /// The monitor's name.
        name: String,
        /// Whether it is wanted for reading.
        shared: bool,
        /// Who holds it.
        held_by: HeldBy,
    },
    /// A notification of a condition variable. Who is to notify, nobody knows.
    Condition {
        /// The monitor whose lock is taken again afterwards, if it is one.
        monitor: Option<String>,
        /// Who notified last while somebody waited.
        notified_by: Option<Notified>,
    },
    /// A change of a monitor's data (`when`). Who is to change them, nobody knows.
    Change {
        /// The monitor's name.
        monitor: String,
        /// Who changed them last while somebody waited.
        changed_by: Option<Notified>,
    },
    /// The result of a completion: an operation of storage, a reply, or the end of a thread or task.
    Completion {
        /// What is done, for example `read`, or `end of`.
        operation: String,
        /// To what: a file or an object.
        object: Option<String>,
        /// Where in it, in bytes.
        offset: u64,
        /// How much, in bytes; 0 where that says nothing.
        length: u64,
        /// Who owes it.
        owed_by: OwedBy,
    },
    /// The stop of a domain: it has nothing to do until then.
    Stop,
    /// The members of a domain, to end: a shutdown.
    End {
        /// The domain, where it is known.
        of: Option<String>,
    },
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldBy {
    /// Nobody, or nobody that unwedge knows of.
    Nobody,
    /// So many readers, who are not known by name.
    Readers(u32),
    /// This one.
    Member(Party),
}

/// Who owes a result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwedBy {
    /// Nobody has said so: see [`Completer::owed_by_me`](crate::Completer::owed_by_me).
    Unknown,
    /// Storage: the kernel, or a foreign client.
    Storage,
    /// This one.
    Member(Party),
}

/// Who notified a condition last, while somebody waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notified {
    /// Who it was.
    pub by: Party,
    /// Where in the source, if it was by a call.
    pub location: Option<&'static Location<'static>>,
}

/// A monitor's lock that is held or waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockReport {
    /// The monitor's name.
    pub name: String,
    /// Who holds it.
    pub held_by: HeldBy,
    /// For how long it is held, *at least*: since the first one queued for it while it was held by this holder; to a few milliseconds. `None` where nobody
    /// has queued. (The lock's fast path looks at no clock.)
    pub held_for: Option<Duration>,
    /// How many wait for it.
    pub queue: usize,
}

/// An operation in flight: one that was begun through an `Io` and has not ended, or another one of storage that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationReport {
    /// What is done.
    pub operation: String,
    /// To what.
    pub object: Option<String>,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u64,
    /// For how long it is in flight, to a few milliseconds; of one that was not begun through an `Io`: for how long it is waited for.
    pub age: Duration,
    /// Who waits for it now; `None` where nobody does. (Where several are out that are the same by all of the above, whom each of them is waited for by, is
    /// told as it may be.)
    pub waiter: Option<Party>,
}

/// A phase of a shutdown: to come, running or over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// The domain that is shut down.
    pub domain: String,
    /// How far it has come, or how it ended.
    pub outcome: Outcome,
    /// How long it took, or has run so far.
    pub elapsed: Duration,
    /// How much time it was given when it began; before that, how much it asks for.
    pub limit: Duration,
    /// While it runs: how much time it has left, to a few milliseconds.
    pub left: Option<Duration>,
    /// What becomes of it when it is late: whether the process is aborted, with a report. (Otherwise it is stopped, and the shutdown goes on.)
    pub or_abort: bool,
    /// Which plan it is of, and its place there.
    pub(crate) plan: u64,
    pub(crate) place: u32,
}

/// How far a phase has come, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its turn has not come.
    Planned,
    /// Its step runs.
    Running,
    /// Its time is up, it was stopped, and its step has not ended yet.
    Late,
    /// It has done its work.
    Done,
    /// Its time was up, and it gave its work up.
    Stopped,
    /// It failed, and why. (128 bytes of it, as long as the shutdown runs.)
    Failed(String),
    /// Its time was up, and its thread has not ended; its step may have.
    Left,
    /// It was not begun, because the stop was hurried.
    Skipped,
}

impl Outcome {
    /// Whether the shutdown waits for this phase now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        matches!(self, Outcome::Running | Outcome::Late)
    }

    pub(crate) fn of(seen: &SeenPhase) -> Self {
        match seen.state {
            State::Planned => Outcome::Planned,
            State::Running => Outcome::Running,
            State::Late => Outcome::Late,
            State::Over(how) => Outcome::ended(how, seen.why.to_string()),
        }
    }

    /// Of what it failed is `why`, if it did.
    pub(crate) fn ended(how: Ended, why: String) -> Self {
        match how {
            Ended::Done => Outcome::Done,
            Ended::Stopped => Outcome::Stopped,
            Ended::Failed => Outcome::Failed(why),
            Ended::Left => Outcome::Left,
            Ended::Skipped => Outcome::Skipped,
        }
    }
}

impl PhaseReport {
    pub(crate) fn of(seen: &SeenPhase) -> Self {
        PhaseReport {
            name: seen.name.to_string(),
            domain: LastName(seen.domain).to_string(),
            outcome: Outcome::of(seen),
            elapsed: seen.elapsed,
            limit: seen.limit,
            left: (seen.state == State::Running).then_some(seen.left),
            or_abort: seen.or_abort,
            plan: seen.plan,
            place: seen.place,
        }
    }
}
