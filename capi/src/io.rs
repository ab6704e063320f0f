//! Files as completions.
//!
//! Buffers are the library's: what is written is copied within the call, what is read lies with the completion. So no memory of the caller's is in the
//! kernel's hands when a wait has been stopped.

use std::ffi::{c_char, c_int, c_void};
use std::slice;

use unwedge::Stop;
use unwedge::io::{Backend, File, Io, Metadata, OpenOptions, Operation, Timestamp};

use crate::border::{BAD_ARGUMENT, blocking, give, path, string, wanted, write_text};
use crate::completion::{Completing, Content, Owed, give_external, unwedge_completer_t, unwedge_completion_t};
use crate::handle::{Handle, Kind, at, count, keep, take};
use crate::names::forever;
use crate::stop::unwedge_stop_t;

/// Metadata I/O of one stop domain.
pub struct unwedge_io_t {
    _opaque: (),
}

/// An open file.
pub struct unwedge_file_t {
    _opaque: (),
}

impl Kind for Io {
    type Name = unwedge_io_t;
    const TAG: u32 = 0x7577_696f;
}

impl Kind for File {
    type Name = unwedge_file_t;
    const TAG: u32 = 0x7577_6669;
}

/// io_uring, and a pool of threads where the kernel refuses it.
pub const UNWEDGE_AUTO: c_int = 0;
/// io_uring or nothing.
pub const UNWEDGE_URING: c_int = 1;
/// A pool of threads.
pub const UNWEDGE_POOL: c_int = 2;

/// What a file is, as statx(2) tells.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct unwedge_stat_t {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Names of it.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number in its file system.
    pub ino: u64,
    /// Its file system.
    pub dev: u64,
    /// Length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// When it was read, changed, changed in its attributes and made: seconds since 1970-01-01. 0 where the file system does not keep that.
    pub atime: i64,
    /// See `atime`.
    pub mtime: i64,
    /// See `atime`.
    pub ctime: i64,
    /// See `atime`.
    pub btime: i64,
    /// Nanoseconds after that second.
    pub atime_nsec: u32,
    /// See `atime_nsec`.
    pub mtime_nsec: u32,
    /// See `atime_nsec`.
    pub ctime_nsec: u32,
    /// See `atime_nsec`.
    pub btime_nsec: u32,
}

/// Makes the I/O of a domain. 0, and the handle is yours: release it. `backend` is UNWEDGE_AUTO, UNWEDGE_URING or UNWEDGE_POOL; the environment variable
/// `UNWEDGE_IO` (`uring`, `pool`) overrides the first.
///
/// After the stop of the domain every operation is refused; what the kernel still has at the deadline of a shutdown is leaked and counted, never freed. In a
/// child of fork the results are -ECHILD.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_new(
    stop: *const unwedge_stop_t,
    backend: c_int,
    io: *mut *mut unwedge_io_t,
) -> c_int {
    blocking(|| {
        wanted(io)?;
        let backend = match backend {
            UNWEDGE_AUTO => Backend::Auto,
            UNWEDGE_URING => Backend::Uring,
            UNWEDGE_POOL => Backend::Pool,
            _ => return Err(BAD_ARGUMENT),
        };
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        let made = Io::builder(&stop).backend(backend).build();
        let made = made.map_err(|error| -error.raw_os_error().unwrap_or(libc::ENOSYS))?;
        // SAFETY: the caller's place (`Call`).
        unsafe { give(io, Handle::give(made)) }?;
        Ok(0)
    })
}

/// The same backend for another domain: for a phase of a shutdown, or a child. 0, and the handle is yours.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_with(
    io: *const unwedge_io_t,
    stop: *const unwedge_stop_t,
    other: *mut *mut unwedge_io_t,
) -> c_int {
    blocking(|| {
        wanted(other)?;
        // SAFETY: the caller's handle (`Handle`).
        let stop = unsafe { keep::<Stop>(stop) }?;
        // SAFETY: the caller's handle (`Handle`).
        let made = unsafe { keep::<Io>(io) }?.with(&stop);
        // SAFETY: the caller's place (`Call`).
        unsafe { give(other, Handle::give(made)) }?;
        Ok(0)
    })
}

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_ref(io: *const unwedge_io_t) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Io>(io) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. What is in flight goes on.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_release(io: *mut unwedge_io_t) {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Io>(io) }?);
        Ok(0)
    });
}

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_file_ref(file: *const unwedge_file_t) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<File>(file) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing. With the last count, and the last operation on it, the file is closed, by the backend: the caller is not held up.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_file_release(file: *mut unwedge_file_t) {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<File>(file) }?);
        Ok(0)
    });
}

