//! The client of a session on the command line.
//!
//! `client_state` decides; here are its hands. `link` is one connection to the server, `driver` the loop around both,
//! `standard` standard input and output in it, `terminal` the terminal, `store` what is kept in a file. `poll` and
//! `follow` are the two ways in which a client is used: one connection for each line, or one for as long as it lasts.
//! `keys` is what somebody types at a client that stays.

mod driver;
mod follow;
mod keys;
mod link;
mod poll;
mod standard;
mod store;
mod terminal;
mod voice;

pub use self::link::LinkError;
pub use self::store::{Kept, SUFFIX, Store, StoreError, default_name};

use self::driver::{Driver, Equipment, Use};
use self::voice::{Voice, quoted};
use crate::net::endpoint::Connect;
use crate::net::tls::LoadError;
use crate::reactor::Signals;
use crate::session::client_state::{Breach, Client, End, Progress, Settings};
use crate::session::frame::{Closed, Destination, Detached, Mode, Refusal};
use nix::sys::signal::Signal;
use std::io;
use std::path::PathBuf;
use std::time::Instant;
use thiserror::Error;

/// What the loop gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// The connection to the server, and its times while it comes about.
    Server,
    /// An answer about a name.
    Names,
    /// When to connect.
    Connect,
    /// A time of the protocol.
    Protocol,
    Signals,
    Input,
    Output,
    /// When to keep what has changed.
    Save,
}

/// What is wanted of a client.
#[derive(Debug)]
pub struct Options {
    /// The server, as its users write it and as an endpoint. Its paths are absolute.
    pub server: (String, Connect),
    /// Where the session is kept.
    pub state: PathBuf,
    /// Another session than the one that is kept.
    pub new: bool,
    /// How it is used.
    pub way: Way,
    /// The session's input ends when standard input does.
    pub end_input: bool,
    /// More than what went wrong is said.
    pub talks: bool,
}

/// How a session is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One connection for each line of standard input.
    Poll,
    /// Connected until it ends or is left.
    Follow,
    /// Connected beside the client that uses it, only to see its output.
    Observe,
}

/// How a client came to its end.
#[derive(Debug)]
pub enum Outcome {
    /// It was left; the session goes on.
    Left,
    /// The session has ended well.
    Ended,
    /// To be ended by this signal, as if it had not been caught.
    Signal(Signal),
}

/// Why a client came to no good end.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files of TLS.
    #[error(transparent)]
    Identity(#[from] LoadError),
    /// There is no loop.
    #[error("cannot set up the client")]
    Setup {
        /// The kernel's reason.
        source: io::Error,
    },
    /// The loop broke.
    #[error("cannot wait for anything")]
    Wait {
        /// The kernel's reason.
        source: io::Error,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input {
        /// The kernel's reason.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output {
        /// The kernel's reason.
        source: io::Error,
    },
    /// The terminal cannot be set.
    #[error("cannot set the terminal")]
    Terminal {
        /// The kernel's reason.
        source: io::Error,
    },
    /// The server was never reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server says no.
    #[error("the server at {server} refuses")]
    Refused {
        /// Where it is.
        server: String,
        /// Why.
        source: Refusal,
    },
    /// The server cannot be trusted with anything.
    #[error("the server at {server} is not to be talked to")]
    Breach {
        /// Where it is.
        server: String,
        /// Why.
        source: Breach,
    },
    /// The server has sent the client away.
    #[error("{}", sent_away(*.0))]
    Detached(Detached),
    /// The session is over, and its output did not end.
    #[error("{}", over(*.0))]
    Closed(Closed),
    /// The destination did not end well.
    #[error("{}", ended(*.0))]
    Destination(End),
    /// Input is left that has not arrived.
    #[error("{0} bytes of input have not arrived; they are kept and sent when the client runs again")]
    Waiting(usize),
    /// Input is left, and there is no session that it could be kept for.
    #[error("{0} bytes of input were not sent")]
    Unsent(usize),
    /// The last polls came to nothing.
    #[error("the last poll came to nothing")]
    Unpolled,
    /// There is no session to look at.
    #[error("no session is kept in {}", path.display())]
    NoSession {
        /// The state file.
        path: PathBuf,
    },
}

impl ClientError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ClientError::Store(error) => error.hint(),
            ClientError::Refused { source: Refusal::Denied | Refusal::Gone, .. } => {
                Some("--new starts another session")
            }
            ClientError::Detached(_) => Some("run it again to take the session back"),
            ClientError::Link(LinkError::Connect(_)) => Some("'socket-protector session server' starts one"),
            _ => None,
        }
    }
}

