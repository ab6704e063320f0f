//! Compiles this package, and it alone, with `cfg(unwedge_loom)`; and writes the life of the example's metadata server out a second time, with lines of its
//! stop path that can be broken (see `tests/models/mutants.rs`), and files of the registry, with what can be left out (`tests/models/records.rs`,
//! `tests/models/free_set.rs`).

use std::path::PathBuf;

/// Where the life is.
const LIFE: &str = "../examples/mds/life.rs";

/// The lines that can be broken: what comes before, which is there once; the expression; and what stands in its place when it is broken. The number is that
/// of the mutant.
const MUTANTS: [(u32, &str, &str, &str); 11] = [
    // The phase takes the lock in the domain that is stopped.
    (1, "", "self.mds.lock_in(phase)?", "self.mds.lock()?"),
    // It saves before it serves.
    (2, "if ", "guard.state() != State::Active", "false"),
    // The state is asked for the wrong way round.
    (3, "", "guard.state() != State::Active", "guard.state() == State::Active"),
    // Active is left without a word.
    (4, "", "guard.go(State::Stopping)?", "()"),
    // What has changed is not saved, and what has not is.
    (5, "if ", "guard.unsaved == Some(true)", "guard.unsaved == Some(false)"),
    // What came while the lock was free is forgotten.
    (6, "guard.unsaved = ", "Some(guard.session_table() != table)", "Some(false)"),
    // Saved, and nobody is told.
    (7, "", "Ok(guard.go(State::Stopped)?)", "Ok(())"),
    // The phase has no time.
    (8, "\"save\", ", "save_within", "Duration::ZERO"),
    // A failed write is called done.
    (9, "Ok(Err(why)) => ", "why", "return Ok(guard)"),
    // The lock is kept while the storage writes.
    (
        10,
        "",
        "guard.wait_for(&mut store.save(&object, table.encode()))?",
        "(guard, store.save(&object, table.encode()).wait()?)",
    ),
    // The lock is kept while the storage reads.
    (
        11,
        "",
        "guard.wait_for(&mut self.store.read_at(object, wanted.offset, wanted.len as usize))?",
        "(guard, self.store.read_at(object, wanted.offset, wanted.len as usize).wait()?)",
    ),
];

/// Files that are modelled with atomics that loom sees: the name in the registry; and each part that is replaced, which is there once, with what stands in
/// its place.
type Replaced = (&'static str, &'static str);
const RECORDS: [(&str, &[Replaced]); 3] = [
    (
        "free.rs",
        &[
            ("crate::sys::", "super::sys::"),
            ("const fn new", "fn new"),
            ("word(*at).fetch_or(0, ", "super::LookAgain(word(*at)).fetch_or(0, "),
        ],
    ),
    (
        "flight.rs",
        &[
            ("crate::sys::", "super::sys::"),
            ("sys::plain_fence(Release)", "super::fence(1, Release)"),
            ("sys::plain_fence(Acquire)", "super::fence(2, Acquire)"),
            ("#[cfg_attr(unwedge_loom, expect(dead_code, reason = \"`io`, which begins them, is not modelled\"))]", ""),
        ],
    ),
    (
        "phase.rs",
        &[
            ("crate::sys::", "super::sys::"),
            ("sys::plain_fence(Release)", "super::fence(3, Release)"),
            ("sys::plain_fence(Acquire)", "super::fence(4, Acquire)"),
        ],
    ),
];

fn main() {
    println!("cargo:rustc-cfg=unwedge_loom");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={LIFE}");
    let life = std::fs::read_to_string(LIFE).expect("the example has a life");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to")).join("life.rs");
    std::fs::write(out, with_mutants(&life)).expect("the directory is there");
    for (name, replaced) in RECORDS {
        let path = format!("../src/registry/{name}");
        println!("cargo:rerun-if-changed={path}");
        let mut source = without_head(&std::fs::read_to_string(&path).expect("the registry has it"));
        // What is behind its end are its own tests.
        source.truncate(source.find("#[cfg(all(test").unwrap_or(source.len()));
        for (place, other) in replaced {
            let found = source.matches(place).count();
            assert_eq!(found, 1, "{path} has `{place}` {found} times: see RECORDS in loom-tests/build.rs");
            source = source.replacen(place, other, 1);
        }
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to")).join(name);
        std::fs::write(out, source).expect("the directory is there");
    }
}

/// A source to be the content of a module, which has no inner doc.
fn without_head(source: &str) -> String {
    source.lines().filter(|line| !line.starts_with("//!")).collect::<Vec<_>>().join("\n")
}

/// The source, with each expression that can be broken in two forms, of which the models choose when they run.
fn with_mutants(source: &str) -> String {
    let mut source = without_head(source);
    for (number, before, whole, broken) in MUTANTS {
        let place = format!("{before}{whole}");
        let found = source.matches(&place).count();
        assert_eq!(found, 1, "{LIFE} has `{place}` {found} times: see MUTANTS in loom-tests/build.rs");
        let both = format!("{before}match crate::mutants::is({number}) {{ true => {broken}, false => {whole} }}");
        source = source.replacen(&place, &both, 1);
    }
    source
}
