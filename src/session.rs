//! Sessions: a connection to a destination that outlives the clients that use it.
//!
//! Here are the parts that decide, bytes in and bytes and actions out. None has a descriptor, a clock or a log, and
//! none makes a system call, but for the system's random numbers in `credential`.
//!
//! `frame` is the wire and `credential` the proof that a client may resume; `docs/protocol.md` has both, byte by byte.
//! `state` is one session, `replay` what it keeps of its streams; `sessions` is the table of all with its limits, and
//! `guesses` what it costs to guess a secret. `client_state` is the client's end of a session, for all that are clients
//! of one, and `telnet` stands between a session and a destination that speaks it. `written` is what of all that goes to a
//! process that takes over. `docs/session.md` tells what they decide.

pub mod client;
pub mod client_state;
pub mod credential;
pub mod frame;
pub mod guesses;
pub mod proxy;
pub mod replay;
pub mod server;
pub mod sessions;
pub mod state;
pub mod telnet;
#[cfg(feature = "http")]
pub mod web;
pub mod written;
