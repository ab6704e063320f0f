//! Monitors: a lock of the caller's type that the library keeps, taken and waited with by stoppable calls.
//!
//! # Invariants
//! - **Kept.** The lock lies in memory of the library's, from the monitor's making to the end of its last count; so no pointer to memory of the caller's is kept.
//! - **Holder.** `held` is touched by who holds the lock, and by nobody else: it is filled after the lock was taken, and emptied before it is let go. `holder`
//!   says which thread that is, so that another one is refused.
//! - **Lent.** A guard borrows a monitor, which does not move (it is in an `Arc`), and a domain: `Taken` has a count of each beside the guard, and drops them
//!   after it. So who holds the lock has a count of the monitor, from the call that took it to the one that lets it go, and a release by anybody frees nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use unwedge::lock::Lock;
use unwedge::{Monitor, MonitorGuard, Stop, WaitError};

use crate::border::{
    BAD_ARGUMENT, CancellationHeld, Given, STOPPED, TIMED_OUT, blocking, border, deadline, give, string, wanted,
};
use crate::completion::{Completing, unwedge_completion_t};
use crate::condvar::{Waited, unwedge_condvar_t};
use crate::handle::{Handle, Kind, at, count, keep, take};
use crate::names::forever;
use crate::stop::unwedge_stop_t;

/// A monitor: a lock, and the queue of those who want it.
pub struct unwedge_monitor_t {
    _opaque: (),
}

/// How a monitor's lock is made, taken, let go and ended. Only looked at while a monitor is made.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct unwedge_monitor_ops_t {
    /// How many bytes it takes, with whatever else is to lie beside it.
    pub size: usize,
    /// Its alignment: a power of two.
    pub align: usize,
    /// Makes it at `place`, of which all bytes are 0. 0, or an errno: then nothing was made.
    pub make: Option<unsafe extern "C" fn(place: *mut c_void, arg: *mut c_void) -> c_int>,
    /// Ends it. NULL if there is nothing to do.
    pub end: Option<unsafe extern "C" fn(place: *mut c_void)>,
    /// Takes it if it is free. 0 if it was taken, else EBUSY: and that only while somebody holds it.
    pub try_lock: Option<unsafe extern "C" fn(place: *mut c_void) -> c_int>,
    /// Lets it go.
    pub unlock: Option<unsafe extern "C" fn(place: *mut c_void)>,
    /// NULL, for what a later version has.
    pub reserved: [*mut c_void; 4],
}

/// The lock, where the library keeps it.
pub(crate) struct Keeper {
    place: NonNull<u8>,
    layout: Layout,
    end: Option<unsafe extern "C" fn(*mut c_void)>,
    try_lock: unsafe extern "C" fn(*mut c_void) -> c_int,
    unlock: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: what lies there is a lock, and what it protects: to be used from any thread, as the caller was told (`Callback`).
unsafe impl Send for Keeper {}
// SAFETY: as above.
unsafe impl Sync for Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            let _held = CancellationHeld::new();
            // SAFETY: the caller's callback for what it has made there (`Callback`), which nobody uses any more (`Kept`).
            unsafe { end(self.place.as_ptr().cast()) };
        }
        // SAFETY: it was allocated with this layout, and is freed once.
        unsafe { dealloc(self.place.as_ptr(), self.layout) };
    }
}

/// Proof that it is held.
pub(crate) struct Guard<'a>(&'a Keeper);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: the caller's callback for what it has made there (`Callback`), which is held.
        unsafe { (self.0.unlock)(self.0.place.as_ptr().cast()) };
    }
}

impl Lock for Keeper {
    type Guard<'a> = Guard<'a>;

    fn try_lock(&self) -> Option<Guard<'_>> {
        // SAFETY: the caller's callback for what it has made there (`Callback`).
        (unsafe { (self.try_lock)(self.place.as_ptr().cast()) } == 0).then(|| Guard(self))
    }
}

/// What who holds the lock has. In this order: the guard goes first.
struct Taken {
    guard: MonitorGuard<'static, Keeper>,
    counts: Counts,
}

/// What a guard borrows (`Lent`).
struct Counts {
    monitored: Arc<Handle<Monitored>>,
    /// `None` where it is the monitor's own.
    _domain: Option<Arc<Handle<Stop>>>,
}

pub(crate) struct Monitored {
    held: UnsafeCell<Option<Taken>>,
    holder: AtomicUsize,
    /// Where the lock lies.
    place: *mut u8,
    monitor: Arc<Monitor<Keeper>>,
}

// SAFETY: `held` is touched by who holds the lock alone (`Holder`); a guard is only moved and dropped, and where a lock minds the thread, that is the same.
unsafe impl Send for Monitored {}
// SAFETY: as above.
unsafe impl Sync for Monitored {}

impl Kind for Monitored {
    type Name = unwedge_monitor_t;
    const TAG: u32 = 0x7577_6d6f;
}

