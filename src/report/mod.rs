//! The report: who has not ended, and where it waits.
//!
//! It is made from the registry, without a lock that a stuck thread could hold (L8).
//!
//! | file | what it is |
//! |---|---|
//! | `parts` | what a report is made of |
//! | `snapshot` | the registry at a moment |
//! | `left` | who of a report's domains has not ended |
//! | `flights` | operations in flight, and who waits for which |
//! | `explain` | the walk over it: deadlocks, and where chains of waits end |
//! | `text`, `json`, `dot` | its forms: for a terminal, for programs, for Graphviz |
//! | `quick` | hashing |
//! | `watch` | a thread that tells `tracing` when something waits longer than it should |
//! | `fd` | the report of the whole process, for a signal handler |

mod dot;
mod explain;
mod fd;
mod flights;
#[cfg(all(feature = "json", not(unwedge_loom)))]
mod json;
mod left;
#[expect(clippy::disallowed_types, reason = "a report is made outside of models' races, and of its own data")]
mod once;
mod parts;
mod quick;
mod snapshot;
mod text;
#[cfg(all(feature = "tracing", not(unwedge_loom)))]
mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::registry::domain::DomainRef;
use crate::registry::order;
use crate::stop::Rest;

pub use explain::{Cause, CauseKind, Step};
pub use fd::report_fd;
pub use parts::{
    HeldBy, LockReport, MemberReport, Notified, OperationReport, Outcome, OwedBy, Party, PhaseReport, WaitReport,
    WaitsFor,
};

pub use crate::registry::order::{Inversion, Order};

use flights::Flights;
use once::Once;
use snapshot::{PhaseStep, Snapshot};

/// Has a hook told of each inversion that is found from now on, by the thread that found it, before it takes the lock; a second hook takes the place of the first.
/// It may panic, as a test's may: then nothing was taken. See [`Report::inversions`].
pub fn on_inversion(hook: impl Fn(&Inversion) + Send + Sync + 'static) {
    order::set_hook(Arc::new(hook));
}

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
    /// The places of those that have not ended in the snapshot: first those of `steps`.
    left: Vec<u32>,
    /// Those that run phases.
    steps: Vec<PhaseStep>,
    /// Made when it is asked for: of thousands, only a few are shown mostly.
    members: Once<Vec<MemberReport>>,
    causes: Vec<Cause>,
    more_causes: usize,
    locks: Vec<LockReport>,
    flights: Flights,
    operations: Once<Vec<OperationReport>>,
    inversions: Vec<Inversion>,
    phases: Vec<PhaseReport>,
    panicked: Vec<String>,
    rest: Rest,
    elapsed: Option<Duration>,
    /// What all is made of.
    snapshot: Arc<Snapshot>,
}

impl Report {
    /// `reason`: why the stop was requested; asked for after the registry was read, so that a stop of which a phase is seen is seen as requested.
    /// `have_ended`: nobody of the domains is named, whoever may be there again. `plan`: the shutdown whose phases alone count.
    pub(crate) fn new(
        domain: &str,
        reason: impl FnOnce() -> Option<Arc<str>>,
        domains: &[DomainRef],
        have_ended: bool,
        panicked: Vec<String>,
        plan: Option<u64>,
    ) -> Self {
        let snapshot = Snapshot::take();
        let reason = reason();
        let mut phases = snapshot.phases_of(domains);
        phases.retain(|phase| plan.is_none_or(|plan| phase.plan == plan));
        let steps = snapshot.steps_of(&phases);
        let mut left: Vec<_> = steps.iter().map(|step| step.place).collect();
        if !have_ended {
            left.append(&mut left::left(&snapshot, domains));
        }
        let (causes, more_causes) = explain::explain(&snapshot, &left, &steps);
        Report {
            domain: domain.to_owned(),
            reason,
            locks: snapshot.locks_of(&left),
            left,
            steps,
            members: Once::new(),
            causes,
            more_causes,
            flights: Flights::take(domains, &phases, &snapshot),
            operations: Once::new(),
            inversions: order::found(),
            phases: phases.iter().map(PhaseReport::of).collect(),
            panicked,
            rest: Rest::default(),
            elapsed: None,
            snapshot: Arc::new(snapshot),
        }
    }

