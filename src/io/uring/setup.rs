//! Makes the ring and tries whether it works: some sandboxes let a ring be made whose operations then fail.
//!
//! Once for a ring, on its owner's thread: set-up with the flags that the kernel has, the features and opcodes that are needed, one
//! wake by the eventfd, and one real read drained to its completion. Any failure means the pool, with the reason.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};

/// `user_data` of the poll of the eventfd. No key of the slab is as large: its index would be beyond the capacity.
pub(super) const BELL: u64 = u64::MAX;
/// `user_data` of cancels, whose results say nothing of use: the operation's own completion counts.
pub(super) const CANCEL: u64 = u64::MAX - 1;
const TRIAL: u64 = u64::MAX - 2;

/// What a trial operation, which needs no device, may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// A ring with room for so many operations, a cancel for each of them, and the poll of `bell`, which is armed.
pub(super) fn ring(permits: u32, bell: &OwnedFd) -> io::Result<IoUring> {
    let mut ring = build(permits).map_err(|error| explained("io_uring cannot be set up", &error))?;
    let params = ring.params();
    if !(params.is_feature_nodrop() && params.is_feature_ext_arg() && params.is_feature_submit_stable()) {
        return Err(unsupported("io_uring of this kernel is too old: 5.13 is needed"));
    }
    opcodes(&ring)?;
    // The kernel's workers, for what it cannot do without blocking (opens, file systems like FUSE and NFS). Its own limit is a few a processor, and a
    // dead mount would soon have them all; so there may be one for each operation. A kernel before 5.15 does not know this, and keeps its limit.
    drop(ring.submitter().register_iowq_max_workers(&mut [permits, 0]));
    try_read(&mut ring)?;
    try_bell(&mut ring, bell)?;
    Ok(ring)
}

fn build(permits: u32) -> io::Result<IoUring> {
    // The kernel's limit is 65,536.
    let completions = (2 * permits + 8).next_power_of_two();
    let entries = permits.clamp(8, 256);
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(completions);
    let plain = builder.clone();
    // From Linux 6.1 on: completions are worked off where the owner waits for them, and nowhere else.
    let best = builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    match best.build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => plain.build(entries),
        result => result,
    }
}

fn opcodes(ring: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| explained("io_uring cannot be asked for its operations", &error))?;
    let needed = [
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::Fsync::CODE,
        opcode::OpenAt2::CODE,
        opcode::Close::CODE,
        opcode::AsyncCancel::CODE,
        opcode::PollAdd::CODE,
    ];
    if needed.iter().all(|&code| probe.is_supported(code)) {
        Ok(())
    } else {
        Err(unsupported("io_uring of this kernel lacks an operation that is needed"))
    }
}

/// Reads eight bytes, for real.
fn try_read(ring: &mut IoUring) -> io::Result<()> {
    const VALUE: u64 = 0x756e_7765_6467_6521;
    let source = eventfd(0, EventfdFlags::CLOEXEC)?;
    rustix::io::write(&source, &VALUE.to_ne_bytes())?;
    let bytes: *mut [u8; 8] = Box::into_raw(Box::new([0; 8]));
    let read = opcode::Read::new(types::Fd(source.as_raw_fd()), bytes.cast(), 8).build().user_data(TRIAL);
    // SAFETY: the bytes are a box that was given up, so they stay valid for ever unless it is taken back below, and the descriptor is open
    // until the end of this function, after the entry was submitted.
    unsafe { push(ring, &read) };
    // Without a completion the kernel may still write there: the eight bytes are leaked with the error.
    let (result, _) = completion_of(ring, TRIAL)?;
    // SAFETY: the box was given up above, and the kernel is through with it: this was the read's completion.
    let bytes = unsafe { Box::from_raw(bytes) };
    if result < 0 {
        return Err(explained("io_uring refuses to read", &io::Error::from_raw_os_error(-result)));
    }
    if result != 8 || *bytes != VALUE.to_ne_bytes() {
        return Err(unsupported("io_uring does not read what is there"));
    }
    Ok(())
}

/// Arms the poll of the bell, and rings it once.
fn try_bell(ring: &mut IoUring, bell: &OwnedFd) -> io::Result<()> {
    // SAFETY: this entry has no address in it, and the bell is open as long as the owner runs.
    unsafe { push(ring, &bell_entry(bell)) };
    ring.submit()?;
    rustix::io::write(bell, &1u64.to_ne_bytes())?;
    match completion_of(ring, BELL)? {
        (result, flags) if result > 0 && cqueue::more(flags) => Ok(()),
        _ => Err(unsupported("io_uring of this kernel is too old: its polls end after one event")),
    }
}

pub(super) fn bell_entry(bell: &OwnedFd) -> squeue::Entry {
    opcode::PollAdd::new(types::Fd(bell.as_raw_fd()), libc::POLLIN as u32).multi(true).build().user_data(BELL)
}

/// # Safety
///
/// As for [`squeue::SubmissionQueue::push`]: what the entry refers to must be valid until its completion.
unsafe fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: promised by the caller.
    let pushed = unsafe { ring.submission().push(entry) };
    assert!(pushed.is_ok(), "a new ring has room for two entries");
}

/// Waits for one completion, and for no longer than a second.
fn completion_of(ring: &mut IoUring, user_data: u64) -> io::Result<(i32, u32)> {
    let patience = types::Timespec::from(PATIENCE);
    for _ in 0..8 {
        match ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&patience)) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => break,
            Err(error) => return Err(explained("io_uring cannot be entered", &error)),
        }
        if let Some(entry) = ring.completion().find(|entry| entry.user_data() == user_data) {
            return Ok((entry.result(), entry.flags()));
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "io_uring does not complete a trial operation"))
}

fn explained(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn unsupported(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}
