//! A daemon of 200 threads and 20,000 tasks whose storage is frozen: what a report costs, and how long its stop takes.
//!
//! `cargo run --release -p unwedge-benches --bin crowd [REPORTS] [LIVES]`: by default 200 reports of one life, and one life. Half of the threads and
//! tasks wait for a read of their own that never completes, the other half for a lock whose holder waits for one.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use unwedge::io::{ExternalCompleter, Io, IoError};
use unwedge::report::CauseKind;
use unwedge::{Monitor, Owed, Plan, Stop};

const THREADS: usize = 200;
const TASKS: usize = 20_000;

/// Who would complete the reads, if the storage answered.
type Frozen = Vec<ExternalCompleter<Vec<u8>, IoError>>;

/// A life in which everybody waits.
struct Crowd {
    stop: Stop,
    frozen: Frozen,
    _io: Io,
}

fn read(index: usize) -> Owed {
    Owed {
        operation: "read",
        object: Some(format!("200.{index:08x}").into()),
        offset: 4096 * index as u64,
        length: 4096,
    }
}

impl Crowd {
    fn gather(runtime: &Runtime) -> Result<Crowd, Box<dyn Error>> {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop)?;
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0_u64), &stop));
        let mut frozen = Frozen::new();
        let mut owe = |index| {
            let (completer, completion) = io.external(read(index));
            frozen.push(completer);
            completion
        };
        let (own, mut journal) = (mds.clone(), owe(0));
        stop.spawn("replay", move || {
            let held = own.lock()?;
            drop(journal.wait()?);
            drop(held);
            Ok::<(), unwedge::Stopped>(())
        })?;
        while matches!(mds.try_lock(), Ok(Some(_))) {
            std::thread::yield_now();
        }
        for index in 1..THREADS {
            if index % 2 == 0 {
                let mut completion = owe(index);
                stop.spawn("reader", move || completion.wait().is_ok())?;
            } else {
                let mds = mds.clone();
                stop.spawn("dispatch", move || mds.lock().is_ok())?;
            }
        }
        let _entered = runtime.enter();
        for index in 0..TASKS {
            if index % 2 == 0 {
                let mut completion = owe(THREADS + index);
                drop(stop.spawn_task("request", async move { (&mut *completion).await.is_ok() }));
            } else {
                let mds = mds.clone();
                drop(stop.spawn_task("client", async move { mds.lock_async().await.is_ok() }));
            }
        }
        while stop.report().members().iter().any(|member| member.waits.is_empty()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Crowd { stop, frozen, _io: io })
    }

    /// Times reports, as an operator sees them (the text names the causes and a hundred of those that wait), and sees that each says who is to blame.
    fn report(&self, count: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            let report = self.stop.report();
            let text = report.to_string();
            times.push(begun.elapsed());
            assert!(text.contains("thread \"replay\" waits "), "{text}");
            assert_eq!(report.members().len(), THREADS + TASKS);
            let cause = &report.causes()[0];
            assert_eq!(cause.kind, CauseKind::Storage);
            assert_eq!(cause.culprit().map(|step| step.member.name.as_str()), Some("replay"));
            assert_eq!(cause.blocked, 1 + THREADS / 2 + TASKS / 2);
        }
        times
    }

    /// Stops it, the storage still frozen.
    fn shut_down(self) -> Duration {
        let begun = Instant::now();
        let report = self.stop.shutdown(Plan::within(Duration::from_secs(10)).drain(Duration::ZERO));
        let took = begun.elapsed();
        assert!(report.members().is_empty(), "{report}");
        drop(self.frozen);
        took
    }
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: {} times, ms: median {:.2}, p90 {:.2}, p99 {:.2}, longest {:.2}",
        times.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let reports = numbers.next().transpose()?.unwrap_or(200);
    let lives = numbers.next().transpose()?.unwrap_or(1).max(1);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{THREADS} threads, {TASKS} tasks, storage frozen");
    let mut stops = Vec::new();
    for life in 0..lives {
        let crowd = Crowd::gather(&runtime)?;
        if life == 0 && reports > 0 {
            crowd.report(3);
            show("report", crowd.report(reports));
        }
        stops.push(crowd.shut_down());
    }
    show("shutdown", stops);
    Ok(())
}
