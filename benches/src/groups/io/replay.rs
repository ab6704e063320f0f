//! Replaying a journal: 64 MiB of entries of 4 KiB to 4 MiB, each with its length and a checksum, read in order and checked.
//!
//! Cold: what is in the page cache is dropped before each replay. Ours reads ahead, in parts of a fixed size that are waited for in order; the
//! peer is a loop of `pread`, by entries or by parts of the same size, which leaves reading ahead to the kernel.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use unwedge::io::Ordered;

use super::ours::Ours;
use super::scene;
use crate::groups::UNSTOPPED;
use crate::measure::{Measured, Stopwatch};

/// All entries together.
const LENGTH: usize = 64 << 20;
/// An entry's length and checksum.
const HEAD: usize = 16;
/// What is read at a time, by ours and by the peer that reads parts: the size that is best for both (from the page cache 64 KiB take 10 to 20 % longer,
/// 512 KiB 2 to 5 %).
const PART: usize = 1 << 20;
/// How many parts are read ahead.
const AHEAD: usize = 3;

/// The lengths of the entries with their heads: from 4 KiB to 4 MiB, each doubling as likely as the others, the same in every run.
fn lengths() -> impl Iterator<Item = usize> {
    let (mut left, mut random) = (LENGTH, 0x9e37_79b9_7f4a_7c15_u64);
    std::iter::from_fn(move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let size = (4096 << (random % 10)) + (random >> 32) as usize % 4096;
        // A multiple of 8. What would be too little for one more entry belongs to the last.
        let size = if left - size.min(left) < 8192 { left } else { size & !7 };
        left -= size;
        (size > 0).then_some(size)
    })
}

/// A checksum of whole words, or its beginning carried on.
fn sum(begun: u64, bytes: &[u8]) -> u64 {
    words(bytes).fold(begun, |sum, word| sum.rotate_left(5) ^ word)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes))
}

pub(super) fn write_journal(path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (index, length) in lengths().enumerate() {
        let body: Vec<u8> = (0..length - HEAD).map(|at| (at ^ (at >> 8) ^ index) as u8).collect();
        file.write_all(&(length as u64).to_le_bytes())?;
        file.write_all(&sum(0, &body).to_le_bytes())?;
        file.write_all(&body)?;
    }
    file.into_inner()?.sync_all()
}

/// Takes the journal in parts of any size that is a multiple of 8, and checks each entry.
#[derive(Default)]
struct Replay {
    head: Vec<u8>,
    /// Of the entry that is being read: what is to come, what its checksum must be, what it is so far.
    left: usize,
    wanted: u64,
    sum: u64,
    bytes: usize,
    entries: usize,
}

impl Replay {
    /// Never inlined, so that all sides run the same instructions: where these lie is worth up to 10 % of a warm replay.
    #[inline(never)]
    fn feed(&mut self, mut part: &[u8]) {
        self.bytes += part.len();
        while !part.is_empty() {
            if self.left == 0 {
                let (head, rest) = part.split_at((HEAD - self.head.len()).min(part.len()));
                self.head.extend_from_slice(head);
                part = rest;
                if self.head.len() == HEAD {
                    let mut head = words(&self.head);
                    self.left = head.next().map_or(0, |length| length as usize - HEAD);
                    self.wanted = head.next().unwrap_or(0);
                    drop(head);
                    (self.sum, self.head) = (0, Vec::new());
                }
                continue;
            }
            let (body, rest) = part.split_at(self.left.min(part.len()));
            self.sum = sum(self.sum, body);
            self.left -= body.len();
            part = rest;
            if self.left == 0 {
                assert_eq!(self.sum, self.wanted, "an entry is not what was written");
                self.entries += 1;
            }
        }
    }

    fn end(self) {
        assert_eq!((self.bytes, self.left, self.entries), (LENGTH, 0, lengths().count()), "not all was replayed");
    }
}

