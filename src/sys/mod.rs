//! The only place that names std's synchronisation types, futexes, the clock or loom.
//!
//! Two variants with the same surface: `real` for what ships, `model` for what loom explores. They differ in this, and each
//! difference is covered by a stress test on real threads (`tests/stress/`):
//!
//! | | shipped | modelled |
//! |---|---|---|
//! | [`Parker`] | a futex word with a token, looked at for some microseconds before a sleep (`look`) | a token under loom's mutex and condition variable |
//! | [`Mutex`] | std's mutex, poison ignored | loom's mutex |
//! | [`LightMutex`] | a word and a futex; a model of its own runs this code | loom's mutex |
//! | [`light`], [`bare`], [`heavy`], [`heavy_for_bare`] | a compiler's barrier, and membarrier(2) | `fence(SeqCst)`: more, for it also orders two light sides |
//! | [`bring_for_writing`] | a hint to the cache, on x86-64 | nothing |
//! | clock | `CLOCK_MONOTONIC` | stands still until a model moves it, at any point of the execution |
//! | a thread's spare slots | kept for its next waits (`wait::spare`) | none |
//! | which slots of an arena are free | a bit for each (`registry::free`); a model of its own runs this code | plain, with one step that loom sees |
//! | memory of a completion | kept by a thread for its next ones, or by the process (`completion::block`) | from the allocator |
//! | an arena's chunks | made when first used, by whoever is first | the first one made at once, and enough |
//! | per-thread value | `thread_local!` | loom's, because its threads share one OS thread |
//! | `Plain*` (fields of which the owner is known by another word) | relaxed atomics | the same, invisible to loom |

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "what the rest of the crate has in their place is made of them here"
)]

#[cfg_attr(unwedge_tsan, expect(dead_code, reason = "`tsan` has another in its place"))]
pub(crate) mod light_mutex;

mod until;
pub(crate) use until::Until;

#[cfg(unwedge_loom)]
mod model;
#[cfg(unwedge_loom)]
pub(crate) use model::{Mutex as LightMutex, MutexGuard as LightGuard, *};

#[cfg(not(unwedge_loom))]
#[cfg_attr(unwedge_tsan, expect(dead_code, reason = "`tsan` has other locks in their place"))]
mod real;
#[cfg(not(any(unwedge_loom, unwedge_tsan)))]
pub(crate) use light_mutex::{LightGuard, LightMutex};
#[cfg(not(unwedge_loom))]
pub(crate) use real::*;

#[cfg(not(unwedge_loom))]
mod look;
#[cfg(not(unwedge_loom))]
pub(crate) use look::look_as_task;

#[cfg(not(any(unwedge_loom, unwedge_tsan)))]
mod fence;
#[cfg(not(any(unwedge_loom, unwedge_tsan)))]
pub(crate) use fence::{bare, heavy, heavy_for_bare, is_free, light};

#[cfg(unwedge_tsan)]
mod tsan;
#[cfg(unwedge_tsan)]
// In the place of the others.
pub(crate) use tsan::{
    Mutex as LightMutex, Mutex, MutexGuard as LightGuard, MutexGuard, Signal, bare, heavy, heavy_for_bare, is_free,
    light,
};

/// Atomics for fields whose consistency is guaranteed by another word or lock: they are atomic so that a reader without any lock (a
/// report) is free of undefined behaviour, and are accessed relaxed, but for a waiter's place and links. loom does not see them, which keeps models small.
pub(crate) use std::sync::atomic::{
    AtomicPtr as PlainPtr, AtomicU8 as PlainU8, AtomicU32 as PlainU32, AtomicU64 as PlainU64,
};

pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
/// For readers of `Plain` fields, which loom does not see either.
pub(crate) use std::sync::atomic::fence as plain_fence;

/// Joins threads, by a deadline that may come nearer meanwhile. How many do not get past their end by then.
pub(crate) fn join_all_by(
    handles: impl IntoIterator<Item = JoinHandle<()>>,
    deadline: impl Fn() -> std::time::Instant,
) -> usize {
    handles.into_iter().map(|handle| usize::from(!join_by(handle, &deadline))).sum()
}

/// The next of the numbers that tell one life from another. (Not a model's: nothing is decided by it.)
pub(crate) fn next_generation() -> u64 {
    static LAST: PlainU64 = PlainU64::new(0);
    // Ordering: Relaxed: distinct numbers, and greater ones for who comes later, are what one variable's order gives.
    LAST.fetch_add(1, Relaxed) + 1
}
