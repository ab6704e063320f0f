//! What a report costs by the number of those that wait, and what watching the order of locks costs.
//!
//! `cargo bench --package unwedge-benches --bench report`; the second group also with `--features lockdep`, without which nothing is watched in a release build.

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use parking_lot::Mutex;
use unwedge::report::report_fd;
use unwedge::{Completion, Monitor, Stop};

/// So many tasks that wait, half of them for a lock that is held, half for a result each.
fn report_cost(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("report_cost");
    let null = File::options().write(true).open("/dev/null").expect("there");
    for count in [10, 1_000, 20_000] {
        let stop = Stop::new("bench");
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
        let held = mds.lock().expect("no stop is requested");
        let mut completers = Vec::new();
        let mut tasks = Vec::new();
        for index in 0..count {
            let mut task: std::pin::Pin<Box<dyn Future<Output = ()>>> = if index % 2 == 0 {
                let (completer, owed) = Completion::<u64>::new("read", &stop);
                completers.push(completer);
                Box::pin(stop.track("reader", owed).1)
            } else {
                let mds = mds.clone();
                Box::pin(stop.track("locker", async move { mds.lock_async().await.is_ok() }).1)
            };
            assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            tasks.push(task);
        }
        let mut one = |name: &str, work: &dyn Fn()| {
            bench.bench_function(BenchmarkId::new(name, count), |b| b.iter(work));
        };
        one("report", &|| drop(black_box(stop.report())));
        one("report and text", &|| drop(black_box(stop.report().to_string())));
        one("report and JSON", &|| drop(black_box(stop.report().to_json())));
        one("report_fd", &|| report_fd(&null).expect("written"));
        drop(tasks);
        drop(held);
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
    targets = report_cost, lockdep_cost
}
criterion_main!(costs);
