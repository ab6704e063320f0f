//! 13 of the catalogue: what the lock protects cannot be used beyond the lock.

use unwedge_loom::{Completion, Monitor, Stop, model::Mutex};

struct Journaler {
    position: u64,
}

fn main() {
    let stop = Stop::new("mds.a");
    let mds = Monitor::new("mds_lock", Mutex::new(Journaler { position: 0 }), &stop);
    let (_completer, mut read) = Completion::<u64>::new("read", &stop);

    // Across a wait, during which others have the lock.
    let guard = mds.lock().unwrap();
    let journaler: &Journaler = &guard;
    let _ = guard.wait_for(&mut read);
    println!("{}", journaler.position);
    println!("{}", beyond_the_guard(&mds).position);
}

fn beyond_the_guard(mds: &Monitor<Mutex<Journaler>>) -> &Journaler {
    &mds.lock().unwrap()
}
