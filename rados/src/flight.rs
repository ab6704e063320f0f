//! One operation, from its beginning to its end: submitted to librados, cancelled if nobody waits, ended by librados's callback.
//!
//! # Invariants
//!
//! - **Owned**: what librados reads and writes lies in the [`Flight`], of which librados has a share from the submission until its callback has
//!   run; it is never freed before. An operation that is not cancelled in time is so leaked with its memory (law L4).
//! - **Only in between**: the operation's data are touched by [`Operation::submit`] before librados has them, and by [`Operation::finish`] after.
//! - **A live handle**: librados is called under a share of [`Live`], which the closing of the cluster takes alone.
//! - **Short callbacks**: librados's callback changes state and wakes; it calls librados for the result and the release only.
//! - **Let go**: what librados cannot cancel is ended for who waits as soon as it is given up, and stays librados's, room in the gate included, until it calls
//!   back, if it ever does.
//!
//! There is no lock, no librados and no library below but those that the parent module names in `sys`, `ffi` and `cluster`: so the loom models compile this
//! very file, over a librados that is a thread.
//!
//! Order of locks: `Live`, then `link`, then `operation`. No callback runs inside a cancel: librados queues it to its own thread.
//!
//! [`Live`]: super::cluster::Live

use std::ffi::{CStr, CString, c_int, c_void};

use unwedge::{Object, Owed};

use super::{
    cluster::{IoHandle, Shared},
    error::{Cause, RadosError},
    ffi,
    gate::Flying,
    sys::{Arc, Domain, ExternalCompleter, ExternalCompletion, Io, Mutex, MutexGuard, PoisonError},
};

/// The number that librados gives a cancelled operation.
const ECANCELED: i32 = 125;

/// How the system says that there is no thread to be had.
const EAGAIN: i32 = 11;

/// One kind of operation.
pub(crate) trait Operation: Send + 'static {
    type Output: Send + 'static;

    /// What a report and an error call it.
    const NAME: &'static str;

    /// Whether it changes something, so that one that was cancelled is undecided.
    const WRITES: bool = false;

    /// Whether librados can cancel it.
    const CANCELS: bool = true;

    /// Where in the object, and how many bytes it moves.
    fn range(&self) -> (u64, usize) {
        (0, 0)
    }

    /// Calls librados, which may use what the operation owns until it calls back. A negative number: it has not begun.
    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int;

    /// What comes of librados's answer: a number or an error number.
    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Self::Output>;
}

/// What follows an answer.
pub(crate) enum Step<T> {
    Done(Result<T, Cause>),
    /// Submit it once more.
    Again,
}

/// On what an operation is done.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) shared: Arc<Shared>,
    pub(crate) io: IoHandle,
    /// For whom.
    pub(crate) domain: Domain,
    pub(crate) object: CString,
}

/// See the head of this file.
pub(crate) struct Flight<O: Operation> {
    target: Target,
    cost: usize,
    operation: Mutex<O>,
    link: Mutex<Link>,
    /// `None` once the operation has ended.
    completer: Mutex<Option<ExternalCompleter<O::Output, RadosError>>>,
}

/// How it stands with librados.
struct Link {
    /// Librados's completion, from the submission to the callback.
    aio: Option<ffi::Aio>,
    /// Nobody waits for the result any more.
    given_up: bool,
}

// SAFETY: `aio` is librados's, whose functions may be called from any thread; it is used under the mutex around it.
unsafe impl Send for Link {}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins an operation on an object.
pub(crate) fn begin<O: Operation>(
    io: &Io,
    target: (&Arc<Shared>, IoHandle, &Domain),
    object: &str,
    operation: O,
) -> ExternalCompletion<O::Output, RadosError> {
    let (offset, length) = operation.range();
    let owed = Owed { operation: O::NAME, object: Some(Object::from(object)), offset, length: length as u64 };
    let (completer, completion) = io.external(owed);
    if !completer.is_wanted() {
        // The domain has been stopped.
        return completion;
    }
    let Ok(name) = CString::new(object) else {
        drop(completer.fail(RadosError::new(O::NAME, Some(object), Cause::ZeroByte)));
        return completion;
    };
    let flight = Arc::new(Flight {
        target: Target { shared: Arc::clone(target.0), io: target.1, domain: target.2.clone(), object: name },
        cost: length,
        operation: Mutex::new(operation),
        link: Mutex::new(Link { aio: None, given_up: false }),
        completer: Mutex::new(None),
    });
    let hooked = Arc::downgrade(&flight);
    let hook = completer.on_cancel(move || {
        if let Some(flight) = hooked.upgrade() {
            flight.give_up();
        }
    });
    *lock(&flight.completer) = Some(completer);
    match hook {
        Ok(()) => target.0.gate.enter(flight),
        // Without a callback thread nothing could be cancelled.
        Err(error) => flight.end(Err(Cause::Failed(error.raw_os_error().unwrap_or(EAGAIN)))),
    }
    completion
}

