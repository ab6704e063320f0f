//! Compiles this package, and it alone, with `cfg(unwedge_loom)`; and writes the life of the example's metadata server out a second time, with lines of its
//! stop path that can be broken (see `tests/models/mutants.rs`).

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

fn main() {
    println!("cargo:rustc-cfg=unwedge_loom");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={LIFE}");
    let life = std::fs::read_to_string(LIFE).expect("the example has a life");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to")).join("life.rs");
    std::fs::write(out, with_mutants(&life)).expect("the directory is there");
}

/// The source, with each expression that can be broken in two forms, of which the models choose when they run.
fn with_mutants(source: &str) -> String {
    // It becomes the content of a module, which has no inner doc.
    let lines = source.lines().filter(|line| !line.starts_with("//!"));
    let mut source = lines.collect::<Vec<_>>().join("\n");
    for (number, before, whole, broken) in MUTANTS {
        let place = format!("{before}{whole}");
        let found = source.matches(&place).count();
        assert_eq!(found, 1, "{LIFE} has `{place}` {found} times: see MUTANTS in loom-tests/build.rs");
        let both = format!("{before}match crate::mutants::is({number}) {{ true => {broken}, false => {whole} }}");
        source = source.replacen(&place, &both, 1);
    }
    source
}
