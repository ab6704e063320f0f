//! Stop domains.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::Duration;

use unwedge::report::Report;
use unwedge::{Plan, Stop};

use crate::border::{Arg, BAD_ARGUMENT, CancellationHeld, Owned, blocking, border, give, string, wanted, write_text};
use crate::handle::{Handle, Kind, at, count, keep, take};
use crate::lock::{Caller, unwedge_lock_ops_t};
use crate::names::keep as keep_text;
use crate::plan::{Planned, unwedge_plan_t};
use crate::report::unwedge_report_t;

/// A stop domain: what a stop is requested of, and what every wait belongs to. One for each life of a daemon.
pub struct unwedge_stop_t {
    _opaque: (),
}

impl Kind for Stop {
    type Name = unwedge_stop_t;
    const TAG: u32 = 0x7577_7374;
}

/// Makes a stop domain. 0, and the handle is yours: release it. When the last count of it is released its stop is requested.
///
/// `on_thread_start(arg, name)`, if it is not NULL, runs first on every thread that the domain or a child of it starts. `free_arg(arg)`, if it is not NULL, is
/// called once when it cannot come any more: within this where `on_thread_start` is NULL. If this fails it is not called.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_new(
    name: *const c_char,
    on_thread_start: Option<unsafe extern "C" fn(arg: *mut c_void, name: *const c_char)>,
    arg: *mut c_void,
    free_arg: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    stop: *mut *mut unwedge_stop_t,
) -> c_int {
    border(|| {
        wanted(stop)?;
        // SAFETY: the caller's string (`Call`).
        let name = unsafe { string(name) }?.to_string_lossy();
        let mut builder = Stop::builder(&name);
        let arg = Owned::new(arg, free_arg);
        if let Some(hook) = on_thread_start {
            builder = builder.on_thread_start(move |name| {
                let name = CString::new(name).unwrap_or_default();
                // SAFETY: the caller's callback with its own argument (`Callback`); the name is lent for the call.
                unsafe { hook(arg.get(), name.as_ptr()) };
            });
        }
        // SAFETY: the caller's place (`Call`).
        unsafe { give(stop, Handle::give(builder.build())) }?;
        Ok(0)
    })
}

/// Makes a part of a domain, with a stop of its own. A stop of `parent` reaches it; a child of a stopped domain is born stopped.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_child(
    parent: *const unwedge_stop_t,
    name: *const c_char,
    stop: *mut *mut unwedge_stop_t,
) -> c_int {
    blocking(|| {
        wanted(stop)?;
        // SAFETY: the caller's string (`Call`).
        let name = unsafe { string(name) }?.to_string_lossy();
        // SAFETY: the caller's handle (`Handle`).
        let child = unsafe { keep::<Stop>(parent) }?.child(&name);
        // SAFETY: the caller's place (`Call`).
        unsafe { give(stop, Handle::give(child)) }?;
        Ok(0)
    })
}

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_ref(stop: *const unwedge_stop_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Stop>(stop) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. With the last count the stop is requested.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_release(stop: *mut unwedge_stop_t) {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Stop>(stop) }?);
        Ok(0)
    });
}

/// Requests the stop: every wait of this domain and its children ends, now and from now on. 1 if this was the first request, 0 if not.
///
/// It never blocks, calls nothing back, and may be called any number of times, from any thread and under any lock; but not from a signal handler.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_request(stop: *const unwedge_stop_t, reason: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { with_reason(stop, reason, |stop, reason| stop.request(reason)) }
}

/// Requests the stop, if nobody has, and takes all time away from the shutdowns of this domain and its children, those that run and those to come: what an
/// operator's second signal means. 1 if this was the first hurry, 0 if not.
///
/// Threads are no longer waited for, a phase that runs is stopped, one that has not begun is skipped, I/O is not drained; what is on its way out is given a tenth
/// of a second. `unwedge_stop_request` never hurries, however often it is called. It may be called wherever that may.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_hurry(stop: *const unwedge_stop_t, reason: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { with_reason(stop, reason, |stop, reason| stop.hurry(reason)) }
}

/// Says something to a domain, for a reason; 1 if it was news.
///
/// # Safety
/// See "Pointers" above.
unsafe fn with_reason(
    stop: *const unwedge_stop_t,
    reason: *const c_char,
    say: impl FnOnce(&Stop, &str) -> bool,
) -> c_int {
    blocking(|| {
        // SAFETY: the caller's string (`Call`).
        let reason = unsafe { string(reason) }?.to_string_lossy();
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        // Who is woken may let the caller's count go before this returns.
        Ok(say(&stop, &reason).into())
    })
}

/// Whether the stop was hurried: 1 or 0.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_is_hurried(stop: *const unwedge_stop_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        Ok(unsafe { keep::<Stop>(stop) }?.is_hurried().into())
    })
}

/// Which of the process's domains this is: each has a number of its own, greater than those of all that were made before. So what is left of an old life (a late
/// reply, a line in a log) can be told from the new one's. 0, and the number in `*generation`.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_generation(stop: *const unwedge_stop_t, generation: *mut u64) -> c_int {
    border(|| {
        wanted(generation)?;
        // SAFETY: the caller's handle (`Handle`).
        let number = unsafe { at::<Stop>(stop) }?.generation();
        // SAFETY: the caller's place (`Call`).
        unsafe { give(generation, number) }?;
        Ok(0)
    })
}

/// Whether the stop was requested: 1 or 0. Cheap: one load.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_is_requested(stop: *const unwedge_stop_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        Ok(unsafe { at::<Stop>(stop) }?.is_requested().into())
    })
}

