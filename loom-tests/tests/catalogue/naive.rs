//! What naive shapes are made of: loom's own lock, condition variable and threads, each with a name, so that a twin can say who waits for whom.
//!
//! A deadlock is told by loom as a list of blocked threads. So each thread says here what it is about to wait for, and which locks it holds; when the twin
//! fails, its process prints that, as `stop, with mds_lock, waits for the end of replay`. None of it is seen by loom.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex as Plain, PoisonError};

use unwedge::model::thread;

use crate::common::{Failure, said_by, test_of};

/// Who waits: a twin must fail with these, all of them and no others.
pub type Waits = &'static [&'static str];

/// A twin in which these wait for each other, and what they wait for never happens.
pub fn deadlocks(bound: Option<usize>, waits: Waits, twin: impl Fn() + Sync + Send + 'static) {
    waiting(Failure::Deadlock, bound, waits, twin);
}

/// A twin in which these sleep though what they wait for has happened: it has called [`happened`](crate::common::happened).
pub fn misses(bound: Option<usize>, waits: Waits, twin: impl Fn() + Sync + Send + 'static) {
    waiting(Failure::LostWakeUp, bound, waits, twin);
}

fn waiting(failure: Failure, bound: Option<usize>, waits: Waits, twin: impl Fn() + Sync + Send + 'static) {
    let test = test_of(&twin);
    let twin = move || {
        table().clear();
        twin();
    };
    let Some(said) = said_by(&test, bound, who_waits, twin) else { return };
    let all = || format!("{}\n{}", said.text, said.stderr);
    assert!(said.is(failure), "{} must fail with {failure:?}, and it said: {}", said.test, all());
    let mut expected = waits.to_vec();
    expected.sort_unstable();
    let (_, who) = said.text.split_once(SEPARATOR).unwrap_or_default();
    assert_eq!(who, expected.join("; "), "{}", all());
    println!("twin {} fails with {failure:?}: {who}", said.name());
}

const SEPARATOR: &str = " | ";

/// A thread, what it is about to wait for, and what it holds.
struct Entry {
    thread: &'static str,
    waits: Option<String>,
    /// The lock that it takes again once its condition variable was notified.
    relock: Option<&'static str>,
    holds: Vec<&'static str>,
}

static TABLE: Plain<Vec<Entry>> = Plain::new(Vec::new());

fn table() -> std::sync::MutexGuard<'static, Vec<Entry>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

loom::thread_local! {
    static NAME: Cell<&'static str> = Cell::new("stop");
}

/// Changes the entry of this thread. (Asked for before the table is locked: loom may switch threads only where it is asked something.)
fn entry<R>(change: impl FnOnce(&mut Entry) -> R) -> R {
    let name = NAME.with(Cell::get);
    let mut table = table();
    let at = table.iter().position(|entry| entry.thread == name).unwrap_or_else(|| {
        table.push(Entry { thread: name, waits: None, relock: None, holds: Vec::new() });
        table.len() - 1
    });
    change(&mut table[at])
}

/// Runs what may block, with what it waits for on the table.
pub fn blocking<R>(what: String, relock: Option<&'static str>, f: impl FnOnce() -> R) -> R {
    // A task that waits for something may take a lock when it is polled.
    let before = entry(|entry| (entry.waits.replace(what), std::mem::replace(&mut entry.relock, relock)));
    let result = f();
    entry(|entry| (entry.waits, entry.relock) = before);
    result
}

fn who_waits() -> String {
    let mut lines: Vec<String> = table()
        .iter()
        .filter_map(|Entry { thread, waits, holds, .. }| {
            let with = if holds.is_empty() { String::new() } else { format!(", with {},", holds.join(" and ")) };
            Some(format!("{thread}{with} waits for {}", waits.as_ref()?))
        })
        .collect();
    lines.sort_unstable();
    format!("{SEPARATOR}{}", lines.join("; "))
}

/// loom's mutex, with a name.
pub struct Mutex<T> {
    name: &'static str,
    inner: loom::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub fn new(name: &'static str, value: T) -> Self {
        Mutex { name, inner: loom::sync::Mutex::new(value) }
    }

    pub fn lock(&self) -> Guard<'_, T> {
        let inner = blocking(self.name.to_owned(), None, || self.inner.lock().unwrap());
        entry(|entry| entry.holds.push(self.name));
        Guard { name: self.name, inner: Some(inner) }
    }
}

/// Guard of a [`Mutex`].
pub struct Guard<'a, T> {
    name: &'static str,
    /// `None` only inside a wait.
    inner: Option<loom::sync::MutexGuard<'a, T>>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("not inside a wait")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("not inside a wait")
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        entry(|entry| entry.holds.retain(|held| *held != self.name));
    }
}

/// loom's condition variable, with a name.
pub struct Condvar {
    name: &'static str,
    inner: loom::sync::Condvar,
}

impl Condvar {
    pub fn new(name: &'static str) -> Self {
        Condvar { name, inner: loom::sync::Condvar::new() }
    }

    pub fn wait<'a, T>(&self, mut guard: Guard<'a, T>) -> Guard<'a, T> {
        let inner = guard.inner.take().expect("not inside a wait");
        let name = guard.name;
        drop(guard);
        let inner = blocking(self.name.to_owned(), Some(name), || self.inner.wait(inner).unwrap());
        entry(|entry| entry.holds.push(name));
        Guard { name, inner: Some(inner) }
    }

    pub fn notify_one(&self) {
        let mut table = table();
        let mut waiting = table.iter_mut().filter(|entry| entry.waits.as_deref() == Some(self.name));
        // Of several it is not known here which one it will be.
        if let (Some(entry), None) = (waiting.next(), waiting.next()) {
            entry.waits = entry.relock.map(str::to_owned);
        }
        drop(table);
        self.inner.notify_one();
    }

    pub fn notify_all(&self) {
        for entry in table().iter_mut().filter(|entry| entry.waits.as_deref() == Some(self.name)) {
            entry.waits = entry.relock.map(str::to_owned);
        }
        self.inner.notify_all();
    }
}

/// A thread of loom's, with a name.
pub struct Thread {
    name: &'static str,
    inner: thread::JoinHandle<()>,
}

/// Starts a thread.
pub fn spawn(name: &'static str, body: impl FnOnce() + 'static) -> Thread {
    let inner = thread::spawn(move || {
        NAME.with(|own| own.set(name));
        body();
    });
    Thread { name, inner }
}

impl Thread {
    pub fn join(self) {
        blocking(format!("the end of {}", self.name), None, || self.inner.join().unwrap());
    }
}

/// A result that somebody else gives: a lock and a condition variable, as daemons have it everywhere.
pub struct Reply<T> {
    value: Mutex<Option<T>>,
    given: Condvar,
}

impl<T: Copy> Reply<T> {
    /// `name`: what a thread waits for that waits for it.
    pub fn new(name: &'static str) -> Self {
        Reply { value: Mutex::new("the reply's lock", None), given: Condvar::new(name) }
    }

    pub fn give(&self, value: T) {
        *self.value.lock() = Some(value);
        self.given.notify_all();
    }

    pub fn wait(&self) -> T {
        let mut value = self.value.lock();
        loop {
            match *value {
                Some(value) => return value,
                None => value = self.given.wait(value),
            }
        }
    }
}
