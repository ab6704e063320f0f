//! A fuzz target for each decoder: any bytes give a value or a damage, and no panic; and what can be checked of a value is.
//!
//! What is claimed: **Total** and **Bounded** and **Named** of `decode/mod.rs`. A target panics where that does not hold.

use std::cell::Cell;
use std::io::Write as _;

use crate::decode::dir::{decode_dentry, decode_header};
use crate::decode::inode::Inode;
use crate::decode::journal::{Entries, Event, Header, Journal, Layout};
use crate::decode::tables::{InoTable, JournalPointer, SavedSessions, SessionMap};
use crate::decode::{Damage, Omap, Reader, missing};
use crate::encode::Decoder;
use crate::fixture::Fixture;
use crate::namespace::{Dir, Namespace, ROOT};
use crate::omap;
use crate::packed::unpack;
use crate::pool::{Objects, Pool};
use crate::protocol::{Answer, Attributes, Request, reply};

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name: the name of its program and of its folder in the corpus.
pub const ALL: &[(&str, Target)] = &[
    ("pointer", pointer),
    ("header", header),
    ("entries", entries),
    ("journal", journal),
    ("dentry", dentry),
    ("fragment", fragment),
    ("inode", inode),
    ("inotable", inotable),
    ("sessionmap", sessionmap),
    ("sessions", sessions),
    ("omap", omap),
    ("index", index),
    ("tree", tree),
    ("request", request),
    ("rados", rados),
    ("packed", packed),
    ("archive", archive),
];

/// The object that everything is said to be in.
const OBJECT: &str = "object";

/// A damage names its object, and an offset in it.
fn named<T>(result: Result<T, Damage>, len: usize) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(damage) => {
            assert_eq!(damage.object, OBJECT, "{damage}");
            assert!(damage.offset <= len as u64, "{damage} in {len} bytes");
            assert!(!damage.to_string().is_empty());
            None
        }
    }
}

/// Takes bytes off the front, behind their length in a word of two bytes.
fn part<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return std::mem::take(data) };
    let (part, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
    *data = rest;
    part
}

/// The journal's pointer.
pub fn pointer(data: &[u8]) {
    if let Some(pointer) = named(JournalPointer::decode(OBJECT, 0, data), data.len()) {
        assert!(pointer.front == 0x200 || pointer.front == 0x300);
    }
}

/// The journal's header: what it says can be computed with.
pub fn header(data: &[u8]) {
    if let Some(header) = named(Header::decode(OBJECT, data), data.len()) {
        assert!(header.trimmed <= header.expire && header.expire <= header.write);
        for position in [header.expire, header.write, u64::MAX] {
            let (_, offset, run) = header.layout.locate(position);
            assert!(run > 0 && offset < header.layout.object_size);
        }
    }
}

/// The journal's entries, in pieces whose size the first byte says; they are the same in one piece.
pub fn entries(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let journal =
        Journal { ino: 0x200, layout: Layout { stripe_unit: 1 << 22, stripe_count: 1, object_size: 1 << 22 } };
    let read = |piece: usize| {
        let (mut entries, mut found) = (Entries::new(journal, 0, data.len() as u64), Vec::new());
        let mut take = |entries: &mut Entries| -> Result<(), Damage> {
            while let Some(Event { position, kind, stamp }) = entries.next()? {
                found.push((position, kind.to_string(), stamp));
            }
            Ok(())
        };
        let mut damage = None;
        for bytes in data.chunks(piece) {
            if let Err(seen) = entries.feed(bytes).and_then(|()| take(&mut entries)) {
                damage = Some(seen);
                break;
            }
        }
        assert!(entries.position() <= data.len() as u64);
        (found, damage)
    };
    assert_eq!(read(1 + usize::from(*piece)), read(data.len().max(1)), "the pieces make no difference");
}

