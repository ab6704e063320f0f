//! A cluster's handle: how it is opened, and how it is closed.
//!
//! # How it is closed
//!
//! In the order that librados needs: operations are cancelled (by the stop, through their hooks), their callbacks have run, no thread is in a call
//! that blocks; then the pools' handles go, then the cluster's. The shutdown of the domain does it as its last step, on a thread of its own. If by then
//! librados still has an operation (what it cannot cancel: a watch, a notification), or a call still blocks, nothing of it is safe: then the handle is left
//! as it is, with all that librados has, and the report counts it. The gate knows (**Idle for good**).
//!
//! # Invariants
//!
//! - **A live handle**: librados is called with a share of [`Live`], or under a [`Call`]; the handles are taken out of it by who has it alone, and closed
//!   when there is no call.
//! - **Once**: a handle is closed by who has taken it out.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::{CStr, CString, c_char, c_int},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use unwedge::{
    Completion, Stop,
    io::{Backend, Io},
};

use crate::{
    Pool, RadosError,
    blocking::on_thread,
    error::Cause,
    ffi,
    flight::lock,
    gate::{Call, Gate, Limits},
    limits::below,
    watch::{Watching, whole_seconds},
};

/// How many seconds one attempt to connect may take: so long a thread may be left behind when a stop comes.
const ATTEMPT: &CStr = c"1";

/// How many looks, of a millisecond each, what librados cannot cancel has to end by itself when all else has: a healthy OSD needs some.
const LAST: u32 = 20;

/// The same when the shutdown's deadline has passed, and cancels may be on their way.
const LATE: u32 = 5;

/// What librados answers if no monitor did within the time of an attempt.
const ETIMEDOUT: i32 = 110;

/// A cluster that is connected. Cheap to clone; the handle is closed by the shutdown of its domain, or when the last clone, [`Pool`] and operation
/// has gone.
///
/// ```no_run
/// use unwedge::Stop;
/// use unwedge_rados::Cluster;
///
/// let stop = Stop::new("mds.a");
/// let cluster = Cluster::connect(&stop, "/etc/ceph/ceph.conf").wait()??;      // also with no monitor alive a stop ends it
/// let meta = cluster.pool("cephfs_metadata").wait()??;
/// let (size, _) = meta.stat("200.00000000").wait()??;
/// let header = meta.read("200.00000000", 0, size as usize).wait()??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) io: Io,
    pub(crate) domain: Stop,
    pub(crate) shared: Arc<Shared>,
}

/// How a cluster is connected to.
///
/// ```no_run
/// # use unwedge::Stop;
/// # use unwedge_rados::Cluster;
/// # let stop = Stop::new("mds.a");
/// let connected = Cluster::builder("/etc/ceph/ceph.conf").user("mds.a").option("log_to_stderr", "false").operations(256).connect(&stop);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterBuilder {
    conf: PathBuf,
    user: Option<String>,
    options: Vec<(String, String)>,
    limits: Limits,
}

impl ClusterBuilder {
    /// As which user, as `admin`; librados's default otherwise. One that has no key is refused when it is connected.
    pub fn user(self, name: &str) -> Self {
        ClusterBuilder { user: Some(name.to_owned()), ..self }
    }

    /// Sets one of Ceph's options, after the file has been read; one that Ceph does not know is an error of [`connect`](Self::connect). One thread of librados's for callbacks and one for its sockets (`librados_thread_count` and
    /// `ms_async_op_threads` 1, in the place of 2 and 3) took, on two cores with 32 operations in flight, 15 to 19 µs of CPU for a read in the place of 21, and
    /// 19 to 25 for a page of an omap in the place of 37; one operation alone took as long.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many operations librados is given at a time, from 1 to 1,000; 512 by default; always fewer than librados's own `objecter_inflight_ops`, beyond which
    /// it blocks who submits. What comes beyond it waits for its turn, and ends by a stop as any other.
    pub fn operations(mut self, most: usize) -> Self {
        self.limits.operations = most.clamp(1, 1000);
        self
    }

