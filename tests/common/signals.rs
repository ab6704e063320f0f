//! Which signals the library's own threads have blocked: every one but a crash's.

/// Those that a crash raises where it is: a handler that is to say what happened must run there.
const CRASH: u64 = bit(libc::SIGSEGV)
    | bit(libc::SIGBUS)
    | bit(libc::SIGFPE)
    | bit(libc::SIGILL)
    | bit(libc::SIGTRAP)
    | bit(libc::SIGSYS)
    | bit(libc::SIGABRT);

/// Every signal but those of a crash, those that cannot be blocked, and the two that the C library keeps to itself (32 and 33).
const ALL_BLOCKED: u64 = !(CRASH | bit(libc::SIGKILL) | bit(libc::SIGSTOP) | bit(32) | bit(33));

/// A signal's place in a mask.
const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Whether a thread has what the library's own threads have blocked, given its mask in digits.
pub(crate) fn is_blocked_as_it_should(mask: &str) -> bool {
    u64::from_str_radix(mask, 16).expect("a mask") & (ALL_BLOCKED | CRASH) == ALL_BLOCKED
}
