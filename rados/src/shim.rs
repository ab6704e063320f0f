//! Where the shim (`shim.cc`) puts what it has read: bytes of librados's, whose number is known when they are there.

use std::{
    ffi::{c_int, c_void},
    ptr::NonNull,
};

use crate::{error::Cause, ffi, omap::bytes};

/// An argument that cannot be.
const EINVAL: c_int = 22;

/// `None` before it was submitted, and when it was taken.
#[derive(Default)]
pub(crate) struct Answer(Option<NonNull<c_void>>);

// SAFETY: It is memory of the shim's, used by one thread at a time.
unsafe impl Send for Answer {}

impl Answer {
    /// Gives a call of the shim's a new place; what it gives back is the call's.
    pub(crate) fn submit(&mut self, call: impl FnOnce(*mut c_void) -> c_int) -> c_int {
        self.free();
        // SAFETY: It takes nothing.
        let Some(answer) = NonNull::new(unsafe { ffi::uw_rados_answer_new() }) else { return -EINVAL };
        self.0 = Some(answer);
        call(answer.as_ptr())
    }

    /// A copy of what was read, when librados has answered, and answered well.
    pub(crate) fn take(&mut self, answer: Result<usize, i32>) -> Result<Vec<u8>, Cause> {
        let read = answer.map_err(Cause::Failed).and_then(|_| self.copy().ok_or(Cause::Garbled));
        self.free();
        read
    }

    fn copy(&self) -> Option<Vec<u8>> {
        let answer = self.0?;
        let mut len = 0;
        // SAFETY: It is owned, and the read is complete; `len` outlives the call.
        let from = unsafe { ffi::uw_rados_answer_bytes(answer.as_ptr(), &raw mut len) };
        // SAFETY: The shim has so many bytes there until the answer is freed.
        Some(unsafe { bytes(from, len) })
    }

    fn free(&mut self) {
        if let Some(answer) = self.0.take() {
            // SAFETY: It is owned, and librados has answered or was never asked.
            unsafe { ffi::uw_rados_answer_free(answer.as_ptr()) };
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.free();
    }
}
