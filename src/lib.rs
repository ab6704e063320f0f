//! A lock-and-async-I/O runtime library for storage daemons: what waits can always be stopped.
//!
//! A daemon that takes its locks, waits and metadata reads through this crate stops in bounded time, also when the storage below it never
//! answers again. It is one primitive with three faces:
//!
//! 1. [`Monitor`] and [`Condvar`] over any lock type ([`lock`]), for blocking threads and async tasks in one queue;
//! 2. [`Completion`]: a read, or whatever somebody owes, waited for with the lock let go;
//! 3. [`Stop`]: the domain whose stop ends every wait, without the lock; [`Stop::shutdown`] joins the threads, runs the phases of a [`Plan`] and
//!    gives a [`Report`](report::Report) of who is left.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use unwedge::{Completion, Monitor, Plan, Stop};
//!
//! let stop = Stop::new("mds.a");
//! let mds = Arc::new(Monitor::new("mds_lock", std::sync::Mutex::new(0), &stop));
//! let (_frozen, mut read) = Completion::<u64>::new("read", &stop);       // storage that never answers
//!
//! let big_lock = Arc::clone(&mds);
//! stop.spawn("replay", move || {
//!     let (mut position, value) = big_lock.lock()?.wait_for(&mut read)?;   // the lock is free meanwhile
//!     *position = value.unwrap_or(0);
//!     Ok::<(), unwedge::Stopped>(())
//! })?;
//!
//! let held = mds.lock()?;                                                // a stopper that holds the big lock, and joins
//! let report = stop.shutdown_holding(held, Plan::within(Duration::from_secs(10)));
//! assert!(report.is_clean(), "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | see |
//! |---|---|
//! | take a lock, wait on a condition, run a closure when it can | [`Monitor`], [`MonitorGuard`], [`Condvar`] |
//! | bring a lock of one's own, or one that others also take directly | [`lock`] |
//! | wait for storage, a reply, a job | [`Completion`], [`Completer`] |
//! | read and write metadata | [`io`] |
//! | keep a window of completions going | [`stream`] |
//! | start threads and tasks, stop them, undo what a stopped wait leaves | [`Stop`], [`Plan`], [`Phase`] |
//! | find out why it does not stop | [`report`] |
//! | check every schedule of your own stop | [`guide::model_check`] |
//!
//! The laws L1 to L8 that this documentation cites, and the limits, are in the README.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod completion;
#[cfg(unwedge_loom)]
#[doc(hidden)] // What a model of this library's own runs of `io`.
#[path = "io/uring/engine/mod.rs"]
pub mod engine;
mod error;
pub mod guide;
#[cfg(not(unwedge_loom))]
pub mod io;
pub mod lock;
#[cfg(unwedge_loom)]
pub mod model;
mod registry;
pub mod report;
mod stop;
pub mod stream;
mod sys;
mod wait;

pub use completion::{Completer, Completion, Object, Owed};
pub use error::{Abandoned, Stopped, Timed, WaitError};
pub use stop::{JoinError, Phase, Plan, PlannedStep, Spawned, Step, Stop, StopBuilder};
pub use wait::condvar::Condvar;
pub use wait::future::{LockFuture, Wait, WaitWhile, When};
pub use wait::guard::{Exclusive, Mode, MonitorGuard, Shared};
pub use wait::monitor::Monitor;

/// The programs of the README, as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
