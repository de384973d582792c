//! Forwarding: rules whose destination changes while nobody notices.

pub mod state;
