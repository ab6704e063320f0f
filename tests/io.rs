//! I/O on both backends: right results, and the rules of ownership and shutdown.
//!
//! Every test runs on each backend that this machine has. `io_refused.rs` runs this file's scenarios under a seccomp filter.

#[path = "io/scenarios.rs"]
mod scenarios;

use unwedge::{
    Stop,
    io::{Backend, Io},
};

/// A test a scenario and backend.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $name() { if super::has_uring() { super::scenarios::$name(super::Backend::Uring) } })*
        }
        mod pool {
            $(#[test] fn $name() { super::scenarios::$name(super::Backend::Pool) })*
        }
    };
}

include!("io/list.rs");

/// Whether this machine has io_uring; says so if not, since then half of the tests have nothing to look at.
fn has_uring() -> bool {
    let refused = Io::builder(&Stop::new("probe")).backend(Backend::Uring).build().err();
    if let Some(error) = &refused {
        eprintln!("not tested on io_uring: {error}");
    }
    refused.is_none()
}

#[test]
fn the_ring_is_what_auto_means_where_it_works() {
    scenarios::auto_agrees_with_what_works();
}
