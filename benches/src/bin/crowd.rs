//! A daemon of 200 threads and 20,000 tasks whose storage is frozen, and which still serves: what a report costs, and how long its stop takes.
//!
//! Half of the threads and tasks wait for a read of their own that never completes, the other half for a lock whose holder waits for one. Beside them pairs
//! of threads hand work to each other all the time (`--load`), so that reports and stops have to share the processors. One *life* is gathered, reported
//! on, and stopped with the storage still frozen.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Parser;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use unwedge::io::{ExternalCompleter, Io, IoError};
use unwedge::report::CauseKind;
use unwedge::{Completer, Completion, Monitor, Owed, Plan, Stop, Stopped};

/// A daemon of many threads and tasks on frozen storage: what a report costs, and how long its stop takes
#[derive(Parser)]
struct Arguments {
    /// How often the daemon is begun, reported on and stopped
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    lives: u32,
    /// Reports of each life
    #[arg(long, default_value_t = 10)]
    reports: u32,
    /// Threads that wait
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=4_000))]
    threads: u32,
    /// Tasks that wait
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    tasks: u32,
    /// Pairs of threads that hand work to each other meanwhile
    #[arg(long, default_value_t = 1)]
    load: u32,
    /// One JSON object, with every time, in place of the lines
    #[arg(long)]
    json: bool,
    /// Judge no time: for a machine that others have as well
    #[arg(long)]
    no_bars: bool,
}

/// What a report may take at its 99th percentile.
const REPORT_BAR: Duration = Duration::from_millis(10);

/// The same of a stop.
const STOP_BAR: Duration = Duration::from_millis(50);

/// Who would complete the reads, if the storage answered.
type Frozen = Vec<ExternalCompleter<Vec<u8>, IoError>>;

/// Work that one thread of a pair hands to the other.
type Queue = Monitor<Mutex<VecDeque<Completer<u64>>>>;

/// A life in which everybody waits, but for the load.
struct Crowd {
    stop: Stop,
    frozen: Frozen,
    io: Io,
    size: Size,
    /// How much was handed over.
    handed: Arc<AtomicU64>,
}

#[derive(Clone, Copy)]
struct Size {
    threads: usize,
    tasks: usize,
    load: usize,
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
    fn gather(runtime: &Runtime, size: Size) -> Result<Crowd, Box<dyn Error>> {
        let stop = Stop::new("mds.a");
        let io = Io::new(&stop)?;
        let mut this = Crowd { stop, frozen: Frozen::new(), io, size, handed: Arc::default() };
        let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0_u64), &this.stop));
        this.spawn_threads(&mds)?;
        let _entered = runtime.enter();
        for index in 0..size.tasks {
            if index % 2 == 0 {
                let mut completion = this.owe(size.threads + index);
                drop(this.stop.spawn_task("request", async move { (&mut *completion).await.is_ok() }));
            } else {
                let mds = mds.clone();
                drop(this.stop.spawn_task("client", async move { mds.lock_async().await.is_ok() }));
            }
        }
        while this.stop.report().members().iter().any(|member| member.waits.is_empty()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        for _ in 0..size.load {
            this.spawn_pair()?;
        }
        // It is under load from here on.
        while size.load > 0 && this.handed.load(Relaxed) == 0 {
            std::thread::yield_now();
        }
        Ok(this)
    }

    /// A read that never completes.
    fn owe(&mut self, index: usize) -> unwedge::io::ExternalCompletion<Vec<u8>, IoError> {
        let (completer, completion) = self.io.external(read(index));
        self.frozen.push(completer);
        completion
    }

    fn spawn_threads(&mut self, mds: &Arc<Monitor<Mutex<u64>>>) -> Result<(), Box<dyn Error>> {
        let (own, mut journal) = (mds.clone(), self.owe(0));
        self.stop.spawn("replay", move || {
            let held = own.lock()?;
            drop(journal.wait()?);
            drop(held);
            Ok::<(), Stopped>(())
        })?;
        while matches!(mds.try_lock(), Ok(Some(_))) {
            std::thread::yield_now();
        }
        for index in 1..self.size.threads {
            if index % 2 == 0 {
                let mut completion = self.owe(index);
                self.stop.spawn("reader", move || completion.wait().is_ok())?;
            } else {
                let mds = mds.clone();
                self.stop.spawn("dispatch", move || mds.lock().is_ok())?;
            }
        }
        Ok(())
    }

    /// One thread asks and waits for the answer, the other one gives it, until the stop.
    fn spawn_pair(&self) -> Result<(), Box<dyn Error>> {
        let queue: Arc<Queue> = Arc::new(Monitor::new("queue", Mutex::new(VecDeque::new()), &self.stop));
        let (work, stop, handed) = (queue.clone(), self.stop.clone(), self.handed.clone());
        self.stop.spawn("load-asks", move || -> Result<(), Stopped> {
            loop {
                let (completer, mut answer) = Completion::<u64>::new("answer", &stop);
                queue.lock()?.push_back(completer);
                let answer: Result<u64, _> = answer.wait()?;
                handed.fetch_add(answer.unwrap_or(0), Relaxed);
            }
        })?;
        self.stop.spawn("load-answers", move || -> Result<(), Stopped> {
            loop {
                let asked = work.when(VecDeque::pop_front)?;
                asked.complete(1).ok();
            }
        })?;
        Ok(())
    }

    /// Times reports, as an operator sees them (the text names the causes and a hundred of those that wait), and sees that each says who is to blame.
    fn report(&self, times: &mut Vec<Duration>) {
        let begun = Instant::now();
        let report = self.stop.report();
        let text = report.to_string();
        times.push(begun.elapsed());
        let Size { threads, tasks, load } = self.size;
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("  thread \"replay\" waits ")), "{text}");
        if times.len() == 1 {
            assert_eq!(report.members().len(), threads + tasks + 2 * load);
        }
        let cause = &report.causes()[0];
        assert_eq!(cause.kind, CauseKind::Storage);
        assert_eq!(cause.culprit().map(|step| step.member.name.as_str()), Some("replay"));
        assert_eq!(cause.blocked, 1 + threads / 2 + tasks / 2);
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