/// A pool in memory: a header, a journal in objects of 512 bytes, and one omap for every object that has one.
struct Memory<'a> {
    header: &'a [u8],
    inode: &'a [u8],
    journal: &'a [u8],
    omap: Option<Omap>,
    /// How many omaps may still be read: a directory may say that it has 65,536 fragments.
    left: Cell<u32>,
}

impl Objects for Memory<'_> {
    fn piece(&self, oid: &str, offset: u64, len: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let number = oid.strip_prefix("200.").and_then(|number| u64::from_str_radix(number, 16).ok());
        let pointer = [&[1, 1, 16, 0, 0, 0, 0, 2], [0; 14].as_slice()].concat();
        let object = match number {
            Some(0) => Some(self.header),
            Some(number) => usize::try_from(number - 1).ok().and_then(|number| self.journal.chunks(512).nth(number)),
            None if oid == "400.00000000" => Some(pointer.as_slice()),
            None => oid.ends_with(".inode").then_some(self.inode),
        };
        assert!(len > 0, "nothing is asked for");
        Ok(object.map(|bytes| {
            let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            rest[..rest.len().min(len as usize)].to_vec()
        }))
    }

    fn omap(&self, oid: &str) -> anyhow::Result<Omap> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        Ok(self.omap.clone().filter(|_| left > 0).ok_or_else(|| missing(oid))?)
    }
}

/// Pointer, header, search for the end, and entries, as `mds dump events` reads them.
pub fn journal(mut data: &[u8]) {
    let header = part(&mut data);
    let pool = Pool(Memory { header, inode: &[], journal: data, omap: None, left: Cell::new(0) });
    let mut last = None;
    let read = pool.events(|event| {
        assert!(last.replace(event.position).is_none_or(|last| last < event.position), "the events go on");
        Ok(())
    });
    // Every failure to read a pool is a damage.
    assert!(read.is_ok() || read.is_err_and(|error| error.is::<Damage>()));
}

/// An entry of a directory: its key, and its value.
pub fn dentry(mut data: &[u8]) {
    let key = String::from_utf8_lossy(part(&mut data)).into_owned();
    if let Some(Some(dentry)) = named(decode_dentry(OBJECT, &key, data), data.len()) {
        assert!(key.starts_with(&dentry.name) && !dentry.name.is_empty());
    }
}

/// The header of a directory's fragment.
pub fn fragment(data: &[u8]) {
    named(decode_header(OBJECT, data), data.len());
}

/// Inodes, with a word of what they are before them and without.
pub fn inode(data: &[u8]) {
    named(Inode::decode_base(OBJECT, ROOT, data), data.len());
    if let Some(inode) = named(Inode::decode_bare(&mut Reader::new(OBJECT, 0, data)), data.len()) {
        let fragments = inode.fragments.fragments();
        assert!(!fragments.is_empty() && fragments.len() <= 1 << 16, "{} fragments", fragments.len());
        drop(serde_json::to_string(&Attributes::new("name", &inode)).expect("attributes are JSON"));
    }
}

