//! I/O on both backends: right results, and the rules of ownership and shutdown.
//!
//! Every test runs on each backend that this machine has. `io_refused.rs` runs this file's scenarios under a seccomp filter.

#[path = "io/scenarios.rs"]
mod scenarios;

use std::time::Duration;

use unwedge::{
    Plan, Stop,
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
    let stop = Stop::new("test");
    let uring = Io::builder(&stop).backend(Backend::Uring).build();
    let auto = Io::builder(&stop).build().expect("a backend");
    match uring {
        Ok(_) => assert_eq!((auto.backend(), auto.fallback_reason()), ("uring", None)),
        Err(error) => assert_eq!((auto.backend(), auto.fallback_reason()), ("pool", Some(&*error.to_string()))),
    }
    assert!(stop.shutdown(Plan::within(Duration::from_secs(30))).is_clean());
}
