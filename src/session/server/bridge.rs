//! What stays in a process that has left: the ends of TLS sessions with destinations, whose keys are in its memory. The
//! process that serves has the other end of a socket, and what comes by that is passed on in both directions.
//!
//! The socket is one of TCP on this machine, since that tells an end of file from a reset: what the destination does is what
//! the other process sees. If this process is killed, it sees a reset.

use super::outgoing::Outgoing;
use super::wire::Wire;
use super::{Key, PORTION, Server, Tools, link, short};
use crate::net::stream::Stream;
use crate::reactor::{Event, READABLE};
use crate::session::credential::SessionId;
use log::debug;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How often a direction is worked on before others have their turn.
const ROUNDS: usize = 4;
/// The other process' end is asked so often whether it is there.
const ASK: Duration = Duration::from_secs(10);
/// Between two looks whether everything before a reset has arrived.
const LOOK: Duration = Duration::from_millis(100);

/// Two ends of a connection within this machine, ours first.
pub(super) type Pair = (TcpStream, TcpStream);

/// A connection within this machine that nobody else has come in between.
///
/// # Errors
/// Those of the system.
pub(super) fn pair() -> io::Result<Pair> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    loop {
        let (theirs, peer) = listener.accept()?;
        if peer == ours.local_addr()? {
            ours.set_nodelay(true)?;
            theirs.set_nodelay(true)?;
            // However this process ends, that is no orderly end of what the destination says.
            SockRef::from(&ours).set_linger(Some(Duration::ZERO))?;
            // An end that is closed looks like one that says no more, until it is asked whether it is there.
            let asked = TcpKeepalive::new().with_time(ASK).with_interval(ASK);
            SockRef::from(&ours).set_tcp_keepalive(&asked)?;
            return Ok((ours, theirs));
        }
    }
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Bytes go.
    Open,
    /// Its end has come and is to be passed on.
    Ending,
    /// Its end is on its way through the TLS session.
    Closing,
    /// Its end is passed on.
    Ended,
}

/// One destination's TLS session, and the other process' end.
pub(super) struct Bridge {
    /// To the destination.
    secure: Wire,
    /// To the process that serves.
    plain: Wire,
    up: (Outgoing, Flow),
    down: (Outgoing, Flow),
    /// The destination's connection broke.
    broken: bool,
}

/// What became of a bridge.
enum Became {
    /// An event or the next turn goes on with it.
    Goes,
    /// There is more to be done at once.
    Again,
    /// It is over, well or by breaking.
    Over,
}

impl Bridge {
    fn new(secure: Wire, plain: Wire, (ended_up, ended_down): (bool, bool)) -> Self {
        let flow = |ended: bool| (Outgoing::default(), if ended { Flow::Ended } else { Flow::Open });
        Bridge { secure, plain, up: flow(ended_up), down: flow(ended_down), broken: false }
    }

    fn work(&mut self, tools: &mut Tools) -> io::Result<Became> {
        let Bridge { secure, plain, up, down, broken } = self;
        if !*broken {
            match flow(plain, secure, up, tools) {
                Ok(true) => return Ok(Became::Again),
                Ok(false) => {}
                Err(Side::From(error)) => return Err(error),
                Err(Side::To(error)) => {
                    debug!("a destination takes no more: {error}");
                    *broken = true;
                }
            }
        }
        match flow(secure, plain, down, tools) {
            Ok(true) => return Ok(Became::Again),
            Ok(false) => {}
            Err(Side::To(error)) => return Err(error),
            Err(Side::From(error)) => {
                debug!("a destination broke: {error}");
                *broken = true;
                down.1 = Flow::Ended;
            }
        }
        let over = down.1 == Flow::Ended && (*broken || up.1 == Flow::Ended);
        Ok(if over { Became::Over } else { Became::Goes })
    }
}

/// On which side of a direction something has failed.
enum Side {
    From(io::Error),
    To(io::Error),
}

