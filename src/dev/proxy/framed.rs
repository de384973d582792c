//! A client's connection as the HTTP library sees it: nothing but bytes that the framing has let through.
//!
//! A request that is refused is taken out of the stream, and one that is none of the client's stands in its place, so that
//! its answer comes in its turn. The library cannot send interim answers, so they are written here, before the first byte of
//! the real one.

use super::framing::{Fault, Framing, Step};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How much is read ahead.
const AHEAD: usize = 96 * 1024;
const PIECE: usize = 16 * 1024;
/// After our last byte so much, and for so long, is read and thrown away: a reset would take our answer along (RFC 9112, 9.6).
const LINGER: usize = 4 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// More interim answers than that are not kept for a client that takes none.
const MOST_INTERIM: usize = 64 * 1024;
/// What stands for a refused request.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: none\r\n\r\n";

/// What the service and its connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Requests that were let through.
    heads: u64,
    /// Requests that the service has seen.
    served: u64,
    /// The request with this number stands for a refused one.
    fault: Option<(u64, Fault)>,
    /// Whether the protocol changes with the answer to the request of this number. Those that came before it, and wait for
    /// their turn no more, decide nothing about it.
    changed: Option<(u64, bool)>,
    /// Interim answers of the request that is being served, as far as they have not been written.
    interim: Vec<u8>,
    /// An answer is being written: one of a request before, if the one that is served has none yet.
    mid_answer: bool,
    waker: Option<Waker>,
}

impl Line {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service has got a request: its number, and the fault that it stands for.
    pub(super) fn take_request(&self) -> (u64, Option<Fault>) {
        let mut told = self.told();
        told.served += 1;
        (told.served, told.fault_of(told.served))
    }

    /// What is wrong with the body of a request that could not be read to its end.
    pub(super) fn fault(&self, number: u64) -> Option<Fault> {
        self.told().fault_of(number)
    }

    /// Says whether the protocol changes with the answer to a request.
    pub(super) fn decide(&self, number: u64, changed: bool) {
        let mut told = self.told();
        told.changed = Some((number, changed));
        told.wake();
    }

    /// Writes an interim answer to the request that is being served before the real one; unless the client takes too little.
    pub(super) fn interim(&self, head: &[u8]) {
        let mut told = self.told();
        if told.interim.len() < MOST_INTERIM {
            told.interim.extend_from_slice(head);
            told.wake();
        }
    }

    /// The real answer follows. What the library still has of the one before would now be written in one with it, so an
    /// interim answer that has waited for that is left out.
    pub(super) fn answered(&self) {
        let mut told = self.told();
        if told.mid_answer {
            told.interim.clear();
        }
    }
}

impl Told {
    fn fault_of(&self, number: u64) -> Option<Fault> {
        self.fault.filter(|(other, _)| *other == number).map(|(_, fault)| fault)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The connection.
pub(super) struct Framed<S> {
    stream: S,
    framing: Framing,
    line: Arc<Line>,
    /// Read, and of it so many bytes are let through.
    input: Vec<u8>,
    start: usize,
    fine: usize,
    refused: bool,
    /// So long a client may take for a head, from its first byte.
    head_time: Duration,
    slow: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    pub(super) fn new(stream: S, line: Arc<Line>, head_time: Duration) -> Self {
        Framed {
            stream,
            framing: Framing::default(),
            line,
            input: Vec::new(),
            start: 0,
            fine: 0,
            refused: false,
            head_time,
            slow: None,
            linger: None,
        }
    }

    /// Gives what was let through, as much as there is room for. Whether there was anything.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let count = self.fine.min(buffer.remaining());
        buffer.put_slice(&self.input[self.start..self.start + count]);
        self.start += count;
        self.fine -= count;
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        }
        count > 0
    }

