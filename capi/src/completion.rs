//! One-shot results: the caller's own, and those of I/O.
//!
//! # Invariant
//! - **Given.** Once the state is `Given` its content changes only by `unwedge_completion_take`: what `unwedge_completion_bytes` has lent stays where it
//!   is until the handle's last count is released.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, Weak};
use std::time::Instant;

use unwedge::io::{ExternalCompleter, ExternalCompletion, File, IoError, Metadata};
use unwedge::lock::{ForeignLock, Lock};
use unwedge::{Abandoned, Completer, Completion, MonitorGuard, Stop, Stopped, WaitError};

use crate::border::{
    ABANDONED, Arg, BAD_ARGUMENT, BUSY, CancellationHeld, NO_LOCK, NOT_YET, Owned, STOPPED, TIMED_OUT, blocking,
    border, deadline, give, string, wanted,
};
use crate::claim::{Claim, Claimed};
use crate::handle::{Handle, Kind, at, count, keep, take};
use crate::lock::{Caller, unwedge_lock_ops_t};
use crate::names::forever;
use crate::stop::unwedge_stop_t;

/// A result that somebody owes.
pub struct unwedge_completion_t {
    _opaque: (),
}

/// Who owes a completion its result.
pub struct unwedge_completer_t {
    _opaque: (),
}

/// Frees a value that nobody wants.
type Free = Option<unsafe extern "C" fn(value: *mut c_void)>;

/// What the caller's own completions carry.
pub(crate) struct Payload {
    result: i64,
    /// `None` once it was taken.
    value: Option<Arg>,
    free: Free,
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let (Some(free), Some(value)) = (self.free, self.value) {
            if !value.0.is_null() {
                let _held = CancellationHeld::new();
                // SAFETY: the caller's callback for the caller's value (`Callback`), which nobody has taken and this drop is the last to have.
                unsafe { free(value.0) };
            }
        }
    }
}

/// What is waited for.
pub(crate) enum Owed {
    Own(Completion<Payload>),
    External(ExternalCompletion<Payload>),
    Bytes(Completion<Vec<u8>, IoError<Vec<u8>>>),
    Written(Completion<Vec<u8>, IoError<Vec<u8>>>),
    File(Completion<File, IoError>),
    Stat(Completion<Metadata, IoError>),
    Done(Completion<(), IoError>),
}

/// What came of it.
pub(crate) struct Outcome {
    result: i64,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    None,
    Value(Payload),
    Bytes(Vec<u8>),
    File(File),
    Stat(Box<Metadata>),
}

enum State {
    Owed(Owed),
    Given(Outcome),
    /// A callback will have it.
    Away,
}

/// A completion as its handle has it. Whoever has claimed it waits for it; nobody waits for a claim.
pub(crate) struct Completing(Claimed<State>);

impl Kind for Completing {
    type Name = unwedge_completion_t;
    const TAG: u32 = 0x7577_636f;
}

/// The other end. `None` once it was used.
pub(crate) struct Owing(Claimed<Option<Ower>>, Free);

enum Ower {
    Own(Completer<Payload>),
    /// With the argument of the hook that was set last. A call that sets another keeps it, and lets it go when it has the claim no more: the caller frees it.
    External(ExternalCompleter<Payload>, Weak<Owned>),
}

impl Owing {
    /// Other calls have it for a moment only: none of them waits or calls back.
    fn claimed(&self) -> Claim<'_, Option<Ower>> {
        loop {
            match self.0.claim() {
                Some(claim) => return claim,
                None => std::thread::yield_now(),
            }
        }
    }
}

impl Kind for Owing {
    type Name = unwedge_completer_t;
    const TAG: u32 = 0x7577_6f77;
}

