//! What ships: std, futexes and the kernel's clock.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::thread::futex;

use super::look::look_as_thread;
use super::{Acquire, PlainU8, PlainU32, Relaxed, Release};

pub(crate) use std::sync::MutexGuard;
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
pub(crate) use std::thread::JoinHandle;

/// How often a locker tries before it queues: see `wait::monitor`. Some microseconds.
pub(crate) fn spin_rounds() -> u32 {
    64
}

/// What lies between two tries: 1 to 4 spin hints, so that an unlock is seen soon; at the end the processor is offered to the holder, who may want it.
pub(crate) fn pause(round: u32) {
    if round < 60 {
        for _ in 0..1 << round.min(2) {
            spin_loop();
        }
    } else {
        std::thread::yield_now();
    }
}

/// log2 of the slots in an arena's first chunk.
pub(crate) const ARENA_SHIFT: u32 = 6;

/// A mutex for this crate's own short critical sections: no foreign code runs under it (L6), so that poison says nothing and is ignored.
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if another thread has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A condition variable for this crate's own threads (I/O), which wait for work and not for anything that a stop ends.
#[derive(Default)]
pub(crate) struct Signal(std::sync::Condvar);

impl Signal {
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Lets the mutex go and waits; may also return for no reason.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`wait`](Self::wait), until a deadline.
    pub(crate) fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, deadline: Instant) -> MutexGuard<'a, T> {
        let left = deadline.saturating_duration_since(now());
        self.0.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Puts one thread to sleep. A token, as with `std::thread::park`: an unpark that comes first makes the next park return at once.
///
/// | word | meaning |
/// |---|---|
/// | `EMPTY` | nobody sleeps, no token |
/// | `ASLEEP` | the owner sleeps or is about to |
/// | `TOKEN` | an unpark came |
pub(crate) struct Parker {
    word: AtomicU32,
    /// The core on which the last unpark ran.
    woken_from: PlainU32,
}

/// No core.
const NOWHERE: u32 = u32::MAX;

/// The core on which this thread runs, at this moment.
#[inline]
fn core() -> u32 {
    // SAFETY: no arguments and no preconditions.
    unsafe { libc::sched_getcpu() as u32 }
}

const EMPTY: u32 = 0;
const ASLEEP: u32 = 1;
const TOKEN: u32 = 2;

impl Parker {
    pub(crate) const fn new() -> Self {
        Parker { word: AtomicU32::new(EMPTY), woken_from: PlainU32::new(NOWHERE) }
    }

    /// Sleeps until an unpark or the deadline; may also return for no reason.
    pub(crate) fn park(&self, deadline: Option<Instant>) {
        if self.look() {
            return;
        }
        // Ordering: Acquire, partner of the Release in `unpark`: what was done before the unpark is seen.
        if self.word.compare_exchange(EMPTY, ASLEEP, Acquire, Acquire).is_ok() {
            let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match timeout {
                Some(Duration::ZERO) => {}
                Some(left) => {
                    if let Ok(left) = rustix::thread::Timespec::try_from(left) {
                        let _ = futex::wait(&self.word, futex::Flags::PRIVATE, ASLEEP, Some(&left));
                    } else {
                        let _ = futex::wait(&self.word, futex::Flags::PRIVATE, ASLEEP, None);
                    }
                }
                None => {
                    let _ = futex::wait(&self.word, futex::Flags::PRIVATE, ASLEEP, None);
                }
            }
            // The token stays, and makes the next park of this wait return at once. Mostly there is none: see `reset`.
            // Ordering: Acquire, as above.
            if self.word.load(Acquire) == TOKEN {
                return;
            }
        }
        self.word.swap(EMPTY, Acquire);
    }

    /// A new wait begins. A token of an earlier one is forgotten; one that comes late wakes for no reason.
    #[inline]
    pub(crate) fn reset(&self) {
        // Ordering: Relaxed, by the owner, before anybody can mean the new wait.
        self.word.store(EMPTY, Relaxed);
    }

    /// Looks for a token for a moment, where the last wake-up came from another core and that has paid lately. Takes it if there is one.
    fn look(&self) -> bool {
        let last = self.woken_from.load(Relaxed);
        if last == NOWHERE || last == core() {
            return false;
        }
        look_as_thread(|| {
            // Ordering: Acquire, partner of the Release in `unpark`.
            let seen = self.word.load(Acquire) == TOKEN;
            if seen {
                // A swap: an unpark that came just now must be seen with what led to it, for its token goes too.
                self.word.swap(EMPTY, Acquire);
            }
            seen
        })
    }

