//! `omap.jsonl`: what the objects of a captured pool hold besides their data.
//!
//! The file has a line for each object, with the object's name in front. An [`Index`] knows at which offset each object's line is; it is
//! made by one pass that looks at the beginning of each line only. The line itself is read and decoded when its object is first asked for.

use std::collections::HashMap;

use base64::Engine as _;
use serde::Deserialize;

use crate::decode::{Damage, Omap};

/// The file's name.
pub const FILE: &str = "omap.jsonl";

/// Where each object's line is.
#[derive(Clone, Debug, Default)]
pub struct Index {
    lines: HashMap<String, Line>,
}

/// Where a line is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Offset of its first byte.
    pub offset: u64,
    /// Bytes, without the newline.
    pub len: usize,
}

impl Index {
    /// Makes the index of the file's content.
    pub fn new(file: &[u8]) -> Result<Index, Damage> {
        let mut lines = HashMap::new();
        let mut offset = 0;
        for line in file.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let Some(oid) = oid(text) else {
                return Err(Damage::new(FILE, offset, "this line does not begin with the name of an object"));
            };
            if lines.insert(oid.to_owned(), Line { offset, len: text.len() }).is_some() {
                return Err(Damage::new(FILE, offset, format!("object {oid} has a second line")));
            }
            offset += line.len() as u64;
        }
        Ok(Index { lines })
    }

    /// Where the object's line is.
    pub fn find(&self, oid: &str) -> Option<Line> {
        self.lines.get(oid).copied()
    }
}

/// The name at the beginning of a line: Ceph's own object names have no character that JSON would escape.
fn oid(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"oid\":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok().filter(|oid| !oid.is_empty() && !oid.contains('\\'))
}

#[derive(Deserialize)]
struct Record {
    oid: String,
    #[serde(default)]
    omap_header: Option<String>,
    omap: Vec<(String, String)>,
}

/// Decodes the line of the object `oid`.
pub fn decode(oid: &str, line: &[u8]) -> Result<Omap, Damage> {
    let record: Record = serde_json::from_slice(line).map_err(|error| {
        let offset = error.column().saturating_sub(1) as u64;
        Damage::new(oid, offset, format!("its line in {FILE} is no record of an object: {error}")).in_part("omap")
    })?;
    if record.oid != oid {
        return Err(Damage::new(oid, 0, format!("its line in {FILE} is that of {}", record.oid)).in_part("omap"));
    }
    let plain = |part: &str, text: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| Damage::new(oid, 0, format!("not base64: {error}")).in_part(part))
    };
    let header = plain("omap header", record.omap_header.as_deref().unwrap_or(""))?;
    let entries = record
        .omap
        .into_iter()
        .map(|(key, value)| plain(&format!("omap value {key:?}"), &value).map(|value| (key, value)))
        .collect::<Result<_, _>>()?;
    Ok(Omap { header, entries })
}
#[cfg(test)]
mod tests {
    use super::*;

    const FILE_TEXT: &str =
        "{\"oid\": \"a\", \"omap_header\": \"AQI=\", \"omap\": [[\"k_head\", \"Aw==\"]]}\n{\"oid\":\"b\",\"omap\":[]}";

    #[test]
    fn lines_are_found_by_object() {
        let index = Index::new(FILE_TEXT.as_bytes()).unwrap();
        let line = |oid| {
            let line = index.find(oid).unwrap();
            &FILE_TEXT.as_bytes()[line.offset as usize..][..line.len]
        };
        let a = decode("a", line("a")).unwrap();
        assert_eq!(a, Omap { header: vec![1, 2], entries: vec![("k_head".into(), vec![3])] });
        assert_eq!(decode("b", line("b")), Ok(Omap::default()));
        assert_eq!(index.find("c"), None);
    }

    #[test]
    fn damage_names_the_object() {
        let damage = decode("b", FILE_TEXT.lines().next().unwrap().as_bytes()).unwrap_err();
        assert!(damage.to_string().starts_with("object b, omap, offset 0x0"), "{damage}");
        let damage = decode("a", b"{\"oid\":\"a\",\"omap\":[[\"k\",\"?\"]]}").unwrap_err();
        assert_eq!((damage.object.as_str(), damage.part.as_deref()), ("a", Some("omap value \"k\"")));
        assert_eq!(Index::new(b"{\"oid\":\"a\"}\nrubbish\n").unwrap_err().offset, 12);
        assert!(Index::new(b"{\"oid\":\"a\"}\n{\"oid\":\"a\"}\n").is_err(), "twice");
    }
}
