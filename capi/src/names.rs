//! Names that live for ever: unwedge wants `&'static str` for what an operation is called, and a daemon has few of them.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

/// The most names that are kept. A daemon that makes names up for each operation gets this many, and then [`MANY`].
const MOST: usize = 4096;
const MANY: &str = "(too many names)";

static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

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
    let kept = keep(&name.to_string_lossy());
    LAST.set(kept);
    kept
}

#[cold]
fn keep(name: &str) -> &'static str {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_with(HashSet::new);
    if let Some(known) = kept.get(name) {
        return known;
    }
    if kept.len() >= MOST {
        return MANY;
    }
    let new: &'static str = Box::leak(name.into());
    kept.insert(new);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let (first, other) = (forever(c"read"), forever(c"write"));
        assert_eq!((first, other), ("read", "write"));
        assert!(std::ptr::eq(first, forever(c"read")));
        assert_eq!(forever(c""), "");
    }
}
