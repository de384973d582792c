//! Listeners and destinations: from their text to what the relay works with.

use super::Driver;
use crate::forward::DriverError;
use crate::forward::state::{Course, DestinationId, Input, Phase, RuleId, Share};
use crate::forward::store::SavedRule;
use crate::net::descriptors::Taken;
use crate::net::endpoint::{Connect, Listen, Tcp};
use crate::net::listener::{self, Address, Bound, SocketFile, Traffic};
use crate::net::relay::{self, Door, ListenerId, Relay, Route, Which};
use crate::net::resolve::Answer;
use crate::net::tls::ServerIdentity;
use log::info;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Connections that the kernel keeps until we accept them, where an endpoint says nothing else.
const BACKLOG: u32 = 4096;

/// The listener of a rule.
pub(super) struct Listening {
    pub(super) source: Listen,
    /// The source as it was given, but for a port that was left open.
    pub(super) text: String,
    pub(super) address: Address,
    pub(super) route: Arc<Route>,
    pub(super) door: ListenerId,
    /// The listening socket once more, for whoever takes over; `None` when it is closed.
    pub(super) socket: Option<Kept>,
    pub(super) tls: Option<Arc<ServerIdentity>>,
    /// The port was left open.
    pub(super) chosen: bool,
    /// Removed when the listener is closed.
    pub(super) file: Option<SocketFile>,
    /// How many connections were cut at the end.
    pub(super) cut: usize,
}

/// A listening socket that is kept for whoever takes over. It counts among the descriptors that connections leave.
pub(super) struct Kept {
    socket: OwnedFd,
    _taken: Taken,
}

impl Kept {
    pub(super) fn new(socket: OwnedFd, relay: &Relay) -> Self {
        Kept { socket, _taken: relay.count(1) }
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A destination of a rule.
pub(super) struct Place {
    pub(super) rule: RuleId,
    pub(super) connect: Connect,
    pub(super) text: String,
    pub(super) target: Arc<relay::Destination>,
    /// What was counted by processes before this one.
    pub(super) before: Before,
}

/// What was counted by processes before this one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) age: Duration,
    pub(super) total: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) failures: u64,
}

/// A rule whose listener is bound, and which does not accept yet.
pub(super) struct Prepared {
    id: RuleId,
    bound: Bound,
    source: Listen,
    text: String,
    chosen: bool,
    course: Course,
    paused: bool,
    tls: Option<Arc<ServerIdentity>>,
}

impl Driver {
    /// Reads the rule's endpoints, and binds: at what was `found` for the name that it listens at. Without that a name is
    /// looked up now.
    pub(super) fn prepare(&mut self, rule: &SavedRule, found: Option<Answer>) -> Result<Prepared, DriverError> {
        let source = rule.source.parse::<Listen>()?;
        if let Some(known) = self.serving(&source) {
            let active = self.machine.rule(known).and_then(|rule| rule.course()).map(|course| course.active);
            let place = active.and_then(|id| self.places.get(&id));
            let destination = place.map_or_else(String::new, |place| place.text.clone());
            return Err(DriverError::Known { endpoint: rule.source.clone(), destination });
        }
        let destination = rule.destination.parse::<Connect>()?;
        let share = match &rule.share {
            Some(share) => Some((share, share.destination.parse::<Connect>()?)),
            None => None,
        };
        let tls = self.server_identity(&source)?;
        if matches!(source.socket(), Listen::Udp(_)) {
            return Err(DriverError::Datagrams { endpoint: rule.source.clone() });
        }
        let bound = match found {
            Some(found) => listener::bind_at(&source, found, BACKLOG)?,
            None => listener::bind(&source, &mut self.inherited, BACKLOG)?,
        };
        if bound.traffic == Traffic::Datagrams {
            return Err(DriverError::Datagrams { endpoint: rule.source.clone() });
        }
        let chosen = open_port(&source);
        let source = with_port_of(source, &bound.address);
        let text = if chosen { source.to_string() } else { rule.source.clone() };
        let id = RuleId(self.number());
        let active = self.add_place(id, destination, &rule.destination)?;
        let share = match share {
            Some((saved, connect)) => Some(Share {
                to: self.add_place(id, connect, &saved.destination)?,
                percent: saved.percent.clamp(1, 99),
            }),
            None => None,
        };
        Ok(Prepared { id, bound, source, text, chosen, course: Course { active, share }, paused: rule.paused, tls })
    }

