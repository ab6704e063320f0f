//! 4 of the catalogue: who has let a lock go, or lost it to a wait, has no guard that could be let go again.

use unwedge_loom::{Condvar, Monitor, Stop, model::Mutex};

fn twice(mds: &Monitor<Mutex<u32>>) {
    let guard = mds.lock().unwrap();
    drop(guard);
    drop(guard);
}

fn after_a_wait(mds: &Monitor<Mutex<u32>>, changed: &Condvar) {
    let guard = mds.lock().unwrap();
    if guard.wait(changed).is_err() {
        // Stopped: the lock is not held.
        drop(guard);
    }
}

fn main() {
    let stop = Stop::new("mds.a");
    let mds = Monitor::new("mds_lock", Mutex::new(0), &stop);
    twice(&mds);
    after_a_wait(&mds, &Condvar::new());
}
