//! Ceph's encodings, as far as a read-only metadata server needs them: bytes in, values or a [`Damage`] out.
//!
//! Nothing here reads a file, waits, or knows a lock. So these files are used by the daemon, by `mds dump`, by the tests and by the
//! loom models alike, and depend on the standard library alone.
//!
//! Invariants, each kept by [`Reader`]:
//! - **Bounded**: no read goes past the bytes that were given, and nothing is allocated by a count that those bytes cannot hold.
//! - **Total**: every input gives a value or a `Damage`; no input panics.
//! - **Named**: a `Damage` says which object, and at which offset in it, so that an operator can look there.

pub mod dir;
pub mod inode;
pub mod journal;
pub mod reader;
pub mod tables;

pub use reader::{Reader, Time};

use std::fmt;

/// Why an object cannot be used: which one, where in it, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The object's name, as `200.00000001`.
    pub object: String,
    /// The part of the object that is not its data: a key of its omap, or its omap header.
    pub part: Option<String>,
    /// Byte offset in the object, or in its part.
    pub offset: u64,
    /// What is wrong, as a sentence without its full stop.
    pub what: String,
}

impl Damage {
    /// Damage in an object's data.
    pub fn new(object: impl Into<String>, offset: u64, what: impl Into<String>) -> Damage {
        Damage { object: object.into(), part: None, offset, what: what.into() }
    }

    /// The same damage, said to be in a part of the object.
    #[must_use]
    pub fn in_part(mut self, part: impl Into<String>) -> Damage {
        self.part = Some(part.into());
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.object)?;
        if let Some(part) = &self.part {
            write!(f, ", {part}")?;
        }
        write!(f, ", offset {:#x}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Damage {}

/// The damage that a missing object is.
pub fn missing(oid: &str) -> Damage {
    Damage::new(oid, 0, "the object is not there")
}

/// What an object holds besides its data: a header, and values by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omap {
    /// The header.
    pub header: Vec<u8>,
    /// Keys and values, in the keys' order.
    pub entries: Vec<(String, Vec<u8>)>,
}

/// The name of an object of a striped file or of a directory: `<ino>.<number>`, both in hexadecimal.
pub fn object_name(ino: u64, number: u64) -> String {
    format!("{ino:x}.{number:08x}")
}
