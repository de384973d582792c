//! Where connections come in: from the channel's records and from the listeners, into one queue.
//!
//! The same for both ways of passing, because a child that was given listeners still has a channel, and one that gets
//! connections has no listener. It never waits; [`Protector`](crate::Protector) does that and calls [`Intake::fill`].

use crate::connection::Connection;
use crate::descriptors;
use crate::error::Error;
use crate::sys::{self, Unshared, Watched};
use crate::wire::{self, MAX_CONNECTIONS, MAX_RECORD, ToChild};
use nix::sys::socket::{MsgFlags, recv};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A connection that came in, and is this process's alone until it is taken.
#[derive(Debug)]
struct Waiting {
    socket: Unshared,
    listener: usize,
    state: Option<Vec<u8>>,
}

/// Connections that came in and were not yet taken, and what is known of the sources.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: VecDeque<Waiting>,
    /// Connections of which only the loss is left to tell.
    lost: usize,
    /// The channel was at its end.
    ended: bool,
    /// The listener to ask first, so that a busy one does not starve the others.
    first: usize,
    /// Listeners that were found not to listen, and of which that was not yet told.
    shut_down: Vec<usize>,
    arrived: Vec<OwnedFd>,
    /// Room for the longest record, from the first one on.
    record: Vec<u8>,
}

impl Intake {
    pub(crate) fn new() -> Intake {
        let (queue, shut_down, arrived, record) = (VecDeque::new(), Vec::new(), Vec::new(), Vec::new());
        Intake { queue, lost: 0, ended: false, first: 0, shut_down, arrived, record }
    }

    /// What there is to take without looking at a source; `None` if a source has to be asked. A connection with more
    /// state than `room` stays first in the queue.
    pub(crate) fn take(&mut self, room: usize) -> Option<Result<Option<Connection>, Error>> {
        let length = self.queue.front().and_then(|waiting| waiting.state.as_ref()).map_or(0, Vec::len);
        if length > room {
            return Some(Err(Error::NoRoom { length }));
        }
        if let Some(Waiting { socket, listener, state }) = self.queue.pop_front()
            && let Some(socket) = socket.take()
        {
            return Some(Ok(Some(Connection::with_state(socket, listener, state))));
        }
        match std::mem::take(&mut self.lost) {
            0 => self.ended.then_some(Ok(None)),
            count => Some(Err(Error::Lost { count })),
        }
    }

    /// Makes nothing of what came in before a fork: the other process serves it.
    pub(crate) fn forget(&mut self) {
        self.queue.clear();
        self.lost = 0;
        self.shut_down.clear();
    }

    /// Whether there is something to take that the kernel knows nothing of.
    pub(crate) fn is_queued(&self) -> bool {
        !self.queue.is_empty() || self.lost > 0
    }

    /// How many connections there are to take without looking at a source.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The listeners that were found not to listen. They are to be left out for a moment.
    pub(crate) fn take_shut_down(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.shut_down)
    }

    /// Asks the sources for which poll has answered. Finding nothing is no error: somebody else was faster.
    pub(crate) fn fill(
        &mut self,
        channel: Option<&OwnedFd>,
        listeners: &[OwnedFd],
        answers: &[Watched],
    ) -> Result<(), Error> {
        let answers = match (channel, answers) {
            // Whatever the record was, the channel is asked again before a listener: a drain goes first.
            (Some(channel), [answer, ..]) if answer.revents != 0 => return self.receive(channel),
            (Some(_), [_, rest @ ..]) => rest,
            (Some(_) | None, all) => all,
        };
        let answered = |index: usize| answers.get(index).is_some_and(|answer| answer.revents != 0);
        for index in (self.first..listeners.len()).chain(0..self.first) {
            if answered(index) && self.accept(index, &listeners[index], channel.is_some())? {
                self.first = (index + 1) % listeners.len();
                break;
            }
        }
        Ok(())
    }

    fn accept(&mut self, index: usize, listener: &OwnedFd, supervised: bool) -> Result<bool, Error> {
        match sys::accept(listener.as_fd()) {
            Ok(socket) => {
                self.queue.push_back(Waiting { socket: Unshared::new(socket), listener: index, state: None });
                Ok(true)
            }
            Err(error) if is_of_the_client(&error) => Ok(false),
            Err(error) if supervised && error.raw_os_error() == Some(libc::EINVAL) => {
                // Another process that has it shut it down, and the supervisor is making it listen again.
                self.shut_down.push(index);
                Ok(false)
            }
            Err(source) => Err(Error::Accept { listener: index, source }),
        }
    }

    /// Reads one record, if there is one and there are descriptors for it.
    fn receive(&mut self, channel: &OwnedFd) -> Result<(), Error> {
        if self.record.is_empty() {
            self.record = vec![0; MAX_RECORD];
        }
        try_for_room(channel)?;
        let received = match descriptors::receive(channel.as_fd(), &mut self.record, &mut self.arrived, false) {
            Ok(received) => received,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(source) => return Err(Error::Receive { source }),
        };
        if received.bytes == 0 {
            self.ended = true;
            return Ok(());
        }
        let decoded = ToChild::decode(&self.record[..received.bytes]);
        // Taken out whatever the record is, so that descriptors that do not belong to a connection are closed.
        let arrived = std::mem::take(&mut self.arrived);
        match decoded {
            Ok(ToChild::Connections(indices)) => self.queue(&indices, None, arrived, received.truncated),
            Ok(ToChild::ConnectionWithState { listener, state }) => {
                self.queue(&[listener], Some(state), arrived, received.truncated)
            }
            Ok(ToChild::Unknown(_)) => Ok(()),
            Err(source) => Err(Error::Record { source }),
        }
    }

    /// Takes in what a record tells of. One with a state tells of one connection. Descriptors may be missing only if
    /// some were cut off.
    fn queue(
        &mut self,
        indices: &[u16],
        mut state: Option<Vec<u8>>,
        mut arrived: Vec<OwnedFd>,
        cut_off: bool,
    ) -> Result<(), Error> {
        let (expected, found) = (indices.len(), arrived.len());
        if found > expected || (found < expected && !cut_off) {
            return Err(Error::Count { expected, found });
        }
        // The kernel installs them in order until none is left, so those that came are the first.
        self.lost += expected - found;
        for (socket, listener) in arrived.drain(..).zip(indices) {
            let (socket, listener) = (Unshared::new(socket), usize::from(*listener));
            self.queue.push_back(Waiting { socket, listener, state: state.take() });
        }
        self.arrived = arrived;
        Ok(())
    }
}

