//! A short text that is written by one and read by anyone at any time, without a lock and without pointers.

use std::fmt::{self, Write as _};

use crate::sys::{PlainU64, Relaxed};

/// At most 8 × `WORDS` bytes, cut at a character; ended by a NUL where it is shorter.
///
/// A reader that comes while it is written may see a mixture; it is told apart by the generation of the slot around it, or is a name in
/// a report for a human.
pub(crate) struct Text<const WORDS: usize>([PlainU64; WORDS]);

/// How many bytes of a text there is room for, cut at a character.
fn fitting(text: &str, room: usize) -> usize {
    let mut end = text.len().min(room);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// Less than eight bytes as a word. Put together in registers, of the few loads that cover them: bytes that were just written one by one would be slow to read
/// back as a word.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    let end = bytes.len();
    let word = match *bytes {
        [] => 0,
        [a, b, c, d, ..] => {
            let last = [bytes[end - 4], bytes[end - 3], bytes[end - 2], bytes[end - 1]];
            u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(u32::from_le_bytes(last)) << ((end - 4) * 8)
        }
        [first, ..] => {
            u64::from(first) | u64::from(bytes[end / 2]) << (end / 2 * 8) | u64::from(bytes[end - 1]) << ((end - 1) * 8)
        }
    };
    word.to_le()
}

impl<const WORDS: usize> Text<WORDS> {
    pub(crate) const fn new() -> Self {
        Text([const { PlainU64::new(0) }; WORDS])
    }

    #[inline]
    pub(crate) fn set(&self, text: &str) {
        match self.0.first() {
            // As most operations' names are.
            Some(first) if text.len() < 8 => first.store(word_of(text.as_bytes()), Relaxed),
            _ => self.set_long(text),
        }
    }

    /// Makes it a name. What has none, or one that begins with a NUL, is called so: in a report an empty name would say that nobody knows it.
    #[inline]
    pub(crate) fn set_name(&self, name: &str) {
        self.set(if name.is_empty() || name.starts_with('\0') { "unnamed" } else { name });
    }

    fn set_long(&self, text: &str) {
        let full = text.as_bytes()[..fitting(text, WORDS * 8)].chunks_exact(8);
        if let Some(word) = self.0.get(full.len()) {
            word.store(word_of(full.remainder()), Relaxed);
        }
        for (word, bytes) in self.0.iter().zip(full) {
            word.store(bytes.try_into().map_or(0, u64::from_ne_bytes), Relaxed);
        }
    }

    /// Makes it say what another one says.
    pub(crate) fn copy_from(&self, other: &Self) {
        for (word, from) in self.0.iter().zip(&other.0) {
            word.store(from.load(Relaxed), Relaxed);
        }
    }

    /// Makes it say nothing.
    #[inline]
    pub(crate) fn clear(&self) {
        if let Some(first) = self.0.first() {
            first.store(0, Relaxed);
        }
    }

    pub(crate) fn get(&self) -> String {
        self.copy().to_string()
    }

    /// What it says now; allocates nothing.
    pub(crate) fn copy(&self) -> Copied<WORDS> {
        let mut words = [0; WORDS];
        for (copy, word) in words.iter_mut().zip(&self.0) {
            let word = u64::from_le(word.load(Relaxed));
            // Not zero where a byte is, and its lowest bit is the first one's.
            let nul = word.wrapping_sub(u64::from_ne_bytes([1; 8])) & !word & u64::from_ne_bytes([0x80; 8]);
            if nul == 0 {
                *copy = word.to_le();
                continue;
            }
            // What is behind the NUL is an earlier text's.
            *copy = (word & ((nul & nul.wrapping_neg()) >> 7).wrapping_sub(1)).to_le();
            break;
        }
        Copied(words)
    }
}

/// What a [`Text`] said at a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Copied<WORDS> {
    pub(crate) const EMPTY: Self = Copied([0; WORDS]);

    /// Whether it is what a [`Text`] says that was set to this.
    #[cfg(test)]
    pub(crate) fn is(&self, text: &str) -> bool {
        let bytes = self.bytes();
        let bytes = bytes.as_flattened();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let fits = fitting(text, WORDS * 8);
        text.as_bytes()[..fits] == bytes[..end]
    }

    /// The same order as that of the texts.
    pub(crate) fn bytes(&self) -> [[u8; 8]; WORDS] {
        self.0.map(u64::to_ne_bytes)
    }

    /// A number that is the same for the same text, and mostly another one for another.
    pub(crate) fn mixed(&self) -> u64 {
        self.0.iter().fold(0, |sum, word| (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.first().is_none_or(|word| word.to_ne_bytes()[0] == 0)
    }
}

impl<const WORDS: usize> fmt::Debug for Copied<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What is no UTF-8 (a mixture, see [`Text`]) shows as the replacement character.
impl<const WORDS: usize> fmt::Display for Copied<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        let bytes = bytes.as_flattened();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        for chunk in bytes[..end].utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn keeps_what_fits_and_cuts_at_a_character() {
        let text = Text::<2>::new();
        assert_eq!(text.get(), "");
        text.set("mds_lock");
        assert_eq!(text.get(), "mds_lock");
        text.set("fifteen bytes ü");
        assert_eq!(text.get(), "fifteen bytes ü");
        text.set("sixteen bytes.. and more");
        assert_eq!(text.get(), "sixteen bytes.. ");
        text.set("sixteen bytes.ü€");
        assert_eq!(text.get(), "sixteen bytes.ü");
        text.set("a");
        assert_eq!(text.get(), "a");
        let other = Text::<2>::new();
        other.set("a");
        assert_eq!(text.copy(), other.copy(), "what is behind the end says nothing");
        for name in ["", "a", "fifteen bytes ü", "sixteen bytes.. and more", "sixteen bytes.ü€"] {
            text.set(name);
            assert!(text.copy().is(name) && !text.copy().is("b"));
        }
    }
}
