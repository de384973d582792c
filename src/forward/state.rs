//! The decisions of forwarding: where the new connections of each rule go, which former destinations are still in use,
//! who waits for them, and how a switch is tried and undone.
//!
//! Pure: no descriptor, no clock, no log, no system call. The driver turns what happens into [`Input`]s and performs
//! the [`Action`]s in their order. `docs/forward.md` prints the state table; the tests walk it.
//!
//! A destination is a generation of its rule: it gets new connections, then it drains, then it is gone. Numbers come
//! from the driver, which knows what they stand for: the number of a destination that is still there is asked for
//! again when a rule is switched back to it, and none is used twice.

#![deny(clippy::wildcard_enum_match_arm, reason = "the compiler is the state table")]

use std::fmt;
use std::time::{Duration, Instant};

mod rule;
mod stop;
mod switch;
#[cfg(test)]
mod tests;
mod wait;

pub use rule::{Change, Course, Cut, Former, Phase, Rule, Share};
use wait::Waiter;

/// Identifies a rule; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

/// Identifies a destination of a rule; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub u64);

impl fmt::Display for DestinationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request(pub u64);

/// How a rule is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct How {
    /// The new destination is tried before anything changes.
    pub probe: bool,
    /// For so long after the change a failure of the new destination undoes it; zero: not at all.
    pub guard: Duration,
    /// The share of new connections, in percent, from 1 to 100; 100 is all of them.
    pub weight: u8,
}

/// What becomes of running connections at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// They are ended at once.
    Cut,
    /// They may finish; `Some`: within this time, then they are ended.
    Drain(Option<Duration>),
}

/// Which rules somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that there are at any moment.
    All,
    /// These.
    Rules(Vec<RuleId>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A new rule; its listener is bound.
    Start {
        /// Its number.
        rule: RuleId,
        /// Where its connections go.
        course: Course,
        /// Whether its clients wait until it is resumed.
        paused: bool,
    },
    /// New connections shall go somewhere else.
    Switch {
        /// Which rule.
        rule: RuleId,
        /// Where to.
        to: DestinationId,
        /// In which way.
        how: How,
        /// Who asks.
        request: Request,
    },
    /// A probe has come to its end.
    Probed {
        /// Which destination was tried.
        to: DestinationId,
        /// Whether it answered as it should.
        ok: bool,
    },
    /// A connection to this destination could not be made.
    ConnectFailed(DestinationId),
    /// Nothing runs on this destination, of which that was to be told.
    Drained(DestinationId),
    /// Somebody wants to know when nothing runs on a former destination.
    Wait {
        /// Of which rules.
        scope: Scope,
        /// Who asks.
        request: Request,
    },
    /// Whoever made this request waits no longer.
    Left(Request),
    /// Clients of this rule shall wait.
    Pause(RuleId),
    /// They shall go on.
    Resume(RuleId),
    /// A rule is to end.
    StopRule {
        /// Which rule.
        rule: RuleId,
        /// How.
        stop: Stop,
        /// Who asks.
        request: Request,
    },
    /// Everything is to end; `None`: a signal asks. Each further one decides anew.
    Stop {
        /// How.
        stop: Stop,
        /// Who asks.
        request: Option<Request>,
    },
    /// The time of [`Machine::deadline`] has come.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// From now on new connections of this rule go there.
    Route(RuleId, Course),
    /// Tell when nothing runs on this destination, at once if that is so.
    Watch(DestinationId),
    /// It gets new connections again: do not tell any more.
    Unwatch(DestinationId),
    /// Try this destination, then tell how that went.
    Probe(RuleId, DestinationId),
    /// Nobody wants to know how trying it went.
    EndProbe(DestinationId),
    /// Nothing runs on this destination, and nothing will.
    Forget(DestinationId),
    /// Let the clients of this rule wait.
    Pause(RuleId),
    /// Let them go on.
    Resume(RuleId),
    /// Close the listener of this rule.
    Close(RuleId),
    /// End at once all that runs on the destinations of this rule.
    Cut(RuleId),
    /// Nothing of this rule is left.
    ForgetRule(RuleId),
    /// What is to outlast us is something else now.
    Save,
    /// Answer whoever made this request.
    Answer(Request, Answer),
    /// All is done.
    Finish,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// New connections go where they were to go.
    Switched,
    /// Trying the destination failed, and nothing was changed.
    ProbeFailed,
    /// The destination failed within the guard, and the change was undone.
    RolledBack,
    /// A later switch of the same rule took its place.
    Replaced,
    /// The rule is at its end.
    Ending,
    /// Nothing runs on a former destination.
    Drained,
    /// What ran there was cut.
    Cut,
    /// The rule, or everything, has ended; `late`: what did not finish in time was cut.
    Stopped {
        /// Whether something was cut because its time was over.
        late: bool,
    },
}