    /// How many bytes the operations that librados is given may move together, at most 96 MiB; 64 MiB by default; always fewer than librados's own
    /// `objecter_inflight_op_bytes`. An operation that moves more goes when no other moves any.
    pub fn bytes(mut self, most: usize) -> Self {
        self.limits.bytes = most.clamp(1, 96 << 20);
        self
    }

    /// Connects, for as long as somebody waits for it: a monitor that does not answer is asked again. The thread that does it may stay for another second
    /// when nobody waits any more.
    ///
    /// # Errors
    ///
    /// The configuration cannot be read ([`is_missing`](RadosError::is_missing) if it is not there) or has an option that Ceph does not know, the cluster refuses, or
    /// there is no thread to be had. A monitor that does not answer is none.
    ///
    /// # Cancel safety
    ///
    /// A connection that nobody waits for any more is closed.
    pub fn connect(self, stop: &Stop) -> Completion<Cluster, RadosError> {
        let shown = self.conf.display().to_string();
        // For what blocks there are threads by name: this is for the completions alone.
        let io = match Io::builder(stop).backend(Backend::Pool).threads(1).name("rados").build() {
            Ok(io) => io,
            Err(error) => {
                let cause = Cause::Failed(error.raw_os_error().unwrap_or(0));
                return Completion::ready(Err(RadosError::new("connect", Some(&shown), cause)), stop);
            }
        };
        let (own, stop) = (io.clone(), stop.clone());
        on_thread(&io, "connect", &shown, move |is_wanted| {
            let handle = loop {
                match self.attempt() {
                    Err(Cause::Failed(ETIMEDOUT)) if is_wanted() && !stop.is_requested() => {}
                    result => break result?,
                }
            };
            let limits = below(self.limits, &handle);
            Cluster::of((own, &stop), handle, limits)
        })
    }

    /// One attempt.
    fn attempt(&self) -> Result<Handle, Cause> {
        let text = |text: &str| CString::new(text).map_err(|_| Cause::ZeroByte);
        let user = self.user.as_deref().map(text).transpose()?;
        let mut raw: ffi::Rados = std::ptr::null_mut();
        // SAFETY: `raw` and `user` outlive the call.
        check(unsafe {
            ffi::rados_create(&raw mut raw, user.as_ref().map_or(std::ptr::null(), |user| user.as_ptr()))
        })?;
        let handle = Handle(raw);
        let conf = text(&self.conf.to_string_lossy())?;
        // SAFETY: **A live handle**: it was made above. The path outlives the call.
        check(unsafe { ffi::rados_conf_read_file(handle.0, conf.as_ptr()) })?;
        handle.set(c"client_mount_timeout", ATTEMPT)?;
        for (name, value) in &self.options {
            handle.set(&text(name)?, &text(value)?)?;
        }
        // SAFETY: **A live handle**: as above.
        connected(unsafe { ffi::rados_connect(handle.0) })?;
        Ok(handle)
    }
}

/// What librados says of an attempt. Above zero is no success: its monitor client says 1 for "in progress", and says that if a monitor's answer comes just as the
/// time is up. The client has been taken apart by then, and asking it for its address would end the process.
fn connected(answer: c_int) -> Result<(), Cause> {
    match answer {
        0 => Ok(()),
        1.. => Err(Cause::Failed(ETIMEDOUT)),
        _ => check(answer).map(drop),
    }
}

/// An error number for a negative answer.
pub(crate) fn check(answer: c_int) -> Result<usize, Cause> {
    usize::try_from(answer).map_err(|_| Cause::Failed(answer.saturating_neg()))
}

/// A cluster's handle of librados, which is shut down with it.
pub(crate) struct Handle(pub(crate) ffi::Rados);

// SAFETY: librados's functions may be called from any thread.
unsafe impl Send for Handle {}
// SAFETY: As above, and from several at a time.
unsafe impl Sync for Handle {}

