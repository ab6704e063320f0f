//! Where a task's waker lies while it waits: two words, whose owner is told by the waiter's state word.
//!
//! A waker that lies here is owned by the slot while the state word has `WAKER` set. Who takes it copies the two words *first*, and becomes its owner by the
//! compare-and-swap that takes `WAKER` off the word as it was read before the copy. The waiter changes the two words only while the state word has no
//! `WAKER`, and sets it with a count that no earlier word of the slot had. So if that step succeeds the word has not changed in between, not even to
//! and fro, and the copy was whole. (The model `waker_replaced_while_it_is_taken`; its twin without the count drops a waker twice.)
//!
//! So a wake-up costs no more than the step that ends the wait, and a waker is woken or dropped by one alone (L5).

use std::mem::ManuallyDrop;
use std::task::{RawWakerVTable, Waker};

use crate::sys::{PlainPtr, Relaxed};

/// Room for one waker.
pub(super) struct WakerWords {
    data: PlainPtr<()>,
    vtable: PlainPtr<RawWakerVTable>,
}

/// A copy of the two words: nobody's, until the compare-and-swap that makes it its taker's.
#[derive(Clone, Copy)]
pub(super) struct WakerCopy {
    data: *mut (),
    vtable: *mut RawWakerVTable,
}

impl WakerWords {
    pub(super) const fn new() -> Self {
        WakerWords { data: PlainPtr::new(std::ptr::null_mut()), vtable: PlainPtr::new(std::ptr::null_mut()) }
    }

    /// Puts a waker in. By the waiter alone, while the state word has no `WAKER`.
    #[inline]
    pub(super) fn put(&self, waker: Waker) {
        let waker = ManuallyDrop::new(waker);
        // Ordering: Relaxed, published by the step that sets `WAKER`.
        self.data.store(waker.data().cast_mut(), Relaxed);
        self.vtable.store(std::ptr::from_ref(waker.vtable()).cast_mut(), Relaxed);
    }

    /// Whether this very waker lies here. By the waiter alone.
    #[inline]
    pub(super) fn is(&self, waker: &Waker) -> bool {
        self.data.load(Relaxed).cast_const() == waker.data()
            && std::ptr::eq(self.vtable.load(Relaxed).cast_const(), waker.vtable())
    }

    /// Where an executor has what it writes to when this is woken, if it is like most of them: an address to make a hint of, which may be stale.
    pub(super) fn task(&self) -> *const () {
        self.data.load(Relaxed)
    }

    /// Copies the words, after the state word was read with `WAKER` set.
    #[inline]
    pub(super) fn copy(&self) -> WakerCopy {
        WakerCopy { data: self.data.load(Relaxed), vtable: self.vtable.load(Relaxed) }
    }
}

impl WakerCopy {
    /// The waker.
    ///
    /// # Safety
    /// The copy was made while the slot owned a waker, and the caller has become its owner as the head of this file says; or the caller
    /// has just put it there and the slot did not become its owner.
    #[inline]
    pub(super) unsafe fn into_waker(self) -> Waker {
        // SAFETY: `put` stored a `&'static RawWakerVTable`.
        let vtable: &'static RawWakerVTable = unsafe { &*self.vtable };
        // SAFETY: the two are those of a waker that was not dropped, and by the caller's promise nobody else makes one of them.
        unsafe { Waker::new(self.data, vtable) }
    }
}
