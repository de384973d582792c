//! A connected stream socket, over IP or within this host, that never blocks.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use nix::sys::socket::{MsgFlags, recv, recvmsg};
use socket2::{Domain, SockRef};

use super::listener::Address;

/// The family of a stream, where it is known already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// A unix socket.
    Unix,
}

impl Kind {
    /// What a socket is, listening or connected.
    ///
    /// # Errors
    /// Those of getsockopt(2), SO_DOMAIN; `Unsupported` for other families.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Kind> {
        match SockRef::from(&socket).domain()? {
            Domain::IPV4 | Domain::IPV6 => Ok(Kind::Tcp),
            Domain::UNIX => Ok(Kind::Unix),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; 0 is the end of file.
    pub length: usize,
    /// More may be there, although there was room for it.
    pub stopped: bool,
}

/// A connected socket, or one that is about to be. Closed when it is dropped.
#[derive(Debug)]
pub enum Stream {
    /// Over IP.
    Tcp(TcpStream),
    /// Within this host.
    Unix(UnixStream),
}

impl Stream {
    /// A stream of a socket whose family is known and that is non-blocking: no system call is needed.
    pub fn of_kind(socket: OwnedFd, kind: Kind) -> Stream {
        match kind {
            Kind::Tcp => Stream::Tcp(TcpStream::from_std(socket.into())),
            Kind::Unix => Stream::Unix(UnixStream::from_std(socket.into())),
        }
    }

    /// Its family.
    pub fn kind(&self) -> Kind {
        match self {
            Stream::Tcp(_) => Kind::Tcp,
            Stream::Unix(_) => Kind::Unix,
        }
    }

    /// Reads what there is, at most as much as there is room for; 0 is the end of file.
    ///
    /// # Errors
    /// Those of recv(2): `WouldBlock` when there is nothing now.
    pub fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(room),
            Stream::Unix(stream) => (&*stream).read(room),
        }
    }

    /// As [`Stream::read`]; and whether the read may have stopped with more still there, although there was room.
    ///
    /// A unix socket's read stops behind a record that carries descriptors or credentials, unix(7). Nobody takes those here,
    /// of which the kernel makes a note: MSG_CTRUNC. TCP stops before urgent data, which only
    /// [`Event::urgent`](crate::reactor::Event::urgent) tells.
    ///
    /// # Errors
    /// Those of recvmsg(2): `WouldBlock` when there is nothing now.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Received> {
        match self {
            Stream::Tcp(_) => Ok(Received { length: self.read(room)?, stopped: false }),
            Stream::Unix(stream) => {
                let (socket, mut room) = (stream.as_raw_fd(), [IoSliceMut::new(room)]);
                let received = recvmsg::<()>(socket, &mut room, None, MsgFlags::empty())?;
                Ok(Received { length: received.bytes, stopped: received.flags.contains(MsgFlags::MSG_CTRUNC) })
            }
        }
    }

    /// Writes as much as is taken now.
    ///
    /// # Errors
    /// Those of send(2): `WouldBlock` when nothing is taken now. No signal is raised.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }

    /// Reads without taking anything away: the next read gives the same bytes. 0 is the end of file.
    ///
    /// # Errors
    /// Those of recv(2), MSG_PEEK: `WouldBlock` when there is nothing now.
    pub fn peek(&self, room: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.as_fd().as_raw_fd(), room, MsgFlags::MSG_PEEK)?)
    }

    /// The error that the kernel keeps for this socket; the kernel forgets it.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(self).take_error()
    }

    /// Tells the peer that nothing more is coming; reading goes on.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Sends small segments at once. Nothing to be done for a unix socket.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.set_nodelay(true),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// From now on closing resets the connection, and throws away what the peer has not acknowledged. A unix socket
    /// knows no such thing: its peer reads what was written, and then finds the end of file.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn reset_on_close(&self) -> io::Result<()> {
        match self.kind() {
            Kind::Tcp => SockRef::from(self).set_linger(Some(Duration::ZERO)),
            Kind::Unix => Ok(()),
        }
    }

    /// How many bytes the peer's side has not acknowledged yet; 0 for a unix socket, whose bytes are with the peer at
    /// once.
    ///
    /// # Errors
    /// Those of ioctl(2), SIOCOUTQ.
    pub fn unacknowledged(&self) -> io::Result<usize> {
        match self.kind() {
            Kind::Tcp => crate::sys::unread_by_peer(self.as_fd()),
            Kind::Unix => Ok(0),
        }
    }

    /// What was written and has not arrived, counted in bytes for TCP, acknowledged ones being those that have arrived, and
    /// in the kernel's memory for a unix socket, where those that were read have. It is 0 when everything has arrived, and
    /// changes only when bytes are written or arrive.
    ///
    /// # Errors
    /// Those of ioctl(2), SIOCOUTQ.
    pub fn undelivered(&self) -> io::Result<usize> {
        crate::sys::unread_by_peer(self.as_fd())
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// Those of getpeername(2): `NotConnected` when nobody is, any more.
    pub fn peer(&self) -> io::Result<Address> {
        Address::try_from(&SockRef::from(self).peer_addr()?)
    }

    /// The address of our own end.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local(&self) -> io::Result<Address> {
        Address::of(self.as_fd())
    }
}

