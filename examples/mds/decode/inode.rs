//! Inodes, and the tree of fragments that a large directory is split into.

use super::{Damage, Reader, Time};

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

impl Kind {
    /// The word that replies use.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Dir => "dir",
            Kind::File => "file",
            Kind::Symlink => "symlink",
            Kind::Other => "other",
        }
    }
}

/// What a client may know of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The inode number.
    pub ino: u64,
    /// Type and permissions, as in `stat`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links to the inode, as stored: a directory is stored with one.
    pub links: i32,
    /// Length in bytes of a file or of a symbolic link's target.
    pub len: u64,
    /// The last change of the content.
    pub mtime: Time,
    /// Subdirectories, of a directory.
    pub subdirs: i64,
    /// Bytes in all files below, of a directory.
    pub rbytes: i64,
    /// Where a symbolic link leads.
    pub target: Option<Vec<u8>>,
    /// How a directory is split.
    pub fragments: FragTree,
}

impl Inode {
    /// Its kind, from its mode.
    pub fn kind(&self) -> Kind {
        match self.mode & 0o170_000 {
            0o040_000 => Kind::Dir,
            0o100_000 => Kind::File,
            0o120_000 => Kind::Symlink,
            _ => Kind::Other,
        }
    }

    /// The size that a client sees: of a directory the bytes of all files below it.
    pub fn size(&self) -> u64 {
        match self.kind() {
            Kind::Dir => u64::try_from(self.rbytes).unwrap_or(0),
            _ => self.len,
        }
    }

    /// The link count that a client sees: of a directory two and its subdirectories.
    pub fn nlink(&self) -> u64 {
        match self.kind() {
            Kind::Dir => u64::try_from(self.subdirs).unwrap_or(0).saturating_add(2),
            _ => u64::try_from(self.links).unwrap_or(0),
        }
    }

    /// The mode as Python writes an octal number, which is how the captured listing has it.
    pub fn octal_mode(&self) -> String {
        format!("0o{:o}", self.mode)
    }

    /// The target of a symbolic link as text.
    pub fn target_text(&self) -> Option<String> {
        self.target.as_ref().map(|target| String::from_utf8_lossy(target).into_owned())
    }

    /// The object that holds the inode of a directory that no dentry leads to: the root, or a rank's own directory.
    pub fn base_object(ino: u64) -> String {
        format!("{}.inode", super::object_name(ino, 0))
    }

    /// Decodes such an object: a word that says what it is, then the inode.
    pub fn decode_base(object: &str, ino: u64, bytes: &[u8]) -> Result<Inode, Damage> {
        let mut reader = Reader::new(object, 0, bytes);
        let here = reader.clone();
        if reader.str("file system's mark")? != super::journal::MAGIC {
            return Err(here.damage("the file system's mark is another one"));
        }
        let here = reader.clone();
        let inode = Inode::decode_store(&mut reader)?;
        if inode.ino != ino {
            return Err(here.damage(format!("this is inode {:#x}, not {ino:#x}", inode.ino)));
        }
        Ok(inode)
    }

    /// An inode with what is stored beside it, in its envelope.
    pub fn decode_store(reader: &mut Reader<'_>) -> Result<Inode, Damage> {
        let (_, mut body) = reader.envelope(6, "inode store")?;
        Inode::decode_bare(&mut body)
    }

    /// An inode with what is stored beside it: the target of a symbolic link, the tree of fragments.
    pub fn decode_bare(reader: &mut Reader<'_>) -> Result<Inode, Damage> {
        let mut inode = Inode::decode_fields(reader)?;
        if inode.kind() == Kind::Symlink {
            inode.target = Some(reader.str("target of the symbolic link")?.to_vec());
        }
        inode.fragments = FragTree::decode(reader)?;
        Ok(inode)
    }

    fn decode_fields(reader: &mut Reader<'_>) -> Result<Inode, Damage> {
        let here = reader.clone();
        let (version, mut r) = reader.envelope(17, "inode")?;
        if version < 6 {
            return Err(here.damage(format!("inode of version {version}, which had no envelope")));
        }
        let ino = r.u64("ino")?;
        r.u32("rdev")?;
        r.time("ctime")?;
        let (mode, uid, gid) = (r.u32("mode")?, r.u32("uid")?, r.u32("gid")?);
        let links = r.i32("nlink")?;
        r.u8("anchored")?;
        r.bytes(8, "directory layout")?;
        r.envelope(2, "file layout")?;
        let len = r.u64("size")?;
        r.u32("truncate_seq")?;
        r.u64("truncate_size")?;
        r.u64("truncate_from")?;
        r.u32("truncate_pending")?;
        let mtime = r.time("mtime")?;
        r.time("atime")?;
        r.u32("time_warp_seq")?;
        // Each range: the client's number and an envelope.
        for _ in 0..r.count(14, "client ranges")? {
            r.i64("client")?;
            r.envelope(2, "client range")?;
        }
        let subdirs = dirstat(&mut r)?.subdirs;
        let (_, mut rstat) = r.envelope(3, "rstat")?;
        rstat.u64("rstat version")?;
        let rbytes = rstat.i64("rbytes")?;
        Ok(Inode {
            ino,
            mode,
            uid,
            gid,
            links,
            len,
            mtime,
            subdirs,
            rbytes,
            target: None,
            fragments: FragTree::default(),
        })
    }
}

