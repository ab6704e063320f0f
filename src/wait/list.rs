//! The FIFO list of waiters: links lie in the waiters' own slots, so that waiting allocates nothing and no link can dangle.
//!
//! # Invariants
//! - **Guarded.** A list, and the links and place of the waiters in it, are touched only under the lock that holds the list.
//! - **One list.** A waiter is in at most one list; its `place` says in which kind.

use super::waiter::{Place, Waiter};

/// A doubly linked list of slots.
pub(super) struct List {
    head: Option<&'static Waiter>,
    tail: Option<&'static Waiter>,
    place: Place,
}

impl List {
    pub(super) const fn new(place: Place) -> Self {
        List { head: None, tail: None, place }
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&'static Waiter> {
        self.head
    }

    /// Takes the first one out.
    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<&'static Waiter> {
        let first = self.head?;
        self.head = first.next.get();
        match self.head {
            None => self.tail = None,
            Some(next) => next.prev.set(None),
        }
        first.set_place(Place::None);
        Some(first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Waiter> + use<> {
        let mut at = self.head;
        std::iter::from_fn(move || {
            let this = at?;
            at = this.next.get();
            Some(this)
        })
    }

    #[inline]
    pub(super) fn push_back(&mut self, new: &'static Waiter) {
        debug_assert!(new.place() == Place::None, "one list");
        new.next.set(None);
        new.prev.set(self.tail);
        match self.tail {
            None => self.head = Some(new),
            Some(tail) => tail.next.set(Some(new)),
        }
        self.tail = Some(new);
        new.set_place(self.place);
    }

    /// Takes a waiter out, if it is in a list of this kind. (It can be in no other list of this kind: its owner knows which one.)
    #[inline]
    pub(super) fn remove(&mut self, old: &'static Waiter) -> bool {
        if old.place() != self.place {
            return false;
        }
        let (next, prev) = (old.next.get(), old.prev.get());
        match prev {
            None => self.head = next,
            Some(prev) => prev.next.set(next),
        }
        match next {
            None => self.tail = prev,
            Some(next) => next.prev.set(prev),
        }
        old.set_place(Place::None);
        true
    }
}
