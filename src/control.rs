//! Talking to a running instance: one JSON object per line each way over a unix socket of its own.

pub mod client;
pub mod server;
pub mod wire;
