//! Directory fragments: the header that says what is in one, and its dentries.

use super::inode::{DirStat, Inode, dirstat};
use super::{Damage, Reader};

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The inode is stored here.
    Primary(Box<Inode>),
    /// A hard link: the inode is stored with another name.
    Remote {
        /// The inode's number.
        ino: u64,
        /// Its type, as in `readdir`.
        d_type: u8,
    },
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dentry {
    /// The name.
    pub name: String,
    /// What it leads to.
    pub link: Link,
}

/// Splits the key of an omap value into the name and, for an entry of a snapshot, that snapshot's number.
fn split_key(key: &str) -> Option<(&str, Option<u64>)> {
    let (name, suffix) = key.rsplit_once('_')?;
    if name.is_empty() {
        return None;
    }
    match suffix {
        "head" => Some((name, None)),
        snap => Some((name, Some(u64::from_str_radix(snap, 16).ok()?))),
    }
}

/// Decodes the header of a fragment.
pub fn decode_header(object: &str, header: &[u8]) -> Result<DirStat, Damage> {
    let decode = || {
        let (_, mut r) = Reader::new(object, 0, header).envelope(4, "fragment header")?;
        r.u64("version")?;
        r.u64("snap_purged_thru")?;
        dirstat(&mut r)
    };
    decode().map_err(|damage: Damage| damage.in_part("omap header"))
}

/// Decodes one value of a fragment; `None` for an entry that lives in a snapshot only.
pub fn decode_dentry(object: &str, key: &str, value: &[u8]) -> Result<Option<Dentry>, Damage> {
    let decode = || {
        let mut reader = Reader::new(object, 0, value);
        let Some((name, snapshot)) = split_key(key) else {
            return Err(reader.damage("the key is neither `name_head` nor `name_<snapshot>`"));
        };
        if snapshot.is_some() {
            return Ok(None);
        }
        reader.u64("first snapshot")?;
        let here = reader.clone();
        let link = match reader.u8("tag")? {
            b'i' => {
                let (version, mut body) = reader.envelope(2, "primary dentry")?;
                if version >= 2 {
                    body.str("alternate name")?;
                }
                Link::Primary(Box::new(Inode::decode_store(&mut body)?))
            }
            b'I' => Link::Primary(Box::new(Inode::decode_bare(&mut reader)?)),
            b'l' => {
                let (_, mut body) = reader.envelope(2, "remote dentry")?;
                remote(&mut body)?
            }
            b'L' => remote(&mut reader)?,
            tag => return Err(here.damage(format!("tag {tag:#04x} is no kind of dentry"))),
        };
        Ok(Some(Dentry { name: name.to_owned(), link }))
    };
    decode().map_err(|damage: Damage| damage.in_part(format!("omap value {key:?}")))
}

fn remote(reader: &mut Reader<'_>) -> Result<Link, Damage> {
    Ok(Link::Remote { ino: reader.u64("ino")?, d_type: reader.u8("d_type")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_in_head_or_a_snapshot() {
        assert_eq!(split_key("a_b_head"), Some(("a_b", None)));
        assert_eq!(split_key("a_1f"), Some(("a", Some(0x1f))));
        assert_eq!(split_key("_head"), None);
        assert_eq!(split_key("a_tail"), None);
        assert_eq!(split_key("head"), None);
    }

    #[test]
    fn old_and_new_remote_links() {
        let mut old = vec![2, 0, 0, 0, 0, 0, 0, 0, b'L'];
        old.extend(7u64.to_le_bytes());
        old.push(8);
        let mut new = vec![2, 0, 0, 0, 0, 0, 0, 0, b'l', 2, 1, 13, 0, 0, 0];
        new.extend(7u64.to_le_bytes());
        new.extend([8, 0, 0, 0, 0]);
        for value in [&old, &new] {
            let dentry = decode_dentry("o", "x_head", value).unwrap().unwrap();
            assert_eq!(dentry, Dentry { name: "x".into(), link: Link::Remote { ino: 7, d_type: 8 } });
        }
        assert_eq!(decode_dentry("o", "x_2", &[]), Ok(None), "an entry of a snapshot");
        old[8] = b'?';
        let damage = decode_dentry("o", "x_head", &old).unwrap_err();
        assert_eq!(damage.to_string(), "object o, omap value \"x_head\", offset 0x8: tag 0x3f is no kind of dentry");
    }
}