    /// Wakes the owner, or leaves a token.
    pub(crate) fn unpark(&self) {
        self.woken_from.store(core(), Relaxed);
        // Ordering: Release, partner of the Acquire in `park`.
        if self.word.swap(TOKEN, Release) == ASLEEP {
            let _ = futex::wake(&self.word, futex::Flags::PRIVATE, 1);
        }
    }
}

/// How long a thread that has given its result may take for its thread-locals' destructors, and who was stopped at a deadline for the way out.
pub(crate) const WAY_OUT: Duration = Duration::from_millis(100);

/// The same for members and callbacks whose shutdown was hurried.
pub(crate) const HURRIED_WAY_OUT: Duration = WAY_OUT;

#[cfg(test)]
thread_local! {
    /// How often this thread has looked at a clock.
    pub(crate) static CLOCK_READS: Cell<usize> = const { Cell::new(0) };
}

/// Now, on the clock that deadlines are on.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    CLOCK_READS.set(CLOCK_READS.get() + 1);
    Instant::now()
}

/// Milliseconds on a coarse clock (a few ns to read, 1 to 4 ms resolution): for ages in reports.
pub(crate) fn coarse_millis() -> u64 {
    coarse_nanos() / 1_000_000
}

/// The same in nanoseconds: for who notes it between two barriers, where each cycle of a division is waited for.
#[inline]
pub(crate) fn coarse_nanos() -> u64 {
    #[cfg(test)]
    CLOCK_READS.set(CLOCK_READS.get() + 1);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

thread_local! {
    static MEMBER: Cell<u64> = const { Cell::new(0) };
}

/// Who runs on this thread now: a `registry::member::MemberRef` as a word, 0 if not known yet.
#[inline]
pub(crate) fn current_member() -> u64 {
    MEMBER.with(Cell::get)
}

/// Sets who runs on this thread now, and returns who ran before.
pub(crate) fn set_current_member(member: u64) -> u64 {
    MEMBER.with(|current| current.replace(member))
}

/// Starts a thread with this name (cut to the 15 bytes that the kernel keeps).
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(name: &str, body: F) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(short_name(name)).spawn(body)
}

/// Starts a thread of this crate's own: it blocks every signal, so that the daemon's handlers run on the daemon's threads.
pub(crate) fn spawn_service<F: FnOnce() + Send + 'static>(name: &str, body: F) -> std::io::Result<JoinHandle<()>> {
    let blocked = SignalsBlocked::new();
    let handle = spawn(name, body);
    drop(blocked);
    handle
}

/// The kernel keeps 15 bytes of a thread's name; std refuses a NUL in it.
fn short_name(name: &str) -> String {
    let mut short = String::new();
    for c in name.chars().filter(|c| *c != '\0') {
        if short.len() + c.len_utf8() > 15 {
            break;
        }
        short.push(c);
    }
    short
}

/// While it lives, this thread blocks every signal but those of a crash, whose handler must run where the crash is; threads that it starts inherit that for good.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn new() -> Self {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `all` is valid for writing a sigset_t.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        for crash in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT]
        {
            // SAFETY: `all` was filled above, and the number is a signal's.
            unsafe { libc::sigdelset(all.as_mut_ptr(), crash) };
        }
        // SAFETY: `all` was filled by sigfillset, which does not fail for a valid pointer; `before` is valid for writing. `SIG_BLOCK` is a
        // valid `how`, so that the call does not fail and `before` is written.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: written by the call above.
        let before = unsafe { before.assume_init() };
        SignalsBlocked { before }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `before` is a mask that the kernel gave; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Waits until the thread has ended, destructors of thread-locals included, but not past the deadline. Whether it has ended.
pub(crate) fn join_until(handle: JoinHandle<()>, deadline: Instant) -> bool {
    join_by(handle, || deadline)
}

