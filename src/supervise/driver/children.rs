//! Starting children, hearing from them, and ending them.

use super::Driver;
use super::connections::Listener;
use crate::process::group;
use crate::process::spawn::{SpawnError, signal_group};
use crate::reactor::Event;
use crate::supervise::channel::Heard;
use crate::supervise::settings::ChildLog;
use crate::supervise::state::{Cause, Failure, Input, Number, Phase, Word};
use crate::supervise::worker::{self, Gifts, StartError};
use crate::supervise::{Source, Stream};
use log::{debug, info, warn};
use nix::sys::signal::Signal;
use socket_protector_client::wire::{FromChild, VERSION};
use std::rc::Rc;
use std::time::Duration;

/// How many records of one child are read before others have their turn.
const RECORDS: usize = 64;

/// Why a generation failed.
#[derive(Clone, Debug)]
pub(super) struct Why {
    /// In words.
    pub(super) reason: String,
    /// The last lines of its standard error.
    pub(super) lines: Vec<String>,
    /// The same, unless they have passed before the reader's eyes already.
    pub(super) unseen: Vec<String>,
    /// The exit code that says it.
    pub(super) code: u8,
}

impl Driver {
    pub(super) fn spawn(&mut self, number: Number) {
        let cause = self.machine.cause(number);
        let command = match cause {
            Some(Cause::Reload(request)) => self.requests.get(&request).and_then(|asked| asked.command.clone()),
            Some(Cause::First | Cause::Respawn) | None => None,
        };
        let command = command.unwrap_or_else(|| Rc::clone(&self.command));
        if cause == Some(Cause::Respawn) {
            self.counters.respawns += 1;
        }
        let addressed = self.addressed(number, command);
        self.rendezvous.open_missing(&mut self.reactor);
        self.reserve.release();
        let gifts = Gifts {
            listeners: self.listeners.iter().filter_map(Listener::lend).collect(),
            keys: self.listeners.iter().map(|listener| listener.key.as_str()).collect(),
            stored: self.store.lend().collect(),
            notify: self.notify.path(),
            einhorn: self.einhorn.path(),
            port: None,
        };
        let started = addressed.and_then(|(command, port)| {
            let gifts = Gifts { port, ..gifts };
            worker::start(&mut self.reactor, &self.settings, number, command, &gifts)
        });
        self.reserve.refill();
        match started {
            Ok(started) => {
                info!("generation {number} starts (pid {})", started.worker.process.pid());
                self.workers.insert(number, started.worker);
                let outputs = started.outputs.into_iter();
                self.outputs.extend(outputs.map(|(stream, output)| ((number, stream), output)));
                self.input(Input::Spawned(number));
                self.begin_probing(number);
            }
            Err(error) => {
                let reason = format!("generation {number} could not be started: {}", crate::chain(&error));
                warn!("{reason}");
                let why =
                    Why { reason: crate::chain(&error), lines: Vec::new(), unseen: Vec::new(), code: code(&error) };
                self.why = Some((number, why));
                self.input(Input::SpawnFailed(number));
            }
        }
    }

    pub(super) fn serves(&mut self, number: Number) {
        info!("generation {number} serves");
        self.hold.admit_kept();
        if let Some((pipe, result)) = self.starter.take() {
            pipe.0.tell(&result);
        }
    }

    pub(super) fn channel_event(&mut self, number: Number, event: Event<Source>) {
        if event.readable || event.due {
            self.hear(number);
        }
        if event.writable || event.due {
            self.input(Input::ChannelWritable(number));
        }
    }

    pub(super) fn hear(&mut self, number: Number) {
        for _ in 0..RECORDS {
            match self.next_word(number) {
                Heard::Nothing => return self.pass_to_serving(),
                Heard::Later => {
                    self.hear_later(number);
                    return self.pass_to_serving();
                }
                Heard::Record(record) => self.heard(number, record),
                Heard::GivenBack(held) => self.take_in(number, held),
                Heard::Malformed(error) => self.broke(number, &format!("broke the channel's protocol: {error}")),
            }
        }
        self.reactor.again(Source::Channel(number));
        self.pass_to_serving();
    }

