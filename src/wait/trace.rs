//! The waits and the held locks of a model's execution, kept beside loom and not seen by it: what a model looks at when it ends or hangs.
//!
//! All threads of a model run on one thread of the system, so that a thread-local is one model's.
//!
//! # Invariants
//! - **Of this execution.** What lies here leads into arenas that loom drops at the end of an execution. So [`begin`] forgets all of it before the next
//!   one, [`end`] when one has ended well, and nobody looks in between.

use std::cell::RefCell;

use super::condition::conditions;
use super::line::MonitorCell;
use super::waiter::{Waiter, What};
use crate::registry::member::{self, Member, MemberRef, members};
use crate::sys::Relaxed;

struct Wait {
    waiter: &'static Waiter,
    member: &'static Member,
}

struct Hold {
    cell: &'static MonitorCell,
    shared: bool,
    holder: &'static Member,
}

#[derive(Default)]
struct Trace {
    waits: Vec<Wait>,
    holds: Vec<Hold>,
}

std::thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// An execution begins.
pub(crate) fn begin() {
    TRACE.with_borrow_mut(|trace| *trace = Trace::default());
}

/// An execution has ended well.
pub(crate) fn end() {
    begin();
}

/// A wait was published.
pub(super) fn wait_began(waiter: &'static Waiter) {
    let member = members().get(MemberRef::from_word(waiter.member.load(Relaxed)).index());
    TRACE.with_borrow_mut(|trace| trace.waits.push(Wait { waiter, member }));
}

/// Its owner has given it up.
pub(super) fn wait_ended(waiter: &'static Waiter) {
    TRACE.with_borrow_mut(|trace| trace.waits.retain(|wait| !std::ptr::eq(wait.waiter, waiter)));
}

/// A monitor's lock was taken.
pub(super) fn lock_taken(cell: &'static MonitorCell, shared: bool) {
    let holder = members().get(member::me().index());
    TRACE.with_borrow_mut(|trace| trace.holds.push(Hold { cell, shared, holder }));
}

/// A monitor's lock is about to be let go.
pub(super) fn lock_freed(cell: &'static MonitorCell, shared: bool) {
    TRACE.with_borrow_mut(|trace| {
        let held = |hold: &Hold| std::ptr::eq(hold.cell, cell) && hold.shared == shared;
        if let Some(at) = trace.holds.iter().rposition(held) {
            trace.holds.remove(at);
        }
    });
}

/// Who waits for what, a line each. Touches nothing of loom's, so that it can be asked while loom itself fails.
pub(crate) fn waits() -> Vec<String> {
    TRACE.with_borrow(|trace| trace.waits.iter().map(Wait::describe).collect())
}

/// Who holds which monitor's lock, a line each. As [`waits`].
pub(crate) fn holds() -> Vec<String> {
    let describe = |hold: &Hold| {
        let reads = if hold.shared { " for reading" } else { "" };
        format!("{} is held{reads} by {}", hold.cell.name.get(), hold.holder.name.get())
    };
    TRACE.with_borrow(|trace| trace.holds.iter().map(describe).collect())
}

/// Notifies every condition variable of the model, without a reason.
pub(crate) fn notify_all_conditions() {
    for condition in conditions().scan() {
        condition.notify_all();
    }
}

impl Wait {
    fn describe(&self) -> String {
        let waiter = self.waiter;
        let lock = || waiter.monitor.get().map(|cell| cell.name.get());
        let what = match (What::from_code(waiter.what.load(Relaxed)), lock()) {
            (Some(What::Lock), Some(lock)) => format!("the lock {lock}"),
            (Some(What::Lock), None) => "a lock that others also take".to_owned(),
            (Some(What::Condition), Some(lock)) => format!("a condition variable of {lock}"),
            (Some(What::Condition), None) => "a condition variable".to_owned(),
            (Some(What::Predicate), lock) => format!("a change of {}", lock.unwrap_or_default()),
            (Some(What::Completion), _) => format!("{} {}", waiter.operation.get(), waiter.object.get()),
            (Some(What::Stop), _) => "the stop".to_owned(),
            (Some(What::End), _) => "threads and tasks to end".to_owned(),
            (None, _) => "what is not known".to_owned(),
        };
        format!("{} waits for {}", self.member.name.get(), what.trim_end())
    }
}
