//! Tasks of a model: loom has no runtime, so a thread polls them.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::Poll;

use crate::stop::{Spawned, Stop};

pub use loom::future::block_on;

/// A task for [`run_all`].
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Starts a task that belongs to a domain, as `Stop::spawn_task` does in what ships. It has a thread to itself that polls it.
///
/// ```
/// # #[cfg(unwedge_loom)]
/// # fn model() -> std::io::Result<()> {
/// let stop = unwedge::Stop::new("life");
/// let own = stop.clone();
/// let task = unwedge::model::spawn_task(&stop, "watcher", async move { own.requested().await })?;
/// # drop(task);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`Stop::spawn`].
pub fn spawn_task<T: Send + 'static>(
    stop: &Stop,
    name: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<Spawned<T>> {
    stop.spawn(name, move || block_on(future))
}

/// Runs several tasks on this thread until all have ended, as a runtime of one thread does: models have few threads to spare.
///
/// Whichever is woken, all that have not ended are polled, in their order.
///
/// ```
/// # #[cfg(unwedge_loom)]
/// # fn model() {
/// use unwedge::model::run_all;
///
/// let stop = unwedge::Stop::new("life");
/// let (one, two) = (stop.clone(), stop.clone());
/// run_all(vec![
///     Box::pin(async move { one.requested().await }),
///     Box::pin(async move { drop(two.request("the other task")) }),
/// ]);
/// # }
/// ```
pub fn run_all(tasks: Vec<Task>) {
    let mut left = tasks;
    block_on(poll_fn(move |cx| {
        left.retain_mut(|task| task.as_mut().poll(cx).is_pending());
        if left.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
}
