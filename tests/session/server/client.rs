//! A client that speaks the frames of sessions: it does what it is told and nothing by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket_protector::session::credential::{BootId, Nonce, Secret, SessionId, Transcript, random};
use socket_protector::session::frame::{
    Accept, Ack, Closed, Decoder, Destination, Detached, Frame, Hello, Mode, New, Refusal, Resume, encode_preface,
};

use crate::harness::PATIENCE;

/// A window that nothing in these trials fills.
const WINDOW: u32 = 1 << 30;

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Hello(Hello),
    Accept(Accept),
    Reject(Refusal),
    Data(u64, Vec<u8>),
    Ack(Ack),
    Fin(u64),
    Reset(u64, u32),
    Gap(u64, u64),
    Destination(Destination),
    Closed(Closed),
    Detached(Detached),
    GoAway(u32),
    Ping([u8; 8]),
    Pong([u8; 8]),
    Event(u64, u8, Vec<u8>),
    Input(u64, u64),
    /// Nothing more: the connection has ended.
    End,
}

/// What is needed to come to a session again.
pub(super) struct Ticket {
    pub(super) id: SessionId,
    pub(super) text: String,
    pub(super) boot: BootId,
}

impl Ticket {
    pub(super) fn short(&self) -> String {
        self.id.to_string()[..8].to_owned()
    }
}

/// One connection to a server.
pub(super) struct Client<S: Read + Write = TcpStream> {
    stream: S,
    decoder: Decoder,
    unread: Vec<u8>,
    pub(super) said: Transcript,
    pub(super) hello: Hello,
    /// Output as far as it has come over this connection, and where it began.
    pub(super) start: u64,
    pub(super) output: Vec<u8>,
    /// Where the input goes on, and how far it may.
    pub(super) next: u64,
    granted: u64,
    pub(super) fin: Option<u64>,
}

