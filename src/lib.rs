//! A lock-and-async-I/O runtime library for storage daemons: what waits can always be stopped.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod completion;
mod error;
#[cfg(not(unwedge_loom))]
pub mod io;
pub mod lock;
#[cfg(unwedge_loom)]
pub mod model;
mod registry;
pub mod report;
mod stop;
mod sys;
mod wait;

pub use completion::{Completer, Completion, Owed};
pub use error::{Abandoned, Stopped, Timed, WaitError};
pub use stop::{JoinError, Phase, Plan, Spawned, Stop, StopBuilder};
pub use wait::condvar::Condvar;
pub use wait::future::{LockFuture, Wait, WaitWhile, When};
pub use wait::guard::{Exclusive, Mode, MonitorGuard, Shared};
pub use wait::monitor::Monitor;
