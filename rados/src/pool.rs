//! A pool, and the simple operations on its objects.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use unwedge::{
    Completion, Stop,
    io::{ExternalCompletion, Io},
};

use crate::{
    Cluster, RadosError, WriteOp,
    blocking::on_thread,
    cluster::{IoHandle, Shared, check},
    error::Cause,
    ffi,
    flight::{Operation, Step, begin},
    shim::Answer,
};

/// A pool of a [`Cluster`]. Cheap to clone.
///
/// Each operation gives a completion whose drop cancels it. A stop of the domain ends every wait at once, and has every operation cancelled; a write
/// that had been sent by then is [undecided](RadosError::is_undecided).
///
/// ```no_run
/// # fn f(cluster: &unwedge_rados::Cluster) -> Result<(), Box<dyn std::error::Error>> {
/// let meta = cluster.pool("cephfs_metadata").wait()??;
/// meta.write_full("table", *b"1").wait()??;
/// assert_eq!(meta.read("table", 0, 100).wait()??, b"1");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Whatever operation it is: a stop, as the outer error of a wait; the cluster's own [number](RadosError::raw_os_error), of which that of a client that was
/// fenced is [known](RadosError::is_blocklisted); a name with a zero byte, an [`InvalidInput`](std::io::ErrorKind::InvalidInput); a handle that the shutdown
/// has [closed](RadosError::is_closed); and, under a domain that was stopped before, [abandoned](RadosError::is_abandoned) without having begun.
#[derive(Clone)]
pub struct Pool {
    pub(crate) io: Io,
    domain: Stop,
    pub(crate) shared: Arc<Shared>,
    pub(crate) handle: IoHandle,
    name: Arc<str>,
}

impl Pool {
    pub(crate) fn new(cluster: &Cluster, handle: IoHandle, name: &str) -> Pool {
        let (io, domain) = (cluster.io.clone(), cluster.domain.clone());
        Pool { io, domain, shared: Arc::clone(&cluster.shared), handle, name: name.into() }
    }

    /// The pool's name.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// assert_eq!(pool.with(&unwedge::Stop::new("save")).name(), pool.name());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same pool for another domain: for a phase of a shutdown. The handle is closed with the first domain all the same.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use unwedge::Plan;
    ///
    /// # let stop = unwedge::Stop::new("mds.a");
    /// let saved = pool.clone();
    /// let second = Duration::from_secs(1);
    /// let plan = Plan::within(second).phase("save", second, move |phase| Ok(saved.with(phase).write_full("table", *b"1").wait()??));
    /// assert!(stop.shutdown(plan).is_clean());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with(&self, domain: &Stop) -> Pool {
        Pool { io: self.io.with(domain), domain: domain.clone(), ..self.clone() }
    }

    pub(crate) fn begin<O: Operation>(&self, object: &str, operation: O) -> ExternalCompletion<O::Output, RadosError> {
        begin(&self.io, (&self.shared, self.handle, &self.domain), object, operation)
    }

    /// At most `len` bytes of an object's data from `offset`; less at its end, and none behind it.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let header = pool.read("200.00000000", 0, 4096).wait()??;
    /// assert!(header.len() <= 4096);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If `len` is more than a vector can have.
    ///
    /// # Errors
    ///
    /// The object is not there ([`is_missing`](RadosError::is_missing)), or the cluster's error; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it, without effect.
    pub fn read(&self, object: &str, offset: u64, len: usize) -> ExternalCompletion<Vec<u8>, RadosError> {
        self.begin(object, Read { buffer: vec![0; len], offset })
    }

    /// The size of an object's data in bytes, and when it was last changed, in whole seconds.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let (size, changed) = pool.stat("200.00000000").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The object is not there ([`is_missing`](RadosError::is_missing)), or the cluster's error; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it, without effect.
    pub fn stat(&self, object: &str) -> ExternalCompletion<(u64, SystemTime), RadosError> {
        self.begin(object, Stat { size: 0, mtime: 0 })
    }

    /// The value of one of an object's attributes.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let parent = pool.getxattr("10000000000.00000000", "parent").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The object is not there ([`is_missing`](RadosError::is_missing)), has no such attribute (`ENODATA`), or the cluster's error; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it, without effect.
    pub fn getxattr(&self, object: &str, name: &str) -> ExternalCompletion<Vec<u8>, RadosError> {
        self.begin(object, GetXattr { name: CString::new(name).ok(), answer: Answer::default() })
    }

    /// Writes at an offset; the object is made if it is not there, and what lies between its end and the offset is zeros.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.write("400.00000000", 0, *b"pointer").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The cluster's, as `EFBIG` and `ENOSPC`; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn write(&self, object: &str, offset: u64, data: impl Into<Vec<u8>>) -> ExternalCompletion<(), RadosError> {
        self.operate(object, WriteOp::new().write(offset, data))
    }

    /// Puts data in the place of all that an object has; it is made if it is not there. A reader finds the old or the new.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.write_full("mds0_inotable", vec![0; 40]).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The cluster's, as `EFBIG` and `ENOSPC`; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided). So it may be repeated until it is known.
    pub fn write_full(&self, object: &str, data: impl Into<Vec<u8>>) -> ExternalCompletion<(), RadosError> {
        self.operate(object, WriteOp::new().write_full(data))
    }

    /// Writes at the end of an object, which is made if it is not there.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.append("log", *b"one more line\n").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The cluster's, as `EFBIG` and `ENOSPC`; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided). One that is repeated then may be there twice.
    pub fn append(&self, object: &str, data: impl Into<Vec<u8>>) -> ExternalCompletion<(), RadosError> {
        self.operate(object, WriteOp::new().append(data))
    }

    /// Removes an object with all that it holds.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.remove("200.00000001").wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The object is not there ([`is_missing`](RadosError::is_missing)), or the cluster's error; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided). One that is repeated then may find nothing.
    pub fn remove(&self, object: &str) -> ExternalCompletion<(), RadosError> {
        self.operate(object, WriteOp::new().remove())
    }

    /// Sets values in an object's omap; the object is made if it is not there.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.omap_set("mds0_sessionmap", [("client.4123", b"open")]).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The cluster's; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn omap_set<K: Into<Vec<u8>>, V: Into<Vec<u8>>>(
        &self,
        object: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> ExternalCompletion<(), RadosError> {
        self.operate(object, WriteOp::new().omap_set(entries))
    }

    /// Removes keys of an object's omap; one that is not there is no error.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// pool.omap_rm_keys("mds0_sessionmap", ["client.4123"]).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The object is not there ([`is_missing`](RadosError::is_missing)), or the cluster's error; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn omap_rm_keys<K: Into<Vec<u8>>>(
        &self,
        object: &str,
        keys: impl IntoIterator<Item = K>,
    ) -> ExternalCompletion<(), RadosError> {
        self.operate(object, WriteOp::new().omap_rm_keys(keys))
    }

    /// The names of the pool's objects, in no order. librados has no form of it that can be cancelled: a thread of its own does it, which an OSD that does not
    /// answer keeps, and then the cluster's handle cannot be closed by the shutdown, which says so. The wait for it ends by a stop like any other.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let names = pool.list_objects().wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The cluster's; see [`Pool`]. [Abandoned](RadosError::is_abandoned) if there is no thread to be had.
    ///
    /// # Cancel safety
    ///
    /// A drop loses what was found; the thread ends when the OSD answers.
    pub fn list_objects(&self) -> Completion<Vec<String>, RadosError> {
        let (shared, handle) = (Arc::clone(&self.shared), self.handle);
        on_thread(&self.io, "list_objects", &self.name, move |is_wanted| {
            let (_call, _) = shared.call()?;
            list(handle, is_wanted)
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.name).finish()
    }
}