fn code<B>(error: &IoError<B>) -> i64 {
    let errno = match error.raw_os_error() {
        Some(errno) => errno,
        None if error.is_closed() => libc::ESHUTDOWN,
        None if error.is_abandoned() => libc::EOWNERDEAD,
        None if error.is_timed_out() => libc::ETIMEDOUT,
        None if error.is_forked() => libc::ECHILD,
        None if error.kind() == std::io::ErrorKind::InvalidInput => libc::EINVAL,
        None => libc::EIO,
    };
    -i64::from(errno)
}

impl Outcome {
    const fn bare(result: i64) -> Self {
        Outcome { result, content: Content::None }
    }

    fn payload(result: Result<Payload, Abandoned>) -> Self {
        match result {
            Ok(payload) => Outcome { result: payload.result, content: Content::Value(payload) },
            Err(Abandoned) => Outcome::bare(i64::from(ABANDONED)),
        }
    }

    fn of<T, B>(result: Result<T, IoError<B>>, given: impl FnOnce(T) -> Outcome) -> Self {
        match result {
            Ok(value) => given(value),
            Err(error) => Outcome::bare(code(&error)),
        }
    }
}

/// Calls `$run` with the completion and with what makes an [`Outcome`] of its result.
macro_rules! each {
    ($owed:expr, |$completion:ident, $outcome:ident| $run:expr) => {
        match $owed {
            Owed::Own($completion) => {
                let $outcome = Outcome::payload;
                $run
            }
            Owed::External($completion) => {
                let $outcome = Outcome::payload;
                $run
            }
            Owed::Bytes($completion) => {
                let $outcome = |result| {
                    Outcome::of(result, |bytes: Vec<u8>| Outcome {
                        result: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
                        content: Content::Bytes(bytes),
                    })
                };
                $run
            }
            Owed::Written($completion) => {
                let $outcome = |result| {
                    Outcome::of(result, |bytes: Vec<u8>| Outcome::bare(i64::try_from(bytes.len()).unwrap_or(i64::MAX)))
                };
                $run
            }
            Owed::File($completion) => {
                let $outcome = |result| Outcome::of(result, |file| Outcome { result: 0, content: Content::File(file) });
                $run
            }
            Owed::Stat($completion) => {
                let $outcome =
                    |result| Outcome::of(result, |stat| Outcome { result: 0, content: Content::Stat(Box::new(stat)) });
                $run
            }
            Owed::Done($completion) => {
                let $outcome = |result| Outcome::of(result, |()| Outcome::bare(0));
                $run
            }
        }
    };
}

fn wait_one<T, E: From<Abandoned>>(
    completion: &mut Completion<T, E>,
    stop: Option<&Stop>,
    until: Option<Instant>,
) -> Result<Result<T, E>, WaitError> {
    match (stop, until) {
        (None, None) => completion.wait().map_err(WaitError::from),
        (None, Some(until)) => completion.wait_until(until),
        (Some(stop), None) => completion.wait_in(stop).map_err(WaitError::from),
        (Some(stop), Some(until)) => completion.wait_in_until(stop, until),
    }
}

impl Owed {
    fn wait(&mut self, stop: Option<&Stop>, until: Option<Instant>) -> Result<Outcome, WaitError> {
        each!(self, |completion, outcome| wait_one(completion, stop, until).map(outcome))
    }

    fn is_complete(&self) -> bool {
        match self {
            Owed::Own(completion) => completion.is_complete(),
            Owed::External(completion) => completion.is_complete(),
            Owed::Bytes(completion) | Owed::Written(completion) => completion.is_complete(),
            Owed::File(completion) => completion.is_complete(),
            Owed::Stat(completion) => completion.is_complete(),
            Owed::Done(completion) => completion.is_complete(),
        }
    }
}

impl Completing {
    pub(crate) fn of(owed: Owed) -> Self {
        Completing(Claimed::new(State::Owed(owed)))
    }

    /// The state, unless another call has it.
    pub(crate) fn state(&self) -> Result<Opened<'_>, c_int> {
        self.0.claim().map(Opened).ok_or(BUSY)
    }
}

/// A completion that this call has.
pub(crate) struct Opened<'a>(Claim<'a, State>);

