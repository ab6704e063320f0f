//! A lock of the caller's, by callbacks.
//!
//! unwedge takes it again after a notification as its form allows ([`unwedge::lock::ForeignLock`]): with `try_lock_for` in slices in its own queue,
//! with `try_lock` by polling, and with neither plainly, and then a stop that comes during that is seen when the lock is had.
//!
//! # Invariant
//! - **Failed.** A callback that fails (neither "taken" nor "not free") ends the wait, without the lock.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::time::Instant;

use unwedge::lock::{ForeignLock, Lock, Relock};

use crate::border::BAD_ARGUMENT;

/// How a lock of yours is taken and let go. Only looked at during the call that is given it.
///
/// Give as many as the lock has: `lock` and `unlock` must be there. With `try_lock_for` or `try_lock` a stop also reaches a thread that has been
/// notified and waits to have the lock again. With `lock` alone such a thread waits in the lock's queue, and sees a stop when it has got the lock, which
/// it then lets go: whether that is bounded is up to who holds the lock.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct unwedge_lock_ops_t {
    /// Takes the lock, and waits for it. 0 if it was taken, else an errno.
    pub lock: Option<unsafe extern "C" fn(lock: *mut c_void) -> c_int>,
    /// Lets the lock go.
    pub unlock: Option<unsafe extern "C" fn(lock: *mut c_void)>,
    /// Takes the lock if it is free. 0 if it was taken, EBUSY if it is not free, else an errno. NULL if there is none.
    pub try_lock: Option<unsafe extern "C" fn(lock: *mut c_void) -> c_int>,
    /// As `try_lock`, and waits for it so long: nanoseconds. ETIMEDOUT or EBUSY if the time was up. NULL if there is none.
    pub try_lock_for: Option<unsafe extern "C" fn(lock: *mut c_void, nanoseconds: i64) -> c_int>,
    /// NULL, for what a later version has.
    pub reserved: [*mut c_void; 4],
}

/// The caller's lock, for the time of one call.
pub(crate) struct Caller {
    ops: unwedge_lock_ops_t,
    lock_fn: unsafe extern "C" fn(*mut c_void) -> c_int,
    unlock_fn: unsafe extern "C" fn(*mut c_void),
    lock: *mut c_void,
    /// Whether a callback has failed.
    failed: Cell<bool>,
}

impl Caller {
    /// Looks at what the caller gave.
    ///
    /// # Safety
    /// `ops` is NULL or can be read (`Call`), and its callbacks are for `lock` (`Callback`).
    pub(crate) unsafe fn new(ops: *const unwedge_lock_ops_t, lock: *mut c_void) -> Result<Self, c_int> {
        if ops.is_null() || !ops.is_aligned() || lock.is_null() {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: neither NULL nor unaligned, and the rest is this function's own condition.
        let ops = unsafe { *ops };
        match (ops.lock, ops.unlock) {
            (Some(lock_fn), Some(unlock_fn)) if ops.reserved.iter().all(|word| word.is_null()) => {
                Ok(Caller { ops, lock_fn, unlock_fn, lock, failed: Cell::new(false) })
            }
            _ => Err(BAD_ARGUMENT),
        }
    }

    /// The lock, which the caller holds.
    pub(crate) fn held(&self) -> Held<'_> {
        Held(self)
    }

    /// Whether a callback has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// What a callback said.
    fn taken(&self, code: c_int) -> Option<Held<'_>> {
        match code.saturating_abs() {
            0 => return Some(Held(self)),
            libc::EBUSY | libc::ETIMEDOUT | libc::EAGAIN => {}
            _ => self.failed.set(true),
        }
        None
    }

    /// Waits for it: so whatever errno comes is a failure, and none says that it is not free.
    fn plainly(&self) -> Option<Held<'_>> {
        // SAFETY: the caller's callback with the caller's lock (`Callback`), within the call (`Call`).
        let taken = self.taken(unsafe { (self.lock_fn)(self.lock) });
        if taken.is_none() {
            self.failed.set(true);
        }
        taken
    }

    fn if_free(&self) -> Option<Held<'_>> {
        let try_lock = self.ops.try_lock?;
        // SAFETY: as in `plainly`.
        self.taken(unsafe { try_lock(self.lock) })
    }

    fn until(&self, deadline: Instant) -> Option<Held<'_>> {
        let try_lock_for = self.ops.try_lock_for?;
        let left = deadline.saturating_duration_since(Instant::now()).as_nanos();
        // SAFETY: as in `plainly`.
        self.taken(unsafe { try_lock_for(self.lock, i64::try_from(left).unwrap_or(i64::MAX)) })
    }
}

/// Proof that the caller's lock is held.
pub(crate) struct Held<'a>(&'a Caller);

impl Held<'_> {
    /// The lock stays held: it is the caller's again.
    pub(crate) fn back(self) {
        let _kept = ManuallyDrop::new(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `Caller::plainly`; the lock is held.
        unsafe { (self.0.unlock_fn)(self.0.lock) };
    }
}

impl Lock for Caller {
    type Guard<'a> = Held<'a>;

    fn try_lock(&self) -> Option<Held<'_>> {
        self.if_free()
    }
}

impl ForeignLock for Caller {
    fn relock(&self, stopped: &dyn Fn() -> bool) -> Option<Held<'_>> {
        // A callback that failed ends the wait as a stop does: without the lock.
        let over = || self.failed.get() || stopped();
        if self.ops.try_lock_for.is_some() {
            Timed(self).relock(&over)
        } else if self.ops.try_lock.is_some() {
            Polled(self).relock(&over)
        } else {
            Plain(self).relock(&over)
        }
    }
}

/// The three ways of [`Relock`], which are constants of a type.
struct Timed<'l>(&'l Caller);
struct Polled<'l>(&'l Caller);
struct Plain<'l>(&'l Caller);

macro_rules! way {
    ($way:ident, $relock:expr, $try_lock:expr, $lock_until:expr) => {
        impl<'l> Lock for $way<'l> {
            type Guard<'a>
                = Held<'l>
            where
                Self: 'a;

            fn try_lock(&self) -> Option<Held<'l>> {
                $try_lock(self.0)
            }
        }

        impl<'l> ForeignLock for $way<'l> {
            const RELOCK: Relock = $relock;

            fn lock_until(&self, until: Instant) -> Option<Held<'l>> {
                $lock_until(self.0, until)
            }
        }
    };
}

way!(Timed, Relock::Timed, Caller::if_free, Caller::until);
way!(Polled, Relock::Backoff, Caller::if_free, |lock: &'l Caller, _| lock.if_free());
way!(Plain, Relock::Plain, Caller::if_free, |lock: &'l Caller, _| lock.plainly());
