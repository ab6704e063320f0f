//! What a daemon's authors need to model-check their own stop and restart with loom. Only with `--cfg unwedge_loom`; the guide
//! "Model-check your daemon" ([`guide::model_check`](crate::guide::model_check)) shows how.
//!
//! A model is a closure that a [`Checker`] runs under every schedule that its bounds allow. In it:
//!
//! | what the daemon has | what a model has in its place |
//! |---|---|
//! | a lock | [`Mutex`], [`RwLock`] (a real lock inside a model gives false alarms) |
//! | threads of a domain | the same: `Stop::spawn` |
//! | other threads | [`thread`] |
//! | tasks | [`spawn_task`], [`run_all`], [`block_on`] |
//! | storage | [`Store`], whose answers come at once, late or never |
//! | time | [`now`], which stands still until [`advance`] or [`time_passes`] moves it |
//! | bad luck | [`spurious_wakeup`]; [`choose`], for what is not a question of schedules |
//!
//! When it ends nothing may be left: see [`Checker::check`].

mod check;
mod choice;
mod end;
mod lock;
#[doc(hidden)]
pub mod parts;
mod store;
mod task;
pub mod thread;
mod time;

pub use check::{Checker, Seen, check};
pub use choice::choose;
pub use lock::{Guard, Mutex, ReadGuard, RwLock};
pub use store::{Answer, Store};
pub use task::{Task, block_on, run_all, spawn_task};
pub use time::{advance, now, spurious_wakeup, time_passes, wake_for_no_reason};
