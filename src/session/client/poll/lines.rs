//! Standard input as lines.

use std::collections::VecDeque;

/// A line without an end goes in pieces of this size.
const PIECE: usize = 64 * 1024;
/// What ends a line on its way.
const LINE_END: &[u8] = b"\r\n";

/// Lines of what was read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    pub(super) whole: VecDeque<Vec<u8>>,
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.ends_with(b"\n") {
                self.begun.pop();
                self.begun.pop_if(|last| *last == b'\r');
                self.complete();
            }
            while self.begun.len() > PIECE {
                let rest = self.begun.split_off(PIECE);
                self.whole.push_back(std::mem::replace(&mut self.begun, rest));
            }
        }
    }

    /// What was begun is a line. An empty one is no input: it only polls.
    fn complete(&mut self) {
        let mut line = std::mem::take(&mut self.begun);
        if !line.is_empty() {
            line.extend_from_slice(LINE_END);
        }
        self.whole.push_back(line);
    }

    /// How many bytes of them there are.
    pub(super) fn length(&self) -> usize {
        self.whole.iter().map(Vec::len).sum()
    }

    pub(super) fn end(&mut self) {
        if !self.begun.is_empty() {
            self.complete();
        }
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, PIECE};

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        pieces.iter().for_each(|piece| lines.push(piece));
        lines.end();
        lines.whole.into()
    }

    #[test]
    fn a_line_gets_its_end_and_an_empty_one_is_no_input() {
        assert_eq!(lines(&[b"ls\n\npwd\r\n"]), [b"ls\r\n".to_vec(), vec![], b"pwd\r\n".to_vec()]);
        assert_eq!(lines(&[b"l", b"s", b"\r", b"\n\r\n"]), [b"ls\r\n".to_vec(), vec![]]);
        assert_eq!(lines(&[b"ls"]), [b"ls\r\n".to_vec()], "the last one may have no end");
        assert_eq!(lines(&[b"a\rb\n"]), [b"a\rb\r\n".to_vec()]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn a_line_without_an_end_goes_in_pieces() {
        let long = vec![b'x'; 2 * PIECE + 3];
        let pieces = lines(&[&long[..PIECE + 1], &long[PIECE + 1..], b"\n"]);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [PIECE, PIECE, 5]);
        assert_eq!(pieces.concat(), [&long[..], b"\r\n"].concat());
    }
}
