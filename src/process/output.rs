//! What a child writes to its standard output and error: pipes that outlive us, lines, and the last of them.

use nix::fcntl::OFlag;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A longer line is told in pieces of this many bytes; with its preface it stays below PIPE_BUF, so that one write
/// cannot be torn by another's.
const LONGEST_LINE: usize = 3500;
/// How many lines are kept for the message about a failed start.
const KEPT_LINES: usize = 10;

/// A pipe for a child's output: our end, which does not block, and the child's.
///
/// The child's end is open for reading too (a fifo allows it, see fifo(7)), so that our death makes the child's writes
/// no EPIPE. End of file comes to us all the same, when the last writer is gone.
///
/// # Errors
/// Those of pipe2(2).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let path = format!("/proc/self/fd/{}", write.as_raw_fd());
    // Without /proc the plain end has to do.
    let write = OpenOptions::new().read(true).write(true).open(path).map_or(write, OwnedFd::from);
    Ok((read, write))
}

/// Cuts bytes into lines; one that has not ended yet is kept, one that is too long is told in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes in bytes and gives each whole line, without its end, to `each`.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            while self.partial.len() > LONGEST_LINE && self.partial.last() != Some(&b'\n')
                || self.partial.len() > LONGEST_LINE + 1
            {
                each(&self.partial[..LONGEST_LINE]);
                self.partial.drain(..LONGEST_LINE);
            }
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                each(self.partial.strip_suffix(b"\r").unwrap_or(&self.partial));
                self.partial.clear();
            }
        }
    }

    /// Gives what has no end as a line of its own: nothing will follow.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            each(&self.partial);
            self.partial.clear();
        }
    }
}

/// The last lines of a child's standard error.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    /// Adds a line; the oldest goes when there are too many.
    pub fn push(&mut self, line: &[u8]) {
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(printable(line));
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

/// Text that can do nothing to a terminal or to the form of a log.
pub fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_LINE, Lines, Tail, pipe, printable};
    use std::fs::File;
    use std::io::{Read, Write};

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| told.push(line.to_vec()));
        }
        lines.finish(|line| told.push(line.to_vec()));
        told
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_are() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n", b"\nthree"]), [&b"one"[..], b"two", b"", b"three"]);
        assert_eq!(lines(&[]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_long_line_is_told_in_pieces_and_no_byte_is_lost() {
        let long = vec![b'x'; LONGEST_LINE * 2 + 5];
        let told = lines(&[&long, b"\nshort\n"]);
        assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST_LINE, LONGEST_LINE, 5, 5]);
        let exact = [vec![b'y'; LONGEST_LINE], b"\n".to_vec()].concat();
        assert_eq!(lines(&[&exact]).len(), 1);
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        (0..30).for_each(|number| tail.push(format!("line {number}").as_bytes()));
        assert_eq!(tail.lines().next(), Some("line 20"));
        assert_eq!(tail.lines().count(), 10);
    }

    #[test]
    fn control_characters_are_not_printed() {
        assert_eq!(printable(b"a\x1b[31mb\tc\xff"), "a\u{fffd}[31mb\tc\u{fffd}");
    }

    #[test]
    fn the_writer_survives_the_reader_and_its_end_is_end_of_file() {
        let (read, write) = pipe().unwrap();
        let mut write = File::from(write);
        write.write_all(b"x").unwrap();
        let mut read = File::from(read);
        let mut bytes = Vec::new();
        assert_eq!(read.read_to_end(&mut bytes).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let second = pipe().unwrap();
        drop(second.0);
        File::from(second.1).write_all(b"nobody reads this").expect("no EPIPE");
        drop(write);
        assert_eq!(read.read_to_end(&mut bytes).unwrap(), 0);
        assert_eq!(bytes, b"x");
    }
}
