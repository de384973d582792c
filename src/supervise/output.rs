//! What one child writes to one stream: into the log line by line, or through us to our standard error.

use super::state::Number;
use super::{Source, Stream};
use crate::logging::{CHILD, StandardError};
use crate::process::output::{Lines, Tail, printable};
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How much is taken in one go before others have their turn.
const BUDGET: usize = 64 * 1024;
/// How soon a standard error that takes nothing is tried again; nothing tells us when it does.
const RETRY: Duration = Duration::from_millis(20);

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Into our log.
    Log,
    /// To our standard error as it is.
    StandardError,
    /// Nowhere: our standard error is gone.
    Nowhere,
}

/// One stream of one child.
#[derive(Debug)]
pub struct Output {
    pipe: Registered<Descriptor<File>>,
    number: Number,
    pid: Pid,
    stream: Stream,
    sink: Sink,
    lines: Lines,
    /// Read but not yet taken by our standard error. While there is any, no more is read: the child waits, as it
    /// would if it wrote there itself.
    waiting: Vec<u8>,
}

impl Output {
    /// Watches our end of a pipe.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch(
        reactor: &mut Reactor<Source>,
        pipe: OwnedFd,
        (number, pid): (Number, Pid),
        stream: Stream,
        sink: Sink,
    ) -> io::Result<Output> {
        let pipe = reactor.register(Descriptor(File::from(pipe)), Source::Output(number, stream), READABLE)?;
        Ok(Output { pipe, number, pid, stream, sink, lines: Lines::default(), waiting: Vec::new() })
    }

    /// Takes what there is, some at a time; lines of standard error also go to `tail`. False at the end of file.
    pub fn read(&mut self, reactor: &mut Reactor<Source>, tail: Option<&mut Tail>) -> bool {
        let key = Source::Output(self.number, self.stream);
        let mut nothing = Tail::default();
        let tail = tail.unwrap_or(&mut nothing);
        let mut buffer = [0; 8192];
        let mut taken = 0;
        loop {
            if !self.write_waiting() {
                reactor.set_deadline(key, Some(Instant::now() + RETRY));
                return true;
            }
            if taken >= BUDGET {
                reactor.again(key);
                return true;
            }
            match (&self.pipe.0).read(&mut buffer) {
                Ok(0) => {
                    let (number, pid, stream, sink) = (self.number, self.pid, self.stream, self.sink);
                    self.lines.finish(|line| tell(number, pid, stream, sink, line, tail));
                    return false;
                }
                Ok(count) => {
                    taken += count;
                    self.take(&buffer[..count], tail);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn take(&mut self, bytes: &[u8], tail: &mut Tail) {
        let (number, pid, stream, sink) = (self.number, self.pid, self.stream, self.sink);
        self.lines.push(bytes, |line| tell(number, pid, stream, sink, line, tail));
        if self.sink == Sink::StandardError {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Whether nothing waits any more.
    fn write_waiting(&mut self) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        match StandardError::write_now(&self.waiting) {
            Ok(count) => drop(self.waiting.drain(..count)),
            Err(_) => {
                // Whoever read it has gone. The child is served all the same.
                self.sink = Sink::Nowhere;
                self.waiting.clear();
            }
        }
        self.waiting.is_empty()
    }
}

fn tell(number: Number, pid: Pid, stream: Stream, sink: Sink, line: &[u8], tail: &mut Tail) {
    let level = match stream {
        Stream::Stdout => log::Level::Info,
        Stream::Stderr => {
            tail.push(line);
            log::Level::Warn
        }
    };
    if sink == Sink::Log {
        log::log!(target: CHILD, level, "generation {number} (pid {pid}): {}", printable(line));
    }
}
