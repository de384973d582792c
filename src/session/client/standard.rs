//! Standard input and output in a loop. They are shared with other programs, so they stay blocking; each call is made
//! only when poll(2) has said that it does not wait.

use super::Source;
use crate::reactor::{Descriptor, READABLE, Reactor, Registered, WRITABLE};
use mio::Interest;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe that has room takes so much at once; see pipe(7), PIPE_BUF.
const AT_ONCE: usize = 4096;

/// A descriptor that is watched, if that can be: a file is always ready.
#[derive(Debug)]
enum Watched {
    Source(Registered<Descriptor<OwnedFd>>),
    File(OwnedFd),
}

impl Watched {
    fn new(
        descriptor: BorrowedFd<'_>,
        key: Source,
        interest: Interest,
        reactor: &mut Reactor<Source>,
    ) -> io::Result<Watched> {
        let ours = descriptor.try_clone_to_owned()?;
        let file = ours.try_clone()?;
        match reactor.register(Descriptor(ours), key, interest) {
            Ok(source) => Ok(Watched::Source(source)),
            // epoll_ctl(2): the file does not support it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Watched::File(file)),
            Err(error) => Err(error),
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Watched::Source(source) => source.as_fd(),
            Watched::File(file) => file.as_fd(),
        }
    }

    /// Whether a call does not wait.
    fn is_ready(&self, flags: PollFlags) -> io::Result<bool> {
        let mut polled = [PollFd::new(self.descriptor(), flags)];
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What reading standard input has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing at the moment.
    Later,
    /// Its end.
    End,
}

/// Standard input.
#[derive(Debug)]
pub(super) struct Input(Watched);

impl Input {
    /// Watched as [`Source::Input`].
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub(super) fn new(reactor: &mut Reactor<Source>) -> io::Result<Input> {
        Ok(Input(Watched::new(io::stdin().as_fd(), Source::Input, READABLE, reactor)?))
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// Those of read(2). A terminal that has gone is an end.
    pub(super) fn read(&self, room: &mut [u8]) -> io::Result<Read> {
        if !self.0.is_ready(PollFlags::POLLIN)? {
            return Ok(Read::Later);
        }
        match nix::unistd::read(self.0.descriptor(), room) {
            Ok(0) | Err(Errno::EIO) => Ok(Read::End),
            Ok(count) => Ok(Read::Bytes(count)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Read::Later),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What waits for its turn at standard output.
#[derive(Debug)]
enum Item {
    Bytes { bytes: Vec<u8>, done: usize, offset: u64 },
    RemoteEcho(bool),
}

/// Standard output, and the output of the session on its way there.
#[derive(Debug)]
pub(super) struct Output {
    watched: Watched,
    items: VecDeque<Item>,
    /// Output of the session was written up to here.
    written: u64,
    /// Nobody reads it any more.
    closed: bool,
}

impl Output {
    /// Watched as [`Source::Output`]; the session's output up to `written` was written before.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2).
    pub(super) fn new(written: u64, reactor: &mut Reactor<Source>) -> io::Result<Output> {
        let watched = Watched::new(io::stdout().as_fd(), Source::Output, WRITABLE, reactor)?;
        Ok(Output { watched, items: VecDeque::new(), written, closed: false })
    }

    /// Output of the session, from this offset.
    pub(super) fn push(&mut self, offset: u64, bytes: &[u8]) {
        self.items.push_back(Item::Bytes { bytes: bytes.to_vec(), done: 0, offset });
    }

    /// Behind all output so far the destination echoes what is typed, or does so no more.
    pub(super) fn push_echo(&mut self, remote: bool) {
        self.items.push_back(Item::RemoteEcho(remote));
    }

    /// Up to where the session's output was written, or is not to be had.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether nothing waits.
    pub(super) fn is_done(&self) -> bool {
        self.items.is_empty()
    }

    /// The kernel says that nobody reads it.
    pub(super) fn hear_closed(&mut self) {
        self.closed = true;
    }

    /// Nobody reads standard output any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes what does not have to wait until this much of the output is written, or a page more; the last word about
    /// the echo that came to its turn.
    ///
    /// # Errors
    /// Those of write(2). That nobody reads is none.
    pub(super) fn write(&mut self, until: u64) -> io::Result<Option<bool>> {
        let mut echo = None;
        while self.written < until
            && let Some(item) = self.items.front_mut()
        {
            match item {
                Item::RemoteEcho(remote) => {
                    echo = Some(*remote);
                    self.items.pop_front();
                }
                Item::Bytes { bytes, done, offset } => {
                    if self.closed || !self.watched.is_ready(PollFlags::POLLOUT)? {
                        break;
                    }
                    let rest = &bytes[*done..];
                    match nix::unistd::write(self.watched.descriptor(), &rest[..rest.len().min(AT_ONCE)]) {
                        Ok(count) => {
                            *done += count;
                            self.written = *offset + *done as u64;
                            if *done == bytes.len() {
                                self.items.pop_front();
                            }
                        }
                        Err(Errno::EPIPE) => self.closed = true,
                        Err(Errno::EAGAIN) => break,
                        Err(Errno::EINTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }
        }
        Ok(echo)
    }
}
