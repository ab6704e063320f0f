//! A stop of 64 threads and 10,000 tasks that wait: from the request until all have ended.
//!
//! The threads wait on one condition variable, the tasks for the stop. Ours is one domain, whose `shutdown` requests the stop and waits until its members
//! have ended. The peer is what one builds without it: a `CancellationToken` and a `TaskTracker` for the tasks; for the threads a flag under a mutex, a condition
//! variable and a join of each.
//!
//! Each has a process of its own ([`apart`]): a daemon stops once in its life.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use unwedge::{Monitor, Plan, Stop, Stopped};

use super::{Contest, Side, UNPOISONED};
use crate::apart;
use crate::measure::{Measured, Stopwatch};

const THREADS: usize = 64;
const TASKS: usize = 10_000;

/// Who waits, and can be ended.
trait Crowd {
    /// The name of its run.
    const NAME: &str;

    fn gather(runtime: &Runtime) -> Self;
    /// Requests the stop and waits until all have ended.
    fn end(self, runtime: &Runtime);
}

struct Ours(Stop);

impl Crowd for Ours {
    const NAME: &str = "stop_fanout ours";

    fn gather(runtime: &Runtime) -> Self {
        let stop = Stop::new("bench");
        let shared = Arc::new((Monitor::new("shared", Mutex::new(false), &stop), unwedge::Condvar::new()));
        for _ in 0..THREADS {
            let shared = shared.clone();
            let body = move || -> Result<(), Stopped> {
                let guard = shared.0.lock()?;
                guard.wait_while(&shared.1, |stopping| !*stopping).map(drop)
            };
            drop(stop.spawn("waits", body).expect("a thread"));
        }
        let _entered = runtime.enter();
        for _ in 0..TASKS {
            let own = stop.clone();
            drop(stop.spawn_task("waits", async move { own.requested().await }));
        }
        Ours(stop)
    }

    fn end(self, _runtime: &Runtime) {
        let report = self.0.shutdown(Plan::within(Duration::from_secs(60)));
        assert!(report.is_clean(), "{report}");
    }
}

struct Tokens {
    token: CancellationToken,
    tasks: TaskTracker,
    shared: Arc<(Mutex<bool>, Condvar)>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd for Tokens {
    const NAME: &str = "stop_fanout tokens";

    fn gather(runtime: &Runtime) -> Self {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let wait = |shared: &(Mutex<bool>, Condvar)| {
            let guard = shared.0.lock().expect(UNPOISONED);
            drop(shared.1.wait_while(guard, |stopping| !*stopping).expect(UNPOISONED));
        };
        let start = |_| {
            let shared = shared.clone();
            thread::Builder::new().name("waits".into()).spawn(move || wait(&shared)).expect("a thread")
        };
        let threads = (0..THREADS).map(start).collect();
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        for _ in 0..TASKS {
            let own = token.clone();
            drop(tasks.spawn_on(async move { own.cancelled().await }, runtime.handle()));
        }
        Tokens { token, tasks, shared, threads }
    }

    fn end(self, runtime: &Runtime) {
        self.token.cancel();
        *self.shared.0.lock().expect(UNPOISONED) = true;
        self.shared.1.notify_all();
        for thread in self.threads {
            thread.join().expect("no thread panicked");
        }
        self.tasks.close();
        runtime.block_on(self.tasks.wait());
        assert!(self.tasks.is_empty(), "all have ended");
    }
}

/// One crowd. Gathering it is not measured.
fn end_once<C: Crowd>() -> Measured {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime of two workers");
    let crowd = C::gather(&runtime);
    // Until all of them wait.
    thread::sleep(Duration::from_millis(30));
    let watch = Stopwatch::start();
    crowd.end(&runtime);
    watch.stop(1)
}

/// What is done in a process of its own.
pub(super) const APART: [apart::Run; 2] = [(Ours::NAME, end_once::<Ours>), (Tokens::NAME, end_once::<Tokens>)];

/// `n` crowds, one after the other.
fn ends<C: Crowd>(n: u64) -> Measured {
    let mut measured = Measured::nothing();
    for _ in 0..n {
        measured += apart::run(C::NAME);
    }
    measured
}

pub(super) fn contests() -> Vec<Contest> {
    vec![Contest::of_all(
        Side::ops("unwedge Stop", ends::<Ours>),
        [Side::ops("CancellationToken, TaskTracker, std Condvar", ends::<Tokens>)],
    )]
}
