//! `mds refresh`: a server that runs forgets the tree that it has read, so that what somebody else has changed in the pool is seen.
//!
//! The two inodes that no dentry leads to are read first, with no lock. Then the tree is put in the old one's place at one stroke, at a moment when
//! nobody is reading a directory: so no directory in it was read before.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;
use unwedge::Stopped;

use crate::decode::inode::Inode;
use crate::decode::missing;
use crate::life::{Fault as _, Life, Store, unreadable};
use crate::namespace::{Namespace, RANK_DIR, ROOT};
use crate::protocol::{Answer, Refusal};

/// More than an inode without a dentry takes.
const LARGEST_BASE: usize = 64 << 10;

/// Has the server forget the tree, once it serves.
pub async fn refresh<S: Store>(life: &Life<S>) -> Result<Result<Answer, Refusal>, Stopped> {
    if let Err(trouble) = life.mds().when_async(|mds| mds.is_open()).await? {
        return Ok(Err(trouble.into()));
    }
    let mut fresh = Namespace::default();
    for ino in [ROOT, RANK_DIR] {
        match base(life, ino).await? {
            Ok(inode) => fresh.add_base(inode),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    let mut fresh = Some(fresh);
    let swapped = life.mds().when_async(|mds| {
        if !mds.loading.is_empty() {
            return None;
        }
        mds.namespace = fresh.take()?;
        Some(())
    });
    swapped.await?;
    Ok(Ok(Answer::Done(true)))
}

/// The inode of a directory that no dentry leads to.
async fn base<S: Store>(life: &Life<S>, ino: u64) -> Result<Result<Inode, Refusal>, Stopped> {
    let oid = Inode::base_object(ino);
    let refused = |damage: crate::decode::Damage| Refusal::new("EIO", damage.to_string());
    let object = match life.store().open(&oid).await? {
        Ok(object) => object,
        Err(fault) if fault.is_missing() => return Ok(Err(refused(missing(&oid)))),
        Err(fault) => return Ok(Err(refused(unreadable(&oid, 0, &fault)))),
    };
    let read = life.store().read_at(&object, 0, LARGEST_BASE).await?;
    let bytes = read.map_err(|fault| unreadable(&oid, 0, &fault));
    Ok(bytes.and_then(|bytes| Inode::decode_base(&oid, ino, &bytes)).map_err(refused))
}

/// Asks the server on a socket for it, and waits until it is done.
pub fn ask(socket: &Path) -> anyhow::Result<()> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket).with_context(|| format!("no server on {shown}"))?;
    stream.write_all(b"{\"op\":\"refresh\"}\n").with_context(|| format!("cannot write to {shown}"))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(|| format!("cannot read from {shown}"))?;
    if line.is_empty() {
        bail!("the server was stopped");
    }
    let reply: Value = serde_json::from_str(&line).context("the server's reply is no JSON")?;
    match reply.get("message") {
        Some(message) => bail!("{}", message.as_str().unwrap_or("refused")),
        None => Ok(()),
    }
}
