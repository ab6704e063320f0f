//! Opaque handles: counted, with a tag at their head.
//!
//! # Invariants
//! - **Tag.** The first word of every handle is its tag, so that it can be read through a handle of another kind. It is `GONE` once the last count is.
//! - **Counted.** A handle is an [`Arc`] of which the caller has one count for each time that it was given it; a call that waits has one of its own, so that
//!   a release meanwhile frees nothing.

use std::ffi::c_int;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::border::BAD_ARGUMENT;

/// The tag of what is no more. Whoever sees it has used a handle that it had released.
const GONE: u32 = 0x6f6e_6521;

/// What a handle leads to.
#[repr(C)]
pub(crate) struct Handle<T: Kind> {
    tag: AtomicU32,
    value: T,
}

/// What has handles.
pub(crate) trait Kind: Send + Sync {
    /// What C calls it.
    type Name;
    /// Tells its handles from others.
    const TAG: u32;
}

impl<T: Kind> Handle<T> {
    pub(crate) fn new(value: T) -> Arc<Self> {
        Arc::new(Handle { tag: AtomicU32::new(T::TAG), value })
    }

    /// A new handle, for the caller.
    pub(crate) fn give(value: T) -> *mut T::Name {
        Handle::into_raw(Handle::new(value))
    }

    /// A count, for the caller.
    pub(crate) fn into_raw(this: Arc<Self>) -> *mut T::Name {
        Arc::into_raw(this).cast::<T::Name>().cast_mut()
    }
}

impl<T: Kind> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Kind> Drop for Handle<T> {
    fn drop(&mut self) {
        *self.tag.get_mut() = GONE;
    }
}

/// The pointer that [`Handle::into_raw`] gave, if it is one of this kind.
///
/// # Safety
/// `name` is NULL or a handle that is not released meanwhile (`Handle`).
#[inline]
unsafe fn checked<T: Kind>(name: *const T::Name) -> Result<*const Handle<T>, c_int> {
    let handle = name.cast::<Handle<T>>();
    if handle.is_null() || !handle.is_aligned() {
        return Err(BAD_ARGUMENT);
    }
    // SAFETY: it is a handle, of whatever kind, and every handle begins with a tag (`Tag`).
    let tag = unsafe { &*name.cast::<AtomicU32>() };
    // Ordering: Relaxed; the tag is written before the handle is given out, and the caller has made sure that it has not been released.
    if tag.load(Relaxed) == T::TAG { Ok(handle) } else { Err(BAD_ARGUMENT) }
}

/// What a handle of the caller's leads to.
///
/// # Safety
/// `name` is NULL or a handle that is not released for `'a` (`Handle`).
#[inline]
pub(crate) unsafe fn at<'a, T: Kind>(name: *const T::Name) -> Result<&'a Handle<T>, c_int> {
    // SAFETY: this function's own condition.
    let handle = unsafe { checked::<T>(name) }?;
    // SAFETY: the tag says that it is a handle of this kind, and the caller has a count for `'a`.
    Ok(unsafe { &*handle })
}

/// As [`at`], with a count of the call's own.
///
/// # Safety
/// As [`at`], at the beginning of the call; it may be released meanwhile.
#[inline]
pub(crate) unsafe fn keep<T: Kind>(name: *const T::Name) -> Result<Arc<Handle<T>>, c_int> {
    // Not by a reference to what is in the Arc: its counts lie beside that.
    // SAFETY: this function's own condition.
    let handle = unsafe { checked::<T>(name) }?;
    // SAFETY: `handle` came from `into_raw` (`Counted`), and its count is not 0: the caller has one.
    unsafe { Arc::increment_strong_count(handle) };
    // SAFETY: the count that was just added is this Arc's.
    Ok(unsafe { Arc::from_raw(handle) })
}

/// Gives the caller another count.
///
/// # Safety
/// As [`at`].
pub(crate) unsafe fn count<T: Kind>(name: *const T::Name) -> Result<(), c_int> {
    // SAFETY: this function's own condition.
    let kept = unsafe { keep::<T>(name) }?;
    let _ = Arc::into_raw(kept);
    Ok(())
}

/// Takes a count from the caller.
///
/// # Safety
/// As [`at`]; the caller uses the handle no more, but for counts that it has beside this one.
pub(crate) unsafe fn take<T: Kind>(name: *const T::Name) -> Result<Arc<Handle<T>>, c_int> {
    // SAFETY: this function's own condition.
    let handle = unsafe { checked::<T>(name) }?;
    // SAFETY: it came from `into_raw` (`Counted`), and the caller gives its count away.
    Ok(unsafe { Arc::from_raw(handle) })
}
