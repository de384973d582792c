//! One relayed connection: a client's socket, the one to its destination, and how far the two have come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ListenerId;
use super::descriptors::Taken;
use super::end::End;
use super::flow::{Flow, Input, Side, Step, Way};
use super::lane::{Lane, Tools};
use super::news::How;
use super::route::{Counted, Route};
use super::settings::Settings;
use crate::net::listener::Address;
use crate::net::stream::Kind;

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
}

/// How far a pair has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// The client waits for its listener to be resumed.
    Parked,
    /// The destination's socket is being connected.
    Connecting {
        /// When it is given up.
        until: Instant,
        /// When the client counts as gone; it has sent its end of file and nothing else.
        leaving: Option<Instant>,
        /// When the attempt is repeated.
        retry: Option<Instant>,
    },
    /// Bytes go both ways.
    Relaying,
    /// One side was reset, and the other is reset as soon as it has acknowledged what was written to it.
    Settling { side: Side, until: Instant, look: Instant, pause: Duration },
}

/// What becomes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits for an event.
    Waits,
    /// It could go on at once, when others have had their turn.
    GoesOn,
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
    /// When a byte was received last.
    pub(super) last: Instant,
    /// For when the reactor has been told to give it back.
    pub(super) timer: Option<Instant>,
    /// It is in the list of those that go on.
    pub(super) queued: bool,
    /// Who the client is, where that will be asked when the kernel has forgotten it.
    pub(super) known: Option<Box<Address>>,
    pub(super) entrance: Arc<Entrance>,
    pub(super) counted: Option<Counted>,
    pub(super) taken: Taken,
}

impl Pair {
    /// A client that was just accepted.
    pub(super) fn new(client: End, entrance: Arc<Entrance>, taken: Taken, now: Instant) -> Self {
        Pair {
            client,
            destination: None,
            phase: Phase::Parked,
            flow: Flow::default(),
            up: Lane::new(),
            down: Lane::new(),
            since: now,
            last: now,
            timer: None,
            queued: false,
            known: None,
            entrance,
            counted: None,
            taken,
        }
    }

    /// Moves what can be moved, and passes ends on.
    pub(super) fn relay(&mut self, tools: &mut Tools, settings: &Settings) -> Fate {
        let Some(destination) = &mut self.destination else {
            return Fate::Ends(How::Unconnected);
        };
        let idle = tools.now.saturating_duration_since(self.last);
        let before = (self.up.moved, self.down.moved);
        self.up.calm_down(idle);
        self.down.calm_down(idle);
        self.up.run(Way::Up, (&mut self.client, destination), &mut self.flow, tools);
        self.down.run(Way::Down, (destination, &mut self.client), &mut self.flow, tools);
        let moved = (self.up.moved - before.0, self.down.moved - before.1);
        if moved != (0, 0) {
            self.last = tools.now;
            if let Some(counted) = &self.counted {
                counted.destination().count_bytes(moved.0, moved.1);
            }
        }
        while let Some(step) = self.flow.next(|way| held(way, &self.up, &self.down)) {
            match step {
                Step::PassOn(way) => match way.to() {
                    Side::Client => self.client.shutdown(Side::Client, &mut self.flow),
                    Side::Destination => destination.shutdown(Side::Destination, &mut self.flow),
                },
                Step::Reset(side) => return self.settle(side, tools, settings),
                Step::Close => {
                    let reset = self.flow.is_reset(Side::Client) || self.flow.is_reset(Side::Destination);
                    return Fate::Ends(if reset { How::Reset } else { How::Finished });
                }
            }
        }
        let up = self.up.could_go_on(Way::Up, &self.client, destination, &self.flow);
        let down = self.down.could_go_on(Way::Down, destination, &self.client, &self.flow);
        if up || down { Fate::GoesOn } else { Fate::Waits }
    }

