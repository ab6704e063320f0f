//! Tests: the captured pool with bits flipped, objects cut short and objects missing.
//!
//! Thousands of changes from a fixed seed: each is read without a panic, and what cannot be read is damage that names an object. Where the
//! change is sure to be seen (a cut, a missing object, a frame of the journal), the test asks for the object's name and the offset.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::decode::inode::Inode;
use crate::decode::journal::Header;
use crate::decode::tables::{InoTable, JournalPointer, SessionMap};
use crate::decode::{Damage, Omap, missing};
use crate::fixture::Fixture;
use crate::namespace::{Dir, ROOT};
use crate::omap;
use crate::pool::Pool;
use crate::random::Random;

/// What tests do to bytes.
trait Mutate {
    /// Changes some bytes: a flipped bit, a byte or word of an extreme value, a cut, or a hole.
    fn mutate(&mut self, bytes: &mut Vec<u8>);
}

impl Mutate for Random {
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = self.below(bytes.len());
        match self.below(5) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
            2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            3 => bytes.truncate(at),
            _ => drop(bytes.drain(at..(at + 1 + self.below(8)).min(bytes.len()))),
        }
    }
}

/// The flushed pool, unpacked for this test alone, so that it may be changed.
struct Copy(Fixture);

impl Copy {
    fn new() -> Copy {
        Copy(Fixture::unpack(|| false).unwrap())
    }

    fn object(&self, oid: impl AsRef<Path>) -> PathBuf {
        self.0.flushed().join("objects").join(oid)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.flushed().join(name)
    }

    fn pool(&self) -> Pool {
        Pool::open(&self.0.flushed()).unwrap()
    }
}

/// Where each event of the journal starts.
fn events(pool: &Pool) -> anyhow::Result<Vec<u64>> {
    let mut events = Vec::new();
    pool.events(|event| {
        events.push(event.position);
        Ok(())
    })?;
    Ok(events)
}

/// The damage at the bottom of an error; every failure to read a pool is one.
fn damage(error: anyhow::Error) -> Damage {
    error.downcast::<Damage>().unwrap()
}

/// Decodes an object: what is wrong with it.
type Decode<'a> = &'a dyn Fn(&[u8]) -> Option<Damage>;

