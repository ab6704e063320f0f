//! An object's omap: pages of keys and values, the header, or all of it.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar};

use unwedge::io::ExternalCompletion;

use crate::{
    Pool, RadosError,
    compound::RawRead,
    error::Cause,
    ffi,
    flight::{Operation, Step},
    shim::Answer,
};

/// Keys and values in the keys' order, and whether there are more behind them. See [`Pool::omap_get_vals`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OmapPage {
    /// Keys and values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there are more behind them: an OSD gives 1,024 at most at once.
    pub more: bool,
}

/// All of an omap. See [`Pool::omap`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omap {
    /// The header.
    pub header: Vec<u8>,
    /// Keys and values in the keys' order.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pool {
    /// At most `most` values of an object's omap, of the keys behind `after`, which is empty for the first page. The OSD may give fewer, and says whether there are more.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut after, mut names) = (String::new(), Vec::new());
    /// loop {
    ///     let page = pool.omap_get_vals("1.00000000", &after, 1000).wait()??;
    ///     names.extend(page.entries.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()));
    ///     match names.last() {
    ///         Some(last) if page.more => after.clone_from(last),
    ///         _ => break,
    ///     }
    /// }
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
    pub fn omap_get_vals(&self, object: &str, after: &str, most: u64) -> ExternalCompletion<OmapPage, RadosError> {
        self.begin(object, Page::new(after, most, true))
    }

    /// The same of the keys alone; the values are empty.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let first = pool.omap_get_keys("1.00000000", "", 1).wait()??;
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
    pub fn omap_get_keys(&self, object: &str, after: &str, most: u64) -> ExternalCompletion<OmapPage, RadosError> {
        self.begin(object, Page::new(after, most, false))
    }

    /// The header of an object's omap; empty if it has none.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let fnode = pool.omap_get_header("1.00000000").wait()??;
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
    pub fn omap_get_header(&self, object: &str) -> ExternalCompletion<Vec<u8>, RadosError> {
        self.begin(object, Header::default())
    }

    /// The header and every value, page after page. A change between two pages may be seen in part.
    ///
    /// ```no_run
    /// # fn f(pool: &unwedge_rados::Pool) -> Result<(), Box<dyn std::error::Error>> {
    /// let root = pool.omap("1.00000000").wait()??;
    /// println!("{} entries", root.entries.len());
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
    /// A drop cancels it between two pages or in one, without effect.
    pub fn omap(&self, object: &str) -> ExternalCompletion<Omap, RadosError> {
        self.begin(object, Whole { header: Header::default(), omap: Omap::default(), page: None })
    }
}

/// What librados has found in an omap.
#[derive(Default)]
pub(crate) struct Entries {
    /// Librados's; null if it was not asked.
    iter: Iter,
}

struct Iter(ffi::OmapIter);

impl Default for Iter {
    fn default() -> Self {
        Iter(std::ptr::null_mut())
    }
}

// SAFETY: librados's functions may be called from any thread; it is used by one at a time.
unsafe impl Send for Iter {}

impl Entries {
    /// Where librados is to put it.
    pub(crate) fn place(&mut self) -> *mut ffi::OmapIter {
        &raw mut self.iter.0
    }

    /// What was found, if librados has filled it in. It does not if the operation failed or was cancelled.
    pub(crate) fn take(&mut self, filled: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let iter = std::mem::take(&mut self.iter);
        let mut found = Vec::new();
        if iter.0.is_null() || !filled {
            return found;
        }
        loop {
            let (mut key, mut value) = (std::ptr::null_mut::<c_char>(), std::ptr::null_mut::<c_char>());
            let (mut key_len, mut value_len) = (0, 0);
            // SAFETY: The iterator is owned and filled in; the rest outlives the call.
            let answer = unsafe {
                ffi::rados_omap_get_next2(iter.0, &raw mut key, &raw mut value, &raw mut key_len, &raw mut value_len)
            };
            if answer != 0 || key.is_null() {
                break;
            }
            // SAFETY: librados has a key of that length there until the iterator is ended.
            let key = unsafe { bytes(key, key_len) };
            // SAFETY: The same of the value, which may be null where there is none.
            let value = unsafe { bytes(value, value_len) };
            found.push((key, value));
        }
        found
    }
}