struct List(ffi::ListCtx);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: It was opened, and is closed once.
        unsafe { ffi::rados_nobjects_list_close(self.0) };
    }
}

/// The end of a list.
const ENOENT: c_int = 2;

fn list(handle: IoHandle, is_wanted: &dyn Fn() -> bool) -> Result<Vec<String>, Cause> {
    let mut raw: ffi::ListCtx = std::ptr::null_mut();
    // SAFETY: **A live handle**, as the caller says; `raw` outlives the call.
    check(unsafe { ffi::rados_nobjects_list_open(handle.0, &raw mut raw) })?;
    let list = List(raw);
    let mut names = Vec::new();
    while is_wanted() {
        let (mut entry, mut len) = (std::ptr::null::<c_char>(), 0);
        let null = std::ptr::null_mut();
        // SAFETY: The list is open; `entry` and `len` outlive the call; what is null is not asked for.
        let answer = unsafe {
            ffi::rados_nobjects_list_next2(
                list.0,
                &raw mut entry,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                &raw mut len,
                null,
                std::ptr::null_mut(),
            )
        };
        if answer == -ENOENT {
            return Ok(names);
        }
        check(answer)?;
        // SAFETY: librados has a name of that length there until the next call.
        let name = unsafe { std::slice::from_raw_parts(entry.cast::<u8>(), len) };
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    Err(Cause::Cancelled)
}

struct Read {
    buffer: Vec<u8>,
    offset: u64,
}

impl Operation for Read {
    type Output = Vec<u8>;
    const NAME: &'static str = "read";

    fn range(&self) -> (u64, usize) {
        (self.offset, self.buffer.len())
    }

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let (into, len) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
        // SAFETY: **A live handle**, as in all submissions; **Owned**: the buffer lies in the flight and is not moved.
        unsafe { ffi::rados_aio_read(io, object.as_ptr(), aio, into, len, self.offset) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Vec<u8>> {
        Step::Done(answer.map_err(Cause::Failed).map(|len| {
            let mut data = std::mem::take(&mut self.buffer);
            data.truncate(len);
            data
        }))
    }
}

struct Stat {
    size: u64,
    mtime: i64,
}

impl Operation for Stat {
    type Output = (u64, SystemTime);
    const NAME: &'static str = "stat";

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        // SAFETY: **Owned**: both lie in the flight.
        unsafe { ffi::rados_aio_stat(io, object.as_ptr(), aio, &raw mut self.size, &raw mut self.mtime) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<(u64, SystemTime)> {
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(self.mtime).unwrap_or(0));
        Step::Done(answer.map_err(Cause::Failed).map(|_| (self.size, mtime)))
    }
}

struct GetXattr {
    /// `None` if it has a zero byte.
    name: Option<CString>,
    answer: Answer,
}

/// An argument that cannot be.
const EINVAL: c_int = 22;

impl Operation for GetXattr {
    type Output = Vec<u8>;
    const NAME: &'static str = "getxattr";

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let Some(name) = &self.name else { return -EINVAL };
        let object = object.as_ptr();
        // SAFETY: **A live handle**; **Owned**: name and answer lie in the flight.
        self.answer.submit(|answer| unsafe { ffi::uw_rados_aio_getxattr(io, object, aio, name.as_ptr(), answer) })
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Vec<u8>> {
        Step::Done(self.answer.take(answer))
    }
}
