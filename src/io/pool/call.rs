//! What a thread of the pool does for an operation: the system calls.

use std::{io, os::fd::OwnedFd};

use rustix::io::Errno;

use crate::io::{
    op::{MOST, Op, Open, Outcome, exact_read},
    quick::{self, Openat2},
};

pub(super) fn perform(mut op: Op) {
    // Who asked may be gone by now. What changes nothing is then left undone.
    if op.is_idle_question() && !op.is_wanted() {
        return;
    }
    let result = call(&mut op);
    op.finish(result);
}

/// The system call for an operation. Signals are blocked on the pool's threads; what interrupts all the same is tried again.
fn call(op: &mut Op) -> io::Result<Outcome> {
    match op {
        Op::Read { file, offset, exact, target, .. } => {
            let bytes = target.bytes_mut();
            let mut done = 0;
            loop {
                let end = bytes.len().min(done + MOST);
                let rest = &mut bytes[done..end];
                let read = again(|| match rustix::io::pread(file.fd(), &mut *rest, *offset + done as u64) {
                    // A pipe has no offsets.
                    Err(Errno::SPIPE) => rustix::io::read(file.fd(), &mut *rest),
                    result => result,
                })?;
                done += read;
                if !*exact {
                    return Ok(Outcome::Moved(done));
                }
                if let Some(result) = exact_read(file, read, done, bytes.len()) {
                    return result.map(Outcome::Moved);
                }
            }
        }
        Op::Write { file, offset, source, .. } => {
            let bytes = source.bytes();
            let mut done = 0;
            while done < bytes.len() {
                let rest = &bytes[done..bytes.len().min(done + MOST)];
                let written = again(|| match rustix::io::pwrite(file.fd(), rest, *offset + done as u64) {
                    Err(Errno::SPIPE) => rustix::io::write(file.fd(), rest),
                    result => result,
                })?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done += written;
            }
            Ok(Outcome::Moved(done))
        }
        Op::Sync { file, data_only: false, .. } => again(|| rustix::fs::fsync(file.fd())).map(|()| Outcome::Moved(0)),
        Op::Sync { file, data_only: true, .. } => {
            again(|| rustix::fs::fdatasync(file.fd())).map(|()| Outcome::Moved(0))
        }
        Op::Open(open) => open_file(open).map(Outcome::Opened),
        // The drop of the descriptor, when the operation is finished, is the close.
        Op::Close(..) => Ok(Outcome::Moved(0)),
    }
}

fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// By `openat2`, and where that is refused by `openat`, if the options ask for nothing that only the former can.
fn open_file(open: &Open) -> io::Result<OwnedFd> {
    let (flags, mode, resolve) = (open.options.flags(), open.options.permissions(), open.options.resolve_flags());
    let name = open.name.as_c_str();
    if quick::support() != Openat2::Refused {
        return again(|| rustix::fs::openat2(open.dir(), name, flags, mode, resolve));
    }
    if !resolve.is_empty() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, REFUSED));
    }
    again(|| rustix::fs::openat(open.dir(), name, flags, mode))
}

const REFUSED: &str = "openat2 is refused here (a seccomp filter, or Linux before 5.6), and only with it can a path's resolution be confined";