/// Of any connected stream socket, which is made non-blocking.
impl TryFrom<OwnedFd> for Stream {
    type Error = io::Error;

    fn try_from(socket: OwnedFd) -> io::Result<Stream> {
        let kind = Kind::of(socket.as_fd())?;
        SockRef::from(&socket).set_nonblocking(true)?;
        Ok(Stream::of_kind(socket, kind))
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Stream {
        Stream::Unix(stream)
    }
}

impl Read for &Stream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        Stream::read(self, room)
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Stream::write(self, bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write_vectored(parts),
            Stream::Unix(stream) => (&mut &*stream).write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> OwnedFd {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, interest),
            Stream::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.reregister(registry, token, interest),
            Stream::Unix(stream) => stream.reregister(registry, token, interest),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.deregister(registry),
            Stream::Unix(stream) => stream.deregister(registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Stream};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Stream::try_from(OwnedFd::from(listener.accept().unwrap().0)).unwrap(), theirs)
    }

    /// What the other end has sent, as soon as it is here.
    fn peek(stream: &Stream) -> Vec<u8> {
        let mut room = [0; 16];
        loop {
            match stream.peek(&mut room) {
                Ok(count) => return room[..count].to_vec(),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn any_connected_socket_becomes_a_stream_that_never_blocks() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Stream::try_from(OwnedFd::from(ours)).unwrap();
        assert_eq!(ours.kind(), Kind::Unix);
        assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        theirs.write_all(b"xy").unwrap();
        assert_eq!((peek(&ours), peek(&ours)), (b"xy".to_vec(), b"xy".to_vec()));
        assert_eq!(ours.read(&mut [0; 9]).unwrap(), 2);
        drop(theirs);
        assert_eq!(peek(&ours), b"");

        let (ours, theirs) = pair();
        assert_eq!(ours.kind(), Kind::Tcp);
        let name = |address: std::net::SocketAddr| address.to_string();
        assert_eq!(ours.peer().unwrap().to_string(), name(theirs.local_addr().unwrap()));
        assert_eq!(ours.local().unwrap().to_string(), name(theirs.peer_addr().unwrap()));
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(Stream::try_from(file).is_err());
    }

    #[test]
    fn closing_is_an_end_of_file_or_a_reset_as_one_likes() {
        let (ours, mut theirs) = pair();
        ours.write(b"last words").unwrap();
        ours.shutdown_write().unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
        while ours.unacknowledged().unwrap() > 0 {
            std::thread::yield_now();
        }
        ours.reset_on_close().unwrap();
        drop(ours);
        let (ours, mut theirs) = pair();
        ours.reset_on_close().unwrap();
        drop(ours);
        assert_eq!(theirs.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}
