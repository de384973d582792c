//! One relayed connection: a client's socket, the one to its destination, and how far the two have come.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ListenerId;
use super::end::End;
use super::flow::{Flow, Input, Side, Step, Way};
use super::greeting::Greeting;
use super::lane::{Lane, Tools};
use super::news::How;
use super::room::Room;
use super::route::{Counted, Route};
use super::settings::HALF_CLOSED_TIMEOUT;
use super::silence::Silence;
use crate::net::connecting::Connecting;
use crate::net::endpoint::Connect;
use crate::net::listener::Address;
use crate::net::proxy_protocol::Header;
use crate::net::stream::{Kind, Stream};
use crate::net::tls::ServerIdentity;

/// How soon it is first looked whether the last bytes are acknowledged, before a reset follows them …
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// … and the longest time between two looks.
const LONGEST_LOOK: Duration = Duration::from_millis(64);
/// How long a client that has sent an end of file and nothing else is waited for with a connection that is not made yet.
/// It may have left, or it may want to hear something without saying a word.
const LEAVING: Duration = Duration::from_millis(250);

/// Where clients come in.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) id: ListenerId,
    pub(super) kind: Kind,
    pub(super) route: Arc<Route>,
    /// Clients say for whom they speak.
    pub(super) proxied: bool,
    pub(super) tls: Option<Arc<ServerIdentity>>,
    /// A client whose destination cannot be reached goes back to whoever brought it.
    pub(super) returns: bool,
}

/// How far a pair has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its turn has come.
    Starting,
    /// The client waits for its listener to be resumed.
    Parked,
    /// The client has to say something first.
    Greeting { greeting: Greeting, until: Instant },
    /// The destination's socket is being connected.
    Connecting {
        connecting: Box<Connecting<Stream>>,
        /// What events have said of its sockets. A destination may say something and be gone before we know that it is
        /// there, and no event says it again.
        heard: Heard,
        /// When the client counts as gone; it has sent its end of file and nothing else.
        leaving: Option<Instant>,
    },
    /// The destination has to be told something first.
    Introducing { until: Instant },
    /// Bytes go both ways.
    Relaying,
    /// One side was reset, and the other is reset as soon as it has acknowledged what was written to it.
    Settling { side: Side, settling: Settling },
}

/// Waiting for the last bytes of a side to be acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    /// How many are not, as was last seen.
    left: usize,
    /// How long that may stay so.
    limit: Duration,
    until: Instant,
    look: Instant,
    pause: Duration,
}

impl Settling {
    /// So many bytes are not acknowledged: whether they are waited for. The time begins anew as long as they become fewer.
    fn goes_on(&mut self, now: Instant, left: usize) -> bool {
        if left != self.left {
            self.left = left;
            self.until = now + self.limit;
        }
        if left == 0 || now >= self.until {
            return false;
        }
        self.look = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_LOOK);
        true
    }
}

/// What events have said of sockets that are not an end yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) readable: bool,
    pub(super) closed: bool,
    pub(super) urgent: bool,
}

/// What becomes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for an event.
    Waits,
    /// It could go on at once, when others have had their turn.
    GoesOn,
    /// Its client goes back to whoever brought it.
    Returns,
    /// It is over.
    Ends(How),
}

/// A relayed connection. The sockets come before the count: they are closed first.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) destination: Option<End>,
    pub(super) phase: Phase,
    pub(super) flow: Flow,
    pub(super) up: Lane,
    pub(super) down: Lane,
    pub(super) since: Instant,
    /// How long nothing has gone.
    pub(super) silence: Silence,
    /// For when the reactor has been told to give it back.
    pub(super) timer: Option<Instant>,
    /// It is in the list of those that go on.
    pub(super) queued: bool,
    /// What the client has said about who it speaks for.
    pub(super) header: Option<Box<Header>>,
    /// Who the client is, where that will be asked when the kernel has forgotten it.
    pub(super) known: Option<Box<Address>>,
    pub(super) entrance: Arc<Entrance>,
    pub(super) counted: Option<Counted>,
    pub(super) room: Room,
}

impl Pair {
    /// A client that was just accepted.
    pub(super) fn new(client: End, entrance: Arc<Entrance>, room: Room, now: Instant) -> Self {
        Pair {
            client,
            destination: None,
            phase: Phase::Starting,
            flow: Flow::default(),
            up: Lane::new(),
            down: Lane::new(),
            since: now,
            silence: Silence::since(now),
            timer: None,
            queued: false,
            header: None,
            known: None,
            entrance,
            counted: None,
            room,
        }
    }

