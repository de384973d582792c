//! Probing a generation that starts: when a connection is opened to it, how long it has for what, and what came of it.
//!
//! Pure: no descriptor, no clock. `driver/probes.rs` opens, looks, asks and closes as it is told. `docs/supervise.md`
//! has the rules.

#[cfg(test)]
mod tests;

use super::state::Number;
use std::fmt;
use std::time::{Duration, Instant};

/// How long a connection may wait to be accepted, and then a request for its answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// From the end of the first try to the second.
const PAUSE: Duration = Duration::from_millis(50);
/// And at the most, after it was doubled with each try.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The same after a try that says nothing of the generation, since another was quicker.
const LONGEST_PAUSE_MISSED: Duration = Duration::from_millis(250);
/// From the first look at who has a connection to the second.
const LOOK: Duration = Duration::from_millis(1);
/// And at the most, after it was doubled with each look.
const LONGEST_LOOK: Duration = Duration::from_millis(50);
/// The most connections that one try opens.
const WIDEST: usize = 8;
/// How much of an answer is read after its status, and for how long, so that its sender can finish.
const REST: usize = 64 * 1024;
const REST_TIME: Duration = Duration::from_millis(500);

/// What is asked of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// That it accepts a connection.
    Accept,
    /// That it answers a GET of this path with a status from 200 to 399.
    Get(String),
}

/// How a connection comes to the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a listener that other generations accept from too.
    Shared,
    /// Over its own channel: no other can get it.
    Channel,
}

/// What came of the last try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Unopened(String),
    NotTaken,
    Another(Number),
    Stranger,
    Unseen,
    Blind(String),
    Answered(u16),
    Garbage,
    Endless,
    Ended,
    Unanswered,
}

impl Outcome {
    /// Whether it is by what the generation did that it came to this.
    fn is_its_own(&self) -> bool {
        match self {
            Outcome::Answered(_) | Outcome::Garbage | Outcome::Endless | Outcome::Ended | Outcome::Unanswered => true,
            Outcome::Unopened(_) | Outcome::NotTaken | Outcome::Another(_) => false,
            Outcome::Stranger | Outcome::Unseen | Outcome::Blind(_) => false,
        }
    }
}

/// Who has the connections of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has accepted them yet.
    Nobody,
    /// Somebody has, and there is more to look through than there was time for.
    NotYet,
    /// The generation that is probed has one.
    Ours,
    /// Another generation has accepted them.
    Another(Number),
    /// A process has accepted them that belongs to no generation.
    Stranger,
    /// They were closed before it could be seen who had accepted them.
    Unseen,
    /// It cannot be seen, for this reason.
    Blind(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The time of [`Probe::deadline`] has come.
    Due,
    /// As many connections were opened as was said.
    Opened,
    /// None could be opened, or what was opened has failed.
    Unopened(String),
    /// What a look has shown.
    Seen(Seen),
    /// The request was answered with this status.
    Answered(u16),
    /// It was answered with what is no HTTP/1.
    Garbage,
    /// Its answer began and had no status in all that is looked at.
    Endless,
    /// So many bytes of the rest of the answer were read.
    Read(usize),
    /// The connection has ended.
    Ended,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open so many connections.
    Open(usize),
    /// Look who has them.
    Look,
    /// Send the request over the one that the generation has, and close the others.
    Ask,
    /// Close what is open.
    Close,
    /// The generation is ready.
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between two tries.
    Waiting {
        at: Instant,
    },
    /// Connections are open; `until`: they may wait that long, or as long as the generation has.
    Looking {
        until: Option<Instant>,
        at: Instant,
        pause: Duration,
    },
    /// The request is under way.
    Asking {
        until: Instant,
    },
    /// The status is there, the rest is being read.
    Answered {
        good: bool,
        until: Instant,
        left: usize,
    },
    Done,
}

/// The probing of one generation.
#[derive(Debug)]
pub struct Probe {
    question: Question,
    way: Way,
    /// Where it goes, in words.
    to: String,
    phase: Phase,
    pause: Duration,
    width: usize,
    last: Option<Outcome>,
}

impl Probe {
    /// The first try begins at once. `to` names the listener.
    pub fn new(question: Question, way: Way, to: String, now: Instant) -> Probe {
        Probe { question, way, to, phase: Phase::Waiting { at: now }, pause: PAUSE, width: 1, last: None }
    }

    /// The path that is to be asked for.
    pub fn path(&self) -> Option<&str> {
        match &self.question {
            Question::Accept => None,
            Question::Get(path) => Some(path),
        }
    }

