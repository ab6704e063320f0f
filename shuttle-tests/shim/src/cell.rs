//! Storage whose exclusion is a protocol's doing: an access that overlaps another one panics.
//!
//! The count is no atomic of shuttle's, so that a look at a cell is no step of a schedule: an overlap is seen where a step lies inside an access.

use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// As loom's.
#[derive(Debug)]
pub struct UnsafeCell<T> {
    /// How many read it; −1 for one who writes.
    inside: AtomicI32,
    value: std::cell::UnsafeCell<T>,
}

/// Counts who is inside. Dropped before whoever comes next looks.
struct Inside<'a>(&'a AtomicI32, i32);

impl<'a> Inside<'a> {
    fn new(inside: &'a AtomicI32, writes: bool) -> Self {
        // Ordering: Relaxed everywhere; all threads of an execution run on one.
        let before = inside.load(Relaxed);
        assert!(before == 0 || before > 0 && !writes, "Causality violation: two are inside a cell");
        let by = if writes { -1 } else { 1 };
        inside.store(before + by, Relaxed);
        Inside(inside, by)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Relaxed) - self.1, Relaxed);
    }
}

impl<T> UnsafeCell<T> {
    /// A cell.
    pub const fn new(value: T) -> Self {
        UnsafeCell { inside: AtomicI32::new(0), value: std::cell::UnsafeCell::new(value) }
    }

    /// Reads.
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        let _inside = Inside::new(&self.inside, false);
        f(self.value.get())
    }

    /// Writes.
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        let _inside = Inside::new(&self.inside, true);
        f(self.value.get())
    }

    /// Reads for as long as the pointer lives.
    pub fn get(&self) -> ConstPtr<T> {
        ConstPtr(Pointer::new(self, false))
    }

    /// Writes for as long as the pointer lives.
    pub fn get_mut(&self) -> MutPtr<T> {
        MutPtr(Pointer::new(self, true))
    }
}

/// A pointer to a cell, which outlives it by the promise of who has it.
struct Pointer<T> {
    cell: *const UnsafeCell<T>,
    _inside: Inside<'static>,
}

impl<T> Pointer<T> {
    fn new(cell: &UnsafeCell<T>, writes: bool) -> Self {
        // SAFETY: as loom's pointers: who holds one keeps the cell; the guards of `model` borrow the lock that has it.
        let inside: &'static AtomicI32 = unsafe { &*std::ptr::from_ref(&cell.inside) };
        Pointer { cell, _inside: Inside::new(inside, writes) }
    }

    fn value(&self) -> *mut T {
        // SAFETY: as in `new`.
        unsafe { &*self.cell }.value.get()
    }
}

impl<T> fmt::Debug for Pointer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pointer").finish_non_exhaustive()
    }
}

/// As loom's.
#[derive(Debug)]
pub struct ConstPtr<T>(Pointer<T>);

impl<T> ConstPtr<T> {
    /// The value.
    ///
    /// # Safety
    /// Nobody writes to it meanwhile.
    pub unsafe fn deref(&self) -> &T {
        // SAFETY: the caller's promise.
        unsafe { &*self.0.value() }
    }
}

/// As loom's.
#[derive(Debug)]
pub struct MutPtr<T>(Pointer<T>);

impl<T> MutPtr<T> {
    /// The value.
    ///
    /// # Safety
    /// Nobody else has access meanwhile.
    #[expect(clippy::mut_from_ref, reason = "as loom's: exclusion is the caller's promise")]
    pub unsafe fn deref(&self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.value() }
    }
}