    /// Accepts from now on.
    pub(super) fn accept_for(&mut self, rule: Prepared) -> Result<RuleId, DriverError> {
        let Prepared { id, bound, source, text, chosen, course, paused, tls } = rule;
        let route = Route::new(self.shares(course));
        let accept = |source| DriverError::Accept { endpoint: text.clone(), source };
        let socket = Some(Kept::new(bound.socket.try_clone().map_err(accept)?, &self.relay));
        let proxied = is_proxied(&source);
        let door = Door { socket: bound.socket, route: Arc::clone(&route), proxied, tls: tls.clone() };
        let door = self.relay.go_on(door, paused, Vec::new()).map_err(accept)?;
        let to = self.places.get(&course.active).map_or("", |place| place.text.as_str());
        info!("forwarding {text} ({}) to {to}", bound.address);
        let (address, file) = (bound.address, bound.file);
        let listening = Listening { source, text, address, route, door, socket, tls, chosen, file, cut: 0 };
        self.rules.insert(id, listening);
        self.input(Input::Start { rule: id, course, paused });
        Ok(id)
    }

    /// The number of this destination of a rule: that of one which is there, or a new one.
    pub(super) fn place(&mut self, rule: RuleId, connect: Connect, text: &str) -> Result<DestinationId, DriverError> {
        let known = self.places.iter().find(|(_, place)| place.rule == rule && place.connect == connect);
        match known {
            Some((id, _)) => Ok(*id),
            None => self.add_place(rule, connect, text),
        }
    }

    pub(super) fn add_place(
        &mut self,
        rule: RuleId,
        connect: Connect,
        text: &str,
    ) -> Result<DestinationId, DriverError> {
        let tls = self.client_identity(&connect, text)?;
        let id = self.number();
        let target = self.relay.destination(id, connect.clone(), tls);
        let place = Place { rule, connect, text: text.to_owned(), target, before: Before::default() };
        self.places.insert(DestinationId(id), place);
        Ok(DestinationId(id))
    }

    /// Destinations of a rule that did not come about.
    pub(super) fn forget_places_of_nobody(&mut self) {
        self.places.retain(|_, place| self.rules.contains_key(&place.rule));
    }

    /// The rule that accepts there.
    pub(super) fn serving(&self, source: &Listen) -> Option<RuleId> {
        let mut rules = self.machine.rules().iter().filter(|rule| rule.course().is_some()).map(|rule| rule.id);
        rules.find(|id| self.is_at(*id, source))
    }

    /// Every rule that accepts there, or did and still has connections.
    pub(super) fn all_at(&self, source: &Listen) -> Vec<RuleId> {
        self.machine.rules().iter().map(|rule| rule.id).filter(|id| self.is_at(*id, source)).collect()
    }

    fn is_at(&self, id: RuleId, source: &Listen) -> bool {
        self.rules.get(&id).is_some_and(|rule| rule.source.same_place(source))
    }

    pub(super) fn name_of(&self, door: ListenerId) -> &str {
        let mut rules = self.rules.values();
        rules.find(|rule| rule.door == door).map_or("a former rule", |rule| rule.text.as_str())
    }

    pub(super) fn shares(&self, course: Course) -> Vec<relay::Share> {
        let share = course.share.map_or(0, |share| share.percent);
        let rest = (course.active, 100 - u32::from(share));
        let all = std::iter::once(rest).chain(course.share.map(|share| (share.to, u32::from(share.percent))));
        let share = |(id, weight)| {
            let place = self.places.get(&id)?;
            Some(relay::Share { destination: Arc::clone(&place.target), weight })
        };
        all.filter_map(share).collect()
    }

    pub(super) fn route(&mut self, rule: RuleId, course: Course) {
        if let Some(listening) = self.rules.get(&rule) {
            listening.route.set(self.shares(course));
        }
    }

