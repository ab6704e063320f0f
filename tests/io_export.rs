//! What the `metrics` and `tracing` facades are told.
//!
//! One test after the other: `tracing` remembers for the whole process whether anybody listens to an event, and a thread that comes to it with no
//! subscriber, while another one begins to listen, has it remembered wrongly.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rustix::process::Resource;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use unwedge::{
    Plan, Stop,
    io::{Backend, Io, OpenOptions, Operation},
};

const GUARD: Duration = Duration::from_secs(30);

/// Keeps what it is given, by name and labels.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Kept {
    fn slot(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().expect("not poisoned").entry(name).or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let all = self.0.lock().expect("not poisoned");
        all.get(name).unwrap_or_else(|| panic!("{name} among {:?}", all.keys())).load(Relaxed)
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("none is used")
    }
}

#[test]
fn facades_are_told() {
    a_recorder_gets_the_figures();
    a_subscriber_hears_of_what_was_left();
    a_subscriber_hears_why_there_is_no_ring();
    a_subscriber_that_blocks_is_left();
    a_hurry_does_not_wait_for_a_subscriber();
}

fn a_recorder_gets_the_figures() {
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(Backend::Pool).build().expect("a backend");
    let wait = || Instant::now() + GUARD;
    for _ in 0..3 {
        assert!(io.stat("/").wait_until(wait()).expect("answered").is_ok());
    }
    assert!(io.stat("/nonexistent").wait_until(wait()).expect("answered").is_err());
    let (kept, _never) = io.external::<u32, unwedge::Abandoned>("never");
    all_figures_go_to_their_names();

    let recorder = Kept::default();
    metrics::with_local_recorder(&recorder, || io.metrics().record());
    let of = |name: &str, operation: &str| recorder.get(&format!("{name}{{backend=pool,operation={operation}}}"));
    assert_eq!(of("unwedge_io_operations_total", "stat"), 4);
    assert_eq!(of("unwedge_io_failed_total", "stat"), 1);
    assert_eq!(f64::from_bits(of("unwedge_io_in_flight", "external")), 1.0);
    assert!(of("unwedge_io_latency_nanoseconds_total", "stat") > 0);
    drop(kept);
    assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
}