/// The free inode numbers: ranges in order.
pub fn inotable(data: &[u8]) {
    if let Some(table) = named(InoTable::decode(OBJECT, data), data.len()) {
        assert!(table.free.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        assert!(table.free.len() <= data.len() / 16);
    }
}

/// The omap of the session map.
pub fn sessionmap(mut data: &[u8]) {
    let whole = data.len();
    let header = part(&mut data);
    let mut entries = Vec::new();
    while !data.is_empty() {
        let key = String::from_utf8_lossy(part(&mut data)).into_owned();
        entries.push((key, part(&mut data)));
    }
    let values = entries.iter().map(|(key, value)| (key.as_str(), *value));
    if let Some(map) = named(SessionMap::decode(OBJECT, header, values), whole) {
        assert_eq!(map.clients.len(), entries.len());
    }
}

/// This server's own table of sessions: what is read is written again.
pub fn sessions(data: &[u8]) {
    if let Some(table) = named(SavedSessions::decode(OBJECT, data), data.len()) {
        assert_eq!(SavedSessions::decode(OBJECT, &table.encode()), Ok(table));
    }
}

/// A line of `omap.jsonl`.
pub fn omap(data: &[u8]) {
    named(omap::decode(OBJECT, data), data.len());
}

/// The whole of `omap.jsonl`: each line that is found is one of the file's.
pub fn index(data: &[u8]) {
    match omap::Index::new(data) {
        Ok(index) => {
            if let Some(line) = index.find(OBJECT) {
                let end = line.offset as usize + line.len;
                assert!(end <= data.len());
                named(omap::decode(OBJECT, &data[line.offset as usize..end]), line.len);
            }
        }
        Err(damage) => assert!(damage.object == omap::FILE && damage.offset <= data.len() as u64, "{damage}"),
    }
}

/// A tree in which every directory has the same omap; and what a client may ask of it.
pub fn tree(mut data: &[u8]) {
    let inode = part(&mut data);
    let omap = unpack(data);
    let memory = Memory { header: &[], inode, journal: &[], omap: omap.clone(), left: Cell::new(64) };
    let read = Pool(memory).tree();
    assert!(read.is_ok() || read.is_err_and(|error| error.is::<Damage>()));
    let (mut namespace, mut dir) = (Namespace::default(), Dir::new(ROOT));
    let (Ok(root), Some(omap)) = (Inode::decode_base(OBJECT, ROOT, inode), omap) else { return };
    namespace.add_base(root);
    if named(dir.add(OBJECT, &omap), data.len()).is_some() {
        namespace.add_dir(dir);
        if let Ok(entries) = namespace.list(ROOT) {
            assert!(entries.len() <= omap.entries.len());
        }
        for (key, _) in &omap.entries {
            if let Ok(inode) = namespace.lookup(ROOT, key.trim_end_matches("_head")) {
                assert!(inode.octal_mode().starts_with("0o"));
            }
        }
    }
}

/// A client's line, and the reply to it: one line of JSON with the same id.
pub fn request(data: &[u8]) {
    let Request { op, id } = Request::parse(data);
    let line = reply(op.map(|_| Answer::Done(true)), id.clone());
    assert!(line.ends_with(b"\n") && !line[..line.len() - 1].contains(&b'\n'));
    let read: serde_json::Value = serde_json::from_slice(&line).expect("a reply is JSON");
    assert_eq!(read.get("id").cloned(), id);
}

/// What librados's classes answer: envelopes, texts and numbers, in the order that the bytes themselves say.
pub fn rados(data: &[u8]) {
    let Some((steps, rest)) = data.split_first_chunk::<8>() else { return };
    let mut decoder = Decoder(rest);
    for step in steps {
        let before = decoder.0.len();
        let went = match step % 6 {
            0 => decoder.u8().map(drop),
            1 => decoder.u32().map(drop),
            2 => decoder.u64().map(drop),
            3 => decoder.blob().map(drop),
            4 => decoder.string().map(drop),
            _ => decoder.envelope().map(|inner| decoder = inner),
        };
        assert!(decoder.0.len() <= before);
        if went.is_err() {
            return;
        }
    }
}

/// An omap from a live cluster, as a store hands it on.
pub fn packed(data: &[u8]) {
    if let Some(omap) = unpack(data) {
        let size: usize = omap.entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(size + omap.header.len() <= data.len());
    }
}

/// The archive with the captured pool: it is unpacked into its folder, or refused, and the folder goes.
pub fn archive(data: &[u8]) {
    let outer = tempfile::tempdir().expect("a folder");
    let path = outer.path().join("archive");
    std::fs::File::create(&path).and_then(|mut file| file.write_all(data)).expect("a file");
    let inner = Fixture::unpack_from(&path, || false).map(|fixture| fixture.folder().to_owned());
    if let Ok(folder) = inner {
        assert!(!folder.exists(), "it goes with its owner");
    }
    assert_eq!(std::fs::read_dir(outer.path()).expect("a folder").count(), 1, "nothing is unpacked elsewhere");
}
