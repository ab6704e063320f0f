//! The things that most models need: a life, a monitor, a condition variable, a completion that nobody completes.

use std::sync::Arc;
use std::time::Duration;

use unwedge::model::{self, thread};
use unwedge::{Completer, Completion, Condvar, Monitor, Stop};

/// A monitor as the models use it.
pub type Lock = Monitor<model::Mutex<u32>>;

/// A life with one lock and one condition variable.
#[derive(Clone)]
pub struct World {
    pub stop: Stop,
    pub lock: Arc<Lock>,
    pub changed: Arc<Condvar>,
}

impl World {
    pub fn new() -> Self {
        let stop = Stop::new("life");
        let lock = Arc::new(Monitor::new("mds_lock", model::Mutex::new(0), &stop));
        World { stop, lock, changed: Arc::new(Condvar::new()) }
    }

    /// Runs a thread outside the domain with this world.
    pub fn thread<T: 'static>(&self, body: impl FnOnce(World) -> T + 'static) -> thread::JoinHandle<T> {
        let world = self.clone();
        thread::spawn(move || body(world))
    }

    /// A completion of this life, and who owes it.
    pub fn owed<T>(&self) -> (Completer<T>, Completion<T>) {
        Completion::new("read", &self.stop)
    }
}

/// A deadline that comes only when a model moves its clock past it.
pub fn later() -> std::time::Instant {
    model::now() + Duration::from_secs(1)
}

/// Moves the clock past every [`later`].
pub fn time_passes() {
    model::advance(Duration::from_secs(2));
}

/// A plan whose limit never comes, because the model's clock stands still.
pub fn plan() -> unwedge::Plan {
    unwedge::Plan::within(Duration::from_secs(3600))
}
