//! 1,000 lives in one process leave threads, descriptors and memory flat. One test alone in its binary, because it looks at the process.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use unwedge::{Completion, Condvar, Monitor, Plan, Stop};

const GUARD: Duration = Duration::from_secs(30);

/// Entries of a folder of the process.
fn entries(path: &str) -> usize {
    fs::read_dir(path).expect("a folder").count()
}

/// Kilobytes that are resident.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A life: threads and tasks that wait for what never comes, a callback, children, a phase, and a stop by who holds the lock.
fn live(runtime: &tokio::runtime::Runtime) {
    let stop = Stop::new("mds.a");
    let mds = Arc::new(Monitor::new("mds_lock", Mutex::new(0_u32), &stop));
    let condvar = Arc::new(Condvar::new());
    let (_never, mut read) = Completion::<u32>::new("read", &stop);
    let m = mds.clone();
    drop(stop.spawn("replay", move || m.lock()?.wait_for(&mut read).map(drop)).expect("a thread"));
    let (m, c) = (mds.clone(), condvar.clone());
    drop(stop.child("part").spawn("tick", move || m.lock()?.wait(&c).map(drop)).expect("a thread"));
    let m = mds.clone();
    {
        let _in_runtime = runtime.enter();
        drop(stop.spawn_task("client", async move { m.when_async(|n| (*n == 1).then_some(())).await }));
    }
    let (_never, write) = Completion::<u32>::new("write", &stop);
    write.on_complete(&stop, |result| assert!(result.is_err())).expect("a thread");
    // A wait that is begun and forgotten by nobody, and one that is dropped.
    drop(mds.lock().map(|guard| guard.wait_async(&condvar)));
    let token = stop.token().expect("a thread");
    let held = mds.lock().expect("not stopped");
    let m = mds.clone();
    let plan = Plan::within(GUARD).phase("save", GUARD, move |phase| {
        *m.lock_in(phase)? += 1;
        Ok(())
    });
    let report = stop.shutdown_holding(held, plan);
    assert!(report.is_clean(), "{report}");
    assert!(token.is_cancelled());
    drop(stop);
}

#[test]
fn a_thousand_lives_leave_threads_descriptors_and_memory_flat() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    for _ in 0..100 {
        live(&runtime);
    }
    let before = (entries("/proc/self/task"), entries("/proc/self/fd"), resident());
    for life in 0..1000 {
        live(&runtime);
        assert!(entries("/proc/self/task") <= before.0 + 1, "life {life}");
    }
    let until = Instant::now() + GUARD;
    while entries("/proc/self/task") > before.0 {
        assert!(Instant::now() < until, "threads are left");
        thread::yield_now();
    }
    assert_eq!(entries("/proc/self/fd"), before.1);
    let grown = resident().saturating_sub(before.2);
    // A kilobyte a life would be seen; the allocator's own moods are not.
    assert!(grown < 1000, "{grown} kB more after 1,000 lives");
}
