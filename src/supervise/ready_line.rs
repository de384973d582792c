//! The descriptor on which a child says that it is ready: a line, as s6 has it, or READY=1.

use super::Source;
use super::state::Number;
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// More than that before the end of the line is no line.
const LONGEST: usize = 4096;

/// Our end of it.
#[derive(Debug)]
pub struct ReadyLine {
    pipe: Registered<Descriptor<File>>,
    said: Vec<u8>,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Not the whole line yet.
    NotYet,
    /// It is ready.
    Ready,
    /// It has closed the descriptor, or said too much, without having said so.
    Never,
}

impl ReadyLine {
    /// Watches our end of the pipe.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch(reactor: &mut Reactor<Source>, end: OwnedFd, number: Number) -> io::Result<Self> {
        let pipe = reactor.register(Descriptor(File::from(end)), Source::ReadyLine(number), READABLE)?;
        Ok(ReadyLine { pipe, said: Vec::new() })
    }

    /// Takes what there is.
    pub fn read(&mut self) -> Said {
        let mut buffer = [0; 512];
        loop {
            match (&self.pipe.0).read(&mut buffer) {
                Ok(0) => return Said::Never,
                Ok(count) => {
                    self.said.extend_from_slice(&buffer[..count]);
                    if says_ready(&self.said) {
                        return Said::Ready;
                    }
                    if self.said.len() > LONGEST {
                        return Said::Never;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Said::NotYet,
                Err(_) => return Said::Never,
            }
        }
    }
}

fn says_ready(said: &[u8]) -> bool {
    let word = said.strip_prefix(b"READY=1");
    said.contains(&b'\n') || word.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::says_ready;

    #[test]
    fn a_line_or_the_word_is_enough_and_less_is_not() {
        for ready in [&b"\n"[..], b"anything\n", b"READY=1", b"X=1\nREADY", b"READY=1X"] {
            assert!(says_ready(ready));
        }
        for not_yet in [&b""[..], b"READY=", b"ready", b"NOTREADY=1", b"STATUS=READY=1", b"READY=10"] {
            assert!(!says_ready(not_yet), "{not_yet:?}");
        }
    }
}
