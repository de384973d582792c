//! What happens becomes an input of the gate, and its actions are performed: the one place that knows of all parts.

use super::DevError;
use super::browsers::Browsers;
use super::control::Answers;
use super::door::Door;
use super::echo::{Echoes, Verdict as Echo};
use super::event::{Event, Failure, Inbox, News, Refusal, Reply, Verdict};
use super::family;
use super::gate::{Action, Change, Generation, Input, Phase, Request, Why};
use super::livereload::Build;
use super::porter::Porter;
use super::server::{Nursery, Order};
use crate::time::Time;
use log::{error, info, warn};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

mod asked;
mod servers;

use asked::Chronicle;
pub(super) use asked::Title;
use servers::Part;

/// So many paths of changed files are kept for the browsers.
const MOST_PATHS: usize = 64;

/// A change that waits.
struct Delayed {
    until: Instant,
    change: Change,
    words: String,
}

/// The driver.
pub(super) struct Driver {
    title: Title,
    answers: Arc<Answers>,
    /// The last restart that was asked for and has come to nothing yet.
    reload: Option<u64>,
    chronicle: Chronicle,
    porter: Porter,
    nursery: Nursery,
    inbox: Inbox,
    parts: BTreeMap<Generation, Part>,
    /// Requests that wait for a word.
    waiting: HashMap<Request, Reply>,
    failure: Option<Arc<Failure>>,
    /// Files that have changed last.
    paths: Vec<String>,
    echoes: Echoes,
    /// A change that the server has made itself, it seems, and when it counts all the same.
    delayed: Option<Delayed>,
    browsers: Arc<Browsers>,
    /// What browsers have been told last that they would get.
    told: Option<Build>,
    /// The generation that was begun last.
    last: Generation,
    /// A server has run: what cannot be started from now on is a failed change.
    has_run: bool,
    signal: Option<Signal>,
    fatal: Option<DevError>,
    over: bool,
}

impl Driver {
    pub(super) fn new(
        nursery: Nursery,
        browsers: Arc<Browsers>,
        door: Arc<Door>,
        title: Title,
        answers: Arc<Answers>,
    ) -> Driver {
        Driver {
            title,
            answers,
            reload: None,
            chronicle: Chronicle::default(),
            porter: Porter::new(nursery.settings.policy, door),
            inbox: nursery.inbox.clone(),
            nursery,
            parts: BTreeMap::new(),
            waiting: HashMap::new(),
            failure: None,
            paths: Vec::new(),
            echoes: Echoes::default(),
            delayed: None,
            browsers,
            told: None,
            last: Generation(0),
            has_run: false,
            signal: None,
            fatal: None,
            over: false,
        }
    }

