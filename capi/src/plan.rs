//! What a shutdown does, and its phases.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use unwedge::Plan;

use crate::border::{BAD_ARGUMENT, Owned, border, give, string, time, wanted};
use crate::handle::{Handle, Kind, at, take};
use crate::step::call;
use crate::stop::unwedge_stop_t;

/// A plan for a shutdown: a limit for the whole, and phases in order. A shutdown uses it up.
pub struct unwedge_plan_t {
    _opaque: (),
}

/// A plan that is being made; `None` once a shutdown has it.
pub(crate) struct Planned(Mutex<Option<Plan>>);

impl Kind for Planned {
    type Name = unwedge_plan_t;
    const TAG: u32 = 0x7577_706c;
}

impl Planned {
    /// The plan, for a shutdown. Without one: no limit and no phases.
    pub(crate) fn take(&self) -> Result<Plan, c_int> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(BAD_ARGUMENT)
    }

    pub(crate) fn change(&self, change: impl FnOnce(Plan) -> Plan) -> Result<c_int, c_int> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = place.take().ok_or(BAD_ARGUMENT)?;
        *place = Some(change(plan));
        Ok(0)
    }
}

/// Makes a plan for a shutdown that returns within so many nanoseconds, whoever is left then. 0, and the handle is yours: release it, also after the shutdown
/// that has used it.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_plan_new(within: i64, plan: *mut *mut unwedge_plan_t) -> c_int {
    border(|| {
        wanted(plan)?;
        let new = Plan::within(time(within)?);
        // SAFETY: the caller's place (`Call`).
        unsafe { give(plan, Handle::give(Planned(Mutex::new(Some(new))))) }?;
        Ok(0)
    })
}

/// Lets the plan go; NULL does nothing.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_plan_release(plan: *mut unwedge_plan_t) {
    border(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use.
        drop(unsafe { take::<Planned>(plan) }?);
        Ok(0)
    });
}

/// How long operations that the kernel has not given back are waited for, in nanoseconds, when all else has ended.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_plan_drain(plan: *mut unwedge_plan_t, limit: i64) -> c_int {
    border(|| {
        let limit = time(limit)?;
        // SAFETY: the caller's handle (`Handle`).
        unsafe { at::<Planned>(plan) }?.change(|plan| plan.drain(limit))
    })
}

/// Adds a phase: `step(phase, arg)` runs after the request, when the domain's threads have ended or their time is up, on a thread of its own and within
/// `limit` nanoseconds.
///
/// `phase` is a stop domain of its own, whose stop comes when the limit is over; it is lent for the call. In it locks are taken, waits made and I/O done
/// after the stop of the domain itself. The step gives 0, or an errno that the report tells. Without a shutdown it is not
/// called. `free_arg(arg)`, if it is not NULL, is called once when the step has run or cannot come any more; if this fails it is not. `unwedge_plan_step` adds one
/// that says more about itself.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_plan_phase(
    plan: *mut unwedge_plan_t,
    name: *const c_char,
    limit: i64,
    step: Option<unsafe extern "C" fn(phase: *mut unwedge_stop_t, arg: *mut c_void) -> c_int>,
    arg: *mut c_void,
    free_arg: Option<unsafe extern "C" fn(arg: *mut c_void)>,
) -> c_int {
    border(|| {
        // SAFETY: the caller's string (`Call`).
        let name = unsafe { string(name) }?.to_string_lossy();
        let limit: Duration = time(limit)?;
        let step = step.ok_or(BAD_ARGUMENT)?;
        // SAFETY: the caller's handle (`Handle`).
        let plan = unsafe { at::<Planned>(plan) }?;
        plan.change(|plan| {
            let arg = Owned::new(arg, free_arg);
            plan.phase(&name, limit, move |phase| call(step, &arg, None, phase))
        })
    })
}
