//! Several steps on one object, done as one: writes all or none, reads of one state.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uchar},
    time::{Duration, SystemTime},
};

use unwedge::io::ExternalCompletion;

use crate::{
    Pool, RadosError,
    error::Cause,
    ffi,
    flight::{Operation, Step},
    omap::{Entries, OmapPage},
};

/// What an object is changed by: steps that are done all or not at all, in their order.
///
/// ```no_run
/// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// use unwedge_rados::WriteOp;
///
/// let table = WriteOp::new().create(true).omap_set([("client.4123", b"open")]).setxattr("version", *b"1");
/// pool.operate("mds0_sessionmap", table).wait()??;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it is done by Pool::operate"]
pub struct WriteOp {
    steps: Vec<WriteStep>,
}

#[derive(Clone, Debug)]
enum WriteStep {
    AssertExists,
    Create(bool),
    Write(u64, Vec<u8>),
    WriteFull(Vec<u8>),
    Append(Vec<u8>),
    Truncate(u64),
    Remove,
    SetXattr(Vec<u8>, Vec<u8>),
    RmXattr(Vec<u8>),
    OmapSet(Vec<(Vec<u8>, Vec<u8>)>),
    OmapRmKeys(Vec<Vec<u8>>),
    Exec(&'static CStr, &'static CStr, Vec<u8>),
}

impl WriteOp {
    /// Without steps.
    pub fn new() -> WriteOp {
        WriteOp::default()
    }

    fn then(mut self, step: WriteStep) -> WriteOp {
        self.steps.push(step);
        self
    }

    /// Fails if the object is not there; it is not made then.
    pub fn assert_exists(self) -> WriteOp {
        self.then(WriteStep::AssertExists)
    }

    /// Makes the object. If it is exclusive, it fails where the object is there already (`EEXIST`).
    pub fn create(self, exclusive: bool) -> WriteOp {
        self.then(WriteStep::Create(exclusive))
    }

    /// Writes data at an offset.
    pub fn write(self, offset: u64, data: impl Into<Vec<u8>>) -> WriteOp {
        self.then(WriteStep::Write(offset, data.into()))
    }

    /// Puts data in the place of all that the object has.
    pub fn write_full(self, data: impl Into<Vec<u8>>) -> WriteOp {
        self.then(WriteStep::WriteFull(data.into()))
    }

    /// Writes data at the object's end.
    pub fn append(self, data: impl Into<Vec<u8>>) -> WriteOp {
        self.then(WriteStep::Append(data.into()))
    }

    /// Cuts or lengthens the data to this many bytes.
    pub fn truncate(self, size: u64) -> WriteOp {
        self.then(WriteStep::Truncate(size))
    }

    /// Removes the object.
    pub fn remove(self) -> WriteOp {
        self.then(WriteStep::Remove)
    }

    /// Sets an attribute.
    pub fn setxattr(self, name: &str, value: impl Into<Vec<u8>>) -> WriteOp {
        self.then(WriteStep::SetXattr(name.into(), value.into()))
    }

    /// Removes an attribute, if it is there.
    pub fn rmxattr(self, name: &str) -> WriteOp {
        self.then(WriteStep::RmXattr(name.into()))
    }

    /// Sets values of the omap.
    pub fn omap_set<K: Into<Vec<u8>>, V: Into<Vec<u8>>>(self, entries: impl IntoIterator<Item = (K, V)>) -> WriteOp {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.then(WriteStep::OmapSet(entries.collect()))
    }

    /// Removes keys of the omap, those that are there.
    pub fn omap_rm_keys<K: Into<Vec<u8>>>(self, keys: impl IntoIterator<Item = K>) -> WriteOp {
        self.then(WriteStep::OmapRmKeys(keys.into_iter().map(Into::into).collect()))
    }

    /// Calls a method of a class that the OSD has.
    pub(crate) fn exec(self, class: &'static CStr, method: &'static CStr, input: Vec<u8>) -> WriteOp {
        self.then(WriteStep::Exec(class, method, input))
    }

