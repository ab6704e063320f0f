//! Runs a command where the kernel refuses io_uring, openat2 and membarrier, as a container's default seccomp filter or an older kernel does:
//! to see that a daemon also stops there.
//!
//! ```text
//! cargo run --example refused -- [--errno EPERM|ENOSYS] COMMAND [ARGUMENT...]
//! ```
//!
//! The filter is inherited by everything that the command starts, and cannot be taken back.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    ffi::OsString,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

const USAGE: &str = "usage: refused [--errno EPERM|ENOSYS] COMMAND [ARGUMENT...]\n\
    Runs COMMAND where the kernel refuses io_uring, openat2 and membarrier with that error (EPERM unless said).";

const REFUSED: [libc::c_long; 5] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_openat2,
    libc::SYS_membarrier,
];

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--help" || first == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let mut errno = libc::EPERM;
    if arguments.first().is_some_and(|first| first == "--errno") {
        errno = match arguments.get(1).and_then(|name| name.to_str()) {
            Some("EPERM") => libc::EPERM,
            Some("ENOSYS") => libc::ENOSYS,
            _ => return wrong("--errno takes EPERM or ENOSYS"),
        };
        arguments.drain(..2);
    }
    if arguments.is_empty() {
        return wrong("no command");
    }
    let command = arguments.remove(0);
    if let Err(error) = refuse(errno) {
        return wrong(&format!("the filter cannot be set: {error}"));
    }
    let error = Command::new(&command).args(arguments).exec();
    eprintln!("refused: {}: {error}", Path::new(&command).display());
    ExitCode::from(127)
}

fn wrong(why: &str) -> ExitCode {
    eprintln!("refused: {why}\n{USAGE}");
    ExitCode::from(2)
}

/// Sets the filter for this process and what it becomes.
fn refuse(errno: i32) -> Result<(), Box<dyn Error>> {
    let rules: BTreeMap<_, _> = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    let arch = TargetArch::try_from(env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()), arch)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
