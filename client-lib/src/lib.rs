//! The daemon's side of socket-protector.
//!
//! [`wire`] is the channel's protocol in bytes, [`descriptors`] sends and receives records with descriptors over a
//! unix socket, [`environment`] names the variables by which a child learns what it was given.
//!
//! The supervisor uses the first three too, so that both ends speak by the same definitions.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by it"))]

pub mod descriptors;
pub mod environment;
mod sys;
pub mod wire;