impl Opened<'_> {
    /// What came of it, if it was given.
    pub(crate) fn outcome(&mut self) -> Result<&mut Outcome, c_int> {
        match &mut *self.0 {
            State::Given(outcome) => Ok(outcome),
            State::Owed(_) => Err(NOT_YET),
            State::Away => Err(BUSY),
        }
    }

    fn is_complete(&self) -> bool {
        match &*self.0 {
            State::Owed(owed) => owed.is_complete(),
            State::Given(_) => true,
            State::Away => false,
        }
    }

    /// Waits for it. What is given stays.
    fn wait(&mut self, stop: Option<&Stop>, until: Option<Instant>) -> Result<i64, c_int> {
        if stop.is_some_and(Stop::is_requested) {
            return Err(STOPPED);
        }
        match &mut *self.0 {
            State::Given(outcome) => Ok(outcome.result),
            State::Away => Err(BUSY),
            State::Owed(owed) => match owed.wait(stop, until) {
                Ok(outcome) => {
                    let result = outcome.result;
                    *self.0 = State::Given(outcome);
                    Ok(result)
                }
                Err(WaitError::Stopped) => Err(STOPPED),
                Err(WaitError::TimedOut) => Err(TIMED_OUT),
            },
        }
    }

    /// As [`wait`](Self::wait), with the caller's lock let go meanwhile.
    fn wait_unlocked(&mut self, stop: &Stop, lock: &Caller, until: Option<Instant>) -> Result<i64, c_int> {
        let held = lock.held();
        if self.is_complete() && !stop.is_requested() {
            // A stop may come in between, and who is stopped has the lock no more (L2).
            let waited = self.wait(Some(stop), until);
            if waited != Err(STOPPED) {
                held.back();
            }
            return waited;
        }
        drop(held);
        let waited = match self.wait(Some(stop), until) {
            Err(code) if code != TIMED_OUT => return Err(code),
            waited => waited,
        };
        match lock.relock(&|| stop.is_requested()) {
            Some(held) => held.back(),
            None if lock.has_failed() && !stop.is_requested() => return Err(NO_LOCK),
            None => return Err(STOPPED),
        }
        waited
    }
}

impl Opened<'_> {
    /// As [`wait`](Self::wait), by who holds a monitor's lock, which comes back unless a stop ended the wait.
    pub(crate) fn wait_in_monitor<'a, L: Lock>(
        &mut self,
        guard: MonitorGuard<'a, L>,
    ) -> Result<(MonitorGuard<'a, L>, Result<i64, c_int>), Stopped> {
        let (guard, outcome) = match &mut *self.0 {
            State::Given(outcome) => return Ok((guard, Ok(outcome.result))),
            State::Away => return Ok((guard, Err(BUSY))),
            State::Owed(owed) => each!(owed, |completion, outcome| {
                guard.wait_for(completion).map(|(guard, result)| (guard, outcome(result)))
            })?,
        };
        let result = outcome.result;
        *self.0 = State::Given(outcome);
        Ok((guard, Ok(result)))
    }
}

/// Makes a completion and the completer that owes it. 0, and both handles are yours: release each.
///
/// `what` is what it is called in reports: few different names, not one for each operation. `free_value` frees a value that nobody takes; NULL if values need
/// none. A stop of `stop` ends the waits for it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_new(
    stop: *const unwedge_stop_t,
    what: *const c_char,
    free_value: Option<unsafe extern "C" fn(value: *mut c_void)>,
    completion: *mut *mut unwedge_completion_t,
    completer: *mut *mut unwedge_completer_t,
) -> c_int {
    border(|| {
        wanted(completion)?;
        wanted(completer)?;
        // SAFETY: the caller's string (`Call`).
        let what = forever(unsafe { string(what) }?);
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { at::<Stop>(stop) }?;
        let (owes, owed) = Completion::new(what, stop);
        let owing = Owing(Claimed::new(Some(Ower::Own(owes))), free_value);
        // SAFETY: the caller's places (`Call`).
        unsafe { give(completion, Handle::give(Completing::of(Owed::Own(owed)))) }?;
        // SAFETY: as above.
        unsafe { give(completer, Handle::give(owing)) }?;
        Ok(0)
    })
}

