//! The C ABI of unwedge: `libunwedge.so` and `unwedge.h`. `unwedge.hpp` is a C++11 header over it.
//!
//! On the public API of the crate `unwedge` alone. What a C program has to know is in the header, which is made from the comments here;
//! what a C++ program has to change is in `PORTING.md`.
//!
//! | file | what it is |
//! |---|---|
//! | `border` | what each entry does first and last: panics, cancellation, arguments |
//! | `handle` | opaque, counted handles |
//! | `claim` | what one call has at a time |
//! | `stop`, `plan`, `step`, `report`, `inversion` | stop domains, shutdown, who is left, locks in contradicting orders |
//! | `lock`, `condvar` | waits over a lock of the caller's |
//! | `monitor` | a lock that the library keeps, taken and waited with by stoppable calls |
//! | `completion` | one-shot results, the caller's and those of I/O |
//! | `io` | files as completions |
//! | `log` | events, and what panicked |
//!
//! # Invariants
//! - **Border.** No panic leaves an entry: each runs in `border` or `blocking`.
//! - **Call.** No pointer of the caller's is kept past the call that was given it. A callback's `arg` is no such pointer: it is passed on, never
//!   looked at.
//! - **Handle.** A handle that the caller passes is NULL, or one that it has been given and has not released; the tag at its head says what it is.
//! - **Callback.** A callback does not unwind, and may be called from any thread.
#![expect(non_camel_case_types, reason = "C's names for C's types")]

mod border;
mod claim;
pub mod completion;
pub mod condvar;
mod handle;
pub mod inversion;
pub mod io;
pub mod lock;
pub mod log;
pub mod monitor;
mod names;
pub mod plan;
pub mod report;
pub mod step;
pub mod stop;
