//! Asking whether to stop: what a loop that never waits does once a round.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};

use tokio_util::sync::CancellationToken;
use unwedge::Stop;

use super::{Contest, Side};
use crate::measure::{Measured, repeat};
use crate::verdict::Bar;

trait Flag {
    fn new() -> Self;
    fn is_raised(&self) -> bool;
    fn raise(&self);
}

impl Flag for Stop {
    fn new() -> Self {
        Stop::new("bench")
    }

    #[inline]
    fn is_raised(&self) -> bool {
        self.is_requested()
    }

    fn raise(&self) {
        self.request("measured");
    }
}

impl Flag for AtomicBool {
    fn new() -> Self {
        AtomicBool::new(false)
    }

    #[inline]
    fn is_raised(&self) -> bool {
        self.load(Acquire)
    }

    fn raise(&self) {
        self.store(true, std::sync::atomic::Ordering::Release);
    }
}

impl Flag for CancellationToken {
    fn new() -> Self {
        CancellationToken::new()
    }

    #[inline]
    fn is_raised(&self) -> bool {
        self.is_cancelled()
    }

    fn raise(&self) {
        self.cancel();
    }
}

fn ask<F: Flag>(n: u64) -> Measured {
    let flag = F::new();
    let mut raised = 0;
    let measured = repeat(n, || raised += u64::from(black_box(&flag).is_raised()));
    assert_eq!(raised, 0);
    flag.raise();
    assert!(flag.is_raised());
    measured
}

pub(super) fn contests() -> Vec<Contest> {
    vec![Contest {
        ours: Side::ops("unwedge Stop", ask::<Stop>),
        peers: vec![
            (Side::ops("AtomicBool load", ask::<AtomicBool>), Bar::WithinNs(0.5)),
            (Side::ops("CancellationToken", ask::<CancellationToken>), Bar::Context),
        ],
    }]
}