/// What `open(2)` calls these flags, here; anything else is -EINVAL.
fn options(flags: c_int, mode: u32) -> Result<OpenOptions, c_int> {
    const KNOWN: c_int = libc::O_ACCMODE
        | libc::O_CREAT
        | libc::O_EXCL
        | libc::O_TRUNC
        | libc::O_DIRECT
        | libc::O_DSYNC
        | libc::O_DIRECTORY
        | libc::O_NOFOLLOW
        | libc::O_NOATIME
        | libc::O_CLOEXEC;
    let access = flags & libc::O_ACCMODE;
    let has = |flag: c_int| flags & flag != 0;
    let writes = access == libc::O_WRONLY || access == libc::O_RDWR;
    let wrong = flags & !KNOWN != 0
        || access == libc::O_ACCMODE
        || (!writes && (has(libc::O_CREAT) || has(libc::O_TRUNC)))
        || (has(libc::O_EXCL) && !has(libc::O_CREAT))
        || (has(libc::O_DIRECTORY) && writes)
        || mode & !0o7777 != 0;
    if wrong {
        return Err(BAD_ARGUMENT);
    }
    Ok(OpenOptions::new()
        .read(access != libc::O_WRONLY)
        .write(writes)
        .create(has(libc::O_CREAT))
        .create_new(has(libc::O_EXCL))
        .truncate(has(libc::O_TRUNC))
        .direct(has(libc::O_DIRECT))
        .data_sync(has(libc::O_DSYNC))
        .directory(has(libc::O_DIRECTORY))
        .no_follow(has(libc::O_NOFOLLOW))
        .no_atime(has(libc::O_NOATIME))
        .mode(mode))
}

/// Begins an operation and gives its completion.
///
/// # Safety
/// `io` and `completion` are the caller's (`Handle`, `Call`).
unsafe fn begin(
    io: *const unwedge_io_t,
    completion: *mut *mut unwedge_completion_t,
    operation: impl FnOnce(&Io) -> Result<Owed, c_int>,
) -> c_int {
    blocking(|| {
        wanted(completion)?;
        // SAFETY: this function's own condition.
        let io = unsafe { keep::<Io>(io) }?;
        let owed = operation(&io)?;
        // SAFETY: this function's own condition.
        unsafe { give(completion, Handle::give(Completing::of(owed))) }?;
        Ok(0)
    })
}

/// Opens a file: `flags` and `mode` are those of open(2), of which O_CREAT, O_EXCL, O_TRUNC, O_DIRECT, O_DSYNC, O_DIRECTORY, O_NOFOLLOW and O_NOATIME are known;
/// O_CLOEXEC is always set.
///
/// 0 if it was begun: the completion is yours, its result 0 or the negative of an errno, and `unwedge_completion_file` gives the file.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_open(
    io: *const unwedge_io_t,
    name: *const c_char,
    flags: c_int,
    mode: u32,
    completion: *mut *mut unwedge_completion_t,
) -> c_int {
    let operation = |io: &Io| {
        // SAFETY: the caller's string (`Call`).
        let name = unsafe { path(name) }?;
        Ok(Owed::File(io.open(name, options(flags, mode)?)))
    };
    // SAFETY: the caller's handle and place.
    unsafe { begin(io, completion, operation) }
}

/// Reads at most `len` bytes from `offset` on. 0 if it was begun: the completion is yours, its result how many were read (0 at the end of the file) or the
/// negative of an errno, and `unwedge_completion_bytes` lends them.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_read(
    io: *const unwedge_io_t,
    file: *const unwedge_file_t,
    len: usize,
    offset: u64,
    completion: *mut *mut unwedge_completion_t,
) -> c_int {
    let operation = |io: &Io| {
        // SAFETY: the caller's handle (`Handle`).
        let file = unsafe { keep::<File>(file) }?;
        if len == 0 || !fits(offset, len) {
            return Err(BAD_ARGUMENT);
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).map_err(|_| -libc::ENOMEM)?;
        buffer.resize(len, 0);
        Ok(Owed::Bytes(io.read_at(&file, buffer, offset)))
    };
    // SAFETY: the caller's handle and place.
    unsafe { begin(io, completion, operation) }
}

