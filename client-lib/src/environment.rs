//! The names of the environment variables by which a child learns what it was given.

use std::os::fd::RawFd;

/// The number of the descriptor that is the child's end of the channel.
pub const SOCKET_PROTECTOR_CHANNEL: &str = "SOCKET_PROTECTOR_CHANNEL";
/// The number of the generation that the child belongs to, from 1 up.
pub const SOCKET_PROTECTOR_GENERATION: &str = "SOCKET_PROTECTOR_GENERATION";
/// The name of the supervisor's instance.
pub const SOCKET_PROTECTOR_NAME: &str = "SOCKET_PROTECTOR_NAME";
/// How many of the descriptors that `LISTEN_FDS` counts are listening sockets; those after them were stored by an
/// earlier generation. 0 where connections are passed.
pub const SOCKET_PROTECTOR_LISTENERS: &str = "SOCKET_PROTECTOR_LISTENERS";
/// How many descriptors were passed: listening sockets, then stored ones; absent where there are none.
pub const LISTEN_FDS: &str = "LISTEN_FDS";
/// The process that these descriptors are meant for.
pub const LISTEN_PID: &str = "LISTEN_PID";
/// Their names, joined by colons, in the order of the descriptors.
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// The socket at which the supervisor listens to sd_notify(3).
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The first of these descriptors; the others follow it without a gap.
pub const FIRST_LISTEN_FD: RawFd = 3;
