//! A client: the bytes of a stream each way, as they are or in the session protocol. Of that it speaks the least that is needed:
//! it acknowledges after 64 KiB, or with what it sends next.

use crate::common::Result;
use crate::road::{Road, post};
use serde::{Deserialize, Serialize};
use socket_protector::session::credential::{BootId, Mac, Nonce, Secret, SessionId, Transcript, random};
use socket_protector::session::frame::{
    Accept, Ack, Decoder, Frame, Hello, Mode, New, Resume, data_head, encode_preface,
};
use std::time::{Duration, Instant};

/// So much output is acknowledged at once.
const ACKNOWLEDGED: u64 = 64 * 1024;
/// How much output may be under way; more than any session keeps, so that all of it comes also if nothing is acknowledged.
const WINDOW: u32 = 2 << 20;
/// Bytes of a DATA frame's payload that are not the stream's.
const DATA_OFFSET: usize = 8;

/// How long a gateway that is killed may still take connections.
const SETTLES: Duration = Duration::from_secs(5);

/// How a client comes to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By bytes as they are.
    Plain,
    /// By a WebSocket whose messages are the bytes.
    WebSocket,
    /// By the session protocol.
    Session,
    /// By the session protocol over the gateway's WebSocket.
    Page,
}

/// A client with its connection.
pub struct Client {
    road: Road,
    session: Option<Session>,
}

/// What it takes to come again.
struct Ticket {
    id: SessionId,
    /// As text. The gateway's client has it for the head of its request alone.
    secret: String,
    boot: BootId,
}

/// A session, as its client knows it.
pub struct Session {
    way: Way,
    ticket: Ticket,
    decoder: Decoder,
    longest: usize,
    /// How far the output has come, and how far that was acknowledged.
    output: u64,
    acknowledged: u64,
    /// It acknowledges what has come.
    acknowledges: bool,
    /// How far the input has come, and how far it may.
    input: u64,
    granted: u64,
    out: Vec<u8>,
    /// Came with the answer to the handshake.
    early: Vec<u8>,
    /// Came while there was something to be sent: how many bytes of output, and the last of them.
    meanwhile: (u64, u8),
}

impl Client {
    /// Comes to the destination for the first time.
    pub fn open(way: Way, port: u16) -> Result<Client> {
        match way {
            Way::Plain => Ok(Client { road: Road::plain(port)?, session: None }),
            Way::WebSocket => Ok(Client { road: Road::web_socket(port, "/", "binary", None)?, session: None }),
            Way::Session => {
                let mut road = Road::plain(port)?;
                let session = Session::create(&mut road)?;
                Ok(Client { road, session: Some(session) })
            }
            Way::Page => {
                let made: serde_json::Value = serde_json::from_str(&post(port, "/v1/sessions", "{}")?)?;
                let text = |field: &str| made[field].as_str().ok_or("no session was made");
                let ticket = Ticket { id: text("id")?.parse()?, secret: text("secret")?.into(), boot: BootId([0; 16]) };
                Session::of(way, ticket).resume(port)
            }
        }
    }

    /// Leaves by closing the connection, and comes to its session again.
    pub fn come_again(self, port: u16) -> Result<Client> {
        let Client { road, session } = self;
        drop(road);
        session.ok_or("there is no session")?.resume(port)
    }

    /// From now on nothing is acknowledged, or everything.
    pub fn acknowledge(&mut self, acknowledges: bool) -> Result<()> {
        if let Some(session) = &mut self.session {
            session.acknowledges = acknowledges;
            session.ack();
            session.flush(&mut self.road)?;
        }
        Ok(())
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.session {
            None => self.road.send(bytes),
            Some(session) => session.send(&mut self.road, bytes),
        }
    }

    /// Receives at least one byte of the stream; how many, and the last of them.
    pub fn receive(&mut self) -> Result<(u64, u8)> {
        match &mut self.session {
            None => {
                let bytes = self.road.receive()?;
                Ok((bytes.len() as u64, bytes[bytes.len() - 1]))
            }
            Some(session) if session.meanwhile.0 > 0 => Ok(std::mem::take(&mut session.meanwhile)),
            Some(session) => loop {
                let got = session.receive(&mut self.road)?;
                if got.0 > 0 {
                    return Ok(got);
                }
            },
        }
    }
}

impl Session {
    fn of(way: Way, ticket: Ticket) -> Session {
        Session {
            way,
            ticket,
            decoder: Decoder::new(),
            longest: 0,
            output: 0,
            acknowledged: 0,
            acknowledges: true,
            input: 0,
            granted: 0,
            out: Vec::new(),
            early: Vec::new(),
            meanwhile: (0, 0),
        }
    }

    fn create(road: &mut Road) -> Result<Session> {
        let ticket = Ticket { id: SessionId([0; 16]), secret: String::new(), boot: BootId([0; 16]) };
        let mut session = Session::of(Way::Session, ticket);
        let said = session.greet(road)?;
        Frame::New(New { nonce: said.client, ttl: 0 }).encode(&mut session.out);
        session.flush(road)?;
        let accept = session.accepted(road)?;
        let secret = accept.secret.ok_or("no secret was told")?;
        session.ticket = Ticket { id: accept.id, secret: secret.to_text().to_string(), boot: said.boot };
        Frame::Confirm(secret.key().confirm(&said, accept.id)).encode(&mut session.out);
        session.begin(road)?;
        Ok(session)
    }

