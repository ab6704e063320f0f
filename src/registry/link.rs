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

/// What is made when it is first needed, and never freed.
///
/// Of two that make it at once one throws its own away: so nobody waits for who makes it, not even in the child of a `fork`, where that one is not.
#[cfg(not(unwedge_loom))]
pub(crate) struct Made<T: Sync + 'static>(FirstLink<T>);

#[cfg(not(unwedge_loom))]
impl<T: Sync> Made<T> {
    pub(crate) const fn new() -> Self {
        Made(FirstLink::new())
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        self.0.get()
    }

    #[inline]
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &'static T {
        self.get().unwrap_or_else(|| self.make(make()))
    }

    #[cold]
    fn make(&self, made: T) -> &'static T {
        let made = Box::into_raw(Box::new(made));
        // SAFETY: it came from a box, just now, and is not freed once it is everybody's.
        match self.0.set_first(unsafe { &*made }) {
            // SAFETY: as above: it is.
            Ok(()) => unsafe { &*made },
            Err(first) => {
                // SAFETY: it came from a box, and was given to nobody.
                drop(unsafe { Box::from_raw(made) });
                first
            }
        }
    }
}

/// In a model it goes with the execution.
#[cfg(unwedge_loom)]
pub(crate) struct Made<T: Sync + 'static>(std::sync::OnceLock<T>);

#[cfg(unwedge_loom)]
impl<T: Sync> Made<T> {
    pub(crate) const fn new() -> Self {
        Made(std::sync::OnceLock::new())
    }

    pub(crate) fn set(&self, made: T) {
        assert!(self.0.set(made).is_ok(), "it is made once");
    }

    pub(crate) fn get(&'static self) -> Option<&'static T> {
        self.0.get()
    }

    pub(crate) fn get_or_make(&'static self, make: impl FnOnce() -> T) -> &'static T {
        self.0.get_or_init(make)
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