/// The two handles of an external operation.
///
/// # Safety
/// The places can be written (`Call`).
pub(crate) unsafe fn give_external(
    (owes, owed): (ExternalCompleter<Payload>, ExternalCompletion<Payload>),
    free: Free,
    completion: *mut *mut unwedge_completion_t,
    completer: *mut *mut unwedge_completer_t,
) -> Result<(), c_int> {
    let owing = Owing(Claimed::new(Some(Ower::External(owes, Weak::new()))), free);
    // SAFETY: this function's own condition.
    unsafe { give(completion, Handle::give(Completing::of(Owed::External(owed)))) }?;
    // SAFETY: as above.
    unsafe { give(completer, Handle::give(owing)) }
}

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_ref(completion: *const unwedge_completion_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Completing>(completion) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. With the last count nobody wants the result any more: a value that comes later is freed, and what it lent
/// (`unwedge_completion_bytes`) is gone. What the kernel or a client library still does goes on in memory of its own.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_release(completion: *mut unwedge_completion_t) {
    border(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Completing>(completion) }?);
        Ok(0)
    });
}

/// Whether the result is there: 1 or 0. -EBUSY while another call has the completion.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_is_complete(completion: *const unwedge_completion_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        Ok(unsafe { at::<Completing>(completion) }?.state()?.is_complete().into())
    })
}

/// Waits for the result. `stop` is whose stop ends the wait, a phase's for example; NULL is the completion's own domain. `timeout` is in nanoseconds;
/// negative is for ever.
///
/// | returned | what happened | `*result` |
/// |---|---|---|
/// | 0 | the result is there, and stays: what it is, see there | what was given; -EOWNERDEAD if the completer was let go; the negative of an errno if I/O failed |
/// | -ETIMEDOUT | the time was up; wait again, or release it | as before |
/// | -ECANCELED | a stop ended the wait, also if the result is there; but with NULL for `stop` what an earlier wait has given is given again | as before |
/// | -EBUSY | another call waits for it | as before |
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_wait(
    completion: *const unwedge_completion_t,
    stop: *const unwedge_stop_t,
    timeout: i64,
    result: *mut i64,
) -> c_int {
    border(|| {
        wanted(result)?;
        // SAFETY: the caller's handle (`Handle`).
        let ends = if stop.is_null() { None } else { Some(unsafe { at::<Stop>(stop) }?) };
        // SAFETY: the caller's handle (`Handle`).
        let waited = unsafe { at::<Completing>(completion) }?;
        // Before the state, so that they go after it: a release meanwhile frees nothing.
        let (_held, _kept, _kept_stop);
        let mut state = waited.state()?;
        if !state.is_complete() {
            _held = CancellationHeld::new();
            // SAFETY: as above.
            _kept = unsafe { keep::<Completing>(completion) }?;
            // SAFETY: as above.
            _kept_stop = if stop.is_null() { None } else { Some(unsafe { keep::<Stop>(stop) }?) };
        }
        let given = state.wait(ends.map(|stop| &**stop), deadline(timeout))?;
        // SAFETY: the caller's place (`Call`).
        unsafe { give(result, given) }?;
        Ok(0)
    })
}

