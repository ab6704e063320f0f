//! A reference to a slot, in an atomic: what links slots to each other.

use crate::sys::{Acquire, PlainPtr, Release};

/// `None`, or a reference to a slot of an arena ("Type-stable": it cannot dangle).
pub(crate) struct Link<T: Sync + 'static>(PlainPtr<T>);

impl<T: Sync> Link<T> {
    pub(crate) const fn new() -> Self {
        Link(PlainPtr::new(std::ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn set(&self, to: Option<&'static T>) {
        let pointer = to.map_or(std::ptr::null_mut(), |slot| std::ptr::from_ref(slot).cast_mut());
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