/// As [`join_until`], with a deadline that may come nearer meanwhile.
pub(crate) fn join_by(handle: JoinHandle<()>, deadline: impl Fn() -> Instant) -> bool {
    use std::os::unix::thread::JoinHandleExt;
    let thread = handle.into_pthread_t();
    loop {
        // The C library's deadline is on the wall clock, which may be set meanwhile: so in short slices.
        let left = deadline().saturating_duration_since(Instant::now());
        let slice = left.min(Duration::from_millis(20));
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let nanos = wall.tv_nsec as u64 + u64::from(slice.subsec_nanos());
        let at = libc::timespec {
            tv_sec: wall.tv_sec as libc::time_t + (nanos / 1_000_000_000) as libc::time_t,
            tv_nsec: (nanos % 1_000_000_000) as _,
        };
        // SAFETY: `thread` came from `into_pthread_t`, so it is joinable and nobody else joins or detaches it; `at` is a valid timespec.
        if unsafe { libc::pthread_timedjoin_np(thread, std::ptr::null_mut(), &at) } == 0 {
            return true;
        }
        if left.is_zero() {
            // SAFETY: the timed join failed, so the thread is still joinable and ours to detach.
            unsafe { libc::pthread_detach(thread) };
            return false;
        }
    }
}

/// Joins the thread if it has ended, destructors of thread-locals included; otherwise the handle comes back.
pub(crate) fn try_join(handle: JoinHandle<()>) -> Result<(), JoinHandle<()>> {
    use std::os::unix::thread::JoinHandleExt;
    // SAFETY: the handle is there, so its thread is joinable and nobody else joins or detaches it.
    if unsafe { libc::pthread_tryjoin_np(handle.as_pthread_t(), std::ptr::null_mut()) } != 0 {
        return Err(handle);
    }
    // It is joined: the handle's drop must not detach it.
    let _joined = handle.into_pthread_t();
    Ok(())
}

/// Asks for the cache line at an address, if there is one, that is about to be written to, so that it is on its way meanwhile: a hint. Any address will do.
#[inline(always)]
pub(crate) fn bring_for_writing(_at: impl FnOnce() -> Option<*const ()>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(at) = _at().filter(|_| hints_at_writes()) {
        // SAFETY: the processor has this instruction; by the manuals it is a hint to the cache, which changes no register, flag or memory and faults at no address.
        unsafe { std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly)) };
    }
}

/// Whether the processor says that it has `prefetchw`: it is asked once.
#[cfg(target_arch = "x86_64")]
#[inline]
fn hints_at_writes() -> bool {
    const LEAF: u32 = 0x8000_0001;
    static KNOWN: PlainU8 = PlainU8::new(0);
    match KNOWN.load(Relaxed) {
        0 => {
            #[allow(unused_unsafe, reason = "safe from some version of Rust on")]
            // SAFETY: every processor of this architecture has the instruction.
            let cpuid = |leaf| unsafe { std::arch::x86_64::__cpuid(leaf) };
            let has = cpuid(LEAF & 0x8000_0000).eax >= LEAF && cpuid(LEAF).ecx & 1 << 8 != 0;
            KNOWN.store(1 + u8::from(has), Relaxed);
            has
        }
        known => known == 2,
    }
}

/// Storage whose exclusion is a protocol's doing; the model checks every access.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    #[inline]
    pub(crate) fn get_mut(&self) -> MutPtr<T> {
        MutPtr(self.0.get())
    }
}

/// Access to what an [`UnsafeCell`] holds; the model checks that there is one at a time.
pub(crate) struct MutPtr<T>(*mut T);

impl<T> MutPtr<T> {
    /// # Safety
    /// Nobody else has access for as long as the reference lives.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "as loom's: exclusion is the caller's promise")]
    pub(crate) unsafe fn deref(&self) -> &mut T {
        // SAFETY: it points to the content of a cell that is borrowed by whoever made this; exclusion is the caller's promise.
        unsafe { &mut *self.0 }
    }
}

/// Sleeping on a word: the kernel's futex.
pub(crate) struct Futex;

impl Futex {
    pub(crate) const fn new() -> Self {
        Futex
    }

    /// Sleeps if the word has this value, until woken; may also return for no reason.
    pub(crate) fn wait(&self, word: &AtomicU32, value: u32) {
        let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
    }

    /// Wakes one who sleeps on the word.
    #[cold]
    pub(crate) fn wake_one(&self, word: &AtomicU32) {
        let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
    }
}

/// How often a light mutex is looked at before its locker sleeps: some microseconds.
pub(crate) fn spin_looks() -> u32 {
    400
}

/// Writes a last word to standard error and ends the process at once. Standard error may be a pipe that nobody reads: it is waited for for a moment only.
pub(crate) fn abort(last_word: String) -> ! {
    let write = move || drop(std::io::Write::write_all(&mut std::io::stderr(), last_word.as_bytes()));
    if let Ok(writer) = spawn_service("uw-last-word", write) {
        join_until(writer, now() + WAY_OUT);
    }
    std::process::abort()
}
