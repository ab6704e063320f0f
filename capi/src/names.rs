//! Texts that live for ever: unwedge wants `&'static str` for what an operation is called, and a daemon has few of them.
//!
//! Without a lock, because a process may fork while another thread keeps a name: in the child nobody would let that lock go.
//!
//! # Invariant
//! - **Kept.** What a list leads to was leaked and is not changed any more: it is there for ever.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr;
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// The most texts that are kept. A daemon that makes names up for each operation gets this many, and then [`MANY`].
const MOST: usize = 4096;
const MANY: &CStr = c"(too many names)";

/// A list for each of so many remainders of a text's hash.
const LISTS: usize = 256;

static KEPT: [AtomicPtr<Kept>; LISTS] = [const { AtomicPtr::new(ptr::null_mut()) }; LISTS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Kept {
    text: CString,
    next: *mut Kept,
}

std::thread_local! {
    /// The last one that this thread has asked for: most ask for the same again.
    static LAST: Cell<&'static str> = const { Cell::new("") };
}

/// The same text, for ever.
pub(crate) fn forever(name: &CStr) -> &'static str {
    let last = LAST.get();
    if last.as_bytes() == name.to_bytes() {
        return last;
    }
    let kept = keep(&name.to_string_lossy()).to_str().unwrap_or_default();
    LAST.set(kept);
    kept
}

/// The same text, for ever and with a NUL at its end. What has a NUL in it has lost it.
#[cold]
pub(crate) fn keep(text: &str) -> &'static CStr {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let list = &KEPT[hasher.finish() as usize % LISTS];
    // Ordering: Acquire, partner of the Release below: who sees an entry sees what is in it, and the entries behind it.
    let mut first = list.load(Acquire);
    if let Some(known) = find(first, ptr::null(), text) {
        return known;
    }
    // Ordering: Relaxed: a number, and a little more than that many do no harm.
    if COUNT.load(Relaxed) >= MOST {
        return MANY;
    }
    let new =
        Box::into_raw(Box::new(Kept { text: CString::new(text.replace('\0', "")).unwrap_or_default(), next: first }));
    // Ordering: Release, partner of the Acquire above; Acquire on failure, as there.
    while let Err(now) = list.compare_exchange_weak(first, new, Release, Acquire) {
        if let Some(known) = find(now, first, text) {
            // SAFETY: it is of a Box, and nobody else has come to know it.
            drop(unsafe { Box::from_raw(new) });
            return known;
        }
        first = now;
        // SAFETY: as above.
        unsafe { (*new).next = now };
    }
    COUNT.fetch_add(1, Relaxed);
    // SAFETY: it was leaked (`Kept`).
    unsafe { &(*new).text }
}

/// Looks through a list up to where it was looked through before.
fn find(mut entry: *mut Kept, end: *const Kept, text: &str) -> Option<&'static CStr> {
    while !ptr::eq(entry, end) {
        // SAFETY: an entry of a list (`Kept`), of which `end` is one or the end.
        let kept: &'static Kept = unsafe { &*entry };
        if kept.text.as_bytes() == text.as_bytes() {
            return Some(&kept.text);
        }
        entry = kept.next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let (first, other) = (forever(c"read"), forever(c"write"));
        assert_eq!((first, other), ("read", "write"));
        assert!(ptr::eq(first, forever(c"read")));
        assert_eq!(forever(c""), "");
    }

    #[test]
    fn many_threads_keep_one_of_each() {
        let keeps = |_| {
            std::thread::spawn(|| {
                let kept = |n: usize| keep(&format!("name {n}")).as_ptr() as usize;
                (0..400).map(kept).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..4).map(keeps).collect();
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(kept.iter().all(|each| *each == kept[0]));
        assert_eq!(keep("name 399"), c"name 399");
    }
}
