//! The server: every client that may have it is given a sequence.
//!
//! One thread serves all clients, and none of them can hold another up: nothing is sent that has no room, and each has
//! its time.

use super::DEFAULT_TIME_LIMIT;
use super::deadline::{Deadline, RETRY, is_shortage, milliseconds};
use super::error::Error;
use super::path::Place;
use super::peer::Allowed;
use super::send::{Limits, Message};
use super::sequence::{Sequence, Step};
use crate::sys::{self, UNWATCHED, Watched};
use nix::sys::socket::{Shutdown, shutdown};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Only the own user, and root who may do anything.
const DEFAULT_MODE: u32 = 0o600;
/// So many clients are served at a time; more wait in the backlog.
const CLIENTS: usize = 64;
/// How soon accepting is tried again when this process has no descriptor left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Listens at a path, and gives every client that may have them the descriptors of a [`Sequence`].
///
/// The file of the socket is removed with the server, if it is still this server's.
#[derive(Debug)]
pub struct Server {
    /// First, so that the file goes before the socket is closed: nobody finds it stale.
    _place: Place,
    listener: OwnedFd,
    options: ServerOptions,
    stopped: AtomicBool,
}

/// Who may be a client of a [`Server`], and the limits.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    mode: u32,
    allowed: Allowed,
    time_limit: Option<Duration>,
    stop_limit: Option<Duration>,
    limits: Limits,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        let (allowed, limits) = Default::default();
        let (time_limit, stop_limit) = (Some(DEFAULT_TIME_LIMIT), Some(DEFAULT_TIME_LIMIT));
        ServerOptions { mode: DEFAULT_MODE, allowed, time_limit, stop_limit, limits }
    }
}

impl ServerOptions {
    /// The mode of the socket's file (0600), whatever the umask is: who can connect at all.
    pub fn mode(mut self, mode: u32) -> ServerOptions {
        self.mode = mode;
        self
    }

    /// Lets processes of this user be clients, besides root's and those of the server's own user. The mode of the file,
    /// and those of the directories above it, must let them in too.
    pub fn allow_user(mut self, user: u32) -> ServerOptions {
        self.allowed.add(user);
        self
    }

    /// How long a client may take (10 s); `None` for ever.
    pub fn time_limit(mut self, limit: Option<Duration>) -> ServerOptions {
        self.time_limit = limit;
        self
    }

    /// How long those clients that are being served may still take once no further one is taken (10 s), if their own
    /// time is not over before; `None` for as long as that is.
    pub fn stop_limit(mut self, limit: Option<Duration>) -> ServerOptions {
        self.stop_limit = limit;
        self
    }

    /// As [`Sender::most_bytes`](super::Sender::most_bytes).
    pub fn most_bytes(mut self, most: usize) -> ServerOptions {
        self.limits.set_bytes(most);
        self
    }

    /// As [`Sender::most_descriptors`](super::Sender::most_descriptors).
    pub fn most_descriptors(mut self, most: usize) -> ServerOptions {
        self.limits.set_descriptors(most);
        self
    }

    /// Listens at a path of at most 107 bytes. A socket there that nobody listens to is replaced; one that is in use, and
    /// what is no socket, is left alone, and an error.
    pub fn bind(self, path: impl AsRef<Path>) -> Result<Server, Error> {
        let (place, listener) = Place::claim(path.as_ref(), self.mode)?;
        Ok(Server { _place: place, listener, options: self, stopped: AtomicBool::new(false) })
    }
}

/// A client that is being served.
struct Client {
    stream: OwnedFd,
    deadline: Deadline,
    /// The first step that is not in the message.
    next: usize,
    /// How many steps before it are.
    count: usize,
    message: Message,
    /// Whether it waits for something else than room.
    short: bool,
}

/// What a client is after its turn.
enum Turn {
    Waits,
    Done,
}

impl Server {
    /// Listens at a path with the default options, as [`ServerOptions::bind`].
    pub fn bind(path: impl AsRef<Path>) -> Result<Server, Error> {
        Server::options().bind(path)
    }

    /// Options to change before it listens.
    pub fn options() -> ServerOptions {
        ServerOptions::default()
    }