impl<O: Operation> Flight<O> {
    /// Nobody waits any more: the cancel is sent, or the operation let go. On the domain's callback thread.
    fn give_up(&self) {
        let live = self.target.shared.live();
        let mut link = lock(&self.link);
        link.given_up = true;
        match link.aio {
            Some(_) if !O::CANCELS => {
                drop(link);
                drop(live);
                self.end(Err(given_up_cause::<O>(true)));
            }
            Some(aio) if live.is_open() => {
                // SAFETY: **A live handle**: the pool's handle is one of the cluster's, which is not closed while `live` is held. The completion has not been
                // released: its callback takes it out of `link` first, under the lock that is held here.
                let _is_too_late = unsafe { ffi::rados_aio_cancel(self.target.io.0, aio) };
            }
            Some(_) => {}
            None => {
                drop(link);
                drop(live);
                self.target.shared.gate.sweep();
            }
        }
    }

    fn end(&self, result: Result<O::Output, Cause>) {
        let Some(completer) = lock(&self.completer).take() else { return };
        if matches!(result, Err(Cause::Undecided)) {
            self.target.shared.count_undecided();
        }
        let object = self.target.object.to_string_lossy();
        // What nobody wants any more is dropped.
        drop(completer.finish(result.map_err(|cause| RadosError::new(O::NAME, Some(&object), cause))));
    }

    /// Ends an operation that had been let in.
    fn leave(&self, result: Result<O::Output, Cause>) {
        let is_answer = !matches!(result, Err(Cause::Cancelled | Cause::Undecided | Cause::Closed));
        self.target.shared.gate.leave(self.cost, is_answer);
        self.end(result);
    }

    /// Librados has answered.
    fn land(self: Arc<Self>, number: c_int) {
        let given_up = {
            let mut link = lock(&self.link);
            link.aio = None;
            link.given_up
        };
        let answer = usize::try_from(number).map_err(|_| number.saturating_neg());
        let step = match lock(&self.operation).finish(answer) {
            // The operation has been told, and has let go what it had for librados.
            _ if answer == Err(ECANCELED) && given_up => Step::Done(Err(given_up_cause::<O>(true))),
            step => step,
        };
        match step {
            Step::Done(result) => self.leave(result),
            Step::Again => {
                let shared = Arc::clone(&self.target.shared);
                shared.gate.again(self);
            }
        }
    }
}

fn given_up_cause<O: Operation>(sent: bool) -> Cause {
    if O::WRITES && sent { Cause::Undecided } else { Cause::Cancelled }
}

impl<O: Operation> Flying for Flight<O> {
    fn cost(&self) -> usize {
        self.cost
    }

    fn is_given_up(&self) -> bool {
        lock(&self.link).given_up
    }

    fn launch(self: Arc<Self>) {
        let live = self.target.shared.live();
        if !live.is_open() {
            // Its waiter's waker is foreign code (L6).
            drop(live);
            return self.leave(Err(Cause::Closed));
        }
        let mut link = lock(&self.link);
        // At a stop the first cancels make room, before those that wait for it are given up: they are not sent any more.
        if link.given_up || self.target.domain.is_requested() {
            drop((link, live));
            return self.leave(Err(Cause::Cancelled));
        }
        let share = Arc::into_raw(Arc::clone(&self)).cast_mut().cast::<c_void>();
        let mut aio: ffi::Aio = std::ptr::null_mut();
        // SAFETY: `aio` outlives the call; the callback gets back the share that was made for it.
        let mut status = unsafe { ffi::rados_aio_create_completion2(share, landed::<O>, &raw mut aio) };
        if status >= 0 {
            link.aio = Some(aio);
            status = lock(&self.operation).submit(self.target.io.0, &self.target.object, aio);
            if status >= 0 {
                return;
            }
            link.aio = None;
            // SAFETY: The operation has not begun, so there will be no callback: this is the only use of the completion.
            unsafe { ffi::rados_aio_release(aio) };
        }
        // SAFETY: No callback will take the share that was made for it above.
        drop(unsafe { Arc::from_raw(share.cast_const().cast::<Self>()) });
        drop(link);
        drop(live);
        // An operation that is told of an error lets go what it had for librados.
        let number = status.saturating_neg();
        drop(lock(&self.operation).finish(Err(number)));
        self.leave(Err(Cause::Failed(number)));
    }

    fn halt(self: Arc<Self>) {
        // Only what reads goes on after an answer, so it has no effect.
        let cause = if self.is_given_up() { Cause::Cancelled } else { Cause::Closed };
        self.leave(Err(cause));
    }

    fn refuse(self: Arc<Self>) {
        let cause = if self.is_given_up() { given_up_cause::<O>(false) } else { Cause::Closed };
        self.end(Err(cause));
    }
}

/// Librados's callback.
///
/// # Safety
///
/// `aio` is a completion that has not been released, `share` a share of the flight that was made for this call.
unsafe extern "C" fn landed<O: Operation>(aio: ffi::Aio, share: *mut c_void) {
    // SAFETY: As the caller says; librados calls once.
    let flight = unsafe { Arc::from_raw(share.cast_const().cast::<Flight<O>>()) };
    // SAFETY: As the caller says.
    let number = unsafe { ffi::rados_aio_get_return_value(aio) };
    // Out of reach of a cancel before it is released.
    lock(&flight.link).aio = None;
    // SAFETY: As the caller says; nobody else has it any more.
    unsafe { ffi::rados_aio_release(aio) };
    flight.land(number);
}