/// As `unwedge_completion_wait`, by who holds a lock: it is let go meanwhile and taken again, as in `unwedge_condvar_wait`. `stop` must not be NULL.
///
/// After 0 and -ETIMEDOUT the lock is held; after -ECANCELED, -EBUSY and -ENOLCK it is **not**; after -EINVAL nothing was done. If a stop comes while the lock is
/// taken again the result stays with the completion.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_wait_unlocked(
    completion: *const unwedge_completion_t,
    stop: *const unwedge_stop_t,
    ops: *const unwedge_lock_ops_t,
    lock: *mut c_void,
    timeout: i64,
    result: *mut i64,
) -> c_int {
    blocking(|| {
        wanted(result)?;
        // SAFETY: the caller's lock and its callbacks (`Callback`), for this call.
        let lock = unsafe { Caller::new(ops, lock) }?;
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        // SAFETY: the caller's handle (`Handle`).
        let completion = unsafe { keep::<Completing>(completion) }?;
        let mut state = match completion.state() {
            Ok(state) => state,
            Err(code) => {
                drop(lock.held());
                return Err(code);
            }
        };
        let given = state.wait_unlocked(&stop, &lock, deadline(timeout))?;
        // SAFETY: the caller's place (`Call`).
        unsafe { give(result, given) }?;
        Ok(0)
    })
}

/// Has `callback(arg, status, result, completion)` called with the result, on the callback thread of `stop`: never within `unwedge_completer_complete` or
/// `unwedge_stop_request`, whose caller may hold a lock.
///
/// `status` is 0, or -ECANCELED if a stop of `stop` or of the completion's own domain came first. `completion` is lent for the call: in it
/// `unwedge_completion_take`, `_bytes`, `_file` and `_stat` give what came. It is called once, also if the handle was released before. 0 if it will be called.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_on_complete(
    completion: *const unwedge_completion_t,
    stop: *const unwedge_stop_t,
    callback: Option<
        unsafe extern "C" fn(arg: *mut c_void, status: c_int, result: i64, completion: *mut unwedge_completion_t),
    >,
    arg: *mut c_void,
) -> c_int {
    blocking(|| {
        let callback = callback.ok_or(BAD_ARGUMENT)?;
        let arg = Arg(arg);
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        // SAFETY: the caller's handle (`Handle`).
        let completion = unsafe { keep::<Completing>(completion) }?;
        let owed = {
            let mut state = completion.state()?;
            match std::mem::replace(&mut *state.0, State::Away) {
                State::Owed(owed) => owed,
                State::Away => return Err(BUSY),
                given @ State::Given(_) => {
                    *state.0 = given;
                    return Err(-libc::EALREADY);
                }
            }
        };
        let kept = Arc::clone(&completion);
        let run = move |outcome: Result<Outcome, Stopped>| {
            let _held = CancellationHeld::new();
            let (status, outcome) = match outcome {
                Ok(outcome) => (0, outcome),
                Err(Stopped) => (STOPPED, Outcome::bare(i64::from(STOPPED))),
            };
            let result = outcome.result;
            kept.settle(outcome);
            let lent = Arc::as_ptr(&kept).cast::<unwedge_completion_t>().cast_mut();
            // SAFETY: the caller's callback with its own argument (`Callback`); the handle lives until it returns.
            unsafe { callback(arg.get(), status, result, lent) };
        };
        let started = each!(owed, |owed, outcome| owed.on_complete(&stop, move |result| run(result.map(outcome))));
        if started.is_err() {
            completion.settle(Outcome::bare(i64::from(ABANDONED)));
            return Err(NOT_YET);
        }
        Ok(0)
    })
}

