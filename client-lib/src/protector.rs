//! What a daemon is given by its supervisor, and how it takes its connections.

mod events;
mod rest;
pub(crate) mod store;
pub(crate) mod tell;

use self::rest::Rest;
use crate::connection::Connection;
use crate::environment::{
    LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, SOCKET_PROTECTOR_CHANNEL, SOCKET_PROTECTOR_GENERATION,
    SOCKET_PROTECTOR_LISTENERS, SOCKET_PROTECTOR_NAME,
};
use crate::error::Error;
use crate::inherited::{Claims, Inherited, check_listener, is_for_datagrams};
use crate::intake::Intake;
use crate::sys::{self, Pollable, Watched};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Set by the first [`Protector::from_env`] that found a supervisor: what it took has an owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The daemon's end: gives it each connection, the same way whether the supervisor passed listening sockets or passes
/// connections, and tells it when to drain.
///
/// All methods take `&self`, and several threads may accept from one `Protector`; each connection goes to one of them,
/// and a drain ends the waiting of all. Dropping it closes the listeners and the channel of this process only.
///
/// A process that forks shares it: parent and child may both accept. What the parent has read and not yet returned stays
/// its own, and is closed in the child by the fork(2) of the C library. Do not fork while another thread is inside a method,
/// except to exec: the child could find the lock closed for ever.
#[derive(Debug)]
pub struct Protector {
    channel: Option<OwnedFd>,
    listeners: Vec<OwnedFd>,
    listener_names: Vec<String>,
    stored: Mutex<Vec<(String, OwnedFd)>>,
    generation: u64,
    name: String,
    notify: Option<PathBuf>,
    ready: AtomicBool,
    nonblocking: AtomicBool,
    state: Mutex<State>,
    /// Threads that wait for the one that polls.
    waiting: AtomicUsize,
    turn: Condvar,
    pollable: OnceLock<Pollable>,
}

#[derive(Debug)]
struct State {
    intake: Intake,
    /// The channel, if there is one, then the listeners; borrowed by the thread that polls, of which there is one.
    watched: Option<Vec<Watched>>,
    /// Listeners that are left out of `watched` and of the pollable.
    rest: Rest,
    /// What the pollable was last told of the queue.
    queued: bool,
    /// Whose all this is: a process that was forked has a copy.
    process: u32,
    /// The pollable is still the one of the process before a fork.
    shared: bool,
}

