//! The journal: its header, where its bytes are, and the entries one after the other.
//!
//! A journal is a file striped over objects. It is read from its header's `expire` position to its end, which lies at or past the
//! header's `write` position: the header is written seldom. An [`Entries`] is fed with the file's bytes in order, in pieces of any size,
//! and gives the entries back; it holds one entry and one piece at most.
//!
//! An entry is a mark, a length, the event, and the position at which the entry starts: an entry that was overwritten, moved or cut is so
//! seen.
//!
//! Bytes at the end that make no whole entry are damage if the entry begins before the header's `write` position: it was there when the header was
//! written. One that begins later is being written, or its writer was killed over it: an entry that lies in two objects is written by two requests, and a
//! writer also waits in the middle of one, until the next object is prepared. For a reader the journal ends before it.

use super::{Damage, Reader, Time, object_name};

/// What the header of a journal, and the object of a root inode, begin with.
pub const MAGIC: &[u8] = b"ceph fs volume v011";

/// What an entry begins with.
const ENTRY_MARK: u64 = 0x3141_5926_5358_9793;

/// Mark, length and start position: what an entry takes besides its event.
const ENTRY_FRAME: u64 = 8 + 4 + 8;

/// The format with marks and start positions; the one before it had neither.
const RESILIENT: u8 = 1;

/// How a file's bytes lie in objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes that lie together, before the next object of the set takes over.
    pub stripe_unit: u64,
    /// Objects in a set.
    pub stripe_count: u64,
    /// Bytes in an object.
    pub object_size: u64,
}

impl Layout {
    /// The object's number and the offset in it, for a position in the file; and how many bytes from there lie in one piece.
    pub fn locate(&self, position: u64) -> (u64, u64, u64) {
        let units_per_object = self.object_size / self.stripe_unit;
        let (unit, within) = (position / self.stripe_unit, position % self.stripe_unit);
        let (stripe, column) = (unit / self.stripe_count, unit % self.stripe_count);
        let (set, row) = (stripe / units_per_object, stripe % units_per_object);
        (set * self.stripe_count + column, row * self.stripe_unit + within, self.stripe_unit - within)
    }
}

/// The journal's header, which is the file's first object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What lies before it is no longer there.
    pub trimmed: u64,
    /// Replay begins here: what lies before it has reached the directory objects.
    pub expire: u64,
    /// The end of the journal when this was written.
    pub write: u64,
    /// Where the bytes are.
    pub layout: Layout,
}

impl Header {
    /// Decodes a header, and checks that what it says can be.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Header, Damage> {
        let mut reader = Reader::new(object, 0, bytes);
        let (_, mut r) = reader.envelope(2, "journal header")?;
        let here = r.clone();
        if r.str("mark")? != MAGIC {
            return Err(here.damage("the mark of a journal is missing"));
        }
        let here = r.clone();
        let (trimmed, expire) = (r.u64("trimmed")?, r.u64("expire")?);
        r.u64("unused")?;
        let write = r.u64("write")?;
        if trimmed > expire || expire > write || write > i64::MAX as u64 {
            return Err(here.damage(format!(
                "positions out of order: trimmed {trimmed:#x}, expire {expire:#x}, write {write:#x}"
            )));
        }
        let here = r.clone();
        let [stripe_unit, stripe_count, object_size] =
            [r.u32("stripe_unit")?.into(), r.u32("stripe_count")?.into(), r.u32("object_size")?.into()];
        if stripe_unit == 0 || stripe_count == 0 || object_size == 0 || object_size % stripe_unit != 0 {
            return Err(
                here.damage(format!("no layout: unit {stripe_unit}, count {stripe_count}, object size {object_size}"))
            );
        }
        r.bytes(16, "rest of the layout")?;
        let here = r.clone();
        let format = r.u8("stream format")?;
        if format != RESILIENT {
            return Err(here.damage(format!("stream format {format} is not known, only {RESILIENT}")));
        }
        let layout = Layout { stripe_unit, stripe_count, object_size };
        if layout.locate(expire).0 == 0 {
            return Err(here.damage(format!("expire {expire:#x} lies in the header's own object")));
        }
        Ok(Header { trimmed, expire, write, layout })
    }
}

/// A place in a journal: for errors that name the object and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The journal's inode.
    pub ino: u64,
    /// Where its bytes are.
    pub layout: Layout,
}

