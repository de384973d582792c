//! A client of WebSockets, written by hand, and the session protocol over it.

use super::http::{Answer, Client};
use super::stage::{Session, Stage};
use socket_protector::session::credential::{BootId, Mac, Nonce};
use socket_protector::session::frame::{Decoder, Frame, Mode, Resume, encode_preface};
use std::io::Read;

/// What asks for a WebSocket.
pub(super) const UPGRADE: [(&str, &str); 5] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "socket-protector.v1"),
];

pub(super) const BINARY: u8 = 2;
pub(super) const TEXT: u8 = 1;

/// An open WebSocket.
pub(super) struct Socket {
    client: Client,
    decoder: Decoder,
    rest: Vec<u8>,
}

/// A message, or the code of the close.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Binary(Vec<u8>),
    Close(u16),
}

impl Socket {
    /// Opens one, or gives the answer that says why not.
    #[track_caller]
    pub(super) fn open(stage: &Stage, session: &Session, more: &[(&str, &str)]) -> Result<Socket, Answer> {
        let headers = [&UPGRADE[..], &[session.header()], more].concat();
        Socket::open_with(stage, session, &headers)
    }

    #[track_caller]
    pub(super) fn open_with(stage: &Stage, session: &Session, headers: &[(&str, &str)]) -> Result<Socket, Answer> {
        let mut client = stage.client();
        client.send("GET", &session.path("/ws"), headers, b"");
        let head = client.head();
        if head.status != 101 {
            let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            client.stream.read_exact(&mut body).unwrap();
            return Err(Answer { body, ..head });
        }
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(head.header("sec-websocket-protocol"), Some("socket-protector.v1"));
        assert_eq!(head.header("sec-websocket-extensions"), None, "nothing is compressed");
        Ok(Socket { client, decoder: Decoder::new(), rest: Vec::new() })
    }

    /// Sends a frame, of which everything can be wrong.
    pub(super) fn frame(&mut self, first: u8, masked: bool, payload: &[u8]) {
        let mut bytes = vec![first];
        let mask = if masked { 0x80 } else { 0 };
        match payload.len() {
            length @ 0..126 => bytes.push(mask | length as u8),
            length @ 126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend([1, 2, 3, 4]);
        }
        let key = |at: usize| if masked { [1, 2, 3, 4][at % 4] } else { 0 };
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key(at)));
        self.client.say(&bytes);
    }

    /// Sends a whole binary message.
    pub(super) fn send(&mut self, payload: &[u8]) {
        self.frame(0x80 | BINARY, true, payload);
    }

    /// What comes next, PINGs of WebSockets left out.
    #[track_caller]
    pub(super) fn receive(&mut self) -> Said {
        loop {
            let mut head = [0; 2];
            self.client.stream.read_exact(&mut head).unwrap();
            assert_eq!(head[0] & 0xf0, 0x80, "whole messages without extensions");
            let mut length = u64::from(head[1]);
            if length >= 126 {
                let mut long = vec![0; if length == 126 { 2 } else { 8 }];
                self.client.stream.read_exact(&mut long).unwrap();
                length = long.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
            }
            let mut payload = vec![0; length as usize];
            self.client.stream.read_exact(&mut payload).unwrap();
            match head[0] & 0x0f {
                BINARY => return Said::Binary(payload),
                8 => return Said::Close(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
                9 | 10 => {}
                other => panic!("a frame of kind {other}"),
            }
        }
    }

    /// The code that it is closed with, whatever comes before.
    #[track_caller]
    pub(super) fn closed(&mut self) -> u16 {
        loop {
            if let Said::Close(code) = self.receive() {
                return code;
            }
        }
    }

    /// Resumes from an offset on, without a proof, and reads up to ACCEPT.
    #[track_caller]
    pub(super) fn resume(&mut self, session: &Session, next: u64) {
        self.send(&resume(session, next));
        let attached = self.until(|frame| match frame {
            Frame::Accept(_) => Some(true),
            Frame::Reject(_) => Some(false),
            _ => None,
        });
        assert!(attached, "the session is not resumed");
        self.decoder.proved();
    }

    /// Reads frames until one means something.
    #[track_caller]
    pub(super) fn until<T>(&mut self, mut look: impl FnMut(Frame<'_>) -> Option<T>) -> T {
        loop {
            let taken = self.decoder.feed(&self.rest);
            self.rest.drain(..taken);
            while let Some(frame) = self.decoder.frame().unwrap() {
                if let Some(found) = look(frame) {
                    return found;
                }
            }
            if self.rest.is_empty() {
                match self.receive() {
                    Said::Binary(bytes) => self.rest.extend(bytes),
                    Said::Close(code) => panic!("closed with {code}"),
                }
            }
        }
    }

    /// Output from one offset up to another, at the least; acknowledged as it comes.
    #[track_caller]
    pub(super) fn output(&mut self, from: u64, until: u64) -> Vec<u8> {
        use socket_protector::session::frame::Ack;
        let mut bytes = Vec::new();
        while from + (bytes.len() as u64) < until {
            let next = from + bytes.len() as u64;
            let part = self.until(|frame| match frame {
                Frame::Data { offset, bytes } => {
                    assert_eq!(offset, next);
                    Some(bytes.to_vec())
                }
                _ => None,
            });
            bytes.extend(part);
            let mut ack = Vec::new();
            let next = from + bytes.len() as u64;
            Frame::Ack(Ack { next, window: 256 * 1024, end: false, written: None }).encode(&mut ack);
            self.send(&ack);
        }
        bytes
    }
}

/// What a page says first.
pub(super) fn resume(session: &Session, next: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_preface(&mut bytes);
    let resume = Resume {
        id: session.id.parse().unwrap(),
        boot_seen: BootId([0; 16]),
        nonce: Nonce([7; 32]),
        next,
        mode: Mode::Steal,
        mac: Mac([0; 32]),
    };
    Frame::Resume(resume).encode(&mut bytes);
    bytes
}