/// Writes `len` bytes to `offset` and on: all of them. `data` is copied within the call. 0 if it was begun: the completion is yours, its result `len` or the
/// negative of an errno.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_write(
    io: *const unwedge_io_t,
    file: *const unwedge_file_t,
    data: *const c_void,
    len: usize,
    offset: u64,
    completion: *mut *mut unwedge_completion_t,
) -> c_int {
    let operation = |io: &Io| {
        // SAFETY: the caller's handle (`Handle`).
        let file = unsafe { keep::<File>(file) }?;
        if data.is_null() || len == 0 || !fits(offset, len) {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: not NULL, and `len` bytes of the caller's can be read during the call (`Call`).
        let data = unsafe { slice::from_raw_parts(data.cast::<u8>(), len) };
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).map_err(|_| -libc::ENOMEM)?;
        buffer.extend_from_slice(data);
        Ok(Owed::Written(io.write_at(&file, buffer, offset)))
    };
    // SAFETY: the caller's handle and place.
    unsafe { begin(io, completion, operation) }
}

/// Whether the kernel could address that.
fn fits(offset: u64, len: usize) -> bool {
    isize::try_from(len).is_ok() && offset.checked_add(len as u64).is_some_and(|end| i64::try_from(end).is_ok())
}

/// Makes what was written to the file durable; `data_only` leaves attributes out that are not needed to read it back. 0 if it was begun: the completion is
/// yours, its result 0 or the negative of an errno.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_sync(
    io: *const unwedge_io_t,
    file: *const unwedge_file_t,
    data_only: c_int,
    completion: *mut *mut unwedge_completion_t,
) -> c_int {
    let operation = |io: &Io| {
        // SAFETY: the caller's handle (`Handle`).
        let file = unsafe { keep::<File>(file) }?;
        Ok(Owed::Done(if data_only != 0 { io.fdatasync(&file) } else { io.fsync(&file) }))
    };
    // SAFETY: the caller's handle and place.
    unsafe { begin(io, completion, operation) }
}

/// Asks what is at a path; symbolic links are followed. 0 if it was begun: the completion is yours, its result 0 or the negative of an errno, and
/// `unwedge_completion_stat` gives what it is.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_stat(
    io: *const unwedge_io_t,
    name: *const c_char,
    completion: *mut *mut unwedge_completion_t,
) -> c_int {
    let operation = |io: &Io| {
        // SAFETY: the caller's string (`Call`).
        Ok(Owed::Stat(io.stat(unsafe { path(name) }?)))
    };
    // SAFETY: the caller's handle and place.
    unsafe { begin(io, completion, operation) }
}

/// An operation that foreign code does, a client library for example: as `unwedge_completion_new`, and it counts as in flight until its completer is used or
/// released, also at a shutdown. `unwedge_completer_on_cancel` tells the foreign code that nobody waits any more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_external(
    io: *const unwedge_io_t,
    what: *const c_char,
    free_value: Option<unsafe extern "C" fn(value: *mut c_void)>,
    completion: *mut *mut unwedge_completion_t,
    completer: *mut *mut unwedge_completer_t,
) -> c_int {
    blocking(|| {
        wanted(completion)?;
        wanted(completer)?;
        // SAFETY: the caller's string (`Call`).
        let what = forever(unsafe { string(what) }?);
        // SAFETY: the caller's handle (`Handle`).
        let io = unsafe { keep::<Io>(io) }?;
        // SAFETY: the caller's places (`Call`).
        unsafe { give_external(io.external(what), free_value, completion, completer) }?;
        Ok(0)
    })
}

/// Looks at what a completion was given.
///
/// # Safety
/// The completion is the caller's (`Handle`).
unsafe fn content(
    completion: *const unwedge_completion_t,
    found: impl FnOnce(&mut Content) -> Result<(), c_int>,
) -> c_int {
    blocking(|| {
        // SAFETY: this function's own condition.
        let mut state = unsafe { at::<Completing>(completion) }?.state()?;
        found(&mut state.outcome()?.content)?;
        Ok(0)
    })
}

/// Lends the bytes of a read that has succeeded, until the completion's last count is released. -EAGAIN if there is no result yet, -ENODATA if the result is no
/// bytes.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_bytes(
    completion: *const unwedge_completion_t,
    data: *mut *const c_void,
    len: *mut usize,
) -> c_int {
    let found = |content: &mut Content| {
        wanted(data)?;
        wanted(len)?;
        let Content::Bytes(bytes) = content else { return Err(-libc::ENODATA) };
        // SAFETY: the caller's place (`Call`).
        unsafe { give(data, bytes.as_ptr().cast()) }?;
        // SAFETY: the caller's place (`Call`).
        unsafe { give(len, bytes.len()) }
    };
    // SAFETY: the caller's handle.
    unsafe { content(completion, found) }
}