    /// Runs until the gate says that we end; gives the signal that made us.
    ///
    /// # Errors
    /// What cannot be run at the first start.
    pub(super) async fn run(
        &mut self,
        events: &mut mpsc::UnboundedReceiver<Event>,
    ) -> Result<Option<Signal>, DevError> {
        self.input(Input::Changed(Change::Files));
        while !self.over {
            let delayed = self.delayed.as_ref().map(|delayed| delayed.until);
            let deadline = self.porter.gate().deadline().into_iter().chain(delayed).min();
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on(event),
                    None => break,
                },
                () = due => self.on_deadline(),
            }
        }
        match self.fatal.take() {
            Some(error) => Err(error),
            None => Ok(self.signal),
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Changed(change, words, paths) => self.changed(change, words, paths),
            Event::PortChecked(generation, checked) => self.port_checked(generation, checked),
            Event::CannotRun(generation, error) => self.cannot_run(generation, error),
            Event::Built(generation, Ok(())) => {
                self.parts.remove(&generation);
                self.input(Input::Built(generation, true));
            }
            Event::Built(generation, Err(failure)) => {
                self.parts.remove(&generation);
                self.fails(failure);
                self.input(Input::Built(generation, false));
            }
            Event::Answered(generation, address) => {
                if self.porter.answers_at(generation, address) {
                    self.echoes.came_up(Instant::now());
                    self.input(Input::Answered(generation));
                    self.failure = None;
                }
            }
            Event::Exited(generation, failure) => {
                self.fails(failure);
                self.input(Input::Exited(generation));
            }
            Event::Gone(generation) => self.gone(generation),
            Event::Came(request, standing, reply) => {
                self.porter.asks(request, standing);
                self.waiting.insert(request, reply);
                self.input(Input::Came(request));
            }
            Event::Lost(request, may_replay, reply) => {
                self.waiting.insert(request, reply);
                self.input(Input::Lost(request, may_replay));
            }
            Event::Done(request) => {
                self.waiting.remove(&request);
                self.input(Input::Done(request));
            }
            Event::Signal(Signal::SIGCHLD) => {
                family::reap_others(&self.parts.values().filter_map(Part::keeper).collect::<Vec<_>>());
            }
            Event::Signal(signal) => {
                self.signal.get_or_insert(signal);
                self.input(Input::Stop);
            }
            Event::Asked(asked) => self.asked(asked),
        }
        self.settle_reload();
    }

    fn changed(&mut self, change: Change, words: String, paths: Vec<String>) {
        let now = Instant::now();
        let verdict = self.echoes.changed(now, &paths);
        let before = self.delayed.take();
        let change = before.map_or(change, |before| before.change.max(change));
        // Those of a change that nobody has been told of yet are part of this one. More than a few count as all.
        for path in paths {
            if self.paths.len() < MOST_PATHS && !self.paths.contains(&path) {
                self.paths.push(path);
            }
        }
        match verdict {
            Echo::Start => self.restart(change, &words),
            Echo::Wait(until, file) => {
                if let Some(file) = file {
                    warn!(
                        "{file} changes whenever the server starts, so it is started less often: --exclude '{file}' helps"
                    );
                }
                self.delayed = Some(Delayed { until, change, words });
            }
        }
    }

    fn restart(&mut self, change: Change, words: &str) {
        self.chronicle.last_change = Some(words.to_owned());
        self.begin_anew(change, format_args!("{words} changed"));
    }

    /// Says why between decision and deed: whoever has read it and asks gets no old version, and what new processes say
    /// comes behind it.
    fn begin_anew(&mut self, change: Change, why: fmt::Arguments<'_>) {
        let actions = self.decide(Input::Changed(change));
        info!("reload: {why}");
        self.perform_all(actions);
    }

    fn on_deadline(&mut self) {
        if let Some(delayed) = self.delayed.take_if(|delayed| delayed.until <= Instant::now()) {
            self.restart(delayed.change, &delayed.words);
        }
        if self.porter.gate().deadline().is_none_or(|deadline| deadline > Instant::now()) {
            return;
        }
        let starting = self.porter.gate().phase() == Phase::Starting;
        let running = self.parts.last_key_value().map(|(generation, _)| *generation);
        if starting && let Some(generation) = running {
            let time = Time::of(self.nursery.settings.policy.ready_timeout);
            let summary = format!("the server has not answered within {time}");
            let before =
                self.failure.replace(Arc::new(Failure { summary, lines: self.lines(generation), of_build: false }));
            self.input(Input::Deadline);
            if self.porter.gate().phase() == Phase::Starting {
                self.failure = before;
            } else if let Some(failure) = &self.failure {
                warn!("{}", failure.summary);
                self.chronicle.failed(failure);
            }
        } else {
            self.input(Input::Deadline);
        }
        self.settle_reload();
    }

    fn input(&mut self, input: Input) {
        let actions = self.decide(input);
        self.perform_all(actions);
    }

    /// What is to be done by [`Driver::perform_all`].
    #[must_use]
    fn decide(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.porter.on(Instant::now(), input, &mut actions);
        actions
    }

    fn perform_all(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.perform(action);
        }
        self.porter.open();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Build(generation) => self.build(generation),
            Action::Start(generation) => self.start(generation),
            Action::End(generation) => self.order(generation, Order::End),
            Action::Kill(generation) => self.order(generation, Order::Kill),
            Action::GiveUp(generation) => self.order(generation, Order::GiveUp),
            Action::Forward(request, generation) => self.forward(request, generation),
            Action::Refuse(request, why) => {
                let refusal = Refusal { why, failure: self.failure.clone(), build: self.told };
                self.reply(request, Verdict::Refuse(refusal));
            }
            Action::Reload(change) => self.reload(change),
            Action::Alert => {
                if let Some(failure) = &self.failure {
                    error!("the last change has failed, and an older server answers");
                    self.browsers.tell(&News::Alert(Arc::clone(failure)));
                }
            }
            Action::Exit => self.over = true,
        }
    }

    fn reload(&mut self, change: Change) {
        let serving = self.porter.gate().serving();
        let build = Build { generation: serving.unwrap_or(self.last), up: serving.is_some() };
        self.told = Some(build);
        let paths = std::mem::take(&mut self.paths);
        self.browsers.tell(&News::Reload { change, paths, build });
    }

    fn reply(&mut self, request: Request, verdict: Verdict) {
        if let Some(reply) = self.waiting.remove(&request) {
            let _ = reply.send(verdict);
        }
    }

    fn forward(&mut self, request: Request, generation: Generation) {
        let verdict = match self.porter.address(generation) {
            Some(address) => Verdict::Forward(generation, address),
            None => Verdict::Refuse(Refusal { why: Why::Lost, failure: None, build: self.told }),
        };
        self.reply(request, verdict);
    }
}