    /// Moves what can be moved, and passes ends on.
    pub(super) fn relay(&mut self, tools: &mut Tools) -> Fate {
        let Some(destination) = &mut self.destination else {
            return Fate::Ends(How::Unconnected);
        };
        let idle = self.silence.lasts(tools.now);
        let before = (self.up.moved, self.down.moved, self.flow);
        self.up.calm_down(idle);
        self.down.calm_down(idle);
        self.up.run(Way::Up, (&mut self.client, destination), &mut self.flow, tools);
        self.down.run(Way::Down, (destination, &mut self.client), &mut self.flow, tools);
        let moved = (self.up.moved - before.0, self.down.moved - before.1);
        if let Some(counted) = self.counted.as_ref().filter(|_| moved != (0, 0)) {
            counted.destination().count_bytes(moved.0, moved.1);
        }
        let flushed = self.up.take_flushed() | self.down.take_flushed();
        // An end is a word, too: the time of a half-closed connection begins with it.
        if moved != (0, 0) || flushed || self.flow != before.2 {
            self.silence.heard(tools.now);
        }
        self.client.flush(Side::Client, &mut self.flow);
        destination.flush(Side::Destination, &mut self.flow);
        loop {
            let (to_client, to_destination) = (self.client.is_unsent(), destination.is_unsent());
            let held = |way| match way {
                Way::Up => self.up.holds() || to_destination,
                Way::Down => self.down.holds() || to_client,
            };
            let Some(step) = self.flow.next(held) else {
                break;
            };
            match step {
                // Closing says it as well: everything was read, so that nothing makes a reset of it.
                Step::PassOn(way) if self.flow.is_last(way) && self.client.is_plain() && destination.is_plain() => {
                    return Fate::Ends(How::Finished);
                }
                Step::PassOn(way) => match way.to() {
                    Side::Client => self.client.shutdown(Side::Client, &mut self.flow),
                    Side::Destination => destination.shutdown(Side::Destination, &mut self.flow),
                },
                Step::Reset(side) => return self.settle(side, tools),
                Step::Close => {
                    let reset = self.flow.is_reset(Side::Client) || self.flow.is_reset(Side::Destination);
                    // The ends of TLS sessions may still wait for their sockets.
                    let unsent = !reset && (self.client.is_unsent() || destination.is_unsent());
                    return match (unsent, reset) {
                        (true, _) => Fate::Waits,
                        (false, true) => Fate::Ends(How::Reset),
                        (false, false) => Fate::Ends(How::Finished),
                    };
                }
            }
        }
        let up = self.up.could_go_on(Way::Up, &self.client, destination, &self.flow);
        let down = self.down.could_go_on(Way::Down, destination, &self.client, &self.flow);
        if up || down { Fate::GoesOn } else { Fate::Waits }
    }

    /// A reset throws away what is not acknowledged yet, so that has to be waited for.
    fn settle(&mut self, side: Side, tools: &mut Tools) -> Fate {
        self.up.drop_held(tools);
        self.down.drop_held(tools);
        // One that may be silent for ever gives nothing back by being waited for.
        let (now, limit) = (tools.now, self.idle_limit().unwrap_or(HALF_CLOSED_TIMEOUT));
        let settling = Settling { left: 0, limit, until: now + limit, look: now, pause: FIRST_LOOK };
        self.phase = Phase::Settling { side, settling };
        self.look(now)
    }

    /// Whether the last bytes are acknowledged, so that the reset may follow.
    pub(super) fn look(&mut self, now: Instant) -> Fate {
        let Phase::Settling { side, settling } = &mut self.phase else {
            return Fate::Waits;
        };
        let end = match side {
            Side::Client => Some(&self.client),
            Side::Destination => self.destination.as_ref(),
        };
        let Some(end) = end else {
            return Fate::Ends(How::Reset);
        };
        if settling.goes_on(now, end.stream().unacknowledged().unwrap_or(0)) {
            return Fate::Waits;
        }
        // Fails only where there is no connection to be reset any more.
        let _ = end.stream().reset_on_close();
        Fate::Ends(How::Reset)
    }

    /// Takes in what an event says about one side.
    pub(super) fn on_error(&mut self, side: Side) {
        let end = match side {
            Side::Client => Some(&mut self.client),
            Side::Destination => self.destination.as_mut(),
        };
        if let Some(end) = end {
            end.is_reset(side, &mut self.flow);
        }
    }