/// This thread: a number that no other thread has or has had, greater than 0.
fn me() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static ME: Cell<usize> = const { Cell::new(0) };
    }
    let me = ME.get();
    if me != 0 {
        return me;
    }
    // Ordering: Relaxed: a number.
    ME.set(LAST.fetch_add(1, Relaxed) + 1);
    ME.get()
}

impl Monitored {
    pub(crate) fn monitor(&self) -> &Arc<Monitor<Keeper>> {
        &self.monitor
    }

    /// Whether this thread holds it. Ordering: Relaxed, because only this thread writes its own number, and takes it out.
    fn is_mine(&self) -> bool {
        self.holder.load(Relaxed) == me()
    }

    /// The guard of this thread, which holds the lock.
    fn empty(&self) -> Result<Taken, c_int> {
        if !self.is_mine() {
            return Err(-libc::EPERM);
        }
        self.holder.store(0, Relaxed);
        // SAFETY: this thread holds the lock (`Holder`).
        unsafe { (*self.held.get()).take() }.ok_or(-libc::EPERM)
    }
}

impl Counts {
    /// Takes the lock in the monitor's own domain.
    fn take(monitored: Arc<Handle<Monitored>>, until: Option<Instant>) -> Result<(), c_int> {
        if monitored.is_mine() {
            return Err(-libc::EDEADLK);
        }
        let counts = Counts { monitored, _domain: None };
        let monitor = &counts.monitored.monitor;
        let taken = match until {
            Some(until) => monitor.lock_until(until),
            None => monitor.lock().map_err(WaitError::from),
        };
        let guard = taken.map_err(|error| if error.is_stopped() { STOPPED } else { TIMED_OUT })?;
        // SAFETY: `counts` goes where it goes.
        let guard = unsafe { lent(guard) };
        counts.fill(guard);
        Ok(())
    }

    /// Takes the lock in another domain than the monitor's.
    fn take_in(monitored: Arc<Handle<Monitored>>, domain: &Arc<Handle<Stop>>) -> Result<(), c_int> {
        if monitored.is_mine() {
            return Err(-libc::EDEADLK);
        }
        let counts = Counts { monitored, _domain: Some(Arc::clone(domain)) };
        let guard = counts.monitored.monitor.lock_in(domain).map_err(|_| STOPPED)?;
        // SAFETY: `counts` goes where it goes, with a count of the domain.
        let guard = unsafe { lent(guard) };
        counts.fill(guard);
        Ok(())
    }

    /// Keeps a guard that was just taken.
    fn fill(self, guard: MonitorGuard<'static, Keeper>) {
        let held = self.monitored.held.get();
        self.monitored.holder.store(me(), Relaxed);
        // SAFETY: this thread holds the lock (`Holder`), and `held` is in the Arc that goes there.
        unsafe { *held = Some(Taken { guard, counts: self }) };
    }
}

/// Lets a guard outlive the borrow by which it was taken.
///
/// # Safety
/// Counts of what it borrows are kept beside it (`Lent`).
unsafe fn lent(guard: MonitorGuard<'_, Keeper>) -> MonitorGuard<'static, Keeper> {
    // SAFETY: only the lifetime changes: what it borrows lives as long as it does, by this function's own condition.
    unsafe { transmute::<MonitorGuard<'_, Keeper>, MonitorGuard<'static, Keeper>>(guard) }
}

/// Runs something with a monitor's lock, taken in a domain, and lets it go afterwards if that was not done before.
pub(crate) fn holding<R>(
    monitored: Arc<Handle<Monitored>>,
    domain: &Arc<Handle<Stop>>,
    run: impl FnOnce() -> R,
) -> Result<R, c_int> {
    Counts::take_in(Arc::clone(&monitored), domain)?;
    let given = run();
    drop(monitored.empty());
    Ok(given)
}

/// Makes a monitor of the domain `stop`. 0, and the handle is yours: release it. `name` is what it is called in reports: few different names. `arg` is for
/// `ops->make`, which is called within this.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_new(
    stop: *const unwedge_stop_t,
    name: *const c_char,
    ops: *const unwedge_monitor_ops_t,
    arg: *mut c_void,
    monitor: *mut *mut unwedge_monitor_t,
) -> c_int {
    blocking(|| {
        wanted(monitor)?;
        if ops.is_null() || !ops.is_aligned() {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: the caller's memory (`Call`).
        let ops = unsafe { *ops };
        // SAFETY: the caller's string (`Call`).
        let name = forever(unsafe { string(name) }?);
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        let (Some(make), Some(try_lock), Some(unlock)) = (ops.make, ops.try_lock, ops.unlock) else {
            return Err(BAD_ARGUMENT);
        };
        let layout = Layout::from_size_align(ops.size, ops.align).map_err(|_| BAD_ARGUMENT)?;
        if ops.size == 0 || ops.reserved.iter().any(|word| !word.is_null()) {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: the size is not 0.
        let place = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(-libc::ENOMEM)?;
        // Without an end until it was made.
        let mut keeper = Keeper { place, layout, end: None, try_lock, unlock };
        // SAFETY: the caller's callback (`Callback`) for memory of the size and alignment that it has named.
        let made = unsafe { make(place.as_ptr().cast(), arg) };
        if made != 0 {
            return Err(-made.saturating_abs());
        }
        keeper.end = ops.end;
        let monitored = Monitored {
            held: UnsafeCell::new(None),
            holder: AtomicUsize::new(0),
            place: place.as_ptr(),
            monitor: Arc::new(Monitor::new(name, keeper, &stop)),
        };
        // SAFETY: the caller's place (`Call`).
        unsafe { give(monitor, Handle::give(monitored)) }?;
        Ok(0)
    })
}

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_ref(monitor: *const unwedge_monitor_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Monitored>(monitor) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. With the last count the lock is ended; who waits for it, and who holds it until it is let go, has a count too.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_release(monitor: *mut unwedge_monitor_t) {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Monitored>(monitor) }?);
        Ok(0)
    });
}

