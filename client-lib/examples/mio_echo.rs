//! `mio_echo PORT`: sends every line back, and can be replaced while clients are connected.
//!
//!     cargo run -p socket-protector-client --example mio_echo --features mio -- 4321
//!     socket-protector -f 4321 -- target/debug/examples/mio_echo 4321

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket_protector_client::Protector;
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::time::Duration;

const PROTECTOR: Token = Token(0);
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: mio_echo PORT")?.parse()?;
    // First of all, while there is no other thread.
    let protector = match Protector::from_env()? {
        Some(protector) => protector,
        None => standalone(port)?,
    };
    Server { protector, poll: Poll::new()?, clients: HashMap::new(), last: PROTECTOR }.run()
}

struct Server {
    protector: Protector,
    poll: Poll,
    clients: HashMap<Token, Client>,
    /// The token given last; none is used twice.
    last: Token,
}

/// What became of asking for connections.
enum Accepted {
    All,
    Failed,
    Drained,
}

impl Server {
    fn run(mut self) -> Result<(), Box<dyn Error>> {
        self.poll.registry().register(&mut self.protector, PROTECTOR, Interest::READABLE)?;
        // Before the first wait: connections are passed only to a daemon that is ready.
        self.protector.ready()?;
        let mut events = Events::with_capacity(256);
        let mut timeout = None;
        loop {
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
            for event in events.iter().filter(|event| event.token() != PROTECTOR) {
                self.advance(event.token());
            }
            // Asked also without an event, which costs one system call, so that a failure needs no special care.
            timeout = match self.accept() {
                Accepted::All => None,
                Accepted::Failed => Some(PAUSE), // until connections that end make room; no event tells of it
                Accepted::Drained => return self.finish(events),
            };
        }
    }

    /// Takes connections until there are none: the next event tells only of what comes after that.
    fn accept(&mut self) -> Accepted {
        loop {
            let added = match self.protector.accept() {
                Ok(Some(connection)) => TcpStream::try_from(connection).and_then(|stream| self.add(stream)),
                Ok(None) => return Accepted::Drained,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Accepted::All,
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                report(&format!("cannot accept: {error}"));
                return Accepted::Failed;
            }
        }
    }

    fn add(&mut self, mut stream: TcpStream) -> io::Result<()> {
        self.last = Token(self.last.0 + 1);
        self.poll.registry().register(&mut stream, self.last, Interest::READABLE | Interest::WRITABLE)?;
        self.clients.insert(self.last, Client { stream, bytes: [0; 4096], unsent: 0..0, idle: false });
        Ok(())
    }

    /// Echoes for one client; one that has ended, or failed, is closed.
    fn advance(&mut self, token: Token) {
        if let Some(client) = self.clients.get_mut(&token)
            && !matches!(client.echo(), Err(error) if error.kind() == ErrorKind::WouldBlock)
        {
            self.clients.remove(&token);
        }
    }

    /// Serves those who are connected, and nobody else. A client that has had its answer, and begun no new line, is
    /// not waited for, as a web server ends its idle connections.
    fn finish(mut self, mut events: Events) -> Result<(), Box<dyn Error>> {
        self.poll.registry().deregister(&mut self.protector)?;
        loop {
            // What has arrived is answered first.
            for token in self.clients.keys().copied().collect::<Vec<_>>() {
                self.advance(token);
            }
            self.clients.retain(|_, client| !client.idle);
            if self.clients.is_empty() {
                return Ok(());
            }
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    bytes: [u8; 4096],
    /// Which of the bytes are still to be sent back; nothing is read before they are.
    unsent: Range<usize>,
    /// It has had all its lines back.
    idle: bool,
}

impl Client {
    /// Sends back what comes, until that would wait (an error, as mio has it) or the client has ended.
    fn echo(&mut self) -> io::Result<()> {
        loop {
            while !self.unsent.is_empty() {
                match self.stream.write(&self.bytes[self.unsent.clone()]) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    written => self.unsent.start += written?,
                }
                self.idle = self.unsent.is_empty() && self.bytes[self.unsent.end - 1] == b'\n';
            }
            match self.stream.read(&mut self.bytes) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => self.unsent = 0..read?,
            }
            self.idle = false;
        }
    }
}

/// Serves without a supervisor, on IPv6 and IPv4, or on IPv4 where there is no IPv6.
fn standalone(port: u16) -> Result<Protector, Box<dyn Error>> {
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    report(&format!("listening on {}", listener.local_addr()?));
    Ok(Protector::standalone(listener)?)
}

fn report(text: &str) {
    let _ = writeln!(io::stderr(), "mio_echo: {text}");
}
