//! What each entry does first and last.
//!
//! A result is 0 or more, or the negative of an errno. One errno, one meaning:
//!
//! | errno | meaning |
//! |---|---|
//! | `EINVAL` | an argument is wrong; nothing was done |
//! | `ECANCELED` | a stop ended it; the caller's lock is *not* held |
//! | `ETIMEDOUT` | the time was up; the caller's lock is held |
//! | `EOWNERDEAD` | who owed the result let go of it |
//! | `EBUSY` | another call has this completion |
//! | `ENOLCK` | a callback could not take the caller's lock, which is not held |
//! | `ENOTRECOVERABLE` | unwedge has panicked |

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

pub(crate) const BAD_ARGUMENT: c_int = -libc::EINVAL;
pub(crate) const STOPPED: c_int = -libc::ECANCELED;
pub(crate) const TIMED_OUT: c_int = -libc::ETIMEDOUT;
pub(crate) const ABANDONED: c_int = -libc::EOWNERDEAD;
pub(crate) const BUSY: c_int = -libc::EBUSY;
pub(crate) const NO_LOCK: c_int = -libc::ENOLCK;
pub(crate) const PANICKED: c_int = -libc::ENOTRECOVERABLE;
pub(crate) const NOT_YET: c_int = -libc::EAGAIN;

/// What an entry gives: `Ok` is no error, `Err` the negative of an errno.
pub(crate) type Given = Result<c_int, c_int>;

/// Runs an entry. What it panics with goes no further (`Border`).
#[inline]
pub(crate) fn border(entry: impl FnOnce() -> Given) -> c_int {
    match catch_unwind(AssertUnwindSafe(entry)) {
        Ok(Ok(code) | Err(code)) => code,
        Err(payload) => panicked(payload),
    }
}

#[cold]
fn panicked(payload: Box<dyn std::any::Any + Send>) -> c_int {
    // It may panic in turn when it is dropped.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    PANICKED
}

/// Runs an entry that may block or call back: no thread is cancelled in it (`pthread_cancel`), because a cancellation unwinds.
#[inline]
pub(crate) fn blocking(entry: impl FnOnce() -> Given) -> c_int {
    let _held = CancellationHeld::new();
    border(entry)
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_DISABLE: c_int = 1;

/// While it lives, a cancellation of this thread waits.
pub(crate) struct CancellationHeld {
    before: c_int,
}

impl CancellationHeld {
    #[inline]
    pub(crate) fn new() -> Self {
        let mut before = 0;
        // SAFETY: the state is one of the two that there are, and `before` can be written.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut before) };
        CancellationHeld { before }
    }
}

impl Drop for CancellationHeld {
    #[inline]
    fn drop(&mut self) {
        let mut ours = 0;
        // SAFETY: the state is one that this function gave, and `ours` can be written. It is no cancellation point itself.
        unsafe { pthread_setcancelstate(self.before, &raw mut ours) };
    }
}

/// A string of the caller's.
///
/// # Safety
/// `text` is NULL or a string that ends with a NUL and is not changed for `'a` (`Call`).
pub(crate) unsafe fn string<'a>(text: *const c_char) -> Result<&'a CStr, c_int> {
    if text.is_null() {
        return Err(BAD_ARGUMENT);
    }
    // SAFETY: not NULL, and the rest is this function's own condition.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// A path of the caller's.
///
/// # Safety
/// As [`string`].
pub(crate) unsafe fn path<'a>(text: *const c_char) -> Result<&'a OsStr, c_int> {
    // SAFETY: this function's own condition.
    let text = unsafe { string(text) }?;
    if text.is_empty() { Err(BAD_ARGUMENT) } else { Ok(OsStr::from_bytes(text.to_bytes())) }
}

/// Gives a value to the caller.
///
/// # Safety
/// `place` is NULL or can be written (`Call`).
pub(crate) unsafe fn give<T>(place: *mut T, value: T) -> Result<(), c_int> {
    if place.is_null() {
        return Err(BAD_ARGUMENT);
    }
    // SAFETY: not NULL, and the rest is this function's own condition.
    unsafe { place.write(value) };
    Ok(())
}

/// Whether a place for a result can be one.
pub(crate) fn wanted<T>(place: *mut T) -> Result<(), c_int> {
    if place.is_null() || !place.is_aligned() { Err(BAD_ARGUMENT) } else { Ok(()) }
}

/// When `timeout` nanoseconds are over; `None` for ever, which is what a negative number says.
pub(crate) fn deadline(timeout: i64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_nanos(u64::try_from(timeout).ok()?))
}

/// A time that must not be negative.
pub(crate) fn time(nanoseconds: i64) -> Result<Duration, c_int> {
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| BAD_ARGUMENT)
}

/// Writes a text as `snprintf` does: cut to `size` with its NUL; the whole length is given.
///
/// # Safety
/// `place` is NULL, or `size` bytes there can be written (`Call`).
pub(crate) unsafe fn write_text(text: &str, place: *mut c_char, size: usize) -> Given {
    if size > 0 {
        if place.is_null() {
            return Err(BAD_ARGUMENT);
        }
        let len = text.len().min(size - 1);
        // SAFETY: `size` bytes can be written, of which these are the first `len`; a text of ours does not overlap them.
        unsafe { text.as_ptr().copy_to_nonoverlapping(place.cast(), len) };
        // SAFETY: `len` is at most `size - 1`.
        let end = unsafe { place.add(len) };
        // SAFETY: as above.
        unsafe { end.write(0) };
    }
    Ok(c_int::try_from(text.len()).unwrap_or(c_int::MAX))
}

/// What a callback is given back: passed on, never looked at (`Call`).
#[derive(Clone, Copy)]
pub(crate) struct Arg(pub(crate) *mut std::ffi::c_void);

// SAFETY: it is not dereferenced here; that a callback may be called from any thread is what the caller was told (`Callback`).
unsafe impl Send for Arg {}
// SAFETY: as above.
unsafe impl Sync for Arg {}

impl Arg {
    /// The same by a method: so that a closure takes all of it along, and not the pointer in it.
    pub(crate) fn get(self) -> *mut std::ffi::c_void {
        self.0
    }
}

/// An argument that is freed when no callback can come any more, by the caller's own `free`; NULL where there is nothing to be freed.
pub(crate) struct Owned {
    arg: Arg,
    free: Option<unsafe extern "C" fn(arg: *mut std::ffi::c_void)>,
}

impl Owned {
    pub(crate) fn new(
        arg: *mut std::ffi::c_void,
        free: Option<unsafe extern "C" fn(arg: *mut std::ffi::c_void)>,
    ) -> Self {
        Owned { arg: Arg(arg), free }
    }

    pub(crate) fn get(&self) -> *mut std::ffi::c_void {
        self.arg.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            let _held = CancellationHeld::new();
            // SAFETY: the caller's callback with its own argument (`Callback`), once, after all others.
            unsafe { free(self.arg.0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BAD_ARGUMENT, PANICKED, blocking, border};

    /// A payload that panics when it is dropped.
    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_panic_is_a_result_and_goes_no_further() {
        assert_eq!(border(|| panic!("in an entry")), PANICKED);
        assert_eq!(blocking(|| std::panic::panic_any(Panics)), PANICKED);
        assert_eq!((border(|| Ok(3)), blocking(|| Err(BAD_ARGUMENT))), (3, BAD_ARGUMENT));
    }
}
