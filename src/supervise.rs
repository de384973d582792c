//! Supervision: a child in generations behind listeners that stay open.
//!
//! `state` decides and `hold` keeps order, both without a system call; `driver` turns what happens into the inputs of
//! `state` and does what it says; `channel`, `worker` and `output` are what the driver has of each child.

mod channel;
mod conventions;
mod driver;
mod hold;
mod output;
mod settings;
pub mod state;
pub mod status;
mod worker;

pub use conventions::without_managers;
pub use driver::{Driver, DriverError, Ending, Equipment};
pub use settings::{ChildLog, Pass, Settings};

use crate::control::server::ClientId;
use state::Number;

/// What the loop may have something to do about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Signals.
    Signals,
    /// The process that was started and waits until the daemon is ready.
    Starter,
    /// A listener, by its index.
    Listener(u16),
    /// The channel of a generation.
    Channel(Number),
    /// The end of a generation's leader.
    Exit(Number),
    /// What a generation writes.
    Output(Number, Stream),
    /// The control socket.
    Control,
    /// A client of the control socket.
    Client(ClientId),
    /// The time to go on with taking connections back.
    Behind,
    /// The time at which the state machine wants to be asked again.
    Machine,
}

/// A child's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
