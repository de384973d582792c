//! A seeded random walk of clients, who go by the door, and of the one who decides, who hears of things later than they happen:
//! nobody is forgotten, and no server is ended while it has what only it can answer.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at what it is about")]

use super::{Door, Porter, Standing};
use crate::dev::gate::{Action, Change, Generation, Input, Phase, Policy, Request, Why};
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

/// What a generation's processes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Builds,
    Starts,
    Answers,
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
    /// Those for whom the one who decides has a word to give.
    waiting: BTreeSet<Request>,
    last: u64,
    lives: BTreeMap<Generation, Life>,
    /// What browsers have been told last that they would get.
    told: Option<Generation>,
    /// It is stopped on its way.
    stops: bool,
    over: bool,
    seen: BTreeSet<&'static str>,
}

impl World {
    fn new(seed: u64) -> World {
        let door = Arc::new(Door::default());
        let is = |bit: u64| seed >> bit & 1 == 1;
        let hold_limit = if is(2) { 2 } else { usize::MAX };
        let policy = Policy { overlap: is(0), build: is(1), hold_limit, ..Policy::default() };
        World {
            porter: Porter::new(policy, Arc::clone(&door)),
            door,
            policy,
            now: Instant::now(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            inbox: VecDeque::new(),
            clients: BTreeMap::new(),
            waiting: BTreeSet::new(),
            last: 0,
            lives: BTreeMap::new(),
            told: None,
            stops: is(3),
            over: false,
            seen: BTreeSet::new(),
        }
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
        } else {
            assert_eq!(at, self.told, "browsers have been told of what is behind the door");
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

    /// One of those that run does what is next.
    fn goes_on(&mut self) {
        let count = self.lives.len();
        let at = if count == 0 { return } else { self.below(count) };
        let (generation, life) = self.lives.iter().nth(at).map(|(generation, life)| (*generation, *life)).unwrap();
        match (life, self.below(8)) {
            (Life::Builds | Life::Starts, 0) => {
                self.lives.remove(&generation);
                self.tell(Input::CannotRun(generation));
            }
            (Life::Builds, chance) => self.has_built(generation, chance > 3),
            (Life::Starts, _) => self.answers(generation),
            (Life::Answers, 0) => self.ends(generation),
            (Life::Answers, _) => {}
        }
    }

    fn has_built(&mut self, generation: Generation, well: bool) {
        self.lives.remove(&generation);
        self.tell(Input::Built(generation, well));
    }

    fn answers(&mut self, generation: Generation) {
        self.lives.insert(generation, Life::Answers);
        self.tell(Input::Answered(generation));
    }

    fn ends(&mut self, generation: Generation) {
        let Some(life) = self.lives.remove(&generation) else { return };
        if life != Life::Builds {
            self.tell(Input::Exited(generation));
        }
        self.tell(Input::Gone(generation));
        if life == Life::Starts && self.below(2) == 0 {
            // Whoever had asked it tells so last.
            self.tell(Input::Answered(generation));
        }
    }

    /// The one who decides takes what is next.
    fn decide(&mut self) {
        let Some((input, standing)) = self.inbox.pop_front().filter(|_| !self.over) else { return };
        if let (Input::Came(request), Some(standing)) = (input, standing) {
            self.porter.asks(request, standing);
        }
        match input {
            Input::Came(request) | Input::Lost(request, _) => drop(self.waiting.insert(request)),
            Input::Done(request) => drop(self.waiting.remove(&request)),
            _ => {}
        }
        if let Input::Answered(generation) = input
            && !self.porter.answers_at(generation, SocketAddr::from(([127, 0, 0, 1], generation.0 as u16)))
        {
            self.seen.insert("answered too late");
            return;
        }
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let gate = self.porter.gate();
        let old = self.lives.keys().copied().find(|life| gate.serving() == Some(*life) || gate.is_parked(*life));
        let was_parked = old.is_some() && gate.serving().is_none();
        let mut actions = Vec::new();
        self.porter.on(self.now, input, &mut actions);
        if was_parked && self.porter.gate().serving() == old {
            self.seen.insert("a parked server answers again");
        }
        for action in actions {
            if self.below(4) == 0 {
                self.comes();
            }
            self.perform(action, input, old);
        }
        self.porter.open();
        self.check();
    }

    fn perform(&mut self, action: Action, input: Input, old: Option<Generation>) {
        match action {
            Action::Build(generation) => drop(self.lives.insert(generation, Life::Builds)),
            Action::Start(generation) => drop(self.lives.insert(generation, Life::Starts)),
            Action::End(generation) => {
                let for_the_next = matches!(input, Input::Changed(_) | Input::Built(..) | Input::Answered(_));
                if matches!(input, Input::Done(_) | Input::Lost(..)) || for_the_next && old == Some(generation) {
                    self.has_what_it_may_not_end_with(generation);
                }
                self.ends(generation);
            }
            Action::Kill(generation) => self.ends(generation),
            Action::Forward(request, generation) => {
                self.waiting.remove(&request);
                if let Some(client) = self.clients.get_mut(&request) {
                    assert!(client.at.replace(generation).is_none(), "{request:?} has got two words");
                }
            }
            Action::Refuse(request, why) => {
                self.waiting.remove(&request);
                if let Some(client) = self.clients.get(&request) {
                    assert!(client.at.is_none() && client.asked, "{request:?} is answered, and refused");
                }
                if why == Why::Full {
                    self.seen.insert("full");
                }
                self.leaves(request);
            }
            Action::Reload(_) => self.told = self.porter.gate().serving(),
            Action::Exit => self.over = true,
            Action::GiveUp(_) | Action::Alert => {}
        }
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
            for generation in self.porter.addresses.keys() {
                assert_eq!(self.lives.get(generation), Some(&Life::Answers), "{generation:?} has an address");
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
            9 => self.goes_on(),
            10 if self.below(10) == 0 => self.in_time(),
            11 if self.stops && self.below(20) == 0 => self.tell(Input::Stop),
            _ => self.decide(),
        }
    }

    fn in_time(&mut self) {
        if let Some(deadline) = self.porter.gate().deadline().filter(|_| !self.over) {
            self.now = self.now.max(deadline) + Duration::from_millis(1);
            self.step(Input::Deadline);
        }
    }

    fn drain(&mut self) {
        while !self.inbox.is_empty() {
            self.decide();
        }
    }

    fn all_leave(&mut self) {
        for request in self.clients.keys().copied().collect::<Vec<_>>() {
            self.leaves(request);
        }
        self.drain();
    }

    /// All goes well from now on: who waits gets a word, and who comes gets in without one.
    fn settle(&mut self) {
        self.tell(Input::Changed(Change::Files));
        for _ in 0..50 {
            self.drain();
            let next = self.lives.iter().find(|(_, life)| **life != Life::Answers);
            match next.map(|(generation, life)| (*generation, *life)) {
                Some((generation, Life::Builds)) => self.has_built(generation, true),
                Some((generation, _)) => self.answers(generation),
                None => self.in_time(),
            }
        }
        self.drain();
        assert_eq!(self.porter.gate().phase(), Phase::Up);
        assert!(self.clients.values().all(|client| client.at.is_some()), "{:?}", self.clients);
        self.all_leave();
        assert_eq!((self.porter.in_progress(), self.porter.standings.len()), (0, 0));
        assert!(self.waiting.is_empty(), "{:?} have gone", self.waiting);
        let serving = self.porter.gate().serving().unwrap();
        assert_eq!(self.porter.addresses.keys().collect::<Vec<_>>(), [&serving], "the others are gone");
        self.comes();
        assert!(self.inbox.is_empty(), "it asks nobody");
    }

    /// It ends, and nobody is let in or kept.
    fn stop(&mut self) {
        self.tell(Input::Stop);
        self.drain();
        assert!(self.over && self.lives.is_empty(), "{:?}", self.lives);
        assert!(self.porter.addresses.is_empty(), "{:?}", self.porter.addresses);
        assert_eq!((self.door.leads_to(), self.door.count()), (None, 0));
    }
}

#[test]
fn whatever_clients_do_meanwhile_nobody_is_forgotten_or_cut_off() {
    let mut seen = BTreeSet::new();
    for seed in 1..=800 {
        let mut world = World::new(seed);
        world.tell(Input::Changed(Change::Files));
        for _ in 0..400 {
            world.random_step();
        }
        if world.stops {
            world.stop()
        } else {
            world.settle()
        }
        seen.extend(world.seen);
    }
    let all =
        ["a parked server answers again", "answered too late", "came and left without a word", "end", "finish", "full"];
    assert_eq!(seen, BTreeSet::from(all));
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
