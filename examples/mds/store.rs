//! A captured pool's folder as the store of a life: every read a completion of `unwedge::io`.
//!
//! An object's data are the file `objects/<oid>`. What an object holds besides is its line in `omap.jsonl`, which is found by an index of
//! the lines' places and read when it is first asked for.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use unwedge::io::{File, Io, IoError, OpenOptions};
use unwedge::{Completion, Stop};

use crate::decode::{Damage, Omap};
use crate::life::{Fault, Store};
use crate::omap::{self, Index};
use crate::pool;

/// How much of `omap.jsonl` is read at once for the index.
const PIECE: usize = 1 << 20;

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct FileStore {
    io: Io,
    domain: Stop,
    pool: Arc<PoolFiles>,
}

#[derive(Debug)]
struct PoolFiles {
    folder: PathBuf,
    omaps: File,
    index: Index,
}

impl FileStore {
    /// Opens the pool in a folder, and blocks for it; a stop of the domain ends that too.
    pub fn open(io: &Io, domain: &Stop, folder: &Path) -> anyhow::Result<FileStore> {
        pool::check(folder)?;
        let omaps = io.open(folder.join(omap::FILE), OpenOptions::new().read(true)).wait()??;
        let mut file = Vec::new();
        loop {
            let piece =
                io.read_at(&omaps, vec![0; PIECE], file.len() as u64).wait()?.map_err(IoError::without_buffer)?;
            if piece.is_empty() {
                break;
            }
            file.extend(piece);
        }
        let index = Index::new(&file).context("cannot open the pool")?;
        let pool = PoolFiles { folder: folder.to_owned(), omaps, index };
        Ok(FileStore { io: io.clone(), domain: domain.clone(), pool: Arc::new(pool) })
    }

    fn path(&self, oid: &str) -> PathBuf {
        self.pool.folder.join("objects").join(oid)
    }
}

impl Store for FileStore {
    type Object = File;
    type OpenError = IoError;
    type ReadError = IoError<Vec<u8>>;

    fn within(&self, domain: &Stop) -> FileStore {
        FileStore { io: self.io.with(domain), domain: domain.clone(), pool: Arc::clone(&self.pool) }
    }

    fn open(&self, oid: &str) -> Completion<File, IoError> {
        self.io.open(self.path(oid), OpenOptions::new().read(true))
    }

    fn read_at(&self, object: &File, offset: u64, len: usize) -> Completion<Vec<u8>, IoError<Vec<u8>>> {
        self.io.read_at(object, vec![0; len], offset)
    }

    /// A line that is not there is an empty one, which no object has: see `decode_omap`.
    fn omap(&self, oid: &str) -> Completion<Vec<u8>, IoError<Vec<u8>>> {
        match self.pool.index.find(oid) {
            Some(line) => self.io.read_at(&self.pool.omaps, vec![0; line.len], line.offset),
            None => Completion::ready(Ok(Vec::new()), &self.domain),
        }
    }

    fn decode_omap(&self, oid: &str, raw: &[u8]) -> Result<Omap, Damage> {
        match self.pool.index.find(oid) {
            Some(line) if raw.len() < line.len => {
                Err(Damage::new(oid, raw.len() as u64, format!("{} was cut while it was open", omap::FILE))
                    .in_part("omap"))
            }
            Some(_) => omap::decode(oid, raw),
            None => Err(crate::decode::missing(oid)),
        }
    }

    fn save(&self, oid: &str, bytes: Vec<u8>) -> Completion<Result<(), String>> {
        let path = self.path(oid);
        self.io.run_blocking("save", move || replace(&path, &bytes).map_err(|error| error.to_string()))
    }
}

/// Writes a file beside the old one, makes it durable, and puts it in the old one's place.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

impl<B: Send + 'static> Fault for IoError<B> {
    fn is_missing(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }
}
