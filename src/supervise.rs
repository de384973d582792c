//! Supervision: a child in generations behind listeners that stay open.
//!
//! `state` decides and `hold` keeps order, both without a system call; `driver` turns what happens into the inputs of
//! `state` and does what it says; `channel`, `worker` and `output` are what the driver has of each child.

mod address;
mod channel;
mod conventions;
mod driver;
mod einhorn;
mod hold;
mod main_process;
mod notify;
mod output;
pub mod probe;
mod ready_line;
mod rendezvous;
mod seldom;
mod settings;
pub mod state;
pub mod status;
mod worker;

pub use address::wants_socket;
pub use conventions::without_managers;
pub use driver::{Driver, DriverError, Ending, Equipment};
pub use einhorn::EINHORN;
pub use notify::NOTIFY;
pub use settings::{ChildLog, Pass, Settings};

use crate::control::server::ClientId;
use notify::store::StoredId;
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
    /// Listeners that were shut down by a child.
    HangUps,
    /// The time to make a listener listen again, by its index.
    ListenAgain(u16),
    /// The time to see whether a generation serves that has every listener.
    Outdated,
    /// The channel of a generation.
    Channel(Number),
    /// The end of a generation's leader.
    Exit(Number),
    /// The end of the process that a generation lives by, where that is not its leader.
    Main(Number),
    /// The probe of a generation.
    Probe(Number),
    /// Where a generation says that it is ready.
    ReadyLine(Number),
    /// What a generation writes.
    Output(Number, Stream),
    /// The socket of the children's words.
    Notify,
    /// The socket for einhorn's ACK.
    Einhorn,
    /// Who has connected to it.
    EinhornClient(u64),
    /// A name of the original library's, by its index.
    Rendezvous(u16),
    /// A stored descriptor.
    Stored(StoredId),
    /// The control socket.
    Control,
    /// A client of the control socket.
    Client(ClientId),
    /// What the relay has to tell.
    Relay,
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
