//! A short text that is written by one and read by anyone at any time, without a lock and without pointers.

use crate::sys::{PlainU64, Relaxed};

/// At most 8 × `WORDS` bytes, cut at a character; ended by a NUL where it is shorter.
///
/// A reader that comes while it is written may see a mixture; it is told apart by the generation of the slot around it, or is a name in
/// a report for a human.
pub(crate) struct Text<const WORDS: usize>([PlainU64; WORDS]);

impl<const WORDS: usize> Text<WORDS> {
    pub(crate) const fn new() -> Self {
        Text([const { PlainU64::new(0) }; WORDS])
    }

    pub(crate) fn set(&self, text: &str) {
        let mut end = text.len().min(WORDS * 8);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // Put together in a register: bytes that were just written one by one would be slow to read back as a word.
        let eight = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)).to_le();
        let full = text.as_bytes()[..end].chunks_exact(8);
        if let Some(word) = self.0.get(end / 8) {
            word.store(eight(full.remainder()), Relaxed);
        }
        for (word, bytes) in self.0.iter().zip(full) {
            word.store(eight(bytes), Relaxed);
        }
    }

    pub(crate) fn get(&self) -> String {
        let mut bytes = Vec::with_capacity(WORDS * 8);
        for word in &self.0 {
            bytes.extend(word.load(Relaxed).to_ne_bytes());
        }
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
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
    }
}
