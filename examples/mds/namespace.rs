//! The part of the file system's tree that is in memory: inodes and the directories that have been read.
//!
//! It is filled from decoded directory fragments and asked by the server and by `mds dump tree`; it reads nothing itself. What is not in
//! memory is said by [`Lack`], and the caller, who knows how to read, comes again.
//!
//! Invariants:
//! - A directory is in memory with all its fragments, or not at all.
//! - Every inode here came from the root's object or from a primary dentry; a remote dentry only names one.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::decode::dir::{Link, decode_dentry, decode_header};
use super::decode::inode::{Inode, Kind};
use super::decode::{Damage, Omap, object_name};

/// The root directory's inode number.
pub const ROOT: u64 = 1;

/// The directory of rank 0 itself, whose children are the stray directories.
pub const RANK_DIR: u64 = 0x100;

/// The inodes and directories in memory.
#[derive(Debug, Default)]
pub struct Namespace {
    inodes: HashMap<u64, Inode>,
    /// The entries of each directory that is in memory: names in the order of their bytes, and inode numbers.
    dirs: HashMap<u64, BTreeMap<String, u64>>,
    /// Directories that are not in memory, in the order in which they became known; the first ones may have been read meanwhile.
    unread: VecDeque<u64>,
    /// Directories that cannot be read, and why.
    damaged: BTreeMap<u64, Damage>,
}

/// Why the tree has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// This directory has to be read first.
    Dir(u64),
    /// This directory cannot be read; what was asked for is in it, or may be.
    Damaged(u64),
    /// There is no such name or inode.
    NoEntry,
    /// The inode is no directory.
    NotDir,
    /// A name leads to this inode, which is in no directory.
    Dangling(u64),
}

/// A directory that has been decoded and is not in the tree yet.
#[derive(Debug)]
pub struct Dir {
    ino: u64,
    entries: BTreeMap<String, u64>,
    inodes: Vec<Inode>,
}

impl Dir {
    /// A directory without entries, to which its fragments are added.
    pub fn new(ino: u64) -> Dir {
        Dir { ino, entries: BTreeMap::new(), inodes: Vec::new() }
    }

    /// Adds what a fragment's object holds.
    pub fn add(&mut self, object: &str, omap: &Omap) -> Result<(), Damage> {
        decode_header(object, &omap.header)?;
        for (key, value) in &omap.entries {
            let Some(dentry) = decode_dentry(object, key, value)? else { continue };
            let ino = match dentry.link {
                Link::Primary(inode) => {
                    let ino = inode.ino;
                    self.inodes.push(*inode);
                    ino
                }
                Link::Remote { ino, .. } => ino,
            };
            if ino == self.ino || ino == ROOT || ino == RANK_DIR {
                let damage =
                    Damage::new(object, 0, format!("inode {ino:#x} has no place in directory {:#x}", self.ino));
                return Err(damage.in_part(format!("omap value {key:?}")));
            }
            self.entries.insert(dentry.name, ino);
        }
        Ok(())
    }
}

impl Namespace {
    /// The objects that hold the fragments of a directory whose inode is known.
    pub fn fragments(&self, ino: u64) -> Vec<String> {
        let fragments = self.inodes.get(&ino).map(|inode| inode.fragments.fragments()).unwrap_or_default();
        fragments.into_iter().map(|frag| object_name(ino, frag.into())).collect()
    }

    /// Puts in an inode that no dentry leads to.
    pub fn add_base(&mut self, inode: Inode) {
        self.add_inode(inode);
    }

    /// Puts in a directory with its inodes. What is there already stays as it is: both came from the same objects.
    pub fn add_dir(&mut self, dir: Dir) {
        if self.dirs.contains_key(&dir.ino) {
            return;
        }
        for inode in dir.inodes {
            self.add_inode(inode);
        }
        self.dirs.insert(dir.ino, dir.entries);
    }

    /// Says that a directory cannot be read.
    pub fn give_up(&mut self, ino: u64, damage: Damage) {
        self.damaged.insert(ino, damage);
    }

    /// Why a directory cannot be read.
    pub fn damage(&self, ino: u64) -> Option<&Damage> {
        self.damaged.get(&ino)
    }

    fn add_inode(&mut self, inode: Inode) {
        let ino = inode.ino;
        if let Entry::Vacant(place) = self.inodes.entry(ino) {
            if place.insert(inode).kind() == Kind::Dir {
                self.unread.push_back(ino);
            }
        }
    }

    /// How many inodes are in memory.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// A directory's entries, in the order of their bytes.
    pub fn entries(&mut self, ino: u64) -> Result<&BTreeMap<String, u64>, Lack> {
        match self.inode(ino)?.kind() {
            Kind::Dir if self.damaged.contains_key(&ino) => Err(Lack::Damaged(ino)),
            Kind::Dir => self.dirs.get(&ino).ok_or(Lack::Dir(ino)),
            _ => Err(Lack::NotDir),
        }
    }