/// Gives the file of an open that has succeeded: a handle of yours, to be released. -EAGAIN if there is no result yet, -ENODATA if the result is no file.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_file(
    completion: *const unwedge_completion_t,
    file: *mut *mut unwedge_file_t,
) -> c_int {
    let found = |content: &mut Content| {
        wanted(file)?;
        let Content::File(opened) = content else { return Err(-libc::ENODATA) };
        // SAFETY: the caller's place (`Call`).
        unsafe { give(file, Handle::give(opened.clone())) }
    };
    // SAFETY: the caller's handle.
    unsafe { content(completion, found) }
}

/// Copies what a stat has found. -EAGAIN if there is no result yet, -ENODATA if the result is none.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_completion_stat(
    completion: *const unwedge_completion_t,
    stat: *mut unwedge_stat_t,
) -> c_int {
    let found = |content: &mut Content| {
        wanted(stat)?;
        let Content::Stat(metadata) = content else { return Err(-libc::ENODATA) };
        // SAFETY: the caller's place (`Call`).
        unsafe { give(stat, as_stat(metadata)) }
    };
    // SAFETY: the caller's handle.
    unsafe { content(completion, found) }
}

fn as_stat(metadata: &Metadata) -> unwedge_stat_t {
    let time = |at: Timestamp| (at.seconds, at.nanoseconds);
    let (atime, atime_nsec) = time(metadata.accessed());
    let (mtime, mtime_nsec) = time(metadata.modified());
    let (ctime, ctime_nsec) = time(metadata.changed());
    let (btime, btime_nsec) = metadata.created().map_or((0, 0), time);
    unwedge_stat_t {
        mode: metadata.mode(),
        links: metadata.links(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        ino: metadata.ino(),
        dev: metadata.dev(),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime,
        mtime,
        ctime,
        btime,
        atime_nsec,
        mtime_nsec,
        ctime_nsec,
        btime_nsec,
    }
}

/// Writes what the I/O has done so far as JSON to `place`, as `snprintf` would: at most `size` bytes with the NUL, and the whole length is the result.
///
/// `{"backend":"uring","pool_threads":0,"in_flight":0,"too_late":0,"timed_out":0,"leaked":{"operations":0,"bytes":0,"threads":0},"operations":{"open":{"done":1,
/// "prompt":1,"failed":0,"in_flight":0,"total_ns":9000,"slowest_ns":9000,"p50_ns":8192,"p99_ns":8192},..}}`; a quantile is null before the first operation.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_io_metrics(io: *const unwedge_io_t, place: *mut c_char, size: usize) -> c_int {
    blocking(|| {
        // SAFETY: the caller's handle (`Handle`).
        let text = metrics(&*unsafe { keep::<Io>(io) }?);
        // SAFETY: the caller's memory (`Call`).
        unsafe { write_text(&text, place, size) }
    })
}

fn metrics(io: &Io) -> String {
    let metrics = io.metrics();
    let operations = Operation::ALL.map(|kind| {
        let counts = metrics.operation(kind);
        let quantile =
            |share| counts.quantile(share).map_or("null".to_owned(), |time| time.as_nanos().to_string());
        format!(
            r#""{}":{{"done":{},"prompt":{},"failed":{},"in_flight":{},"total_ns":{},"slowest_ns":{},"p50_ns":{},"p99_ns":{}}}"#,
            kind.name(),
            counts.done(),
            counts.prompt(),
            counts.failed(),
            counts.in_flight(),
            counts.total().as_nanos(),
            counts.slowest().as_nanos(),
            quantile(0.5),
            quantile(0.99),
        )
    });
    format!(
        r#"{{"backend":"{}","pool_threads":{},"in_flight":{},"too_late":{},"timed_out":{},"leaked":{{"operations":{},"bytes":{},"threads":{}}},"operations":{{{}}}}}"#,
        metrics.backend(),
        metrics.pool_threads(),
        metrics.in_flight(),
        metrics.too_late(),
        metrics.timed_out(),
        metrics.leaked_operations(),
        metrics.leaked_bytes(),
        metrics.leaked_threads(),
        operations.join(","),
    )
}
