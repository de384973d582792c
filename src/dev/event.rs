//! What the parts tell the driver, and what it tells them.

use super::gate::{Change, Generation, Request, Why};
use super::livereload::Build;
use crate::control::server::ClientId;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// The driver's inbox. What is in it is bounded by connections and processes.
pub(super) type Inbox = mpsc::UnboundedSender<Event>;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Files have changed and settled: in words, and as many of them as were kept.
    Changed(Change, String, Vec<String>),
    /// Nobody has the server's port, or somebody has.
    PortChecked(Generation, Result<(), super::DevError>),
    /// It cannot even be started.
    CannotRun(Generation, super::DevError),
    /// A build has ended by itself and nothing of it is left.
    Built(Generation, Result<(), Failure>),
    /// A server has answered, at this address.
    Answered(Generation, SocketAddr),
    /// A server has ended, with what it said last.
    Exited(Generation, Failure),
    /// Nothing is left of a generation.
    Gone(Generation),
    /// A client asks.
    Came(Request, Arc<Standing>, Reply),
    /// It has its answer, or has gone.
    Done(Request),
    /// Its server has not answered; whether it may go to another.
    Lost(Request, bool, Reply),
    /// We have got a signal.
    Signal(Signal),
    /// Somebody asks by the control socket.
    Asked(Asked),
}

/// What somebody asks by the control socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// How it is.
    Status(ClientId),
    /// That the server be started anew; they are counted from 1.
    Reload(u64),
    /// That we end.
    Stop,
}

/// How a request stands with the server that has it. It is looked at when that server is to end, and not before.
#[derive(Debug, Default)]
pub(super) struct Standing(AtomicBool);

impl Standing {
    /// Whether only this server can answer it, in a time that can be waited for.
    pub(super) fn is_bound(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn bind(&self, bound: bool) {
        self.0.store(bound, Ordering::Relaxed);
    }
}

/// Where a request goes is said there.
pub(super) type Reply = oneshot::Sender<Verdict>;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// To the server of this generation, at this address.
    Forward(Generation, SocketAddr),
    /// Nowhere.
    Refuse(Refusal),
}

/// Why a request is answered by us.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// What is wrong with the last change.
    pub failure: Option<Arc<Failure>>,
    /// What a page that says so shows, as browsers know it; none if there has been no server yet.
    pub build: Option<Build>,
}

/// What is wrong with a change: its build or its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, in one line: `the server exited with status 1`.
    pub summary: String,
    /// The last lines that it wrote to its standard error, or that the build wrote, without their ends; as they were.
    pub lines: Vec<Vec<u8>>,
    /// It is the build's, and not the server's.
    pub of_build: bool,
}

/// What browsers are told.
#[derive(Clone, Debug)]
pub enum News {
    /// What they would get now is new.
    Reload {
        /// What has changed.
        change: Change,
        /// Files that have changed, relative to the working directory; none where it is not known which.
        paths: Vec<String>,
        /// What they would get. A page that shows it is not to be loaded again.
        build: Build,
    },
    /// The last change has failed, and an older server answers.
    Alert(Arc<Failure>),
}
