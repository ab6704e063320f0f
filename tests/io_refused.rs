//! The scenarios of `io.rs` in a process whose seccomp filter refuses io_uring, openat2 and membarrier, as a container's default does (EPERM) and as a
//! kernel that lacks them (ENOSYS); once more with `preadv2` and `statx` refused too; and where a ring only cannot be had for want of memory (ENOMEM).
//! A ring that is made and does not work is found out; one that is taken away later ends the process, with a word.
//! Then without a filter, where the process may not lock memory: before Linux 5.12 that bounds rings, and the pool is what is left; since then it does not
//! (nor does it bind who has CAP_IPC_LOCK), and the ring must be had all the same.
//! Last where no thread can be made: then the pool says so, and nobody waits for one.
//!
//! A filter cannot be taken back, so this program has no test harness: it runs itself once for each kind of refusal.

#[path = "io/scenarios.rs"]
mod scenarios;

use std::{
    collections::BTreeMap,
    env,
    io::Read as _,
    os::unix::{net::UnixStream, process::ExitStatusExt as _},
    process::{Command, Stdio},
};

use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
use unwedge::{
    Plan, Stop,
    io::{Backend, Io},
};

const KINDS: [(&str, i32, &[libc::c_long]); 4] = [
    ("EPERM", libc::EPERM, &REFUSED),
    ("ENOSYS", libc::ENOSYS, &REFUSED),
    ("ENOSYS, nor preadv2 and statx", libc::ENOSYS, &OLDEST),
    ("ENOMEM for a ring", libc::ENOMEM, &[libc::SYS_io_uring_setup]),
];

const REFUSED: [libc::c_long; 5] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_openat2,
    libc::SYS_membarrier,
];

const OLDEST: [libc::c_long; 7] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_openat2,
    libc::SYS_membarrier,
    libc::SYS_preadv2,
    libc::SYS_statx,
];

fn main() {
    let Ok(kind) = env::var("UNWEDGE_TEST_REFUSAL") else { return run_each() };
    if kind == NO_LOCKED_MEMORY {
        return without_locked_memory();
    }
    if kind == NO_THREADS {
        return without_threads();
    }
    if kind == TAKEN_AWAY {
        return taken_away();
    }
    if let Some((_, errno, calls, says)) = HALVES.into_iter().find(|(name, ..)| *name == kind) {
        return half_a_ring(errno, calls, says);
    }
    let (name, errno, calls) = KINDS.into_iter().find(|(name, ..)| *name == kind).expect("a kind of refusal");
    refuse(errno, calls);
    assert_eq!(std::fs::metadata("/proc/self/status").map(|m| m.is_file()).ok(), Some(true));

    let stop = Stop::new("test");
    let io = Io::new(&stop).expect("a backend");
    assert_eq!(io.backend(), "pool");
    let reason = io.fallback_reason().expect("a reason");
    assert!(
        reason.starts_with("io_uring cannot be set up: ") && reason.contains(&format!("os error {errno}")),
        "{reason}"
    );
    let error = Io::builder(&stop).backend(Backend::Uring).build().expect_err("refused");
    assert_eq!(error.to_string(), reason);
    assert!(stop.shutdown(Plan::within(std::time::Duration::from_secs(30))).is_clean());

    // Panics that a scenario wants happen on the pool's threads: they are not for people to read.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !std::thread::current().name().is_some_and(|name| name.starts_with("uw-")) {
            report(info);
        }
    }));
    for (scenario, run) in SCENARIOS {
        println!("{name}: {scenario}");
        run(Backend::Auto);
    }
}

/// What lets a ring be made whose operations then fail, as some sandboxes do; and what is said of it.
const HALVES: [(&str, i32, &[libc::c_long], &str); 2] = [
    ("EPERM for entering a ring", libc::EPERM, &[libc::SYS_io_uring_enter], "io_uring cannot be entered: "),
    (
        "ENOSYS for asking a ring",
        libc::ENOSYS,
        &[libc::SYS_io_uring_register],
        "io_uring cannot be asked for its operations: ",
    ),
];

fn half_a_ring(errno: i32, calls: &[libc::c_long], says: &str) {
    refuse(errno, calls);
    let stop = Stop::new("test");
    let io = Io::new(&stop).expect("a backend");
    let reason = io.fallback_reason().expect("a reason");
    assert!(reason.starts_with(says) && reason.ends_with(&format!("(os error {errno})")), "{reason}");
    assert_eq!((io.backend(), io.metrics().fallback_reason()), ("pool", Some(reason)));
    assert_eq!(Io::builder(&stop).backend(Backend::Uring).build().expect_err("refused").to_string(), reason);
    assert!(stop.shutdown(Plan::within(std::time::Duration::from_secs(30))).is_clean());
    scenarios::reads_are_right(Backend::Auto);
}

/// A kind of its own: the owner of a ring that the kernel does not serve any more cannot go on, and the process with it.
const TAKEN_AWAY: &str = "a ring that is taken away";

