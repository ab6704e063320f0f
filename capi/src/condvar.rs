//! Condition variables over a lock of the caller's.

use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use unwedge::Condvar;

use crate::border::{Given, NO_LOCK, STOPPED, TIMED_OUT, blocking, border, deadline, give, wanted};
use crate::handle::{Handle, Kind, at, count, keep, take};
use crate::lock::{Caller, unwedge_lock_ops_t};
use crate::stop::unwedge_stop_t;

/// A condition variable, over whatever lock its waiters hold.
pub struct unwedge_condvar_t {
    _opaque: (),
}

/// A condition variable, and how many calls wait on it: so that a notification without waiters is one load, also after the first wait,
/// and none of this library's where the caller reads the number itself.
///
/// A waiter counts itself while it holds its lock, and who notifies has changed what is waited for under that lock: the lock orders the two.
#[derive(Default)]
pub(crate) struct Waited {
    condvar: Condvar,
    waits: AtomicUsize,
}

/// A call that waits, until it is dropped.
pub(crate) struct Waiting<'a>(&'a Waited);

impl Waited {
    /// Counts a call that waits. The caller holds its lock.
    pub(crate) fn begin(&self) -> Waiting<'_> {
        // Ordering: Relaxed, ordered by the caller's lock: see above.
        self.waits.fetch_add(1, Relaxed);
        Waiting(self)
    }

    fn has_waiters(&self) -> bool {
        // Ordering: Relaxed, ordered by the caller's lock: see above.
        self.waits.load(Relaxed) != 0
    }
}

impl Deref for Waiting<'_> {
    type Target = Condvar;

    fn deref(&self) -> &Condvar {
        &self.0.condvar
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Ordering: Relaxed: who still sees it counted looks for nobody in vain.
        self.0.waits.fetch_sub(1, Relaxed);
    }
}

impl Kind for Waited {
    type Name = unwedge_condvar_t;
    const TAG: u32 = 0x7577_6376;
}

/// Makes a condition variable. 0, and the handle is yours: release it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_new(condvar: *mut *mut unwedge_condvar_t) -> c_int {
    border(|| {
        wanted(condvar)?;
        // SAFETY: the caller's place (`Call`).
        unsafe { give(condvar, Handle::give(Waited::default())) }?;
        Ok(0)
    })
}

/// Counts the handle once more: it is released as often as it was made or counted.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_ref(condvar: *const unwedge_condvar_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Waited>(condvar) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. Who waits on it meanwhile is waited on to its end.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_release(condvar: *mut unwedge_condvar_t) {
    border(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Waited>(condvar) }?);
        Ok(0)
    });
}

/// Wakes the thread that has waited longest. 1 if there was one, 0 if not.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_notify_one(condvar: *const unwedge_condvar_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        if !unsafe { at::<Waited>(condvar) }?.has_waiters() {
            return Ok(0);
        }
        // Who is woken may let the last count go before this returns.
        // SAFETY: as above.
        let waited = unsafe { keep::<Waited>(condvar) }?;
        Ok(waited.condvar.notify_one().into())
    })
}

/// Wakes everybody who waits now. How many that were.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_notify_all(condvar: *const unwedge_condvar_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        if !unsafe { at::<Waited>(condvar) }?.has_waiters() {
            return Ok(0);
        }
        // As in `unwedge_condvar_notify_one`.
        // SAFETY: as above.
        let waited = unsafe { keep::<Waited>(condvar) }?;
        Ok(c_int::try_from(waited.condvar.notify_all()).unwrap_or(c_int::MAX))
    })
}

/// Where the number of calls that wait on it stands: while it is 0 a notification wakes nobody, and whoever has changed what is waited for may leave it out,
/// which saves the call. Read it atomically (C++: `__atomic_load_n(*waits, __ATOMIC_RELAXED)`), after the change under the lock, and do not write to it. It is
/// there for as long as the handle.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_waits(condvar: *const unwedge_condvar_t, waits: *mut *const usize) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        let condvar = unsafe { at::<Waited>(condvar) }?;
        wanted(waits)?;
        // SAFETY: the caller's place (`Call`).
        unsafe { give(waits, ptr::from_ref(&condvar.waits).cast()) }?;
        Ok(0)
    })
}

/// Lets your lock go, waits for a notification and takes the lock again. The caller holds `lock`, by whose `ops` it is let go and taken.
///
/// `timeout` is in nanoseconds; negative is for ever. As with every condition variable it may return 0 without a notification: wait in a loop. A change of
/// what is waited for is made under the lock.
///
/// | result | what happened | the lock |
/// |---|---|---|
/// | 0 | notified | held |
/// | -ETIMEDOUT | the time was up | held |
/// | -ECANCELED | a stop of `stop` | **not held**, and not to be taken for what follows: return |
/// | -ENOLCK | a callback of `ops` failed | not held |
/// | -EINVAL | an argument is wrong; nothing was done | held |
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_condvar_wait(
    condvar: *const unwedge_condvar_t,
    stop: *const unwedge_stop_t,
    ops: *const unwedge_lock_ops_t,
    lock: *mut c_void,
    timeout: i64,
) -> c_int {
    blocking(|| {
        // SAFETY: the caller's lock and its callbacks (`Callback`), for this call.
        let lock = unsafe { Caller::new(ops, lock) }?;
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<unwedge::Stop>(stop) }?;
        // SAFETY: the caller's handle (`Handle`).
        let condvar = unsafe { keep::<Waited>(condvar) }?;
        let waiting = condvar.begin();
        wait(&waiting, &stop, &lock, timeout)
    })
}

fn wait(condvar: &Condvar, stop: &unwedge::Stop, lock: &Caller, timeout: i64) -> Given {
    let held = lock.held();
    let waited = match deadline(timeout) {
        Some(until) => condvar.wait_until(stop, lock, held, until).map(|timed| (timed.guard, timed.timed_out)),
        None => condvar.wait(stop, lock, held).map(|held| (held, false)),
    };
    match waited {
        Ok((held, timed_out)) => {
            held.back();
            if timed_out { Err(TIMED_OUT) } else { Ok(0) }
        }
        Err(_) if lock.has_failed() && !stop.is_requested() => Err(NO_LOCK),
        Err(_) => Err(STOPPED),
    }
}
