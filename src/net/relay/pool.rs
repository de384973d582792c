//! What connections borrow while bytes of theirs are under way: buffers, and pipes within the kernel. An idle connection
//! has neither.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::net::descriptors::{Descriptors, Taken};

/// The size of a pooled buffer; what does not fit gets a buffer of its own.
const BUFFER: usize = 16 * 1024;
/// How many free buffers are kept: 4 MiB.
const MOST_BUFFERS: usize = 256;
/// What a pipe shall take, in bytes. The kernel may give less to a user who has many.
const PIPE: usize = 1024 * 1024;
/// A pipe that takes less than this moves bytes no better than a copy does.
const SMALLEST_PIPE: usize = 256 * 1024;
/// How many pipes a loop uses at a time.
const MOST_PIPES: usize = 32;
/// How many free ones it keeps.
const MOST_FREE_PIPES: usize = 8;
/// How soon pipes are tried again when there was none.
const PIPE_RETRY: Duration = Duration::from_secs(1);

/// Bytes that could not be written yet.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    start: usize,
}

impl Tail {
    /// What is left to be written, never empty.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The first `count` are written; true when none is left.
    pub(super) fn written(&mut self, count: usize) -> bool {
        self.start += count;
        self.start >= self.bytes.len()
    }
}

/// Buffers for tails.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Vec<Vec<u8>>,
}