impl Journal {
    /// The object that holds `position`, the offset in it, and how many bytes from there lie in one piece.
    pub fn locate(&self, position: u64) -> (String, u64, u64) {
        let (number, offset, run) = self.layout.locate(position);
        (object_name(self.ino, number), offset, run)
    }

    /// Damage at a position.
    pub fn damage(&self, position: u64, what: impl Into<String>) -> Damage {
        let (object, offset, _) = self.locate(position);
        Damage::new(object, offset, what)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// What an event is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
            /// No type that is known; the number is kept.
            Unknown(u32),
        }

        impl Kind {
            /// The kind with this number.
            pub fn from_number(number: u32) -> Kind {
                match number {
                    $($number => Kind::$name,)*
                    other => Kind::Unknown(other),
                }
            }
        }

        impl std::fmt::Display for Kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Kind::$name => f.write_str($word),)*
                    Kind::Unknown(number) => write!(f, "UNKNOWN({number})"),
                }
            }
        }
    };
}

kinds! {
    /// Which directories this rank answers for; each segment begins with one.
    SubtreeMap = 2, "SUBTREEMAP";
    /// A subtree was given to another rank.
    Export = 3, "EXPORT";
    /// A subtree is being taken over.
    ImportStart = 4, "IMPORTSTART";
    /// A subtree was taken over.
    ImportFinish = 5, "IMPORTFINISH";
    /// A directory was split or merged.
    Fragment = 6, "FRAGMENT";
    /// The journal was begun anew by a repair tool.
    ResetJournal = 9, "RESETJOURNAL";
    /// A client came or went.
    Session = 10, "SESSION";
    /// Several clients, in an old encoding.
    SessionsOld = 11, "SESSIONS_OLD";
    /// Several clients came.
    Sessions = 12, "SESSIONS";
    /// A change of metadata.
    Update = 20, "UPDATE";
    /// A change that another rank leads.
    PeerUpdate = 21, "PEERUPDATE";
    /// Files that clients hold open.
    Open = 22, "OPEN";
    /// A change that spans ranks is complete.
    Committed = 23, "COMMITTED";
    /// Deleted files' inode numbers are free again.
    Purged = 24, "PURGED";
    /// A table's client took a step.
    TableClient = 42, "TABLECLIENT";
    /// A table's server took a step.
    TableServer = 43, "TABLESERVER";
    /// A subtree map that a debugging option wrote.
    SubtreeMapTest = 50, "SUBTREEMAP_TEST";
    /// Nothing.
    Noop = 51, "NOOP";
    /// A segment begins.
    Segment = 100, "SEGMENT";
    /// The log's own number.
    Lid = 101, "LID";
}

impl Kind {
    /// Whether this server knows what such an event is.
    pub fn is_known(self) -> bool {
        !matches!(self, Kind::Unknown(_))
    }

    /// Whether an event of this kind is known to begin with the time at which it was written.
    fn is_stamped(self) -> bool {
        matches!(
            self,
            Kind::SubtreeMap
                | Kind::Session
                | Kind::Sessions
                | Kind::Update
                | Kind::Open
                | Kind::Purged
                | Kind::TableClient
                | Kind::TableServer
        )
    }
}

/// One event of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where its entry starts in the journal.
    pub position: u64,
    /// What it is about.
    pub kind: Kind,
    /// When it was written, where its kind says so.
    pub stamp: Option<Time>,
}

/// The entries of a journal, from bytes that come in pieces.
#[derive(Debug)]
pub struct Entries {
    journal: Journal,
    /// Where the next entry starts.
    position: u64,
    /// The journal's end.
    end: u64,
    /// An entry that begins before this was whole once.
    committed: u64,
    /// Bytes from `position` on, behind `used` bytes of entries that are done.
    bytes: Vec<u8>,
    used: usize,
}

impl Entries {
    /// The entries from `start` to `end`, which have to be whole.
    pub fn new(journal: Journal, start: u64, end: u64) -> Entries {
        Entries { journal, position: start, end, committed: end, bytes: Vec::new(), used: 0 }
    }

    /// The same, where what begins at or behind `write` may not have been written to its end.
    pub fn written(self, write: u64) -> Entries {
        Entries { committed: self.end.min(write), ..self }
    }

