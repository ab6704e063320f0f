//! include/unwedge.h is what cbindgen makes of the sources, and the shared library exports what it declares and nothing else.
//!
//! `UNWEDGE_BLESS=1 cargo test --package unwedge-capi --test header` writes the header and the list of symbols anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with what is checked in, or writes it.
fn compare(path: &Path, made: &str) {
    if env::var_os("UNWEDGE_BLESS").is_some() {
        fs::write(path, made).expect("the checkout can be written");
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    let line = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "{} is not what the sources make (from line {:?} on): UNWEDGE_BLESS=1 cargo test --package unwedge-capi --test header",
        path.display(),
        line.map(|line| line + 1)
    );
}

fn header() -> String {
    let config = cbindgen::Config::from_file(home().join("cbindgen.toml")).expect("cbindgen.toml is read");
    let bindings = cbindgen::generate_with_config(home(), config).expect("the sources are read");
    let mut made = Vec::new();
    bindings.write(&mut made);
    // Of Rust's documentation the sections that a C program has no use for.
    let text = String::from_utf8(made).expect("a header is text");
    let mut kept = Vec::new();
    for line in text.lines() {
        if matches!(line.trim(), "// # Safety" | "// See \"Pointers\" above.") {
            if kept.last().is_some_and(|last: &&str| last.trim() == "//") {
                kept.pop();
            }
            continue;
        }
        kept.push(line);
    }
    kept.join("\n") + "\n"
}

#[test]
fn the_header_is_that_of_the_sources() {
    compare(&home().join("include/unwedge.h"), &header());
}

/// ci/cpp.sh compares the list with what the library exports.
#[test]
fn the_symbols_are_those_of_the_header() {
    let made = header();
    let names: BTreeSet<&str> = made
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("unwedge_") && !word.ends_with("_t"))
        .collect();
    let list: Vec<&str> = names.into_iter().collect();
    assert!(list.len() > 40, "{list:?}");
    compare(&home().join("symbols.txt"), &(list.join("\n") + "\n"));
}
