//! On what was measured: kernel, file system and device, in words.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

/// For example `Linux 6.18.44, ext4 on /dev/vda (virtio_blk)`; a part that cannot be found out is left out.
#[must_use]
pub fn describe(dir: &Path) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!("Linux {}", release.trim());
    let Ok(device) = fs::metadata(dir).map(|data| data.dev()) else { return text };
    let number = format!("{}:{}", major(device), minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some((kind, source)) = mount(&mounts, &number) {
        text += &format!(", {kind} on {source}");
    }
    // A partition's driver is that of the disk it is on.
    let class = Path::new("/sys/dev/block").join(&number);
    let model = ["device/model", "../device/model"].iter().find_map(|file| fs::read_to_string(class.join(file)).ok());
    let driver = ["device/driver", "../device/driver"].iter().find_map(|file| fs::read_link(class.join(file)).ok());
    let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
    if let Some(name) = model.map(|model| model.trim().to_owned()).or(driver) {
        text += &format!(" ({name})");
    }
    text
}

/// The type and source of the mount of a device, from `/proc/self/mountinfo`.
fn mount(mounts: &str, device: &str) -> Option<(String, String)> {
    mounts.lines().find_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        (place.split(' ').nth(2)? == device).then_some(())?;
        let mut what = what.split(' ');
        Some((what.next()?.to_owned(), what.next()?.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device() {
        let mounts = "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";
        assert_eq!(mount(mounts, "254:0"), Some(("ext4".to_owned(), "/dev/vda".to_owned())));
        assert_eq!(mount(mounts, "8:1"), None);
    }
}
