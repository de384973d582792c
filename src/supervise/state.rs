//! The decisions of supervision: which generation starts, serves, is parked, drains or is removed, and when.
//!
//! Pure: no descriptor, no clock, no log, no system call. The driver turns events into [`Input`]s and performs the
//! [`Action`]s in the order in which they are given. `docs/supervise.md` prints the state table; the tests walk it.
//!
//! Wanted and actual state are apart: `Wanted` is what the administrator asked for, the phases of the generations
//! are what there is.

#![deny(clippy::wildcard_enum_match_arm, reason = "the compiler is the state table")]

use std::time::{Duration, Instant};

mod generation;
mod reload;
mod stop;
#[cfg(test)]
mod tests;
mod watchdog;

pub use generation::{Cause, Check, Drain, Generation, Number, Phase};

/// A starting generation may be removed in favour of a later reload once it is this old.
const SUPERSEDE_AFTER: Duration = Duration::from_secs(2);
/// From the TERM of a drain that took too long to its KILL.
const KILL_AFTER: Duration = Duration::from_secs(10);
/// A child that uses no way of saying that it is ready is ready when it has lived this long.
const ALIVE: Duration = Duration::from_secs(1);
/// A generation that served this long had a good run: the back-off begins anew after it.
const GOOD_RUN: Duration = Duration::from_secs(1);
/// How soon the process group of a drained generation is looked at after its leader has gone; then ever more seldom.
const GROUP_CHECK: Duration = Duration::from_millis(250);
/// The longest time between two looks.
const GROUP_CHECK_MOST: Duration = Duration::from_secs(4);

/// Identifies one request for a reload, so that its result finds the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request(pub u64);

/// When a starting generation may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its word; or, when it speaks in no way and none before it did, being alive for a second.
    Auto,
    /// Only its word on the channel.
    Channel,
    /// Only READY=1 by sd_notify(3).
    Notify,
    /// Only a line on the descriptor that it was given for that.
    Descriptor,
    /// Only an answer to our probe.
    Probe,
    /// Being alive for this long.
    Alive(Duration),
}

/// By which way a child says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Its channel.
    Channel,
    /// sd_notify(3).
    Notify,
    /// The descriptor of `--ready fd`.
    Descriptor,
    /// einhorn's ACK.
    Acknowledge,
    /// It answers our probe.
    Probe,
}

/// What the options of the command line decide.
#[derive(Clone, Debug)]
pub struct Policy {
    /// When a generation may serve.
    pub readiness: Readiness,
    /// Past it a generation that is not ready has failed.
    pub ready_timeout: Duration,
    /// How long the old generation stays parked after a switch; zero: not at all.
    pub guard: Duration,
    /// The old generation goes before the new one starts.
    pub stop_first: bool,
    /// How long a drain may take; `None`: as long as it needs.
    pub drain_timeout: Option<Duration>,
    /// How long a drain may take when the supervisor itself stops.
    pub stop_timeout: Duration,
    /// The shortest and the longest delay of a respawn.
    pub respawn_delay: (Duration, Duration),
    /// How often a serving child must say that it lives; `None`: it need not.
    pub watchdog: Option<Duration>,
    /// How many respawns may fail in a row; `None`: any number.
    pub max_respawns: Option<u32>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A new generation is asked for.
    Reload(Request),
    /// The end is asked for; each further one is more urgent.
    Stop,
    /// The child of this generation runs.
    Spawned(Number),
    /// The child of this generation could not be started.
    SpawnFailed(Number),
    /// The child has said something by this way, so it will say when it is ready; end of file drains one that uses its
    /// channel.
    Spoke(Number, Word),
    /// The child says that it can serve.
    Ready(Number, Word),
    /// What the child does takes so much longer, from now.
    Extend(Number, Duration),
    /// The child wants to be watched like this from now on; `None`: not at all.
    Watch(Number, Option<Duration>),
    /// The child says that it lives.
    Alive(Number),
    /// The child says that it is as good as dead.
    Hung(Number),
    /// The child broke the channel's protocol.
    Broke(Number),
    /// The child has exited; `survivors`: others of its process group still run.
    Exited {
        /// Whose child.
        number: Number,
        /// Whether others of its process group still run.
        survivors: bool,
    },
    /// The channel of this generation takes connections again.
    ChannelWritable(Number),
    /// No connection is held (told only while stopping).
    Emptied,
    /// The time of [`Machine::deadline`] has come.
    Deadline,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the child of a new generation, then report `Spawned` or `SpawnFailed`.
    Spawn(Number),
    /// From now on new connections go to this generation only.
    Serve(Number),
    /// Pass held connections to this generation.
    Pass(Number),
    /// Let this generation take no new connection, and take back what it has not read, but keep it.
    Park(Number),
    /// Close the channel for writing.
    Drain {
        /// Which generation.
        number: Number,
        /// Whether the drain signal is needed, because the child does not listen to its channel.
        signal: bool,
        /// Whether what it has not read is to be taken back, because another will serve it.
        take_back: bool,
    },
    /// End the leader in such a way that it leaves a trace of what it hung in; take back what it has not read.
    Abort(Number),
    /// Ask the whole process group to end.
    Terminate(Number),
    /// End the whole process group.
    Kill(Number),
    /// Look whether the process group still has members, then report `Exited` again.
    CheckGroup(Number),
    /// Take back what was not read, end what is left of the process group, reap the leader, forget the generation.
    Remove(Number),
    /// Accept what the kernel still holds, then close the listeners.
    CloseListeners,
    /// The result of a reload.
    Report(Report),
    /// All is done.
    Finish(Finish),
}

