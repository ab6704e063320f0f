//! Threads. loom's may start with what is not `Send`, so these may: see the invariant **One thread of the system**.

use std::fmt;
use std::io;

pub use shuttle::thread::{Thread, ThreadId, current, panicking, park, yield_now};

struct OneThread<T>(T);

// SAFETY: "One thread of the system": it never leaves the one it was made on.
unsafe impl<T> Send for OneThread<T> {}

impl<T> OneThread<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

/// A thread's handle.
pub struct JoinHandle<T>(shuttle::thread::JoinHandle<OneThread<T>>);

impl<T> JoinHandle<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// What it panicked with.
    pub fn join(self) -> std::thread::Result<T> {
        self.0.join().map(OneThread::into_inner)
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

fn body<T: 'static>(f: impl FnOnce() -> T + 'static) -> impl FnOnce() -> OneThread<T> + Send + 'static {
    let f = OneThread(f);
    move || OneThread((f.into_inner())())
}

/// Starts a thread.
pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    JoinHandle(shuttle::thread::spawn(body(f)))
}

/// Starts a thread with a name.
#[derive(Debug, Default)]
pub struct Builder(Option<String>);

impl Builder {
    /// Without a name.
    #[must_use]
    pub fn new() -> Self {
        Builder::default()
    }

    /// With this one.
    #[must_use]
    pub fn name(self, name: String) -> Self {
        Builder(Some(name))
    }

    /// Starts it.
    ///
    /// # Errors
    /// shuttle's.
    pub fn spawn<T: 'static>(self, f: impl FnOnce() -> T + 'static) -> io::Result<JoinHandle<T>> {
        let builder = shuttle::thread::Builder::new();
        let builder = match self.0 {
            Some(name) => builder.name(name),
            None => builder,
        };
        builder.spawn(body(f)).map(JoinHandle)
    }
}
