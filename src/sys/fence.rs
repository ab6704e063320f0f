//! An asymmetric barrier: free for who waits, dear for who stops.
//!
//! Two threads each write a place of their own and then read the other's; at least one of them must see what the other wrote. Between its
//! write and its read each needs a full barrier, which costs as much as a locked instruction. Waits and unlocks are many; stops are few, and so are those
//! who find a lock taken for which nobody has queued lately. So [`light`], on the side of the many, only keeps the compiler from moving the read before
//! the write, and [`heavy`], on the other side, has the kernel run a full barrier on every processor that runs a thread of this process just then
//! (membarrier(2), `PRIVATE_EXPEDITED`; a thread that does not run passed one when it was switched out).
//!
//! Where the kernel refuses membarrier (before Linux 4.14, a container's filter) both are full fences. If it refuses only later (a filter
//! that was set meanwhile), those who passed the light side before are waited for: what a processor has written becomes visible by itself, within far less
//! than [`SETTLE`]. Whoever comes to the other side in that time waits as well.
//!
//! Who has a word by which to know whether the light side is free, and another way where it is not, passes it by [`bare`], with no look at what this file knows.
//! [`heavy_for_bare`] is the other side of that, also where the word was written before membarrier was refused.
//!
//! Invariant, cited as **Asymmetric**: of a `write; light(); read` and a `write; heavy(); read` at least one read sees the other's write, or what
//! followed it.

use std::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};
use std::time::Duration;

use rustix::thread::{MembarrierCommand, membarrier};

const UNKNOWN: u8 = 0;
const ASYMMETRIC: u8 = 1;
/// Refused although it was granted before: `light` is a full fence from now on, and `heavy` still waits for those that were none.
const SETTLING: u8 = 2;
const SYMMETRIC: u8 = 3;

/// How long a write may take to be seen, with a wide margin: a processor's store buffer empties within microseconds.
const SETTLE: Duration = Duration::from_millis(1);

/// Which of the two it is. Left from `UNKNOWN` once; `ASYMMETRIC` goes over `SETTLING` to `SYMMETRIC`. Ordering: Relaxed, nothing is published by it.
static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The side of the many: see the head of this file.
#[inline]
pub(crate) fn light() {
    if MODE.load(Ordering::Relaxed) == ASYMMETRIC {
        compiler_fence(Ordering::SeqCst);
    } else {
        light_slow();
    }
}

/// As [`light`] where that is free, and nothing otherwise: for who knows by a word of its own that it [is](is_free), or was lately.
#[inline(always)]
pub(crate) fn bare() {
    compiler_fence(Ordering::SeqCst);
}

/// Whether [`light`] is free. Found out once: where threads run already the kernel takes some milliseconds for that.
pub(crate) fn is_free() -> bool {
    find_out();
    MODE.load(Ordering::Relaxed) == ASYMMETRIC
}

#[cold]
fn light_slow() {
    find_out();
    fence(Ordering::SeqCst);
}

/// The other side: see the head of this file. Some microseconds.
#[cold]
pub(crate) fn heavy() {
    find_out();
    let settle = match MODE.load(Ordering::Relaxed) {
        // A child of a fork registers for itself.
        ASYMMETRIC => !(barrier() || register() && barrier()),
        mode => mode == SETTLING,
    };
    if settle {
        MODE.store(SETTLING, Ordering::Relaxed);
        std::thread::sleep(SETTLE);
        MODE.store(SYMMETRIC, Ordering::Relaxed);
    }
    fence(Ordering::SeqCst);
}

/// As [`heavy`], where the other side is [`bare`].
#[cold]
pub(crate) fn heavy_for_bare() {
    if is_free() {
        heavy();
    } else {
        std::thread::sleep(SETTLE);
        fence(Ordering::SeqCst);
    }
}

#[cold]
fn find_out() {
    if MODE.load(Ordering::Relaxed) == UNKNOWN {
        let mode = if register() { ASYMMETRIC } else { SYMMETRIC };
        let _ = MODE.compare_exchange(UNKNOWN, mode, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn register() -> bool {
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
}

fn barrier() -> bool {
    membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

    use super::{MODE, Ordering, SYMMETRIC, heavy, light};

    /// Waits beside it are in `tests/barrier_refused.rs`.
    #[test]
    fn both_sides_pay_once_membarrier_is_refused() {
        light();
        let refused = std::thread::spawn(|| {
            let rules = BTreeMap::from([(libc::SYS_membarrier, Vec::new())]);
            let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
            let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
            // For this thread alone, which ends.
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            heavy();
            MODE.load(Ordering::Relaxed)
        });
        assert_eq!(refused.join().unwrap(), SYMMETRIC);
    }
}