/// The result of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who asked.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new generation serves.
    Switched(Number),
    /// The new generation failed.
    Failed(Number, Failure),
    /// A later reload took its place.
    Replaced,
    /// The supervisor is stopping.
    Stopping,
}

/// Why a generation never came to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be started.
    Spawn,
    /// It exited before it was ready.
    Exited,
    /// It was not ready in time.
    NotReady,
    /// It broke the channel's protocol.
    Broke,
    /// It said that it is as good as dead.
    Hung,
}

/// How the supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As asked, every generation went by itself or at its TERM.
    Stopped,
    /// As asked, but a generation had to be killed.
    Killed,
    /// The first generation never came to serve.
    NeverServed(Number, Failure),
    /// Too many respawns failed in a row.
    GaveUp,
}

/// What the administrator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Serve,
    /// The end; `pass_by`: when passing on what is held is cut short; `by`: when drains are.
    Stop {
        pass_by: Instant,
        by: Instant,
        urgency: Urgency,
    },
}

/// How often the end was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Urgency {
    Drain,
    Terminate,
    Kill,
}

/// Where a connection goes that a child gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To whoever serves, now or next.
    Queue,
    /// To whoever serves after its giver, which serves now.
    Kept,
    /// Nobody will serve any more.
    Nowhere,
}

/// The state of a supervisor.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    wanted: Wanted,
    generations: Vec<Generation>,
    last: Number,
    /// The reload that waits for the starting generation to be ready or to fail.
    pending: Option<Request>,
    /// Stop-first: what starts as soon as no generation is left.
    awaiting_exit: Option<Cause>,
    /// A start for a respawn that waits out its back-off.
    respawn_at: Option<Instant>,
    /// Serving generations and respawns that failed in a row.
    failures: u32,
    /// The last start was removed in favour of a later reload.
    superseded: bool,
    /// Some generation has promised to say that it is ready, or has said so.
    spoken: bool,
    /// Some generation has served.
    served: bool,
    listening: bool,
    finish: Finish,
    finished: bool,
}

impl Machine {
    /// A supervisor that has no generation yet.
    pub fn new(policy: Policy) -> Self {
        Machine {
            policy,
            wanted: Wanted::Serve,
            generations: Vec::new(),
            last: Number(0),
            pending: None,
            awaiting_exit: None,
            respawn_at: None,
            failures: 0,
            superseded: false,
            spoken: false,
            served: false,
            listening: true,
            finish: Finish::Stopped,
            finished: false,
        }
    }