    /// Serves clients until a callback of the sequence, or [`stop`](Server::stop), ends it. What goes wrong with one
    /// client is told to `failed`, and does not disturb others.
    ///
    /// Metadata that is too long is an error before anybody is served.
    pub fn serve(&self, sequence: &mut Sequence<'_>, mut failed: impl FnMut(Error)) -> Result<(), Error> {
        self.options.limits.check(sequence.metadata())?;
        let mut clients: Vec<Client> = Vec::new();
        let mut taking = true;
        let mut ends = false;
        let mut pause = None;
        loop {
            taking = taking && !self.stopped.load(Ordering::Acquire);
            if !taking && clients.is_empty() {
                return Ok(());
            }
            if !taking && !ends {
                ends = true;
                let end = Deadline::after(self.options.stop_limit);
                clients.iter_mut().for_each(|client| client.deadline = client.deadline.sooner(end));
            }
            let accepting = taking && clients.len() < CLIENTS && pause.is_none();
            let listener = match taking {
                true if accepting => sys::watch(self.listener.as_fd()),
                // It is shut down when it is time to stop.
                true => sys::watch_for_failure(self.listener.as_fd()),
                false => UNWATCHED,
            };
            let ready = wait(listener, &clients, pause)?;
            pause = None;
            if accepting && ready.first() == Some(&true) {
                pause = self.accept(&mut clients, &mut failed)?;
            }
            let mut index = 0;
            clients.retain_mut(|client| {
                index += 1;
                let has_turn = ready.get(index).is_none_or(|ready| *ready) || client.short || client.deadline.is_over();
                if !has_turn {
                    return true;
                }
                match client.turn(sequence, self.options.limits, &mut taking) {
                    Ok(Turn::Waits) => true,
                    Ok(Turn::Done) => false,
                    Err(source) => {
                        failed(Error::Send { source });
                        false
                    }
                }
            });
        }
    }

    /// Ends [`serve`](Server::serve), from another thread: it takes no further client, finishes those that it has, and
    /// returns. For good: this server accepts nobody any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes who waits for the listener. That it is shut down already is no error.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }

    /// Takes the clients that wait, and refuses those that may not be one; how long to wait before the next try, if this
    /// process has no descriptor left.
    fn accept(&self, clients: &mut Vec<Client>, failed: &mut impl FnMut(Error)) -> Result<Option<Duration>, Error> {
        while clients.len() < CLIENTS {
            let stream = match sys::accept(self.listener.as_fd()) {
                Ok(stream) => stream,
                Err(error) => {
                    let lasts = error.raw_os_error();
                    match lasts {
                        Some(libc::EAGAIN | libc::EINTR | libc::ECONNABORTED) => return Ok(None),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                            failed(Error::Accept { source: error });
                            return Ok(Some(AFTER_FAILURE));
                        }
                        _ if self.stopped.load(Ordering::Acquire) => return Ok(None),
                        _ => return Err(Error::Accept { source: error }),
                    }
                }
            };
            match self.options.allowed.check(stream.as_fd()) {
                Ok(()) => clients.push(Client::new(stream, self.options.time_limit)),
                Err(error) => failed(error),
            }
        }
        Ok(None)
    }
}

/// Waits for the listener and the clients; which of them, in this order, have an event.
fn wait(listener: Watched, clients: &[Client], pause: Option<Duration>) -> Result<Vec<bool>, Error> {
    let mut watched = vec![listener];
    watched.extend(clients.iter().map(|client| match client.short {
        true => UNWATCHED,
        false => sys::watch_for_room(client.stream.as_fd()),
    }));
    let of_clients = clients.iter().filter_map(|client| match client.short {
        true => Some(RETRY),
        false => client.deadline.left(),
    });
    let time = of_clients.chain(pause).min();
    match sys::poll(&mut watched, milliseconds(time)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(Error::Accept { source: error }),
        Err(_) => Ok(vec![false; watched.len()]),
        Ok(()) => Ok(watched.iter().map(|entry| entry.revents != 0).collect()),
    }
}

impl Client {
    fn new(stream: OwnedFd, time_limit: Option<Duration>) -> Client {
        let deadline = Deadline::after(time_limit);
        Client { stream, deadline, next: 0, count: 0, message: Message::default(), short: false }
    }

    /// Goes on as far as there is room.
    fn turn(&mut self, sequence: &mut Sequence<'_>, limits: Limits, taking: &mut bool) -> io::Result<Turn> {
        let steps = sequence.steps();
        loop {
            let first = self.next - self.count;
            let descriptors: Vec<BorrowedFd<'_>> =
                steps[first..self.next].iter().filter_map(Step::descriptor).collect();
            self.short = false;
            match self.message.advance(self.stream.as_fd(), &descriptors) {
                Ok(()) => {}
                Err(_) if self.deadline.is_over() => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Waits),
                Err(error) if is_shortage(&error) => {
                    self.short = true;
                    return Ok(Turn::Waits);
                }
                Err(error) => return Err(error),
            }
            self.count = 0;
            match steps.get_mut(self.next) {
                None => return Ok(Turn::Done),
                Some(Step::Call(callback)) => {
                    *taking = *taking && callback() == ControlFlow::Continue(());
                    self.next += 1;
                }
                Some(Step::Give { .. }) => {
                    self.count = self.message.fill(limits, steps[self.next..].iter().map_while(Step::metadata));
                    self.next += self.count;
                }
            }
        }
    }
}
