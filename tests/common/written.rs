//! What `report_fd` writes.

use std::io::{Read as _, Seek as _};

use unwedge::report::report_fd;

/// What is written to a file descriptor: of the whole process.
pub(crate) fn written() -> String {
    let mut file = tempfile::tempfile().expect("a file");
    report_fd(&file).expect("written");
    file.rewind().expect("a file");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("UTF-8");
    text
}
