//! A client of HTTP/1.1, written by hand: it says exactly what the trial wants and hides nothing of the answer.

use crate::harness::PATIENCE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The only header of that name.
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} is there twice: {self:?}");
        first
    }

    #[track_caller]
    pub(super) fn number(&self, name: &str) -> u64 {
        self.header(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).parse().unwrap()
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It is this status with this code.
    #[track_caller]
    pub(super) fn expect_error(&self, status: u16, code: &str) -> Value {
        let said = self.json();
        assert_eq!((self.status, said["error"].as_str()), (status, Some(code)), "{said}");
        assert!(said["message"].as_str().is_some_and(|message| !message.is_empty()), "{said}");
        said
    }

    /// It is output from this offset on; the bytes.
    #[track_caller]
    pub(super) fn expect_output(self, offset: u64) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/octet-stream"));
        assert_eq!(self.number("stream-offset"), offset);
        assert_eq!(self.number("stream-next-offset"), offset + self.body.len() as u64);
        self.body
    }
}

/// A connection.
pub(super) struct Client {
    pub(super) stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    #[track_caller]
    pub(super) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 4)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream), host: address.to_string() }
    }

    /// Says this and nothing else.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a request. A `Host` among the headers stands in the place of ours.
    pub(super) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.host);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method != "GET" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.say(&bytes);
    }

    #[track_caller]
    pub(super) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(method, path, headers, body);
        self.answer()
    }

    /// The head of an answer.
    #[track_caller]
    pub(super) fn head(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut answer = Answer { status: status.expect("a status"), headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line();
            if line.is_empty() {
                return answer;
            }
            let (name, value) = line.split_once(':').unwrap();
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// A whole answer.
    #[track_caller]
    pub(super) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    /// A piece of an answer whose length nobody knows; none at its end.
    #[track_caller]
    pub(super) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; length];
        self.stream.read_exact(&mut chunk).unwrap();
        assert_eq!(self.line(), "");
        (length > 0).then_some(chunk)
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "the answer ends with {line:?}");
        line.trim_end().to_owned()
    }

    /// Whether the other end has closed.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }
}

/// A stream of events.
pub(super) struct Events {
    client: Client,
    text: String,
    pub(super) last_id: Option<u64>,
    pub(super) retry: Option<u64>,
}

/// An event with its data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

impl Events {
    /// Follows; the answer instead if it is no stream of events.
    #[track_caller]
    pub(super) fn follow(mut client: Client, path: &str, headers: &[(&str, &str)]) -> Result<Events, Answer> {
        client.send("GET", path, headers, b"");
        let head = client.head();
        if head.status != 200 {
            let mut body = vec![0; head.number("content-length") as usize];
            client.stream.read_exact(&mut body).unwrap();
            return Err(Answer { body, ..head });
        }
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        Ok(Events { client, text: String::new(), last_id: None, retry: None })
    }

    /// The next event with data; none at the end.
    #[track_caller]
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.take(&block) {
                    return Some(event);
                }
            }
            self.text += &String::from_utf8(self.client.chunk()?).unwrap();
        }
    }

    fn take(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = (None, None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("data", value)) => data = Some(value.to_owned()),
                Some(("id", value)) => self.last_id = Some(value.parse().unwrap()),
                Some(("retry", value)) => self.retry = Some(value.parse().unwrap()),
                _ => assert!(line.starts_with(':'), "{line:?}"),
            }
        }
        Some(Event { name: name.unwrap_or_default(), data: data? })
    }

    /// Output up to this offset, from where it is; or less, if the stream ends before.
    #[track_caller]
    pub(super) fn output(&mut self, until: u64) -> Vec<u8> {
        use base64::Engine;
        let mut bytes = Vec::new();
        while self.last_id.is_none_or(|id| id < until) {
            match self.next() {
                Some(event) if event.name == "output" => {
                    bytes.extend(base64::prelude::BASE64_STANDARD.decode(event.data).unwrap());
                }
                Some(event) => panic!("{event:?}"),
                None => break,
            }
        }
        bytes
    }
}
