//! Forwarding: rules whose destination changes while nobody notices.
//!
//! `state` decides, without a system call; `store` keeps what outlasts the process; `driver` turns what happens into
//! the inputs of `state` and does what it says, with the relay's loops; `probe` tries a destination.

mod driver;
mod error;
pub mod probe;
pub mod request;
pub mod restart;
mod settings;
pub mod state;
pub mod store;

pub use driver::{Driver, Equipment, Successor, take_over};
pub use error::DriverError;
pub use settings::{Settings, SettingsError};

use crate::control::server::ClientId;

/// The name of the pid file in the forwarder's directory.
pub const PID_FILE: &str = "forward.pid";
/// The permissions of the pid file: whoever can open it can hold its lock, and keep the next forwarder from starting.
pub const PID_FILE_MODE: u32 = 0o600;
/// The name of the instance.
pub const NAME: &str = "forward";

/// What the control thread may have something to do about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// Signals.
    Signals,
    /// The control socket.
    Control,
    /// A client of the control socket.
    Client(ClientId),
    /// What the loops tell.
    News,
    /// The addresses of names to listen at.
    Answers,
    /// What probes and the watch over certificates tell.
    Told,
    /// The time at which a probe has taken too long.
    Probe(state::DestinationId),
    /// The time at which the state machine wants to be asked again.
    Machine,
    /// The time to see whether our directory and what is in it are still there.
    Socket,
    /// The time to try again to save.
    Save,
    /// The process that has taken over.
    Successor,
    /// The time to tell it what is left here.
    Rest,
    /// A process before this one.
    Older(u64),
}