fn sent_away(reason: Detached) -> &'static str {
    match reason {
        Detached::TakenOver => "another client has taken the session over",
        Detached::ByAdministrator => "the server's administrator has detached this client",
        Detached::Broke => "the server says that this client broke the protocol",
        Detached::Silent => "the server says that this client was silent for too long",
        Detached::Conflict => "what this client sent again is not what has arrived",
        Detached::Other(_) => "the server has detached this client",
    }
}

fn over(reason: Closed) -> &'static str {
    match reason {
        Closed::ByClient => "the session was closed by a client",
        Closed::Complete => "the session is complete",
        Closed::Expired => "the session has expired",
        Closed::ByAdministrator => "the session was closed by the server's administrator",
        Closed::Stopped => "the session is over: the server has ended",
        Closed::Other(_) => "the session is over",
    }
}

fn ended(end: End) -> String {
    match end {
        End::Eof => "the destination has closed the connection".to_owned(),
        End::Reset(0) => "the connection to the destination broke".to_owned(),
        End::Reset(errno) => {
            let errno = i32::try_from(errno).unwrap_or_default();
            format!("the connection to the destination broke: {}", io::Error::from_raw_os_error(errno))
        }
        End::Failed(Destination::Timeout) => "the destination did not answer in time".to_owned(),
        End::Failed(Destination::Unresolved) => "the destination's name has no address".to_owned(),
        End::Failed(_) => "the destination refused the connection, or is out of reach".to_owned(),
    }
}

/// Uses a session until that comes to an end.
///
/// # Errors
/// Any other end than being left or ending well.
pub fn run(options: Options, signals: Signals) -> Result<Outcome, ClientError> {
    let Options { server: (server, to), state, new, way, end_input, talks } = options;
    let now = Instant::now();
    let (store, kept) = match way {
        Way::Observe => (None, Some(Store::look(&state)?.ok_or(ClientError::NoSession { path: state })?)),
        Way::Poll | Way::Follow => {
            let (store, kept) = Store::open(&state, new)?;
            (Some(store), kept)
        }
    };
    let mode = if way == Way::Observe { Mode::Observe } else { Mode::Steal };
    let settings = Settings { mode, ..Settings::default() };
    let (client, remote_echo) = match kept {
        None => (Client::new(now, settings), false),
        Some(Kept { ticket, remote_echo, .. }) if way == Way::Observe => {
            let mut client = Client::resume(now, settings, ticket, Progress::default());
            client.from_oldest();
            (client, remote_echo)
        }
        Some(Kept { ticket, progress, remote_echo, .. }) => {
            (Client::resume(now, settings, ticket, progress), remote_echo)
        }
    };
    let used = if way == Way::Poll { Use::Polling } else { Use::Following };
    let equipment = Equipment { client, used, store, remote_echo, server: server.clone(), to, signals };
    let mut driver = Driver::new(equipment)?;
    let voice = Voice::new(talks);
    let done = match way {
        Way::Poll => poll::run(&mut driver, &voice, &server, end_input),
        Way::Follow => follow::run(&mut driver, &voice, &server, Some(end_input)),
        Way::Observe => follow::run(&mut driver, &voice, &server, None),
    };
    if let Ok(Outcome::Left | Outcome::Signal(_)) = done {
        driver.hang_up(Instant::now());
        driver.settle(Instant::now())?;
    }
    if let Ok(Outcome::Signal(signal)) = done {
        driver.into_signals().release();
        // The default ends us; one that is ignored or blocked does not.
        let _ = nix::sys::signal::raise(signal);
    }
    done
}

/// The session is over, in this way: it is forgotten, and what did not arrive is told.
fn conclude(driver: &mut Driver, voice: &Voice, how: Result<(), ClientError>) -> Result<Outcome, ClientError> {
    let lost = driver.client.undelivered();
    if !lost.is_empty() {
        let text = quoted(&lost, driver.is_echoed_remotely());
        voice.complain(driver.terminal.as_ref(), &format!("not delivered, since nobody takes it any more: {text}"));
    }
    let forgotten = driver.forget();
    how?;
    forgotten?;
    voice.note(driver.terminal.as_ref(), &ended(End::Eof));
    Ok(Outcome::Ended)
}
