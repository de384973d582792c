//! The daemon's side of socket-protector.