impl Buffers {
    /// Keeps bytes that could not be written.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Tail {
        let mut buffer = if bytes.len() <= BUFFER {
            self.free.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
        } else {
            Vec::with_capacity(bytes.len())
        };
        buffer.extend_from_slice(bytes);
        Tail { bytes: buffer, start: 0 }
    }

    /// Takes a buffer back whose bytes are written, or can reach nobody.
    pub(super) fn give_back(&mut self, tail: Tail) {
        let mut buffer = tail.bytes;
        if buffer.capacity() <= 2 * BUFFER && self.free.len() < MOST_BUFFERS {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

/// A pipe with the bytes that are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// How much it takes, by the kernel's own word. What it holds may be more.
    size: usize,
    held: usize,
    _taken: Taken,
}

impl Pipe {
    /// Fills the empty pipe from a socket; 0 is the end of file.
    ///
    /// # Errors
    /// Those of splice(2): `WouldBlock` when the socket has nothing now.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        let moved = crate::sys::splice(from.as_fd(), self.writer.as_fd(), self.size)?;
        self.held += moved;
        Ok(moved)
    }

    /// Empties it into a socket, as far as that takes it now; true when it is empty.
    ///
    /// # Errors
    /// Those of splice(2): `WouldBlock` when the socket takes nothing now.
    pub(super) fn empty(&mut self, to: impl AsFd) -> io::Result<bool> {
        let moved = crate::sys::splice(self.reader.as_fd(), to.as_fd(), self.held)?;
        self.held = self.held.saturating_sub(moved);
        Ok(self.held == 0)
    }

    /// Takes out what is in it.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        let mut filled = 0;
        while filled < bytes.len() {
            match nix::unistd::read(&self.reader, &mut bytes[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(bytes)
    }
}

/// The pipes of one loop.
#[derive(Debug)]
pub(super) struct Pipes {
    free: Vec<Pipe>,
    /// How many are lent.
    lent: usize,
    most: usize,
    retry_at: Option<Instant>,
    descriptors: Arc<Descriptors>,
}

impl Pipes {
    /// At most the usual number, or none at all.
    pub(super) fn new(allowed: bool, descriptors: Arc<Descriptors>) -> Self {
        let most = if allowed { MOST_PIPES } else { 0 };
        Pipes { free: Vec::new(), lent: 0, most, retry_at: None, descriptors }
    }

    /// An empty pipe; without one, bytes are to be copied.
    pub(super) fn lend(&mut self, now: Instant) -> Option<Pipe> {
        if self.lent >= self.most || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let pipe = self.free.pop().or_else(|| self.open());
        match &pipe {
            Some(_) => self.lent += 1,
            None => self.retry_at = Some(now + PIPE_RETRY),
        }
        pipe
    }

    fn open(&self) -> Option<Pipe> {
        let taken = self.descriptors.take(2)?;
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        // Refused where it is more than the user may have; the size that it has then decides.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(i32::try_from(PIPE).ok()?));
        let size = usize::try_from(fcntl(&writer, FcntlArg::F_GETPIPE_SZ).ok()?).ok()?;
        (size >= SMALLEST_PIPE).then_some(Pipe { reader, writer, size, held: 0, _taken: taken })
    }

    /// Takes a pipe back. One that is not empty is closed, so that nobody gets another's bytes.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        self.lent = self.lent.saturating_sub(1);
        if pipe.held == 0 && self.free.len() < MOST_FREE_PIPES {
            self.free.push(pipe);
        }
    }

    /// Takes a pipe back for the bytes in it.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn take_bytes(&mut self, pipe: Pipe) -> io::Result<Vec<u8>> {
        self.lent = self.lent.saturating_sub(1);
        pipe.into_bytes()
    }

    /// Closes the free ones: nothing is under way for some time.
    pub(super) fn close_free(&mut self) {
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, MOST_PIPES, Pipes};
    use crate::net::descriptors::Descriptors;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    #[test]
    fn a_tail_is_written_bit_by_bit_and_its_buffer_used_again() {
        let mut buffers = Buffers::default();
        let mut tail = buffers.keep(b"some bytes");
        assert!(!tail.written(5));
        assert_eq!(tail.bytes(), b"bytes");
        assert!(tail.written(5));
        buffers.give_back(tail);
        assert_eq!(buffers.free.len(), 1);
        let other = buffers.keep(b"new");
        assert_eq!((other.bytes(), buffers.free.len()), (&b"new"[..], 0));
        let large = buffers.keep(&vec![7; 100_000]);
        buffers.give_back(large);
        assert_eq!(buffers.free.len(), 0, "a large one is not kept");
    }

    #[test]
    fn a_pipe_moves_bytes_between_sockets_and_gives_them_back() {
        let mut pipes = Pipes::new(true, Descriptors::limited_to(100));
        let now = Instant::now();
        let ((mut source, from), (to, mut sink)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let mut pipe = pipes.lend(now).expect("pipes of this size are to be had here");
        source.write_all(b"through").unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 7);
        assert!(pipe.empty(&to).unwrap());
        let mut bytes = [0; 7];
        sink.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"through");
        source.write_all(b"kept").unwrap();
        pipe.fill(&from).unwrap();
        assert_eq!(pipes.take_bytes(pipe).unwrap(), b"kept");
        drop(source);
        let mut pipe = pipes.lend(now).unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 0, "the end of file");
        pipes.give_back(pipe);
        assert_eq!((pipes.free.len(), pipes.lent), (1, 0));
    }

    #[test]
    fn there_are_only_so_many_pipes_and_then_none_for_a_while() {
        let mut pipes = Pipes::new(true, Descriptors::limited_to(2));
        let now = Instant::now();
        let pipe = pipes.lend(now).unwrap();
        assert!(pipes.lend(now).is_none(), "no descriptors are left");
        pipes.give_back(pipe);
        assert!(pipes.lend(now).is_none(), "not tried again at once");
        assert!(pipes.lend(now + Duration::from_secs(2)).is_some());
        let mut none = Pipes::new(false, Descriptors::limited_to(1000));
        assert!(none.lend(now).is_none());
        let mut many = Pipes::new(true, Descriptors::limited_to(1000));
        let lent: Vec<_> = std::iter::from_fn(|| many.lend(now)).collect();
        assert!(!lent.is_empty() && lent.len() <= MOST_PIPES);
    }

    #[test]
    fn a_pipe_with_bytes_is_closed_and_never_lent_again() {
        let mut pipes = Pipes::new(true, Descriptors::limited_to(100));
        let (mut source, from) = UnixStream::pair().unwrap();
        let mut pipe = pipes.lend(Instant::now()).unwrap();
        source.write_all(b"left over").unwrap();
        pipe.fill(&from).unwrap();
        pipes.give_back(pipe);
        assert!(pipes.free.is_empty());
    }
}