impl Completing {
    fn settle(&self, outcome: Outcome) {
        // Another call has it only for a look: what waits is told that it is busy, and this callback's completion is `Away`.
        loop {
            if let Some(mut state) = self.0.claim() {
                *state = State::Given(outcome);
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Moves the value out, once the result is there: it is yours then, and is not freed. -EALREADY if it was taken before, -EAGAIN if there is no result yet,
/// -ENODATA if the result has no value.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_take(
    completion: *const unwedge_completion_t,
    value: *mut *mut c_void,
) -> c_int {
    border(|| {
        wanted(value)?;
        // SAFETY: the caller's handle (`Handle`).
        let mut state = unsafe { at::<Completing>(completion) }?.state()?;
        let Content::Value(payload) = &mut state.outcome()?.content else { return Err(-libc::ENODATA) };
        match payload.value {
            None => Err(-libc::EALREADY),
            Some(Arg(taken)) if taken.is_null() => Err(-libc::ENODATA),
            Some(Arg(taken)) => {
                payload.value = None;
                // SAFETY: the caller's place (`Call`).
                unsafe { give(value, taken) }?;
                Ok(0)
            }
        }
    })
}

/// Gives the result and, with it, a value: `result` is whatever number you like (0 or more for success, the negative of an errno otherwise, by convention).
///
/// 1 if somebody will have it; 0 if nobody wants it any more: then the value was freed. -EALREADY if it was completed before: then the value is still yours.
/// Never blocks and calls nothing back but `free_value`; from any thread and under any lock. The handle still has to be released.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completer_complete(
    completer: *const unwedge_completer_t,
    result: i64,
    value: *mut c_void,
) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        let owing = unsafe { at::<Owing>(completer) }?;
        let ower = owing.claimed().take().ok_or(-libc::EALREADY)?;
        let payload = Payload { result, value: Some(Arg(value)), free: owing.1 };
        let unwanted = match ower {
            Ower::Own(completer) => completer.complete(payload).err(),
            Ower::External(completer, _) => completer.complete(payload).err(),
        };
        Ok(unwanted.is_none().into())
    })
}

/// Whether somebody still wants the result: 1 or 0.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completer_is_wanted(completer: *const unwedge_completer_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        let owing = unsafe { at::<Owing>(completer) }?;
        let ower = owing.claimed();
        Ok(match &*ower {
            Some(Ower::Own(completer)) => completer.is_wanted().into(),
            Some(Ower::External(completer, _)) => completer.is_wanted().into(),
            None => 0,
        })
    })
}

/// Has `hook(arg)` called, on the domain's callback thread, when nobody waits for an external operation any more: its completion was released, or the stop of
/// its domain was requested. At most once, and not if the operation ends first. `free_arg(arg)`, if it is not NULL, is called once when it cannot
/// come any more; if this fails with -EINVAL or -EALREADY it is not. A second hook takes the place of the first, whose argument is freed within this call.
/// -EINVAL if it is not an external operation's (`unwedge_io_external`); -EAGAIN if the callback thread cannot be started: then a first hook stays.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completer_on_cancel(
    completer: *const unwedge_completer_t,
    hook: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    arg: *mut c_void,
    free_arg: Option<unsafe extern "C" fn(arg: *mut c_void)>,
) -> c_int {
    blocking(|| {
        let hook = hook.ok_or(BAD_ARGUMENT)?;
        // SAFETY: the caller's handle (`Handle`).
        let owing = unsafe { keep::<Owing>(completer) }?;
        // Before the claim, so that they are let go after it.
        let (_new, _before);
        let mut ower = owing.claimed();
        match &mut *ower {
            Some(Ower::External(completer, latest)) => {
                _before = latest.upgrade();
                let own = Arc::new(Owned::new(arg, free_arg));
                _new = Arc::clone(&own);
                *latest = Arc::downgrade(&own);
                let set = completer.on_cancel(move || {
                    let _held = CancellationHeld::new();
                    // SAFETY: the caller's callback with its own argument (`Callback`).
                    unsafe { hook(own.get()) };
                });
                if set.is_err() {
                    *latest = _before.as_ref().map_or_else(Weak::new, Arc::downgrade);
                }
                set.map(|()| 0).map_err(|_| NOT_YET)
            }
            Some(Ower::Own(_)) => Err(BAD_ARGUMENT),
            None => Err(-libc::EALREADY),
        }
    })
}

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completer_ref(completer: *const unwedge_completer_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Owing>(completer) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. With the last count of one that has not completed, its completion's result is -EOWNERDEAD.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completer_release(completer: *mut unwedge_completer_t) {
    border(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Owing>(completer) }?);
        Ok(0)
    });
}
