//! An upgrade, the old side: the new process is started and gets everything that there is; nothing is taken out for that, so
//! when it fails at any step this process simply goes on. [`takeover`](crate::takeover) decides what follows what.

use super::bridge::{Pair, pair};
use super::plan::{Plan, SCHEMA};
use super::stop::Stopping;
use super::{Key, Server, ServerError, client, link, short};
use crate::control::server::ClientId;
use crate::control::wire::Reply;
use crate::process::pid_file::{PidFile, PidFileError};
use crate::reactor::{Descriptor, READABLE, Waker};
use crate::session::credential::{BootId, SessionId, random};
use crate::session::frame::Frame;
use crate::session::sessions::Sessions;
use crate::session::state::Connection;
use crate::takeover::leaving::Leaving;
use crate::takeover::protocol::{Old, OldDoes, OldHears};
use crate::takeover::{Exchange, ExchangeError};
use log::{error, info, warn};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

mod sending;

/// How long clients that could not come along have to hear that they are to come again, and destinations to take what is left
/// for them in a TLS session.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// What the new process is told when this one was told to stop in its place.
pub(super) const STOP: &[u8] = b"\"stop\"\n";

/// What it says once it serves, and the pid file is its own.
pub(super) const SERVING: &[u8] = b"\"serving\"\n";

/// What comes of getting ready.
type Met = (Exchange, Result<(), ExchangeError>);

/// An upgrade that is under way, or may be.
pub(super) struct Upgrading {
    /// The command of the new process; `None`: there must be none.
    command: Option<Vec<OsString>>,
    leaving: Leaving,
    asker: Option<ClientId>,
    since: Instant,
    sender: Sender<Met>,
    receiver: Receiver<Met>,
    waker: Waker,
    /// For destinations that speak TLS, while the other process has not begun.
    pairs: HashMap<SessionId, Pair>,
}

impl Upgrading {
    pub(super) fn new(command: Option<Vec<OsString>>, waker: Waker) -> Self {
        let (sender, receiver) = channel();
        let (leaving, asker, since) = (Leaving::default(), None, Instant::now());
        Upgrading { command, leaving, asker, since, sender, receiver, waker, pairs: HashMap::new() }
    }

    /// The new process gets ready, beside a thread of ours; everything goes on meanwhile.
    fn meet(&self, exchange: Exchange, plan: Plan) -> std::io::Result<()> {
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let body = move || {
            let ready = exchange.say(&plan).and_then(|()| exchange.hear_ready(SCHEMA));
            // Nobody listens any more: we are at the end.
            if sender.send((exchange, ready)).is_ok()
                && let Err(error) = waker.wake()
            {
                error!("cannot wake the loop: {error}");
            }
        };
        std::thread::Builder::new().name("upgrade".into()).spawn(body).map(drop)
    }
}

impl Server {
    /// An upgrade is wanted; whoever has asked is answered when the new process serves or has failed.
    ///
    /// # Errors
    /// There can be none now.
    pub(super) fn upgrade(&mut self, asker: Option<ClientId>) -> Result<(), ServerError> {
        if self.stopping != Stopping::No {
            return Err(ServerError::Stopping);
        }
        if self.upgrading.command.is_none() {
            return Err(ServerError::Unwatched);
        }
        if self.upgrading.leaving.stage() != Old::Serving {
            return Err(ServerError::Upgrading);
        }
        (self.upgrading.asker, self.upgrading.since) = (asker, Instant::now());
        self.upgrade_hears(OldHears::Asked);
        Ok(())
    }

    /// The thread that lets the new process get ready has come to an end.
    pub(super) fn hear_of_successor(&mut self) {
        self.hear_successor();
        while let Ok((exchange, ready)) = self.upgrading.receiver.try_recv() {
            let heard = self.upgrading.leaving.met(exchange, ready);
            let heard = match heard {
                OldHears::Ready if self.stopping != Stopping::No => {
                    self.upgrading.leaving.fails(ServerError::Stopping.to_string());
                    OldHears::Failed
                }
                heard => heard,
            };
            self.upgrade_hears(heard);
        }
    }

    fn upgrade_hears(&mut self, heard: OldHears) {
        let mut next = Some(heard);
        while let Some(heard) = next.take() {
            for act in self.upgrading.leaving.on(heard) {
                next = self.perform_for_upgrade(*act).or(next);
            }
        }
    }

