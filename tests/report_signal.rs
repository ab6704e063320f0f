//! `report_fd` in a real signal handler, while other threads are frozen in the middle of whatever they do, with whatever locks they hold there: the library's own
//! and the allocator's. An allocation in the handler aborts the process, and so does a hang, by SIGALRM.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use unwedge::io::{Io, IoError};
use unwedge::report::{Outcome, on_inversion, report_fd};
use unwedge::{Completion, Condvar, Monitor, Owed, Plan, Stop};

/// How often the report is written, each time with the others frozen somewhere else.
const ROUNDS: usize = 300;

/// The threads that are frozen.
const FROZEN: usize = 3;

thread_local! {
    /// Whether this thread is in the handler that writes the report.
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

struct NotInHandlers;

// SAFETY: it is the system's allocator, but for an abort.
unsafe impl GlobalAlloc for NotInHandlers {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IN_HANDLER.get() {
            std::process::abort();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if IN_HANDLER.get() {
            std::process::abort();
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: NotInHandlers = NotInHandlers;

/// Where the report goes.
static TO: AtomicI32 = AtomicI32::new(-1);
static WRITTEN: AtomicBool = AtomicBool::new(false);
/// How many threads are frozen, and whether they may go on.
static STOPPED: AtomicUsize = AtomicUsize::new(0);
static THAW: AtomicBool = AtomicBool::new(false);

extern "C" fn freeze(_: libc::c_int) {
    STOPPED.fetch_add(1, SeqCst);
    while !THAW.load(SeqCst) {
        std::hint::spin_loop();
    }
    STOPPED.fetch_sub(1, SeqCst);
}

extern "C" fn write_report(_: libc::c_int) {
    IN_HANDLER.set(true);
    // SAFETY: the file is open for as long as the test runs.
    let fd = unsafe { BorrowedFd::borrow_raw(TO.load(SeqCst)) };
    WRITTEN.store(report_fd(fd).is_ok(), SeqCst);
    IN_HANDLER.set(false);
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: the handler does what is allowed in one: atomics, a thread-local without a destructor, and what is under test.
    let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Threads that take locks, wait, notify, complete, start others and allocate, all the time.
fn churn(stop: &Stop) -> Vec<libc::pthread_t> {
    use std::os::unix::thread::JoinHandleExt as _;
    let busy = Arc::new(Monitor::new("busy", Mutex::new(0_u64), stop));
    let changed = Arc::new(Condvar::new());
    let mut ids = Vec::new();
    for _ in 0..FROZEN {
        let (stop, busy, changed) = (stop.clone(), busy.clone(), changed.clone());
        let thread = thread::spawn(move || {
            while !stop.is_requested() {
                if let Ok(mut held) = busy.lock() {
                    *held += 1;
                    let soon = Instant::now() + Duration::from_micros(50);
                    drop(held.wait_until(&changed, soon));
                }
                changed.notify_all();
                let (completer, mut completion) = Completion::<Vec<u8>>::new("busy", &stop);
                let child = stop.child("child");
                let spawned = child.spawn("short", move || drop(completer.complete(vec![0; 100])));
                drop(completion.wait());
                drop(spawned);
            }
        });
        ids.push(thread.as_pthread_t());
    }
    ids
}

fn text_of(file: &mut File) -> String {
    file.rewind().expect("a file");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("UTF-8");
    text
}

fn check(text: &str) {
    let line =
        |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} in\n{text}"));
    assert!(text.starts_with("unwedge: "), "{text}");
    let deadlock = line("a deadlock: ");
    assert!(deadlock.contains("thread \"one\"") && deadlock.contains("thread \"two\""), "{deadlock}");
    let replay = line("mds.a: thread \"replay\" (tid ");
    assert!(replay.contains(" for read 200.00000001 at 1,048,576, 4,096 bytes (tests/report_signal.rs:"), "{replay}");
    let dispatch = line("mds.a: thread \"dispatch\" (tid ");
    assert!(
        dispatch.contains(" for lock mds_lock (") && dispatch.contains(", held by thread \"replay\" (tid "),
        "{dispatch}"
    );
    line("  lock mds_lock: held by thread \"replay\" (tid ");
    let phase = line("stop of mds.b waits for phase save, ");
    assert!(phase.contains(" s left: thread \"save\" (tid "), "{phase}");
    assert!(phase.ends_with(" runs, or blocks outside unwedge"), "{phase}");
    line("  mds.b: phase close: failed: no session");
    line("  mds.b: phase save: runs for ");
    line("  mds.b: phase release: to come, ");
    if cfg!(debug_assertions) {
        let inversion = line("lock order inversion: inner (tests/report_signal.rs:");
        assert!(inversion.contains("; but before: outer (tests/report_signal.rs:"), "{inversion}");
    }
}

/// A life whose shutdown hangs in a phase; what ends that one, and the shutdown.
fn hung_phase() -> (mpsc::Sender<()>, thread::JoinHandle<bool>) {
    let stop = Stop::new("mds.b");
    let (go, gone) = mpsc::channel::<()>();
    let long = Duration::from_secs(600);
    let plan = Plan::within(10 * long)
        .phase("close", long, |_| Err("no session".into()))
        .phase("save", long, move |_| Ok(gone.recv()?))
        .phase("release", long, |_| Ok(()));
    let own = stop.clone();
    let shutdown = thread::spawn(move || own.shutdown(plan).is_clean());
    let is_seen = |stop: &Stop| {
        let report = stop.report();
        report.phases().iter().any(|phase| phase.outcome == Outcome::Running && phase.name == "save")
            && report.members().iter().any(|member| member.tid != 0)
    };
    while !is_seen(&stop) {
        thread::yield_now();
    }
    (go, shutdown)
}

/// Two locks in both orders.
fn inverted(stop: &Stop) -> Result<(), unwedge::Stopped> {
    on_inversion(|_| ());
    let (outer, inner) = (Monitor::new("outer", Mutex::new(0), stop), Monitor::new("inner", Mutex::new(0), stop));
    {
        let _outer = outer.lock()?;
        let _inner = inner.lock()?;
    }
    let _inner = inner.lock()?;
    outer.lock().map(drop)
}

/// Until the threads are frozen: all of them. Not so under AddressSanitizer, which starts a thread under a lock of its own, lets signals through before it has
/// let go of that, and waits for it with signals blocked: one that is frozen there keeps another from being frozen at all.
fn until_frozen() {
    let (begun, patience) = (Instant::now(), Duration::from_millis(100));
    while STOPPED.load(SeqCst) < FROZEN {
        if cfg!(unwedge_asan) && begun.elapsed() > patience && STOPPED.load(SeqCst) > 0 {
            return;
        }
        std::hint::spin_loop();
    }
}

fn main() {
    // SAFETY: no more than a timer; SIGALRM's default is to end the process.
    unsafe { libc::alarm(120) };
    let stop = Stop::new("mds.a");
    let io = Io::new(&stop).expect("I/O");
    let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0), &stop));
    let owed = Owed { operation: "read", object: Some("200.00000001".into()), offset: 1 << 20, length: 4096 };
    let (frozen, mut journal) = io.external::<u8, IoError>(owed);
    let big_lock = mds.clone();
    stop.spawn("replay", move || {
        let _held = big_lock.lock()?;
        journal.wait().map(drop)
    })
    .expect("a thread");
    let waits = |name: &str| stop.report().members().iter().any(|it| it.name == name && !it.waits.is_empty());
    let until_waits = |name: &str| {
        while !waits(name) {
            thread::yield_now()
        }
    };
    until_waits("replay");
    stop.spawn("dispatch", move || mds.lock().map(drop)).expect("a thread");
    until_waits("dispatch");
    let locks = [(); 2].map(|()| Arc::new(Monitor::new("lock", Mutex::new(0), &stop)));
    let both = Arc::new(std::sync::Barrier::new(2));
    for (name, first, second) in [("one", 0, 1), ("two", 1, 0)] {
        let (first, second, both) = (locks[first].clone(), locks[second].clone(), both.clone());
        stop.spawn(name, move || {
            let _first = first.lock()?;
            both.wait();
            second.lock().map(drop)
        })
        .expect("a thread");
    }
    until_waits("one");
    until_waits("two");

    let (go, shutdown) = hung_phase();
    inverted(&stop).expect("no stop");

    handle(libc::SIGUSR1, freeze);
    handle(libc::SIGUSR2, write_report);
    let mut file = tempfile::tempfile().expect("a file");
    TO.store(file.as_raw_fd(), SeqCst);
    let other = Stop::new("busy");
    let threads = churn(&other);
    for round in 0..ROUNDS {
        thread::sleep(Duration::from_micros(100 + 37 * (round as u64 % 23)));
        THAW.store(false, SeqCst);
        for thread in &threads {
            // SAFETY: the thread runs until `other` is stopped.
            assert_eq!(unsafe { libc::pthread_kill(*thread, libc::SIGUSR1) }, 0);
        }
        until_frozen();
        // SAFETY: the signal has a handler.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        THAW.store(true, SeqCst);
        while STOPPED.load(SeqCst) > 0 {
            std::hint::spin_loop();
        }
        assert!(WRITTEN.swap(false, SeqCst), "it was written");
        check(&text_of(&mut file));
        file.set_len(0).expect("a file");
        file.rewind().expect("a file");
    }
    drop(other.shutdown(Plan::within(Duration::from_secs(30))));
    drop(frozen);
    go.send(()).expect("it waits");
    assert!(shutdown.join().expect("no panic"));
    assert!(stop.shutdown(Plan::within(Duration::from_secs(30))).is_clean());
    println!("written {ROUNDS} times in a signal handler");
}