/// Times of one kind, against their bar.
#[derive(Serialize)]
struct Times {
    count: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    bar_p99_ms: f64,
    all_ms: Vec<f64>,
}

impl Times {
    fn new(times: &[Duration], bar: Duration) -> Self {
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        let mut sorted: Vec<f64> = times.iter().map(ms).collect();
        sorted.sort_by(f64::total_cmp);
        let at =
            |part: f64| sorted.get(((sorted.len() as f64 * part).ceil() as usize).max(1) - 1).copied().unwrap_or(0.0);
        Times {
            count: sorted.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: at(1.0),
            bar_p99_ms: ms(&bar),
            all_ms: times.iter().map(ms).collect(),
        }
    }

    fn is_met(&self) -> bool {
        self.p99_ms < self.bar_p99_ms
    }

    fn show(&self, what: &str) {
        let Times { count, p50_ms, p90_ms, p99_ms, max_ms, bar_p99_ms, .. } = self;
        let verdict = if self.is_met() { "yes" } else { "NO" };
        println!(
            "{what}: {count} times, ms: median {p50_ms:.2}, p90 {p90_ms:.2}, p99 {p99_ms:.2} (< {bar_p99_ms}: {verdict}), longest {max_ms:.2}"
        );
    }
}

#[derive(Serialize)]
struct Found {
    threads: u32,
    tasks: u32,
    load_pairs: u32,
    lives: u32,
    report: Times,
    shutdown: Times,
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let Arguments { lives, reports: reports_each, threads, tasks, load, json, no_bars } = *arguments;
    let size = Size { threads: threads as usize, tasks: tasks as usize, load: load as usize };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut reports, mut stops) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for life in 1..=lives {
        let crowd = Crowd::gather(&runtime, size)?;
        for _ in 0..reports_each {
            crowd.report(&mut reports);
        }
        stops.push(crowd.shut_down());
        if std::io::stderr().is_terminal() || life % 50 == 0 {
            let end = if std::io::stderr().is_terminal() { "\r" } else { "\n" };
            eprint!("crowd: life {life} of {lives}, {:.0} s{end}", begun.elapsed().as_secs_f64());
            std::io::stderr().flush()?;
        }
    }
    let (report, shutdown) = (Times::new(&reports, REPORT_BAR), Times::new(&stops, STOP_BAR));
    let are_met = no_bars || ((reports_each == 0 || report.is_met()) && shutdown.is_met());
    if json {
        let found = Found { threads, tasks, load_pairs: load, lives, report, shutdown };
        println!("{}", serde_json::to_string(&found)?);
    } else {
        println!("{threads} threads, {tasks} tasks, storage frozen, {load} pairs of threads at work, {lives} lives");
        if reports_each > 0 {
            report.show("report");
        }
        shutdown.show("shutdown");
    }
    Ok(are_met)
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crowd: {error}");
            ExitCode::from(2)
        }
    }
}