    /// While nothing is relayed yet: whether the client is still there. It is not read from, so that what it has sent
    /// already waits in the kernel.
    pub(super) fn client_waits(&mut self, now: Instant) -> bool {
        if !self.client.closed {
            return true;
        }
        let ended = match self.client.stream().peek(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => return false,
        };
        match &mut self.phase {
            Phase::Parked => !ended,
            // Of a TLS client there may be more in its session than in its socket.
            Phase::Connecting { leaving, .. } if ended && self.client.is_plain() => {
                leaving.get_or_insert(now + LEAVING);
                true
            }
            // What it has said before shall be heard.
            Phase::Starting
            | Phase::Greeting { .. }
            | Phase::Connecting { .. }
            | Phase::Introducing { .. }
            | Phase::Relaying
            | Phase::Settling { .. } => true,
        }
    }

    /// Asks who the client is, where that is told at its end: the kernel may have forgotten it by then.
    pub(super) fn is_known(&mut self, tell_ends: bool) {
        if tell_ends {
            self.known = self.client.stream().peer().ok().map(Box::new);
        }
    }

    /// Its proxy has said for whom it speaks; when it speaks for nobody, it is the client itself.
    pub(super) fn spoken_for(&mut self, header: Header) {
        match &header {
            Header::Inet { source, .. } => self.known = Some(Box::new(Address::Internet(*source))),
            Header::Unix { source, .. } => self.known = Some(Box::new(Address::from_sun_path(source.as_bytes()))),
            Header::Local | Header::Unknown => return,
        }
        self.header = Some(Box::new(header));
    }

    /// Where it is to be connected to.
    pub(super) fn connect(&self) -> Option<Arc<Connect>> {
        self.counted.as_ref().map(|counted| Arc::clone(counted.destination().connect()))
    }

    /// Who the client is, as far as that is known.
    pub(super) fn client_address(&self) -> Address {
        match &self.known {
            Some(address) => Address::clone(address),
            None => self.client.stream().peer().unwrap_or(Address::Unnamed),
        }
    }

    /// When something is to be done if nothing happens.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Starting | Phase::Parked => None,
            Phase::Greeting { until, .. } | Phase::Introducing { until } => Some(*until),
            Phase::Connecting { connecting, leaving, .. } => {
                Some(leaving.map_or(connecting.due(), |leaving| leaving.min(connecting.due())))
            }
            Phase::Relaying => self.idle_limit().map(|limit| self.silence.due(limit)),
            Phase::Settling { settling, .. } => Some(settling.look),
        }
    }

    fn idle_limit(&self) -> Option<Duration> {
        let destination = self.counted.as_ref()?.destination();
        let half_closed = if self.flow.is_half_closed() { destination.half_closed_timeout } else { None };
        match (destination.idle_timeout, half_closed) {
            (Some(idle), Some(half_closed)) => Some(idle.min(half_closed)),
            (idle, half_closed) => idle.or(half_closed),
        }
    }

    /// Whether nothing has gone for as long as is allowed. What arrives of that which was written counts as much as what is
    /// received, since a slow reader may have much to read in the kernel's buffers.
    pub(super) fn is_silent_too_long(&mut self, now: Instant) -> bool {
        let Some(limit) = self.idle_limit() else {
            return false;
        };
        let ends = [Some(&self.client), self.destination.as_ref()].into_iter().flatten();
        let undelivered = ends.map(|end| end.stream().undelivered().unwrap_or(0)).sum();
        self.silence.look(now, limit, undelivered)
    }

    /// Whether both sockets can be moved to another process: nothing is known of them but bytes and ends.
    pub(super) fn is_movable(&self) -> bool {
        let reset = self.flow.is_reset(Side::Client) || self.flow.is_reset(Side::Destination);
        matches!(self.phase, Phase::Relaying) && self.is_plain() && !reset
    }

    /// Whether neither side has TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.client.is_plain() && self.destination.as_ref().is_some_and(End::is_plain)
    }

    /// An end of file says that all has arrived. Who is still owed bytes at the end gets a reset in its place.
    pub(super) fn reset_who_misses_bytes(&self) {
        // Fails only where there is no connection to be reset any more.
        if let Some(destination) = self.destination.as_ref().filter(|_| self.up.holds()) {
            let _ = destination.stream().reset_on_close();
        }
        if self.down.holds() {
            let _ = self.client.stream().reset_on_close();
        }
    }

    /// A side was reset on purpose or its connection is given up: everything that is held is dropped.
    pub(super) fn give_up(&mut self, tools: &mut Tools) {
        self.up.drop_held(tools);
        self.down.drop_held(tools);
        for side in [Side::Client, Side::Destination] {
            self.flow.on(Input::Reset(side));
        }
    }

    /// Closes both sockets, and only then gives back what leaves the count when it is dropped.
    pub(super) fn close(self) -> Option<Counted> {
        self.client.close();
        if let Some(destination) = self.destination {
            destination.close();
        }
        drop(self.room);
        self.counted
    }
}
