//! Supervision: a child in generations behind listeners that stay open.

pub mod state;
