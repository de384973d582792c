//! Forwarding: rules whose destination changes while nobody notices.
//!
//! `state` decides, without a system call; `store` keeps what outlasts the process.

pub mod request;
pub mod state;
pub mod store;