    /// The inode with this number. Where no dentry has led to it yet, directories have to be read until one does: the back traces of
    /// files, which would say where to look, are in the data pool.
    pub fn inode(&mut self, ino: u64) -> Result<&Inode, Lack> {
        while self
            .unread
            .front()
            .is_some_and(|unread| self.dirs.contains_key(unread) || self.damaged.contains_key(unread))
        {
            self.unread.pop_front();
        }
        // What is nowhere else may be where nobody can look.
        let damaged = || self.damaged.keys().next().map_or(Lack::NoEntry, |damaged| Lack::Damaged(*damaged));
        let next = self.unread.front().map_or_else(damaged, |unread| Lack::Dir(*unread));
        self.inodes.get(&ino).ok_or(next)
    }

    /// The inode that a name leads to.
    pub fn lookup(&mut self, parent: u64, name: &str) -> Result<&Inode, Lack> {
        let ino = *self.entries(parent)?.get(name).ok_or(Lack::NoEntry)?;
        self.inode(ino).map_err(|lack| lack.of(ino))
    }

    /// Every name in a directory, with its inode.
    pub fn list(&mut self, ino: u64) -> Result<Vec<(&str, &Inode)>, Lack> {
        self.entries(ino)?;
        let entries = self.dirs.get(&ino).into_iter().flatten();
        if let Some((_, away)) = entries.clone().find(|(_, ino)| !self.inodes.contains_key(ino)) {
            let away = *away;
            return Err(self.inode(away).map_or_else(|lack| lack.of(away), |_| Lack::Dangling(away)));
        }
        let entries = self.dirs.get(&ino).into_iter().flatten();
        Ok(entries.filter_map(|(name, ino)| Some((name.as_str(), self.inodes.get(ino)?))).collect())
    }
}

impl Lack {
    /// The same for an inode to which a name leads: that it is nowhere is damage then.
    fn of(self, ino: u64) -> Lack {
        match self {
            Lack::NoEntry => Lack::Dangling(ino),
            lack => lack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::Time;
    use super::super::decode::inode::FragTree;
    use super::*;

    fn inode(ino: u64, mode: u32) -> Inode {
        let (mtime, fragments) = (Time::default(), FragTree::default());
        Inode { ino, mode, uid: 0, gid: 0, links: 1, len: 0, mtime, subdirs: 0, rbytes: 0, target: None, fragments }
    }

    fn dir(ino: u64, names: &[(&str, u64)], inodes: Vec<Inode>) -> Dir {
        Dir { ino, entries: names.iter().map(|(name, ino)| ((*name).to_owned(), *ino)).collect(), inodes }
    }

    /// A root with two directories, `a` and `b`, and a hard link to an inode that has its other name in `b`.
    fn namespace() -> Namespace {
        let mut namespace = Namespace::default();
        namespace.add_base(inode(ROOT, 0o40755));
        assert_eq!(namespace.lookup(ROOT, "a"), Err(Lack::Dir(ROOT)));
        let dirs = vec![inode(10, 0o40755), inode(11, 0o40755)];
        namespace.add_dir(dir(ROOT, &[("a", 10), ("b", 11), ("link", 20)], dirs));
        namespace
    }

    #[test]
    fn directories_are_read_until_a_link_is_found() {
        let mut namespace = namespace();
        assert_eq!(namespace.lookup(ROOT, "link"), Err(Lack::Dir(10)));
        namespace.add_dir(dir(10, &[], vec![]));
        assert_eq!(namespace.lookup(ROOT, "link"), Err(Lack::Dir(11)));
        namespace.add_dir(dir(11, &[("file", 20)], vec![inode(20, 0o100_644)]));
        assert_eq!(namespace.lookup(ROOT, "link").map(|inode| inode.ino), Ok(20));
        assert_eq!(namespace.list(ROOT).map(|entries| entries.len()), Ok(3));
        assert_eq!(namespace.entries(20), Err(Lack::NotDir));
        assert_eq!(namespace.lookup(ROOT, "nobody"), Err(Lack::NoEntry));
        assert_eq!(namespace.inode(99), Err(Lack::NoEntry));
    }

    #[test]
    fn a_damaged_directory_is_passed_over_and_suspected() {
        let mut namespace = namespace();
        namespace.give_up(10, Damage::new("a.00000000", 0, "gone"));
        assert_eq!(namespace.lookup(10, "x"), Err(Lack::Damaged(10)));
        assert_eq!(namespace.lookup(ROOT, "link"), Err(Lack::Dir(11)), "the search goes on");
        namespace.add_dir(dir(11, &[], vec![]));
        assert_eq!(namespace.lookup(ROOT, "link"), Err(Lack::Damaged(10)), "it may be there");
    }

    #[test]
    fn a_link_to_nowhere_is_said() {
        let mut namespace = namespace();
        namespace.add_dir(dir(10, &[], vec![]));
        namespace.add_dir(dir(11, &[], vec![]));
        assert_eq!(namespace.lookup(ROOT, "link"), Err(Lack::Dangling(20)));
        assert_eq!(namespace.list(ROOT), Err(Lack::Dangling(20)));
    }
}
