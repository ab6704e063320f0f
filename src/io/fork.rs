//! Whether this is still the process that made something.
//!
//! A child of `fork` has the memory of its parent and none of its threads: whoever waits for one of those waits for ever, and a lock that one of them held is never
//! let go. So a service remembers in which process it was made, and its operations are refused in another.
//!
//! A handler that the C library runs in the child of a `fork` counts the forks that led to this process; comparing that costs a load, where asking for
//! the process's number costs a system call. A raw `clone` system call goes past it.

use crate::sys::{Acquire, Mutex, MutexGuard, PlainU8, PlainU32, Relaxed, Release, pause};

/// Grows with each fork that led to this process since the handler was set. Written in the child of a fork, by the only thread that it has.
static FORKS: PlainU32 = PlainU32::new(0);

/// What [`is_here`](Birth::is_here) compares: the process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth(u32);

impl Birth {
    /// In this process.
    pub(super) fn now() -> Birth {
        /// 1 once the handler is set. Whoever does not see that sets it too: then it runs more than once in a child, which is one all the same. (A lock would be
        /// held for ever in the child of a fork that comes meanwhile.)
        static SET: PlainU8 = PlainU8::new(0);
        // Ordering: Acquire, partner of the Release below: who sees 1 forks with the handler set.
        if SET.load(Acquire) == 0 {
            // SAFETY: the handler is a function of this program's that lives as long as it, and does what is allowed in the child of a fork of
            // a process with many threads: it writes to an atomic.
            let failed = unsafe { libc::pthread_atfork(None, None, Some(forked)) } != 0;
            // If memory is short the next one tries again.
            if !failed {
                SET.store(1, Release);
            }
        }
        Birth(FORKS.load(Relaxed))
    }

    /// Whether this process is the one.
    #[inline]
    pub(super) fn is_here(self) -> bool {
        FORKS.load(Relaxed) == self.0
    }
}

/// How often a lock of the process's is looked for: it is held for a few instructions, and towards the end the processor is offered to who has it.
const LOOKS: u32 = 100;

/// A lock of the whole process, which who has it may have taken along, out of this process: `None` if it does not come free in a moment.
pub(super) fn lock_if_free<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    (0..LOOKS).find_map(|round| {
        let guard = mutex.try_lock();
        if guard.is_none() {
            pause(round);
        }
        guard
    })
}

extern "C" fn forked() {
    FORKS.fetch_add(1, Relaxed);
}
