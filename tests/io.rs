//! I/O on both backends: right results, and the rules of ownership and shutdown.
//!
//! Every test runs on each backend that this machine has. `io_refused.rs` runs this file's scenarios under a seccomp filter.

#[path = "common/again.rs"]
mod again;
#[path = "io/scenarios.rs"]
mod scenarios;

use std::time::Duration;

use unwedge::{
    Plan, Stop,
    io::{Backend, Io},
};

/// A test a scenario and backend.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $name() { if super::has_uring() { super::scenarios::$name(super::Backend::Uring) } })*
        }
        mod pool {
            $(#[test] fn $name() { super::scenarios::$name(super::Backend::Pool) })*
        }
    };
}

include!("io/list.rs");

/// Whether this machine has io_uring; says so if not, since then half of the tests have nothing to look at.
fn has_uring() -> bool {
    let refused = Io::builder(&Stop::new("probe")).backend(Backend::Uring).build().err();
    if let Some(error) = &refused {
        eprintln!("not tested on io_uring: {error}");
    }
    refused.is_none()
}

/// Where there is no ring half of the tests look at nothing: so the kernel itself is asked whether it has one. Since Linux 6.0 it has all that is needed.
#[test]
fn there_is_a_ring_where_the_kernel_has_one() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc");
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let mut params = [0u32; 30];
    // SAFETY: `params` is as large as the kernel's `io_uring_params`, 120 bytes, and zero; it is written to during the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) };
    if fd < 0 || major.is_none_or(|major| major < 6) {
        return eprintln!("not tested: Linux {release} has no ring, or may lack something");
    }
    // SAFETY: the call brought a new descriptor, which is nobody's yet.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd as i32) });
    // Its trial has a limit, which a machine that is very busy may pass.
    assert!((0..5).any(|_| has_uring()));
}

/// The kernel has room for what the deepest ring may have under way.
#[test]
fn the_deepest_ring_is_had() {
    if has_uring() {
        let stop = Stop::new("test");
        let io = Io::builder(&stop).backend(Backend::Uring).depth(4096).build().expect("a ring");
        let file = io.open("/proc/self/status", unwedge::io::OpenOptions::new().read(true)).wait();
        let file = file.expect("not stopped").expect("opened");
        let reads: Vec<_> = (0..20_000).map(|_| io.read_at(&file, vec![0; 5], 0)).collect();
        assert!(
            reads.into_iter().all(|mut read| read.wait().is_ok_and(|read| read.is_ok_and(|read| read == b"Name:")))
        );
        drop(file);
        assert!(stop.shutdown(Plan::within(Duration::from_secs(30))).is_clean());
    }
}

/// The service's own descriptors are not for programs that the daemon starts.
#[test]
fn descriptors_are_not_inherited() {
    let stop = Stop::new("test");
    let io = Io::new(&stop).expect("a backend");
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("proc") {
        let path = entry.expect("read").path();
        let fd = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()).expect("a number");
        let Ok(target) = std::fs::read_link(&path) else { continue };
        if target.to_str().is_some_and(|target| target.contains("eventfd") || target.contains("io_uring")) {
            // SAFETY: the call looks at no memory.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            // Of a service of another test's, it may be closed by now.
            assert!(flags < 0 || flags & libc::FD_CLOEXEC != 0, "{target:?}");
            seen += 1;
        }
    }
    assert!(io.backend() == "pool" || seen >= 2);
    assert!(stop.shutdown(Plan::within(Duration::from_secs(30))).is_clean());
}

/// `UNWEDGE_IO` says what `Auto` means, and nothing of what the program chose; what it cannot mean is an error, and no backend.
#[test]
fn the_environment_says_what_auto_means() {
    const MARK: &str = "UNWEDGE_TEST_OVERRIDE";
    let stop = Stop::new("test");
    if std::env::var_os(MARK).is_some() {
        let backend = |built: std::io::Result<Io>| match built {
            Ok(io) => format!("{}, {:?}", io.backend(), io.fallback_reason()),
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        println!("auto: {}", backend(Io::new(&stop)));
        println!("chosen: {}", backend(Io::builder(&stop).backend(Backend::Pool).build()));
        return;
    }
    let ring = match Io::builder(&stop).backend(Backend::Uring).build() {
        Ok(_) => "uring, None".to_owned(),
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    let nonsense = "InvalidInput: the environment variable UNWEDGE_IO is neither `uring` nor `pool`";
    for (value, auto) in [("pool", "pool, None"), ("uring", &ring), ("io_uring", nonsense), ("Pool", nonsense)] {
        let run = again::again("the_environment_says_what_auto_means", MARK).env("UNWEDGE_IO", value).output();
        let said = String::from_utf8(run.expect("it runs").stdout).expect("text");
        let told = |what: &str| said.lines().find_map(|line| line.strip_prefix(what).map(str::to_owned));
        assert_eq!(told("auto: ").as_deref(), Some(auto), "{value}");
        assert_eq!(told("chosen: ").as_deref(), Some("pool, None"), "{value}");
    }
    assert!(stop.shutdown(Plan::within(Duration::from_secs(30))).is_clean());
}

#[test]
fn the_ring_is_what_auto_means_where_it_works() {
    let stop = Stop::new("test");
    let uring = Io::builder(&stop).backend(Backend::Uring).build();
    let auto = Io::builder(&stop).build().expect("a backend");
    match uring {
        Ok(_) => assert_eq!((auto.backend(), auto.fallback_reason()), ("uring", None)),
        Err(error) => assert_eq!((auto.backend(), auto.fallback_reason()), ("pool", Some(&*error.to_string()))),
    }
    assert!(stop.shutdown(Plan::within(Duration::from_secs(30))).is_clean());
}
