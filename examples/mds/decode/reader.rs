//! A bounded little-endian reader over the bytes of one object.
//!
//! A versioned structure (an *envelope*: version, oldest version that can read it, length) is read through a reader of its own that ends
//! where the envelope ends. What a newer version has added at its end is so skipped without being understood, and a structure that is
//! shorter than its fields need is damage, never a read into its neighbour.

use super::Damage;

/// A point in time as Ceph stores it: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub secs: u32,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// Reads values from the front of a byte slice and knows where in the object it is.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    object: &'a str,
    /// Offset in the object of `bytes[0]`.
    base: u64,
    bytes: &'a [u8],
    /// How much of `bytes` has been read; never more than its length.
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`, which stand at `base` in `object`.
    pub fn new(object: &'a str, base: u64, bytes: &'a [u8]) -> Reader<'a> {
        Reader { object, base, bytes, at: 0 }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Damage at the place that is read next.
    pub fn damage(&self, what: impl Into<String>) -> Damage {
        Damage::new(self.object, self.base.saturating_add(self.at as u64), what)
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize, what: &str) -> Result<&'a [u8], Damage> {
        let rest = &self.bytes[self.at..];
        match rest.get(..n) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(self.damage(format!("{what} needs {n} bytes, {} are left", rest.len()))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Damage> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N, what)?);
        Ok(array)
    }

    /// A byte.
    pub fn u8(&mut self, what: &str) -> Result<u8, Damage> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    /// An unsigned 32-bit number.
    pub fn u32(&mut self, what: &str) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A signed 32-bit number.
    pub fn i32(&mut self, what: &str) -> Result<i32, Damage> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    /// An unsigned 64-bit number.
    pub fn u64(&mut self, what: &str) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A signed 64-bit number.
    pub fn i64(&mut self, what: &str) -> Result<i64, Damage> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    /// A time stamp.
    pub fn time(&mut self, what: &str) -> Result<Time, Damage> {
        let here = self.clone();
        let time = Time { secs: self.u32(what)?, nanos: self.u32(what)? };
        if time.nanos >= 1_000_000_000 {
            return Err(here.damage(format!("{what} has {} nanoseconds", time.nanos)));
        }
        Ok(time)
    }

    /// A string: its length, then its bytes, which need not be UTF-8.
    pub fn str(&mut self, what: &str) -> Result<&'a [u8], Damage> {
        let n = self.u32(what)? as usize;
        self.bytes(n, what)
    }

    /// The count of a list whose elements take at least `min` bytes each: a count that the rest cannot hold is damage.
    pub fn count(&mut self, min: usize, what: &str) -> Result<usize, Damage> {
        let here = self.clone();
        let n = self.u32(what)? as usize;
        if n > self.left() / min.max(1) {
            return Err(here.damage(format!("{what} has {n} elements in {} bytes", self.left())));
        }
        Ok(n)
    }

    /// An envelope that was written so that version `known` can read it: its version, and a reader of what is in it.
    pub fn envelope(&mut self, known: u8, what: &str) -> Result<(u8, Reader<'a>), Damage> {
        let here = self.clone();
        let (version, compat) = (self.u8(what)?, self.u8(what)?);
        if compat > known || compat > version {
            return Err(here.damage(format!(
                "{what} has version {version} and asks for a reader of {compat}, this one knows {known}"
            )));
        }
        let len = self.u32(what)? as usize;
        let base = self.base.saturating_add(self.at as u64);
        Ok((version, Reader { object: self.object, base, bytes: self.bytes(len, what)?, at: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_ends_the_reader_and_skips_what_is_newer() {
        let bytes = [9, 2, 6, 0, 0, 0, 1, 0, 0, 0, 7, 7, 42];
        let mut outer = Reader::new("o", 100, &bytes);
        let (version, mut inner) = outer.envelope(2, "thing").unwrap();
        assert_eq!((version, inner.u32("field").unwrap()), (9, 1));
        let damage = inner.u32("second").unwrap_err();
        assert_eq!((damage.object.as_str(), damage.offset), ("o", 110));
        assert_eq!(outer.u8("next").unwrap(), 42);
    }

    #[test]
    fn an_envelope_for_a_newer_reader_is_damage() {
        let damage = Reader::new("o", 0, &[9, 3, 0, 0, 0, 0]).envelope(2, "thing").unwrap_err();
        assert!(damage.to_string().starts_with("object o, offset 0x0: thing has version 9"), "{damage}");
    }

    #[test]
    fn counts_and_lengths_that_the_bytes_cannot_hold_are_damage() {
        let huge = [0xff; 4];
        assert!(Reader::new("o", 0, &huge).count(1, "list").is_err());
        assert!(Reader::new("o", 0, &huge).str("name").is_err());
        assert!(Reader::new("o", u64::MAX, &huge).u64("field").is_err());
        assert_eq!(Reader::new("o", 0, &[2, 0, 0, 0, 1, 1]).count(1, "list"), Ok(2));
    }

    #[test]
    fn a_time_has_less_than_a_second_of_nanoseconds() {
        assert!(Reader::new("o", 0, &[0, 0, 0, 0, 0, 0xca, 0x9a, 0x3b]).time("stamp").is_err());
    }
}
