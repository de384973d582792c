//! A seeded random walk of clients, who go by the door, and of the one who decides, who hears of things later than they happen:
//! nobody is forgotten, and no server is ended while it has what only it can answer.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use super::{Door, Porter, Standing};
use crate::dev::gate::{Action, Change, Generation, Input, Phase, Policy, Request};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a client's request is, as the client knows it.
#[derive(Debug)]
struct Client {
    /// None while it waits for a word.
    at: Option<Generation>,
    asked: bool,
    standing: Arc<Standing>,
}

struct World {
    porter: Porter,
    door: Arc<Door>,
    policy: Policy,
    now: Instant,
    random: u64,
    /// What is on its way to the one who decides.
    inbox: VecDeque<(Input, Option<Arc<Standing>>)>,
    clients: BTreeMap<Request, Client>,
    last: u64,
    /// Servers that run, and whether they have answered.
    servers: BTreeMap<Generation, bool>,
    seen: BTreeSet<&'static str>,
}

impl World {
    fn new(seed: u64) -> World {
        let door = Arc::new(Door::default());
        let policy = Policy { overlap: seed.is_multiple_of(2), hold_limit: usize::MAX, ..Policy::default() };
        let porter = Porter::new(policy, Arc::clone(&door));
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (inbox, clients, servers) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        let now = Instant::now();
        World { porter, door, policy, now, random, inbox, clients, last: 0, servers, seen: BTreeSet::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn tell(&mut self, input: Input) {
        self.inbox.push_back((input, None));
    }

    fn any_client(&mut self) -> Option<Request> {
        let count = self.clients.len();
        let at = if count == 0 { return None } else { self.below(count) };
        self.clients.keys().nth(at).copied()
    }

    fn comes(&mut self) {
        self.last += 1;
        let (request, standing) = (Request(self.last), Arc::new(Standing::default()));
        standing.bind(self.below(3) == 0);
        let at = self.door.enter(request, &standing).map(|(generation, _)| generation);
        if at.is_none() {
            self.inbox.push_back((Input::Came(request), Some(Arc::clone(&standing))));
        }
        self.clients.insert(request, Client { at, asked: at.is_none(), standing });
    }

    fn leaves(&mut self, request: Request) {
        let Some(client) = self.clients.remove(&request) else { return };
        if self.door.leave(request, client.asked) {
            self.tell(Input::Done(request));
        } else {
            self.seen.insert("came and left without a word");
        }
    }

    fn loses(&mut self, request: Request) {
        let may_replay = self.below(2) == 0;
        let Some(client) = self.clients.get_mut(&request).filter(|client| client.at.is_some()) else { return };
        (client.at, client.asked) = (None, true);
        self.tell(Input::Lost(request, may_replay));
    }

    fn server_does(&mut self) {
        let count = self.servers.len();
        let at = if count == 0 { return } else { self.below(count) };
        let (generation, answered) =
            self.servers.iter().nth(at).map(|(generation, answered)| (*generation, *answered)).unwrap();
        if !answered {
            self.servers.insert(generation, true);
            self.tell(Input::Answered(generation));
        } else if self.below(8) == 0 {
            self.ends(generation);
        }
    }

    fn ends(&mut self, generation: Generation) {
        if self.servers.remove(&generation).is_some() {
            self.tell(Input::Exited(generation));
            self.tell(Input::Gone(generation));
        }
    }

    /// The one who decides takes what is next.
    fn decide(&mut self) {
        let Some((input, standing)) = self.inbox.pop_front() else { return };
        if let (Input::Came(request), Some(standing)) = (input, standing) {
            self.porter.asks(request, standing);
        }
        if let Input::Answered(generation) = input {
            self.porter.answers_at(generation, SocketAddr::from(([127, 0, 0, 1], generation.0 as u16)));
        }
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let serving = self.porter.gate().serving();
        let mut actions = Vec::new();
        self.porter.on(self.now, input, &mut actions);
        for action in actions {
            match action {
                Action::Start(generation) => drop(self.servers.insert(generation, false)),
                Action::End(generation) => {
                    let orderly = matches!(input, Input::Done(_) | Input::Lost(..))
                        || matches!(input, Input::Changed(_) | Input::Answered(_)) && serving == Some(generation);
                    if orderly {
                        self.has_what_it_may_not_end_with(generation);
                    }
                    self.ends(generation);
                }
                Action::Kill(generation) => self.ends(generation),
                Action::Forward(request, generation) => {
                    if let Some(client) = self.clients.get_mut(&request) {
                        assert!(client.at.replace(generation).is_none(), "{request:?} has got two words");
                    }
                }
                Action::Refuse(request, _) => {
                    if let Some(client) = self.clients.get(&request) {
                        assert!(client.at.is_none() && client.asked, "{request:?} is answered, and refused");
                    }
                    self.leaves(request);
                }
                _ => {}
            }
        }
        self.porter.open();
        self.check();
    }

    /// Nobody is left at a server that is asked to end for its requests being done.
    fn has_what_it_may_not_end_with(&mut self, generation: Generation) {
        self.seen.insert("end");
        for (request, client) in &self.clients {
            let needs_it = self.policy.overlap || client.standing.is_bound();
            assert!(client.at != Some(generation) || !needs_it, "{request:?} is cut off at {generation:?}");
        }
    }

    fn check(&mut self) {
        assert_eq!(self.door.leads_to(), self.porter.gate().serving(), "the door leads to who serves");
        if self.inbox.is_empty() {
            let at_servers = self.clients.values().filter(|client| client.at.is_some()).count();
            assert_eq!(self.porter.in_progress(), at_servers, "each is known once");
            if self.porter.gate().finishes() && at_servers > 0 {
                self.seen.insert("finish");
            }
        }
    }

    fn random_step(&mut self) {
        match self.below(16) {
            0..=3 => self.comes(),
            4..=5 => drop(self.any_client().map(|request| self.leaves(request))),
            6 => drop(self.any_client().map(|request| self.loses(request))),
            7 => {
                if let Some(request) = self.any_client() {
                    let bound = self.below(2) == 0;
                    self.clients[&request].standing.bind(bound);
                }
            }
            8 if self.below(4) == 0 => self.tell(Input::Changed(Change::Files)),
            9 => self.server_does(),
            10 if self.below(10) == 0 => self.in_time(),
            _ => self.decide(),
        }
    }

    fn in_time(&mut self) {
        if let Some(deadline) = self.porter.gate().deadline() {
            self.now = self.now.max(deadline) + Duration::from_millis(1);
            self.step(Input::Deadline);
        }
    }

    fn drain(&mut self) {
        while !self.inbox.is_empty() {
            self.decide();
        }
    }

    /// All goes well from now on: who waits gets a word, and who comes gets in without one.
    fn settle(&mut self) {
        self.tell(Input::Changed(Change::Files));
        for _ in 0..50 {
            self.drain();
            let starting = self.servers.iter().find(|(_, answered)| !**answered).map(|(generation, _)| *generation);
            match starting {
                Some(generation) => {
                    self.servers.insert(generation, true);
                    self.tell(Input::Answered(generation));
                }
                None => self.in_time(),
            }
        }
        self.drain();
        assert_eq!(self.porter.gate().phase(), Phase::Up);
        assert!(self.clients.values().all(|client| client.at.is_some()), "{:?}", self.clients);
        for request in self.clients.keys().copied().collect::<Vec<_>>() {
            self.leaves(request);
        }
        self.drain();
        assert_eq!((self.porter.in_progress(), self.porter.standings.len()), (0, 0));
        self.comes();
        assert!(self.inbox.is_empty(), "it asks nobody");
    }
}

#[test]
fn whatever_clients_do_meanwhile_nobody_is_forgotten_or_cut_off() {
    let mut seen = BTreeSet::new();
    for seed in 1..=400 {
        let mut world = World::new(seed);
        world.tell(Input::Changed(Change::Files));
        for _ in 0..400 {
            world.random_step();
        }
        world.settle();
        seen.extend(world.seen);
    }
    assert_eq!(seen, BTreeSet::from(["came and left without a word", "end", "finish"]));
}

/// A server that answers, by the door to which three requests have come in; and the one that a change has brought.
fn three_inside(overlap: bool) -> (Porter, Arc<Door>, Vec<Action>) {
    let door = Arc::new(Door::default());
    let mut porter = Porter::new(Policy { overlap, ..Policy::default() }, Arc::clone(&door));
    let (now, mut actions) = (Instant::now(), Vec::new());
    porter.on(now, Input::Changed(Change::Files), &mut actions);
    assert!(porter.answers_at(Generation(1), SocketAddr::from(([127, 0, 0, 1], 1))));
    porter.on(now, Input::Answered(Generation(1)), &mut actions);
    porter.open();
    for number in 1..=3 {
        let standing = Arc::new(Standing::default());
        standing.bind(true);
        assert!(door.enter(Request(number), &standing).is_some());
    }
    actions.clear();
    porter.on(now, Input::Changed(Change::Files), &mut actions);
    (porter, door, actions)
}

#[test]
fn nobody_goes_in_before_what_was_decided_is_done() {
    let (mut porter, door, _) = three_inside(true);
    porter.open();
    assert_eq!(door.leads_to(), Some(Generation(1)), "it answers still");
    let mut actions = Vec::new();
    assert!(porter.answers_at(Generation(2), SocketAddr::from(([127, 0, 0, 1], 2))));
    porter.on(Instant::now(), Input::Answered(Generation(2)), &mut actions);
    assert_eq!(actions, [Action::Reload(Change::Files)]);
    assert_eq!(door.leads_to(), None, "browsers are to be told first");
    porter.open();
    assert_eq!(door.leads_to(), Some(Generation(2)));
}

#[test]
fn how_requests_stand_is_kept_only_where_it_decides() {
    let (alone, _, actions) = three_inside(false);
    assert_eq!((alone.standings.len(), actions.len()), (3, 0), "the old one is to answer them first");
    let (overlap, _, actions) = three_inside(true);
    assert_eq!((overlap.standings.len(), actions), (0, vec![Action::Start(Generation(2))]));
    assert_eq!(overlap.in_progress(), 3);
}

#[test]
fn news_of_a_server_that_is_gone_leaves_no_address() {
    let (mut porter, _, _) = three_inside(true);
    let now = Instant::now();
    porter.on(now, Input::Exited(Generation(2)), &mut Vec::new());
    porter.on(now, Input::Gone(Generation(2)), &mut Vec::new());
    assert!(!porter.answers_at(Generation(2), SocketAddr::from(([127, 0, 0, 1], 2))));
    assert_eq!(porter.address(Generation(2)), None);
    assert!(porter.address(Generation(1)).is_some());
}