    /// Does something; what is heard then, if that is waited for.
    fn perform_for_upgrade(&mut self, act: OldDoes) -> Option<OldHears> {
        match act {
            OldDoes::Start => {
                let error = self.start_successor().err()?;
                self.upgrading.leaving.fails(crate::chain(&error));
                return Some(OldHears::Gone);
            }
            OldDoes::Offer => {
                self.have_what_is_connected();
                match self.pairs() {
                    Ok(pairs) => self.upgrading.pairs = pairs,
                    Err(error) => {
                        self.upgrading.leaving.fails(crate::chain(&ServerError::Pair(error)));
                        return Some(OldHears::Failed);
                    }
                }
                let mut leaving = std::mem::take(&mut self.upgrading.leaving);
                let heard = leaving.offer(|exchange| self.send_all(exchange));
                self.upgrading.leaving = leaving;
                return Some(heard);
            }
            OldDoes::Commit => return Some(self.upgrading.leaving.commit()),
            OldDoes::End => {
                self.end_successor();
                // What it has said before is still there to be heard.
                return (self.upgrading.leaving.stage() == Old::Ending).then(|| self.upgrading.leaving.hear());
            }
            // Nothing was taken out. Those who ask meanwhile are told before they come here.
            OldDoes::PutBack | OldDoes::Refuse => {}
            OldDoes::Reopen => self.begin_anew(),
            OldDoes::AnswerFailed => {
                self.upgrading.pairs.clear();
                let reply = self.upgrading.leaving.failed("upgrade");
                self.answer_upgrade(&reply);
            }
            OldDoes::Leave => self.leave_all(),
        }
        None
    }

    fn answer_upgrade(&mut self, reply: &Reply) {
        if let Some(asker) = self.upgrading.asker.take() {
            self.control.reply(&mut self.reactor, asker, reply);
        }
    }

    fn start_successor(&mut self) -> Result<(), ServerError> {
        self.reserve.release();
        let command = self.upgrading.command.clone().unwrap_or_default();
        let exchange = self.upgrading.leaving.start(&command)?;
        let plan = self.plan(0, 0);
        self.upgrading.meet(exchange, plan)?;
        Ok(())
    }

    /// Kills the new process, if there is one.
    pub(super) fn end_successor(&mut self) {
        if let Some(pid) = self.upgrading.leaving.end() {
            self.locks.iter().flat_map(Locks::all).for_each(|file| file.clean_up_after(pid));
        }
    }

    /// A connection that is made by now goes over, and is not made anew.
    fn have_what_is_connected(&mut self) {
        let connecting = |link: &link::Link| matches!(link.stage, link::Stage::Connecting(_));
        let connecting = self.links.iter().filter(|(_, link)| connecting(link)).map(|(id, _)| *id);
        for id in connecting.collect::<Vec<_>>() {
            self.proceed(id);
        }
        self.settle();
    }

    /// For each destination that speaks TLS, whose keys cannot go along, a connection to what stays here of it.
    fn pairs(&self) -> std::io::Result<HashMap<SessionId, Pair>> {
        let secure = |link: &link::Link| matches!(&link.stage, link::Stage::Open(wire) if wire.is_secure());
        let secure = self.links.iter().filter(|(_, link)| secure(link));
        secure.map(|(id, _)| Ok((*id, pair()?))).collect()
    }

