//! Which backend, how large, and the service that the stop domain closes.

use std::{
    env, io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Io,
    backend::{self, Backends},
    closing::Closers,
    deadline::Deadlines,
    external::{Externals, Outstanding},
    fork::Birth,
    meter::Meter,
    pool::Pool,
};
use crate::{
    Stop,
    stop::{Leaked, Service, StartHook},
    sys::{PlainU8, Relaxed, Until, WAY_OUT, now},
};

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
///
/// ```
/// use std::time::Duration;
/// use unwedge::{Stop, io::{Backend, Io}};
///
/// let stop = Stop::new("mds.a");
/// let io = Io::builder(&stop).backend(Backend::Pool).threads(4).name("mds.a").deadline(Duration::from_secs(30)).build()?;
/// assert_eq!(io.backend(), "pool");
/// assert_eq!(Io::builder(&stop).depth(0).build().unwrap_err().to_string(), "a depth of 0: it is from 1 to 4096");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct IoBuilder {
    domain: Stop,
    backend: Backend,
    depth: u32,
    threads: usize,
    deadline: Option<Duration>,
    name: Option<String>,
}

const MOST_DEPTH: u32 = 4096;
const MOST_THREADS: usize = 1024;
/// What of a name there is room for in a thread's: the kernel keeps 15 bytes, `uw-` before it and `-` with four digits or `-ring` behind it.
const NAME: usize = 7;

impl IoBuilder {
    pub(super) fn new(domain: &Stop) -> Self {
        let (backend, depth, threads) = (Backend::Auto, 256, 16);
        IoBuilder { domain: domain.clone(), backend, depth, threads, deadline: None, name: None }
    }

    /// Which backend; [`Backend::Auto`] by default.
    pub fn backend(self, backend: Backend) -> Self {
        IoBuilder { backend, ..self }
    }

    /// How many operations of one file system the ring has in the kernel at a time, from 1 to 4096; 256 by default. More wait for their turn. Of all
    /// file systems together it has up to four times as many, so that one which does not answer leaves the others theirs. What the kernel cannot do without
    /// blocking (opens; FUSE, NFS) has a thread of its own there while it lasts: leave room for so many where the number of a daemon's threads is limited.
    pub fn depth(self, depth: u32) -> Self {
        IoBuilder { depth, ..self }
    }

    /// How many threads the pool has when none is stuck, from 1 to 1024; 16 by default. They are made when they are needed. A pool whose threads are
    /// stuck grows beyond it, but one file system never has more than this or 64 of them, whichever is more.
    pub fn threads(self, threads: usize) -> Self {
        IoBuilder { threads, ..self }
    }

    /// When an operation that was not answered counts as failed: its completion then gives an error that
    /// [says so](super::IoError::is_timed_out). The operation itself goes on, and keeps its buffer until the kernel is through with it. There is none by default.
    ///
    /// It is for what goes to a backend on behalf of [`Io`]: not for [`run_blocking`](Io::run_blocking), whose error cannot say so, nor for
    /// [`external`](Io::external), whose foreign code has deadlines of its own. A wait may have an earlier one: [`wait_until`](crate::Completion::wait_until).
    pub fn deadline(self, deadline: Duration) -> Self {
        IoBuilder { deadline: Some(deadline), ..self }
    }

    /// What the threads are called: `uw-` and the first 7 bytes of it, then what they do. Without a name they are `uw-ring`, `uw-pool-1` and so on.
    pub fn name(self, name: &str) -> Self {
        IoBuilder { name: Some(name.to_owned()), ..self }
    }

    /// Sets the backend up.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a number or the name is out of its bounds, and if `UNWEDGE_IO` is neither `uring` nor `pool`. If [`Backend::Uring`] was
    /// asked for, here or by `UNWEDGE_IO`, and does not work: then why. If a deadline was asked for, and its thread cannot be started.
    pub fn build(self) -> io::Result<Io> {
        self.check()?;
        let hook = self.domain.start_hook();
        let wanted = match self.backend {
            Backend::Auto => override_of(env::var_os("UNWEDGE_IO").as_deref())?,
            chosen => chosen,
        };
        let birth = Birth::now();
        let pool = Pool::new(self.threads, &self.thread_name("pool", ""), hook.clone());
        let ring_name = self.thread_name("ring", "-ring");
        let (transfers, fallback): (Arc<dyn backend::Backend>, Option<Arc<str>>) = match wanted {
            Backend::Pool => (pool.clone(), None),
            Backend::Uring => (ring(self.depth, &ring_name, hook.clone())?, None),
            Backend::Auto => match ring(self.depth, &ring_name, hook.clone()) {
                Ok(ring) => (ring, None),
                Err(error) => (pool.clone(), Some(Arc::from(error.to_string()))),
            },
        };
        if let Some(reason) = &fallback {
            super::export::fell_back(self.domain.name(), reason);
        }
        let deadlines = match self.deadline {
            Some(limit) => Some(Deadlines::start(limit, &self.thread_name("time", "-time"), hook)?),
            None => None,
        };
        let backends = Backends {
            transfers,
            pool,
            meter: Arc::new(Meter::new()),
            deadlines,
            outstanding: Arc::new(Outstanding::new()),
            closers: Arc::new(Closers::new()),
            fallback,
            birth,
            closed: Arc::new(PlainU8::new(0)),
        };
        self.domain.register_service(Arc::new(IoService::of(&backends, self.domain.name())));
        Ok(Io { backends: Arc::new(backends), externals: Externals::new(&self.domain) })
    }

