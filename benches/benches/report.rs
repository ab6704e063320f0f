//! What a report costs by the number of those that wait, a shutdown by its phases, and what watching the order of locks costs.
//!
//! `cargo bench --package unwedge-benches --bench report`; the last group also with `--features lockdep`, without which nothing is watched in a release build.

use std::fs::File;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use parking_lot::Mutex;
use unwedge::report::report_fd;
use unwedge::{Completer, Completion, Monitor, Plan, Stop};

/// Tasks that wait: half of them for a lock that is held, half for a result each.
struct Waiting {
    stop: Stop,
    tasks: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    completers: Vec<Completer<u64>>,
}

impl Waiting {
    /// Runs with so many of them.
    fn with(count: usize, run: impl FnOnce(&Stop)) {
        let stop = Stop::new("bench");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let held = mds.lock().expect("no stop is requested");
        let mut this = Waiting { stop, tasks: Vec::new(), completers: Vec::new() };
        for index in 0..count {
            let mut task: Pin<Box<dyn Future<Output = ()>>> = if index % 2 == 0 {
                let (completer, owed) = Completion::<u64>::new("read", &this.stop);
                this.completers.push(completer);
                Box::pin(this.stop.track("reader", owed).1)
            } else {
                let mds = mds.clone();
                Box::pin(this.stop.track("locker", async move { mds.lock_async().await.is_ok() }).1)
            };
            assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            this.tasks.push(task);
        }
        run(&this.stop);
        drop((this.tasks, this.completers));
        drop(held);
    }
}

/// What a report costs in each of its forms.
fn report_cost(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("report_cost");
    let null = File::options().write(true).open("/dev/null").expect("there");
    for count in [10, 1_000, 20_000] {
        Waiting::with(count, |stop| {
            let mut one = |name: &str, work: &dyn Fn()| {
                bench.bench_function(BenchmarkId::new(name, count), |b| b.iter(work));
            };
            one("report", &|| drop(black_box(stop.report())));
            one("report and text", &|| drop(black_box(stop.report().to_string())));
            one("report and JSON", &|| drop(black_box(stop.report().to_json())));
            one("report_fd", &|| report_fd(&null).expect("written"));
        });
    }
    bench.finish();
}

/// What a shutdown costs by the phases of its plan, beside none and beside thousands that wait in another life.
fn phases(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("phases");
    let shut_down = |count: usize| {
        let nothing = |plan: Plan, _| plan.phase("step", Duration::from_secs(10), |_| Ok(()));
        let report = Stop::new("life").shutdown((0..count).fold(Plan::within(Duration::from_secs(60)), nothing));
        assert!(report.is_clean() && report.phases().len() == count, "{report}");
    };
    for waiters in [0, 20_000] {
        Waiting::with(waiters, |_| {
            for count in [0, 1, 4] {
                let name = BenchmarkId::new(format!("{count} phases"), format!("{waiters} waiters"));
                bench.bench_function(name, |b| b.iter(|| shut_down(count)));
            }
        });
    }
    bench.finish();
}

/// A lock alone, and one within another.
fn lockdep_cost(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("lockdep_cost");
    let stop = Stop::new("bench");
    let outer = Monitor::new("outer", Mutex::new(0_u64), &stop);
    let inner = Monitor::new("inner", Mutex::new(0_u64), &stop);
    let watched = if cfg!(feature = "lockdep") { "watched" } else { "not watched" };
    bench.bench_function(BenchmarkId::new("one lock", watched), |b| {
        b.iter(|| *outer.lock().expect("no stop is requested") += 1);
    });
    bench.bench_function(BenchmarkId::new("two locks", watched), |b| {
        b.iter(|| {
            let mut first = outer.lock().expect("no stop is requested");
            *inner.lock().expect("no stop is requested") += 1;
            *first += 1;
        });
    });
    bench.finish();
}

criterion_group! {
    name = costs;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    targets = report_cost, phases, lockdep_cost
}
criterion_main!(costs);
