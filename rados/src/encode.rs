//! Ceph's encodings, as far as the class `lock` and a notification's reply need them: little-endian, strings with their length, and structures in an
//! envelope of version, oldest compatible version and length.

use std::time::Duration;

use crate::error::Cause;

/// Writes.
#[derive(Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn u8(mut self, value: u8) -> Encoder {
        self.0.push(value);
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Encoder {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn str(mut self, text: &str) -> Encoder {
        // More than 4 GiB is no name; a cut one would be refused.
        self.0.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    pub(crate) fn duration(mut self, duration: Duration) -> Encoder {
        self.0.extend(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend(duration.subsec_nanos().to_le_bytes());
        self
    }

    /// What was written, in an envelope of version 1.
    pub(crate) fn envelope(self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        [&[1, 1], len.to_le_bytes().as_slice(), &self.0].concat()
    }
}

/// Reads; what is not there is [`Cause::Garbled`].
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Cause> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Cause::Garbled)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Cause> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Cause::Garbled)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Cause> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Cause> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Cause> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn blob(&mut self) -> Result<&'a [u8], Cause> {
        let len = self.u32()? as usize;
        self.bytes(len)
    }

    pub(crate) fn string(&mut self) -> Result<String, Cause> {
        self.blob().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// What is in the envelope that comes next.
    pub(crate) fn envelope(&mut self) -> Result<Decoder<'a>, Cause> {
        let [_version, _compatible] = self.array()?;
        self.blob().map(Decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Encoder::default().u8(7).u64(9).str("name").duration(Duration::from_millis(1500)).envelope();
        let mut outer = Decoder(&bytes);
        let mut inner = outer.envelope().unwrap();
        assert_eq!((inner.u8(), inner.u64(), inner.string()), (Ok(7), Ok(9), Ok("name".to_owned())));
        assert_eq!((inner.u32(), inner.u32()), (Ok(1), Ok(500_000_000)));
        assert_eq!(inner.u8(), Err(Cause::Garbled));
        assert!(outer.0.is_empty());
        for cut in 0..bytes.len() {
            assert!(Decoder(&bytes[..cut]).envelope().is_err(), "{cut}");
        }
    }
}