/// What a directory, or a fragment of one, holds directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirStat {
    /// Entries that are no directories.
    pub files: i64,
    /// Entries that are directories.
    pub subdirs: i64,
}

/// A directory's or fragment's own statistics.
pub fn dirstat(reader: &mut Reader<'_>) -> Result<DirStat, Damage> {
    let (_, mut r) = reader.envelope(3, "dirstat")?;
    r.u64("dirstat version")?;
    r.time("dirstat mtime")?;
    Ok(DirStat { files: r.i64("nfiles")?, subdirs: r.i64("nsubdirs")? })
}

/// A fragment of a directory: how many leading bits of a name's hash it covers (the top byte), and their value.
pub type Frag = u32;

/// How a directory is split into fragments: which fragment is split by how many bits. Empty for one that is not split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FragTree {
    /// In order, so that one is found by bisection.
    splits: Vec<(Frag, u32)>,
}

/// A hash has 24 bits: a fragment cannot be split further.
const HASH_BITS: u32 = 24;

/// More fragments than this are no real directory's: with 10,000 entries each they would hold 650 million.
const MOST_FRAGMENTS: usize = 1 << 16;

impl FragTree {
    fn decode(reader: &mut Reader<'_>) -> Result<FragTree, Damage> {
        let start = reader.clone();
        let mut splits = Vec::new();
        for _ in 0..reader.count(8, "fragment tree")? {
            let here = reader.clone();
            let (frag, by) = (reader.u32("fragment")?, reader.i32("split")?);
            match u32::try_from(by) {
                Ok(by) if by > 0 && (frag >> HASH_BITS).saturating_add(by) <= HASH_BITS => splits.push((frag, by)),
                _ => return Err(here.damage(format!("fragment {frag:#010x} is split by {by} bits"))),
            }
        }
        splits.sort_unstable();
        let tree = FragTree { splits };
        match tree.leaves() {
            Some(_) => Ok(tree),
            None => Err(start.damage(format!("the directory has more than {MOST_FRAGMENTS} fragments"))),
        }
    }

    /// The fragments that are not split, or `None` if there are too many to be true.
    fn leaves(&self) -> Option<Vec<Frag>> {
        let mut leaves = Vec::new();
        let mut open = vec![0];
        while let Some(frag) = open.pop() {
            match self.splits.binary_search_by_key(&frag, |(split, _)| *split) {
                Err(_) => leaves.push(frag),
                Ok(found) => {
                    let by = self.splits[found].1;
                    let bits = (frag >> HASH_BITS) + by;
                    if open.len() + leaves.len() + (1 << by) > MOST_FRAGMENTS {
                        return None;
                    }
                    let value = frag & 0x00ff_ffff;
                    open.extend((0..1 << by).map(|child: u32| bits << HASH_BITS | value | child << (HASH_BITS - bits)));
                }
            }
        }
        leaves.sort_unstable();
        Some(leaves)
    }

    /// The fragments that hold the directory's entries: fragment 0 alone, if it is not split.
    pub fn fragments(&self) -> Vec<Frag> {
        self.leaves().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(splits: &[(u32, i32)]) -> Result<FragTree, Damage> {
        let mut bytes = (splits.len() as u32).to_le_bytes().to_vec();
        for (frag, by) in splits {
            bytes.extend(frag.to_le_bytes());
            bytes.extend(by.to_le_bytes());
        }
        FragTree::decode(&mut Reader::new("o", 0, &bytes))
    }

    #[test]
    fn a_directory_that_is_not_split_is_one_fragment() {
        assert_eq!(tree(&[]).unwrap().fragments(), [0]);
    }

    #[test]
    fn splits_nest() {
        let split = tree(&[(0, 1), (0x0180_0000, 2)]).unwrap();
        assert_eq!(split.fragments(), [0x0100_0000, 0x0380_0000, 0x03a0_0000, 0x03c0_0000, 0x03e0_0000]);
    }

    #[test]
    fn impossible_splits_are_damage() {
        assert!(tree(&[(0, 0)]).is_err());
        assert!(tree(&[(0, -1)]).is_err());
        assert!(tree(&[(0, 25)]).is_err());
        assert!(tree(&[(0xff00_0000, 1)]).is_err());
        let damage = tree(&[(0, 24)]).unwrap_err();
        assert!(damage.what.contains("more than 65536"), "{damage}");
    }

    #[test]
    fn directories_count_their_subdirectories() {
        let dir = Inode {
            ino: 1,
            mode: 0o40755,
            uid: 0,
            gid: 0,
            links: 1,
            len: 0,
            mtime: Time::default(),
            subdirs: 3,
            rbytes: 77,
            target: None,
            fragments: FragTree::default(),
        };
        assert_eq!((dir.nlink(), dir.size(), dir.kind()), (5, 77, Kind::Dir));
        let file = Inode { mode: 0o100_644, links: 2, len: 9, ..dir };
        assert_eq!((file.nlink(), file.size(), file.kind().name()), (2, 9, "file"));
    }
}
