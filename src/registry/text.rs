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
        let bytes = &text.as_bytes()[..end];
        for (at, word) in self.0.iter().enumerate() {
            let mut eight = [0; 8];
            let from = (at * 8).min(end);
            let part = &bytes[from..(from + 8).min(end)];
            eight[..part.len()].copy_from_slice(part);
            word.store(u64::from_ne_bytes(eight), Relaxed);
            if part.len() < 8 {
                break;
            }
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
