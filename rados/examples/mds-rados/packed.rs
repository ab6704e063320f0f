//! An omap in one piece, as the store hands it on; see `pack` in `rados.rs`. Apart from that, because it needs no librados: `fuzz/` has a target for it.

use crate::decode::Omap;

/// The omap again; `None` if a key is no text.
pub fn unpack(mut packed: &[u8]) -> Option<Omap> {
    let mut next = || -> Option<Vec<u8>> {
        let (len, rest) = packed.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        packed = rest;
        Some(part.to_vec())
    };
    let header = next()?;
    let mut entries = Vec::new();
    while let Some(key) = next() {
        entries.push((String::from_utf8(key).ok()?, next()?));
    }
    Some(Omap { header, entries })
}
