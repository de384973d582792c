//! Trying a destination.

use super::Probe;
use crate::forward::driver::identity::{client_tls, host};
use crate::net::endpoint::{ClientTls, Connect, Host, HostPort, Peer, ProxyVersion, UnixAddress};
use crate::net::proxy_protocol::{Header, Version};
use crate::net::tls::{ClientIdentity, Got, Handshake, LoadError, Session, SessionError};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The longest that one call waits.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// The most that is read before what was expected must have come.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a destination did not pass.
#[derive(Debug, thiserror::Error)]
pub(in crate::forward) enum ProbeFailure {
    /// It cannot be reached.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
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
    let mut socket = reach(connect, deadline).map_err(ProbeFailure::Connect)?;
    if let Some(version) = connect.proxy {
        let version = match version {
            ProxyVersion::V1 => Version::V1,
            ProxyVersion::V2 => Version::V2,
        };
        // No client is behind it.
        set_time(&socket, deadline)?;
        socket.write_all(&Header::Local.to_bytes(version))?;
    }
    let plain = ClientTls { hostname: None, ..ClientTls::default() };
    let spoken = connect.tls.as_ref().or(if *probe == Probe::Tls { Some(&plain) } else { None });
    let mut line = Line { socket, session: None, deadline, scratch: vec![0; 32 * 1024] };
    if let Some(tls) = spoken {
        let identity = ClientIdentity::load(&client_tls(tls), &host(connect))?;
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

/// Connects, each address of a name having its part of the time that is left.
fn reach(connect: &Connect, deadline: Instant) -> io::Result<Socket> {
    match &connect.place {
        Peer::Unix(name) => {
            let address = match name {
                UnixAddress::Path(path) => SockAddr::unix(path)?,
                UnixAddress::Abstract(name) => SockAddr::unix(format!("\0{name}"))?,
            };
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            set_time(&socket, deadline)?;
            socket.connect(&address)?;
            Ok(socket)
        }
        Peer::Tcp(there) => {
            let addresses = look_up(there)?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            for (index, address) in addresses.iter().enumerate() {
                let rest = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
                match reach_address(there, *address, left(deadline) / rest) {
                    Ok(socket) => return Ok(socket),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

fn reach_address(there: &HostPort, address: SocketAddr, within: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(own) = there.bind_address {
        socket.bind(&SocketAddr::new(own, 0).into())?;
    }
    socket.connect_timeout(&address.into(), within.max(Duration::from_millis(1)))?;
    Ok(socket)
}

fn look_up(there: &HostPort) -> io::Result<Vec<SocketAddr>> {
    match &there.host {
        Host::Name(name) => Ok((name.as_str(), there.port).to_socket_addrs()?.collect()),
        Host::V4(address) => Ok(vec![(*address, there.port).into()]),
        Host::V6 { address, zone } => {
            let scope = match zone.as_deref().map(|zone| (zone, zone.parse())) {
                None => 0,
                Some((_, Ok(number))) => number,
                Some((name, Err(_))) => nix::net::if_::if_nametoindex(name)?,
            };
            Ok(vec![SocketAddrV6::new(*address, there.port, 0, scope).into()])
        }
    }
}