    fn check(&self) -> io::Result<()> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if !(1..=MOST_DEPTH).contains(&self.depth) {
            return wrong(format!("a depth of {}: it is from 1 to {MOST_DEPTH}", self.depth));
        }
        if !(1..=MOST_THREADS).contains(&self.threads) {
            return wrong(format!("{} threads: there are from 1 to {MOST_THREADS}", self.threads));
        }
        if self.deadline.is_some_and(|deadline| deadline.is_zero()) {
            return wrong("a deadline of 0: no operation could meet it".to_owned());
        }
        match &self.name {
            Some(name) if name.is_empty() => wrong("an empty name".to_owned()),
            Some(name) if name.contains('\0') => wrong(format!("the name {name:?}: a thread's has no NUL byte")),
            _ => Ok(()),
        }
    }

    /// `uw-NAME` and what follows, or `uw-WHAT`.
    fn thread_name(&self, what: &str, follows: &str) -> String {
        let Some(name) = &self.name else { return format!("uw-{what}") };
        let cut = (0..=NAME).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
        format!("uw-{}{follows}", name.get(..cut).unwrap_or(name))
    }
}

/// What the stop domain closes at the end of a shutdown. Holds the backends' own state alone, so it keeps no thread alive.
struct IoService {
    transfers: Arc<dyn backend::Backend>,
    /// `None` where it is also `transfers`.
    pool: Option<Arc<Pool>>,
    deadlines: Option<Arc<Deadlines>>,
    outstanding: Arc<Outstanding>,
    closers: Arc<Closers>,
    meter: Arc<Meter>,
    birth: Birth,
    closed: Arc<PlainU8>,
    domain: Box<str>,
}

impl IoService {
    fn of(backends: &Backends, domain: &str) -> IoService {
        let separate = backends.transfers.name() != "pool";
        IoService {
            transfers: Arc::clone(&backends.transfers),
            pool: separate.then(|| backends.pool.clone()),
            deadlines: backends.deadlines.clone(),
            outstanding: Arc::clone(&backends.outstanding),
            closers: Arc::clone(&backends.closers),
            meter: Arc::clone(&backends.meter),
            birth: backends.birth,
            closed: Arc::clone(&backends.closed),
            domain: domain.into(),
        }
    }
}

impl Service for IoService {
    fn close(&self, deadline: Instant) -> Leaked {
        if !self.birth.is_here() {
            // What is in flight is the other process's.
            return Leaked::default();
        }
        self.closed.store(1, Relaxed);
        let mut leaked = self.transfers.close(deadline);
        if let Some(pool) = &self.pool {
            let more = backend::Backend::close(&**pool, deadline);
            leaked.operations += more.operations;
            leaked.bytes += more.bytes;
            leaked.threads += more.threads;
        }
        let outstanding = self.outstanding.wait(deadline);
        leaked.operations += outstanding;
        leaked.threads += self.closers.close(outstanding, deadline);
        if let Some(deadlines) = &self.deadlines {
            leaked.threads += deadlines.close(deadline);
        }
        let until = Until::new(deadline.max(now() + WAY_OUT), || self.closers.is_hurried());
        leaked.threads += super::export::closed(&self.domain, leaked, || until.at());
        self.meter.leaked(leaked);
        leaked
    }

    fn hurry(&self) {
        if self.birth.is_here() {
            self.transfers.hurry();
            if let Some(pool) = &self.pool {
                backend::Backend::hurry(&**pool);
            }
            self.outstanding.hurry();
            self.closers.hurry();
            if let Some(deadlines) = &self.deadlines {
                deadlines.hurry();
            }
        }
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
fn ring(depth: u32, name: &str, hook: Option<StartHook>) -> io::Result<Arc<dyn backend::Backend>> {
    super::uring::Ring::start(depth, name, hook).map(|ring| ring as Arc<dyn backend::Backend>)
}

#[cfg(not(feature = "uring"))]
fn ring(_depth: u32, _name: &str, _hook: Option<StartHook>) -> io::Result<Arc<dyn backend::Backend>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `uring`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_what_a_thread_has_room_for() {
        let stop = Stop::new("test");
        let named = |name: &str| Io::builder(&stop).name(name).thread_name("pool", "-ring");
        assert_eq!(named("mds"), "uw-mds-ring");
        assert_eq!(named("mds.filesystem"), "uw-mds.fil-ring");
        assert_eq!(named("aéééé"), "uw-aééé-ring");
        assert_eq!(Io::builder(&stop).thread_name("pool", ""), "uw-pool");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let stop = Stop::new("test");
        let text = |builder: IoBuilder| builder.build().err().map(|error| error.to_string());
        let builder = || Io::builder(&stop).backend(Backend::Pool);
        assert_eq!(text(builder().depth(5000)).as_deref(), Some("a depth of 5000: it is from 1 to 4096"));
        assert_eq!(text(builder().threads(0)).as_deref(), Some("0 threads: there are from 1 to 1024"));
        let zero = text(builder().deadline(Duration::ZERO));
        assert_eq!(zero.as_deref(), Some("a deadline of 0: no operation could meet it"));
        assert_eq!(text(builder().name("")).as_deref(), Some("an empty name"));
        assert!(text(builder().name("a\0b")).is_some_and(|text| text.contains("NUL")));
        assert_eq!(text(builder().name("mds").depth(4096).threads(1024)), None);
    }

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
