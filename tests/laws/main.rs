//! The laws on real threads and tasks, over the locks and the runtimes that ship; loom has them in every order of steps.
//!
//! | law | file |
//! |---|---|
//! | L1 nobody is stranded | `stranded` |
//! | L2 stopped means unlocked | `unlocked` |
//! | L3 no wake-up is lost | `lost`, `forgotten` |
//! | L4 memory outlives the kernel | the tests of `io`: nothing of the core is in the kernel's hands |
//! | L5 one outcome | `outcome` |
//! | L6 no lock over foreign code | `foreign`, `wakers` |
//! | L7 stop is always allowed | `allowed` |
//! | L8 a report is always to be had | `report` |
//!
//! A test waits for what it sees in a report, never for time to pass; the guard of 30 s only turns a hang into a failure.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/seen.rs"]
mod seen;

mod allowed;
mod foreign;
mod forgotten;
mod lost;
mod outcome;
mod report;
mod stranded;
mod unlocked;
mod wakers;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Both kinds of tokio's runtime, one after the other.
pub(crate) fn on_each_runtime<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let current = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    current.block_on(within_guard(test()));
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    many.block_on(within_guard(test()));
}

async fn within_guard(test: impl Future<Output = ()>) {
    let test = pin!(test);
    tokio::time::timeout(common::GUARD, test).await.expect("a hang");
}

/// Lets other tasks run until it is seen.
pub(crate) async fn until_seen(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !seen() {
        assert!(begun.elapsed() < common::GUARD, "never seen: {what}");
        tokio::task::yield_now().await;
    }
}
