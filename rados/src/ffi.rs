//! librados's C interface, as far as this crate uses it (16.2 and later), and the shim's. Signatures as in `rados/librados.h`.

use std::ffi::{c_char, c_int, c_uchar, c_void};

pub(crate) type Rados = *mut c_void;
pub(crate) type IoCtx = *mut c_void;
pub(crate) type Aio = *mut c_void;
pub(crate) type WriteOp = *mut c_void;
pub(crate) type ReadOp = *mut c_void;
pub(crate) type OmapIter = *mut c_void;
pub(crate) type ListCtx = *mut c_void;

pub(crate) type Callback = unsafe extern "C" fn(Aio, *mut c_void);
pub(crate) type WatchCallback = unsafe extern "C" fn(*mut c_void, u64, u64, u64, *mut c_void, usize);
pub(crate) type WatchErrorCallback = unsafe extern "C" fn(*mut c_void, u64, c_int);

#[cfg_attr(not(librados_missing), link(name = "rados"))]
unsafe extern "C" {
    pub(crate) fn rados_create(cluster: *mut Rados, id: *const c_char) -> c_int;
    pub(crate) fn rados_conf_read_file(cluster: Rados, path: *const c_char) -> c_int;
    pub(crate) fn rados_conf_set(cluster: Rados, option: *const c_char, value: *const c_char) -> c_int;
    pub(crate) fn rados_conf_get(cluster: Rados, option: *const c_char, buf: *mut c_char, len: usize) -> c_int;
    pub(crate) fn rados_connect(cluster: Rados) -> c_int;
    pub(crate) fn rados_shutdown(cluster: Rados);
    pub(crate) fn rados_get_instance_id(cluster: Rados) -> u64;
    pub(crate) fn rados_getaddrs(cluster: Rados, addrs: *mut *mut c_char) -> c_int;
    pub(crate) fn rados_blocklist_add(cluster: Rados, address: *mut c_char, expire_seconds: u32) -> c_int;
    pub(crate) fn rados_watch_flush(cluster: Rados) -> c_int;
    pub(crate) fn rados_buffer_free(buffer: *mut c_char);

    pub(crate) fn rados_ioctx_create(cluster: Rados, pool: *const c_char, io: *mut IoCtx) -> c_int;
    pub(crate) fn rados_ioctx_destroy(io: IoCtx);

    pub(crate) fn rados_aio_create_completion2(argument: *mut c_void, callback: Callback, aio: *mut Aio) -> c_int;
    pub(crate) fn rados_aio_release(aio: Aio);
    pub(crate) fn rados_aio_get_return_value(aio: Aio) -> c_int;
    pub(crate) fn rados_aio_cancel(io: IoCtx, aio: Aio) -> c_int;

    pub(crate) fn rados_aio_read(
        io: IoCtx,
        oid: *const c_char,
        aio: Aio,
        buf: *mut c_char,
        len: usize,
        off: u64,
    ) -> c_int;
    pub(crate) fn rados_aio_stat(io: IoCtx, oid: *const c_char, aio: Aio, size: *mut u64, mtime: *mut i64) -> c_int;
    pub(crate) fn rados_aio_notify(
        io: IoCtx,
        oid: *const c_char,
        aio: Aio,
        buf: *const c_char,
        len: c_int,
        timeout_ms: u64,
        reply: *mut *mut c_char,
        reply_len: *mut usize,
    ) -> c_int;
    pub(crate) fn rados_aio_watch2(
        io: IoCtx,
        oid: *const c_char,
        aio: Aio,
        cookie: *mut u64,
        callback: WatchCallback,
        error: WatchErrorCallback,
        timeout: u32,
        argument: *mut c_void,
    ) -> c_int;
    pub(crate) fn rados_aio_unwatch(io: IoCtx, cookie: u64, aio: Aio) -> c_int;
    pub(crate) fn rados_notify_ack(
        io: IoCtx,
        oid: *const c_char,
        notify: u64,
        cookie: u64,
        buf: *const c_char,
        len: c_int,
    ) -> c_int;

    pub(crate) fn rados_create_read_op() -> ReadOp;
    pub(crate) fn rados_release_read_op(op: ReadOp);
    pub(crate) fn rados_read_op_assert_exists(op: ReadOp);
    pub(crate) fn rados_read_op_stat(op: ReadOp, size: *mut u64, mtime: *mut i64, result: *mut c_int);
    pub(crate) fn rados_read_op_read(
        op: ReadOp,
        offset: u64,
        len: usize,
        buffer: *mut c_char,
        read: *mut usize,
        result: *mut c_int,
    );
    pub(crate) fn rados_read_op_omap_get_vals2(
        op: ReadOp,
        after: *const c_char,
        prefix: *const c_char,
        most: u64,
        iter: *mut OmapIter,
        more: *mut c_uchar,
        result: *mut c_int,
    );
    pub(crate) fn rados_read_op_omap_get_keys2(
        op: ReadOp,
        after: *const c_char,
        most: u64,
        iter: *mut OmapIter,
        more: *mut c_uchar,
        result: *mut c_int,
    );
    pub(crate) fn rados_read_op_exec(
        op: ReadOp,
        class: *const c_char,
        method: *const c_char,
        input: *const c_char,
        len: usize,
        output: *mut *mut c_char,
        output_len: *mut usize,
        result: *mut c_int,
    );
    pub(crate) fn rados_aio_read_op_operate(op: ReadOp, io: IoCtx, aio: Aio, oid: *const c_char, flags: c_int)
    -> c_int;
    pub(crate) fn rados_omap_get_next2(
        iter: OmapIter,
        key: *mut *mut c_char,
        value: *mut *mut c_char,
        key_len: *mut usize,
        value_len: *mut usize,
    ) -> c_int;
    pub(crate) fn rados_omap_get_end(iter: OmapIter);

    pub(crate) fn rados_create_write_op() -> WriteOp;
    pub(crate) fn rados_release_write_op(op: WriteOp);
    pub(crate) fn rados_write_op_assert_exists(op: WriteOp);
    pub(crate) fn rados_write_op_create(op: WriteOp, exclusive: c_int, category: *const c_char);
    pub(crate) fn rados_write_op_write(op: WriteOp, buf: *const c_char, len: usize, offset: u64);
    pub(crate) fn rados_write_op_write_full(op: WriteOp, buf: *const c_char, len: usize);
    pub(crate) fn rados_write_op_append(op: WriteOp, buf: *const c_char, len: usize);
    pub(crate) fn rados_write_op_truncate(op: WriteOp, size: u64);
    pub(crate) fn rados_write_op_remove(op: WriteOp);
    pub(crate) fn rados_write_op_setxattr(op: WriteOp, name: *const c_char, value: *const c_char, len: usize);
    pub(crate) fn rados_write_op_rmxattr(op: WriteOp, name: *const c_char);
    pub(crate) fn rados_write_op_omap_set2(
        op: WriteOp,
        keys: *const *const c_char,
        values: *const *const c_char,
        key_lens: *const usize,
        value_lens: *const usize,
        count: usize,
    );
    pub(crate) fn rados_write_op_omap_rm_keys2(
        op: WriteOp,
        keys: *const *const c_char,
        key_lens: *const usize,
        count: usize,
    );
    pub(crate) fn rados_write_op_exec(
        op: WriteOp,
        class: *const c_char,
        method: *const c_char,
        input: *const c_char,
        len: usize,
        result: *mut c_int,
    );
    pub(crate) fn rados_aio_write_op_operate(
        op: WriteOp,
        io: IoCtx,
        aio: Aio,
        oid: *const c_char,
        mtime: *mut i64,
        flags: c_int,
    ) -> c_int;

    pub(crate) fn rados_nobjects_list_open(io: IoCtx, list: *mut ListCtx) -> c_int;
    pub(crate) fn rados_nobjects_list_next2(
        list: ListCtx,
        entry: *mut *const c_char,
        key: *mut *const c_char,
        namespace: *mut *const c_char,
        entry_len: *mut usize,
        key_len: *mut usize,
        namespace_len: *mut usize,
    ) -> c_int;
    pub(crate) fn rados_nobjects_list_close(list: ListCtx);
}

// src/shim.cc
unsafe extern "C" {
    pub(crate) fn uw_rados_answer_new() -> *mut c_void;
    pub(crate) fn uw_rados_aio_omap_header(io: IoCtx, oid: *const c_char, aio: Aio, answer: *mut c_void) -> c_int;
    pub(crate) fn uw_rados_aio_getxattr(
        io: IoCtx,
        oid: *const c_char,
        aio: Aio,
        name: *const c_char,
        answer: *mut c_void,
    ) -> c_int;
    pub(crate) fn uw_rados_answer_bytes(answer: *mut c_void, len: *mut usize) -> *const c_char;
    pub(crate) fn uw_rados_answer_free(answer: *mut c_void);
}