    fn bytes(&self) -> usize {
        let of = |step: &WriteStep| match step {
            WriteStep::Write(_, data)
            | WriteStep::WriteFull(data)
            | WriteStep::Append(data)
            | WriteStep::SetXattr(_, data)
            | WriteStep::Exec(_, _, data) => data.len(),
            // Each is sent with its length.
            WriteStep::OmapSet(entries) => entries.iter().map(|(key, value)| key.len() + value.len() + 8).sum(),
            WriteStep::OmapRmKeys(keys) => keys.iter().map(|key| key.len() + 4).sum(),
            _ => 0,
        };
        self.steps.iter().map(of).sum()
    }
}

/// A write operation of librados, released with it.
struct RawWrite(ffi::WriteOp);

impl Drop for RawWrite {
    fn drop(&mut self) {
        // SAFETY: It is owned; librados has copied what it needs of it.
        unsafe { ffi::rados_release_write_op(self.0) };
    }
}

fn chars(bytes: &[u8]) -> *const c_char {
    bytes.as_ptr().cast()
}

impl RawWrite {
    fn new() -> RawWrite {
        // SAFETY: It takes nothing.
        RawWrite(unsafe { ffi::rados_create_write_op() })
    }

    /// Adds a step; librados copies its data. `None`: a name has a zero byte.
    fn add(&self, step: &WriteStep) -> Option<()> {
        let op = self.0;
        let name = |bytes: &[u8]| CString::new(bytes).ok();
        // SAFETY, for each of these: the operation is owned, and what the pointers lead to outlives the call.
        match step {
            // SAFETY: As above.
            WriteStep::AssertExists => unsafe { ffi::rados_write_op_assert_exists(op) },
            WriteStep::Create(exclusive) => {
                // LIBRADOS_CREATE_EXCLUSIVE and LIBRADOS_CREATE_IDEMPOTENT.
                // SAFETY: As above.
                unsafe { ffi::rados_write_op_create(op, c_int::from(*exclusive), std::ptr::null()) }
            }
            // SAFETY: As above.
            WriteStep::Write(offset, data) => unsafe {
                ffi::rados_write_op_write(op, chars(data), data.len(), *offset)
            },
            // SAFETY: As above.
            WriteStep::WriteFull(data) => unsafe { ffi::rados_write_op_write_full(op, chars(data), data.len()) },
            // SAFETY: As above.
            WriteStep::Append(data) => unsafe { ffi::rados_write_op_append(op, chars(data), data.len()) },
            // SAFETY: As above.
            WriteStep::Truncate(size) => unsafe { ffi::rados_write_op_truncate(op, *size) },
            // SAFETY: As above.
            WriteStep::Remove => unsafe { ffi::rados_write_op_remove(op) },
            WriteStep::SetXattr(attribute, value) => {
                let attribute = name(attribute)?;
                // SAFETY: As above.
                unsafe { ffi::rados_write_op_setxattr(op, attribute.as_ptr(), chars(value), value.len()) }
            }
            WriteStep::RmXattr(attribute) => {
                let attribute = name(attribute)?;
                // SAFETY: As above.
                unsafe { ffi::rados_write_op_rmxattr(op, attribute.as_ptr()) }
            }
            WriteStep::OmapSet(entries) => {
                let keys: Vec<_> = entries.iter().map(|(key, _)| chars(key)).collect();
                let values: Vec<_> = entries.iter().map(|(_, value)| chars(value)).collect();
                let key_lens: Vec<_> = entries.iter().map(|(key, _)| key.len()).collect();
                let value_lens: Vec<_> = entries.iter().map(|(_, value)| value.len()).collect();
                let (keys, values) = (keys.as_ptr(), values.as_ptr());
                // SAFETY: As above.
                unsafe {
                    ffi::rados_write_op_omap_set2(
                        op,
                        keys,
                        values,
                        key_lens.as_ptr(),
                        value_lens.as_ptr(),
                        entries.len(),
                    )
                }
            }
            WriteStep::OmapRmKeys(removed) => {
                let keys: Vec<_> = removed.iter().map(|key| chars(key)).collect();
                let lens: Vec<_> = removed.iter().map(Vec::len).collect();
                // SAFETY: As above.
                unsafe { ffi::rados_write_op_omap_rm_keys2(op, keys.as_ptr(), lens.as_ptr(), removed.len()) }
            }
            WriteStep::Exec(class, method, input) => {
                let (class, method, no_result) = (class.as_ptr(), method.as_ptr(), std::ptr::null_mut());
                // SAFETY: As above.
                unsafe { ffi::rados_write_op_exec(op, class, method, chars(input), input.len(), no_result) }
            }
        }
        Some(())
    }
}

