//! The thread that hears from outside of HTTP: signals, and those who ask by the control socket. It passes on what is asked,
//! and the driver's answers back.

use super::DevError;
use super::event::{Asked, Event, Failure, Inbox};
use super::instance::Instance;
use crate::control::server::{ClientId, Server};
use crate::control::wire::{Reply, Request, Switched};
use crate::process::limits::Reserve;
use crate::reactor::{READABLE, Reactor, Registered, Signals, Waker};
use log::{error, warn};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks whether the control socket is still there.
const SOCKET_CHECK: Duration = Duration::from_secs(1);

/// What gives an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Source {
    Signals,
    Control,
    Client(ClientId),
    /// Is the control socket still there?
    Socket,
    /// The driver has said something.
    Answers,
}

/// What the driver says to those who ask.
#[derive(Debug)]
enum Answer {
    /// How it is.
    Status(ClientId, Value),
    /// The restarts that were asked for up to this number have come to this: a generation that serves, or a failure.
    Reloaded(u64, Result<u64, Arc<Failure>>),
    /// All is over.
    Ended,
}

/// The driver's way to those who ask.
#[derive(Debug)]
pub(super) struct Answers {
    answers: Sender<Answer>,
    waker: Waker,
}

impl Answers {
    pub(super) fn status(&self, client: ClientId, status: Value) {
        self.say(Answer::Status(client, status));
    }

    pub(super) fn reloaded(&self, up_to: u64, outcome: Result<u64, Arc<Failure>>) {
        self.say(Answer::Reloaded(up_to, outcome));
    }

    fn say(&self, answer: Answer) {
        // Nobody asks any more when nobody hears this.
        if self.answers.send(answer).is_ok()
            && let Err(failed) = self.waker.wake()
        {
            error!("cannot answer those who ask: {failed}");
        }
    }
}

/// The thread, as the one that has started it sees it.
#[derive(Debug)]
pub(super) struct Control {
    thread: JoinHandle<()>,
}

impl Control {
    /// Begins to hear. Whoever asks before the driver runs is answered once it does.
    ///
    /// # Errors
    /// Why there is no control socket, or no thread.
    pub(super) fn start(signals: Signals, instance: &Instance, inbox: Inbox) -> Result<(Control, Answers), DevError> {
        let path = instance.control().to_owned();
        let (answers, answered) = channel();
        let (begun, beginning) = channel();
        let hear = move || {
            // What watches for events belongs to the thread that does so.
            let ears = Ears::open(signals, path, inbox, answered);
            match ears {
                Ok((ears, waker)) => {
                    let _ = begun.send(Ok(waker));
                    ears.run();
                }
                Err(error) => drop(begun.send(Err(error))),
            }
        };
        let failed = |source| DevError::Begin { what: "hear signals and those who ask", source };
        let thread = std::thread::Builder::new().name("control".into()).spawn(hear).map_err(failed)?;
        let waker = beginning.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))??;
        Ok((Control { thread }, Answers { answers, waker }))
    }

    /// Answers those who have waited for the end, and takes the socket away. Their connections end with this process.
    pub(super) fn end(self, answers: &Answers) {
        answers.say(Answer::Ended);
        let _ = self.thread.join();
    }
}

/// What the thread has.
struct Ears {
    reactor: Reactor<Source>,
    signals: Registered<Signals>,
    server: Server<Source>,
    reserve: Reserve,
    inbox: Inbox,
    answered: Receiver<Answer>,
    /// Who waits for a restart, by the number of it, and since when.
    reloads: Vec<(u64, ClientId, Instant)>,
    last_reload: u64,
    /// Who waits for the end.
    stops: Vec<ClientId>,
    is_over: bool,
}

impl Ears {
    fn open(
        signals: Signals,
        path: std::path::PathBuf,
        inbox: Inbox,
        answered: Receiver<Answer>,
    ) -> Result<(Ears, Waker), DevError> {
        let failed = |source| DevError::Begin { what: "watch for signals and those who ask", source };
        let mut reactor = Reactor::new().map_err(failed)?;
        let signals = reactor.register(signals, Source::Signals, READABLE).map_err(failed)?;
        let waker = reactor.waker(Source::Answers).map_err(failed)?;
        let server = Server::open(&mut reactor, path, Source::Control, Source::Client)?;
        let reserve = Reserve::new().map_err(failed)?;
        reactor.set_deadline(Source::Socket, Some(Instant::now() + SOCKET_CHECK));
        let (reloads, stops) = (Vec::new(), Vec::new());
        let ears =
            Ears { reactor, signals, server, reserve, inbox, answered, reloads, last_reload: 0, stops, is_over: false };
        Ok((ears, waker))
    }

