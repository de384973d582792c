//! Connections on their way to another process: both sockets, and all that is known of them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ListenerId;
use super::end::End;
use super::event_loop::{EventLoop, Key};
use super::flow::{self, Flow, Way};
use super::lane::{Lane, Tools};
use super::pair::{Entrance, Pair, Phase};
use super::room::Room;
use super::route::{Counted, Destination};
use super::silence::Silence;
use super::slab::PairId;
use crate::net::endpoint::ProxyVersion;
use crate::net::proxy_protocol::{Parser, Progress};
use crate::net::stream::Stream;
use crate::reactor::{READABLE, URGENT};

/// What was taken out of a relay.
#[derive(Debug, Default)]
pub struct TakenOut {
    /// Established connections.
    pub pairs: Vec<Carried>,
    /// Clients that wait for their listener to be resumed, oldest first.
    pub parked: Vec<(ListenerId, OwnedFd)>,
}

/// An established connection outside of any relay. Nobody serves it; dropping it closes it.
#[derive(Debug)]
pub struct Carried {
    /// The client's socket.
    pub client: OwnedFd,
    /// The one to the destination.
    pub peer: OwnedFd,
    /// All the rest.
    pub state: CarriedState,
}

/// What a connection is besides its sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedState {
    /// The number of the listener where it came in.
    pub listener: u32,
    /// The number of its destination.
    pub destination: u64,
    /// How long ago it was accepted.
    pub age: Duration,
    /// How long nothing has gone between the two sides, as far as is known.
    pub idle: Duration,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// For whom the client speaks, if it has said that, as version 2 of the PROXY protocol has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Vec<u8>>,
    /// From the client to the destination.
    pub up: Direction,
    /// From the destination to the client.
    pub down: Direction,
}

/// One direction of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Bytes that were received and not yet written.
    pub unsent: Vec<u8>,
    /// How far its end has come.
    pub end: Ending,
}

/// How far the end of a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Bytes may come.
    Open,
    /// The sender's end of file was seen; it comes behind the unsent bytes.
    Seen,
    /// The receiver was told.
    PassedOn,
}

impl Carried {
    /// Of a pair that is movable; none if its bytes cannot be had, which ends it.
    pub(super) fn of(pair: Pair, tools: &mut Tools) -> Option<Carried> {
        let Pair { client, destination, flow, up, down, since, silence, header, entrance, counted, room, .. } = pair;
        let peer = destination?.into_stream().into();
        let state = CarriedState {
            listener: entrance.id.number(),
            destination: counted.as_ref()?.destination().id(),
            age: tools.now.saturating_duration_since(since),
            idle: silence.lasts(tools.now),
            bytes_in: up.moved,
            bytes_out: down.moved,
            header: header.map(|header| header.to_bytes(ProxyVersion::V2)),
            up: Direction { end: Ending::of(flow.progress(Way::Up)), unsent: up.into_unsent(tools).ok()? },
            down: Direction { end: Ending::of(flow.progress(Way::Down)), unsent: down.into_unsent(tools).ok()? },
        };
        drop(room);
        Some(Carried { client: client.into_stream().into(), peer, state })
    }

    /// Makes a pair again that goes on where it was.
    ///
    /// # Errors
    /// Those of epoll_ctl(2), and when a descriptor is no connected socket.
    pub(super) fn into_pair(
        self,
        id: PairId,
        destination: Arc<Destination>,
        (entrance, room): (Arc<Entrance>, Room),
        home: &mut EventLoop,
    ) -> io::Result<Pair> {
        let Carried { client, peer, state } = self;
        let client = home.reactor.register(Stream::try_from(client)?, Key::Client(id), READABLE | URGENT)?;
        let peer = home.reactor.register(Stream::try_from(peer)?, Key::Destination(id), READABLE | URGENT)?;
        let now = home.tools.now;
        let mut pair = Pair::new(known(client), entrance, room, now);
        pair.destination = Some(known(peer));
        pair.phase = Phase::Relaying;
        pair.flow = Flow::resumed(state.up.end.progress(), state.down.end.progress());
        pair.up = Lane::resumed(state.bytes_in, &state.up.unsent, &mut home.tools.buffers);
        pair.down = Lane::resumed(state.bytes_out, &state.down.unsent, &mut home.tools.buffers);
        pair.since = before(now, state.age);
        pair.silence = Silence::since(before(now, state.idle));
        pair.counted = Some(Counted::again(destination));
        pair.is_known(home.shared.settings.tell_ends);
        if let Some(Progress::Done { header, .. }) = state.header.and_then(|bytes| Parser::new().push(&bytes).ok()) {
            pair.spoken_for(header);
        }
        Ok(pair)
    }
}

/// Nothing is known of its readiness, so everything is tried.
fn known(stream: crate::reactor::Registered<Stream>) -> End {
    let mut end = End::new(stream);
    end.readable = true;
    end
}

/// A time before this machine's clock began is as good as its beginning.
fn before(now: Instant, ago: Duration) -> Instant {
    now.checked_sub(ago).unwrap_or(now)
}

impl Ending {
    fn of(progress: flow::Progress) -> Ending {
        match progress {
            flow::Progress::Open => Ending::Open,
            flow::Progress::Ended => Ending::Seen,
            flow::Progress::PassedOn | flow::Progress::Broken => Ending::PassedOn,
        }
    }

    fn progress(self) -> flow::Progress {
        match self {
            Ending::Open => flow::Progress::Open,
            Ending::Seen => flow::Progress::Ended,
            Ending::PassedOn => flow::Progress::PassedOn,
        }
    }
}
