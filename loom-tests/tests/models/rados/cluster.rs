//! What `rados/src/cluster.rs` has, as far as an operation sees it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::sync::{RwLock, RwLockReadGuard};

use super::ffi;
use super::gate::Gate;
use super::sys::Arc;

#[derive(Clone, Copy)]
pub(super) struct IoHandle(pub(super) ffi::IoCtx);

// SAFETY: It leads to a librados that all threads of a model may use, and which outlives them.
unsafe impl Send for IoHandle {}
// SAFETY: As above.
unsafe impl Sync for IoHandle {}

pub(super) struct Live(bool);

impl Live {
    pub(super) fn is_open(&self) -> bool {
        self.0
    }
}

pub(super) struct Shared {
    live: RwLock<Live>,
    pub(super) gate: Arc<Gate>,
    pub(super) undecided: AtomicUsize,
}

impl Shared {
    pub(super) fn new(gate: Gate) -> Shared {
        Shared { live: RwLock::new(Live(true)), gate: Arc::new(gate), undecided: AtomicUsize::new(0) }
    }

    pub(super) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap()
    }

    pub(super) fn count_undecided(&self) {
        self.undecided.fetch_add(1, Relaxed);
    }

    /// The handle is taken out; `closed` runs when librados has nothing any more. Time stands still here: so it is waited for without end.
    pub(super) fn close(&self, closed: impl FnOnce()) {
        assert!(self.gate.close_within(1000));
        self.live.write().unwrap().0 = false;
        closed();
    }
}
