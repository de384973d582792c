//! What a client's bytes mean, checked before anybody acts on them: where each request begins and ends.
//!
//! A proxy and the server behind it that disagree on this are the whole of request smuggling, so what could be read in two
//! ways is refused, whatever RFC 9112 would allow a lenient reader. Pure: bytes come in, and it says how many of them may go
//! on.

mod chunked;
mod head;
#[cfg(test)]
mod tests;

use chunked::Chunked;
use head::Length;

/// The longest head, in bytes.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// The most fields of a head.
pub const MOST_FIELDS: usize = 200;
/// Empty lines that are let through before a request (RFC 9112, 2.2).
const EMPTY_LINES: u8 = 4;

/// What is to be done with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many of them are fine. More than none.
    Pass(usize),
    /// So many are fine and end the head of a request, the first of a new one.
    Head(usize),
    /// They say nothing yet without those that follow.
    More,
    /// It is not known yet whether what follows is HTTP: see [`Framing::decide`].
    Undecided,
    /// Nothing that follows means anything.
    Fault(Fault),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no request, or could be read as two: 400.
    Malformed(&'static str),
    /// Its head is too large: 431.
    TooLarge,
    /// Its head came too slowly: 408.
    TooSlow,
    /// It asks for a tunnel to elsewhere: 405.
    Connect,
    /// It speaks a version that we do not: 505.
    Version,
}

/// Where in the stream of a client the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a head: so many bytes of it have been looked through, the last line of them beginning there.
    Head { seen: usize, line: usize, empty: u8 },
    /// In a body of which so many bytes are left; then perhaps it is decided what follows.
    Length { left: u64, upgrade: bool },
    /// In a body in chunks.
    Chunked { body: Chunked, upgrade: bool },
    /// Behind a request that asked for another protocol.
    Undecided,
    /// In another protocol.
    Other,
    /// Behind a fault.
    Broken,
}

const HEAD: Place = Place::Head { seen: 0, line: 0, empty: 0 };

/// Reads one connection of a client.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    place: Place,
}

impl Default for Framing {
    fn default() -> Self {
        Framing { place: HEAD }
    }
}

impl Framing {
    /// Whether the next byte belongs to a head.
    pub fn in_head(&self) -> bool {
        matches!(self.place, Place::Head { .. })
    }

    /// Whether what comes is another protocol.
    pub fn is_other(&self) -> bool {
        matches!(self.place, Place::Other)
    }

    /// Whether it waits for [`Framing::decide`].
    pub fn is_undecided(&self) -> bool {
        matches!(self.place, Place::Undecided)
    }

    /// So many of the bytes that follow are fine, whatever they are.
    pub fn free(&self) -> u64 {
        match &self.place {
            Place::Length { left, .. } => *left,
            Place::Other => u64::MAX,
            Place::Head { .. } | Place::Chunked { .. } | Place::Undecided | Place::Broken => 0,
        }
    }

    /// Says whether the protocol has changed, after a request that asked for that.
    pub fn decide(&mut self, changed: bool) {
        if self.is_undecided() {
            self.place = if changed { Place::Other } else { HEAD };
        }
    }

    /// Looks at the bytes that have not been passed yet, of which there is one at least.
    pub fn next(&mut self, bytes: &[u8]) -> Step {
        let step = match &mut self.place {
            Place::Head { .. } => return self.head(bytes),
            Place::Length { left, .. } => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                Step::Pass(count)
            }
            Place::Chunked { body, .. } => match body.next(bytes) {
                Ok(0) => Step::More,
                Ok(count) => Step::Pass(count),
                Err(what) => Step::Fault(Fault::Malformed(what)),
            },
            Place::Undecided => return Step::Undecided,
            Place::Other => return Step::Pass(bytes.len()),
            Place::Broken => return Step::More,
        };
        self.follow();
        if matches!(step, Step::Fault(_)) {
            self.place = Place::Broken;
        }
        step
    }

    /// Goes on behind a body that has ended.
    fn follow(&mut self) {
        let (ended, upgrade) = match &self.place {
            Place::Length { left, upgrade } => (*left == 0, *upgrade),
            Place::Chunked { body, upgrade } => (body.has_ended(), *upgrade),
            Place::Head { .. } | Place::Undecided | Place::Other | Place::Broken => return,
        };
        if ended {
            self.place = if upgrade { Place::Undecided } else { HEAD };
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Step {
        match self.head_end(bytes) {
            Ok(Some(Step::Head(end))) => match head::read(&bytes[..end]) {
                Ok(head) => {
                    self.place = match head.length {
                        Length::Bytes(left) => Place::Length { left, upgrade: head.upgrade },
                        Length::Chunked => Place::Chunked { body: Chunked::default(), upgrade: head.upgrade },
                    };
                    self.follow();
                    Step::Head(end)
                }
                Err(fault) => self.broken(fault),
            },
            Ok(Some(step)) => step,
            Ok(None) if bytes.len() > LONGEST_HEAD => self.broken(Fault::TooLarge),
            Ok(None) => Step::More,
            Err(fault) => self.broken(fault),
        }
    }

    fn broken(&mut self, fault: Fault) -> Step {
        self.place = Place::Broken;
        Step::Fault(fault)
    }

    /// Looks on for the end of the head: an empty line.
    fn head_end(&mut self, bytes: &[u8]) -> Result<Option<Step>, Fault> {
        let Place::Head { seen, line, empty } = &mut self.place else { return Ok(None) };
        while *seen < bytes.len() {
            let at = *seen;
            *seen += 1;
            if bytes[at] != b'\n' {
                continue;
            }
            if at == 0 || bytes[at - 1] != b'\r' {
                return Err(Fault::Malformed("a line ends with a line feed alone"));
            }
            if at > *line + 1 {
                *line = at + 1;
            } else if *line > 0 {
                return if at < LONGEST_HEAD { Ok(Some(Step::Head(at + 1))) } else { Err(Fault::TooLarge) };
            } else if *empty < EMPTY_LINES {
                let empty = *empty + 1;
                self.place = Place::Head { seen: 0, line: 0, empty };
                return Ok(Some(Step::Pass(at + 1)));
            } else {
                return Err(Fault::Malformed("there are only empty lines"));
            }
        }
        Ok(None)
    }
}
