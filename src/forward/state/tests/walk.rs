//! A seeded random walk through rules, their connections and those who ask, with every invariant checked after every step.

use super::{A, SECOND};
use crate::forward::state::{
    Action, Answer, Course, DestinationId, How, Input, Machine, Phase, Request, RuleId, Scope, Stop,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// xorshift64*: the same walk on every run, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A destination as the relay has it.
#[derive(Default)]
struct Target {
    rule: u64,
    /// What it stands for: two of a rule never stand for the same.
    place: u64,
    connections: u32,
    watched: bool,
    probed: bool,
}

/// A listener as the relay has it.
struct Listener {
    course: Course,
    paused: bool,
    open: bool,
}

/// The driver, the relay and the clients, in short.
struct World {
    seed: u64,
    random: Random,
    machine: Machine,
    now: Instant,
    rules: BTreeMap<u64, Listener>,
    targets: BTreeMap<u64, Target>,
    /// News on their way; they may be late.
    news: VecDeque<Input>,
    waiting: BTreeMap<Request, Option<Scope>>,
    answered: BTreeMap<Request, Answer>,
    next: u64,
    stopping: bool,
    finished: bool,
    saved: BTreeMap<u64, Course>,
}

impl World {
    fn new(seed: u64) -> Self {
        World {
            seed,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            machine: Machine::new(),
            now: Instant::now(),
            rules: BTreeMap::new(),
            targets: BTreeMap::new(),
            news: VecDeque::new(),
            waiting: BTreeMap::new(),
            answered: BTreeMap::new(),
            next: A.0,
            stopping: false,
            finished: false,
            saved: BTreeMap::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn request(&mut self, scope: Option<Scope>) -> Request {
        let request = Request(self.number());
        self.waiting.insert(request, scope);
        request
    }

    fn feed(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.machine.on(self.now, input, &mut actions);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let seed = self.seed;
        match action {
            Action::Route(rule, course) => {
                for id in course.destinations() {
                    assert!(self.targets.contains_key(&id.0), "routed to one that is gone: {seed}");
                }
                let listener = Listener { course, paused: false, open: true };
                let paused = self.rules.insert(rule.0, listener).is_some_and(|last| last.paused);
                self.listener(rule).paused = paused;
            }
            Action::Watch(id) => {
                let target = self.target(id);
                target.watched = true;
                if target.connections == 0 {
                    self.news.push_back(Input::Drained(id));
                }
            }
            Action::Unwatch(id) => self.target(id).watched = false,
            Action::Probe(_, id) => self.target(id).probed = true,
            Action::EndProbe(id) => self.target(id).probed = false,
            Action::Forget(id) => {
                let target = self.targets.remove(&id.0).expect("forgotten once");
                assert!(target.connections == 0 && !target.probed, "forgotten while in use: {seed}");
            }
            Action::Pause(rule) => self.set_paused(rule, true),
            Action::Resume(rule) => self.set_paused(rule, false),
            Action::Close(rule) => self.listener(rule).open = false,
            Action::Cut(rule) => self.cut(rule),
            Action::ForgetRule(rule) => {
                assert!(!self.rules.remove(&rule.0).expect("forgotten once").open, "forgotten while open: {seed}");
            }
            Action::Save => {
                let lasting = self.machine.rules().iter().filter_map(|rule| Some((rule.id.0, rule.lasting()?.0)));
                self.saved = lasting.collect();
            }
            Action::Answer(request, answer) => self.answer(request, answer),
            Action::Finish => {
                assert!(self.stopping && !self.finished && self.rules.is_empty() && self.targets.is_empty(), "{seed}");
                self.finished = true;
            }
        }
    }

    fn target(&mut self, id: DestinationId) -> &mut Target {
        self.targets.get_mut(&id.0).expect("a destination that is there")
    }

    fn listener(&mut self, rule: RuleId) -> &mut Listener {
        self.rules.get_mut(&rule.0).expect("a rule that is there")
    }

    fn set_paused(&mut self, rule: RuleId, paused: bool) {
        assert_ne!(std::mem::replace(&mut self.listener(rule).paused, paused), paused, "twice: {}", self.seed);
    }

    fn cut(&mut self, rule: RuleId) {
        for (id, target) in self.targets.iter_mut().filter(|(_, target)| target.rule == rule.0) {
            if std::mem::take(&mut target.connections) > 0 && target.watched {
                self.news.push_back(Input::Drained(DestinationId(*id)));
            }
        }
    }

    fn answer(&mut self, request: Request, answer: Answer) {
        let seed = self.seed;
        let scope = self.waiting.remove(&request);
        let scope = scope.unwrap_or_else(|| panic!("answered twice, or who has left: {request:?}: {seed}"));
        assert!(self.answered.insert(request, answer).is_none(), "{seed}");
        if let (Some(scope), Answer::Drained) = (scope, answer) {
            assert_eq!(self.on_former(&scope), 0, "not drained: {seed}");
        }
    }

    /// How many connections run on former destinations.
    fn on_former(&self, scope: &Scope) -> u32 {
        let concerned = |rule: u64| match scope {
            Scope::All => true,
            Scope::Rules(rules) => rules.contains(&RuleId(rule)),
        };
        let former = |(id, target): &(&u64, &Target)| {
            let listener = self.rules.get(&target.rule);
            let active = listener.is_some_and(|one| one.open && one.course.leads_to(DestinationId(**id)));
            concerned(target.rule) && !active
        };
        self.targets.iter().filter(former).map(|(_, target)| target.connections).sum()
    }

    /// The number of what this place of a rule is known by, a new one if by none.
    fn destination(&mut self, rule: u64, place: u64) -> DestinationId {
        let known = self.targets.iter().find(|(_, target)| (target.rule, target.place) == (rule, place));
        if let Some((id, _)) = known {
            return DestinationId(*id);
        }
        let id = self.number();
        self.targets.insert(id, Target { rule, place, ..Target::default() });
        DestinationId(id)
    }

    fn open_rules(&self) -> Vec<u64> {
        self.rules.iter().filter(|(_, listener)| listener.open).map(|(rule, _)| *rule).collect()
    }

    fn one_of(&mut self, rules: &[u64]) -> Option<u64> {
        if rules.is_empty() { None } else { Some(rules[self.random.below(rules.len() as u64) as usize]) }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 if !self.stopping && self.rules.len() < 3 => self.start(),
            1..=3 => self.switch(),
            4..=8 => self.connect(),
            9..=12 => self.disconnect(),
            13 => self.wait(),
            14 => self.fail_or_probe(),
            15 => self.now += Duration::from_millis(self.random.below(1500)),
            16 => self.pause(),
            17 if self.random.one_in(8) => self.stop_rule(),
            18 if self.random.one_in(60) => self.stop(),
            19 if self.random.one_in(4) => self.leave(),
            _ => {}
        }
        if self.random.one_in(2) {
            self.hear();
        }
        while self.machine.deadline().is_some_and(|at| at <= self.now) {
            self.feed(Input::Deadline);
            let next = self.machine.deadline();
            assert!(next.is_none_or(|at| at > self.now), "a deadline that comes back at once: {}", self.seed);
        }
    }

    fn start(&mut self) {
        let rule = self.number();
        let course = Course::all_to(self.destination(rule, 0));
        let paused = self.random.one_in(5);
        self.feed(Input::Start { rule: RuleId(rule), course, paused });
    }

    fn switch(&mut self) {
        // Also of a rule whose end has begun.
        let rules = self.rules.keys().copied().collect::<Vec<_>>();
        let Some(rule) = self.one_of(&rules) else {
            return;
        };
        let place = self.random.below(3);
        let to = self.destination(rule, place);
        let weight = if self.random.one_in(3) { 30 } else { 100 };
        let how = How { probe: self.random.one_in(3), guard: SECOND * (self.random.below(2) as u32), weight };
        let request = self.request(None);
        self.feed(Input::Switch { rule: RuleId(rule), to, how, request });
    }

    fn connect(&mut self) {
        let rules = self.open_rules();
        let Some(rule) = self.one_of(&rules) else {
            return;
        };
        let listener = &self.rules[&rule];
        if !listener.paused {
            let course = listener.course;
            let shared = course.share.filter(|_| self.random.one_in(3));
            let id = shared.map_or(course.active, |share| share.to);
            self.target(id).connections += 1;
        }
    }

    fn disconnect(&mut self) {
        let used = self.targets.iter().filter(|(_, one)| one.connections > 0).map(|(id, _)| *id).collect::<Vec<_>>();
        if let Some(id) = self.one_of(&used) {
            let target = self.target(DestinationId(id));
            target.connections -= 1;
            if target.watched && target.connections == 0 {
                self.news.push_back(Input::Drained(DestinationId(id)));
            }
        }
    }

    /// The next of the news, unless it is not true any more.
    fn hear(&mut self) {
        match self.news.pop_front() {
            Some(Input::Drained(id)) => {
                let still = self.targets.get(&id.0).is_some_and(|target| target.watched && target.connections == 0);
                if still {
                    self.feed(Input::Drained(id));
                }
            }
            Some(other) => self.feed(other),
            None => {}
        }
    }

    fn wait(&mut self) {
        let rules = self.rules.keys().copied().collect::<Vec<_>>();
        let scope = match self.one_of(&rules) {
            Some(rule) if self.random.one_in(2) => Scope::Rules(vec![RuleId(rule)]),
            _ => Scope::All,
        };
        let request = self.request(Some(scope.clone()));
        self.feed(Input::Wait { scope, request });
    }

    fn fail_or_probe(&mut self) {
        let probed = self.targets.iter().filter(|(_, one)| one.probed).map(|(id, _)| *id).collect::<Vec<_>>();
        if let Some(id) = self.one_of(&probed) {
            let to = DestinationId(id);
            self.target(to).probed = false;
            let ok = !self.random.one_in(3);
            self.feed(Input::Probed { to, ok });
        } else {
            let all = self.targets.keys().copied().collect::<Vec<_>>();
            if let Some(id) = self.one_of(&all) {
                self.feed(Input::ConnectFailed(DestinationId(id)));
            }
        }
    }

    fn pause(&mut self) {
        let rules = self.open_rules();
        if let Some(rule) = self.one_of(&rules) {
            let input = if self.random.one_in(2) { Input::Pause } else { Input::Resume };
            self.feed(input(RuleId(rule)));
        }
    }

    fn how_to_stop(&mut self) -> Stop {
        match self.random.below(3) {
            0 => Stop::Cut,
            1 => Stop::Drain(Some(SECOND)),
            _ => Stop::Drain(None),
        }
    }

    fn stop_rule(&mut self) {
        let rules = self.rules.keys().copied().collect::<Vec<_>>();
        if let Some(rule) = self.one_of(&rules) {
            let (stop, request) = (self.how_to_stop(), self.request(None));
            self.feed(Input::StopRule { rule: RuleId(rule), stop, request });
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let stop = self.how_to_stop();
        let request = if self.random.one_in(2) { Some(self.request(None)) } else { None };
        self.feed(Input::Stop { stop, request });
    }

    fn leave(&mut self) {
        let waiting = self.waiting.iter().filter(|(_, scope)| scope.is_some()).map(|(request, _)| *request);
        if let Some(request) = waiting.max() {
            self.waiting.remove(&request);
            self.feed(Input::Left(request));
        }
    }

    fn check(&self) {
        let seed = self.seed;
        let known = self.machine.rules().iter().flat_map(|rule| rule.destinations()).map(|id| id.0);
        assert_eq!(known.collect::<BTreeSet<_>>(), self.targets.keys().copied().collect(), "{seed}");
        for rule in self.machine.rules() {
            let listener = &self.rules[&rule.id.0];
            match &rule.phase {
                Phase::Serving { course, paused, .. } => {
                    assert_eq!((*course, *paused), (listener.course, listener.paused), "{seed}");
                    assert!(listener.open, "{seed}");
                }
                Phase::Draining { .. } => assert!(!listener.open, "{seed}"),
            }
            for former in &rule.former {
                assert!(rule.course().is_none_or(|course| !course.leads_to(former.id)), "both: {seed}");
                let target = &self.targets[&former.id.0];
                assert!(target.watched, "nobody would tell: {seed}");
                assert!(former.busy || target.connections == 0, "{seed}");
            }
            if let Some((lasting, _)) = rule.lasting()
                && !self.stopping
            {
                assert_eq!(self.saved.get(&rule.id.0), Some(&lasting), "what stands is not saved: {seed}");
            }
        }
        if self.news.is_empty() {
            // Nothing is on its way: whoever waits has something to wait for.
            for scope in self.waiting.values().flatten() {
                assert!(self.on_former(scope) > 0, "a wait without an end: {seed}");
            }
        }
    }
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut finished = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        world.start();
        for _ in 0..1200 {
            world.step();
            world.check();
            if world.finished {
                break;
            }
        }
        // Everything ends once it is asked to.
        let request = world.request(None);
        if !world.finished {
            world.stopping = true;
            world.feed(Input::Stop { stop: Stop::Cut, request: Some(request) });
            while !world.news.is_empty() {
                world.hear();
                world.check();
            }
            assert!(world.finished && world.waiting.is_empty(), "left over: {:?}: {seed}", world.waiting);
        }
        finished += 1;
        for answer in world.answered.values() {
            *seen.entry(format!("{answer:?}")).or_default() += 1;
        }
    }
    // The walk is worth something only if it comes to all places.
    assert!(finished == 400 && seen.len() == 9 && seen.values().all(|count| *count > 20), "{seen:?}");
}