/// A connection on which nothing has been said.
pub(super) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl Client {
    /// Connects, and has heard HELLO.
    #[track_caller]
    pub(super) fn connect(address: SocketAddr) -> Client {
        Client::over(dial(address))
    }

    /// Makes a session, and has confirmed it.
    #[track_caller]
    pub(super) fn create(address: SocketAddr) -> (Client, Ticket) {
        let mut client = Client::connect(address);
        let ticket = client.make();
        (client, ticket)
    }

    /// Comes to a session.
    #[track_caller]
    pub(super) fn come(address: SocketAddr, ticket: &Ticket, next: u64, mode: Mode) -> Client {
        let mut client = Client::connect(address);
        client.resume(ticket, next, mode).unwrap_or_else(|refusal| panic!("{refusal}"));
        client
    }

    /// Ends the connection so that the server sees a reset.
    pub(super) fn cut(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl<S: Read + Write> Client<S> {
    #[track_caller]
    pub(super) fn over(stream: S) -> Client<S> {
        let hello = Hello {
            version: 0,
            boot: BootId([0; 16]),
            nonce: Nonce([0; 32]),
            max_payload: 0,
            window: 0,
            heartbeat: 0,
            ttl: 0,
        };
        let said = Transcript { version: 1, boot: hello.boot, server: hello.nonce, client: Nonce(random().unwrap()) };
        let (decoder, unread, output) = (Decoder::new(), Vec::new(), Vec::new());
        let mut client =
            Client { stream, decoder, unread, said, hello, start: 0, output, next: 0, granted: 0, fin: None };
        let mut preface = Vec::new();
        encode_preface(&mut preface);
        client.write(&preface);
        match client.hear() {
            Said::Hello(hello) => {
                (client.said.version, client.said.boot, client.said.server) = (hello.version, hello.boot, hello.nonce);
                client.hello = hello;
            }
            other => panic!("{other:?} instead of HELLO"),
        }
        client
    }

    #[track_caller]
    pub(super) fn make(&mut self) -> Ticket {
        let nonce = self.said.client;
        self.say(&Frame::New(New { nonce, ttl: 0 }));
        let accept = match self.hear() {
            Said::Accept(accept) => accept,
            other => panic!("{other:?} instead of ACCEPT"),
        };
        let secret = accept.secret.as_ref().unwrap();
        let mac = secret.key().confirm(&self.said, accept.id);
        self.say(&Frame::Confirm(mac));
        self.decoder.proved();
        let ticket = Ticket { id: accept.id, text: secret.to_text().to_string(), boot: self.said.boot };
        self.hear_ack();
        ticket
    }

    pub(super) fn ask(&mut self, ticket: &Ticket, next: u64, mode: Mode) {
        let secret = Secret::from_text(&ticket.text).unwrap();
        let mac = secret.key().resume(&self.said, ticket.id, next, mode.code());
        let nonce = self.said.client;
        self.say(&Frame::Resume(Resume { id: ticket.id, boot_seen: ticket.boot, nonce, next, mode, mac }));
    }

    #[track_caller]
    pub(super) fn resume(&mut self, ticket: &Ticket, next: u64, mode: Mode) -> Result<Accept, Refusal> {
        self.ask(ticket, next, mode);
        match self.hear() {
            Said::Accept(accept) => {
                self.decoder.proved();
                self.start = if next == u64::MAX { accept.output_base } else { next };
                if mode != Mode::Observe {
                    self.hear_ack();
                }
                Ok(accept)
            }
            Said::Reject(refusal) => Err(refusal),
            other => panic!("{other:?} instead of an answer"),
        }
    }

    #[track_caller]
    fn hear_ack(&mut self) {
        loop {
            match self.hear() {
                Said::Ack(ack) => {
                    self.next = ack.next;
                    return;
                }
                Said::Input(..) => {}
                other => panic!("{other:?} instead of ACK"),
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The server has proved itself: frames may have any length.
    pub(super) fn prove(&mut self) {
        self.decoder.proved();
    }

    pub(super) fn say(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.write(&bytes);
    }

    /// Sends input in frames, within the window.
    #[track_caller]
    pub(super) fn type_in(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8 * 1024) {
            while self.next + part.len() as u64 > self.granted {
                self.take();
            }
            self.say(&Frame::Data { offset: self.next, bytes: part });
            self.next += part.len() as u64;
        }
    }

    /// What the server says next.
    #[track_caller]
    pub(super) fn hear(&mut self) -> Said {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let taken = self.decoder.feed(&self.unread);
            self.unread.drain(..taken);
            if let Some(said) = self.decoder.frame().unwrap().map(owned) {
                if let Said::Ack(ack) = &said {
                    self.granted = self.granted.max(ack.next + u64::from(ack.window));
                }
                return said;
            }
            let mut room = [0; 16 * 1024];
            match self.stream.read(&mut room) {
                Ok(0) => return Said::End,
                Ok(count) => self.unread.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Said::End,
                Err(error) => panic!("nothing was heard: {error}"),
            }
            assert!(Instant::now() < deadline, "nothing whole was heard");
        }
    }

    /// Takes in what the server says next: output is collected and answered.
    #[track_caller]
    pub(super) fn take(&mut self) -> Said {
        let said = self.hear();
        match &said {
            Said::Data(offset, bytes) => {
                assert_eq!(*offset, self.start + self.output.len() as u64, "output in order");
                self.output.extend_from_slice(bytes);
                self.acknowledge(false);
            }
            Said::Ping(bytes) => self.say(&Frame::Pong(*bytes)),
            Said::Fin(length) => {
                assert_eq!(*length, self.start + self.output.len() as u64, "the end is behind all output");
                self.fin = Some(*length);
            }
            _ => {}
        }
        said
    }

    /// Acknowledges all output, and its end if there is one.
    pub(super) fn acknowledge(&mut self, end: bool) {
        let next = self.start + self.output.len() as u64;
        self.say(&Frame::Ack(Ack { next, window: WINDOW, end, written: None }));
    }

    /// Takes in what is said until something is as wanted; gives that.
    #[track_caller]
    pub(super) fn until(&mut self, what: &str, wanted: impl Fn(&Said) -> bool) -> Said {
        let mut seen = Vec::new();
        loop {
            let said = self.take();
            if wanted(&said) {
                return said;
            }
            if said == Said::End {
                panic!("the connection ended before {what}; heard: {seen:?}");
            }
            if seen.len() < 50 && !matches!(said, Said::Data(..)) {
                seen.push(said);
            }
        }
    }

    /// Takes in output until there is so much of it in all.
    #[track_caller]
    pub(super) fn output_to(&mut self, length: u64) {
        while self.start + (self.output.len() as u64) < length {
            assert_ne!(self.take(), Said::End, "output ends at {}", self.start + self.output.len() as u64);
        }
    }

    /// Waits for these words of output.
    #[track_caller]
    pub(super) fn expect(&mut self, words: &str) {
        while !String::from_utf8_lossy(&self.output).contains(words) {
            let said = self.take();
            assert_ne!(said, Said::End, "{words:?} has not come: {:?}", String::from_utf8_lossy(&self.output));
        }
    }

    /// Waits until the session is over, with everything having arrived.
    #[track_caller]
    pub(super) fn finish(&mut self) {
        self.until("the end of the output", |said| matches!(said, Said::Fin(_)));
        self.acknowledge(true);
        self.until("the end of the session", |said| matches!(said, Said::Closed(Closed::Complete)));
        self.until("the end of the connection", |said| matches!(said, Said::End));
    }
}

fn owned(frame: Frame<'_>) -> Said {
    match frame {
        Frame::Hello(hello) => Said::Hello(hello),
        Frame::Accept(accept) => Said::Accept(accept),
        Frame::Reject(refusal) => Said::Reject(refusal),
        Frame::Data { offset, bytes } => Said::Data(offset, bytes.to_vec()),
        Frame::Ack(ack) => Said::Ack(ack),
        Frame::Fin { offset } => Said::Fin(offset),
        Frame::Reset { offset, errno } => Said::Reset(offset, errno),
        Frame::Gap { from, to } => Said::Gap(from, to),
        Frame::Destination(destination) => Said::Destination(destination),
        Frame::Closed(reason) => Said::Closed(reason),
        Frame::Detached(reason) => Said::Detached(reason),
        Frame::GoAway { grace } => Said::GoAway(grace),
        Frame::Ping(bytes) => Said::Ping(bytes),
        Frame::Pong(bytes) => Said::Pong(bytes),
        Frame::Event { offset, kind, body } => Said::Event(offset, kind, body.to_vec()),
        Frame::Input { next, writers } => Said::Input(next, writers),
        other => panic!("a server does not say {other:?}"),
    }
}
