//! The first line of an answer by HTTP/1: its status, from bytes as they come, without keeping any. Pure.

/// The most bytes before the status of the final answer: its own line, and interim answers with their heads.
const LONGEST: usize = 16 * 1024;
/// What every answer by HTTP/1 begins with.
const START: &[u8] = b"HTTP/1.";

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not enough yet.
    More,
    /// The status of the final answer.
    Status(u16),
    /// This is no HTTP/1.
    Garbage,
    /// Nothing final came in as many bytes as are looked at.
    Endless,
}

/// Reads the status of an answer. Interim answers (100 to 199, but for 101) are passed over; see RFC 9112 and RFC 9110.
#[derive(Clone, Debug)]
pub struct StatusLine {
    place: Place,
    /// The status, as far as it has been read.
    status: u16,
    left: usize,
}

/// Where in an answer the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// So far into the status line.
    Status(usize),
    /// In the rest of an interim answer's head; `empty`: at the beginning of a line.
    Interim { empty: bool },
}

impl StatusLine {
    /// Nothing has been read.
    pub fn new() -> StatusLine {
        StatusLine { place: Place::Status(0), status: 0, left: LONGEST }
    }

    /// Takes in what came next. After anything but [`Answer::More`] there is nothing left to be said.
    pub fn read(&mut self, bytes: &[u8]) -> Answer {
        for byte in bytes {
            if self.left == 0 {
                return Answer::Endless;
            }
            self.left -= 1;
            match self.place {
                Place::Status(at) => match self.status_byte(at, *byte) {
                    Answer::More => {}
                    answer => return answer,
                },
                Place::Interim { empty: true } if *byte == b'\n' => {
                    (self.place, self.status) = (Place::Status(0), 0);
                }
                Place::Interim { empty } => {
                    let begins = *byte == b'\n' || (empty && *byte == b'\r');
                    self.place = Place::Interim { empty: begins };
                }
            }
        }
        Answer::More
    }

    fn status_byte(&mut self, at: usize, byte: u8) -> Answer {
        let fits = match at {
            0..7 => byte == START[at],
            7 => byte.is_ascii_digit(),
            8 => byte == b' ',
            9..12 => byte.is_ascii_digit(),
            _ => matches!(byte, b' ' | b'\r' | b'\n'),
        };
        if !fits {
            return Answer::Garbage;
        }
        match at {
            9..12 => self.status = self.status * 10 + u16::from(byte - b'0'),
            12 if self.status < 100 => return Answer::Garbage,
            // Switching protocols is final: no other answer follows it.
            12 if self.status >= 200 || self.status == 101 => return Answer::Status(self.status),
            12 => {
                self.place = Place::Interim { empty: byte == b'\n' };
                return Answer::More;
            }
            _ => {}
        }
        self.place = Place::Status(at + 1);
        Answer::More
    }
}

impl Default for StatusLine {
    fn default() -> Self {
        StatusLine::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, LONGEST, StatusLine};

    /// The answer in one piece, which must be the same byte by byte.
    fn read(bytes: &[u8]) -> Answer {
        let whole = StatusLine::new().read(bytes);
        let mut line = StatusLine::new();
        let mut pieces = bytes.iter().map(|byte| line.read(&[*byte]));
        let last = pieces.find(|answer| *answer != Answer::More).unwrap_or(Answer::More);
        assert_eq!(whole, last, "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn the_status_is_read_as_soon_as_it_is_whole() {
        for (text, status) in [
            ("HTTP/1.1 200 OK\r\n", 200),
            ("HTTP/1.0 204\r\n", 204),
            ("HTTP/1.1 301 ", 301),
            ("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n", 503),
            ("HTTP/1.9 999\n", 999),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 101),
        ] {
            assert_eq!(read(text.as_bytes()), Answer::Status(status), "{text}");
        }
        let text = "HTTP/1.1 200 ";
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), Answer::More, "{}", &text[..end]);
        }
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        assert_eq!(read(hints.as_bytes()), Answer::More);
        assert_eq!(read(format!("{hints}{hints}HTTP/1.1 200 OK\r\n").as_bytes()), Answer::Status(200));
        assert_eq!(read(b"HTTP/1.1 100\r\n\r\nHTTP/1.1 503 No\r\n"), Answer::Status(503));
        assert_eq!(read(b"HTTP/1.1 100\n\nHTTP/1.1 204\n"), Answer::Status(204));
        assert_eq!(read(b"HTTP/1.1 100 Continue\r\n\r\n\r\n"), Answer::Garbage);
    }

    #[test]
    fn what_is_no_http_is_told_at_its_first_wrong_byte() {
        for text in [
            "\r\nHTTP/1.1 200 OK\r\n",
            "SSH-2.0-x\r\n",
            "http/1.1 200 ",
            "HTTP/2 200 ",
            "HTTP/1.x 200 ",
            "HTTP/1.1  200 ",
            "HTTP/1.1 20 ",
            "HTTP/1.1 2000 ",
            "HTTP/1.1 -20 ",
            "HTTP/1.1 099 ",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1\n200 ",
            "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{16}",
        ] {
            assert_eq!(read(text.as_bytes()), Answer::Garbage, "{text:?}");
        }
    }

    #[test]
    fn a_head_without_an_end_ends_here() {
        let endless = ["HTTP/1.1 100 Continue\r\nX: ", &"y".repeat(2 * LONGEST)].concat();
        assert_eq!(read(endless.as_bytes()), Answer::Endless);
        let again_and_again = "HTTP/1.1 102\r\n\r\n".repeat(LONGEST / 8);
        assert_eq!(read(again_and_again.as_bytes()), Answer::Endless);
    }

    #[test]
    fn any_bytes_come_to_an_answer_without_a_panic() {
        let mut seed = 3_u64;
        let good = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        for _ in 0..5000 {
            let mut bytes = good.to_vec();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = (seed >> 33) as usize % bytes.len();
                bytes[place] = (seed >> 25) as u8;
            }
            if let Answer::Status(status) = read(&bytes) {
                assert!((200..1000).contains(&status) || status == 101);
            }
        }
    }
}
