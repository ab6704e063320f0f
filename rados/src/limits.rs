//! Below librados's own limits: it blocks who submits beyond them, and nothing ends that.

use std::ffi::{CStr, c_char};

use crate::{
    cluster::{Handle, check},
    ffi,
    gate::Limits,
};

/// What a cluster that is connected may be given, at most what is wanted. An administrator may have set librados's limits, in the file or for all clients in the
/// monitors' database.
pub(crate) fn below(wanted: Limits, handle: &Handle) -> Limits {
    let cap = |wanted: usize, option, spared| lower(wanted, number(handle, option), spared);
    Limits {
        // Librados sends some by itself: what keeps watches alive.
        operations: cap(wanted.operations, c"objecter_inflight_ops", 48),
        // It counts names and headers too.
        bytes: cap(wanted.bytes, c"objecter_inflight_op_bytes", 25),
    }
}

/// So far below a limit that one part of so many is spared. Zero is no limit.
fn lower(wanted: usize, limit: Option<u64>, spared: u64) -> usize {
    let limit = limit.filter(|limit| *limit > 0).map_or(u64::MAX, |limit| (limit - limit.div_ceil(spared)).max(1));
    wanted.min(usize::try_from(limit).unwrap_or(usize::MAX))
}

fn number(handle: &Handle, option: &CStr) -> Option<u64> {
    let mut text = [0_u8; 32];
    let into = text.as_mut_ptr().cast::<c_char>();
    // SAFETY: **A live handle**: it is borrowed. There is room for so many bytes, and both outlive the call.
    check(unsafe { ffi::rados_conf_get(handle.0, option.as_ptr(), into, text.len()) }).ok()?;
    CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_reached() {
        assert_eq!(lower(1000, Some(1024), 48), 1000);
        assert_eq!([1, 2, 8, 100].map(|limit| lower(1000, Some(limit), 48)), [1, 1, 7, 97]);
        assert_eq!(lower(96 << 20, Some(100 << 20), 25), 96 << 20);
        assert_eq!([Some(0), None].map(|limit| lower(1000, limit, 48)), [1000; 2]);
    }
}