/// Every figure has a value of its own here, so that none can stand in another's place; and what is recorded is all that the documentation names.
fn all_figures_go_to_their_names() {
    // What does not hang has its answer, and what is idle its end, within this, also on a busy machine: so what hangs takes all of it.
    const PATIENCE: Duration = Duration::from_secs(2);
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(Backend::Pool).deadline(PATIENCE).build().expect("a backend");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    let file = io.attach(ours, "silent").expect("an open file");
    let wait = || Instant::now() + GUARD;
    // Two hang, and are late; of three that a library does two come back when nobody wants them, and a fourth never does.
    let reads = [7, 8].map(|len| io.read_at(&file, vec![0; len], 0));
    let asked = [(); 4].map(|()| io.external::<u32, unwedge::Abandoned>("osd_op"));
    let [(one, mut wanted), (two, given_up), (three, dropped), (never, _kept)] = asked;
    assert!(given_up.cancel().is_none());
    drop(dropped);
    assert!(one.complete(1).is_ok() && two.complete(2).is_err() && three.fail(unwedge::Abandoned).is_err());
    assert_eq!(wanted.wait_until(wait()).expect("answered"), Ok(1));
    for path in ["/", "/", "/", "/", "/nonexistent"] {
        drop(io.stat(path).wait_until(wait()).expect("answered"));
    }
    let warm = io.open("/proc/self/exe", OpenOptions::new().read(true)).wait_until(wait()).expect("answered");
    drop(warm.expect("opened"));
    for mut read in reads {
        assert!(read.wait_until(wait()).expect("answered").expect_err("late").is_timed_out());
    }
    let busy = io.metrics();
    assert!(!stop.shutdown(Plan::within(PATIENCE)).is_clean());
    let over = io.metrics();

    let recorder = Kept::default();
    metrics::with_local_recorder(&recorder, || over.record());
    let value = |name: &str| recorder.get(&format!("{name}{{backend=pool}}"));
    let gauge = |name: &str| f64::from_bits(value(name)) as usize;
    assert_eq!((over.timed_out(), over.too_late()), (2, 2));
    assert_eq!((value("unwedge_io_timed_out_total"), value("unwedge_io_too_late_total")), (2, 2));
    let leaked = (over.leaked_operations(), over.leaked_bytes(), over.leaked_threads());
    assert_eq!(leaked, (3, 15, 2), "two reads, with their threads, and the library's");
    let told = ["operations", "bytes", "threads"].map(|what| gauge(&format!("unwedge_io_leaked_{what}")));
    assert_eq!((told[0], told[1], told[2]), leaked);
    // Those that sit in the reads; and before the end all that were needed.
    assert_eq!((over.pool_threads(), gauge("unwedge_io_pool_threads")), (2, 2));
    let earlier = Kept::default();
    metrics::with_local_recorder(&earlier, || busy.record());
    assert!(busy.pool_threads() > 2, "{busy:?}");
    assert_eq!(f64::from_bits(earlier.get("unwedge_io_pool_threads{backend=pool}")) as usize, busy.pool_threads());

    let stats = over.operation(Operation::Stat);
    assert_eq!((stats.done(), stats.failed(), over.operation(Operation::Open).done()), (5, 1, 1));
    let external = over.operation(Operation::External);
    assert_eq!((external.done(), external.in_flight(), over.operation(Operation::Read).in_flight()), (3, 1, 2));
    let mut names = 6;
    for kind in Operation::ALL {
        let counts = over.operation(kind);
        let of = |name: &str| recorder.get(&format!("unwedge_io_{name}{{backend=pool,operation={}}}", kind.name()));
        assert_eq!((of("operations_total"), of("failed_total")), (counts.done(), counts.failed()), "{kind:?}");
        assert_eq!((of("prompt_total"), f64::from_bits(of("in_flight")) as u64), (counts.prompt(), counts.in_flight()));
        assert_eq!(u128::from(of("latency_nanoseconds_total")), counts.total().as_nanos(), "{kind:?}");
        names += 5;
        let mut below = 0;
        for (bound, count) in counts.histogram() {
            below += count;
            let le = bound.map_or("+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
            let bucket = format!("unwedge_io_latency_bucket{{backend=pool,operation={},le={le}}}", kind.name());
            assert_eq!(recorder.get(&bucket), below, "{bucket}");
            names += 1;
        }
        assert_eq!(below, counts.done() - counts.prompt(), "whose time was taken");
    }
    assert_eq!(recorder.0.lock().expect("not poisoned").len(), names, "and no other");
    drop((never, theirs, file));
}

/// Is told of the events that are no less than a level, or of all.
struct Listener<F> {
    hear: F,
    least: Option<LevelFilter>,
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Subscriber for Listener<F> {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("unwedge") && self.least.is_none_or(|least| *metadata.level() <= least)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.least
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        (self.hear)(event);
    }
}

/// Keeps events as text.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<(Level, String)>>>);

impl Events {
    fn listener(&self, least: Option<LevelFilter>) -> impl Subscriber + Send + Sync + use<> {
        let kept = Arc::clone(&self.0);
        let hear = move |event: &Event<'_>| {
            let mut text = Text(String::new());
            event.record(&mut text);
            kept.lock().expect("not poisoned").push((*event.metadata().level(), text.0));
        };
        Listener { hear, least }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{}={value:?};", field.name());
    }
}

