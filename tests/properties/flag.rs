//! A waker that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};
use std::time::Instant;

use crate::common::GUARD;

/// How often a waker was woken. SeqCst: nothing is gained by less in a test.
#[derive(Default)]
pub(crate) struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Flag {
    pub(crate) fn new() -> Arc<Flag> {
        Arc::default()
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Whether it is woken, now or in a moment: where tests run beside one another, the stop of another one may have taken the waker and be about to wake it.
    pub(crate) fn is_soon_woken(&self) -> bool {
        let until = Instant::now() + GUARD;
        while self.count() == 0 && Instant::now() < until {
            std::thread::yield_now();
        }
        self.count() > 0
    }

    /// Whether it was woken since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(0, SeqCst) > 0
    }
}
