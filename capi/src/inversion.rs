//! Locks and waits in orders that contradict each other: deadlocks that have not happened yet.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, Once, PoisonError};

use unwedge::report::{Inversion, on_inversion};

use crate::border::{CancellationHeld, Owned, blocking};

type Callback = unsafe extern "C" fn(arg: *mut c_void, inversion: *const c_char);

/// Who is told, and the argument, which is freed with the last call that has it.
static SINK: Mutex<Option<(Callback, Arc<Owned>)>> = Mutex::new(None);

/// Has `callback(arg, inversion)` told of each pair of orders in which locks are taken, or waits begin, that contradict each other: once each, as soon as it is
/// found, though it did not deadlock this time. The text, on one line and lent for the call, names both orders. It comes from the thread that found it, before that
/// takes the lock: it should write and return. NULL: nobody is told, and nothing is printed.
///
/// Of the whole process: the last call counts. What is seen are monitors, completions whose completer is a known thread's, and ends of threads; not a
/// lock of your own under a condition variable. `free_arg(arg)`, if it is not NULL, is called once when the callback cannot come any more: within this where
/// that is NULL. If this fails it is not called.
///
/// 0; -ENOTSUP if nothing is watched: a release build without the feature `lockdep` (`capi/install.sh --lockdep`), which costs some time at each lock and wait.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_on_inversion(
    callback: Option<unsafe extern "C" fn(arg: *mut c_void, inversion: *const c_char)>,
    arg: *mut c_void,
    free_arg: Option<unsafe extern "C" fn(arg: *mut c_void)>,
) -> c_int {
    blocking(|| {
        if !cfg!(any(debug_assertions, feature = "lockdep")) {
            return Err(-libc::ENOTSUP);
        }
        let arg = Arc::new(Owned::new(arg, free_arg));
        let new = callback.map(|callback| (callback, arg));
        let before = std::mem::replace(&mut *SINK.lock().unwrap_or_else(PoisonError::into_inner), new);
        // Without the lock: it may free the argument.
        drop(before);
        static ONCE: Once = Once::new();
        ONCE.call_once(|| on_inversion(tell));
        Ok(0)
    })
}

fn tell(inversion: &Inversion) {
    let sink = SINK.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some((callback, arg)) = sink else { return };
    let line = CString::new(inversion.to_string().replace(['\n', '\0'], " ")).unwrap_or_default();
    let _held = CancellationHeld::new();
    // SAFETY: the caller's callback with its own argument (`Callback`); the line is lent for the call.
    unsafe { callback(arg.get(), line.as_ptr()) };
}
