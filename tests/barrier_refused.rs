//! The kernel refuses membarrier only after the first waits (a filter that was set meanwhile): a stop still ends every wait, those that began
//! before and those that begin beside it; and who queues for a monitor is still woken, also where its unlock has passed no barrier so far.
//!
//! A program of its own, because the filter cannot be taken back and holds for all of its threads.

#![expect(clippy::unwrap_used, reason = "in a test a failure is a panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use unwedge::{Completion, Monitor, Plan, Stop};

/// A guard, not a measure.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a stop races with a wait that begins.
const ROUNDS: u32 = 20_000;

/// How many monitors there are whose last unlock races with who queues.
const MONITORS: usize = 2_000;

/// For every thread of the process, from now on.
fn refuse_membarrier() {
    let rules = BTreeMap::from([(libc::SYS_membarrier, Vec::new())]);
    let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    seccompiler::apply_filter_all_threads(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Where two threads meet.
#[derive(Default)]
struct Meeting(AtomicU32);

impl Meeting {
    /// Comes to the meeting of this round, and goes on as soon as the other is there.
    fn meet(&self, round: u32) {
        let begun = Instant::now();
        self.0.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0_u32;
        while self.0.load(Ordering::Acquire) < 2 * (round + 1) {
            looks += 1;
            if looks % 1000 == 0 {
                assert!(begun.elapsed() < LIMIT, "somebody sleeps still, before round {round}");
                thread::yield_now();
            }
        }
    }
}

/// Over a lock whose unlock is a plain store.
type Quiet = Monitor<spin::lock_api::Mutex<u32>>;

/// Monitors for which nobody has queued for a thousand unlocks.
fn quiet(stop: &Stop) -> Arc<[Quiet]> {
    let monitors: Arc<[Quiet]> =
        (0..MONITORS).map(|_| Monitor::new("quiet", spin::lock_api::Mutex::new(0), stop)).collect();
    monitors.iter().for_each(|monitor| (0..1100).for_each(|_| drop(monitor.lock().unwrap())));
    monitors
}

/// Of each the only unlock comes while a task queues: that is woken, or finds it free. (In code that is not optimised a lost wake-up is not seen here:
/// `ci/soak.sh`.)
fn last_unlocks_wake(monitors: &Arc<[Quiet]>) {
    let meeting = Arc::new(Meeting::default());
    let queues = {
        let (monitors, meeting) = (monitors.clone(), meeting.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for (round, monitor) in (0..).zip(&*monitors) {
                meeting.meet(2 * round);
                *runtime.block_on(monitor.lock_async()).unwrap() += 1;
                meeting.meet(2 * round + 1);
            }
        })
    };
    let mut far = vec![0_u64; 1 << 21];
    for (round, monitor) in (0..).zip(&**monitors) {
        let held = monitor.lock().unwrap();
        meeting.meet(2 * round);
        (0..round % 256).for_each(|_| std::hint::spin_loop());
        // Stores that take long, so that the unlock's, which comes out behind them, is late.
        let begin = round as usize * 7919;
        (0..32).for_each(|i| far[(begin + i * 64 * 509) % (1 << 21)] = 1);
        std::hint::black_box(&mut far);
        drop(held);
        meeting.meet(2 * round + 1);
    }
    queues.join().unwrap();
    assert!(monitors.iter().all(|monitor| *monitor.lock().unwrap() == 1));
}

#[test]
fn nobody_is_left_asleep_where_membarrier_is_refused_later() {
    let first = Stop::new("first life");
    let early: Vec<_> = (0..4)
        .map(|_| {
            let (owed, mut completion) = Completion::<u32>::new("read", &first);
            first.spawn("waiter", move || assert!(completion.wait().is_err())).unwrap();
            owed
        })
        .collect();
    let begun = Instant::now();
    while first.report().members().iter().filter(|member| !member.waits.is_empty()).count() < early.len() {
        assert!(begun.elapsed() < LIMIT);
        thread::yield_now();
    }
    let monitors = quiet(&first);
    refuse_membarrier();
    last_unlocks_wake(&monitors);

    let lives: Arc<[Stop]> = (0..ROUNDS).map(|_| Stop::new("life")).collect();
    let meeting = Arc::new(Meeting::default());
    let waiter = {
        let (lives, meeting) = (lives.clone(), meeting.clone());
        thread::spawn(move || {
            for (round, stop) in (0..).zip(&*lives) {
                let (_owed, mut completion) = Completion::<u32>::new("read", stop);
                meeting.meet(round);
                assert!(completion.wait().is_err(), "only the stop can end it");
            }
            meeting.meet(ROUNDS);
        })
    };
    for (round, stop) in (0..).zip(&*lives) {
        meeting.meet(round);
        // The wait begins some tens of nanoseconds earlier or later.
        (0..round % 64).for_each(|_| std::hint::spin_loop());
        stop.request("the race");
    }
    meeting.meet(ROUNDS);
    waiter.join().unwrap();

    // These began under the kernel's barrier, and look at no flag any more.
    let report = first.shutdown(Plan::within(LIMIT));
    assert!(report.is_clean() && report.panicked().is_empty(), "{report}");
    drop(early);
}
