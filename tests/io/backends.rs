//! The backends that there are here.

use unwedge::{
    Stop,
    io::{Backend, Io},
};

/// Both, or the pool alone where io_uring is refused.
pub fn backends() -> Vec<Backend> {
    match Io::builder(&Stop::new("probe")).backend(Backend::Uring).build() {
        Ok(_) => vec![Backend::Uring, Backend::Pool],
        Err(error) => {
            eprintln!("not tested on io_uring: {error}");
            vec![Backend::Pool]
        }
    }
}