/// Writes why the stop was requested to `place`, as `snprintf` would: at most `size` bytes with the NUL, and the whole length is the result. Nothing, and 0,
/// before it was requested.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_reason(stop: *const unwedge_stop_t, place: *mut c_char, size: usize) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        let reason = unsafe { keep::<Stop>(stop) }?.reason();
        // SAFETY: the caller's memory (`Call`).
        unsafe { write_text(reason.as_deref().unwrap_or(""), place, size) }
    })
}

/// Sleeps for so many nanoseconds (negative: for ever), but not past a stop. 1 if the stop was requested, 0 if the time was up.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_wait(stop: *const unwedge_stop_t, timeout: i64) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        let time = u64::try_from(timeout).map_or(Duration::MAX, Duration::from_nanos);
        Ok(stop.wait_timeout(time).into())
    })
}

/// Starts a thread of the domain: `body(arg)`. A shutdown waits for it and names it if it is late. `name` is what it is called.
///
/// 0 if it was started; otherwise the body is not called. The body ends by returning, never by `pthread_exit`, and is not to be cancelled.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_spawn(
    stop: *const unwedge_stop_t,
    name: *const c_char,
    body: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
) -> c_int {
    blocking(|| {
        // SAFETY: the caller's string (`Call`).
        let name = unsafe { string(name) }?.to_string_lossy();
        let body = body.ok_or(BAD_ARGUMENT)?;
        let arg = Arg(arg);
        // With a count of this call's own: the thread may release the caller's before this returns.
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        let spawned = stop.spawn(&name, move || {
            let _held = CancellationHeld::new();
            // SAFETY: the caller's callback with its own argument (`Callback`).
            unsafe { body(arg.get()) };
        });
        spawned.map(|_| 0).map_err(|error| -error.raw_os_error().unwrap_or(libc::EAGAIN))
    })
}

/// Stops the domain: requests the stop, waits for its threads, runs the plan's phases, closes its I/O. Never longer than the plan's limit.
///
/// `plan` is used up, though its handle still has to be released; NULL is a plan without limit and phases. A caller that holds a lock gives it by `ops` and
/// `lock`: the threads are waited for with it held, and it is let go before the phases. (NULL and NULL where there is none.) No deadlock comes of it: a
/// wait that a stop ends never takes a lock again.
///
/// 1 if everything has ended, 0 if not. In both cases the lock is let go, and if `report` is not NULL the report is yours: release it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_shutdown(
    stop: *const unwedge_stop_t,
    plan: *mut unwedge_plan_t,
    ops: *const unwedge_lock_ops_t,
    lock: *mut c_void,
    report: *mut *mut unwedge_report_t,
) -> c_int {
    blocking(|| {
        if !report.is_null() {
            wanted(report)?;
        }
        let lock = match (ops.is_null(), lock.is_null()) {
            (true, true) => None,
            // SAFETY: the caller's lock and its callbacks (`Callback`), for this call.
            _ => Some(unsafe { Caller::new(ops, lock) }?),
        };
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        let plan = if plan.is_null() {
            Plan::within(Duration::MAX)
        } else {
            // SAFETY: the caller's handle (`Handle`).
            unsafe { at::<Planned>(plan) }?.take()?
        };
        let made = match &lock {
            Some(lock) => stop.shutdown_holding(lock.held(), plan),
            None => stop.shutdown(plan),
        };
        let clean = made.is_clean();
        if !report.is_null() {
            // SAFETY: the caller's place (`Call`).
            unsafe { give(report, Handle::give(made)) }?;
        }
        Ok(clean.into())
    })
}

/// Who of the domain has not ended, and where it waits: to be had at any time, also while everything is stuck. 0, and the report is yours: release it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_stop_report(stop: *const unwedge_stop_t, report: *mut *mut unwedge_report_t) -> c_int {
    blocking(|| {
        wanted(report)?;
        // SAFETY: the caller's handle (`Handle`).
        let made: Report = unsafe { keep::<Stop>(stop) }?.report();
        // SAFETY: the caller's place (`Call`).
        unsafe { give(report, Handle::give(made)) }?;
        Ok(0)
    })
}

/// The library's version.
#[unsafe(no_mangle)]
pub extern "C" fn unwedge_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// A text for a result: what it means here, or else what the C library says of that errno. It lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn unwedge_strerror(result: c_int) -> *const c_char {
    let text = match result.checked_neg() {
        Some(..=0) => c"no error",
        Some(libc::EINVAL) => c"an argument is wrong",
        Some(libc::ECANCELED) => c"stopped: the lock is not held",
        Some(libc::ETIMEDOUT) => c"timed out",
        Some(libc::EOWNERDEAD) => c"abandoned: who owed the result let go of it",
        Some(libc::EBUSY) => c"another call has this completion",
        Some(libc::ENOLCK) => c"the lock could not be taken again",
        Some(libc::ESHUTDOWN) => c"the I/O was shut down",
        Some(libc::ECHILD) => c"the I/O belongs to the process before the fork",
        Some(libc::ENOTRECOVERABLE) => c"unwedge has panicked",
        Some(libc::EAGAIN) => c"a thread could not be started, or there is no result yet",
        Some(errno) => system_text(errno),
        None => c"another error",
    };
    text.as_ptr()
}

/// What the C library says of an errno.
fn system_text(errno: c_int) -> &'static CStr {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    keep_text(text.strip_suffix(&format!(" (os error {errno})")).unwrap_or(&text))
}
