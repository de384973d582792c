//! From a client to its destination: the second socket.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::end::End;
use super::event_loop::{EventLoop, Key};
use super::news::How;
use super::pair::{Fate, Pair, Phase};
use super::slab::PairId;
use crate::net::listener::Address;
use crate::net::stream::{Kind, Stream};
use crate::reactor::BOTH;

/// How soon it is tried again when a unix socket's backlog is full, or no descriptor was free.
const RETRY: Duration = Duration::from_millis(10);

/// What came of a call of connect(2).
enum Dialled {
    Connected(Stream),
    Pending(Stream),
    /// Not now.
    Later,
}

impl EventLoop {
    /// Chooses the destination of a client whose turn it is, and starts to connect.
    pub(super) fn set_out(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        let until = self.tools.now + self.shared.settings.connect_timeout;
        pair.phase = Phase::Connecting { until, leaving: None, retry: None };
        if pair.counted.is_none() {
            pair.counted = pair.entrance.route.choose();
        }
        if pair.counted.is_none() {
            return Fate::Ends(How::Unconnected);
        }
        let fate = self.connect(id, pair);
        let waits = fate == Fate::Waits && matches!(pair.phase, Phase::Connecting { .. });
        // It may have left while it waited.
        if waits && !pair.client_waits(self.tools.now) { Fate::Ends(How::Unconnected) } else { fate }
    }

    /// Starts an attempt, unless one is under way.
    pub(super) fn connect(&mut self, id: PairId, pair: &mut Pair) -> Fate {
        let Some(counted) = pair.counted.as_ref().filter(|_| pair.destination.is_none()) else {
            return Fate::Waits;
        };
        let dialled = dial(counted.destination().place()).and_then(|dialled| {
            Ok(match dialled {
                Dialled::Connected(stream) => {
                    Some((End::new(self.reactor.register(stream, Key::Destination(id), BOTH)?), true))
                }
                Dialled::Pending(stream) => {
                    Some((End::new(self.reactor.register(stream, Key::Destination(id), BOTH)?), false))
                }
                Dialled::Later => None,
            })
        });
        match dialled {
            Ok(Some((end, connected))) => {
                pair.destination = Some(end);
                if let Phase::Connecting { retry, .. } = &mut pair.phase {
                    *retry = None;
                }
                if connected { self.connected(id, pair) } else { Fate::Waits }
            }
            Ok(None) => {
                if let Phase::Connecting { retry, .. } = &mut pair.phase {
                    *retry = Some(self.tools.now + RETRY);
                }
                Fate::Waits
            }
            Err(error) => {
                self.connect_failed(pair, &error);
                Fate::Ends(How::Unconnected)
            }
        }
    }

    /// The destination is there: whatever the client has sent already goes to it at once.
    pub(super) fn connected(&mut self, _id: PairId, pair: &mut Pair) -> Fate {
        pair.phase = Phase::Relaying;
        pair.last = self.tools.now;
        pair.relay(&mut self.tools, &self.shared.settings)
    }
}

fn dial(place: &Address) -> io::Result<Dialled> {
    let (address, kind) = match place {
        Address::Internet(address) => (SockAddr::from(*address), Kind::Tcp),
        Address::Path(path) => (SockAddr::unix(path)?, Kind::Unix),
        Address::Abstract(name) => {
            let mut path = vec![0];
            path.extend_from_slice(name);
            (SockAddr::unix(std::ffi::OsStr::new(&*String::from_utf8_lossy(&path)))?, Kind::Unix)
        }
        Address::Unnamed => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let socket = match new_socket(address.domain()) {
        Ok(socket) => socket,
        // Somebody else has taken what was counted on; the client waits.
        Err(error) if is_shortage(&error) => return Ok(Dialled::Later),
        Err(error) => return Err(error),
    };
    if kind == Kind::Tcp {
        socket.set_tcp_nodelay(true)?;
    }
    let result = socket.connect(&address);
    let stream = Stream::of_kind(OwnedFd::from(socket), kind);
    match result {
        Ok(()) => Ok(Dialled::Connected(stream)),
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(Dialled::Pending(stream)),
        // The backlog of a unix socket is full.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Dialled::Later),
        Err(error) => Err(error),
    }
}

fn new_socket(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking(), None)
}

/// No descriptor or no memory is to be had at the moment.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    const SHORT: [Errno; 4] = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    SHORT.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}
