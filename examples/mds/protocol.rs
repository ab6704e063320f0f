//! What clients and the server say to each other: one JSON object a line each way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode::inode::Inode;
use crate::namespace::{Lack, Namespace, ROOT};
use crate::rank::Trouble;

/// The longest line that is read as a request.
pub const LONGEST_LINE: u64 = 64 << 10;

/// What a client wants.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// The attributes of a name in a directory.
    Lookup {
        /// The directory.
        parent: u64,
        /// The name.
        name: String,
    },
    /// The attributes of an inode.
    Getattr {
        /// The inode.
        ino: u64,
    },
    /// The attributes of every name in a directory.
    Readdir {
        /// The directory.
        ino: u64,
    },
    /// Where a symbolic link leads.
    Readlink {
        /// The inode.
        ino: u64,
    },
    /// A session, for a client that wants to be waited for when the server starts again.
    Session {
        /// The client's number.
        client: u64,
    },
    /// Write the table of sessions now: an operator's request.
    Flush,
    /// Forget what was read of the tree: an operator's request, when the pool has been changed by somebody else.
    Refresh,
}

/// A request with what comes back in its reply.
#[derive(Debug)]
pub struct Request {
    /// What the client wants, or what is wrong with its line.
    pub op: Result<Op, Refusal>,
    /// Comes back as it is.
    pub id: Option<Value>,
}

impl Request {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Request {
        let mut value: Value = match serde_json::from_slice(line) {
            Ok(value) => value,
            Err(error) => return Request { op: Err(Refusal::new("EINVAL", format!("no JSON: {error}"))), id: None },
        };
        let id = value.as_object_mut().and_then(|object| object.remove("id"));
        let op = Op::deserialize(value).map_err(|error| Refusal::new("EINVAL", format!("no request: {error}")));
        Request { op, id }
    }
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the error number, as `ENOENT`.
    pub error: &'static str,
    /// The same for people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(error: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { error, message: message.into() }
    }

    /// What a lack says to a client; a directory that has to be read first is read, and never refused.
    pub fn of(lack: Lack, namespace: &Namespace) -> Refusal {
        match lack {
            Lack::NoEntry | Lack::Dir(_) => Refusal::new("ENOENT", "no such file or directory"),
            Lack::NotDir => Refusal::new("ENOTDIR", "not a directory"),
            Lack::Dangling(ino) => {
                Refusal::new("EIO", format!("a name leads to inode {ino:#x}, which is in no directory"))
            }
            Lack::Damaged(ino) => {
                Refusal::new("EIO", namespace.damage(ino).map_or_else(String::new, |damage| damage.to_string()))
            }
        }
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Refusal {
        Refusal::new("EIO", trouble.to_string())
    }
}

/// The attributes of an inode under a name.
#[derive(Clone, Debug, Serialize)]
pub struct Attributes {
    /// The name; `/` for the root, and empty where an inode was asked for by its number.
    pub name: String,
    /// The inode's number.
    pub ino: u64,
    /// `dir`, `file`, `symlink` or `other`.
    pub r#type: &'static str,
    /// Type and permissions as an octal number.
    pub mode: String,
    /// Size in bytes.
    pub size: u64,
    /// Links.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The last change of the content, in seconds since 1970.
    pub mtime: f64,
}

impl Attributes {
    /// The attributes of an inode.
    pub fn new(name: &str, inode: &Inode) -> Attributes {
        Attributes {
            name: if inode.ino == ROOT { "/" } else { name }.to_owned(),
            ino: inode.ino,
            r#type: inode.kind().name(),
            mode: inode.octal_mode(),
            size: inode.size(),
            nlink: inode.nlink(),
            uid: inode.uid,
            gid: inode.gid,
            mtime: f64::from(inode.mtime.secs),
        }
    }
}

/// What a client gets.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// One inode's attributes.
    Attributes(Attributes),
    /// Those of a directory's entries.
    Entries(Vec<Attributes>),
    /// Where a symbolic link leads.
    Target(String),
    /// It is done.
    Done(bool),
}

/// The reply's line, with its newline.
pub fn reply(answer: Result<Answer, Refusal>, id: Option<Value>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line {
        #[serde(skip_serializing_if = "Option::is_none")]
        ok: Option<Answer>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    }
    let line = match answer {
        Ok(answer) => Line { ok: Some(answer), error: None, message: None, id },
        Err(Refusal { error, message }) => Line { ok: None, error: Some(error), message: Some(message), id },
    };
    // Strings, numbers and lists only: there is nothing in a reply that JSON could not say.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Result<Op, &'static str>, Option<Value>) {
        let request = Request::parse(line.as_bytes());
        (request.op.map_err(|refusal| refusal.error), request.id)
    }

    #[test]
    fn requests() {
        assert_eq!(
            parse(r#"{"op":"lookup","parent":1,"name":"a"}"#),
            (Ok(Op::Lookup { parent: 1, name: "a".into() }), None)
        );
        assert_eq!(parse(r#"{"id":"x","op":"getattr","ino":1}"#), (Ok(Op::Getattr { ino: 1 }), Some("x".into())));
        assert_eq!(parse(r#"{"op":"readdir","ino":1,"id":[7]}"#), (Ok(Op::Readdir { ino: 1 }), Some(vec![7].into())));
        assert_eq!(parse(r#"{"op":"readlink","ino":9}"#).0, Ok(Op::Readlink { ino: 9 }));
        assert_eq!(parse(r#"{"op":"flush"}"#).0, Ok(Op::Flush));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_id() {
        for line in
            ["", "{", "[]", "7", r#"{"op":"rm","ino":1}"#, r#"{"op":"getattr"}"#, r#"{"op":"getattr","ino":-1}"#]
        {
            assert_eq!(parse(line).0, Err("EINVAL"), "{line}");
        }
        assert_eq!(parse(r#"{"op":"rm","id":3}"#), (Err("EINVAL"), Some(3.into())));
    }

    #[test]
    fn replies() {
        let text = |answer, id| String::from_utf8(reply(answer, id)).unwrap();
        assert_eq!(text(Ok(Answer::Target("a/b".into())), Some(1.into())), "{\"ok\":\"a/b\",\"id\":1}\n");
        let refused = text(Err(Refusal::of(Lack::NoEntry, &Namespace::default())), None);
        assert_eq!(refused, "{\"error\":\"ENOENT\",\"message\":\"no such file or directory\"}\n");
    }
}
