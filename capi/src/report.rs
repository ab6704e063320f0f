//! Reports: who has not ended, and where it waits.

use std::ffi::{c_char, c_int};
use std::os::fd::BorrowedFd;

use unwedge::report::{Report, report_fd};

use crate::border::{BAD_ARGUMENT, border, write_text};
use crate::handle::{Kind, at, count, take};

/// A report: who has not ended, and where it waits, at a moment.
pub struct unwedge_report_t {
    _opaque: (),
}

impl Kind for Report {
    type Name = unwedge_report_t;
    const TAG: u32 = 0x7577_7270;
}

/// For people.
pub const UNWEDGE_TEXT: c_int = 0;
/// For programs.
pub const UNWEDGE_JSON: c_int = 1;
/// For Graphviz.
pub const UNWEDGE_DOT: c_int = 2;

/// Counts the handle once more.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_ref(report: *const unwedge_report_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        unsafe { count::<Report>(report) }?;
        Ok(0)
    })
}

/// Lets the handle go; NULL does nothing.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_release(report: *mut unwedge_report_t) {
    border(|| {
        // SAFETY: the caller's handle (`Handle`), and its last use of this count.
        drop(unsafe { take::<Report>(report) }?);
        Ok(0)
    });
}

/// Whether everything has ended: 1 or 0.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_is_clean(report: *const unwedge_report_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        Ok(unsafe { at::<Report>(report) }?.is_clean().into())
    })
}

/// How many threads and tasks have not ended.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_members(report: *const unwedge_report_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        let members = unsafe { at::<Report>(report) }?.members().len();
        Ok(c_int::try_from(members).unwrap_or(c_int::MAX))
    })
}

/// How many inversions of the order of locks and waits this process has come upon so far, each of which the text tells: 0 where they are not watched
/// (`unwedge_on_inversion`).
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_inversions(report: *const unwedge_report_t) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        let inversions = unsafe { at::<Report>(report) }?.inversions().len();
        Ok(c_int::try_from(inversions).unwrap_or(c_int::MAX))
    })
}

/// Writes the report to `place` as `snprintf` would: at most `size` bytes with the NUL, and the whole length is the result. `form` is
/// UNWEDGE_TEXT, UNWEDGE_JSON or UNWEDGE_DOT.
///
/// # Safety
/// See "Pointers" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_write(
    report: *const unwedge_report_t,
    form: c_int,
    place: *mut c_char,
    size: usize,
) -> c_int {
    border(|| {
        // SAFETY: the caller's handle (`Handle`).
        let report = unsafe { at::<Report>(report) }?;
        let text = match form {
            UNWEDGE_TEXT => report.to_string(),
            UNWEDGE_JSON => report.to_json(),
            UNWEDGE_DOT => report.to_dot(),
            _ => return Err(BAD_ARGUMENT),
        };
        // SAFETY: the caller's memory (`Call`).
        unsafe { write_text(&text, place, size) }
    })
}

/// Writes the report of the whole process, all its domains, to a descriptor: for a signal handler, a crash handler and a panic hook. It allocates nothing, takes
/// no lock and is async-signal-safe, whoever is stuck.
///
/// 0 if all of it was written, otherwise the negative of the errno of write(2); of a descriptor that blocks it waits.
///
/// # Safety
/// `fd` is open, or the negative of an errno comes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unwedge_report_fd(fd: c_int) -> c_int {
    border(|| {
        if fd < 0 {
            return Err(BAD_ARGUMENT);
        }
        // SAFETY: not -1; used within this call alone, and one that is not open gives EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        report_fd(fd).map(|()| 0).map_err(|error| -error.raw_os_error().unwrap_or(libc::EIO))
    })
}