    /// Where the next entry starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether nothing is wrong if the object with the next bytes is not there: they are behind what was whole once.
    pub fn may_end(&self) -> bool {
        self.position + (self.bytes.len() - self.used) as u64 >= self.committed
    }

    /// Where the bytes to be fed next are, and how many there are at most before the journal, the piece or `most` ends; `None` at the end.
    pub fn wants(&self, most: u64) -> Option<Wanted> {
        let position = self.position + (self.bytes.len() - self.used) as u64;
        let left = self.end.checked_sub(position).filter(|left| *left > 0)?;
        let (object, offset, run) = self.journal.locate(position);
        Some(Wanted { object, offset, len: left.min(run).min(most) })
    }

    /// The pieces that [`wants`](Self::wants) would name one after the other, as far as they are in one object.
    pub fn run(&self, most: u64) -> impl Iterator<Item = Wanted> + use<> {
        let (journal, end) = (self.journal, self.end);
        let mut position = self.position + (self.bytes.len() - self.used) as u64;
        let mut first = None;
        std::iter::from_fn(move || {
            let left = end.checked_sub(position).filter(|left| *left > 0)?;
            let (object, offset, run) = journal.locate(position);
            if first.get_or_insert_with(|| object.clone()) != &object {
                return None;
            }
            let len = left.min(run).min(most);
            position += len;
            Some(Wanted { object, offset, len })
        })
    }

    /// Takes the next bytes of the journal. None at all means that the object ends before the journal does: it was cut since its end was looked for.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Damage> {
        let position = self.position + (self.bytes.len() - self.used) as u64;
        if bytes.is_empty() && self.may_end() {
            self.end = self.end.min(position);
        } else if bytes.is_empty() {
            return Err(self
                .journal
                .damage(position, format!("the object ends here, the journal only at {:#x}", self.end)));
        }
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next entry; `None` if it needs more bytes, or at the journal's end.
    pub fn next(&mut self) -> Result<Option<Event>, Damage> {
        let have = &self.bytes[self.used..];
        let left = self.end - self.position.min(self.end);
        if left == 0 {
            return Ok(None);
        }
        if left < ENTRY_FRAME {
            return self.cut(left);
        }
        let Some((mark, rest)) = have.split_first_chunk::<8>() else { return Ok(None) };
        if u64::from_le_bytes(*mark) != ENTRY_MARK {
            return Err(self.journal.damage(self.position, "no entry begins here"));
        }
        let Some((size, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let size = u32::from_le_bytes(*size);
        if u64::from(size) + ENTRY_FRAME > left {
            return self.cut(left);
        }
        let Some((payload, rest)) = rest.split_at_checked(size as usize) else { return Ok(None) };
        let Some((start, _)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let start = u64::from_le_bytes(*start);
        if start != self.position {
            let end = self.position + 12 + u64::from(size);
            return Err(self
                .journal
                .damage(end, format!("the entry at {:#x} says that it starts at {start:#x}", self.position)));
        }
        let event = self.event(payload)?;
        self.used += size as usize + ENTRY_FRAME as usize;
        self.position += u64::from(size) + ENTRY_FRAME;
        Ok(Some(event))
    }

    /// The journal ends before the entry does.
    fn cut<T>(&mut self, left: u64) -> Result<Option<T>, Damage> {
        if self.position < self.committed {
            let what = format!("{left} bytes at the end of the journal make no entry");
            return Err(self.journal.damage(self.position, what));
        }
        self.end = self.position;
        Ok(None)
    }

    fn event(&self, payload: &[u8]) -> Result<Event, Damage> {
        // An event may lie across two objects, so its damage is found by its position in the file, not by adding to an offset.
        decode_event(self.position, payload)
            .map_err(|damage| self.journal.damage(self.position + 12 + damage.offset, damage.what))
    }
}

/// An event; the offset of its damage is that in `payload`.
fn decode_event(position: u64, payload: &[u8]) -> Result<Event, Damage> {
    let mut reader = Reader::new("", 0, payload);
    let here = reader.clone();
    if reader.u32("event")? != 0 {
        return Err(here.damage("an event in an encoding without versions"));
    }
    let (_, mut r) = reader.envelope(1, "event")?;
    let kind = Kind::from_number(r.u32("type of the event")?);
    let mut stamp = None;
    if kind.is_stamped() {
        // Newer versions of an event only add to its end: every version is readable as far as the stamp.
        let (_, mut body) = r.envelope(u8::MAX, "body of the event")?;
        stamp = Some(body.time("time of the event")?);
    }
    Ok(Event { position, kind, stamp })
}

/// Bytes of an object that are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The object's name.
    pub object: String,
    /// Offset in the object.
    pub offset: u64,
    /// How many bytes at most; never 0.
    pub len: u64,
}

/// Finds the end of a journal whose header lags: goes on from `write` as long as there are bytes.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    journal: Journal,
    position: u64,
}

impl Probe {
    /// A probe that starts at the header's write position.
    pub fn new(journal: Journal, header: &Header) -> Probe {
        Probe { journal, position: header.write }
    }

