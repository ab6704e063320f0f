//! Storage that does not answer beside storage that does: who waits for the one keeps nobody from the other.

use std::{io::Write, os::unix::net::UnixStream};

use unwedge::{
    Stop,
    io::{Backend, Io, OpenOptions},
};

use super::help::{Dir, end, get};

/// More than the depth of the ring in [`a_dead_file_leaves_room_for_others`], and than what one device may have of the pool's threads.
const READS: usize = 100;

/// As many reads as there are permits and more hang on a socket: files elsewhere are opened, written, read and looked at all the same.
pub fn a_dead_file_leaves_room_for_others(backend: Backend) {
    let (stop, dir) = (Stop::new("test"), Dir::new());
    let io = Io::builder(&stop).backend(backend).depth(8).threads(2).build().expect("a backend");
    let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
    let dead = io.attach(reader, "dead").expect("an open file");
    let hung: Vec<_> = (0..READS).map(|_| io.read_at(&dead, vec![0; 1], 0)).collect();

    let path = dir.0.join("object");
    let new = OpenOptions::new().read(true).write(true).create(true);
    for round in 0..3 {
        let file = get(io.open(&path, new)).expect("opened");
        get(io.write_at(&file, b"alive".to_vec(), round)).expect("written");
        get(io.fsync(&file)).expect("synced");
        assert_eq!(get(io.read_at(&file, vec![0; 9], round)).expect("read"), b"alive");
        assert_eq!(get(io.stat(&path)).expect("there").len(), 5 + round);
    }
    assert!(hung.iter().all(|read| !read.is_complete()), "nothing was sent");

    // In the order in which they were begun or not, each gets a byte.
    writer.write_all(&[7; READS]).expect("sent");
    for read in hung {
        assert_eq!(get(read).expect("read"), [7]);
    }
    drop(dead);
    end(&stop);
}