fn taken_away() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is valid for reading.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }, 0);
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(Backend::Uring).build().expect("a ring");
    let (ours, _theirs) = UnixStream::pair().expect("a pair of sockets");
    let file = io.attach(ours, "silent").expect("an open file");
    refuse(libc::EPERM, &[libc::SYS_io_uring_enter]);
    let read =
        io.read_at(&file, vec![0; 8], 0).wait_until(std::time::Instant::now() + std::time::Duration::from_secs(30));
    println!("still there: {read:?}");
}

/// A kind of its own: the kernel decides whether there is a ring.
const NO_LOCKED_MEMORY: &str = "no locked memory";

fn without_locked_memory() {
    let had_ring = Io::builder(&Stop::new("probe")).backend(Backend::Uring).build().is_ok();
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for reading.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    let stop = Stop::new("test");
    let io = Io::new(&stop).expect("a backend, whichever");
    match io.fallback_reason() {
        None => println!(
            "{NO_LOCKED_MEMORY}: the limit does not bite here: it does not bound this kernel's rings, or not this user's"
        ),
        Some(reason) if had_ring => assert!(reason.contains(&format!("os error {}", libc::ENOMEM)), "{reason}"),
        Some(reason) => println!("{NO_LOCKED_MEMORY}: there was no ring before either: {reason}"),
    }
    assert!(stop.shutdown(Plan::within(std::time::Duration::from_secs(30))).is_clean());
    for backend in if io.backend() == "uring" { vec![Backend::Uring, Backend::Pool] } else { vec![Backend::Auto] } {
        scenarios::reads_are_right(backend);
        scenarios::direct_reads_keep_their_memory(backend);
    }
}

/// A kind of its own: the pool finds out that it has no thread when it has work.
const NO_THREADS: &str = "no threads";

fn without_threads() {
    const GUARD: std::time::Duration = std::time::Duration::from_secs(30);
    let stop = Stop::new("test");
    let io = Io::builder(&stop).backend(Backend::Pool).build().expect("a backend");
    let file = io.attach(std::fs::File::open("/dev/null").expect("there"), "null").expect("an open file");
    refuse(libc::EAGAIN, &[libc::SYS_clone, libc::SYS_clone3]);
    for _ in 0..3 {
        let synced = io.fsync(&file).wait_until(std::time::Instant::now() + GUARD).expect("answered");
        let error = synced.expect_err("nobody does it");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert!(error.to_string().starts_with("fsync of null: no thread for it: "), "{error}");
        let job = io.run_blocking("job", || ()).wait_until(std::time::Instant::now() + GUARD).expect("answered");
        assert!(job.is_err());
    }
    assert_eq!((io.metrics().pool_threads(), io.metrics().in_flight()), (0, 0));
    drop(file);
    assert!(stop.shutdown(Plan::within(GUARD)).is_clean());
}

/// Runs this program again for each kind, without the filters of the others.
fn run_each() {
    let me = env::current_exe().expect("this program");
    for name in KINDS.map(|(name, ..)| name).into_iter().chain([NO_LOCKED_MEMORY, NO_THREADS]) {
        let status =
            Command::new(&me).env("UNWEDGE_TEST_REFUSAL", name).env_remove("UNWEDGE_IO").status().expect("run");
        assert!(status.success(), "under {name}: {status}");
    }
    match Io::builder(&Stop::new("probe")).backend(Backend::Uring).build() {
        Ok(_) => run_those_of_a_ring(&me),
        Err(error) => println!("io_refused: not tested, what a ring does that half works: {error}"),
    }
    println!("io_refused: {} scenarios under {} kinds of refusal: ok", SCENARIOS.len(), KINDS.len());
}

fn run_those_of_a_ring(me: &std::path::Path) {
    let again = |name: &str| {
        let mut again = Command::new(me);
        again.env("UNWEDGE_TEST_REFUSAL", name).env_remove("UNWEDGE_IO");
        again
    };
    for (name, ..) in HALVES {
        let status = again(name).status().expect("run");
        assert!(status.success(), "under {name}: {status}");
    }
    let mut ends = again(TAKEN_AWAY).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run");
    let mut said = String::new();
    ends.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    let status = ends.wait().expect("it has ended");
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}: {said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("unwedge: the thread that owns the io_uring panicked; ") && last.ends_with(": aborting"),
        "{said}"
    );
    assert!(said.contains("io_uring_enter: Err(Os { code: 1,"), "{said}");
}

fn refuse(errno: i32, calls: &[libc::c_long]) {
    let arch = TargetArch::try_from(env::consts::ARCH).expect("an architecture that the filter knows");
    let rules: BTreeMap<_, _> = calls.iter().map(|&call| (call, Vec::new())).collect();
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch).expect("a filter");
    let program: seccompiler::BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter_all_threads(&program).expect("the filter applies");
}

type Scenario = (&'static str, fn(Backend));

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { const SCENARIOS: &[Scenario] = &[$((stringify!($name), scenarios::$name)),*]; };
}

include!("io/list.rs");
