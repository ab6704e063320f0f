//! A captured metadata pool as a folder: `objects/<oid>` with each object's data, `omap.jsonl` with the rest.
//!
//! This is the plain way to read it, a file at a time, for `mds dump` and for tests. The daemon reads the same folder through
//! completions: see `store.rs`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::decode::inode::Inode;
use crate::decode::journal::{Entries, Event, Header, Journal, Probe};
use crate::decode::tables::JournalPointer;
use crate::decode::{Omap, missing, object_name};
use crate::namespace::{Dir, Lack, Namespace, RANK_DIR, ROOT};
use crate::omap::{self, Index};

/// What the name of a live cluster's pool begins with: `rados:CONF:POOL`.
pub const RADOS: &str = "rados:";

/// How much of the journal is read at once.
const PIECE: u64 = 1 << 20;

/// A pool, wherever its objects are.
#[derive(Debug)]
pub struct Pool<O = Folder>(pub O);

/// Objects by name, read one at a time.
pub trait Objects {
    /// At most `len` bytes of an object from `offset`; `None` if the object is not there.
    fn piece(&self, oid: &str, offset: u64, len: u64) -> anyhow::Result<Option<Vec<u8>>>;

    /// What an object holds besides its data.
    fn omap(&self, oid: &str) -> anyhow::Result<Omap>;
}

/// A pool's folder.
#[derive(Debug)]
pub struct Folder {
    folder: PathBuf,
    /// The content of `omap.jsonl`, and where each object's line is in it.
    omaps: Vec<u8>,
    index: Index,
}

/// Says in one line why a folder is no pool, if it is none.
pub fn check(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    if folder.as_os_str().as_encoded_bytes().starts_with(RADOS.as_bytes()) {
        bail!(
            "{shown} is a live cluster's: that needs librados, and is `cargo run --release --package unwedge-rados --example mds-rados --`"
        );
    }
    if !folder.is_dir() {
        bail!("{shown} is no folder");
    }
    for (part, is_there) in
        [("objects/", folder.join("objects").is_dir()), (omap::FILE, folder.join(omap::FILE).is_file())]
    {
        if !is_there {
            bail!("{shown} is no metadata pool: it has no {part}");
        }
    }
    Ok(())
}

impl Folder {
    fn file(&self, oid: &str) -> anyhow::Result<Option<File>> {
        match File::open(self.folder.join("objects").join(oid)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot open object {oid}")),
        }
    }
}

impl Objects for Folder {
    fn piece(&self, oid: &str, offset: u64, len: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(oid)? else { return Ok(None) };
        let mut bytes = vec![0; len.min(PIECE) as usize];
        let n = file
            .read_at(&mut bytes, offset)
            .with_context(|| format!("cannot read object {oid} at offset {offset:#x}"))?;
        bytes.truncate(n);
        Ok(Some(bytes))
    }

    fn omap(&self, oid: &str) -> anyhow::Result<Omap> {
        let line = self.index.find(oid).ok_or_else(|| missing(oid))?;
        let bytes = self.omaps.get(line.offset as usize..).and_then(|rest| rest.get(..line.len)).unwrap_or_default();
        Ok(omap::decode(oid, bytes)?)
    }
}

impl Pool {
    /// Opens the pool in a folder.
    pub fn open(folder: &Path) -> anyhow::Result<Pool> {
        check(folder)?;
        let file = folder.join(omap::FILE);
        let omaps = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let index = Index::new(&omaps)?;
        Ok(Pool(Folder { folder: folder.to_owned(), omaps, index }))
    }
}

impl<O: Objects> Pool<O> {
    /// A small object, which has to be there.
    fn object(&self, oid: &str) -> anyhow::Result<Vec<u8>> {
        self.0.piece(oid, 0, PIECE)?.ok_or_else(|| missing(oid).into())
    }

    /// Every event of the journal, in order, into `each`.
    pub fn events(&self, mut each: impl FnMut(Event) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let oid = JournalPointer::object(0);
        let ino = JournalPointer::decode(&oid, 0, &self.object(&oid)?)?.front;
        let oid = object_name(ino, 0);
        let header = Header::decode(&oid, &self.object(&oid)?)?;
        let journal = Journal { ino, layout: header.layout };
        let mut probe = Probe::new(journal, &header);
        let end = loop {
            let wanted = probe.wants(PIECE);
            let found = self.0.piece(&wanted.object, wanted.offset, wanted.len)?;
            if let Some(end) = probe.found(found.map_or(0, |bytes| bytes.len())) {
                break end;
            }
        };
        let mut entries = Entries::new(journal, header.expire, end).written(header.write);
        while let Some(wanted) = entries.wants(PIECE) {
            match self.0.piece(&wanted.object, wanted.offset, wanted.len)? {
                Some(bytes) => entries.feed(&bytes)?,
                None if entries.may_end() => entries.feed(&[])?,
                None => return Err(missing(&wanted.object).into()),
            }
            while let Some(event) = entries.next()? {
                each(event)?;
            }
        }
        Ok(())
    }

    /// The whole tree, read into memory.
    pub fn tree(&self) -> anyhow::Result<Namespace> {
        let mut namespace = Namespace::default();
        for ino in [ROOT, RANK_DIR] {
            let oid = Inode::base_object(ino);
            namespace.add_base(Inode::decode_base(&oid, ino, &self.object(&oid)?)?);
        }
        // No inode has the number 0, so a search for it reads every directory.
        while let Err(Lack::Dir(ino)) = namespace.inode(0) {
            let mut dir = Dir::new(ino);
            for oid in namespace.fragments(ino) {
                dir.add(&oid, &self.0.omap(&oid)?)?;
            }
            namespace.add_dir(dir);
        }
        Ok(namespace)
    }
}
