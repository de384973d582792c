//! Supervision: a child in generations behind listeners that stay open.

pub mod channel;
pub mod hold;
pub mod state;

use state::Number;

/// What the loop may have to do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A signal came.
    Signals,
    /// A channel.
    Channel(Number),
}
