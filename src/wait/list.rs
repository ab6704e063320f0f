//! The FIFO list of waiters: links are indices in the waiters' own slots, so that waiting allocates nothing and no link can dangle.
//!
//! # Invariants
//! - **Guarded.** A list, and the links and place of the waiters in it, are touched only under the lock that holds the list.
//! - **One list.** A waiter is in at most one list; its `place` says in which kind.

use crate::sys::Relaxed;

use super::waiter::{Place, Waiter, waiter};

/// A doubly linked list of slots.
pub(super) struct List {
    head: u32,
    tail: u32,
    place: Place,
}

impl List {
    pub(super) const fn new(place: Place) -> Self {
        List { head: 0, tail: 0, place }
    }

    #[inline]
    pub(super) fn front(&self) -> Option<(u32, &'static Waiter)> {
        (self.head != 0).then(|| (self.head, waiter(self.head)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'static Waiter)> + use<> {
        let mut at = self.head;
        std::iter::from_fn(move || {
            (at != 0).then(|| {
                let (index, this) = (at, waiter(at));
                at = this.next.load(Relaxed);
                (index, this)
            })
        })
    }

    #[inline]
    pub(super) fn push_back(&mut self, index: u32) {
        let new = waiter(index);
        debug_assert!(new.place() == Place::None, "one list");
        new.next.store(0, Relaxed);
        new.prev.store(self.tail, Relaxed);
        match self.tail {
            0 => self.head = index,
            tail => waiter(tail).next.store(index, Relaxed),
        }
        self.tail = index;
        new.set_place(self.place);
    }

    /// Takes a waiter out, if it is in a list of this kind. (It can be in no other list of this kind: its owner knows which one.)
    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> bool {
        let old = waiter(index);
        if old.place() != self.place {
            return false;
        }
        let (next, prev) = (old.next.load(Relaxed), old.prev.load(Relaxed));
        match prev {
            0 => self.head = next,
            prev => waiter(prev).next.store(next, Relaxed),
        }
        match next {
            0 => self.tail = prev,
            next => waiter(next).prev.store(prev, Relaxed),
        }
        old.set_place(Place::None);
        true
    }
}