/// Passes on in one direction what can be; whether there is more.
fn flow(from: &mut Wire, to: &mut Wire, (out, flow): &mut (Outgoing, Flow), tools: &mut Tools) -> Result<bool, Side> {
    for _ in 0..ROUNDS {
        if !out.write_to(to).and_then(|all| Ok(all && to.flush()?)).map_err(Side::To)? {
            return Ok(false);
        }
        match flow {
            Flow::Ended => return Ok(false),
            Flow::Closing => {
                *flow = Flow::Ended;
                return Ok(false);
            }
            Flow::Ending => {
                to.shutdown().map_err(Side::To)?;
                *flow = Flow::Closing;
                continue;
            }
            Flow::Open if !from.readable => return Ok(false),
            Flow::Open => {}
        }
        match from.read(&mut tools.plain[..PORTION], &mut tools.cipher).map_err(Side::From)? {
            None => {}
            Some(0) => *flow = Flow::Ending,
            Some(count) => out.bytes().extend_from_slice(&tools.plain[..count]),
        }
    }
    Ok(true)
}

impl Server {
    /// What stays of a destination's connection that was handed over by this socket.
    pub(super) fn build_bridge(&mut self, id: SessionId, socket: TcpStream) -> io::Result<()> {
        let Some(link) = self.links.remove(&id) else {
            return Ok(());
        };
        let ended = (link.shutdown == link::Shutdown::Done || link.broken.is_some(), link.ended);
        let link::Stage::Open(mut secure) = link.stage else {
            return Ok(());
        };
        let stream = self.reactor.register(Stream::try_from(OwnedFd::from(socket))?, Key::Bridge(id), READABLE)?;
        let mut plain = Wire::new(stream);
        // What was told before is used up.
        (secure.readable, plain.readable) = (true, true);
        self.bridges.insert(id, Bridge::new(secure, plain, ended));
        self.reactor.set_deadline(Key::Link(id), None);
        self.reactor.again(Key::Bridge(id));
        Ok(())
    }

    /// Something has happened on one of its two sockets.
    pub(super) fn bridge_event(&mut self, id: SessionId, event: &Event<Key>) {
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        let done = match event.key {
            Key::Bridge(_) if event.failed => Err(io::ErrorKind::ConnectionReset.into()),
            Key::Link(_) => {
                bridge.secure.on(event);
                bridge.work(&mut self.tools)
            }
            _ => {
                bridge.plain.on(event);
                bridge.work(&mut self.tools)
            }
        };
        match done {
            Ok(Became::Goes) => {}
            Ok(Became::Again) => self.reactor.again(Key::Bridge(id)),
            Ok(Became::Over) => self.end_bridge(id),
            Err(error) => {
                // The other process has broken it off, or has gone: so it is for the destination.
                debug!("session {}: broken off by the process that serves: {error}", short(id));
                if let Some(bridge) = self.bridges.remove(&id) {
                    self.reactor.set_deadline(Key::Bridge(id), None);
                    bridge.secure.break_off();
                }
                self.go_on_stopping();
            }
        }
    }

    /// Both directions have ended; a reset waits until everything before it has arrived.
    fn end_bridge(&mut self, id: SessionId) {
        let Some(bridge) = self.bridges.get(&id) else {
            return;
        };
        if bridge.broken && bridge.plain.unacknowledged() > 0 {
            return self.reactor.set_deadline(Key::Bridge(id), Some(Instant::now() + LOOK));
        }
        if let Some(Bridge { secure, plain, broken, .. }) = self.bridges.remove(&id) {
            self.reactor.set_deadline(Key::Bridge(id), None);
            if broken {
                secure.break_off();
                plain.break_off();
            } else {
                secure.close();
                plain.close_orderly();
            }
        }
        self.go_on_stopping();
    }
}

impl Wire {
    /// How many bytes have not arrived at the other end.
    fn unacknowledged(&self) -> usize {
        self.stream().unacknowledged().unwrap_or_default()
    }

    /// Closes a socket that was to be reset with this process.
    fn close_orderly(self) {
        let _ = SockRef::from(self.stream()).set_linger(None);
        self.close();
    }
}