    /// Looks at what was read. Whether there is anything to give.
    ///
    /// # Errors
    /// A body that is none: its request has been given already, so its end is all that can be told.
    fn look(&mut self) -> io::Result<bool> {
        while self.fine == 0 && self.start < self.input.len() && !self.refused {
            let in_head = self.framing.in_head();
            match self.framing.next(&self.input[self.start..]) {
                Step::Pass(count) => self.fine = count,
                Step::Head(count) => {
                    self.fine = count;
                    self.slow = None;
                    self.line.told().heads += 1;
                }
                Step::More | Step::Undecided => break,
                Step::Fault(fault) => self.refuse(fault, in_head)?,
            }
        }
        Ok(self.fine > 0)
    }

    fn refuse(&mut self, fault: Fault, in_head: bool) -> io::Result<()> {
        self.refused = true;
        self.slow = None;
        let mut told = self.line.told();
        if !in_head {
            told.fault = Some((told.heads, fault));
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the body of a request is malformed"));
        }
        told.heads += 1;
        told.fault = Some((told.heads, fault));
        self.input = STAND_IN.to_vec();
        (self.start, self.fine) = (0, STAND_IN.len());
        Ok(())
    }

    /// Goes on behind a request that asked for another protocol, once it is known which one follows.
    fn decided(&mut self) {
        if !self.framing.is_undecided() {
            return;
        }
        let told = self.line.told();
        // The last head that was let through is the one that has asked for it.
        if let Some((_, changed)) = told.changed.filter(|(number, _)| *number == told.heads) {
            drop(told);
            self.framing.decide(changed);
        }
    }

    /// Whether nothing is read ahead, and all that there is room for would be fine whatever it is: then it need not come by us.
    fn is_free(&self, room: usize) -> bool {
        self.input.is_empty() && !self.refused && room > 0 && self.framing.free() >= room as u64
    }

    /// Reads what needs no look to where it is wanted.
    fn read_through(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if !read.is_empty() {
            let step = self.framing.next(read);
            debug_assert_eq!(step, Step::Pass(read.len()));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more. Whether the client goes on.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.input.drain(..self.start);
        self.start = 0;
        if self.input.len() >= AHEAD {
            return Poll::Pending;
        }
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(!buffer.filled().is_empty()))
    }

    /// Whether a head has been on its way for too long.
    fn is_slow(&mut self, context: &mut Context<'_>) -> bool {
        if !self.framing.in_head() || self.input.is_empty() {
            return false;
        }
        let slow = self.slow.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.head_time)));
        slow.as_mut().poll(context).is_ready()
    }

    /// Writes the interim answers that wait; not into an answer that is being written.
    fn write_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut told = self.line.told();
        while !told.mid_answer && !told.interim.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &told.interim))?;
            told.interim.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn listen(&self, context: &Context<'_>) {
        self.line.told().waker = Some(context.waker().clone());
    }

    /// Reads away what still comes, for a while.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (time, left) = self.linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER_TIME)), LINGER));
        let mut piece = [0; PIECE];
        loop {
            if *left == 0 || time.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *left = left.saturating_sub(buffer.filled().len()),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.listen(context);
        let _ = this.write_interim(context)?;
        loop {
            this.decided();
            if this.is_free(buffer.remaining()) {
                return this.read_through(context, buffer);
            }
            if this.look()? && this.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                return Poll::Pending;
            }
            match this.fill(context)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ok(())),
                Poll::Pending if this.is_slow(context) => this.refuse(Fault::TooSlow, true)?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_interim(context))?;
        self.line.told().mid_answer = true;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.write_interim(context))?;
        self.line.told().mid_answer = true;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listen(context);
        // The library flushes once it has written all that it has.
        self.line.told().mid_answer = false;
        ready!(self.write_interim(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        // A tunnel: its other direction may go on.
        if self.framing.is_other() {
            return Poll::Ready(Ok(()));
        }
        let between = self.framing.in_head() && self.input.is_empty();
        if !between {
            ready!(self.linger(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
