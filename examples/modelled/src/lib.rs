//! A small daemon that counts: one life of it. There is no I/O in this file, and no lock, thread or clock but unwedge's and what [`world`] names: so the
//! models in `tests/stop.rs` run this very code.
//!
//! # Threads
//! - `load` reads the table of counts, once; who comes before that waits for it.
//! - `save` writes the table whenever it has changed.
//! - Clients, on threads of their own, [`add`](Daemon::add).
//!
//! # Invariants
//! - **Let go**: whoever waits for the storage has let the lock go.
//! - **Whole**: at every wait the table is whole.
//! - **Kept**: what [`add`](Daemon::add) has returned is in the table that an orderly stop saves.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use unwedge::{Abandoned, Completion, Condvar, Monitor, MonitorGuard, Plan, Stop, Stopped};

/// What a model has others of.
pub mod world {
    #[cfg(not(unwedge_loom))]
    pub use std::sync::Mutex;
    #[cfg(unwedge_loom)]
    pub use unwedge::model::Mutex;
}

use world::Mutex;

/// How many of what.
pub type Counts = BTreeMap<String, u64>;

/// Where the table lies. What is asked of it belongs to a domain: the life, or a phase of its shutdown.
pub trait Storage: Send + Sync + 'static {
    /// The table, as it was saved last.
    fn load(&self, domain: &Stop) -> Completion<Result<Counts, Failure>>;

    /// Writes the whole table at one stroke.
    fn save(&self, domain: &Stop, counts: &Counts) -> Completion<Result<(), Failure>>;
}

/// Why the storage has not done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// What came of it; nobody did it if the storage has gone.
fn done<T>(answer: Result<Result<T, Failure>, Abandoned>) -> Result<T, Failure> {
    answer.unwrap_or_else(|abandoned| Err(Failure(abandoned.to_string())))
}

/// What the lock protects.
#[derive(Debug, Default)]
pub struct Table {
    /// `None` until it is loaded.
    counts: Option<Counts>,
    /// Whether it differs from what is stored.
    unsaved: bool,
    /// Why it cannot be loaded.
    failure: Option<Failure>,
}

type Held<'a> = MonitorGuard<'a, Mutex<Table>>;

/// One life.
pub struct Daemon<S> {
    stop: Stop,
    table: Monitor<Mutex<Table>>,
    /// Notified when the table was loaded or has changed.
    changed: Condvar,
    storage: S,
}

impl<S: Storage> Daemon<S> {
    /// A life without its threads.
    pub fn new(stop: &Stop, storage: S) -> Arc<Self> {
        let table = Monitor::new("table", Mutex::new(Table::default()), stop);
        Arc::new(Daemon { stop: stop.clone(), table, changed: Condvar::new(), storage })
    }

    /// A life: its threads are members of the domain.
    pub fn start(stop: &Stop, storage: S) -> io::Result<Arc<Self>> {
        let daemon = Daemon::new(stop, storage);
        daemon.start_load()?;
        daemon.start_save()?;
        Ok(daemon)
    }

    /// Starts the thread that loads the table.
    pub fn start_load(self: &Arc<Self>) -> io::Result<()> {
        let daemon = Arc::clone(self);
        self.stop.spawn("load", move || daemon.load()).map(drop)
    }

    /// Starts the thread that saves it.
    pub fn start_save(self: &Arc<Self>) -> io::Result<()> {
        let daemon = Arc::clone(self);
        self.stop.spawn("save", move || daemon.save_changes()).map(drop)
    }

    fn load(&self) -> Result<(), Stopped> {
        let (mut table, loaded) = self.table.lock()?.wait_for(&mut self.storage.load(&self.stop))?;
        match done(loaded) {
            Ok(counts) => table.counts = Some(counts),
            Err(failure) => table.failure = Some(failure),
        }
        drop(table);
        self.changed.notify_all();
        Ok(())
    }

    fn save_changes(&self) -> Result<(), Stopped> {
        let mut table = self.table.lock()?;
        loop {
            table = table.wait_while(&self.changed, |table| !table.unsaved)?;
            table = self.save(table, &self.stop)?;
        }
    }

    /// Writes the table, with the lock let go meanwhile. A failure leaves it unsaved.
    fn save<'a>(&self, mut table: Held<'a>, domain: &Stop) -> Result<Held<'a>, Stopped> {
        let counts = table.counts.clone().unwrap_or_default();
        // Who adds while the storage writes sets it again.
        table.unsaved = false;
        let (mut table, saved) = table.wait_for(&mut self.storage.save(domain, &counts))?;
        if done(saved).is_err() {
            table.unsaved = true;
        }
        Ok(table)
    }

    /// Adds to a count, and gives what it is then.
    pub fn add(&self, what: &str, n: u64) -> Result<Result<u64, Failure>, Stopped> {
        let table = self.table.lock()?;
        let mut table = table.wait_while(&self.changed, |table| table.counts.is_none() && table.failure.is_none())?;
        if let Some(failure) = &table.failure {
            return Ok(Err(failure.clone()));
        }
        let counts = table.counts.get_or_insert_default();
        let count = counts.entry(what.to_owned()).or_default();
        *count += n;
        let now = *count;
        table.unsaved = true;
        drop(table);
        self.changed.notify_all();
        Ok(Ok(now))
    }

    /// How this life ends: within that time, of which the last save has half.
    pub fn plan(self: &Arc<Self>, within: Duration) -> Plan {
        let daemon = Arc::clone(self);
        Plan::within(within).phase("last save", within / 2, move |phase| {
            let table = daemon.table.lock_in(phase)?;
            // A save that the stop has ended may or may not have been done: so the table is written again, whatever `unsaved` says.
            if table.counts.is_some() {
                let table = daemon.save(table, phase)?;
                if table.unsaved {
                    return Err("the table could not be saved".into());
                }
            }
            Ok(())
        })
    }
}