    fn resume(mut self, port: u16) -> Result<Client> {
        let mut road = match self.way {
            Way::Page => {
                let path = format!("/v1/sessions/{}/ws", self.ticket.id);
                let began = Instant::now();
                loop {
                    match Road::web_socket(port, &path, "socket-protector.v1", Some(&self.ticket.secret)) {
                        Ok(road) => break road,
                        // It was in the queue of a gateway that was killed.
                        Err(_) if began.elapsed() < SETTLES => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            _ => Road::plain(port)?,
        };
        (self.decoder, self.output) = (Decoder::new(), self.acknowledged);
        self.out.clear();
        self.early.clear();
        let said = self.greet(&mut road)?;
        let (id, next, mode) = (self.ticket.id, self.output, Mode::Steal);
        let mac = match self.way {
            // The gateway puts its own in its place.
            Way::Page => Mac([0; 32]),
            _ => Secret::from_text(&self.ticket.secret)?.key().resume(&said, id, next, mode.code()),
        };
        let resume = Resume { id, boot_seen: self.ticket.boot, nonce: said.client, next, mode, mac };
        Frame::Resume(resume).encode(&mut self.out);
        self.flush(&mut road)?;
        let accept = self.accepted(&mut road)?;
        if accept.output_base > next {
            return Err("some of the output is lost".into());
        }
        self.input = accept.input_next;
        self.begin(&mut road)?;
        Ok(Client { road, session: Some(self) })
    }

    fn greet(&mut self, road: &mut Road) -> Result<Transcript> {
        encode_preface(&mut self.out);
        self.flush(road)?;
        let hello = self.next(road, |frame| match frame {
            Frame::Hello(hello) => Some(hello),
            _ => None,
        })?;
        let Hello { version, boot, nonce, max_payload, .. } = hello;
        self.longest = usize::from(max_payload) - DATA_OFFSET;
        Ok(Transcript { version, boot, server: nonce, client: Nonce(random()?) })
    }

    fn accepted(&mut self, road: &mut Road) -> Result<Accept> {
        let accept = self.next(road, |frame| match frame {
            Frame::Accept(accept) => Some(accept),
            _ => None,
        })?;
        self.decoder.proved();
        Ok(accept)
    }

    /// Opens the window, and waits for the server's.
    fn begin(&mut self, road: &mut Road) -> Result<()> {
        self.ack();
        self.flush(road)?;
        self.granted = self.next(road, |frame| match frame {
            Frame::Ack(ack) => Some(ack.next + u64::from(ack.window)),
            _ => None,
        })?;
        Ok(())
    }

    /// The next frame, which has to be the one that is waited for.
    fn next<T>(&mut self, road: &mut Road, what: impl Fn(Frame<'_>) -> Option<T>) -> Result<T> {
        loop {
            if let Some(frame) = self.decoder.frame()? {
                let text = format!("{frame:?}");
                return what(frame).ok_or_else(|| format!("unexpected: {text}").into());
            }
            if self.early.is_empty() {
                self.early.extend_from_slice(road.receive()?);
            }
            let taken = self.decoder.feed(&self.early);
            self.early.drain(..taken);
        }
    }

    fn flush(&mut self, road: &mut Road) -> Result<()> {
        if !self.out.is_empty() {
            road.send(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    fn ack(&mut self) {
        if self.acknowledges {
            self.acknowledged = self.output;
        }
        let ack = Ack { next: self.acknowledged, window: WINDOW, end: false, written: None };
        Frame::Ack(ack).encode(&mut self.out);
    }

    fn send(&mut self, road: &mut Road, mut bytes: &[u8]) -> Result<()> {
        if self.acknowledges && self.acknowledged < self.output {
            self.ack();
        }
        while !bytes.is_empty() {
            let room = self.granted.saturating_sub(self.input).min(self.longest as u64) as usize;
            if room == 0 {
                self.flush(road)?;
                let (count, last) = self.receive(road)?;
                if count > 0 {
                    self.meanwhile = (self.meanwhile.0 + count, last);
                }
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.out.extend_from_slice(&data_head(self.input, now.len()));
            self.out.extend_from_slice(now);
            self.input += now.len() as u64;
            bytes = later;
        }
        self.flush(road)
    }

    /// Takes in what comes next; how many bytes of output are among it, and the last of them.
    fn receive(&mut self, road: &mut Road) -> Result<(u64, u8)> {
        let early = std::mem::take(&mut self.early);
        let mut got = self.hear(&early)?;
        if got.0 == 0 {
            got = self.hear(road.receive()?)?;
        }
        if self.acknowledges && self.output - self.acknowledged >= ACKNOWLEDGED {
            self.ack();
            self.flush(road)?;
        }
        Ok(got)
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Result<(u64, u8)> {
        let (mut count, mut last) = (0, 0);
        loop {
            let taken = self.decoder.feed(bytes);
            bytes = &bytes[taken..];
            while let Some(frame) = self.decoder.frame()? {
                match frame {
                    Frame::Data { offset, bytes } if offset == self.output => {
                        self.output += bytes.len() as u64;
                        count += bytes.len() as u64;
                        last = bytes[bytes.len() - 1];
                    }
                    Frame::Ack(ack) => self.granted = self.granted.max(ack.next + u64::from(ack.window)),
                    Frame::Destination(_) | Frame::Ping(_) => {}
                    frame => return Err(format!("unexpected: {frame:?}").into()),
                }
            }
            if bytes.is_empty() {
                return Ok((count, last));
            }
        }
    }
}
