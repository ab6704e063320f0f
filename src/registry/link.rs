//! A reference to a slot, in an atomic: what links slots to each other.

use std::ptr::null_mut;

use crate::sys::{AcqRel, Acquire, AtomicPtr, PlainPtr, Release};

/// `None`, or a reference to a slot of an arena ("Type-stable": it cannot dangle).
pub(crate) struct Link<T: Sync + 'static>(PlainPtr<T>);

impl<T: Sync> Link<T> {
    pub(crate) const fn new() -> Self {
        Link(PlainPtr::new(null_mut()))
    }

    #[inline]
    pub(crate) fn set(&self, to: Option<&'static T>) {
        let pointer = to.map_or(null_mut(), |slot| std::ptr::from_ref(slot).cast_mut());
        // Ordering: Release, partner of the Acquire in `get`: who follows the link sees the slot made.
        self.0.store(pointer, Release);
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        let pointer = self.0.load(Acquire);
        // SAFETY: null, or stored by `set` from a `&'static T`; never written through, and `T` is `Sync`.
        unsafe { pointer.as_ref() }
    }
}

/// A reference to a slot that is set once, by whoever is first. Unlike a [`Link`] it is seen by loom.
pub(crate) struct FirstLink<T: Sync + 'static>(AtomicPtr<T>);

// A step of an atomic is whole or was not made.
impl<T: Sync> std::panic::UnwindSafe for FirstLink<T> {}

impl<T: Sync> FirstLink<T> {
    #[cfg(not(unwedge_loom))]
    pub(crate) const fn new() -> Self {
        FirstLink(AtomicPtr::new(null_mut()))
    }

    #[cfg(unwedge_loom)]
    pub(crate) fn new() -> Self {
        FirstLink(AtomicPtr::new(null_mut()))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // Ordering: Acquire, partner of the AcqRel in `set_first`: who follows the link sees the slot made.
        let pointer = self.0.load(Acquire);
        // SAFETY: null, or stored by `set_first` from a `&'static T`; never written through, and `T` is `Sync`.
        unsafe { pointer.as_ref() }
    }

    /// Leads to this slot from now on. `Err` with the one to which it leads already.
    pub(crate) fn set_first(&self, to: &'static T) -> Result<(), &'static T> {
        let pointer = std::ptr::from_ref(to).cast_mut();
        match self.0.compare_exchange(null_mut(), pointer, AcqRel, Acquire) {
            Ok(_) => Ok(()),
            // SAFETY: as in `get`; what the step found instead of null was stored here.
            Err(first) => Err(unsafe { &*first }),
        }
    }
}