/// An argument that cannot be.
const EINVAL: c_int = 22;

impl Operation for WriteOp {
    type Output = ();
    const NAME: &'static str = "write";
    const WRITES: bool = true;

    fn range(&self) -> (u64, usize) {
        let offset = self.steps.iter().find_map(|step| match step {
            WriteStep::Write(offset, _) => Some(*offset),
            _ => None,
        });
        (offset.unwrap_or(0), self.bytes())
    }

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let raw = RawWrite::new();
        for step in &self.steps {
            if raw.add(step).is_none() {
                return -EINVAL;
            }
        }
        let now = std::ptr::null_mut();
        // SAFETY: **A live handle**; the operation is owned, and librados has a copy of what is in it.
        unsafe { ffi::rados_aio_write_op_operate(raw.0, io, aio, object.as_ptr(), now, 0) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<()> {
        Step::Done(answer.map(drop).map_err(Cause::Failed))
    }
}

/// What is read of an object, all of it of one state.
///
/// ```no_run
/// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// use unwedge_rados::ReadOp;
///
/// let found = pool.query("mds0_sessionmap", ReadOp::new().stat().omap_get_vals("", 100)).wait()??;
/// assert!(found.stat.is_some() && found.omap.is_some() && found.data.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it is done by Pool::query"]
pub struct ReadOp {
    stat: bool,
    read: Option<(u64, usize)>,
    omap: Option<(Vec<u8>, u64)>,
    assert_exists: bool,
}

/// What a [`ReadOp`] has found: of each thing that was asked for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReadAnswer {
    /// The size of the data in bytes, and when the object was last changed.
    pub stat: Option<(u64, SystemTime)>,
    /// The data.
    pub data: Option<Vec<u8>>,
    /// The values of the omap.
    pub omap: Option<OmapPage>,
}

impl ReadOp {
    /// Nothing.
    pub fn new() -> ReadOp {
        ReadOp::default()
    }

    /// Fails if the object is not there.
    pub fn assert_exists(self) -> ReadOp {
        ReadOp { assert_exists: true, ..self }
    }

    /// Size and time.
    pub fn stat(self) -> ReadOp {
        ReadOp { stat: true, ..self }
    }

    /// At most `len` bytes of data from `offset`. A second one takes the place of the first.
    pub fn read(self, offset: u64, len: usize) -> ReadOp {
        ReadOp { read: Some((offset, len)), ..self }
    }

    /// At most so many values of the omap, of the keys behind `after`. A second one takes the place of the first.
    pub fn omap_get_vals(self, after: impl Into<Vec<u8>>, most: u64) -> ReadOp {
        ReadOp { omap: Some((after.into(), most)), ..self }
    }
}

/// A read operation of librados, released with it.
pub(crate) struct RawRead(pub(crate) ffi::ReadOp);

// SAFETY: librados's functions may be called from any thread; it is used by one at a time.
unsafe impl Send for RawRead {}

impl RawRead {
    pub(crate) fn new() -> RawRead {
        // SAFETY: It takes nothing.
        RawRead(unsafe { ffi::rados_create_read_op() })
    }
}

impl Drop for RawRead {
    fn drop(&mut self) {
        // SAFETY: It is owned; librados has answered, or was never asked.
        unsafe { ffi::rados_release_read_op(self.0) };
    }
}