impl Handle {
    fn set(&self, option: &CStr, value: &CStr) -> Result<usize, Cause> {
        // SAFETY: **A live handle**: this is one. The strings outlive the call.
        check(unsafe { ffi::rados_conf_set(self.0, option.as_ptr(), value.as_ptr()) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: **Once**: the handle is owned. Nothing of it is in use: it was not connected, or `Handles` has gone before.
        unsafe { ffi::rados_shutdown(self.0) };
    }
}

/// A pool's handle.
#[derive(Clone, Copy)]
pub(crate) struct IoHandle(pub(crate) ffi::IoCtx);

// SAFETY: librados's functions may be called from any thread.
unsafe impl Send for IoHandle {}
// SAFETY: As above, and from several at a time.
unsafe impl Sync for IoHandle {}

/// All that is closed with a cluster, in the order in which it is dropped.
struct Handles {
    pools: Mutex<HashMap<String, IoHandle>>,
    cluster: Handle,
    /// Librados's callbacks have their addresses: so they go after it.
    watches: Mutex<Vec<Arc<Watching>>>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        let watched = !lock(&self.watches).is_empty();
        if watched {
            // SAFETY: **A live handle**: it goes after this. Callbacks of watches that run are waited for; they only queue.
            unsafe { ffi::rados_watch_flush(self.cluster.0) };
        }
        for (_, pool) in lock(&self.pools).drain() {
            // SAFETY: **Once**: it was taken out. No operation of it is in flight: who drops this has seen to it.
            unsafe { ffi::rados_ioctx_destroy(pool.0) };
        }
    }
}

/// The handles as long as they may be used.
pub(crate) struct Live(Option<Handles>);

impl Live {
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// The cluster's handle, for as long as this is held.
    pub(crate) fn handle(&self) -> Result<ffi::Rados, Cause> {
        self.0.as_ref().map(|handles| handles.cluster.0).ok_or(Cause::Closed)
    }

    /// Keeps a pool's handle until the cluster's is closed. One that was there before is taken instead.
    fn keep_pool(&self, name: &str, fresh: IoHandle) -> Result<IoHandle, Cause> {
        let Some(handles) = &self.0 else { return Err(Cause::Closed) };
        match lock(&handles.pools).entry(name.to_owned()) {
            Entry::Vacant(place) => Ok(*place.insert(fresh)),
            Entry::Occupied(known) => {
                // SAFETY: **Once**: nobody has it but the caller, who gives it away.
                unsafe { ffi::rados_ioctx_destroy(fresh.0) };
                Ok(*known.get())
            }
        }
    }

    /// Keeps what librados has an address of until the cluster's handle has been closed.
    pub(crate) fn keep(&self, watching: &Arc<Watching>) {
        if let Some(handles) = &self.0 {
            lock(&handles.watches).push(Arc::clone(watching));
        }
    }
}

/// What everything of a cluster shares.
pub(crate) struct Shared {
    live: RwLock<Live>,
    pub(crate) gate: Arc<Gate>,
    /// The gate's thread.
    submitter: Mutex<Option<JoinHandle<()>>>,
    /// A count for people: so relaxed.
    undecided: AtomicU64,
    instance: u64,
    address: String,
}

impl Shared {
    pub(crate) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a call that blocks: the handle, which is not closed as long as the call is there.
    pub(crate) fn call(&self) -> Result<(Call, ffi::Rados), Cause> {
        let call = self.gate.call().ok_or(Cause::Closed)?;
        Ok((call, self.live().handle()?))
    }

    pub(crate) fn count_undecided(&self) {
        // Relaxed: nothing is read on the strength of it.
        self.undecided.fetch_add(1, Relaxed);
    }

    fn take(&self) -> (Option<Handles>, Option<JoinHandle<()>>) {
        let handles = self.live.write().unwrap_or_else(PoisonError::into_inner).0.take();
        (handles, lock(&self.submitter).take())
    }

