//! What the scenarios share: waits that must end, folders that go away. Deadlines here are guards against hanging, never what is measured.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use unwedge::{
    Abandoned, Completion, Plan, Stop,
    io::{Backend, Io, OpenOptions},
    report::Report,
};

pub const GUARD: Duration = Duration::from_secs(30);
pub const READ: OpenOptions = OpenOptions::new().read(true);

pub fn guard() -> Instant {
    Instant::now() + GUARD
}

pub fn start(backend: Backend, stop: &Stop) -> Io {
    Io::builder(stop).backend(backend).build().expect("a backend")
}

/// Waits until something holds, which it must in the end.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = guard();
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The result, which must come.
pub fn get<T, E: From<Abandoned>>(mut completion: Completion<T, E>) -> Result<T, E> {
    match completion.wait_until(guard()) {
        Ok(result) => result,
        Err(error) => panic!("no result: {error}"),
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a task on this thread, without a runtime. It must end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut task = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let until = guard();
    loop {
        if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(Instant::now() < until, "the task is woken");
        thread::park_timeout(GUARD);
    }
}

/// Ends a life; nothing may be left of it.
pub fn end(stop: &Stop) {
    let report = stop.shutdown(Plan::within(GUARD));
    assert!(report.is_clean(), "{report}");
}

/// Operations, bytes and threads that a shutdown left with the kernel.
pub fn leaked(report: &Report) -> (usize, usize, usize) {
    (report.leaked_operations(), report.leaked_bytes(), report.leaked_threads())
}

/// Whether this is on a file system that asks nobody: ext4, xfs, btrfs, tmpfs.
pub fn is_local(path: &Path) -> bool {
    const LOCAL: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];
    rustix::fs::statfs(path).is_ok_and(|found| LOCAL.contains(&{ found.f_type }))
}

/// A folder that goes away with its last user.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // The build's own folder: a real file system, where the temporary folder may be memory and refuse direct I/O.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "io-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        ));
        fs::create_dir_all(&path).expect("a folder");
        // As the kernel names it, where the build's folder is a link: tests compare it with what is in /proc.
        Dir(fs::canonicalize(path).expect("a folder"))
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    /// A FIFO that a read from waits at for ever: nobody writes, but it can be opened for reading and writing at once.
    pub fn fifo(&self) -> PathBuf {
        let path = self.0.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .expect("a FIFO");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 4096) as u8).collect()
}