    /// The shutdown is through. `phases`: how its own ended, if it knows better than the registry.
    pub(crate) fn finish(&mut self, phases: Option<Vec<PhaseReport>>, rest: Rest, elapsed: Duration) {
        if let Some(phases) = phases {
            self.phases = phases;
        }
        self.rest = rest;
        // What was in flight before the drain is no news any more, but for what it has left.
        match self.leaked_operations() {
            // (What is left to another shutdown was not drained.)
            0 if rest.busy == 0 => self.flights.forget(),
            _ => self.flights.look_again(&self.snapshot),
        }
        self.operations = Once::new();
        self.elapsed = Some(elapsed);
    }

    /// Whether everything has ended: every thread is joined, every task and callback done, nothing left in the kernel, no phase's thread left. (A
    /// phase that was given up in time is no blemish of the stop; [`phases`](Self::phases) tells.)
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
            && self.rest == Rest::default()
            && self.phases.iter().all(|phase| phase.outcome != Outcome::Left)
    }

    /// Whether nobody is left, as far as the registry says.
    pub(crate) fn names_nobody(&self) -> bool {
        self.left.is_empty()
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

    /// Who has not ended: those that run the step of a phase first, then the others by name.
    #[must_use]
    pub fn members(&self) -> &[MemberReport] {
        self.members.get(|| self.first_members(self.left.len()))
    }

    /// The first so many of them.
    fn first_members(&self, count: usize) -> Vec<MemberReport> {
        let holdings = self.snapshot.holdings();
        let left = self.left.iter().take(count).enumerate();
        left.map(|(at, place)| {
            let phase = self.steps.get(at).map(|step| step.phase.as_ref().to_owned());
            MemberReport { phase, ..self.snapshot.member(*place, &holdings) }
        })
        .collect()
    }

    /// Why it does not stop, the worst first: each end of a chain of waits of those that have not ended, with what leads to it.
    /// At most 64 of them.
    ///
    /// ```
    /// use unwedge::{Completion, Plan, Stop, report::CauseKind};
    /// use std::time::Duration;
    ///
    /// let stop = Stop::new("mds.a");
    /// let never = Stop::new("another life");
    /// let (completer, mut ack) = Completion::<u8>::new("ack", &never);
    /// let (told, is_told) = std::sync::mpsc::channel();
    /// let (go, gone) = std::sync::mpsc::channel::<()>();
    /// stop.spawn("dispatch", move || {
    ///     completer.owed_by_me();
    ///     told.send(()).ok();
    ///     gone.recv().ok();                                      // busy elsewhere
    ///     completer.complete(7)
    /// })?;
    /// is_told.recv()?;
    /// stop.spawn("beacon", move || ack.wait())?;
    /// let report = loop {
    ///     let report = stop.report();
    ///     if report.causes()[0].blocked == 2 { break report }
    /// };
    /// let cause = &report.causes()[0];
    /// assert_eq!(cause.kind, CauseKind::Outside);
    /// assert_eq!(cause.culprit().map(|step| &*step.member.name), Some("dispatch"));
    /// assert_eq!(cause.others, ["beacon"]);
    /// # go.send(())?;
    /// # stop.shutdown(Plan::within(Duration::from_secs(10)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// The locks of monitors that they hold or wait for, those with the longest queue first.
    #[must_use]
    pub fn locks(&self) -> &[LockReport] {
        &self.locks
    }

    /// The operations in flight of this domain, its children and the phases of their shutdowns, whether somebody waits for them or not; and those of storage,
    /// whosever they are, that one waits for who has not ended. The oldest first.
    ///
    /// ```
    /// use unwedge::{Plan, Stop, io::{Io, IoError}};
    ///
    /// let stop = Stop::new("mds.a");
    /// let io = Io::new(&stop)?;
    /// let (frozen, reply) = io.external::<Vec<u8>, IoError>("osd_op");
    /// let report = stop.report();
    /// assert_eq!(report.operations()[0].operation, "osd_op");
    /// assert_eq!(report.operations()[0].waiter, None);            // it is out, and nobody waits for it
    /// drop((frozen, reply));
    /// assert!(stop.report().operations().is_empty());
    /// # assert!(stop.shutdown(Plan::within(std::time::Duration::from_secs(10))).is_clean());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn operations(&self) -> &[OperationReport] {
        self.operations.get(|| self.flights.operations(&self.snapshot, &self.left))
    }

    /// Where this process has taken locks, or waited, in orders that contradict each other: found in debug builds and with the feature `lockdep`, and empty
    /// without.
    ///
    /// A monitor's class is its name and where it was made; a completion's is what it owes and where it was made. Holding one and wanting another one is an
    /// order; waiting for a result is wanting it, and owing one ([`Completer::owed_by_me`](crate::Completer::owed_by_me)) is holding it. So a wait for a thread's
    /// end with a lock held that the thread takes is an inversion, although it did not deadlock this time. Each is found once. What is
    /// tried without waiting (`try_lock`) is never one, and instances of one class are none as long as no two of them are taken in both orders, or in the
    /// order of [`Monitor::with_order`](crate::Monitor::with_order).
    ///
    /// One that is found is also told to `tracing` (a warning of the target `unwedge::order`), and to the hook of [`on_inversion`]; without a hook a debug build
    /// prints it to stderr.
    ///
    /// ```
    /// use unwedge::{Monitor, Stop, report};
    ///
    /// report::on_inversion(|_| ());                               // nothing is printed
    /// let stop = Stop::new("mds.a");
    /// let mds = Monitor::new("mds_lock", std::sync::Mutex::new(()), &stop);
    /// let admin = Monitor::new("admin_lock", std::sync::Mutex::new(()), &stop);
    /// {
    ///     let _mds = mds.lock()?;
    ///     let _admin = admin.lock()?;
    /// }
    /// {
    ///     let _admin = admin.lock()?;
    ///     let _mds = mds.lock()?;                                 // nobody else was there: no deadlock
    /// }
    /// if cfg!(debug_assertions) {
    ///     let report = stop.report();
    ///     let inversion = &report.inversions()[0];
    ///     assert_eq!((&*inversion.now.held, &*inversion.now.wanted), ("admin_lock", "mds_lock"));
    ///     assert_eq!((&*inversion.before[0].held, &*inversion.before[0].wanted), ("mds_lock", "admin_lock"));
    /// }
    /// # Ok::<(), unwedge::Stopped>(())
    /// ```
    #[must_use]
    pub fn inversions(&self) -> &[Inversion] {
        &self.inversions
    }

    /// The phases of the shutdown in order, with those of its children's: while it runs, how far each has come, afterwards how it ended.
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    /// use unwedge::{Plan, Step, Stop, report::Outcome};
    ///
    /// let stop = Stop::new("mds.a");
    /// let (go, gone) = mpsc::channel::<()>();
    /// let plan = Plan::within(Duration::from_secs(60))
    ///     .phase("save", Duration::from_secs(20), move |_| Ok(gone.recv()?))
    ///     .step(Step::new("release", Duration::from_secs(1)).or_abort().run(|_| Ok(())));
    /// let own = stop.clone();
    /// let shutdown = std::thread::spawn(move || own.shutdown(plan));
    /// let report = loop {
    ///     let report = stop.report();
    ///     if report.phases().iter().any(|phase| phase.outcome == Outcome::Running) { break report }
    /// };
    /// let (save, release) = (&report.phases()[0], &report.phases()[1]);
    /// assert!(save.left.is_some_and(|left| left <= Duration::from_secs(20)));
    /// assert!(release.outcome == Outcome::Planned && release.or_abort);
    /// assert!(report.to_string().starts_with("mds.a: stopping (shutdown), in phase save (1 of 2), "), "{report}");
    /// go.send(())?;
    /// # assert!(shutdown.join().is_ok_and(|report| report.is_clean()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn phases(&self) -> &[PhaseReport] {
        &self.phases
    }

    /// The names of threads and tasks that panicked (32 bytes of each).
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