    /// A reset throws away what is not acknowledged yet, so that has to be waited for.
    fn settle(&mut self, side: Side, tools: &mut Tools, settings: &Settings) -> Fate {
        self.up.drop_held(tools);
        self.down.drop_held(tools);
        let longest = settings.half_closed_timeout.unwrap_or(super::settings::HALF_CLOSED_TIMEOUT);
        let until = tools.now + longest;
        self.phase = Phase::Settling { side, until, look: tools.now, pause: FIRST_LOOK };
        self.look(tools.now)
    }

    /// Whether the last bytes are acknowledged, so that the reset may follow.
    pub(super) fn look(&mut self, now: Instant) -> Fate {
        let Phase::Settling { side, until, look, pause } = &mut self.phase else {
            return Fate::Waits;
        };
        let end = match side {
            Side::Client => Some(&self.client),
            Side::Destination => self.destination.as_ref(),
        };
        let Some(end) = end else {
            return Fate::Ends(How::Reset);
        };
        let acknowledged = end.stream().unacknowledged().map_or(true, |bytes| bytes == 0);
        if !acknowledged && now < *until {
            *look = now + *pause;
            *pause = (*pause * 2).min(LONGEST_LOOK);
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
        match (&mut self.phase, self.client.stream().peek()) {
            (_, Err(_)) | (Phase::Parked, Ok(Some(false))) => false,
            (Phase::Connecting { leaving, .. }, Ok(Some(false))) => {
                leaving.get_or_insert(now + LEAVING);
                true
            }
            // What it has said before shall be heard.
            (Phase::Parked | Phase::Connecting { .. } | Phase::Relaying | Phase::Settling { .. }, Ok(_)) => true,
        }
    }

    /// Who the client is, as far as that is known.
    pub(super) fn client_address(&self) -> Address {
        match &self.known {
            Some(address) => Address::clone(address),
            None => self.client.stream().peer().unwrap_or(Address::Unnamed),
        }
    }

    /// When something is to be done if nothing happens.
    pub(super) fn due_at(&self, settings: &Settings) -> Option<Instant> {
        match &self.phase {
            Phase::Parked => None,
            Phase::Connecting { until, leaving, retry } => [Some(*until), *leaving, *retry].into_iter().flatten().min(),
            Phase::Relaying => self.idle_limit(settings).map(|limit| self.last + limit),
            Phase::Settling { look, .. } => Some(*look),
        }
    }

    fn idle_limit(&self, settings: &Settings) -> Option<Duration> {
        let half_closed = if self.flow.is_half_closed() { settings.half_closed_timeout } else { None };
        match (settings.idle_timeout, half_closed) {
            (Some(idle), Some(half_closed)) => Some(idle.min(half_closed)),
            (idle, half_closed) => idle.or(half_closed),
        }
    }

    /// Whether both sockets can be moved to another process: nothing is known of them but bytes and ends.
    pub(super) fn is_movable(&self) -> bool {
        let plain = self.client.is_plain() && self.destination.as_ref().is_some_and(End::is_plain);
        let reset = self.flow.is_reset(Side::Client) || self.flow.is_reset(Side::Destination);
        matches!(self.phase, Phase::Relaying) && plain && !reset
    }

    /// A side was reset on purpose or its connection is given up: everything that is held is dropped.
    pub(super) fn give_up(&mut self, tools: &mut Tools) {
        self.up.drop_held(tools);
        self.down.drop_held(tools);
        for side in [Side::Client, Side::Destination] {
            self.flow.on(Input::Reset(side));
        }
    }

    /// Closes both sockets, and only then leaves the count.
    pub(super) fn close(self) {
        self.client.close();
        if let Some(destination) = self.destination {
            destination.close();
        }
        drop(self.taken);
        drop(self.counted);
    }
}

fn held(way: Way, up: &Lane, down: &Lane) -> bool {
    match way {
        Way::Up => up.holds(),
        Way::Down => down.holds(),
    }
}
