//! A client that writes and reads bytes, and takes apart what it gets as strictly as can be.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::children::pattern;
use crate::harness::PATIENCE;

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Head {
    /// The values of a field, each line for itself.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.text.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// The same connection once more, for another thread.
    pub(crate) fn clone(&self) -> Client {
        Client { stream: self.stream.try_clone().unwrap() }
    }

    /// The connection itself, once no head is to come any more.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends the pattern's first bytes.
    #[track_caller]
    pub(crate) fn send_pattern(&mut self, count: u64) {
        pattern::write(&mut self.stream, count).unwrap();
    }

    /// How many bytes come that are the pattern's, at most so many.
    #[track_caller]
    pub(crate) fn pattern(&mut self, count: u64) -> u64 {
        pattern::read(&mut self.stream, count).unwrap()
    }

    /// Sends, and does not mind if nobody reads it.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The end of the connection will be a reset.
    pub(crate) fn reset(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// One head, interim ones included.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let byte = self
                .byte()
                .unwrap_or_else(|| panic!("the connection ends in a head: {:?}", String::from_utf8_lossy(&bytes)));
            bytes.push(byte);
        }
        let text = String::from_utf8(bytes).unwrap();
        let rest = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "));
        let status = rest.unwrap_or_else(|| panic!("no answer: {text:?}"))[..3].parse().unwrap();
        Head { status, text }
    }

    /// The body of an answer with this head, to a request other than HEAD. One that does not end well is a failure.
    #[track_caller]
    pub(crate) fn body(&mut self, head: &Head) -> Vec<u8> {
        self.try_body(head).unwrap_or_else(|so_far| panic!("the body ends after {} bytes", so_far.len()))
    }

    /// The same; or what came before an end that is none.
    pub(crate) fn try_body(&mut self, head: &Head) -> Result<Vec<u8>, Vec<u8>> {
        if matches!(head.status, 100..=199 | 204 | 304) {
            return Ok(Vec::new());
        }
        if head.field("transfer-encoding") == Some("chunked") {
            return self.chunks().map(|(body, _)| body);
        }
        match head.field("content-length") {
            Some(length) => {
                let mut body = Vec::new();
                for _ in 0..length.parse::<usize>().unwrap() {
                    let Some(byte) = self.byte() else { return Err(body) };
                    body.push(byte);
                }
                Ok(body)
            }
            None => Ok(self.rest()),
        }
    }

    /// A body in chunks, and its trailers.
    pub(crate) fn chunks(&mut self) -> Result<(Vec<u8>, String), Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line() else { return Err(body) };
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            for _ in 0..size {
                let Some(byte) = self.byte() else { return Err(body) };
                body.push(byte);
            }
            assert_eq!(self.line().as_deref().unwrap_or(""), "");
        }
        let mut trailers = String::new();
        loop {
            match self.line() {
                None => return Err(body),
                Some(line) if line.is_empty() => return Ok((body, trailers)),
                Some(line) => trailers += &format!("{line}\n"),
            }
        }
    }

    /// The rest of a body of a known length, behind what has been read of it.
    #[track_caller]
    pub(crate) fn rest_of(&mut self, head: &Head, read: &[u8]) -> Vec<u8> {
        let length: usize = head.field("content-length").unwrap().parse().unwrap();
        [read, &self.bytes(length - read.len())].concat()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.byte()?);
        }
        line.truncate(line.len() - 2);
        Some(String::from_utf8(line).unwrap())
    }

    /// The next byte; none when the connection has ended, well or not.
    #[track_caller]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte().expect("more bytes")).collect()
    }

    /// All that comes until the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(byte) = self.byte() {
            rest.push(byte);
        }
        rest
    }

    /// How many bytes come until the end.
    #[track_caller]
    pub(crate) fn swallow(&mut self) -> usize {
        let (mut buffer, mut all) = (vec![0; 256 * 1024], 0);
        loop {
            match self.stream.read(&mut buffer).unwrap() {
                0 => return all,
                count => all += count,
            }
        }
    }

    /// Whether anything has come, or the connection has ended; without waiting.
    pub(crate) fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// How much can be written before nobody takes any more for a while, at most so much.
    pub(crate) fn write_until_stuck(&mut self, most: usize) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (piece, mut written) = ([b'x'; 64 * 1024], 0);
        while written < most {
            match self.stream.write(&piece) {
                Ok(count) => written += count,
                Err(_) => break,
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        written
    }
}
