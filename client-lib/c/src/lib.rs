//! The daemon's side of socket-protector for C and C++: `socket_protector.h`, `libsocket_protector.{so,a}`.
//!
//! Built on what [`socket_protector_client`] offers to everybody. [`ffi`] is the boundary, with the only unsafe code:
//! pointers, errno, syslog, and panics that stop there. [`handle`] is what a pointer of C stands for. [`rendezvous`] is
//! the channel of the original SocketProtector's supervisor, so that a daemon linked with this library runs under that
//! one too. `docs/c.md` is for users.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by it"))]

mod bell;
mod failure;
mod ffi;
mod handle;
mod rendezvous;
mod sys;