    /// The end of a shutdown. How many threads are left. So many operations of the domain's had not ended at its deadline.
    fn close(&self, outstanding: usize) -> usize {
        let is_idle = self.gate.close_within(if outstanding == 0 { LAST } else { LATE });
        let (handles, submitter) = self.take();
        let Some(handles) = handles else { return 0 };
        if !is_idle {
            // Librados still has memory of operations, or a thread is in a call of it: it is left with all of that.
            let _left = std::mem::ManuallyDrop::new(handles);
            return 1;
        }
        finish(handles, submitter);
        0
    }
}

fn finish(handles: Handles, submitter: Option<JoinHandle<()>>) {
    if let Some(submitter) = submitter {
        drop(submitter.join());
    }
    drop(handles);
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.gate.close();
        let (Some(handles), submitter) = self.take() else { return };
        // Without a shutdown. Nothing is in flight, because operations have a share of this; but this may be one of librados's own threads, in the
        // callback of the last of them: so another thread does it. If there is none to be had, the closure and the handles in it are dropped here.
        drop(std::thread::Builder::new().name("uw-rados-end".to_owned()).spawn(move || finish(handles, submitter)));
    }
}

impl Cluster {
    /// Connects to the cluster of a configuration file, for as long as somebody waits for it. See [`ClusterBuilder::connect`].
    ///
    /// ```no_run
    /// # fn f(stop: &unwedge::Stop) -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = unwedge_rados::Cluster::connect(stop, "/etc/ceph/ceph.conf").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ClusterBuilder::connect`].
    ///
    /// # Cancel safety
    ///
    /// A connection that nobody waits for any more is closed.
    pub fn connect(stop: &Stop, conf: impl AsRef<Path>) -> Completion<Cluster, RadosError> {
        Cluster::builder(conf).connect(stop)
    }

    /// Chooses the user, Ceph's options and the limits. See [`ClusterBuilder`].
    pub fn builder(conf: impl AsRef<Path>) -> ClusterBuilder {
        let limits = Limits { operations: 512, bytes: 64 << 20 };
        ClusterBuilder { conf: conf.as_ref().to_owned(), user: None, options: Vec::new(), limits }
    }

    /// A cluster that has just been connected.
    fn of((io, domain): (Io, &Stop), handle: Handle, limits: Limits) -> Result<Cluster, Cause> {
        // SAFETY: **A live handle**: it is owned here.
        let instance = unsafe { ffi::rados_get_instance_id(handle.0) };
        let address = address(&handle)?;
        let handles = Handles { pools: Mutex::default(), cluster: handle, watches: Mutex::default() };
        let gate = Arc::new(Gate::new(limits));
        let own = Arc::clone(&gate);
        let submitter = std::thread::Builder::new().name("uw-rados".to_owned()).spawn(move || own.run());
        let submitter = submitter.map_err(|error| Cause::Failed(error.raw_os_error().unwrap_or(0)))?;
        let shared = Arc::new(Shared {
            live: RwLock::new(Live(Some(handles))),
            gate,
            submitter: Mutex::new(Some(submitter)),
            undecided: AtomicU64::new(0),
            instance,
            address,
        });
        let closes = Arc::downgrade(&shared);
        let hooked = io.on_close(move |outstanding| closes.upgrade().map_or(0, |shared| shared.close(outstanding)));
        // The shutdown was faster: what was connected is closed by its drop.
        hooked.map_err(|_| Cause::Closed)?;
        Ok(Cluster { io, domain: domain.clone(), shared })
    }

    /// Opens a pool by its name. One that was opened before is shared.
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// let meta = cluster.pool("cephfs_metadata").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such pool ([`is_missing`](RadosError::is_missing)), or the handle has been [closed](RadosError::is_closed).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping it.
    pub fn pool(&self, name: &str) -> Completion<Pool, RadosError> {
        let (cluster, own) = (self.clone(), name.to_owned());
        on_thread(&self.io, "pool", name, move |_| {
            let text = CString::new(own.as_str()).map_err(|_| Cause::ZeroByte)?;
            let (_call, handle) = cluster.shared.call()?;
            let mut raw: ffi::IoCtx = std::ptr::null_mut();
            // SAFETY: **A live handle**, by the call. `raw` and the name outlive the call.
            check(unsafe { ffi::rados_ioctx_create(handle, text.as_ptr(), &raw mut raw) })?;
            let io = cluster.shared.live().keep_pool(&own, IoHandle(raw))?;
            Ok(Pool::new(&cluster, io, &own))
        })
    }

