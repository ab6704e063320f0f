//! Which backend, how large, and the service that the stop domain closes.

use std::{env, io, sync::Arc};

use super::{
    Io, IoService,
    backend::{self, Backends},
    pool::Pool,
};
use crate::{Stop, stop::StartHook};

/// Which backend an [`Io`] uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// io_uring where it works, and the pool elsewhere. The environment variable `UNWEDGE_IO` overrides it.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// A pool of threads.
    Pool,
}

/// Made by [`Io::builder`].
#[derive(Debug)]
#[must_use]
pub struct IoBuilder {
    domain: Stop,
    backend: Backend,
    depth: u32,
    threads: usize,
}

impl IoBuilder {
    pub(super) fn new(domain: &Stop) -> Self {
        IoBuilder { domain: domain.clone(), backend: Backend::Auto, depth: 256, threads: 16 }
    }

    /// Which backend; [`Backend::Auto`] by default.
    pub fn backend(self, backend: Backend) -> Self {
        IoBuilder { backend, ..self }
    }

    /// How many operations the ring has in the kernel at a time, from 1 to 4096; 256 by default. More wait for their turn.
    pub fn depth(self, depth: u32) -> Self {
        IoBuilder { depth: depth.clamp(1, 4096), ..self }
    }

    /// How many threads the pool has when none is stuck, at least 1; 16 by default. They are made when they are needed.
    pub fn threads(self, threads: usize) -> Self {
        IoBuilder { threads: threads.max(1), ..self }
    }

    /// Sets the backend up.
    ///
    /// # Errors
    ///
    /// If [`Backend::Uring`] was asked for, here or by `UNWEDGE_IO`, and does not work: then why. If `UNWEDGE_IO` is neither `uring` nor `pool`.
    pub fn build(self) -> io::Result<Io> {
        let hook = self.domain.start_hook();
        let wanted = match self.backend {
            Backend::Auto => override_of(env::var_os("UNWEDGE_IO").as_deref())?,
            chosen => chosen,
        };
        let pool = Pool::new(self.threads, hook.clone());
        let (transfers, fallback): (Arc<dyn backend::Backend>, _) = match wanted {
            Backend::Pool => (pool.clone(), None),
            Backend::Uring => (ring(self.depth, hook)?, None),
            Backend::Auto => match ring(self.depth, hook) {
                Ok(ring) => (ring, None),
                Err(error) => (pool.clone(), Some(Arc::from(error.to_string()))),
            },
        };
        let separate = transfers.name() != "pool";
        let service = IoService { transfers: Arc::clone(&transfers), pool: separate.then(|| pool.clone()) };
        self.domain.register_service(Arc::new(service));
        Ok(Io { backends: Arc::new(Backends { transfers, pool }), domain: self.domain, fallback })
    }
}

fn override_of(value: Option<&std::ffi::OsStr>) -> io::Result<Backend> {
    match value.map(|v| v.as_encoded_bytes()) {
        None | Some(b"") => Ok(Backend::Auto),
        Some(b"uring") => Ok(Backend::Uring),
        Some(b"pool") => Ok(Backend::Pool),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the environment variable UNWEDGE_IO is neither `uring` nor `pool`",
        )),
    }
}

#[cfg(feature = "uring")]
fn ring(depth: u32, hook: Option<StartHook>) -> io::Result<Arc<dyn backend::Backend>> {
    super::uring::Ring::start(depth, hook).map(|ring| ring as Arc<dyn backend::Backend>)
}

#[cfg(not(feature = "uring"))]
fn ring(_depth: u32, _hook: Option<StartHook>) -> io::Result<Arc<dyn backend::Backend>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `uring`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_backends_and_nothing_override() {
        let of = |value: Option<&str>| override_of(value.map(std::ffi::OsStr::new));
        assert_eq!(of(None).ok(), Some(Backend::Auto));
        assert_eq!(of(Some("")).ok(), Some(Backend::Auto));
        assert_eq!(of(Some("uring")).ok(), Some(Backend::Uring));
        assert_eq!(of(Some("pool")).ok(), Some(Backend::Pool));
        assert_eq!(of(Some("URING")).err().map(|e| e.kind()), Some(io::ErrorKind::InvalidInput));
    }
}