/// A read on its way: librados writes into all of these.
struct Query {
    wanted: ReadOp,
    raw: RawRead,
    size: u64,
    mtime: i64,
    buffer: Vec<u8>,
    len: usize,
    after: CString,
    entries: Entries,
    more: c_uchar,
    results: [c_int; 3],
}

impl Operation for Query {
    type Output = ReadAnswer;
    const NAME: &'static str = "query";

    fn range(&self) -> (u64, usize) {
        (self.wanted.read.map_or(0, |(offset, _)| offset), self.buffer.len())
    }

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let op = self.raw.0;
        let [stat, read, omap] = &mut self.results;
        if self.wanted.assert_exists {
            // SAFETY: The operation is owned.
            unsafe { ffi::rados_read_op_assert_exists(op) };
        }
        if self.wanted.stat {
            // SAFETY: **Owned**: where librados writes lies in the flight, as the operation does.
            unsafe { ffi::rados_read_op_stat(op, &raw mut self.size, &raw mut self.mtime, stat) };
        }
        if let Some((offset, len)) = self.wanted.read {
            let into = self.buffer.as_mut_ptr().cast();
            // SAFETY: **Owned**, as above.
            unsafe { ffi::rados_read_op_read(op, offset, len, into, &raw mut self.len, read) };
        }
        if let Some((_, most)) = self.wanted.omap {
            let (after, more) = (self.after.as_ptr(), &raw mut self.more);
            // SAFETY: **Owned**, as above.
            unsafe {
                ffi::rados_read_op_omap_get_vals2(op, after, c"".as_ptr(), most, self.entries.place(), more, omap)
            };
        }
        // SAFETY: **A live handle**; **Owned**.
        unsafe { ffi::rados_aio_read_op_operate(op, io, aio, object.as_ptr(), 0) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<ReadAnswer> {
        // A cancelled operation leaves each step's own result at 0: what counts is the answer.
        let entries = self.entries.take(answer.is_ok());
        Step::Done(answer.map_err(Cause::Failed).map(|_| {
            let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(self.mtime).unwrap_or(0));
            let mut data = std::mem::take(&mut self.buffer);
            data.truncate(self.len);
            ReadAnswer {
                stat: self.wanted.stat.then_some((self.size, mtime)),
                data: self.wanted.read.map(|_| data),
                omap: self.wanted.omap.as_ref().map(|_| OmapPage { entries, more: self.more != 0 }),
            }
        }))
    }
}

impl Pool {
    /// Changes an object: all steps or none.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use unwedge_rados::WriteOp;
    ///
    /// let made = pool.operate("table", WriteOp::new().create(true).write_full(*b"1")).wait()?;
    /// if let Err(error) = made {
    ///     assert_eq!(error.raw_os_error(), Some(17));      // EEXIST: it is another's
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A step's, and then nothing was changed; see [`Pool`]. A name of an attribute with a zero byte is one too.
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it; what had been sent by then is [undecided](RadosError::is_undecided).
    pub fn operate(&self, object: &str, steps: WriteOp) -> ExternalCompletion<(), RadosError> {
        self.begin(object, steps)
    }

    /// Reads what is asked for of one state of an object. See [`ReadOp`].
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// use unwedge_rados::ReadOp;
    ///
    /// let found = pool.query("200.00000000", ReadOp::new().stat().read(0, 90)).wait()??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If so many bytes are to be read that no vector can have them.
    ///
    /// # Errors
    ///
    /// A step's; see [`Pool`].
    ///
    /// # Cancel safety
    ///
    /// A drop cancels it, without effect.
    pub fn query(&self, object: &str, wanted: ReadOp) -> ExternalCompletion<ReadAnswer, RadosError> {
        let after = wanted.omap.as_ref().and_then(|(after, _)| CString::new(after.as_slice()).ok()).unwrap_or_default();
        let buffer = vec![0; wanted.read.map_or(0, |(_, len)| len)];
        let query = Query {
            wanted,
            raw: RawRead::new(),
            size: 0,
            mtime: 0,
            buffer,
            len: 0,
            after,
            entries: Entries::default(),
            more: 0,
            results: [0; 3],
        };
        self.begin(object, query)
    }
}
