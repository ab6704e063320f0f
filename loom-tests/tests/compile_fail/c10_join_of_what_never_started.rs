//! 10 of the catalogue: there is nothing to join unless a thread was started.

use unwedge_loom::{Spawned, Stop};

fn main() {
    let stop = Stop::new("mds.a");
    let replay: Spawned<()>;
    if std::env::args().count() > 1 {
        replay = stop.spawn("replay", || ()).unwrap();
    }
    let _ = replay.join();
}