/// `n` replays, each measured for itself: what is done to the page cache before is not part of it.
fn replays<const COLD: bool>(n: u64, mut replay: impl FnMut(&mut Replay)) -> Measured {
    let file = File::open(scene::path("journal")).expect("the file was made");
    let mut measured = Measured::nothing();
    for _ in 0..n {
        if COLD {
            // SAFETY: a plain system call on an open descriptor.
            let dropped = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            assert_eq!(dropped, 0, "the page cache can be dropped");
        } else {
            io::copy(&mut &file, &mut io::sink()).expect("a read failed");
            io::Seek::rewind(&mut &file).expect("a seek failed");
        }
        let watch = Stopwatch::start();
        let mut state = Replay::default();
        replay(&mut state);
        measured += watch.stop(1);
        state.end();
    }
    measured
}

/// Ours, with `AHEAD` parts under way.
#[must_use]
pub fn ours<const POOL: bool, const COLD: bool>(n: u64) -> Measured {
    let ours = Ours::new(POOL, 256);
    let file = File::open(scene::path("journal")).expect("the file was made");
    let file = ours.io.attach(file, "journal").expect("an open file");
    let parts: RefCell<Vec<Vec<u8>>> = RefCell::new((0..AHEAD).map(|_| vec![0; PART]).collect());
    replays::<COLD>(n, |replay| {
        let reads = (0..LENGTH as u64).step_by(PART).map(|at| {
            let part = parts.borrow_mut().pop().expect("no more are under way than there are");
            ours.io.read_at(&file, part, at)
        });
        for mut read in Ordered::new(reads, AHEAD) {
            let part = read.wait().expect(UNSTOPPED).expect("a read failed");
            replay.feed(&part);
            parts.borrow_mut().push(part);
        }
    })
}

/// A `pread` for each head and each body.
#[must_use]
pub fn by_entries<const COLD: bool>(n: u64) -> Measured {
    let file = File::open(scene::path("journal")).expect("the file was made");
    let mut body = vec![0; 8 << 20];
    replays::<COLD>(n, |replay| {
        let mut at = 0;
        while at < LENGTH as u64 {
            let mut head = [0; HEAD];
            file.read_exact_at(&mut head, at).expect("a read failed");
            replay.feed(&head);
            let body = &mut body[..replay.left];
            file.read_exact_at(body, at + HEAD as u64).expect("a read failed");
            replay.feed(body);
            at += (HEAD + body.len()) as u64;
        }
    })
}

/// A `pread` for each part.
#[must_use]
pub fn by_parts<const COLD: bool>(n: u64) -> Measured {
    let file = File::open(scene::path("journal")).expect("the file was made");
    let mut part = vec![0; PART];
    replays::<COLD>(n, |replay| {
        for at in (0..LENGTH as u64).step_by(PART) {
            file.read_exact_at(&mut part, at).expect("a read failed");
            replay.feed(&part);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_of_all_sizes_and_fill_the_journal() {
        let all: Vec<usize> = lengths().collect();
        assert_eq!(all.iter().sum::<usize>(), LENGTH);
        assert!(all.iter().all(|length| length % 8 == 0 && (4096..=(4 << 20)).contains(length)), "{all:?}");
        assert!(all.len() > 20);
    }

    #[test]
    fn a_replay_takes_an_entry_in_any_parts_and_sees_a_wrong_one() {
        let body: Vec<u8> = (0..64).collect();
        let mut entry = (80_u64).to_le_bytes().to_vec();
        entry.extend(sum(0, &body).to_le_bytes());
        entry.extend(&body);
        for parts in [8, 16, 24, 80] {
            let mut replay = Replay::default();
            entry.chunks(parts).for_each(|part| replay.feed(part));
            assert_eq!((replay.entries, replay.left, replay.bytes), (1, 0, 80));
        }
        entry[40] ^= 1;
        std::panic::catch_unwind(|| Replay::default().feed(&entry)).expect_err("a wrong byte is seen");
    }
}