/// One life that leaves nothing, and one that leaves an operation; what was heard of both.
fn heard(least: Option<LevelFilter>, expected: usize) -> Vec<(Level, String)> {
    let events = Events::default();
    tracing::subscriber::with_default(events.listener(least), || {
        let stop = Stop::new("clean");
        let io = Io::builder(&stop).backend(Backend::Pool).build().expect("a backend");
        let file = io.open("/proc/self/status", OpenOptions::new().read(true));
        drop(file);
        assert!(stop.shutdown(Plan::within(GUARD)).is_clean());

        let stop = Stop::new("mds.a");
        let io = Io::builder(&stop).backend(Backend::Pool).build().expect("a backend");
        let (_kept, _answer) = io.external::<u32, unwedge::Abandoned>("never");
        assert!(!stop.shutdown(Plan::within(Duration::from_millis(10))).is_clean());
    });
    // It is told by a thread, which the shutdown does not wait for longer than it may.
    let end = Instant::now() + GUARD;
    while events.0.lock().expect("not poisoned").len() < expected && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
    events.0.lock().expect("not poisoned").clone()
}

fn a_subscriber_hears_of_what_was_left() {
    let events = heard(None, 2);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].0 == Level::DEBUG && events[0].1.contains("nothing is left"), "{events:?}");
    assert!(events[1].0 == Level::WARN && events[1].1.contains("operations=1;"), "{events:?}");
    assert!(events[1].1.contains("mds.a"), "{events:?}");

    let events = heard(Some(LevelFilter::DEBUG), 2);
    assert_eq!(events.len(), 2, "{events:?}");
    let events = heard(Some(LevelFilter::WARN), 1);
    assert!(events.len() == 1 && events[0].0 == Level::WARN, "{events:?}");
}

/// A ring needs descriptors: where there are none it is the pool, with a word of it.
fn a_subscriber_hears_why_there_is_no_ring() {
    if std::env::var_os("UNWEDGE_IO").is_some() {
        return;
    }
    let stop = Stop::new("mds.a");
    let events = Events::default();
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let none = rustix::process::Rlimit { current: Some(0), maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, none).expect("a limit");
    let io = tracing::subscriber::with_default(events.listener(None), || Io::new(&stop).expect("the pool needs none"));
    rustix::process::setrlimit(Resource::Nofile, limit).expect("a limit");
    let events = events.0.lock().expect("not poisoned");
    assert_eq!(events.len(), 1, "{events:?}");
    let reason = io.fallback_reason().expect("a reason");
    assert!(events[0].0 == Level::WARN && events[0].1.contains(&format!("reason={reason:?};")), "{events:?}");
    assert!(events[0].1.contains("mds.a"), "{events:?}");
    assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
}

/// A shutdown of which a subscriber is told that blocks, as one that writes to a file on a dead mount: how many threads it has left.
fn left_to_the_subscriber(plan: Plan, meanwhile: impl FnOnce(&Stop)) -> usize {
    let (release, released) = channel::<()>();
    let (told, tell) = channel();
    let stop = Stop::new("mds.a");
    let own = stop.clone();
    let released = Mutex::new(released);
    let hear = move |_: &Event<'_>| _ = released.lock().expect("not poisoned").recv();
    thread::spawn(move || {
        tracing::subscriber::with_default(Listener { hear, least: None }, || {
            let _io = Io::builder(&own).backend(Backend::Pool).build().expect("a backend");
            told.send(own.shutdown(plan).leaked_threads()).expect("the test reads");
        });
    });
    meanwhile(&stop);
    let left = tell.recv_timeout(GUARD).expect("it ends");
    drop(release);
    left
}

fn a_subscriber_that_blocks_is_left() {
    assert_eq!(left_to_the_subscriber(Plan::within(Duration::from_millis(10)), |_| ()), 1);
}

fn a_hurry_does_not_wait_for_a_subscriber() {
    let hurry = |stop: &Stop| {
        while !stop.is_requested() {
            thread::sleep(Duration::from_millis(1));
        }
        // Most likely while it is told.
        thread::sleep(Duration::from_millis(50));
        stop.hurry("test");
    };
    assert_eq!(left_to_the_subscriber(Plan::within(Duration::from_secs(3600)), hurry), 1);
}
