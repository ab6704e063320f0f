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

use crate::decode::dir::{Link, decode_dentry, decode_header};
use crate::decode::inode::{Inode, Kind};
use crate::decode::{Damage, Omap, object_name};

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
}

/// Why the tree has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// This directory has to be read first.
    Dir(u64),
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
                let damage = Damage::new(object, 0, format!("inode {ino:#x} has no place in directory {:#x}", self.ino));
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

    fn add_inode(&mut self, inode: Inode) {
        let ino = inode.ino;
        if let Entry::Vacant(place) = self.inodes.entry(ino) {
            if place.insert(inode).kind() == Kind::Dir {
                self.unread.push_back(ino);
            }
        }
    }

    /// How many inodes and directories are in memory.
    pub fn len(&self) -> (usize, usize) {
        (self.inodes.len(), self.dirs.len())
    }

    /// A directory's entries, in the order of their bytes.
    pub fn entries(&mut self, ino: u64) -> Result<&BTreeMap<String, u64>, Lack> {
        match self.inode(ino)?.kind() {
            Kind::Dir => self.dirs.get(&ino).ok_or(Lack::Dir(ino)),
            _ => Err(Lack::NotDir),
        }
    }

    /// The inode with this number. Where no dentry has led to it yet, directories have to be read until one does: the back traces of
    /// files, which would say where to look, are in the data pool.
    pub fn inode(&mut self, ino: u64) -> Result<&Inode, Lack> {
        while self.unread.front().is_some_and(|unread| self.dirs.contains_key(unread)) {
            self.unread.pop_front();
        }
        let next = self.unread.front().map_or(Lack::NoEntry, |unread| Lack::Dir(*unread));
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
