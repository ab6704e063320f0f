//! A file of pages that begin with their number; removed in the end.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub struct Pages(pub PathBuf);

impl Pages {
    /// So many pages of this size. The name is for this test alone, and made unique for the process.
    pub fn new(name: &str, pages: usize, size: usize) -> Pages {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let mut content = vec![0x5a; pages * size];
        content.chunks_exact_mut(size).zip(0_u64..).for_each(|(page, n)| page[..8].copy_from_slice(&n.to_le_bytes()));
        fs::write(&path, content).expect("a file");
        Pages(path)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
