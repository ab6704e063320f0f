//! The fuzz targets of `fuzz/`, with any compiler: over the kept corpus, and over some thousands of inputs made from it, the same ones in every run.
//!
//! ci/fuzz.sh has libFuzzer look for more. An input that made a target fail is kept in the corpus.

#![allow(dead_code, unused_imports, reason = "the example uses more of these files")]

use std::fs;
use std::path::Path;

#[path = "../examples/mds/decode/mod.rs"]
mod decode;
#[path = "../rados/src/encode.rs"]
mod encode;
#[path = "../examples/mds/fixture.rs"]
mod fixture;
#[path = "../examples/mds/namespace.rs"]
mod namespace;
#[path = "../examples/mds/omap.rs"]
mod omap;
#[path = "../rados/examples/mds-rados/packed.rs"]
mod packed;
#[path = "../examples/mds/pool.rs"]
mod pool;
#[path = "../examples/mds/protocol.rs"]
mod protocol;
#[path = "../examples/mds/random.rs"]
mod random;
#[path = "../examples/mds/rank.rs"]
mod rank;
#[path = "../examples/mds/state.rs"]
mod state;
#[path = "../fuzz/src/targets.rs"]
mod targets;
#[path = "../examples/mds/world.rs"]
mod world;

/// The part of `unwedge_rados`'s errors that its decoder knows.
mod error {
    /// Why there is no answer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Cause {
        /// It cannot be decoded.
        Garbled,
    }
}

use random::Random;

/// Inputs made for each target.
const MADE: u64 = 4000;

/// The kept inputs of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a file")).collect()
}

/// Changes bytes a little or much; and sometimes puts two inputs together.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 => bytes.extend_from_slice(&other[random.below(other.len() + 1).min(other.len())..]),
            3 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            4 => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = 0),
            5 => drop(bytes.drain(at..(at + random.below(16)).min(bytes.len()))),
            6 => bytes[at..].iter_mut().take(1).for_each(|byte| *byte = random.next() as u8),
            _ => bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
    }
}

#[test]
fn every_target_takes_its_corpus_and_what_is_made_of_it() {
    for (name, target) in targets::ALL {
        let kept = corpus(name);
        assert!(!kept.is_empty(), "{name} has no corpus");
        kept.iter().for_each(|input| target(input));
        let mut random = Random(7);
        // An archive is a folder on the disk each time.
        let made = if *name == "archive" { MADE / 20 } else { MADE };
        for _ in 0..made {
            let mut input = kept[random.below(kept.len())].clone();
            let other = &kept[random.below(kept.len())];
            mutate(&mut random, &mut input, other);
            let run = std::panic::catch_unwind(|| target(&input));
            assert!(run.is_ok(), "{name} fails for {input:?}");
        }
    }
}

#[test]
fn every_target_has_a_program_and_the_other_way_round() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a file");
    let programs = fs::read_dir(folder.join("fuzz_targets")).expect("a folder").count();
    assert_eq!(programs, targets::ALL.len());
    for (name, _) in targets::ALL {
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("targets::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