/// All rules.
#[derive(Debug, Default)]
pub struct Machine {
    rules: Vec<Rule>,
    waiters: Vec<Waiter>,
    /// The end was asked for, by these.
    stopping: Option<Vec<Request>>,
    /// Something was cut at the end of its time since the end was asked for.
    late: bool,
    finished: bool,
}

impl Machine {
    /// No rule yet.
    pub fn new() -> Self {
        Machine::default()
    }

    /// Goes on where another process was, which had these rules and these who wait.
    pub fn go_on(rules: Vec<Rule>, waiters: Vec<(Request, Scope)>, actions: &mut Vec<Action>) -> Self {
        for rule in &rules {
            actions.extend(rule.former.iter().filter(|former| former.busy).map(|former| Action::Watch(former.id)));
            match &rule.phase {
                Phase::Serving { change: Some(Change::Probing { to, .. }), .. } => {
                    actions.push(Action::Probe(rule.id, *to));
                }
                Phase::Serving { change: Some(Change::Guarded { .. }) | None, .. } => {}
                Phase::Draining { cut: Cut::No, .. } => {}
                Phase::Draining { cut: Cut::Asked | Cut::Late, .. } => actions.push(Action::Cut(rule.id)),
            }
        }
        let waiters = waiters.into_iter().map(|(request, scope)| Waiter { request, scope }).collect();
        let mut machine = Machine { rules, waiters, ..Machine::default() };
        machine.settle(actions);
        machine
    }

    /// Those who wait until nothing runs on a former destination.
    pub fn waiters(&self) -> impl Iterator<Item = (Request, &Scope)> {
        self.waiters.iter().map(|waiter| (waiter.request, &waiter.scope))
    }

    /// Takes in what happened and says what is to be done, in order. What names a rule or a destination that is gone
    /// changes nothing.
    pub fn on(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Start { rule, course, paused } => self.start(rule, course, paused, actions),
            Input::Switch { rule, to, how, request } => self.switch(now, rule, (to, how, request), actions),
            Input::Probed { to, ok } => self.probed(now, to, ok, actions),
            Input::ConnectFailed(id) => self.connect_failed(id, actions),
            Input::Drained(id) => self.drained(id, actions),
            Input::Wait { scope, request } => self.waiters.push(Waiter { request, scope }),
            Input::Left(request) => self.left(request),
            Input::Pause(rule) => self.set_paused(rule, true, actions),
            Input::Resume(rule) => self.set_paused(rule, false, actions),
            Input::StopRule { rule, stop, request } => self.stop_rule(now, rule, stop, request, actions),
            Input::Stop { stop, request } => self.stop(now, stop, request, actions),
            Input::Deadline => {
                self.guards_over(now, actions);
                self.drains_over(now, actions);
            }
        }
        self.settle(actions);
    }

    fn start(&mut self, id: RuleId, course: Course, paused: bool, actions: &mut Vec<Action>) {
        actions.push(Action::Route(id, course));
        if paused {
            actions.push(Action::Pause(id));
        }
        actions.push(Action::Save);
        self.rules.push(Rule { id, phase: Phase::Serving { course, change: None, paused }, former: Vec::new() });
    }

    fn set_paused(&mut self, id: RuleId, wanted: bool, actions: &mut Vec<Action>) {
        let Some(Rule { phase: Phase::Serving { paused, .. }, .. }) = self.rule_mut(id) else {
            return;
        };
        if *paused != wanted {
            *paused = wanted;
            actions.push(if wanted { Action::Pause(id) } else { Action::Resume(id) });
            actions.push(Action::Save);
        }
    }

    /// Nothing runs on a destination that gets no new connection.
    fn drained(&mut self, id: DestinationId, actions: &mut Vec<Action>) {
        for rule in &mut self.rules {
            if let Some(former) = rule.former.iter_mut().find(|former| former.id == id) {
                former.busy = false;
                rule.forget_idle(actions);
            }
        }
    }

    /// What follows from any input: rules of which nothing is left, waits that are over, and the end.
    fn settle(&mut self, actions: &mut Vec<Action>) {
        self.end_rules(actions);
        self.answer_waiters(actions);
        if self.rules.is_empty()
            && !self.finished
            && let Some(requests) = self.stopping.take()
        {
            self.finished = true;
            let answer = Answer::Stopped { late: self.late };
            actions.extend(requests.into_iter().map(|request| Action::Answer(request, answer)));
            actions.push(Action::Finish);
        }
    }

    /// The next time at which [`Input::Deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.rules.iter().filter_map(Rule::deadline).min()
    }

    /// Every rule of which something is left, in the order in which they came.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule with this number, if it is not gone.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Whether the end was asked for.
    pub fn stopping(&self) -> bool {
        self.stopping.is_some() || self.finished
    }

    fn rule_mut(&mut self, id: RuleId) -> Option<&mut Rule> {
        self.rules.iter_mut().find(|rule| rule.id == id)
    }
}