    /// Fences a client: the cluster refuses whatever that [address](Self::address) sends from now on, for so many seconds, rounded up (an hour if 0).
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// cluster.blocklist_add("192.0.2.1:0/4123", std::time::Duration::from_secs(3600)).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// That is no address (`EINVAL`), this client may not (`EACCES`), or the handle has been [closed](RadosError::is_closed).
    ///
    /// # Cancel safety
    ///
    /// Nobody knows then whether it was done.
    pub fn blocklist_add(&self, address: &str, expire: Duration) -> Completion<(), RadosError> {
        let (shared, own) = (Arc::clone(&self.shared), address.to_owned());
        let seconds = if expire.is_zero() { 0 } else { whole_seconds(expire) };
        on_thread(&self.io, "blocklist_add", address, move |_| {
            let (_call, handle) = shared.call()?;
            let address = CString::new(own).map_err(|_| Cause::ZeroByte)?.into_raw();
            // SAFETY: **A live handle**, by the call; the address is a string of its own that outlives the call.
            let answer = unsafe { ffi::rados_blocklist_add(handle, address, seconds) };
            // SAFETY: It came from `into_raw` above.
            drop(unsafe { CString::from_raw(address) });
            check(answer).map(drop)
        })
    }

    /// The same cluster for another domain: for a phase of a shutdown. The handle is closed with the first domain all the same.
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// let phase = unwedge::Stop::new("save");
    /// let meta = cluster.with(&phase).pool("cephfs_metadata").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(&self, domain: &Stop) -> Cluster {
        Cluster { io: self.io.with(domain), domain: domain.clone(), shared: Arc::clone(&self.shared) }
    }

    /// This client's number in the cluster, as in `client.4123`; a [`Locker`](crate::Locker) and a [`Notification`](crate::Notification) name it.
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("client.{} at {}", cluster.instance(), cluster.address());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.shared.instance
    }

    /// This client's address, by which another client can have it [fenced](Self::blocklist_add).
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// How many operations librados has, and how many wait for their turn.
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// let (in_flight, waiting) = cluster.in_flight();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_flight(&self) -> (usize, usize) {
        self.shared.gate.counts()
    }

    /// For how long librados has had operations, and has answered none; zero as soon as it answers one. What was cancelled is no answer, and a time in which
    /// nothing was in flight does not count: so a daemon that is stopped can ask what its storage was like before the stop had everything cancelled, and
    /// leave out what would wait for it.
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let patience = Duration::from_millis(500).saturating_sub(cluster.silence());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.shared.gate.silence()
    }

    /// How many writes were cancelled after they had been sent, so that nobody knows whether they were done.
    ///
    /// ```no_run
    /// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    /// if cluster.undecided() > 0 {
    ///     eprintln!("the table has to be read again");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn undecided(&self) -> u64 {
        // Relaxed: a count for people.
        self.shared.undecided.load(Relaxed)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

fn address(handle: &Handle) -> Result<String, Cause> {
    let mut raw: *mut c_char = std::ptr::null_mut();
    // SAFETY: **A live handle**: it is borrowed. `raw` outlives the call.
    check(unsafe { ffi::rados_getaddrs(handle.0, &raw mut raw) })?;
    // SAFETY: librados has made a string.
    let address = unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned();
    // SAFETY: It is librados's, and not used any more.
    unsafe { ffi::rados_buffer_free(raw) };
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_is_a_connection() {
        let said = [0, 1, -ETIMEDOUT, -2].map(connected);
        assert_eq!(said, [Ok(()), Err(Cause::Failed(ETIMEDOUT)), Err(Cause::Failed(ETIMEDOUT)), Err(Cause::Failed(2))]);
    }
}