    /// The next time at which [`Input::Due`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { at } | Phase::Looking { at, .. } => Some(at),
            Phase::Asking { until } | Phase::Answered { until, .. } => Some(until),
            Phase::Done => None,
        }
    }

    /// Whether nothing is left to be done.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Whether the status of an answer has been read, so that what comes now is its rest.
    pub fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answered { .. })
    }

    /// Whether the generation has been found ready.
    pub fn is_passed(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Answered { good: true, .. })
    }

    /// Takes in what happened and says what is to be done, if anything.
    pub fn on(&mut self, now: Instant, input: Input) -> Option<Step> {
        match self.phase {
            Phase::Waiting { at } if input == Input::Due && at <= now => {
                let until = (self.way == Way::Shared).then(|| now + PATIENCE);
                self.phase = Phase::Looking { until, at: now, pause: LOOK };
                Some(Step::Open(self.width))
            }
            Phase::Looking { until, at, pause } => self.looking(now, input, (until, at, pause)),
            Phase::Asking { until } => self.asking(now, input, until),
            Phase::Answered { good, until, left } => self.answered(now, input, (good, until, left)),
            Phase::Waiting { .. } | Phase::Done => None,
        }
    }

    fn looking(
        &mut self,
        now: Instant,
        input: Input,
        (until, at, pause): (Option<Instant>, Instant, Duration),
    ) -> Option<Step> {
        match input {
            Input::Opened => Some(Step::Look),
            Input::Due => (at <= now).then_some(Step::Look),
            Input::Unopened(reason) => self.fail(now, Outcome::Unopened(reason)),
            Input::Seen(Seen::Ours) => Some(self.taken(now)),
            Input::Seen(Seen::Nobody) if until.is_some_and(|until| until <= now) => self.fail(now, Outcome::NotTaken),
            Input::Seen(Seen::Nobody) => {
                self.phase = Phase::Looking { until, at: now + pause, pause: (pause * 2).min(LONGEST_LOOK) };
                None
            }
            // At once, when others had their turn. It comes to an end by itself.
            Input::Seen(Seen::NotYet) => {
                self.phase = Phase::Looking { until, at: now, pause };
                None
            }
            Input::Seen(Seen::Another(number)) => self.missed(now, Outcome::Another(number)),
            Input::Seen(Seen::Unseen) => self.missed(now, Outcome::Unseen),
            Input::Seen(Seen::Stranger) => self.missed(now, Outcome::Stranger),
            Input::Seen(Seen::Blind(reason)) => self.fail(now, Outcome::Blind(reason)),
            Input::Answered(_) | Input::Garbage | Input::Endless | Input::Read(_) | Input::Ended => None,
        }
    }

    /// The generation has accepted.
    fn taken(&mut self, now: Instant) -> Step {
        match self.question {
            Question::Accept => {
                self.phase = Phase::Done;
                Step::Ready
            }
            Question::Get(_) => {
                self.phase = Phase::Asking { until: now + PATIENCE };
                Step::Ask
            }
        }
    }

    fn asking(&mut self, now: Instant, input: Input, until: Instant) -> Option<Step> {
        match input {
            Input::Answered(status) => {
                let good = (200..400).contains(&status);
                self.last = Some(Outcome::Answered(status));
                self.phase = Phase::Answered { good, until: now + REST_TIME, left: REST };
                good.then_some(Step::Ready)
            }
            Input::Garbage => self.fail(now, Outcome::Garbage),
            Input::Endless => self.fail(now, Outcome::Endless),
            Input::Ended => self.fail(now, Outcome::Ended),
            Input::Due if until <= now => self.fail(now, Outcome::Unanswered),
            Input::Due | Input::Read(_) | Input::Opened | Input::Unopened(_) | Input::Seen(_) => None,
        }
    }

    fn answered(&mut self, now: Instant, input: Input, (good, until, left): (bool, Instant, usize)) -> Option<Step> {
        let over = match input {
            Input::Ended => true,
            Input::Due => until <= now,
            Input::Read(bytes) => {
                let left = left.saturating_sub(bytes);
                self.phase = Phase::Answered { good, until, left };
                left == 0
            }
            Input::Opened
            | Input::Unopened(_)
            | Input::Seen(_)
            | Input::Answered(_)
            | Input::Garbage
            | Input::Endless => false,
        };
        if !over {
            return None;
        }
        if good {
            self.phase = Phase::Done;
        } else {
            self.wait(now);
        }
        Some(Step::Close)
    }

    /// Another has been quicker. The next try opens more connections: while it is busy with one of them, the next may
    /// come to the generation that is meant.
    fn missed(&mut self, now: Instant, outcome: Outcome) -> Option<Step> {
        if self.way == Way::Shared {
            self.width = (self.width * 2).min(WIDEST);
        }
        // What the generation itself has answered before says more of it.
        if !self.last.as_ref().is_some_and(Outcome::is_its_own) {
            self.last = Some(outcome);
        }
        self.pause = self.pause.min(LONGEST_PAUSE_MISSED);
        self.wait(now);
        Some(Step::Close)
    }

    fn fail(&mut self, now: Instant, outcome: Outcome) -> Option<Step> {
        self.last = Some(outcome);
        self.wait(now);
        Some(Step::Close)
    }

    fn wait(&mut self, now: Instant) {
        self.phase = Phase::Waiting { at: now + self.pause };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// The last result, unless what goes on says more of the generation.
    fn standing(&self) -> &Outcome {
        match (&self.last, self.phase) {
            (Some(last), _) if last.is_its_own() => last,
            (_, Phase::Asking { .. }) => &Outcome::Unanswered,
            (Some(last), _) => last,
            (None, _) => &Outcome::NotTaken,
        }
    }
}

/// What was asked and what came of it last: "the probe of /healthz was answered 503".
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the probe of {} ", self.path().unwrap_or(&self.to))?;
        match self.standing() {
            Outcome::Unopened(reason) => write!(f, "could not connect: {reason}"),
            Outcome::NotTaken if self.way == Way::Channel => f.write_str("was not read from the channel"),
            Outcome::NotTaken => f.write_str("was accepted by nobody"),
            Outcome::Another(number) => write!(f, "was accepted by generation {number}"),
            Outcome::Stranger => f.write_str("was accepted by a process that is none of this generation's"),
            Outcome::Unseen => f.write_str("was closed before it could be seen who had accepted it"),
            Outcome::Blind(reason) => write!(f, "could not be followed: {reason}"),
            Outcome::Answered(status) => write!(f, "was answered {status}"),
            Outcome::Garbage => f.write_str("was answered with what is no HTTP/1"),
            Outcome::Endless => f.write_str("was answered with a head that has no end"),
            Outcome::Ended => f.write_str("was closed without an answer"),
            Outcome::Unanswered => f.write_str("was not answered"),
        }
    }
}