    pub(super) fn watch(&mut self, id: DestinationId) {
        let elsewhere = self.stays(id).connections;
        if self.places.get(&id).is_some_and(|place| place.target.watch() && elsewhere == 0) {
            self.input(Input::Drained(id));
        }
    }

    pub(super) fn unwatch(&mut self, id: DestinationId) {
        if let Some(place) = self.places.get(&id) {
            place.target.unwatch();
        }
    }

    /// News may be late: only what is so now counts.
    pub(super) fn drained(&mut self, id: DestinationId) {
        let elsewhere = self.stays(id).connections;
        if self.places.get(&id).is_some_and(|place| place.target.counts().connections + elsewhere == 0) {
            self.input(Input::Drained(id));
        }
    }

    pub(super) fn set_paused(&mut self, rule: RuleId, paused: bool) {
        if let Some(listening) = self.rules.get(&rule) {
            info!("{} {}", if paused { "pausing" } else { "resuming" }, listening.text);
            if paused { self.relay.pause(listening.door) } else { self.relay.resume(listening.door) }
        }
    }

    pub(super) fn close(&mut self, rule: RuleId) {
        if let Some(listening) = self.rules.get_mut(&rule) {
            info!("closing {}", listening.text);
            // Its file first, while it still works: whoever finds it can connect.
            (listening.file, listening.socket) = (None, None);
            self.relay.stop_listening(listening.door);
        }
    }

    pub(super) fn cut(&mut self, rule: RuleId) {
        let of_rule = self.places.iter().filter(|(_, place)| place.rule == rule).map(|(id, _)| *id).collect::<Vec<_>>();
        let mut count = of_rule.iter().map(|id| self.relay.cut(Which::Destination(id.0))).sum::<usize>();
        count += self.cut_elsewhere(&of_rule);
        if let Some(listening) = self.rules.get_mut(&rule) {
            count += self.relay.cut(Which::Listener(listening.door));
            info!("{}: {count} connections were cut", listening.text);
            listening.cut += count;
        }
        self.cut_in_all += count;
    }

    /// Where the listeners are whose port was left open; `None`: there are none.
    pub fn chosen(&self) -> Option<String> {
        let chosen = self.rules.values().filter(|rule| rule.chosen).map(|rule| rule.address.to_string());
        let mut chosen = chosen.collect::<Vec<_>>();
        chosen.sort();
        if chosen.is_empty() { None } else { Some(chosen.join(" ")) }
    }

    /// The same for one rule.
    pub(super) fn chosen_for(&self, rule: RuleId) -> Option<String> {
        self.rules.get(&rule).filter(|rule| rule.chosen).map(|rule| rule.address.to_string())
    }

    pub(super) fn is_paused(&self, rule: RuleId) -> bool {
        match self.machine.rule(rule).map(|rule| &rule.phase) {
            Some(Phase::Serving { paused, .. }) => *paused,
            Some(Phase::Draining { .. }) | None => false,
        }
    }
}

/// Whether clients begin with a PROXY header.
pub(super) fn is_proxied(source: &Listen) -> bool {
    matches!(source, Listen::Proxied(_))
}

/// The TCP port, where there is one.
fn tcp_of(source: &Listen) -> Option<&Tcp> {
    match source.socket() {
        Listen::Tcp(tcp) => Some(tcp),
        Listen::Tls(tls) => Some(&tls.tcp),
        Listen::Proxied(_) | Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) => None,
    }
}

fn open_port(source: &Listen) -> bool {
    tcp_of(source).is_some_and(|tcp| tcp.port == 0)
}

/// A port that was left open is the one that the kernel chose: the rule is known by it, and saved with it.
fn with_port_of(mut source: Listen, address: &Address) -> Listen {
    let Address::Internet(address) = address else {
        return source;
    };
    let mut inner = &mut source;
    while let Listen::Proxied(next) = inner {
        inner = next;
    }
    match inner {
        Listen::Tcp(tcp) => tcp.port = address.port(),
        Listen::Tls(tls) => tls.tcp.port = address.port(),
        Listen::Proxied(_) | Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) => {}
    }
    source
}
