//! `Stop::watch`: what `tracing` is told of when something waits longer than it should, and that it ends with its domain.
//!
//! One test: `tracing` has one subscriber for the process.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use unwedge::{Completion, Monitor, Plan, Stop};

const GUARD: Duration = Duration::from_secs(30);

/// A subscriber that is told waits for this.
static BLOCKS: Mutex<()> = Mutex::new(());
static ENTERED: AtomicUsize = AtomicUsize::new(0);

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn told() -> Vec<String> {
    TOLD.lock().expect("not poisoned").clone()
}

/// Keeps the text of warnings about reports.
struct Listener;

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "unwedge::report" && *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        ENTERED.fetch_add(1, SeqCst);
        drop(BLOCKS.lock());
        let mut text = Text::default();
        event.record(&mut text);
        TOLD.lock().expect("not poisoned").push(text.0);
    }

    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn watchers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| name.trim() == "uw-watch").count()
}

fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < GUARD, "never seen: {what}; told: {:#?}", told());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_waits_too_long_is_told_of_and_the_watch_ends_with_its_domain() {
    tracing::subscriber::set_global_default(Listener).expect("the only one");
    let stop = Stop::new("mds.a");
    stop.watch(Duration::from_millis(5), Duration::from_millis(50)).expect("a thread");

    // They wait as long as they like.
    let own = stop.clone();
    stop.spawn("beacon", move || own.wait_timeout(Duration::MAX)).expect("a thread");
    let queue = Monitor::new("queue", Mutex::new(0), &stop);
    stop.spawn("worker", move || queue.when(|jobs: &mut i32| (*jobs != 0).then_some(()))).expect("a thread");

    let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
    let (completer, mut ack) = Completion::<u8>::new("ack", &stop);
    let own = mds.clone();
    stop.spawn("sender", move || {
        let _held = own.lock()?;
        ack.wait().map(drop)
    })
    .expect("a thread");
    until("it holds the lock", || matches!(mds.try_lock(), Ok(None)));
    stop.spawn("dispatch", move || mds.lock().map(drop)).expect("a thread");
    until("it is told", || !told().is_empty());
    let first = &told()[0];
    assert!(first.contains("waits longer than it should: thread \"sender\" waits "), "{first}");
    assert!(first.contains(" for ack (") && first.contains("blocked=2"), "{first}");
    // Once, and then each time its age has doubled; and never of who is idle.
    until("it is told again", || told().len() >= 3);
    let ages: Vec<u64> = told()
        .iter()
        .map(|text| {
            text.split("age_ms=")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .expect("an age")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(ages[0] >= 50 && ages.windows(2).all(|pair| pair[1] >= 2 * pair[0]), "{ages:?}");
    assert!(told().iter().all(|text| !text.contains("worker") && !text.contains("beacon")), "{:?}", told());
    assert_eq!(watchers(), 1);
    drop(completer);
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
    assert_eq!(watchers(), 0, "the shutdown has joined it");

    // A phase that hangs, wherever that is.
    let stop = Stop::new("mds.c");
    stop.watch(Duration::from_millis(5), Duration::from_millis(50)).expect("a thread");
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let own = stop.clone();
    let plan = Plan::within(20 * GUARD).phase("save", 10 * GUARD, move |_| Ok(gone.recv()?));
    let shutdown = std::thread::spawn(move || own.shutdown(plan));
    let hangs = "thread \"save\" of phase save runs, or blocks outside unwedge";
    until("it is told", || told().iter().any(|text| text.contains(hangs) && text.contains("mds.c")));
    go.send(()).expect("it waits");
    assert!(shutdown.join().expect("no panic").is_clean());
    drop(stop);

    // A subscriber that blocks holds up no hurried shutdown.
    let stop = Stop::new("mds.d");
    let held = BLOCKS.lock().expect("not poisoned");
    let before = ENTERED.load(SeqCst);
    let apart = Stop::new("apart");
    let (never, mut read) = Completion::<u8>::new("read", &apart);
    let (member, own) = (stop.clone(), apart.clone());
    stop.spawn("replay", move || read.wait_in(&own).is_err()).expect("a thread");
    stop.watch(Duration::from_millis(5), Duration::from_millis(50)).expect("a thread");
    stop.request("so that it is told of who owes nothing");
    until("it is told of a read", || ENTERED.load(SeqCst) > before);
    apart.request("let it go");
    let shutdown = std::thread::spawn(move || !member.shutdown(Plan::within(20 * GUARD)).is_clean());
    stop.hurry("again");
    until("it is through", || shutdown.is_finished());
    assert!(shutdown.join().expect("no panic"), "the subscriber's thread is left");
    drop((held, never, stop));
    until("it has ended", || watchers() == 0);

    // It keeps no domain, and ends with the last handle.
    let stop = Stop::new("mds.b");
    stop.watch(Duration::MAX, Duration::MAX).expect("a thread");
    drop(stop);
    until("it has ended", || watchers() == 0);
}
