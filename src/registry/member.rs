//! The threads and tasks that wait, hold and owe.
//!
//! A thread or task that a domain started has a slot for as long as it runs; any other thread gets one when it first waits or locks,
//! and gives it back when it ends.

#[cfg(not(unwedge_loom))]
use std::mem::ManuallyDrop;

use crate::sys::{self, PlainU8, PlainU32, Relaxed};

use super::arena::arena;
use super::text::Text;

/// What kind of member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Thread,
    Task,
}

/// A member's slot.
pub(crate) struct Member {
    pub(crate) name: Text<4>,
    /// The kernel's id of the thread, 0 for a task.
    tid: PlainU32,
    kind: PlainU8,
}

arena!(
    /// All members of the process.
    members: Member = || Member { name: Text::new(), tid: PlainU32::new(0), kind: PlainU8::new(0) }
);

impl Member {
    /// Whether this is a thread or a task.
    pub(crate) fn kind(&self) -> Kind {
        if self.kind.load(Relaxed) == 0 { Kind::Thread } else { Kind::Task }
    }

    /// The kernel's id of the thread; 0 for a task.
    pub(crate) fn tid(&self) -> u32 {
        self.tid.load(Relaxed)
    }
}

/// A slot for as long as this lives.
pub(crate) struct Membership(u32);

impl Membership {
    pub(crate) fn new(name: &str, kind: Kind) -> Self {
        let index = members().claim();
        let member = members().get(index);
        member.name.set(name);
        member.tid.store(0, Relaxed);
        member.kind.store(u8::from(kind == Kind::Task), Relaxed);
        Membership(index)
    }

    pub(crate) fn index(&self) -> u32 {
        self.0
    }

    /// Runs on the member's own thread: what runs here from now on is this member.
    pub(crate) fn enter(&self) -> Entered {
        if members().get(self.0).kind() == Kind::Thread {
            members().get(self.0).tid.store(thread_id(), Relaxed);
        }
        Entered(sys::set_current_member(self.0))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        members().release(self.0);
    }
}

/// Restores who ran on this thread before.
pub(crate) struct Entered(u32);

impl Drop for Entered {
    fn drop(&mut self) {
        sys::set_current_member(self.0);
    }
}

/// Who runs on this thread: its index.
#[inline]
pub(crate) fn current() -> u32 {
    match sys::current_member() {
        0 => adopt_thread(),
        index => index,
    }
}

/// Whether this member is a thread of the crate's own, by its name: a callback's, a pool's.
pub(crate) fn is_own(index: u32) -> bool {
    members().get(index).name.get().starts_with("uw-")
}

/// A slot for a thread that no domain started.
#[cold]
fn adopt_thread() -> u32 {
    #[cfg(not(unwedge_loom))]
    {
        /// A thread's slot until its thread-locals are destroyed: whoever runs on it later is not this member.
        struct Guest(Membership);
        impl Drop for Guest {
            fn drop(&mut self) {
                sys::set_current_member(0);
            }
        }
        fn claim() -> Membership {
            let thread = std::thread::current();
            Membership::new(thread.name().unwrap_or("unnamed"), Kind::Thread)
        }
        std::thread_local! {
            static GUEST: Guest = Guest(claim());
        }
        // A thread that already destroys its thread-locals gets a slot that stays claimed: it is rare and small.
        let index = GUEST.try_with(|guest| guest.0.index()).unwrap_or_else(|_| ManuallyDrop::new(claim()).index());
        members().get(index).tid.store(thread_id(), Relaxed);
        sys::set_current_member(index);
        index
    }
    #[cfg(unwedge_loom)]
    {
        let index = members().claim();
        sys::set_current_member(index);
        index
    }
}

#[cfg(not(unwedge_loom))]
fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

#[cfg(unwedge_loom)]
fn thread_id() -> u32 {
    0
}