/// An error if there are too few descriptors for the next record, which then stays in the channel: reading it would
/// lose connections, while an unread one is read later or taken back by the supervisor.
///
/// What the record needs its first bytes tell, and looking at them alone makes no descriptor. Whether so many are to be
/// had only a trial tells: a limit may have been lowered, and the kernel gives the numbers below it that are free.
/// Another thread that opens something between this and the receiving, or another process that reads this record so
/// that the next one is received, spoils it; then what is lost is counted.
fn try_for_room(channel: &OwnedFd) -> Result<(), Error> {
    let mut start = [0; 2];
    let connections = match recv(channel.as_raw_fd(), &mut start, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(2) if start[0] == wire::CONNECTIONS => usize::from(start[1]).min(MAX_CONNECTIONS),
        Ok(2) if start[0] == wire::CONNECTION_WITH_STATE => 1,
        // Nothing, the end, a record without connections, or a failure: receiving tells.
        Ok(_) | Err(_) => return Ok(()),
    };
    let mut trial: [Option<OwnedFd>; MAX_CONNECTIONS] = [const { None }; MAX_CONNECTIONS];
    for place in &mut trial[..connections] {
        *place = Some(channel.try_clone().map_err(|source| Error::NoDescriptors { connections, source })?);
    }
    Ok(())
}

/// The channel has nothing for us now, or tells once that the supervisor ended without reading what we sent; what it
/// has sent before is still to be read then.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ECONNRESET))
}

/// The next connection is gone again, somebody else took it, or its network failed: accept(2) says to go on with the
/// following one.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::EINTR
                | libc::ECONNABORTED
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn answered(listeners: &[OwnedFd]) -> Vec<Watched> {
        let entry = |listener: &OwnedFd| libc::pollfd { revents: libc::POLLIN, ..sys::watch(listener.as_fd()) };
        listeners.iter().map(entry).collect()
    }

    fn listener() -> (OwnedFd, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    #[test]
    fn a_connection_that_another_process_took_is_no_error() {
        let listeners = [listener().0];
        let mut intake = Intake::new();
        intake.fill(None, &listeners, &answered(&listeners)).unwrap();
        assert!(intake.take(usize::MAX).is_none());
    }

    fn sockets(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| listener().0).collect()
    }

    fn taken(intake: &mut Intake) -> Result<usize, Error> {
        intake.take(usize::MAX).unwrap().map(|connection| connection.unwrap().listener())
    }

    #[test]
    fn what_was_cut_off_is_counted_and_told_after_what_came() {
        let mut intake = Intake::new();
        intake.queue(&[5, 6, 7], None, sockets(1), true).unwrap();
        intake.queue(&[8], Some(b"state".to_vec()), Vec::new(), true).unwrap();
        assert_eq!(taken(&mut intake).unwrap(), 5);
        assert!(matches!(taken(&mut intake), Err(Error::Lost { count: 3 })));
        assert!(intake.take(usize::MAX).is_none());
    }

    #[test]
    fn another_count_of_descriptors_is_an_error_of_the_supervisor() {
        let mut intake = Intake::new();
        let fault = intake.queue(&[0, 0], None, sockets(1), false);
        assert!(matches!(fault, Err(Error::Count { expected: 2, found: 1 })));
        let fault = intake.queue(&[0], None, sockets(2), false);
        assert!(matches!(fault, Err(Error::Count { expected: 1, found: 2 })));
        assert!(intake.take(usize::MAX).is_none());
    }

    #[test]
    fn listeners_take_turns() {
        let (listeners, addresses): (Vec<OwnedFd>, Vec<_>) = [listener(), listener(), listener()].into_iter().unzip();
        let clients: Vec<TcpStream> =
            addresses.iter().chain(&addresses).map(|address| TcpStream::connect(address).unwrap()).collect();
        let mut intake = Intake::new();
        let mut order = Vec::new();
        for _ in &clients {
            intake.fill(None, &listeners, &answered(&listeners)).unwrap();
            order.push(intake.take(usize::MAX).unwrap().unwrap().unwrap().listener());
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }
}
