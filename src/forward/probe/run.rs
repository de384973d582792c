//! Trying a destination.

use super::Probe;
use crate::net::connecting::{ConnectError, Connecting, Names, Progress};
use crate::net::endpoint::{ClientTls, Connect};
use crate::net::proxy_protocol::Header;
use crate::net::resolve::{Inbox, Resolver};
use crate::net::tls::{ClientIdentity, Got, Handshake, LoadError, Session, SessionError};
use crate::reactor::{Descriptor, Reactor};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::Socket;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest that one call waits.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// The most that is read before what was expected must have come.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a destination did not pass.
#[derive(Debug, thiserror::Error)]
pub(in crate::forward) enum ProbeFailure {
    /// It cannot be reached.
    #[error(transparent)]
    Connect(ConnectError),
    /// Its certificate cannot be checked, or ours not be presented.
    #[error("cannot speak TLS")]
    Identity(#[from] LoadError),
    /// TLS did not come about, or broke.
    #[error("TLS")]
    Session(#[from] SessionError),
    /// It broke off.
    #[error("lost the connection")]
    Io(#[from] io::Error),
    /// It said something else, and then nothing more.
    #[error("the answer was {0}")]
    Answer(String),
    /// It said nothing, or not enough.
    #[error("it took too long{0}")]
    TooLong(String),
}

/// Tries it; no longer than until `deadline`, but for a name server that hangs.
pub(in crate::forward) fn run(connect: &Connect, probe: &Probe, deadline: Instant) -> Result<(), ProbeFailure> {
    let mut socket = reach(connect, deadline)?;
    if let Some(version) = connect.proxy {
        // No client is behind it.
        set_time(&socket, deadline)?;
        socket.write_all(&Header::Local.to_bytes(version))?;
    }
    let plain = ClientTls { hostname: None, ..ClientTls::default() };
    let spoken = connect.tls.as_ref().or(if *probe == Probe::Tls { Some(&plain) } else { None });
    let mut line = Line { socket, session: None, deadline, scratch: vec![0; 32 * 1024] };
    if let Some(tls) = spoken {
        let identity = ClientIdentity::load(tls, &connect.place)?;
        line.session = Some(identity.session()?);
        line.shake_hands()?;
    }
    match probe {
        Probe::Connect | Probe::Tls => Ok(()),
        Probe::Talk { send, expect } => {
            line.say(send)?;
            line.hear(expect)
        }
    }
}

/// A connection to the destination, with TLS or without.
struct Line {
    socket: Socket,
    session: Option<Session>,
    deadline: Instant,
    scratch: Vec<u8>,
}

impl Line {
    fn shake_hands(&mut self) -> Result<(), ProbeFailure> {
        while let Some(session) = &mut self.session {
            set_time(&self.socket, self.deadline)?;
            match session.handshake(&mut self.socket, &mut self.scratch)? {
                Handshake::Done => break,
                Handshake::Blocked => in_time(self.deadline, b"")?,
            }
        }
        Ok(())
    }

    fn say(&mut self, text: &[u8]) -> Result<(), ProbeFailure> {
        let mut left = text;
        while !left.is_empty() {
            set_time(&self.socket, self.deadline)?;
            let written = match &mut self.session {
                None => match self.socket.write(left) {
                    Err(error) if is_late(&error) => 0,
                    written => written?,
                },
                Some(session) => session.write(&mut self.socket, left)?,
            };
            left = &left[written..];
            in_time(self.deadline, b"")?;
        }
        while let Some(session) = &mut self.session
            && session.wants_write()
        {
            session.flush(&mut self.socket)?;
            in_time(self.deadline, b"")?;
        }
        Ok(())
    }

    fn hear(&mut self, expect: &[u8]) -> Result<(), ProbeFailure> {
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !contains(&answer, expect) {
            in_time(self.deadline, &answer)?;
            set_time(&self.socket, self.deadline)?;
            let got = match &mut self.session {
                None => match self.socket.read(&mut piece) {
                    Ok(0) => Got::Closed,
                    Ok(length) => Got::Plain { length, more: true },
                    Err(error) if is_late(&error) => Got::Blocked,
                    Err(error) => return Err(error.into()),
                },
                Some(session) => session.read(&mut self.socket, &mut piece, &mut self.scratch)?,
            };
            match got {
                Got::Plain { length, .. } => answer.extend_from_slice(&piece[..length]),
                Got::Closed => return Err(ProbeFailure::Answer(shown(&answer))),
                Got::Blocked => {}
            }
            if answer.len() > LONGEST_ANSWER {
                return Err(ProbeFailure::Answer(shown(&answer)));
            }
        }
        Ok(())
    }
}

fn contains(answer: &[u8], expect: &[u8]) -> bool {
    expect.is_empty() || answer.windows(expect.len()).any(|part| part == expect)
}

/// The beginning of an answer, as one line.
fn shown(answer: &[u8]) -> String {
    if answer.is_empty() {
        return "empty".into();
    }
    let text = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
    format!("'{}'", text.escape_debug())
}

fn in_time(deadline: Instant, answer: &[u8]) -> Result<(), ProbeFailure> {
    if Instant::now() < deadline {
        return Ok(());
    }
    let so_far = if answer.is_empty() { String::new() } else { format!("; the answer so far was {}", shown(answer)) };
    Err(ProbeFailure::TooLong(so_far))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn left(deadline: Instant) -> Duration {
    // A limit of nothing would be none.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Lets calls wait for a while, and no longer than until then. The kernel rounds long limits up by a lot.
fn set_time(socket: &Socket, deadline: Instant) -> io::Result<()> {
    let limit = left(deadline).min(LONGEST_WAIT);
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))
}

/// What a connection is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Answer,
    Socket,
}

/// A socket on its way to be one that blocks.
#[derive(Debug)]
struct Made(Descriptor<OwnedFd>);

impl From<TcpStream> for Made {
    fn from(stream: TcpStream) -> Self {
        Made(Descriptor(std::net::TcpStream::from(stream).into()))
    }
}

impl From<UnixStream> for Made {
    fn from(stream: UnixStream) -> Self {
        Made(Descriptor(std::os::unix::net::UnixStream::from(stream).into()))
    }
}

impl AsFd for Made {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Source for Made {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}

/// Connects, in the same way as for clients.
fn reach(connect: &Connect, deadline: Instant) -> Result<Socket, ProbeFailure> {
    let mut reactor = Reactor::new()?;
    let (resolver, inbox) = (Resolver::system(), Inbox::new(reactor.waker(Key::Answer)?));
    let names = Names { resolver: &resolver, inbox: &inbox };
    let mut connecting =
        Connecting::<Made>::start(Arc::new(connect.clone()), left(deadline), Instant::now(), names, Key::Socket);
    let mut events = Vec::new();
    loop {
        match connecting.proceed(Instant::now(), &mut reactor, Key::Socket) {
            Progress::Connected(made) => {
                let socket = Socket::from(made.as_fd().try_clone_to_owned()?);
                socket.set_nonblocking(false)?;
                return Ok(socket);
            }
            Progress::Failed(error) => return Err(ProbeFailure::Connect(error)),
            Progress::Pending => {}
        }
        in_time(deadline, b"")?;
        reactor.set_deadline(Key::Socket, Some(connecting.due().min(deadline)));
        reactor.wait(&mut events)?;
        while let Some((_, answer)) = inbox.next() {
            connecting.answered(answer, Instant::now());
        }
    }
}
