//! `mds dump`: the journal's events and the directory tree of a pool, for people and for comparison with what Ceph's own tools say.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::cli::What;
use crate::decode::inode::{Inode, Kind};
use crate::namespace::{Namespace, ROOT};
use crate::pool::{Objects, Pool};

/// An entry of the tree, as a client sees it.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    ino: u64,
    mode: String,
    size: u64,
    nlink: u64,
    uid: u32,
    gid: u32,
    mtime: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl<'a> Row<'a> {
    fn new(path: &'a str, inode: &Inode) -> Row<'a> {
        Row {
            path,
            ino: inode.ino,
            mode: inode.octal_mode(),
            size: inode.size(),
            nlink: inode.nlink(),
            uid: inode.uid,
            gid: inode.gid,
            mtime: f64::from(inode.mtime.secs),
            target: inode.target_text(),
        }
    }
}

/// JSON on one line, with a space behind each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// Prints what is asked for.
pub fn print(pool: &Pool<impl Objects>, what: What) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match what {
        What::Events => events(pool, &mut out)?,
        What::Tree => tree(pool, &mut out)?,
    }
    Ok(out.flush()?)
}

/// Prints each event of the journal: where it starts, and its type.
fn events(pool: &Pool<impl Objects>, out: &mut impl Write) -> anyhow::Result<()> {
    pool.events(|event| Ok(writeln!(out, "{:#x} {}", event.position, event.kind)?))
}

/// Prints each entry of the tree, sorted by the bytes of its path.
fn tree(pool: &Pool<impl Objects>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut namespace = pool.tree()?;
    for (path, ino) in paths(&mut namespace)? {
        let inode = match namespace.inode(ino) {
            Ok(inode) => inode,
            Err(_) => bail!("{path} leads to inode {ino:#x}, which is in no directory"),
        };
        Row::new(&path, inode).serialize(&mut Serializer::with_formatter(&mut *out, Spaced)).context("cannot write")?;
        writeln!(out)?;
    }
    Ok(())
}

/// Every path below the root with its inode's number, sorted.
fn paths(namespace: &mut Namespace) -> anyhow::Result<Vec<(String, u64)>> {
    let mut paths = Vec::new();
    let mut open = vec![(String::new(), ROOT)];
    let mut seen = HashSet::new();
    while let Some((path, ino)) = open.pop() {
        if !seen.insert(ino) {
            bail!("{path} is directory {ino:#x}, which has another name too");
        }
        let entries = match namespace.entries(ino) {
            Ok(entries) => entries.clone(),
            Err(_) => continue,
        };
        for (name, ino) in entries {
            let path = format!("{path}/{name}");
            if namespace.inode(ino).is_ok_and(|inode| inode.kind() == Kind::Dir) {
                open.push((path.clone(), ino));
            }
            paths.push((path, ino));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}
