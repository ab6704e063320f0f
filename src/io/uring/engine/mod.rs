//! What the ring's owner and its callers do with each other, without the ring: the inbox, the slab, and the owner's rounds.
//!
//! Nothing here knows io_uring, a file or a system call: the kernel is a trait ([`Kernel`]), an operation two ([`Operation`], [`Flight`]). So
//! this very code is compiled for loom too, where a thread plays the kernel (`loom-tests/tests/models/ring.rs`); its parents in `io` are not.

mod backlog;
mod inbox;
mod owner;
#[cfg(all(test, not(unwedge_loom)))]
mod rounds;
#[cfg(unwedge_loom)]
#[path = "../../shares.rs"]
mod shares;
mod slab;

#[cfg(not(unwedge_loom))]
use crate::io::shares;

pub use inbox::{Inbox, Outside};
pub use owner::{Entry, Flight, Kernel, Landed, Landing, Left, Operation, Owner, Sleep};
pub use slab::Key;