#[test]
fn small_objects_survive_any_change() {
    let copy = Copy::new();
    let header = "200.00000000";
    let tables: [(&str, Decode<'_>); 4] = [
        ("400.00000000", &|bytes| JournalPointer::decode("400.00000000", 0, bytes).err()),
        (header, &|bytes| Header::decode(header, bytes).err()),
        ("mds0_inotable", &|bytes| InoTable::decode("mds0_inotable", bytes).err()),
        ("1.00000000.inode", &|bytes| Inode::decode_base("1.00000000.inode", ROOT, bytes).err()),
    ];
    let mut random = Random(1);
    for (oid, decode) in tables {
        let good = fs::read(copy.object(oid)).unwrap();
        assert_eq!(decode(&good), None);
        let mut damaged = 0;
        for _ in 0..1000 {
            let mut bytes = good.clone();
            random.mutate(&mut bytes);
            if let Some(damage) = decode(&bytes) {
                assert_eq!(damage.object, oid);
                assert!(damage.offset <= good.len() as u64, "{damage}");
                damaged += 1;
            }
        }
        assert!(damaged > 100, "{oid}: {damaged} of 1000 changes were seen");
        for cut in 0..good.len() {
            let seen = decode(&good[..cut]).unwrap_or_else(|| panic!("{oid} cut at {cut} was read"));
            assert!(seen.offset <= cut as u64, "{seen}");
        }
    }
}

#[test]
fn directory_objects_survive_any_change() {
    let file = fs::read(Copy::new().file(omap::FILE)).unwrap();
    let index = omap::Index::new(&file).unwrap();
    let objects = ["1.00000000", "100.00000000", "10000000000.00000000", "10000000016.00000000", "mds0_sessionmap"];
    let mut random = Random(2);
    for oid in objects {
        let line = index.find(oid).unwrap();
        let line = &file[line.offset as usize..][..line.len];
        let good = omap::decode(oid, line).unwrap();
        let decode = |omap: &Omap| {
            let entries = omap.entries.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            match oid {
                "mds0_sessionmap" => SessionMap::decode(oid, &omap.header, entries).err(),
                _ => Dir::new(0xffff).add(oid, omap).err(),
            }
        };
        assert_eq!(decode(&good), None);
        let mut damaged = 0;
        for _ in 0..400 {
            let mut changed = good.clone();
            match random.below(good.entries.len() + 1).checked_sub(1) {
                None => random.mutate(&mut changed.header),
                Some(entry) => random.mutate(&mut changed.entries[entry].1),
            }
            if let Some(damage) = decode(&changed) {
                assert_eq!(damage.object, oid);
                assert!(damage.part.is_some());
                damaged += 1;
            }
            let mut text = line.to_vec();
            random.mutate(&mut text);
            if let Err(damage) = omap::decode(oid, &text) {
                assert_eq!(damage.object, oid);
            }
        }
        assert!(damaged > 50, "{oid}: {damaged} of 400 changes were seen");
    }
}

#[test]
fn the_journal_survives_any_change() {
    let copy = Copy::new();
    let pool = copy.pool();
    let whole = events(&pool).unwrap();
    let path = copy.object("200.00000002");
    let good = fs::read(&path).unwrap();
    let start = (whole[0] - 0x80_0000) as usize;
    let file = File::options().write(true).open(&path).unwrap();
    let mut random = Random(3);
    let mut damaged = 0;
    for _ in 0..1500 {
        let at = start + random.below(good.len() - start);
        let end = (at + 1 + random.below(12)).min(good.len());
        let mut bytes = good[at..end].to_vec();
        let byte = random.below(bytes.len());
        bytes[byte] ^= 1 << random.below(8);
        file.write_all_at(&bytes, at as u64).unwrap();
        if let Err(error) = events(&pool) {
            let damage = damage(error);
            assert_eq!(damage.object, "200.00000002");
            assert!(damage.offset >= start as u64 && damage.offset <= good.len() as u64, "{damage}");
            damaged += 1;
        }
        file.write_all_at(&good[at..end], at as u64).unwrap();
    }
    assert!(damaged > 5, "{damaged} of 1500 changes were seen");
    assert_eq!(events(&pool).unwrap(), whole);
    // Each bit of the first entry's frame counts.
    for at in (start..start + 12).chain(start + 0x37c - 8..start + 0x37c) {
        for bit in 0..8 {
            file.write_all_at(&[good[at] ^ 1 << bit], at as u64).unwrap();
            let damage = damage(events(&pool).unwrap_err());
            assert_eq!(damage.object, "200.00000002", "bit {bit} of byte {at:#x}");
            file.write_all_at(&good[at..=at], at as u64).unwrap();
        }
    }
}

#[test]
fn a_cut_journal_is_damage_where_it_was_whole_once() {
    let copy = Copy::new();
    let pool = copy.pool();
    let whole = events(&pool).unwrap();
    let header = fs::read(copy.object("200.00000000")).unwrap();
    let write = Header::decode("200.00000000", &header).unwrap().write;
    let path = copy.object("200.00000002");
    let len = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    let start = whole[0] - 0x80_0000;
    let mut random = Random(4);
    let random_cuts = (0..300).map(|_| start + random.below((len - start) as usize) as u64);
    let mut cuts: Vec<u64> =
        random_cuts.chain(whole.iter().map(|position| position - 0x80_0000)).chain(len - 40..len).collect();
    // Longest first: a file only gets shorter.
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    for cut in cuts {
        file.set_len(cut).unwrap();
        let at = cut + 0x80_0000;
        match events(&pool) {
            Ok(found) => {
                // What is left of an entry behind `write` may be being written.
                assert!(at >= write, "cut at {at:#x} was not seen");
                let ends = whole.iter().filter(|position| **position < at).count();
                assert!(whole.starts_with(&found) && (found.len() == ends || found.len() + 1 == ends), "{at:#x}");
            }
            Err(error) => {
                let damage = damage(error);
                assert_eq!(damage.object, "200.00000002");
                assert!(damage.offset <= cut, "{damage} in {cut:#x} bytes");
            }
        }
    }
}

#[test]
fn a_missing_object_is_named() {
    let copy = Copy::new();
    let pool = copy.pool();
    for oid in ["400.00000000", "200.00000000", "200.00000002"] {
        fs::rename(copy.object(oid), copy.file("away")).unwrap();
        let damage = damage(events(&pool).unwrap_err());
        assert_eq!((damage.object.as_str(), damage.part), (oid, None), "{}", damage.what);
        fs::rename(copy.file("away"), copy.object(oid)).unwrap();
    }
    fs::remove_file(copy.object("1.00000000.inode")).unwrap();
    let inode = damage(pool.tree().unwrap_err());
    assert_eq!(inode, missing("1.00000000.inode"));
}

#[test]
fn a_missing_or_ruined_directory_is_named() {
    let copy = Copy::new();
    let path = copy.file(omap::FILE);
    let good = fs::read_to_string(&path).unwrap();
    let oid = "10000000005.00000000";
    let (without, line): (Vec<&str>, Vec<&str>) = {
        let is_it = |line: &&str| line.starts_with(&format!("{{\"oid\": \"{oid}\""));
        (good.lines().filter(|line| !is_it(line)).collect(), good.lines().filter(is_it).collect())
    };
    assert_eq!(line.len(), 1);
    fs::write(&path, without.join("\n")).unwrap();
    assert_eq!(damage(copy.pool().tree().unwrap_err()), missing(oid));
    fs::write(&path, format!("{}\n{}\n", without.join("\n"), &line[0][..line[0].len() / 2])).unwrap();
    let cut = damage(copy.pool().tree().unwrap_err());
    assert_eq!(cut.object, oid);
    assert!(cut.offset >= line[0].len() as u64 / 2 - 2, "{cut}");
    fs::write(&path, &good.as_bytes()[..good.len() - 1]).unwrap();
    copy.pool().tree().unwrap();
}