    /// Starts the first generation.
    pub fn start(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.begin(now, Cause::First, actions);
    }

    /// Takes in what happened and says what is to be done, in order.
    pub fn on(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Reload(request) => self.reload(now, request, actions),
            Input::Stop => self.stop(now, actions),
            Input::Spawned(number) => self.spawned(now, number),
            Input::SpawnFailed(number) => self.failed(now, number, Failure::Spawn, actions),
            Input::Spoke(number, word) => self.spoke(number, word),
            Input::Ready(number, word) => self.said_ready(now, number, word, actions),
            Input::Extend(number, by) => self.extend(now, number, by),
            Input::Watch(number, every) => self.watch(now, number, every),
            Input::Alive(number) => self.alive(now, number),
            Input::Hung(number) => self.hung(now, number, actions),
            Input::Broke(number) => self.broke(now, number, actions),
            Input::Exited { number, survivors } => self.exited(now, number, survivors, actions),
            Input::ChannelWritable(number) => {
                if self.serving() == Some(number) {
                    actions.push(Action::Pass(number));
                }
            }
            Input::Emptied => self.emptied(now, actions),
            Input::Deadline => self.deadline_passed(now, actions),
        }
        self.settle(now, actions);
    }

    /// What follows from any input: a stop-first start whose turn has come, and the end.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.finished || !self.generations.is_empty() {
            return;
        }
        if let Wanted::Stop { .. } = self.wanted {
            self.close_listeners(actions);
            self.finished = true;
            actions.push(Action::Finish(self.finish));
        } else if let Some(cause) = self.awaiting_exit.take() {
            self.begin(now, cause, actions);
        }
    }

    /// The next time at which [`Input::Deadline`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let supersede = self.pending.and_then(|_| self.supersede_at());
        let stop = match self.wanted {
            Wanted::Serve => None,
            Wanted::Stop { pass_by, .. } => self.serving().map(|_| pass_by),
        };
        let generations = self.generations.iter().filter_map(|generation| generation.deadline());
        generations.chain(supersede).chain(stop).chain(self.respawn_at).min()
    }

    /// The generation that new connections go to.
    pub fn serving(&self) -> Option<Number> {
        self.find(|phase| matches!(phase, Phase::Serving { .. }))
    }

    /// The generation that is not ready yet.
    pub fn starting(&self) -> Option<Number> {
        self.find(|phase| matches!(phase, Phase::Starting { .. }))
    }

    /// Every generation that is not gone, oldest first.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Whether the end was asked for.
    pub fn stopping(&self) -> bool {
        matches!(self.wanted, Wanted::Stop { .. })
    }

    /// Where a connection goes that this generation gives back.
    pub fn place(&self, giver: Number) -> Place {
        match (self.serving(), self.wanted) {
            (Some(serving), Wanted::Serve) if serving == giver => Place::Kept,
            // At a stop none comes after the one that serves, so it is the giver or nobody.
            (Some(_), Wanted::Serve | Wanted::Stop { .. }) | (None, Wanted::Serve) => Place::Queue,
            (None, Wanted::Stop { .. }) => Place::Nowhere,
        }
    }

    /// The reload that the given generation was started for.
    pub fn cause(&self, number: Number) -> Option<Cause> {
        self.generation(number).map(|generation| generation.cause)
    }

    fn find(&self, phase: impl Fn(&Phase) -> bool) -> Option<Number> {
        self.generations.iter().find(|generation| phase(&generation.phase)).map(|generation| generation.number)
    }

    fn generation(&self, number: Number) -> Option<&Generation> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    fn generation_mut(&mut self, number: Number) -> Option<&mut Generation> {
        self.generations.iter_mut().find(|generation| generation.number == number)
    }

    fn remove(&mut self, number: Number, actions: &mut Vec<Action>) {
        self.generations.retain(|generation| generation.number != number);
        actions.push(Action::Remove(number));
    }
}
