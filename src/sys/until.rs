//! A deadline that comes nearer once somebody is in a hurry.

use std::cell::Cell;
use std::time::Instant;

use super::{HURRIED_WAY_OUT, now};

/// See the head of this file. Of one thread, which looks at it again and again.
pub(crate) struct Until<F> {
    deadline: Instant,
    /// Whether there is a hurry.
    hurried: F,
    /// The end of the way out, once a hurry was seen.
    cut: Cell<Option<Instant>>,
}

impl<F: Fn() -> bool> Until<F> {
    pub(crate) fn new(deadline: Instant, hurried: F) -> Self {
        Until { deadline, hurried, cut: Cell::new(None) }
    }

    /// The deadline as it is now: in a hurry no later than what a way out needs, counted from when it was first seen.
    pub(crate) fn at(&self) -> Instant {
        if self.cut.get().is_none() && (self.hurried)() {
            self.cut.set(Some(self.deadline.min(now() + HURRIED_WAY_OUT)));
        }
        self.cut.get().unwrap_or(self.deadline)
    }
}
