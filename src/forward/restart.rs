//! Restart: everything goes from one process to the next, by words and descriptors on a socket pair.
//!
//! What follows what is [`takeover`](crate::takeover)'s. [`plan`] is what the old process knows, [`descriptors`] what it has,
//! [`rest`] what the two tell each other about the connections that stay, [`same_signal`] which signal to stop counts once. The two
//! sides are in `driver/leaving` and
//! `driver/taking_over`. docs/forward.md has the words byte by byte.

pub mod descriptors;
pub mod plan;
pub mod rest;
pub mod same_signal;