/// Where the lock lies: what `ops->make` was given. NULL if the handle is not a monitor's.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_place(monitor: *const unwedge_monitor_t) -> *mut c_void {
    // SAFETY: the caller's handle (`Handle`).
    match unsafe { at::<Monitored>(monitor) } {
        Ok(monitored) => monitored.place.cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

/// Takes the lock, and waits for it for `timeout` nanoseconds (negative: for ever) and until a stop of its domain. 0 if it was taken; -ECANCELED, -ETIMEDOUT;
/// -EDEADLK if this thread holds it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_lock(monitor: *const unwedge_monitor_t, timeout: i64) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        Counts::take(unsafe { keep::<Monitored>(monitor) }?, deadline(timeout))?;
        Ok(0)
    })
}

/// As `unwedge_monitor_lock`, for a domain other than the monitor's own: a phase of a shutdown. A stop of that one ends the wait, and those with the lock.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_lock_in(
    monitor: *const unwedge_monitor_t,
    stop: *const unwedge_stop_t,
) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        // SAFETY: the caller's handle (`Handle`).
        Counts::take_in(unsafe { keep::<Monitored>(monitor) }?, &stop)?;
        Ok(0)
    })
}

/// Lets the lock go. -EPERM if this thread does not hold it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_unlock(monitor: *const unwedge_monitor_t) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        drop(unsafe { at::<Monitored>(monitor) }?.empty()?);
        Ok(0)
    })
}

/// Waits for a notification, by who holds the lock: it is let go meanwhile. 0 and -ETIMEDOUT with the lock held; -ECANCELED without; -EPERM if this thread does not
/// hold it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_wait(
    monitor: *const unwedge_monitor_t,
    condvar: *const unwedge_condvar_t,
    timeout: i64,
) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        let condvar = unsafe { keep::<Waited>(condvar) }?;
        // SAFETY: the caller's handle (`Handle`).
        let monitored = unsafe { at::<Monitored>(monitor) }?;
        if !monitored.is_mine() {
            return Err(-libc::EPERM);
        }
        let waiting = condvar.begin();
        let Taken { guard, counts } = monitored.empty()?;
        let (guard, timed_out) = match deadline(timeout) {
            Some(until) => {
                let timed = guard.wait_until(&waiting, until).map_err(|_| STOPPED)?;
                (timed.guard, timed.timed_out)
            }
            None => (guard.wait(&waiting).map_err(|_| STOPPED)?, false),
        };
        counts.fill(guard);
        if timed_out { Err(TIMED_OUT) } else { Ok(0) }
    })
}

/// Waits for a completion, by who holds the lock: it is let go meanwhile. 0 with the lock held, and `*result` as `unwedge_completion_wait` gives it; -ECANCELED
/// without the lock; -EBUSY and -EPERM with nothing done. What an earlier wait has given is given again, also after a stop.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_monitor_wait_for(
    monitor: *const unwedge_monitor_t,
    completion: *const unwedge_completion_t,
    result: *mut i64,
) -> c_int {
    blocking(|| {
        wanted(result)?;
        // SAFETY: the caller's handle (`Handle`).
        let completion = unsafe { keep::<Completing>(completion) }?;
        // SAFETY: the caller's handle (`Handle`).
        let monitored = unsafe { at::<Monitored>(monitor) }?;
        let mut state = completion.state()?;
        let Taken { guard, counts } = monitored.empty()?;
        let (guard, given) = state.wait_in_monitor(guard).map_err(|_| STOPPED)?;
        counts.fill(guard);
        let code: Given = given.map(|given| {
            // SAFETY: the caller's place (`Call`), which can be written.
            unsafe { result.write(given) };
            0
        });
        code
    })
}
