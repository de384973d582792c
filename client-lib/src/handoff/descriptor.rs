//! A descriptor that arrived, and what it is.

use crate::sys;
use nix::sys::stat::{SFlag, fstat};
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

/// A descriptor from another program: owned, close-on-exec, closed when dropped.
///
/// The `into_` functions look at what it is before they make a type of it. They leave its flags as they are: a
/// descriptor of a Go program is in blocking mode mostly.
#[derive(Debug)]
pub struct Descriptor(OwnedFd);

/// What a descriptor is: socket(7) by family, type and state, everything else by fstat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A TCP socket that listens.
    TcpListener,
    /// Any other TCP socket: a connection.
    TcpStream,
    /// A unix stream socket that listens.
    UnixListener,
    /// Any other unix stream socket: a connection.
    UnixStream,
    /// A UDP socket.
    UdpSocket,
    /// A unix socket for datagrams.
    UnixDatagram,
    /// What can be opened by a path: a regular file, a directory, a pipe, a device.
    File,
    /// Something else: another kind of socket, an event, a timer.
    Other,
}

/// A descriptor that is not what was asked for. It is as it was, and the caller's.
#[derive(Debug, thiserror::Error)]
#[error("the descriptor is {found} and not {expected}")]
pub struct WrongKind {
    /// The descriptor.
    pub descriptor: Descriptor,
    /// What it should be.
    pub expected: Kind,
    /// What it is.
    pub found: Kind,
}

impl Display for Kind {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::TcpListener => "a TCP listener",
            Kind::TcpStream => "a TCP stream",
            Kind::UnixListener => "a unix listener",
            Kind::UnixStream => "a unix stream",
            Kind::UdpSocket => "a UDP socket",
            Kind::UnixDatagram => "a unix datagram socket",
            Kind::File => "a file",
            Kind::Other => "something else",
        })
    }
}

impl Descriptor {
    /// What it is.
    pub fn kind(&self) -> Kind {
        let Ok(found) = fstat(&self.0) else {
            return Kind::Other;
        };
        match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFSOCK => self.kind_of_socket(),
            // What has no path, such as an event, has no type.
            kind if kind.is_empty() => Kind::Other,
            _ => Kind::File,
        }
    }

    fn kind_of_socket(&self) -> Kind {
        let option = |name| sys::socket_option(self.0.as_fd(), name).unwrap_or(-1);
        let listens = option(libc::SO_ACCEPTCONN) > 0;
        let protocol = option(libc::SO_PROTOCOL);
        match (option(libc::SO_DOMAIN), option(libc::SO_TYPE)) {
            // SCTP has streams over the same families, and ping has datagrams.
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM)
                if protocol == libc::IPPROTO_TCP || protocol == libc::IPPROTO_MPTCP =>
            {
                if listens {
                    Kind::TcpListener
                } else {
                    Kind::TcpStream
                }
            }
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) if protocol == libc::IPPROTO_UDP => Kind::UdpSocket,
            (libc::AF_UNIX, libc::SOCK_STREAM) => {
                if listens {
                    Kind::UnixListener
                } else {
                    Kind::UnixStream
                }
            }
            (libc::AF_UNIX, libc::SOCK_DGRAM) => Kind::UnixDatagram,
            _ => Kind::Other,
        }
    }

    fn into<T: From<OwnedFd>>(self, expected: Kind) -> Result<T, WrongKind> {
        match self.kind() {
            found if found == expected => Ok(T::from(self.0)),
            found => Err(WrongKind { descriptor: self, expected, found }),
        }
    }

    /// As a [`TcpListener`], if it is one over IPv4 or IPv6.
    pub fn into_tcp_listener(self) -> Result<TcpListener, WrongKind> {
        self.into(Kind::TcpListener)
    }

    /// As a [`TcpStream`], if it is one over IPv4 or IPv6 that does not listen.
    pub fn into_tcp_stream(self) -> Result<TcpStream, WrongKind> {
        self.into(Kind::TcpStream)
    }

    /// As a [`UnixListener`], if it is one.
    pub fn into_unix_listener(self) -> Result<UnixListener, WrongKind> {
        self.into(Kind::UnixListener)
    }

    /// As a [`UnixStream`], if it is one that does not listen.
    pub fn into_unix_stream(self) -> Result<UnixStream, WrongKind> {
        self.into(Kind::UnixStream)
    }

    /// As a [`UdpSocket`], if it is one over IPv4 or IPv6.
    pub fn into_udp_socket(self) -> Result<UdpSocket, WrongKind> {
        self.into(Kind::UdpSocket)
    }

    /// As a [`UnixDatagram`], if it is one.
    pub fn into_unix_datagram(self) -> Result<UnixDatagram, WrongKind> {
        self.into(Kind::UnixDatagram)
    }

    /// As a [`File`], if it is something that can be opened by a path. Its offset and its flags are shared with the
    /// sender.
    pub fn into_file(self) -> Result<File, WrongKind> {
        self.into(Kind::File)
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(descriptor: OwnedFd) -> Descriptor {
        Descriptor(descriptor)
    }
}

impl From<Descriptor> for OwnedFd {
    fn from(descriptor: Descriptor) -> OwnedFd {
        descriptor.0
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