    /// The piece to be read next: from where the last one ended, to the end of its stripe unit or `most` bytes.
    pub fn wants(&self, most: u64) -> Wanted {
        let (object, offset, run) = self.journal.locate(self.position);
        Wanted { object, offset, len: run.min(most) }
    }

    /// Takes how many bytes were found there; 0 for an object that ends before or is not there. Says the end, once it is reached.
    pub fn found(&mut self, bytes: usize) -> Option<u64> {
        self.position = self.position.saturating_add(bytes as u64);
        (bytes == 0).then_some(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: Layout = Layout { stripe_unit: 4096, stripe_count: 1, object_size: 4096 };

    fn journal() -> Journal {
        Journal { ino: 0x200, layout: FLAT }
    }

    fn entry(position: u64, kind: u32) -> Vec<u8> {
        let mut payload = vec![0, 0, 0, 0, 1, 1, 18, 0, 0, 0];
        payload.extend(kind.to_le_bytes());
        payload.extend([5, 5, 8, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0]);
        let mut entry = ENTRY_MARK.to_le_bytes().to_vec();
        entry.extend((payload.len() as u32).to_le_bytes());
        entry.extend(payload);
        entry.extend(position.to_le_bytes());
        entry
    }

    #[test]
    fn stripes() {
        let layout = Layout { stripe_unit: 10, stripe_count: 3, object_size: 20 };
        let places: Vec<_> = [0, 9, 10, 25, 30, 59, 60].into_iter().map(|p| layout.locate(p)).collect();
        assert_eq!(places, [(0, 0, 10), (0, 9, 1), (1, 0, 10), (2, 5, 5), (0, 10, 10), (2, 19, 1), (3, 0, 10)]);
        assert_eq!(FLAT.locate(8193), (2, 1, 4095));
    }

    #[test]
    fn entries_come_out_whatever_the_pieces() {
        let start = 4096 * 2 - 30;
        let mut bytes = entry(start, 20);
        let second = start + bytes.len() as u64;
        bytes.extend(entry(second, 77));
        for piece in 1..bytes.len() {
            let mut entries = Entries::new(journal(), start, start + bytes.len() as u64);
            let mut events = Vec::new();
            for part in bytes.chunks(piece) {
                assert!(entries.wants(1 << 20).is_some());
                entries.feed(part).unwrap();
                while let Some(event) = entries.next().unwrap() {
                    events.push(event);
                }
            }
            assert_eq!(entries.wants(1 << 20), None);
            let stamp = Some(Time { secs: 7, nanos: 9 });
            assert_eq!(events[0], Event { position: start, kind: Kind::Update, stamp });
            assert_eq!(events[1], Event { position: second, kind: Kind::Unknown(77), stamp: None });
            assert_eq!(events.len(), 2);
        }
    }

    #[test]
    fn pieces_end_with_their_object() {
        let entries = Entries::new(journal(), 4096 * 2 - 30, 4096 * 3);
        let wanted = entries.wants(100).unwrap();
        assert_eq!(wanted, Wanted { object: "200.00000001".into(), offset: 4066, len: 30 });
    }

    #[test]
    fn a_run_is_one_object_in_pieces() {
        let entries = Entries::new(journal(), 4096 * 2 - 30, 4096 * 3);
        let first: Vec<_> = entries.run(20).collect();
        assert_eq!(
            first.iter().map(|wanted| (wanted.offset, wanted.len)).collect::<Vec<_>>(),
            [(4066, 20), (4086, 10)]
        );
        assert!(first.iter().all(|wanted| wanted.object == "200.00000001"));
        assert_eq!(first.into_iter().next(), entries.wants(20));
        assert_eq!(Entries::new(journal(), 8192, 8192).run(20).count(), 0);
    }

    #[test]
    fn a_cut_moved_or_overwritten_entry_is_damage_at_its_place() {
        let good = entry(4096, 20);
        let end = 4096 + good.len() as u64;
        let fed = |bytes: &[u8], start, end| {
            let mut entries = Entries::new(journal(), start, end);
            entries.feed(bytes).unwrap();
            entries.next()
        };
        assert!(fed(&good, 4096, end).unwrap().is_some());
        assert_eq!(fed(&good, 4096, end - 1).unwrap_err().offset, 0, "cut");
        assert_eq!(fed(&good, 4097, end + 1).unwrap_err().offset, 1 + 12 + 28, "moved");
        let mut bad = good.clone();
        bad[0] ^= 1;
        assert_eq!(
            fed(&bad, 4096, end).unwrap_err().to_string(),
            "object 200.00000001, offset 0x0: no entry begins here"
        );
        bad = good.clone();
        bad[12] = 1;
        assert_eq!(fed(&bad, 4096, end).unwrap_err().offset, 12, "an old encoding");
        let mut entries = Entries::new(journal(), 4096, end);
        entries.feed(&good[..10]).unwrap();
        assert_eq!(entries.next(), Ok(None));
        assert_eq!(entries.feed(&[]).unwrap_err().offset, 10, "the object ends");
    }

    #[test]
    fn the_journal_ends_before_an_entry_that_is_not_yet_whole() {
        let (first, second) = (entry(4096, 20), entry(4096 + 48, 20));
        assert_eq!(first.len(), 48);
        let bytes: Vec<u8> = first.iter().chain(&second).copied().collect();
        for cut in first.len()..bytes.len() {
            for (write, is_cut_before) in [(4096, 0), (4096 + 48, 0), (4096 + 49, 1), (4096 + 48, 5)] {
                // Seen by the probe; or cut between the probe and the read.
                let mut entries = Entries::new(journal(), 4096, 4096 + cut as u64 + is_cut_before).written(write);
                entries.feed(&bytes[..cut]).unwrap();
                assert_eq!(entries.next().unwrap().unwrap().position, 4096);
                let mut after = entries.next();
                if after == Ok(None) && entries.wants(100).is_some() {
                    after = entries.feed(&[]).and_then(|()| entries.next());
                }
                if write <= 4096 + 48 {
                    assert_eq!((after, entries.wants(100)), (Ok(None), None), "{cut} of {write}");
                    assert_eq!((entries.position(), entries.next()), (4096 + 48, Ok(None)));
                } else if cut > first.len() {
                    assert!([48, cut as u64].contains(&after.unwrap_err().offset), "{cut}");
                }
            }
        }
        // What more bytes cannot make an entry is damage wherever it is.
        let mut entries = Entries::new(journal(), 4096, 4096 + 60).written(4096);
        entries.feed(&first).unwrap();
        assert!(entries.next().unwrap().is_some());
        entries.feed(&[0; 12]).unwrap();
        assert_eq!(entries.next(), Ok(None), "not even a frame: not yet written");
        let mut entries = Entries::new(journal(), 4096, 4096 + 96).written(4096);
        entries.feed(&first).unwrap();
        assert!(entries.next().unwrap().is_some());
        entries.feed(&[0; 48]).unwrap();
        assert_eq!(entries.next().unwrap_err().offset, 48, "no entry begins there");
    }

    #[test]
    fn a_probe_goes_on_until_there_is_no_more() {
        let header = Header { trimmed: 4096, expire: 4096, write: 5000, layout: FLAT };
        let mut probe = Probe::new(journal(), &header);
        let wanted = probe.wants(1 << 20);
        assert_eq!(wanted, Wanted { object: "200.00000001".into(), offset: 904, len: 3192 });
        assert_eq!(probe.found(3192), None);
        let wanted = probe.wants(100);
        assert_eq!(wanted, Wanted { object: "200.00000002".into(), offset: 0, len: 100 });
        assert_eq!(probe.found(0), Some(8192));
    }
}