impl Protector {
    /// Takes what the supervisor passed to this process; `None` if there is no supervisor. It can be taken once: later
    /// calls are the error [`Error::Taken`], also after the `Protector` was dropped, and in a process that was forked.
    ///
    /// To be called at the start of `main`, before there are other threads: it then also removes the variables, so
    /// that the daemon's own children do not mistake them for theirs. (With other threads running they stay, because
    /// changing the environment would not be safe.)
    ///
    /// The descriptors are made close-on-exec. The listening sockets become non-blocking, which other generations
    /// share with this one: a process that is woken for a connection that another took must not wait in `accept` while
    /// it is told to drain. The parent-death signal is switched off, because the end of the channel replaces it.
    /// The supervisor is told hello, and from then on waits for [`ready`](Protector::ready).
    pub fn from_env() -> Result<Option<Protector>, Error> {
        // First, because the variables are gone then, or are those of a parent.
        if TAKEN.load(Ordering::Acquire) {
            return Err(Error::Taken);
        }
        let Some(claims) = Claims::read(std::env::var_os, std::process::id())? else {
            return Ok(None);
        };
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Error::Taken);
        }
        // On an error nothing was taken, and asking again gives the same error.
        let inherited = claims.take().inspect_err(|_| TAKEN.store(false, Ordering::Release))?;
        sys::remove_variables(&[
            SOCKET_PROTECTOR_CHANNEL,
            SOCKET_PROTECTOR_GENERATION,
            SOCKET_PROTECTOR_LISTENERS,
            SOCKET_PROTECTOR_NAME,
            LISTEN_FDS,
            LISTEN_PID,
            LISTEN_FDNAMES,
        ]);
        sys::switch_parent_death_signal_off().map_err(|source| Error::ParentDeath { source })?;
        Protector::from_inherited(inherited).map(Some)
    }

    /// Serves from a listening socket of the daemon's own, for the times when no supervisor is there: [`accept`]
    /// waits for the next client and is never told to drain.
    ///
    /// [`accept`]: Protector::accept
    pub fn standalone(listener: impl Into<OwnedFd>) -> Result<Protector, Error> {
        let listener = listener.into();
        check_listener(listener.as_fd()).map_err(|source| Error::Inherited {
            descriptor: listener.as_raw_fd(),
            expected: "a listening stream socket",
            source,
        })?;
        Protector::from_inherited(Inherited {
            channel: None,
            listeners: vec![listener],
            listener_names: vec!["standalone".to_owned()],
            stored: Vec::new(),
            generation: 0,
            name: "standalone".to_owned(),
            notify: None,
        })
    }

    /// What [`from_env`](Protector::from_env) makes of the environment, without the environment.
    #[doc(hidden)]
    pub fn from_inherited(inherited: Inherited) -> Result<Protector, Error> {
        let Inherited { channel, listeners, listener_names, stored, generation, name, notify } = inherited;
        if let Some(channel) = &channel {
            close_on_exec(channel)?;
        }
        for listener in &listeners {
            close_on_exec(listener)?;
            never_block(listener)?;
        }
        for (_, stored) in &stored {
            close_on_exec(stored)?;
        }
        let (watched, process) = (Some(watched(channel.as_ref(), &listeners)), std::process::id());
        let (intake, rest) = (Intake::new(), Rest::default());
        let state = State { intake, watched, rest, queued: false, process, shared: false };
        let protector = Protector {
            channel,
            listeners,
            listener_names,
            stored: Mutex::new(stored),
            generation,
            name,
            notify,
            ready: AtomicBool::new(false),
            nonblocking: AtomicBool::new(false),
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            turn: Condvar::new(),
            pollable: OnceLock::new(),
        };
        protector.say_hello()?;
        Ok(protector)
    }

    /// Tells the supervisor that the daemon can serve. The first [`accept`](Protector::accept) says it by itself, so
    /// only a daemon that accepts elsewhere, that is ready earlier, or that waits in an event loop before it accepts,
    /// has to call it. Said once, however often called.
    ///
    /// Waits while the supervisor does not get to read, non-blocking or not, but no longer than ten seconds; then the
    /// error has the kind [`io::ErrorKind::TimedOut`], and it may be said again.
    pub fn ready(&self) -> Result<(), Error> {
        self.say_ready(tell::send_patiently)
    }

    /// Waits for the next connection and takes it; `None` when it is time to drain and nothing is left to take: finish
    /// what is in progress, and exit.
    ///
    /// With listeners passed, a drain ends the wait at once; what has not been accepted is the next generation's. What
    /// is already in the channel still comes, in order, and then `None`: connections where those are passed, and in
    /// both ways those that an earlier generation [gave back](Protector::give_back).
    ///
    /// Non-blocking (see [`set_nonblocking`](Protector::set_nonblocking)), nothing to take is
    /// [`io::ErrorKind::WouldBlock`]. Other errors carry an [`Error`]; accepting may go on after each of them, after a
    /// pause if this process has no descriptors left.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        self.accept_unless(None, usize::MAX)
    }

    /// [`accept`](Protector::accept) that waits no longer once `stop` is readable: with nothing to take the error is
    /// then [`io::ErrorKind::Interrupted`]. All threads that wait at the same time give the same `stop`.
    ///
    /// A connection with more state than `room` is the error [`Error::NoRoom`], and the next one to take as before.
    #[doc(hidden)]
    pub fn accept_until(&self, stop: BorrowedFd<'_>, room: usize) -> io::Result<Option<Connection>> {
        self.accept_unless(Some(stop), room)
    }

    fn accept_unless(&self, stop: Option<BorrowedFd<'_>>, room: usize) -> io::Result<Option<Connection>> {
        self.ready()?;
        let taken = self.take_next(stop, room);
        // Whoever leaves passes the turn on, be it to take from the queue, to poll, or to learn of the drain.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.turn.notify_one();
        }
        taken
    }

    /// The connections one after the other, until it is time to drain.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { protector: self }
    }

    /// Whether the supervisor has closed the channel. Connections that were passed before may still be waiting, so go
    /// on with [`accept`](Protector::accept) until `None`; but a connection that could go on for long (keep-alive)
    /// should be ended at the next occasion.
    pub fn is_draining(&self) -> bool {
        let Some(channel) = &self.channel else {
            return false;
        };
        // A look that failed has seen nothing; looking again is the caller's next call.
        sys::is_closed(channel.as_fd()).unwrap_or(false)
    }

    /// Switches between waiting in [`accept`](Protector::accept) and, for event loops, the error
    /// [`io::ErrorKind::WouldBlock`]. The connections are in blocking mode either way.
    ///
    /// Also prepares the descriptor that [`as_fd`](AsFd::as_fd) gives, and says if that fails.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        if nonblocking {
            self.pollable()?;
        }
        self.nonblocking.store(nonblocking, Ordering::Release);
        Ok(())
    }

    /// How many connections have been read from the channel and not yet accepted. The supervisor can take back what
    /// is still in the channel but not these, so a daemon that ends without having been told to drain accepts them
    /// first.
    pub fn queued(&self) -> usize {
        self.state().intake.queued()
    }

    /// The number of this generation, from 1 up; 0 without a supervisor.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The name of the supervisor's instance; `standalone` without a supervisor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of the listeners that were passed; none where connections are passed.
    pub fn listener_names(&self) -> &[String] {
        &self.listener_names
    }

    /// The sockets that were passed, in the order of their names, for a daemon that accepts in its own way; none where
    /// connections are passed. They are non-blocking.
    ///
    /// Sockets for datagrams (`udp:`) are among them, and only here: nothing can be accepted from them. They are shared
    /// by all generations, so after each wake-up a daemon asks [`is_draining`](Protector::is_draining) first, and does
    /// not read another datagram once that is true. What it does not read is the next generation's.
    pub fn listeners(&self) -> &[OwnedFd] {
        &self.listeners
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn channel(&self) -> Option<&OwnedFd> {
        self.channel.as_ref()
    }

    fn take_next(&self, stop: Option<BorrowedFd<'_>>, room: usize) -> io::Result<Option<Connection>> {
        let mut state = self.state();
        loop {
            if let Some(taken) = state.intake.take(room) {
                self.tell_pollable(&mut state);
                return Ok(taken?);
            }
            let nonblocking = self.nonblocking.load(Ordering::Acquire);
            let Some(mut watched) = state.watched.take() else {
                if nonblocking {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                state = self.wait_for_turn(state);
                continue;
            };
            self.end_rest(&mut state, &mut watched);
            watched.extend(stop.map(sys::watch));
            let (mut watched, polled) = if nonblocking {
                // Under the lock: meanwhile another thread would find nothing to poll, take that for nothing to
                // accept, and in an edge-triggered loop there would be no event for what is left.
                poll(watched, 0)
            } else {
                let timeout = state.rest.timeout();
                drop(state);
                let answer = poll(watched, timeout);
                state = self.state();
                answer
            };
            let stopped = stop.and_then(|_| watched.pop()).is_some_and(|entry| entry.revents != 0);
            let filled = polled.and_then(|()| state.intake.fill(self.channel.as_ref(), &self.listeners, &watched));
            let answered = watched.iter().any(|entry| entry.revents != 0);
            self.begin_rest(&mut state, &mut watched);
            state.watched = Some(watched);
            self.tell_pollable(&mut state);
            filled?;
            if stopped && !answered {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if nonblocking && !answered {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    fn wait_for_turn<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        state
    }

    /// Every change of the state is complete before anything can panic, so it is sound after a panic too.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = std::process::id();
        if state.process != own {
            self.begin_anew(&mut state, own);
        }
        state
    }

    /// In a process that was forked: what the other one has read is the other one's to serve, and so are its threads.
    fn begin_anew(&self, state: &mut State, own: u32) {
        state.process = own;
        state.intake.forget();
        state.watched = Some(watched(self.channel.as_ref(), &self.listeners));
        state.rest = Rest::default();
        self.waiting.store(0, Ordering::SeqCst);
        state.queued = false;
        state.shared = self.pollable.get().is_some();
        // Should it fail, it is tried again whenever the pollable is asked for or has to be told something.
        let _ = self.unshare_pollable(state);
    }
}

/// The connections of a [`Protector`]; ends when it is time to drain.
#[derive(Debug)]
pub struct Incoming<'a> {
    protector: &'a Protector,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<Connection>;

    fn next(&mut self) -> Option<io::Result<Connection>> {
        self.protector.accept().transpose()
    }
}

/// The channel, if there is one, then the listeners. There is nothing to accept from a socket for datagrams, but it
/// keeps its place.
fn watched(channel: Option<&OwnedFd>, listeners: &[OwnedFd]) -> Vec<Watched> {
    let entry = |listener: &OwnedFd| match is_for_datagrams(listener.as_fd()) {
        true => sys::UNWATCHED,
        false => sys::watch(listener.as_fd()),
    };
    channel.map(|channel| sys::watch(channel.as_fd())).into_iter().chain(listeners.iter().map(entry)).collect()
}

/// Polls once, at most so long or, with -1, for ever; an interruption counts as no answer.
fn poll(mut watched: Vec<Watched>, milliseconds: i32) -> (Vec<Watched>, Result<(), Error>) {
    let polled = match sys::poll(&mut watched, milliseconds) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            watched.iter_mut().for_each(|entry| entry.revents = 0);
            Ok(())
        }
        Err(source) => Err(Error::Wait { source }),
        Ok(()) => Ok(()),
    };
    (watched, polled)
}

fn close_on_exec(descriptor: &OwnedFd) -> Result<(), Error> {
    let set = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    set.map(drop).map_err(|errno| flags(descriptor, errno.into()))
}

fn never_block(listener: &OwnedFd) -> Result<(), Error> {
    let set = fcntl(listener, FcntlArg::F_GETFL)
        .and_then(|now| fcntl(listener, FcntlArg::F_SETFL(OFlag::from_bits_retain(now) | OFlag::O_NONBLOCK)));
    set.map(drop).map_err(|errno| flags(listener, errno.into()))
}

fn flags(descriptor: &OwnedFd, source: io::Error) -> Error {
    Error::Flags { descriptor: descriptor.as_raw_fd(), source }
}
