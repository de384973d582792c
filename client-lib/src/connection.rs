//! One client's connection.

use nix::sys::socket::{MsgFlags, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, send, sockopt};
use nix::unistd::read;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A client's connection: a connected socket in blocking mode, closed when dropped.
///
/// It can be read and written as it is, or be turned into the type that the rest of the daemon works with. One that an
/// earlier generation gave back comes with the [`state`](Connection::state) that it left; take it before you turn the
/// connection into something else.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    listener: usize,
    state: Option<Vec<u8>>,
}

impl Connection {
    /// A connection of a socket that the daemon has worked with as another type, so that it can be
    /// [given back](crate::Protector::give_back). `listener` is what [`Connection::listener`] said of it.
    pub fn new(socket: impl Into<OwnedFd>, listener: usize) -> Connection {
        Connection { socket: socket.into(), listener, state: None }
    }

    pub(crate) fn with_state(socket: OwnedFd, listener: usize, state: Option<Vec<u8>>) -> Connection {
        Connection { socket, listener, state }
    }

    /// What the daemon that gave this connection back left for the one that takes it, be it nothing at all; `None` for
    /// a connection that was never given back.
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// The same as [`state`](Connection::state), for keeps; after it there is none.
    pub fn take_state(&mut self) -> Option<Vec<u8>> {
        self.state.take()
    }

    /// The index of the listener that the client came to, in the order of the supervisor's command line.
    pub fn listener(&self) -> usize {
        self.listener
    }

    /// The connection as a [`TcpStream`], if it is one over IPv4 or IPv6.
    pub fn into_tcp_stream(self) -> io::Result<TcpStream> {
        if self.is_stream_of(&[libc::AF_INET, libc::AF_INET6])? {
            return Ok(TcpStream::from(self.socket));
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "the connection is not a TCP stream"))
    }

    /// The connection as a [`UnixStream`], if the client came to a unix socket.
    pub fn into_unix_stream(self) -> io::Result<UnixStream> {
        if self.is_stream_of(&[libc::AF_UNIX])? {
            return Ok(UnixStream::from(self.socket));
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "the connection is not a unix stream"))
    }

    fn is_stream_of(&self, families: &[i32]) -> io::Result<bool> {
        let family = getsockname::<SockaddrStorage>(self.socket.as_raw_fd())?.family();
        let fits = family.is_some_and(|family| families.contains(&(family as i32)));
        Ok(fits && getsockopt(&self.socket, sockopt::SockType)? == SockType::Stream)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Connection> for OwnedFd {
    fn from(connection: Connection) -> OwnedFd {
        connection.socket
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(read(&self.socket, buffer)?)
    }
}

impl Write for &Connection {
    /// A client that has gone away is an error here, never a SIGPIPE.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}