    fn run(mut self) {
        let mut events = Vec::new();
        while !self.is_over {
            if let Err(error) = self.reactor.wait(&mut events) {
                // Nobody could end us any more.
                error!("cannot hear signals: {error}");
                let _ = self.inbox.send(Event::Signal(Signal::SIGTERM));
                break;
            }
            for event in events.drain(..) {
                match event.key {
                    Source::Signals => self.pass_signals(),
                    Source::Control => self.server.accept(&mut self.reactor, &mut self.reserve),
                    Source::Client(id) if event.due => self.server.due(&mut self.reactor, id),
                    Source::Client(id) => {
                        if event.writable {
                            self.server.write(&mut self.reactor, id);
                        }
                        if event.readable {
                            self.hear(id);
                        }
                    }
                    Source::Socket => self.look_after_socket(),
                    Source::Answers => self.pass_answers(),
                }
            }
            self.reserve.refill();
        }
        self.server.leave();
    }

    fn pass_signals(&mut self) {
        for signal in self.signals.pending().filter(|signal| is_ours(*signal)) {
            let _ = self.inbox.send(Event::Signal(signal));
        }
    }

    fn hear(&mut self, id: ClientId) {
        let Some(request) = self.server.read::<Request>(&mut self.reactor, id) else { return };
        let asked = match request {
            Request::Status => Asked::Status(id),
            Request::Reload { command: Some(_) } => {
                let reply = Reply::failed("a proxy for development runs the command that it was started with");
                return self.server.reply(&mut self.reactor, id, &reply);
            }
            Request::Reload { command: None } => {
                self.last_reload += 1;
                self.reloads.retain(|(_, asker, _)| self.server.has(*asker));
                self.reloads.push((self.last_reload, id, Instant::now()));
                Asked::Reload(self.last_reload)
            }
            Request::Stop => {
                self.stops.retain(|asker| self.server.has(*asker));
                self.stops.push(id);
                Asked::Stop
            }
        };
        let _ = self.inbox.send(Event::Asked(asked));
    }

    fn pass_answers(&mut self) {
        while let Ok(answer) = self.answered.try_recv() {
            match answer {
                Answer::Status(id, status) => self.server.reply(&mut self.reactor, id, &Reply::done(status)),
                Answer::Reloaded(up_to, outcome) => self.reloaded(up_to, &outcome),
                Answer::Ended => {
                    let ends = Arc::new(Failure { summary: ENDS.into(), lines: Vec::new(), of_build: false });
                    self.reloaded(u64::MAX, &Err(ends));
                    for id in std::mem::take(&mut self.stops) {
                        self.server.reply(&mut self.reactor, id, &Reply::done(json!({})));
                    }
                    self.is_over = true;
                }
            }
        }
    }

    fn reloaded(&mut self, up_to: u64, outcome: &Result<u64, Arc<Failure>>) {
        let (done, waiting) = std::mem::take(&mut self.reloads).into_iter().partition(|(number, ..)| *number <= up_to);
        self.reloads = waiting;
        let done: Vec<(u64, ClientId, Instant)> = done;
        for (_, id, since) in done {
            let reply = reply(since, outcome);
            self.server.reply(&mut self.reactor, id, &reply);
        }
    }

    fn look_after_socket(&mut self) {
        if let Err(failed) = self.server.make_sure(&mut self.reactor) {
            warn!("{}", crate::chain(&failed));
        }
        self.reactor.set_deadline(Source::Socket, Some(Instant::now() + SOCKET_CHECK));
    }
}

/// Why nothing is started any more.
pub(super) const ENDS: &str = "it ends";

/// What a restart has come to, for one who has asked for it at that time.
fn reply(since: Instant, outcome: &Result<u64, Arc<Failure>>) -> Reply {
    match outcome {
        Ok(generation) => {
            let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let switched = Switched { generation: *generation, milliseconds };
            Reply::done(serde_json::to_value(switched).unwrap_or_default())
        }
        Err(failure) => {
            let lines = failure.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned());
            Reply { lines: lines.collect(), ..Reply::failed(failure.summary.clone()) }
        }
    }
}

/// A signal that ends us, or the news of a child.
fn is_ours(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT | Signal::SIGCHLD)
}
