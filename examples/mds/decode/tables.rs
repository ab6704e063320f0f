//! The small tables that a rank loads at boot: journal pointer, inode table, session map.

use super::{Damage, Reader};

/// Where the journal of a rank is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPointer {
    /// The inode of the journal that is in use.
    pub front: u64,
    /// The inode of a journal that is being rewritten, or 0.
    pub back: u64,
}

impl JournalPointer {
    /// The object that holds the pointer of `rank`.
    pub fn object(rank: u64) -> String {
        super::object_name(0x400 + rank, 0)
    }

    /// Decodes the pointer of `rank`: it can name that rank's journal or its backup, nothing else.
    pub fn decode(object: &str, rank: u64, bytes: &[u8]) -> Result<JournalPointer, Damage> {
        let mut reader = Reader::new(object, 0, bytes);
        let (_, mut body) = reader.envelope(1, "journal pointer")?;
        let front_at = body.clone();
        let pointer = JournalPointer { front: body.u64("front")?, back: body.u64("back")? };
        if pointer.front != 0x200 + rank && pointer.front != 0x300 + rank {
            return Err(front_at.damage(format!("{:#x} is no journal of rank {rank}", pointer.front)));
        }
        Ok(pointer)
    }
}

/// The inode numbers that a rank may still give out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InoTable {
    /// Counts the table's changes.
    pub version: u64,
    /// Ranges of free numbers: start and length, in order, apart from one another.
    pub free: Vec<(u64, u64)>,
}

impl InoTable {
    /// The object that holds the table of `rank`.
    pub fn object(rank: u64) -> String {
        format!("mds{rank}_inotable")
    }

    /// Decodes a table.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<InoTable, Damage> {
        let mut reader = Reader::new(object, 0, bytes);
        let version = reader.u64("version")?;
        let (_, mut body) = reader.envelope(2, "free inodes")?;
        let n = body.count(16, "free inodes")?;
        let mut free = Vec::with_capacity(n);
        let mut least = 0;
        for _ in 0..n {
            let here = body.clone();
            let (start, len) = (body.u64("start")?, body.u64("length")?);
            // A range may end at the last number of all, so the end is compared without adding one.
            match start.checked_add(len) {
                Some(end) if len > 0 && start >= least => least = end,
                _ => {
                    return Err(
                        here.damage(format!("range of {len:#x} from {start:#x} is empty, out of order or too long"))
                    );
                }
            }
            free.push((start, len));
        }
        Ok(InoTable { version, free })
    }
}

/// The clients that had a session when the map was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMap {
    /// Counts the map's changes.
    pub version: u64,
    /// The clients' numbers.
    pub clients: Vec<u64>,
}

impl SessionMap {
    /// The object that holds the map of `rank`.
    pub fn object(rank: u64) -> String {
        format!("mds{rank}_sessionmap")
    }

    /// Decodes the omap of a session map: its header, and a value for each client.
    pub fn decode<'v>(
        object: &str,
        header: &[u8],
        entries: impl IntoIterator<Item = (&'v str, &'v [u8])>,
    ) -> Result<SessionMap, Damage> {
        let in_header = |damage: Damage| damage.in_part("omap header");
        let mut reader = Reader::new(object, 0, header);
        let (_, mut body) = reader.envelope(1, "session map").map_err(in_header)?;
        let version = body.u64("version").map_err(in_header)?;
        let mut clients = Vec::new();
        for (key, value) in entries {
            let in_value = |damage: Damage| damage.in_part(format!("omap value {key:?}"));
            let Some(client) = key.strip_prefix("client.").and_then(|n| n.parse().ok()) else {
                return Err(in_value(Damage::new(object, 0, "the key names no client")));
            };
            Reader::new(object, 0, value).envelope(7, "session").map_err(in_value)?;
            clients.push(client);
        }
        Ok(SessionMap { version, clients })
    }
}

/// This server's own table of sessions, which it writes in its orderly stop: the clients to wait for in the next life.
///
/// It has an object of its own, because Ceph's session map is Ceph's to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedSessions {
    /// The clients' numbers, in order.
    pub clients: Vec<u64>,
}

impl SavedSessions {
    /// The object that holds the table of `rank`.
    pub fn object(rank: u64) -> String {
        format!("unwedge_mds{rank}_sessions")
    }

    /// The table as bytes: an envelope, a count, the clients' numbers.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = (self.clients.len() as u32).to_le_bytes().to_vec();
        for client in &self.clients {
            body.extend(client.to_le_bytes());
        }
        let mut bytes = vec![1, 1];
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// Decodes a table.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<SavedSessions, Damage> {
        let (_, mut body) = Reader::new(object, 0, bytes).envelope(1, "table of sessions")?;
        let n = body.count(8, "sessions")?;
        let clients = (0..n).map(|_| body.u64("client")).collect::<Result<_, _>>()?;
        Ok(SavedSessions { clients })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_names_a_journal_of_its_rank() {
        let mut bytes = vec![1, 1, 16, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0];
        bytes.extend([0; 8]);
        assert_eq!(JournalPointer::decode("400.00000000", 0, &bytes), Ok(JournalPointer { front: 0x200, back: 0 }));
        let damage = JournalPointer::decode("401.00000000", 1, &bytes).unwrap_err();
        assert_eq!((damage.object.as_str(), damage.offset), ("401.00000000", 6));
        assert!(JournalPointer::decode("400.00000000", 0, &bytes[..21]).is_err());
    }

    #[test]
    fn free_ranges_are_in_order() {
        let mut bytes = vec![0; 8];
        bytes.extend([2, 2, 36, 0, 0, 0, 2, 0, 0, 0]);
        for n in [1u64, 5, 6, u64::MAX - 6] {
            bytes.extend(n.to_le_bytes());
        }
        assert_eq!(InoTable::decode("t", &bytes).unwrap().free, [(1, 5), (6, u64::MAX - 6)]);
        bytes[18] = 3;
        assert_eq!(InoTable::decode("t", &bytes).unwrap_err().offset, 34, "3 + 5 runs into 6");
    }

    #[test]
    fn a_session_is_named_by_its_client() {
        let header = [1, 1, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let value: &[u8] = &[7, 7, 0, 0, 0, 0];
        let map = SessionMap::decode("s", &header, [("client.4123", value)]).unwrap();
        assert_eq!(map, SessionMap { version: 9, clients: vec![4123] });
        let damage = SessionMap::decode("s", &header, [("4123", value)]).unwrap_err();
        assert_eq!(damage.part.as_deref(), Some("omap value \"4123\""));
        assert_eq!(SessionMap::decode("s", &header[..9], []).unwrap_err().part.as_deref(), Some("omap header"));
    }

    #[test]
    fn saved_sessions_come_back() {
        let saved = SavedSessions { clients: vec![3, u64::MAX] };
        let bytes = saved.encode();
        assert_eq!(SavedSessions::decode("s", &bytes), Ok(saved));
        for cut in 0..bytes.len() {
            assert!(SavedSessions::decode("s", &bytes[..cut]).is_err());
        }
    }
}