    /// The new process may have moved bytes before it was ended, so nobody knows where streams are.
    fn begin_anew(&mut self) {
        error!("the new process had begun: the sessions that went to it are lost");
        self.forget_what_went();
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.forget(id);
        }
        match random().map(BootId).and_then(|boot| Ok((boot, random()?))) {
            Ok((boot, nobody)) => {
                self.boot = boot;
                self.sessions = Sessions::new(boot, nobody, self.settings.policy.clone(), self.settings.limits);
            }
            Err(error) => error!("{}", crate::chain(&error)),
        }
        if let Some(Err(error)) = self.locks.as_mut().map(Locks::make_sure) {
            error!("{}", crate::chain(&error));
        }
    }

    /// Lets go of all connections that the other process has had, without a word on them. Since they have been its as well,
    /// closing them here does not end the watch over them: they are taken out of it.
    fn forget_what_went(&mut self) {
        let went = |client: &client::Client| client.stage_written().is_some();
        let clients = self.clients.iter().filter(|(_, client)| went(client)).map(|(id, _)| *id);
        for id in clients.collect::<Vec<_>>() {
            self.clients.remove(&id);
            self.passing.remove(&id);
            self.reactor.set_deadline(Key::Client(id), None);
        }
        let went = |link: &link::Link| !matches!(link.stage, link::Stage::Closing(_));
        let links = self.links.iter().filter(|(_, link)| went(link)).map(|(id, _)| *id);
        for id in links.collect::<Vec<_>>() {
            self.links.remove(&id);
            self.reactor.set_deadline(Key::Link(id), None);
        }
        self.sessions = Sessions::new(self.boot, [0; 32], self.settings.policy.clone(), self.settings.limits);
        self.actions.clear();
    }

    /// Gives up what the other process has now. Those who could not come along hear that they are to come again.
    fn leave_all(&mut self) {
        let Some((pid, exchange)) = self.upgrading.leaving.left() else {
            return;
        };
        info!("upgraded: process {pid} has taken over");
        self.watch_successor(exchange.into_stream());
        self.control.hand_over(&mut self.reactor);
        self.listening.drain(..).for_each(super::Listening::leave);
        for (id, (ours, _)) in std::mem::take(&mut self.upgrading.pairs) {
            if let Err(error) = self.build_bridge(id, ours) {
                warn!("session {}: cannot pass on what its destination says: {error}", short(id));
            }
        }
        self.forget_what_went();
        if let Some(locks) = self.locks.take() {
            locks.leave();
        }
        self.reactor.set_deadline(Key::Socket, None);
        self.stopping = Stopping::Left { until: Instant::now() + LAST_WORDS };
        for (id, attached) in self.clients.iter().map(|(id, client)| (*id, client.is_attached())).collect::<Vec<_>>() {
            if attached {
                self.send_away(id);
            } else {
                self.forget(id);
            }
        }
        self.go_on_stopping();
    }

    /// The new process says when it has the pid file and is known to an outer manager: this one must not end before.
    fn watch_successor(&mut self, stream: UnixStream) {
        let watched = stream
            .set_nonblocking(true)
            .and_then(|()| self.reactor.register(Descriptor(stream), Key::Successor, READABLE));
        match watched {
            Ok(stream) => {
                self.successor = Some(stream);
                self.reactor.again(Key::Successor);
            }
            Err(error) => warn!("cannot listen to the process that has taken over: {error}"),
        }
    }

    /// What it says; or it has gone.
    fn hear_successor(&mut self) {
        let Some(successor) = &mut self.successor else {
            return;
        };
        let mut bytes = [0; 64];
        match successor.0.read(&mut bytes) {
            Ok(count) => {
                self.served |= count == 0 || bytes[..count].ends_with(SERVING);
                if count == 0 {
                    self.successor = None;
                }
                self.go_on_stopping();
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(_) => self.served = true,
        }
    }

    /// A client hears that it is to come again, to the process that serves.
    fn send_away(&mut self, id: Connection) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.say(&Frame::GoAway { grace: 0 });
            self.leave(id);
        }
    }

    /// A signal that was meant for the process that serves, whoever that is.
    pub(super) fn pass_on(&mut self, signal: Signal) {
        info!("{signal}: passed on to the process that has taken over");
        if let Some(successor) = &mut self.successor
            && let Err(error) = successor.0.write_all(STOP)
        {
            warn!("cannot tell the process that has taken over: {error}");
        }
        // What is left here ends with the sessions there; or at the second signal.
        if self.bridges.is_empty() || std::mem::replace(&mut self.passed_on, true) {
            self.stopping = Stopping::Done;
        }
    }
}

/// Of a pid file, which scripts of any user read.
pub const PID_FILE_MODE: u32 = 0o644;
/// Of the other one: nobody reads it, and who cannot open it cannot lock it.
pub const LOCK_MODE: u32 = 0o600;

/// The files whose locks say that the instance runs.
#[derive(Debug)]
pub struct Locks {
    /// That of its name.
    pub instance: PidFile,
    /// The one that was asked for.
    pub pid_file: Option<PidFile>,
}

impl Locks {
    fn all(&self) -> impl Iterator<Item = &PidFile> {
        [Some(&self.instance), self.pid_file.as_ref()].into_iter().flatten()
    }

    /// Makes them again where another process, which came to nothing, has put its own.
    fn make_sure(&mut self) -> Result<(), PidFileError> {
        self.instance.make_sure(LOCK_MODE)?;
        self.pid_file.as_mut().map_or(Ok(()), |file| file.make_sure(PID_FILE_MODE).map(|_made_again| ()))
    }

    /// They are another process' now.
    fn leave(self) {
        self.instance.leave();
        if let Some(pid_file) = self.pid_file {
            pid_file.leave();
        }
    }
}