impl Drop for Iter {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: It is owned, and ended once.
            unsafe { ffi::rados_omap_get_end(self.0) };
        }
    }
}

/// A copy of what lies there.
///
/// # Safety
///
/// `len` bytes lie there, or it is null.
pub(crate) unsafe fn bytes(from: *const c_char, len: usize) -> Vec<u8> {
    if from.is_null() {
        return Vec::new();
    }
    // SAFETY: As the caller says.
    unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len) }.to_vec()
}

struct Page {
    /// `None` if the key has a zero byte.
    after: Option<CString>,
    most: u64,
    values: bool,
    /// Made when it is submitted.
    raw: Option<RawRead>,
    entries: Entries,
    more: c_uchar,
    result: c_int,
}

impl Page {
    fn new(after: impl Into<Vec<u8>>, most: u64, values: bool) -> Page {
        let after = CString::new(after).ok();
        Page { after, most, values, raw: None, entries: Entries::default(), more: 0, result: 0 }
    }
}

/// An argument that cannot be.
const EINVAL: c_int = 22;

impl Operation for Page {
    type Output = OmapPage;
    const NAME: &'static str = "omap_get";

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        let Some(after) = &self.after else { return -EINVAL };
        let op = self.raw.insert(RawRead::new()).0;
        let (after, more, result) = (after.as_ptr(), &raw mut self.more, &raw mut self.result);
        let place = self.entries.place();
        if self.values {
            // SAFETY: **Owned**: where librados writes lies in the flight, as the operation does.
            unsafe { ffi::rados_read_op_omap_get_vals2(op, after, c"".as_ptr(), self.most, place, more, result) };
        } else {
            // SAFETY: As above.
            unsafe { ffi::rados_read_op_omap_get_keys2(op, after, self.most, place, more, result) };
        }
        // SAFETY: **A live handle**; **Owned**.
        unsafe { ffi::rados_aio_read_op_operate(op, io, aio, object.as_ptr(), 0) }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<OmapPage> {
        // A cancelled read leaves `result` at 0: what counts is the answer.
        let entries = self.entries.take(answer.is_ok());
        self.raw = None;
        Step::Done(answer.map(|_| OmapPage { entries, more: self.more != 0 }).map_err(Cause::Failed))
    }
}

#[derive(Default)]
struct Header(Answer);

impl Operation for Header {
    type Output = Vec<u8>;
    const NAME: &'static str = "omap_get_header";

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        // SAFETY: **A live handle**; **Owned**: the answer lies in the flight, and is freed with it or when librados has answered.
        self.0.submit(|answer| unsafe { ffi::uw_rados_aio_omap_header(io, object.as_ptr(), aio, answer) })
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Vec<u8>> {
        Step::Done(self.0.take(answer))
    }
}

/// How many values are asked for at a time: as many as an OSD gives by default.
const PAGE: u64 = 1024;

struct Whole {
    header: Header,
    omap: Omap,
    /// `None` as long as the header is read.
    page: Option<Page>,
}

impl Operation for Whole {
    type Output = Omap;
    const NAME: &'static str = "omap";

    fn submit(&mut self, io: ffi::IoCtx, object: &CStr, aio: ffi::Aio) -> c_int {
        match &mut self.page {
            None => self.header.submit(io, object, aio),
            Some(page) => page.submit(io, object, aio),
        }
    }

    fn finish(&mut self, answer: Result<usize, i32>) -> Step<Omap> {
        let next = match &mut self.page {
            None => match self.header.finish(answer) {
                Step::Done(Ok(header)) => {
                    self.omap.header = header;
                    Some(Vec::new())
                }
                Step::Done(Err(cause)) => return Step::Done(Err(cause)),
                Step::Again => return Step::Again,
            },
            Some(page) => match page.finish(answer) {
                Step::Done(Ok(page)) => {
                    let last = page.entries.last().map(|(key, _)| key.clone()).filter(|_| page.more);
                    self.omap.entries.extend(page.entries);
                    last
                }
                Step::Done(Err(cause)) => return Step::Done(Err(cause)),
                Step::Again => return Step::Again,
            },
        };
        match next {
            Some(after) => {
                self.page = Some(Page::new(after, PAGE, true));
                Step::Again
            }
            None => Step::Done(Ok(std::mem::take(&mut self.omap))),
        }
    }
}
