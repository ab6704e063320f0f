//! Steps of a plan that need more than a name and a limit: when they run, what they hold and must not find held, what becomes of a late one.

use std::error::Error;
use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::slice;
use std::sync::Arc;

use unwedge::{Phase, Step};

use crate::border::{BAD_ARGUMENT, CancellationHeld, Owned, border, string, time};
use crate::handle::{Handle, at, keep};
use crate::monitor::{Monitored, holding, unwedge_monitor_t};
use crate::plan::{Planned, unwedge_plan_t};
use crate::stop::unwedge_stop_t;

/// The step runs after the request and before the domain's threads are waited for: to stop accepting, or to cancel what would keep a thread.
pub const UNWEDGE_STEP_BEFORE_JOIN: c_int = 1;
/// If the step is late, the report and where the step waits are written to standard error, and the process is aborted (SIGABRT). Where the stop was hurried
/// (`unwedge_stop_hurry`) it is given up like any other.
pub const UNWEDGE_STEP_OR_ABORT: c_int = 2;

/// What a phase's step does, within which time, and what it needs. Only looked at during the call that is given it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct unwedge_step_t {
    /// What it is called in reports.
    pub name: *const c_char,
    /// How long it may take: nanoseconds.
    pub limit: i64,
    /// What it does. See `unwedge_plan_phase`.
    pub run: Option<unsafe extern "C" fn(phase: *mut unwedge_stop_t, arg: *mut c_void) -> c_int>,
    /// For `run`.
    pub arg: *mut c_void,
    /// Called once with `arg` when `run` has run or cannot come any more. NULL if there is nothing to do.
    pub free_arg: Option<unsafe extern "C" fn(arg: *mut c_void)>,
    /// 0, or UNWEDGE_STEP_BEFORE_JOIN and UNWEDGE_STEP_OR_ABORT.
    pub flags: c_int,
    /// A monitor whose lock is taken in the phase before `run` is called, and let go when it has returned, unless `run` has done so itself. NULL if there is
    /// none. Where who shuts down holds it, or a phase that was left, nobody would let it go: the phase fails at once and says so.
    pub holding: *const unwedge_monitor_t,
    /// Monitors that the step, or what it calls, takes itself: as with `holding` the phase fails at once where one of them could not be had. The array is only
    /// looked at during the call; the plan keeps each monitor, and that of `holding`, until the phase is over or cannot come any more. So their locks are there
    /// until then, whoever has released their handles, and `end` of `unwedge_monitor_ops_t` is not called before.
    pub not_holding: *const *const unwedge_monitor_t,
    /// How many those are.
    pub not_holding_count: usize,
    /// NULL, for what a later version has.
    pub reserved: [*mut c_void; 4],
}

/// What a step said.
#[derive(Debug)]
struct Failed(c_int);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0.saturating_abs()))
    }
}

impl Error for Failed {}

pub(crate) type Run = unsafe extern "C" fn(phase: *mut unwedge_stop_t, arg: *mut c_void) -> c_int;

/// Calls a step of the caller's, with a monitor's lock if there is one to be held.
pub(crate) fn call(
    run: Run,
    arg: &Owned,
    held: Option<Arc<Handle<Monitored>>>,
    phase: &Phase,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let _held = CancellationHeld::new();
    let lent = Handle::new(unwedge::Stop::clone(phase));
    let step = || {
        // SAFETY: the caller's callback with its own argument (`Callback`); the handle lives until it returns.
        unsafe { run(Arc::as_ptr(&lent).cast::<unwedge_stop_t>().cast_mut(), arg.get()) }
    };
    let code = match held {
        Some(monitored) => holding(monitored, &lent, step).unwrap_or_else(|code| code),
        None => step(),
    };
    if code == 0 { Ok(()) } else { Err(Failed(code).into()) }
}

/// Adds a phase, as `unwedge_plan_phase` does, whose step says more about itself. If this fails `free_arg` is not called.
///
/// Those with UNWEDGE_STEP_BEFORE_JOIN run in their order, then the domain's threads are waited for, then the others run in theirs.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_plan_step(plan: *mut unwedge_plan_t, step: *const unwedge_step_t) -> c_int {
    border(|| {
        if step.is_null() || !step.is_aligned() {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: neither NULL nor unaligned: the caller's memory (`Call`).
        let unwedge_step_t {
            name,
            limit,
            run,
            arg,
            free_arg,
            flags,
            holding,
            not_holding,
            not_holding_count,
            reserved,
        } = unsafe { *step };
        // SAFETY: the caller's string (`Call`).
        let name = unsafe { string(name) }?.to_string_lossy();
        let run = run.ok_or(BAD_ARGUMENT)?;
        if flags & !(UNWEDGE_STEP_BEFORE_JOIN | UNWEDGE_STEP_OR_ABORT) != 0
            || reserved.iter().any(|word| !word.is_null())
        {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: the caller's memory and handles (`Call`, `Handle`).
        let apart = unsafe { monitors(not_holding, not_holding_count) }?;
        // SAFETY: the caller's handle (`Handle`).
        let held = if holding.is_null() { None } else { Some(unsafe { keep::<Monitored>(holding) }?) };
        let mut planned = Step::new(&name, time(limit)?);
        for monitored in apart.iter().chain(&held) {
            planned = planned.not_holding(monitored.monitor());
        }
        if flags & UNWEDGE_STEP_BEFORE_JOIN != 0 {
            planned = planned.before_join();
        }
        if flags & UNWEDGE_STEP_OR_ABORT != 0 {
            planned = planned.or_abort();
        }
        // SAFETY: the caller's handle (`Handle`).
        unsafe { at::<Planned>(plan) }?.change(|plan| {
            let arg = Owned::new(arg, free_arg);
            plan.step(planned.run(move |phase| call(run, &arg, held, phase)))
        })
    })
}

/// The caller's monitors, each with a count.
///
/// # Safety
/// `first` is NULL, or `count` handles can be read there (`Call`, `Handle`).
unsafe fn monitors(first: *const *const unwedge_monitor_t, count: usize) -> Result<Vec<Arc<Handle<Monitored>>>, c_int> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if first.is_null() || !first.is_aligned() {
        return Err(BAD_ARGUMENT);
    }
    // SAFETY: neither NULL nor unaligned, and the rest is this function's own condition.
    let given = unsafe { slice::from_raw_parts(first, count) };
    given
        .iter()
        .map(|monitor| {
            // SAFETY: this function's own condition.
            unsafe { keep::<Monitored>(*monitor) }
        })
        .collect()
}
