//! A descriptor whose close blocks until the test lets it go, and can be killed.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
};

/// A socket whose close waits until its peer goes away, and the peer.
pub fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (peer, _) = listener.accept().expect("connected");
    socket.set_nonblocking(true).expect("set");
    while socket.write(&[0; 1 << 16]).is_ok() {}
    socket.set_nonblocking(false).expect("set");
    let linger = libc::linger { l_onoff: 1, l_linger: 3600 };
    let (at, len) = (&raw const linger, size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: `linger` is valid for reading, and as long as is said.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at.cast(), len) };
    assert_eq!(set, 0);
    (socket, peer)
}