    fn heard(&mut self, number: Number, record: FromChild) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        match record {
            FromChild::Hello { version } if version == VERSION => self.input(Input::Spoke(number, Word::Channel)),
            FromChild::Hello { version } => {
                let reason = format!("speaks version {version} of the channel's protocol and not {VERSION}");
                self.broke(number, &reason);
            }
            FromChild::Ready => {
                self.input(Input::Spoke(number, Word::Channel));
                self.input(Input::Ready(number, Word::Channel));
            }
            FromChild::Status(text) => worker.status = Some(text),
            FromChild::OpenConnections(count) => worker.open = Some(count),
            FromChild::Unknown(kind) => debug!("generation {number} says something unknown ({kind:#04x})"),
            // It comes with its connection, if at all.
            FromChild::GiveBack { .. } => {}
        }
    }

    fn broke(&mut self, number: Number, reason: &str) {
        if self.machine.starting() == Some(number) {
            self.why = Some((number, self.why(number, reason.to_string())));
            self.input(Input::Broke(number));
        } else {
            debug!("generation {number} {reason}");
        }
    }

    pub(super) fn read_output(&mut self, number: Number, stream: Stream) {
        let tail = self.workers.get_mut(&number).map(|worker| &mut worker.tail);
        if let Some(output) = self.outputs.get_mut(&(number, stream))
            && !output.read(&mut self.reactor, tail)
        {
            self.outputs.remove(&(number, stream));
            self.reactor.set_deadline(Source::Output(number, stream), None);
        }
    }

    /// The leader of a group has exited. What it wrote before is read first, since it may say why; and what it said by
    /// sd_notify, since it may have left the work to another.
    pub(super) fn leader_exited(&mut self, number: Number) {
        self.hear_last_words();
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.read_output(number, stream);
        }
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        let Some(exit) = worker.process.exit() else {
            return;
        };
        if worker.exit.replace(exit).is_none() {
            info!("generation {number} (pid {}) {exit}", worker.process.pid());
        }
        if let Some(main) = &worker.main {
            info!("generation {number}: process {}, by which it lives, goes on", main.pid());
            return;
        }
        let known = self.why.as_ref().is_some_and(|(known, _)| *known == number);
        if self.machine.starting() == Some(number) && !known {
            self.why = Some((number, self.why(number, format!("{exit} before it was ready"))));
        }
        self.check_group(number);
    }

    pub(super) fn check_group(&mut self, number: Number) {
        // Reading /proc takes a while, and only a drain asks.
        let draining = self.phase(number).is_some_and(|phase| matches!(phase, Phase::Draining { .. }));
        let survivors = draining && self.has_survivors(number);
        self.input(Input::Exited { number, survivors });
    }

    /// Whether the group still runs without its leader. Survivors that still hold a listener were never told to drain,
    /// as when the leader was a shell that passes no signal on, so they are told now.
    fn has_survivors(&mut self, number: Number) -> bool {
        let Some(worker) = self.workers.get_mut(&number) else {
            return false;
        };
        self.reserve.release();
        let survivors = group::survivors(worker.process.pid());
        let untold = worker.signalled
            && !std::mem::replace(&mut worker.heirs_told, true)
            && self.listeners.iter().filter_map(Listener::inode).any(|inode| survivors.hold_socket(inode));
        self.reserve.refill();
        if untold {
            info!("generation {number}: the rest of its process group gets the drain signal too");
            signal_group(&worker.process, self.settings.drain_signal);
        }
        !survivors.is_empty()
    }

    pub(super) fn phase(&self, number: Number) -> Option<Phase> {
        let mut generations = self.machine.generations().iter();
        generations.find(|generation| generation.number == number).map(|generation| generation.phase)
    }

    pub(super) fn park(&mut self, number: Number) {
        info!("generation {number} is parked");
        self.take_back(number);
    }

    pub(super) fn drain_now(&mut self, number: Number, signal: bool, take_back: bool) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        info!("generation {number} drains");
        worker.channel.look();
        worker.channel.close();
        worker.reclaim = take_back;
        if signal {
            worker.signalled = true;
            worker.signal_main(self.settings.drain_signal);
        }
        if take_back {
            self.take_back(number);
        }
    }

    pub(super) fn abort(&mut self, number: Number) {
        let Some(worker) = self.workers.get(&number) else {
            return;
        };
        warn!("generation {number} hangs: process {} gets SIGABRT", worker.main_pid());
        worker.signal_main(Signal::SIGABRT);
        // A stopped process cannot act on it.
        worker.signal_main(Signal::SIGCONT);
        self.give_up_on(number);
    }

    pub(super) fn terminate(&mut self, number: Number) {
        let Some(worker) = self.workers.get(&number) else {
            return;
        };
        warn!("generation {number} takes too long to drain: its process group gets SIGTERM");
        worker.signal_all(Signal::SIGTERM);
        // A stopped process cannot act on it.
        worker.signal_all(Signal::SIGCONT);
    }

    pub(super) fn kill(&mut self, number: Number) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.channel.look();
        warn!("generation {number} is killed");
        worker.signal_all(Signal::SIGKILL);
        if self.why.as_ref().is_none_or(|(known, _)| *known != number) {
            // Once it is removed nobody could tell what it said last.
            self.why = Some((number, self.not_ready(number)));
        }
        self.end_probing(number);
        self.give_up_on(number);
    }

    /// Nothing will be read from its channel any more: takes everything back.
    fn give_up_on(&mut self, number: Number) {
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.channel.close();
            worker.reclaim = true;
            self.take_back(number);
        }
    }

    /// The leader has exited. Its zombie keeps the number of the group from being used for another, so the last signal
    /// reaches no stranger; after it the number is given free.
    pub(super) fn remove(&mut self, number: Number) {
        self.end_probing(number);
        self.give_up_on(number);
        let Some(mut worker) = self.workers.remove(&number) else {
            return;
        };
        let lost = worker.channel.lost();
        // One that was never given a client's connection has lost none: what it had was ours.
        self.count_lost(number, if worker.passed > 0 { lost } else { 0 });
        signal_group(&worker.process, Signal::SIGKILL);
        worker.process.reap();
        if let Some(relayed) = &mut self.relayed {
            relayed.forget(number);
        }
        self.reactor.set_deadline(Source::Channel(number), None);
        worker.channel.end();
        self.leftovers.push((number, worker.channel));
        self.hear_leftovers();
        self.pass_to_serving();
    }

    /// Why a generation that runs, or ran a moment ago, failed.
    pub(super) fn why(&self, number: Number, reason: String) -> Why {
        let lines = self.workers.get(&number).map(worker::Worker::last_lines).unwrap_or_default();
        let seen = self.settings.child_log == ChildLog::Inherit;
        let unseen = if seen { Vec::new() } else { lines.clone() };
        Why { reason: format!("generation {number} {reason}"), lines, unseen, code: 1 }
    }

    /// Why a generation failed, told once.
    pub(super) fn why_of(&mut self, number: Number, failure: Failure) -> Why {
        match self.why.take_if(|(known, _)| *known == number) {
            Some((_, why)) => why,
            None => match failure {
                Failure::NotReady => self.not_ready(number),
                Failure::Hung => self.why(number, "said that it hangs".into()),
                Failure::Spawn | Failure::Exited | Failure::Broke => self.why(number, "failed".into()),
            },
        }
    }

    fn not_ready(&self, number: Number) -> Why {
        let time = in_words(self.settings.policy.ready_timeout);
        let probe = self.probe_result(number).map_or_else(String::new, |result| format!(": {result}"));
        self.why(number, format!("was not ready within {time}{probe}"))
    }
}

/// The exit code for a first child that could not be started; as a shell gives it.
fn code(error: &StartError) -> u8 {
    match error {
        StartError::Spawn(SpawnError::NotFound { .. }) => 127,
        StartError::Spawn(SpawnError::NotExecutable { .. }) => 126,
        StartError::Spawn(SpawnError::Process { .. } | SpawnError::Directory { .. } | SpawnError::Nul { .. })
        | StartError::Address(_)
        | StartError::Log(_)
        | StartError::Descriptor(_) => 1,
    }
}

fn in_words(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}
